"""Judges the voice that the package carries: `python -m training.evaluate` (`make evaluate`).

Speaks held-out sentences with `pocket_tts_native`, in f32 and int8, and with the teachers, and lets a
recogniser write down what it hears. The held-out sentences come from another source than the
training text; word errors are those of the 200 that have words no training text has. The tables
are printed and written to `training/logs/evaluation.md`. Needs no PyTorch.
"""

import argparse
import json
import os
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache

import numpy as np
from pocket_tts_native import TTSModel

from training.corpus import VOICES, held_out_sentences, training_utterances, words_of
from training.features import (
    DECODER_DELAY_SAMPLES,
    FRAME_SAMPLES,
    HOPS_PER_FRAME,
    MEL_BANDS,
    SAMPLE_RATE_HZ,
    Array,
    Pca,
    frame_features,
)
from training.packages import unpack
from training.paths import CHECKPOINTS, LOGS, data_folder
from training.recognition import Recogniser, edits
from training.speakers import Speakers
from training.speech import Flite, SpeechError, whole_frames

# That of the training data, which decides what is held out.
SEED = 1
PRECISIONS = ("f32", "int8")
N_UNSEEN = 200
N_UTTERANCES = 1_000
N_OF_SPEAKER = 80
# Outside of these shares of the teacher's length an ending counts as cut or as runaway.
LENGTHS = (0.6, 1.6)
DB_OF_LOG = 20 / np.log(10)


@dataclass(frozen=True)
class Sentence:
    """One that is spoken; `is_counted` for word errors."""

    text: str
    voice: str
    seed: int
    is_counted: bool


@dataclass(frozen=True)
class Spoken:
    """What became of a sentence in one precision, or of the teacher's speech."""

    n_words: int
    word_edits: int
    n_characters: int
    character_edits: int
    n_samples: int
    largest_jump: float
    has_ended: bool
    speaker: str


@cache
def _flite() -> Flite:
    return Flite(data_folder() / "unpacked")


@cache
def _recogniser() -> Recogniser:
    return Recogniser()


@cache
def _model(precision: str) -> TTSModel:
    return TTSModel.load_model("embedded", precision=precision, num_threads=1)


@cache
def _speakers() -> Speakers:
    """Trained on sentences of the training text, spoken by the teachers."""
    spoken: dict[str, list[Array]] = {voice: [] for voice in VOICES}
    for utterance in training_utterances(data_folder() / "unpacked", SEED):
        group = spoken[utterance.voice]
        if len(group) < N_OF_SPEAKER and len(utterance.text) > 30:
            group.append(whole_frames(_flite().speak(utterance.text, utterance.voice)))
        if all(len(group) == N_OF_SPEAKER for group in spoken.values()):
            break
    return Speakers(spoken)


def _ours(sentence: Sentence, precision: str) -> tuple[Array, bool]:
    """Our speech, and whether it came to an end by itself."""
    model = _model(precision)
    voice = model.get_state_for_audio_prompt(sentence.voice)
    pieces = []
    has_ended = True
    try:
        for piece in model.generate_audio_stream(voice, sentence.text, seed=sentence.seed):
            pieces.append(np.asarray(piece))
    except RuntimeError:
        # Raised after the audio: see KPOCKET_TTS_ERROR_WITHOUT_EOS below.
        has_ended = False
    return np.concatenate(pieces), has_ended


def _judged(text: str, samples: Array, *, has_ended: bool) -> Spoken:
    said, heard = words_of(text), _recogniser().words(samples)
    characters = " ".join(said), " ".join(heard)
    return Spoken(
        n_words=len(said),
        word_edits=edits(said, heard),
        n_characters=len(characters[0]),
        character_edits=edits(*characters),
        n_samples=len(samples),
        largest_jump=float(np.abs(np.diff(samples)).max()),
        has_ended=has_ended,
        speaker=_speakers().of(samples),
    )


