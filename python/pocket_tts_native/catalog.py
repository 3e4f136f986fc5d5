"""What can be asked for by name: released models, predefined voices, and what is taken by default."""

from typing import Final

from pocket_tts_native import embedded

DEFAULT_LANGUAGE: Final = "english"

LANGUAGES: Final = (
    "dutch",
    "dutch_24l",
    "english",
    "english_18m_2026-10",
    "english_18m_refl_2026-10",
    "english_2026-01",
    "english_2026-04",
    "english_2026-04_24l",
    "english_2026-09",
    "english_2026-09_2",
    "english_2026-09_24l",
    "english_2026-10",
    "english_2m_2026-10",
    "english_2m_refl_2026-10",
    "english_7m_2026-10",
    "english_7m_refl_2026-10",
    "english_drifting_26-09",
    "french",
    "french_24l",
    "german",
    "german_24l",
    "italian",
    "italian_24l",
    "portuguese",
    "portuguese_24l",
    "spanish",
    "spanish_24l",
)

# The recordings that the predefined voices were made from.
VOICE_ORIGINS: Final = {
    "cosette": "hf://kyutai/tts-voices/expresso/ex04-ex02_confused_001_channel1_499s.wav",
    "marius": "hf://kyutai/tts-voices/voice-donations/Selfie.wav",
    "javert": "hf://kyutai/tts-voices/voice-donations/Butter.wav",
    "alba": "hf://kyutai/tts-voices/alba-mackenna/casual.wav",
    "jean": "hf://kyutai/tts-voices/ears/p010/freeform_speech_01_enhanced.wav",
    "anna": "hf://kyutai/tts-voices/vctk/p228_023_enhanced.wav",
    "vera": "hf://kyutai/tts-voices/vctk/p229_023_enhanced.wav",
    "fantine": "hf://kyutai/tts-voices/vctk/p244_023_enhanced.wav",
    "charles": "hf://kyutai/tts-voices/vctk/p254_023_enhanced.wav",
    "paul": "hf://kyutai/tts-voices/vctk/p259_023_enhanced.wav",
    "eponine": "hf://kyutai/tts-voices/vctk/p262_023_enhanced.wav",
    "azelma": "hf://kyutai/tts-voices/vctk/p303_023_enhanced.wav",
    "george": "hf://kyutai/tts-voices/vctk/p315_023_enhanced.wav",
    "mary": "hf://kyutai/tts-voices/vctk/p333_023_enhanced.wav",
    "jane": "hf://kyutai/tts-voices/vctk/p339_023_enhanced.wav",
    "michael": "hf://kyutai/tts-voices/vctk/p360_023_enhanced.wav",
    "eve": "hf://kyutai/tts-voices/vctk/p361_023_enhanced.wav",
    "bill_boerst": "hf://kyutai/tts-voices/voice-zero/bill_boerst.wav",
    "peter_yearsley": "hf://kyutai/tts-voices/voice-zero/peter_yearsley.wav",
    "stuart_bell": "hf://kyutai/tts-voices/voice-zero/stuart_bell.wav",
    "caro_davy": "hf://kyutai/tts-voices/voice-zero/caro_davy.wav",
    "giovanni": (
        "hf://kyutai/pocket-tts/common_voice_it_36520747-enhanced-v2.mp3"
        "@64ab7d24c479d736a83b8cc666c4a776fca30fda"
    ),
    "lola": (
        "hf://kyutai/pocket-tts/common_voice_es_19762977-enhanced-v2.mp3"
        "@64ab7d24c479d736a83b8cc666c4a776fca30fda"
    ),
    "juergen": "hf://kyutai/pocket-tts/de-DE-juergen.mp3@64ab7d24c479d736a83b8cc666c4a776fca30fda",
    "rafael": (
        "hf://kyutai/pocket-tts/g-Vi8PgmSY0-enhanced-v2.wav"
        "@64ab7d24c479d736a83b8cc666c4a776fca30fda"
    ),
    "daan": (
        "hf://kyutai/pocket-tts/cml_tts_nl_11290_9412_000030_0001.flac"
        "@2dd944b099d06bb9edbd221fef138685711d9bf0"
    ),
    "estelle": (
        "hf://kyutai/tts-voices/unmute-prod-website/developpeuse-3.wav"
        "@1fc7395b7e012e2bbebfca14b942a4ef62ccc899"
    ),
}

