"""Utterances that no book has enough of: numbers, names, questions, one to four words.

Everything is drawn from the given generator, so a seed fixes the list.
"""

import random
from collections.abc import Callable


def _list(text: str, separator: str | None = None) -> list[str]:
    return text.split(separator)


_ONES = _list(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen",
)
_TENS = _list("twenty thirty forty fifty sixty seventy eighty ninety")
_ORDINALS = _list(
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth last next"
)
_NAMES = _list(
    "Adam Alice Alan Anna Anthony Barbara Ben Betty Brian Carol Charles Clara Daniel David Diana Edward Elena Emily "
    "Emma Eric Frank George Grace Hannah Harry Helen Henry Ian Isabel Jack James Jane John Julia Karen Kate Kevin "
    "Laura Lily Linda Lucy Maria Mark Martin Mary Michael Nancy Nicholas Nora Oliver Oscar Patrick Paul Peter Rachel "
    "Richard Robert Rose Ruth Sam Sarah Simon Sophie Stephen Susan Thomas Tom Victor Walter William",
)
_SURNAMES = _list(
    "Baker Brown Carter Clark Cooper Davis Evans Fisher Green Hall Harris Hill Hughes Johnson Jones King Lewis Martin "
    "Miller Moore Morgan Parker Roberts Robinson Scott Smith Taylor Thompson Turner Walker Ward White Wilson Young",
)
_PLACES = _list(
    "London Paris Berlin Rome Madrid Vienna Dublin Boston Chicago Sydney Moscow Tokyo Cairo Athens Geneva Oslo Warsaw "
    "Texas England France Germany Italy Spain Poland Canada China India Japan Brazil Egypt Africa Europe America",
)
_DAYS = _list("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")
_MONTHS = _list(
    "January February March April May June July August September October November December"
)
_UNITS = _list(
    "minutes hours days weeks months years miles metres pounds dollars euros people cars books times steps"
)
_SHORT = _list(
    "Yes.|No.|Okay.|Thank you.|Thanks.|Please.|Hello.|Hello world.|Hello there.|Hi.|Hey!|Good morning.|Good evening.|"
    "Good night.|Good bye.|Goodbye.|See you later.|See you tomorrow.|Of course.|I see.|I know.|Not now.|Maybe.|Never!|"
    "Always.|Stop!|Wait!|Go on.|Come in.|Come here.|Sit down.|Stand up.|Look!|Listen.|Be careful.|Well done.|"
    "Excuse me.|I'm sorry.|Sorry.|No problem.|You're welcome.|Welcome.|Welcome back.|Right.|Left.|Up.|Down.|On.|Off.|"
    "Open.|Close.|Start.|Ready.|Done.|Really?|Why?|Why not?|What?|Who?|Where?|When?|How?|How much?|How many?|How so?|"
    "And then?|Is it?|Are you sure?|Are you there?|Can you hear me?|What's this?|What's that?|Who's there?|"
    "What time is it?|How are you?|How old are you?|Where are you?|Where is it?|Good idea.|Bad idea.|Too late.|"
    "Never mind.|That's right.|That's wrong.|That's all.|It works.|It's fine.|It's late.|It's cold.|I agree.|I think so.|"
    "I hope so.|I don't know.|I can't.|I won't.|I did.|Let's go.|Let's see.|Try again.|Once more.|Hurry up!|Help!|Fire!|"
    "Happy birthday.|Merry Christmas.|Good luck.|Have fun.|Take care.|Keep quiet.|Slow down.|Turn left.|Turn right.",
    "|",
)
_SUBJECTS = _list(
    "I|You|We|They|He|She|It|The man|The woman|The child|My friend|The teacher|Our neighbour|Nobody",
    "|",
)
_QUESTIONS = _list(
    "Where is {place}?|Where did {name} go?|Who is {name}?|Did {name} call?|Is {name} at home?|When does the {noun} "
    "start?|How far is {place}?|Why is the {noun} so {adjective}?|What is a {noun}?|Have you seen the {noun}?|Can I have "
    "a {noun}?|Do you like the {noun}?|Is the {noun} {adjective}?|How much is the {noun}?|Will {name} be here on {day}?|"
    "Would you like a {noun}?|Could you open the {noun}?|Are the {noun}s {adjective}?|Which {noun} is {adjective}?",
    "|",
)
_STATEMENTS = _list(
    "{name} {surname}.|{name} and {name}.|This is {name}.|My name is {name} {surname}.|{name} lives in {place}.|"
    "{name} is from {place}.|The {noun} is {adjective}.|A {adjective} {noun}.|The {adjective} {noun}.|My {noun}.|"
    "{day} morning.|On {day}.|See you on {day}.|In {month}.|{day}, the {ordinal} of {month}.|The {ordinal} {noun}.|"
    "I have a {noun}.|I like the {adjective} {noun}.|There is a {noun} in {place}.|We go to {place} in {month}.|"
    "{name}, come here!|Good morning, {name}.|Thank you, {name}.|{name} said nothing.|Tell {name} about the {noun}.",
    "|",
)
_COUNTED = _list(
    "{number} {unit}.|It takes {number} {unit}.|{number} {unit} ago.|There were {number} {unit}.|Number {number}.",
    "|",
)
_AUXILIARIES = _list("can will may must did should")
_VERBS = _list("go come stay wait see read write sing run speak listen sleep eat drink")
_NOUNS = _list(
    "apple bag ball bed bird boat book bottle box bread bridge bus cake car cat chair church city clock coat computer "
    "cup day desk doctor dog door dream egg eye face farm field film fire fish flower game garden girl glass hand hat "
    "head heart horse hotel hour house idea island job key king kitchen lake letter light machine market meeting moon "
    "morning mountain museum night office paper park party pen phone picture plan plane question radio river road room "
    "school sea shop song star station story street summer sun table teacher ticket town train tree village voice "
    "watch water week wind window winter word world year",
)
_ADJECTIVES = _list(
    "bad beautiful big black blue bright brown cheap clean clear cold dark dear deep dry early easy empty fast fine "
    "free fresh full good great green grey happy hard heavy high hot kind large late light little long loud low new "
    "nice old open poor quick quiet red rich right round safe short simple slow small soft strange strong sweet tall "
    "thick thin tired true warm weak wet white wide wild wrong yellow young",
)


