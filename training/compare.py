"""Checks that the reference and this package agree on a bundle: `python -m training.compare BUNDLE`.

Runs in the reference's environment; `--native-python` names an interpreter with
`pocket_tts_native`. Both get the same recording, text and noise.
"""

import argparse
import subprocess
import tempfile
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from pocket_tts import TTSModel
from pocket_tts.modules.stateful_module import init_states

from training.features import LATENT_DIM

FRAMES = 50
ROUNDING = 2.0**-23
TEXT = "The wind had dropped, and nobody on the boat said a word."
HERE = Path(__file__).parent


@torch.no_grad()
def reference_outputs(
    config: Path, recording: Path, text: str, noise: np.ndarray, rounding: float = 0.0
) -> dict[str, np.ndarray]:
    """Latents, end logits and audio of `len(noise)` frames; `rounding` disturbs the voice."""
    model = TTSModel.load_model(config=config)
    encode = model._encode_audio
    generator = torch.Generator().manual_seed(0)

    def disturbed(audio: torch.Tensor) -> torch.Tensor:
        rows = encode(audio)
        return rows * (1.0 + rounding * torch.randn(rows.shape, generator=generator))

    model._encode_audio = disturbed
    flow_lm = model.flow_lm
    state = model.get_state_for_audio_prompt(recording)
    tokens = flow_lm.conditioner.prepare(text)
    model._expand_kv_cache(state, model._flow_lm_current_end(state) + tokens.shape[1] + len(noise))
    model._run_flow_lm_and_increment_step(model_state=state, text_tokens=tokens)
    rows = iter(torch.from_numpy(noise))
    logits: list[torch.Tensor] = []
    flow_lm.out_eos.register_forward_hook(lambda _module, _inputs, output: logits.append(output[0]))
    latents = [torch.full((1, 1, flow_lm.ldim), float("nan"))]

    def given(target: torch.Tensor, mean: float, std: float) -> torch.Tensor:
        return target.copy_(next(rows) * std + mean)

    with mock.patch.object(torch.nn.init, "normal_", given):
        for _ in noise:
            latents.append(
                model._run_flow_lm_and_increment_step(state, backbone_input_latents=latents[-1])[0]
            )
    made = torch.cat(latents[1:], dim=1)
    mimi_state = init_states(model.mimi, batch_size=1, sequence_length=16 * len(noise))
    audio = model.mimi.decode_from_latent(made * flow_lm.emb_std + flow_lm.emb_mean, mimi_state)
    return {
        "latents": made[0].numpy(),
        "logits": torch.cat(logits).numpy(),
        "audio": audio[0, 0].numpy(),
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--native-python", default=HERE.parent / ".venv" / "bin" / "python")
    parser.add_argument("--recording", type=Path, default=HERE.parent / "ref.wav")
    arguments = parser.parse_args()

    torch.set_num_threads(1)
    config = arguments.bundle / "config.yaml"
    noise = np.random.default_rng(1).standard_normal((FRAMES, LATENT_DIM), dtype=np.float32)
    outputs = reference_outputs(config, arguments.recording, TEXT, noise)
    # The model feeds its latents back, which can magnify a rounding: what the reference itself
    # makes of one in its input is the measure of what can be asked of another implementation.
    disturbed = reference_outputs(config, arguments.recording, TEXT, noise, ROUNDING)
    outputs |= {f"disturbed_{name}": value for name, value in disturbed.items()}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "reference.npz")
        np.savez(
            path,
            noise=noise,
            text=TEXT,
            config=str(config),
            recording=str(arguments.recording),
            **outputs,
        )
        subprocess.run([arguments.native_python, HERE / "compare_native.py", path], check=True)


if __name__ == "__main__":
    main()