def _judge(sentence: Sentence) -> dict[str, Spoken] | None:
    """By precision, and the teacher; None where flite fails."""
    os.environ["KPOCKET_TTS_ERROR_WITHOUT_EOS"] = "1"
    try:
        teacher = whole_frames(_flite().speak(sentence.text, sentence.voice))
    except SpeechError:
        return None
    judged = {"teacher": _judged(sentence.text, teacher, has_ended=True)}
    for precision in PRECISIONS:
        samples, has_ended = _ours(sentence, precision)
        judged[precision] = _judged(sentence.text, samples, has_ended=has_ended)
    return judged


def _sentences(n_utterances: int) -> list[Sentence]:
    """Held-out sentences in every voice, those with unseen words first, then again with other seeds."""
    unpacked = data_folder() / "unpacked"
    texts = (utterance.text for utterance in training_utterances(unpacked, SEED))
    held_out = held_out_sentences(unpacked, texts, SEED)
    held_out.sort(key=lambda entry: not entry["unseen"])
    counted = [entry for entry in held_out if entry["unseen"]][:N_UNSEEN]
    n_types = len({word for entry in counted for word in entry["unseen"]})
    print(f"{len(counted)} sentences with {n_types} unseen word types", flush=True)
    sentences = [
        Sentence(entry["text"], voice, seed, seed == 1 and entry in counted)
        for seed in range(1, 2 + n_utterances // (len(held_out) * len(VOICES)))
        for entry in held_out
        for voice in VOICES
    ]
    return sentences[:n_utterances]


def _share(results: list[Spoken], errors: str, total: str) -> float:
    return sum(getattr(r, errors) for r in results) / sum(getattr(r, total) for r in results)


def _voice_table(judged: list[tuple[Sentence, dict[str, Spoken]]]) -> list[str]:
    lines = [
        (
            "| voice | word error, f32 | teacher | ratio | character error, f32 | teacher | length, of the "
            "teacher's | right speaker |"
        ),
        "|---|---|---|---|---|---|---|---|",
    ]
    for voice in VOICES:
        of_voice = [results for sentence, results in judged if sentence.voice == voice]
        counted = [results for s, results in judged if s.voice == voice and s.is_counted]
        ours, teacher = [r["f32"] for r in counted], [r["teacher"] for r in counted]
        errors = _share(ours, "word_edits", "n_words"), _share(teacher, "word_edits", "n_words")
        characters = [_share(group, "character_edits", "n_characters") for group in (ours, teacher)]
        length = sum(r["f32"].n_samples for r in of_voice) / sum(
            r["teacher"].n_samples for r in of_voice
        )
        right = np.mean([r["f32"].speaker == voice for r in of_voice])
        lines.append(
            f"| {voice} | {errors[0]:.1%} | {errors[1]:.1%} | {errors[0] / errors[1]:.2f} | "
            f"{characters[0]:.1%} | {characters[1]:.1%} | {length:.2f} | {right:.1%} |"
        )
    return lines


def _ending_lines(judged: list[tuple[Sentence, dict[str, Spoken]]]) -> list[str]:
    results = [results for _, results in judged]
    ratios = np.array([r["f32"].n_samples / r["teacher"].n_samples for r in results])
    endless = np.array([not r["f32"].has_ended for r in results])
    cut, runaway = ratios < LENGTHS[0], (ratios > LENGTHS[1]) | endless
    jumps = [max(r[kind].largest_jump for r in results) for kind in ("teacher", "f32")]
    clicks = sum(r["f32"].largest_jump > jumps[0] for r in results)
    teachers_right = np.mean([r["teacher"].speaker == s.voice for s, r in judged])
    return [
        (
            f"- Endings of {len(results)} utterances: {cut.sum()} cut (shorter than {LENGTHS[0]} of the teacher's), "
            f"{runaway.sum()} runaway (longer than {LENGTHS[1]}, or {endless.sum()} without an end): "
            f"{(cut | runaway).mean():.1%}."
        ),
        (
            f"- Clicks: the largest jump between two samples is {jumps[1]:.2f}, the teachers' {jumps[0]:.2f}; "
            f"{clicks} utterances have a larger one than any teacher's."
        ),
        f"- The speaker check is right about {teachers_right:.1%} of the teachers' held-out speech.",
    ]


def _int8_line(judged: list[tuple[Sentence, dict[str, Spoken]]]) -> str:
    differences = np.array([r["int8"].word_edits - r["f32"].word_edits for _, r in judged])
    per_word = len(judged) / sum(r["f32"].n_words for _, r in judged)
    mean = differences.mean() * per_word
    error = differences.std(ddof=1) / len(differences) ** 0.5 * per_word
    verdict = "a loss" if mean > 1.96 * error else "no significant loss"
    return (
        f"- int8 against f32 over {len(judged)} utterances, paired: {mean:+.2%} ± {1.96 * error:.2%} words "
        f"(95 %): {verdict}."
    )


def _distance_db(made: Array, wanted: Array) -> float:
    """Mean difference of log-mel bands, the decoder's delay taken out."""
    made = made[DECODER_DELAY_SAMPLES:]
    n = min(len(made), len(wanted)) // FRAME_SAMPLES * FRAME_SAMPLES
    shape = (n // FRAME_SAMPLES, HOPS_PER_FRAME, -1)
    bands = [frame_features(x[:n]).reshape(shape)[..., :MEL_BANDS] for x in (made, wanted)]
    return float(np.abs(bands[0] - bands[1]).mean() * DB_OF_LOG)


def _codec_lines(sentences: list[Sentence]) -> list[str]:
    model = _model("f32")
    path = data_folder() / "pca.npz"
    pca = Pca.load(path if path.exists() else CHECKPOINTS / "pca.npz")
    whole, decoder = [], []
    for sentence in sentences[:60]:
        speech = whole_frames(_flite().speak(sentence.text, sentence.voice))
        whole.append(_distance_db(model.decode_latents(model.encode_audio(speech)), speech))
        decoder.append(
            _distance_db(model.decode_latents(pca.latents(frame_features(speech))), speech)
        )
    return [
        (
            f"- Codec, mean difference of the log-mel bands from the teachers' speech: {np.mean(whole):.1f} dB; the "
            f"decoder alone, given the features that the encoder approaches, {np.mean(decoder):.1f} dB."
        )
    ]


def _speed_line(precision: str) -> str:
    model = _model(precision)
    voice = model.get_state_for_audio_prompt(VOICES[0])
    text = "The wind had dropped, and nobody on the boat said a word."
    model.generate_audio(voice, text, seed=1)
    factors = []
    for seed in range(20):
        begin_s = time.perf_counter()
        audio = model.generate_audio(voice, text, seed=seed)
        factors.append((time.perf_counter() - begin_s) * SAMPLE_RATE_HZ / len(audio))
    return f"- Real-time factor on one core, {precision}: {min(factors):.4f}, median {np.median(factors):.4f}."


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--utterances", type=int, default=N_UTTERANCES)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    arguments = parser.parse_args()

    unpack(data_folder())
    sentences = _sentences(arguments.utterances)
    with ProcessPoolExecutor(arguments.processes) as pool:
        results = list(pool.map(_judge, sentences, chunksize=4))
    judged = [(s, r) for s, r in zip(sentences, results, strict=True) if r is not None]
    lines = [
        *_voice_table(judged),
        "",
        *_ending_lines(judged),
        _int8_line(judged),
        *_codec_lines(sentences),
        *(_speed_line(precision) for precision in PRECISIONS),
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    (LOGS / "evaluation.md").write_text(text, encoding="utf-8")
    details = [asdict(s) | {name: asdict(spoken) for name, spoken in r.items()} for s, r in judged]
    (data_folder() / "evaluation.json").write_text(json.dumps(details), encoding="utf-8")


if __name__ == "__main__":
    main()