def spelled_number(n: int) -> str:
    """English words of a number from 0 to 999,999."""
    if n < 20:
        return _ONES[n]
    if n < 100:
        return _TENS[n // 10 - 2] + ("" if n % 10 == 0 else " " + _ONES[n % 10])
    if n < 1000:
        return (
            _ONES[n // 100]
            + " hundred"
            + ("" if n % 100 == 0 else " and " + spelled_number(n % 100))
        )
    return (
        spelled_number(n // 1000)
        + " thousand"
        + ("" if n % 1000 == 0 else " " + spelled_number(n % 1000))
    )


def _number(rng: random.Random) -> int:
    return rng.choice(
        [rng.randrange(21), rng.randrange(100), rng.randrange(1000), rng.randrange(1, 10) * 1000]
    )


def _filled(rng: random.Random, templates: list[str]) -> str:
    values: dict[str, Callable[[], str]] = {
        "name": lambda: rng.choice(_NAMES),
        "surname": lambda: rng.choice(_SURNAMES),
        "place": lambda: rng.choice(_PLACES),
        "day": lambda: rng.choice(_DAYS),
        "month": lambda: rng.choice(_MONTHS),
        "ordinal": lambda: rng.choice(_ORDINALS),
        "noun": lambda: rng.choice(_NOUNS),
        "adjective": lambda: rng.choice(_ADJECTIVES),
        "unit": lambda: rng.choice(_UNITS),
        "number": lambda: spelled_number(_number(rng)),
    }
    text = rng.choice(templates)
    while "{" in text:
        key = text[text.index("{") + 1 : text.index("}")]
        text = text.replace("{" + key + "}", values[key](), 1)
    return text[0].upper() + text[1:]


def _with_digits(rng: random.Random) -> str:
    kind = rng.randrange(5)
    if kind == 0:
        return f"{rng.randrange(1, 100)} {rng.choice(_UNITS)}."
    if kind == 1:
        return f"In {rng.randrange(1700, 2030)}."
    if kind == 2:
        return f"{rng.choice(_NAMES)} is {rng.randrange(1, 100)}."
    if kind == 3:
        return f"{rng.choice(_MONTHS)} {rng.randrange(1, 31)}."
    return f"There are {rng.randrange(2, 1000)} {rng.choice(_NOUNS)}s."


def _words(rng: random.Random) -> str:
    picked = [
        rng.choice(rng.choice((_NOUNS, _ADJECTIVES, _NAMES, _PLACES)))
        for _ in range(rng.randrange(1, 5))
    ]
    return (
        " ".join(picked) if rng.random() < 0.5 else ", ".join(picked)
    ).capitalize() + rng.choice([".", ".", "!", "?"])


def utterances(rng: random.Random, count: int) -> list[str]:
    """`count` different utterances, in the order drawn."""
    makers: list[Callable[[], str]] = [
        lambda: rng.choice(_SHORT),
        lambda: _filled(rng, _QUESTIONS),
        lambda: _filled(rng, _STATEMENTS),
        lambda: _filled(rng, _COUNTED),
        lambda: _with_digits(rng),
        lambda: _words(rng),
        lambda: f"{rng.choice(_SUBJECTS)} {rng.choice(_AUXILIARIES)} {rng.choice(_VERBS)}.",
        lambda: (
            ", ".join(
                spelled_number(rng.randrange(10)) for _ in range(rng.randrange(2, 8))
            ).capitalize()
            + "."
        ),
    ]
    found: dict[str, None] = {}
    for _ in range(20 * count):
        if len(found) == count:
            break
        found.setdefault(rng.choice(makers)())
    return list(found)