VOICES: Final = tuple(VOICE_ORIGINS)

_VOICES_REVISION: Final = "a7056f505a4a8ca72d8b5fb1440071d6f1a35739"
_FALLBACK_VOICE: Final = "alba"
# Looked for in the name of a model, in this order.
_VOICE_BY_LANGUAGE: Final = {
    "italian": "giovanni",
    "spanish": "lola",
    "german": "juergen",
    "portuguese": "rafael",
    "french": "estelle",
    "dutch": "daan",
}
_TEXT_BY_LANGUAGE: Final = {
    "english": (
        "Hello world. "
        "I am Kyutai's Pocket TTS. "
        "I'm fast enough to run on small CPUs. "
        "I hope you'll like me."
    ),
    "french": (
        "Bonjour le monde. "
        "Je suis le TTS de poche de Kyutai. "
        "Je suis assez rapide pour fonctionner sur de petits CPU. "
        "J'espère que vous m'aimerez."
    ),
    "german": (
        "Hallo Welt. "
        "Ich bin Pocket TTS von Kyutai. "
        "Ich bin schnell genug, um auch auf kleinen CPUs zu laufen. "
        "Ich hoffe, ich gefalle dir."
    ),
    "portuguese": (
        "Olá mundo. "
        "Eu sou o Pocket TTS da Kyutai. "
        "Sou rápido o suficiente para rodar em CPUs pequenas. "
        "Espero que você goste de mim."
    ),
    "italian": (
        "Ciao mondo. "
        "Sono il Pocket TTS di Kyutai. "
        "Sono abbastanza veloce da funzionare su piccole CPU. "
        "Spero che ti piacerò."
    ),
    "dutch": (
        "Hallo wereld. "
        "Ik ben Pocket TTS van Kyutai. "
        "Ik ben snel genoeg om op kleine CPU's te draaien. "
        "Ik hoop dat je me leuk vindt."
    ),
    "spanish": (
        "Hola mundo. "
        "Soy el Pocket TTS de Kyutai. "
        "Soy lo suficientemente rápido para funcionar en pequeñas CPU. "
        "Espero que te guste."
    ),
}


def voice_address(language: str, voice: str) -> str:
    """Where the state of a predefined voice is that was made with the released model `language`."""
    return (
        f"hf://kyutai/pocket-tts-without-voice-cloning/languages/{language}/embeddings/"
        f"{voice}.safetensors@{_VOICES_REVISION}"
    )


def default_voice(
    language: str | None, config: object | None = None, checkpoint: object | None = None
) -> str:
    """The voice where the user names none.

    Args:
        language: Name of a released model; None for the default one.
        config: The user's own configuration, if any.
        checkpoint: The user's own weights, if any.

    Returns:
        A predefined voice; for models of the user's own, which none fits, the address of a recording.
    """
    if config is not None or checkpoint is not None:
        return VOICE_ORIGINS[_FALLBACK_VOICE]
    if language == embedded.LANGUAGE:
        return embedded.DEFAULT_VOICE
    return _by_language(_VOICE_BY_LANGUAGE, language) or _FALLBACK_VOICE


def default_text(language: str | None) -> str:
    """The text where the user gives none, in the language of a released model; English otherwise."""
    if language == embedded.LANGUAGE:
        return embedded.DEFAULT_TEXT
    return _by_language(_TEXT_BY_LANGUAGE, language) or _TEXT_BY_LANGUAGE[DEFAULT_LANGUAGE]


def _by_language(table: dict[str, str], language: str | None) -> str | None:
    return next((value for key, value in table.items() if language and key in language), None)
