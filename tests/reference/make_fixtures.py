"""Make the committed references under `tests/fixtures/`.

    PYTHONPATH=tests $POCKET_REFERENCE_PYTHON -m reference.make_fixtures tests/fixtures

One directory per case, with a tiny model (`config.yaml`, `model.safetensors`, `tokenizer.json`; the
paths in the configuration are relative to the directory) and `expected.safetensors`:

- `text_tokens` i64 `[tokens]`, of the text in the metadata
- `pcm` f32 `[samples]` → `voice_latents` f32 `[frames, inner_dim]`
- `voice_kv_<layer>` f32 `[2, positions, kv_heads, head_dim]`: keys (rotated) and values after the
  voice pass over `voice_latents`
- `noise` f32 `[frames, latent_dim]` → `latents` f32 of that shape, `eos_logits` f32 `[frames]`,
  generated after that voice and the text
- `decode_latents_in` f32 `[frames, latent_dim]` → `audio` f32 `[samples]`, no fade-in
- `temp` f32 `[1]`, `sampler_decode_steps` i64 `[1]`; also in the metadata, with `text`

`audio_prompt.safetensors` holds what happens to a prompt before it is encoded: per case
`resample_<from>_<to>_in` and `_out`, and `pause_<name>_in` and `_out` at 24 kHz.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from model_files import Array, read_safetensors, write_safetensors, write_tokenizer, write_yaml
from pocket_tts.data.audio_utils import convert_audio, end_on_pause
from pocket_tts.modules.stateful_module import init_states
from signals import voice_like
from tiny_model import merged, random_tensors, tiny_config, write_model

from reference.run_reference import Reference

N_FRAMES: Final = 8
TEXT: Final = "hello there, it is one."
SEED: Final = 5

_NO_TIME: Final[dict[str, Any]] = {"flow_lm": {"flow": {"type": "drifting"}}}
_GROUPED_HEADS: Final[dict[str, Any]] = {
    "d_model": 24,
    "attn_dim": 32,
    "num_heads": 4,
    "num_kv_heads": 2,
}
_DECODER_SEANET: Final[dict[str, Any]] = {
    **tiny_config()["mimi"]["seanet"],
    "dimension": 12,
    "kernel_size": 3,
}
_DECODER_TRANSFORMER: Final[dict[str, Any]] = {
    **tiny_config()["mimi"]["transformer"],
    "d_model": 12,
    "num_heads": 3,
    "num_layers": 3,
    "context": 9,
    "dim_feedforward": 20,
    "input_dimension": 12,
    "output_dimensions": [12],
}
_SEPARATE_DECODER: Final[dict[str, Any]] = {
    "outer_dim": 12,
    "quantizer": {"output_dimension": 12},
    "decoder_seanet": _DECODER_SEANET,
    "decoder_transformer": _DECODER_TRANSFORMER,
}

# Name, overrides of the tiny configuration, decode steps, temperature.
FIXTURES: Final[tuple[tuple[str, dict[str, Any], int, float], ...]] = (
    ("lsd", {}, 1, 0.3),
    ("lsd_4_steps", {}, 4, 0.7),
    ("flow_matching_4_steps", {"flow_lm": {"flow": {"type": "flow_matching"}}}, 4, 0.3),
    ("drifting", _NO_TIME, 1, 0.3),
    ("pointwise", {"flow_lm": {"flow": {"type": "pointwise"}}}, 1, 0.3),
    (
        "grouped_heads",
        merged(_NO_TIME, {"flow_lm": {"transformer": _GROUPED_HEADS, "lookup_table": {"dim": 24}}}),
        1,
        0.3,
    ),
    (
        "small_family",  # the options of the 2M model together
        {
            "flow_lm": {
                "z_dim": 12,
                "flow": {"type": "pointwise"},
                "transformer": {**_GROUPED_HEADS, "num_kv_heads": 1, "dim_feedforward": 20},
                "lookup_table": {"dim": 24, "rank": 6},
            },
            "mimi": _SEPARATE_DECODER,
        },
        1,
        0.3,
    ),
    (
        "z_dim_low_rank",
        merged(_NO_TIME, {"flow_lm": {"z_dim": 12, "lookup_table": {"rank": 6}}}),
        1,
        0.3,
    ),
    (
        "no_bos_no_inner_dim",
        merged(
            _NO_TIME, {"flow_lm": {"insert_bos_before_voice": False}, "mimi": {"inner_dim": None}}
        ),
        1,
        0.3,
    ),
    ("separate_decoder", merged(_NO_TIME, {"mimi": _SEPARATE_DECODER}), 1, 0.3),
    (
        "projected_transformers",
        merged(_NO_TIME, {"mimi": {"transformer": {"d_model": 8, "num_heads": 1}}}),
        1,
        0.3,
    ),
    (
        "replicate_padding",
        merged(_NO_TIME, {"mimi": {"seanet": {"pad_mode": "replicate"}}}),
        1,
        0.3,
    ),
    (
        "two_residual_layers",
        merged(_NO_TIME, {"mimi": {"seanet": {"n_residual_layers": 2}}}),
        1,
        0.3,
    ),
    (
        "grouped_upsample",
        merged(_NO_TIME, {"mimi": {"outer_dim": 32, "quantizer": {"output_dimension": 32}}}),
        1,
        0.3,
    ),
    (
        "no_resampling",
        merged(
            _NO_TIME,
            {"mimi": {"inner_dim": None, "outer_dim": None, "seanet": {"ratios": [8, 4, 4]}}},
        ),
        1,
        0.3,
    ),
)


def expected(reference: Reference) -> dict[str, Array]:
    """Inputs and outputs of one tiny model."""
    model = reference.model
    frame = model.mimi.frame_size
    rng = np.random.Generator(np.random.Philox(key=SEED))
    shape = (N_FRAMES, reference.latent_dim)
    # A ragged end: the encoder pads to whole frames.
    pcm = voice_like(5 * frame + 37, model.sample_rate, pitch_hz=90.0)
    noise = rng.standard_normal(shape, dtype=np.float32)
    decode_in = rng.standard_normal(shape, dtype=np.float32)

    rows = model._encode_audio(torch.from_numpy(pcm)[None, None])
    if model.flow_lm.insert_bos_before_voice:
        rows = torch.cat([model.flow_lm.bos_before_voice, rows], dim=1)
    voice = init_states(model.flow_lm, batch_size=1, sequence_length=rows.shape[1])
    model._run_flow_lm_and_increment_step(model_state=voice, audio_conditioning=rows)
    latents, eos_logits = reference.generate(voice, TEXT, noise)
    layers = sorted(voice, key=lambda name: int(name.split(".")[2]))
    return {
        "text_tokens": reference.tokens(TEXT),
        "pcm": pcm,
        "voice_latents": reference.encode(pcm),
        **{
            f"voice_kv_{index}": voice[layer]["cache"][:, 0].numpy()
            for index, layer in enumerate(layers)
        },
        "noise": noise,
        "latents": latents,
        "eos_logits": eos_logits,
        "decode_latents_in": decode_in,
        "audio": reference.decode(decode_in, [N_FRAMES]),
    }


def write_fixture(
    directory: Path, overrides: dict[str, Any], steps: int, temp: float
) -> dict[str, float]:
    """Write one case and return how sensitive its outputs are."""
    shutil.rmtree(directory, ignore_errors=True)
    config = tiny_config(overrides)
    path = write_model(directory, config, tensors=random_tensors(config, SEED))
    reference = Reference(path, temp=temp, steps=steps)
    sensitivity = reference.check_sensitivity()
    tensors = expected(reference)
    tensors["temp"] = np.array([temp], np.float32)
    tensors["sampler_decode_steps"] = np.array([steps], np.int64)
    for name, values in tensors.items():
        if not np.isfinite(values).all():
            message = f"{directory.name}: {name} is not finite"
            raise AssertionError(message)
    metadata = {"text": TEXT, "temp": str(temp), "sampler_decode_steps": str(steps)}
    write_safetensors(directory / "expected.safetensors", tensors, metadata=metadata)
    # Paths relative to the directory, so that the fixture may lie anywhere.
    config["weights_path"] = "model.safetensors"
    write_yaml(path, config)
    write_tokenizer(directory / "tokenizer.json", config["flow_lm"]["lookup_table"]["n_bins"])
    return sensitivity


def prompt_tensors() -> dict[str, Array]:
    """Resampled and pause-ended audio."""
    tensors: dict[str, Array] = {}
    for source, target in ((16000, 24000), (44100, 24000), (48000, 24000), (8000, 24000)):
        samples = voice_like(source // 25 + 3, source, seed=source)
        result = convert_audio(torch.from_numpy(samples)[None], source, target, 1)[0]
        tensors[f"resample_{source}_{target}_in"] = samples
        tensors[f"resample_{source}_{target}_out"] = result.numpy()
    rate = 24000
    loud = voice_like(3000, rate, seed=3)
    quiet = np.full(1300, 1e-4, np.float32)
    cases = {
        "silent_end": np.concatenate([loud, quiet]),
        "loud_end": loud,
        "loud_partial_frame": np.concatenate([loud[:960], quiet[:480], loud[-300:]]),
        "single_frame": loud[:480],
        "under_a_frame": loud[:479],
    }
    for name, samples in cases.items():
        tensors[f"pause_{name}_in"] = samples
        tensors[f"pause_{name}_out"] = end_on_pause(torch.from_numpy(samples)[None], rate)[
            0
        ].numpy()
    return tensors


def main() -> None:
    """Write all fixtures and print their sizes and sensitivities."""
    parser = argparse.ArgumentParser(description="Make the committed references.")
    parser.add_argument("directory", type=Path)
    root: Path = parser.parse_args().directory
    root.mkdir(parents=True, exist_ok=True)
    write_safetensors(root / "audio_prompt.safetensors", prompt_tensors())
    for name, overrides, steps, temp in FIXTURES:
        sensitivity = write_fixture(root / name, overrides, steps, temp)
        kilobytes = {path.name: path.stat().st_size / 1e3 for path in (root / name).iterdir()}
        count = len(read_safetensors(root / name / "model.safetensors"))
        summary = ", ".join(f"{key} {value:.2f}" for key, value in sensitivity.items())
        print(name, f"{count} tensors", kilobytes, summary)
    total = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
    print(f"{total / 1e6:.2f} MB in all")


if __name__ == "__main__":
    main()
