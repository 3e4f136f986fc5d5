"""The table of models that the parity tests compare, and what is asked of each.

Full-size cases have the shipped shapes; the others are the same structures at reduced width and
depth, one structural option each. `model_factory` under `reference/` reads the specifications.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
from model_files import Array
from tiny_model import merged

SAMPLE_RATE_HZ: Final = 24_000
FRAME_SAMPLES: Final = 1_920
LATENT_DIM: Final = 32
N_FRAMES: Final = 40
N_PROMPT_FRAMES: Final = 6
# Uneven groups of frames that the codec is handed, in turn.
GROUPS: Final = (1, 5, 2, 9, 4, 3)
TEXT: Final = "The quick brown fox jumps over the lazy dog, doesn't it?"
TEXTS: Final = (
    TEXT,
    "Hello world.",
    "hello",
    " leading and trailing ",
    "double  space   and\ttab\nnewline",
    "In 2026, 3.14 people paid $99.50 (or £80) for U.S.A. flags; why?",
    "Voilà: l'été à Zürich, ¡señor! Straße … “quotes” ‘single’ – and — dashes",
    "unknown: 日本語 и кириллица 🙂 \u0000 \u00a0 ﬁ",
    "▁ already ▁▁ marked",
    "<s> special </s> pieces <unk> <pad>",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    ".!...?",
    ",;:",
    " ",
    "",
)

_CODEC_WIDTH: Final = 64
_SMALL_CODEC_TRANSFORMER: Final[dict[str, Any]] = {
    "d_model": _CODEC_WIDTH,
    "num_heads": 4,
    "num_layers": 2,
    "dim_feedforward": 96,
    "input_dimension": _CODEC_WIDTH,
    "output_dimensions": [_CODEC_WIDTH],
}
_SMALL: Final[dict[str, Any]] = {
    "flow_lm": {
        "transformer": {"d_model": 128, "num_heads": 2, "num_layers": 3},
        "flow": {"dim": 64, "depth": 3},
        "lookup_table": {"dim": 128, "n_bins": 600},
    },
    "mimi": {
        "outer_dim": _CODEC_WIDTH,
        "seanet": {"dimension": _CODEC_WIDTH, "n_filters": 8},
        "transformer": _SMALL_CODEC_TRANSFORMER,
        "quantizer": {"output_dimension": _CODEC_WIDTH},
    },
}
# The small models of the family have a decoder of their own, narrower than the encoder.
_SMALL_DECODER: Final[dict[str, Any]] = {
    "mimi": {
        "outer_dim": 48,
        "quantizer": {"output_dimension": 48},
        "decoder_seanet": {"dimension": 48, "n_filters": 6},
        "decoder_transformer": {
            "d_model": 48,
            "num_heads": 3,
            "num_layers": 3,
            "dim_feedforward": 72,
            "input_dimension": 48,
            "output_dimensions": [48],
        },
    }
}


@dataclass(frozen=True)
class Case:
    """One model and the parameters that it is run with."""

    name: str
    base: str
    overrides: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)  # dtype, layout, tokenizer
    steps: int = 1
    temp: float = 0.3
    has_prompts: bool = False  # also WAV prompts at other rates
    is_slow: bool = False  # only at the best SIMD level, the others in `make test-long`
    passes_noise: bool = True  # False: a drifting head, whose output holds no copy of the noise

    @property
    def spec(self) -> dict[str, Any]:
        """Specification for the model factory."""
        return {"base": self.base, "overrides": self.overrides, "seed": 1, **self.options}


def _small(case: Case) -> Case:
    return replace(case, overrides=merged(_SMALL, case.overrides))


CASES: Final = (
    Case("english", "english", options={"tokenizer": {"byte_fallback": True}}, is_slow=True),
    Case("english_2m", "english_2m_2026-10", has_prompts=True),
    Case(
        "english_7m",
        "english_7m_2026-10",
        options={"tokenizer": {"bos": True}},
        is_slow=True,
        passes_noise=False,
    ),
    _small(Case("18m", "english_18m_2026-10", _SMALL_DECODER, passes_noise=False)),
    _small(
        Case(
            "2026-01",
            "english_2026-01",
            {"mimi": {"inner_dim": _CODEC_WIDTH}},
            options={"tokenizer": {"prepend_scheme": "first", "normalizer": True}},
            temp=0.7,
        )
    ),
    _small(Case("drifting", "english_drifting_26-09", passes_noise=False)),
    _small(
        Case("24_layers", "english_2026-04_24l", {"flow_lm": {"transformer": {"num_layers": 24}}})
    ),
    _small(
        Case(
            "flow_matching_16_steps",
            "english",
            overrides={"flow_lm": {"flow": {"type": "flow_matching"}}},
            steps=16,
        )
    ),
    _small(Case("lsd_4_steps", "english", steps=4, temp=0.7, has_prompts=True)),
    _small(
        Case(
            "replicate_padding",
            "english",
            overrides={"mimi": {"seanet": {"pad_mode": "replicate"}}},
        )
    ),
    _small(
        Case(
            "two_residual_layers",
            "english",
            overrides={"mimi": {"seanet": {"n_residual_layers": 2}}},
        )
    ),
    _small(
        Case(
            "projected_transformers",
            "english",
            overrides={"mimi": {"transformer": {"d_model": 48, "num_heads": 3}}},
        )
    ),
    _small(
        Case(
            "grouped_upsample",
            "english",
            overrides={
                "mimi": {
                    "outer_dim": 2 * _CODEC_WIDTH,
                    "quantizer": {"output_dimension": 2 * _CODEC_WIDTH},
                }
            },
        )
    ),
    _small(
        Case(
            "no_resampling",
            "english",
            overrides={
                "mimi": {
                    "inner_dim": None,
                    "outer_dim": None,
                    "seanet": {"n_filters": 4, "ratios": [8, 6, 8, 5]},
                }
            },
        )
    ),
    _small(Case("bf16_bundle", "english", options={"dtype": "BF16"})),
    _small(Case("f16_bundle", "english", options={"dtype": "F16"})),
    _small(Case("split_files", "english", options={"layout": "split"})),
    _small(Case("bundle_and_mimi", "english", options={"layout": "bundle_and_mimi"})),
)


@dataclass(frozen=True)
class Speech:
    """Texts spoken one after the other with one voice state, over rows of noise."""

    name: str
    texts: tuple[str, ...]
    eos_threshold: float
    frames_after_eos: int | None = None
    copy_state: bool = True
    max_tokens: int = 50


N_SPEECH_ROWS: Final = 1500


def speech_noise() -> Array:
    """Standard normals, one row per frame of all texts of a `Speech`, stop frames included."""
    rng = np.random.Generator(np.random.Philox(key=2027))
    return rng.standard_normal((N_SPEECH_ROWS, LATENT_DIM), dtype=np.float32)


def case_inputs() -> dict[str, Array]:
    """Arrays that every case is run on, besides the audio of `signals`."""
    rng = np.random.Generator(np.random.Philox(key=2026))
    return {
        "noise": rng.standard_normal((N_FRAMES, LATENT_DIM), dtype=np.float32),
        "prompt_noise": rng.standard_normal((N_PROMPT_FRAMES, LATENT_DIM), dtype=np.float32),
        "decode_in": rng.standard_normal((sum(GROUPS), LATENT_DIM), dtype=np.float32),
    }
