"""The half of `compare.py` that runs with `pocket_tts_native`."""

import sys

import numpy as np
import pocket_tts_native

# Largest difference over largest value: float32 sums in another order.
TOLERANCE = 1e-5


def main() -> None:
    """Compare with the outputs that `compare.py` wrote."""
    with np.load(sys.argv[1]) as file:
        reference = dict(file)
    model = pocket_tts_native.TTSModel.load_model(config=str(reference["config"]))
    state = model.get_state_for_audio_prompt(str(reference["recording"]))
    noise = reference["noise"]
    latents, logits = model.generate_latents(
        state, str(reference["text"]), frames=len(noise), noise=noise
    )
    ours = {"latents": latents, "logits": logits, "audio": model.decode_latents(latents)}
    worst = 0.0
    for name, value in ours.items():
        wanted = reference[name].reshape(np.shape(value))
        error = float(np.abs(np.asarray(value) - wanted).max() / np.abs(wanted).max())
        worst = max(worst, error)
        print(f"{name}: largest {np.abs(wanted).max():.3f}, relative difference {error:.1e}")
    if worst > TOLERANCE:
        sys.exit(f"the bundle sounds different here: {worst:.1e} is above {TOLERANCE:.0e}")


if __name__ == "__main__":
    main()
