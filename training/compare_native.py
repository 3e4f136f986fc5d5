"""The half of `compare.py` that runs with `pocket_tts_native`."""

import sys

import numpy as np
import pocket_tts_native

# Largest difference over largest value: float32 sums in another order.
TOLERANCE = 1e-5
# ... or so many times what one rounding in its input does to the reference.
ROUNDINGS = 4.0


def relative_difference(value: object, wanted: np.ndarray) -> float:
    """Largest difference over largest value."""
    found = np.asarray(value).reshape(wanted.shape)
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


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
    failures = []
    for name, value in ours.items():
        error = relative_difference(value, reference[name])
        inherent = relative_difference(reference[f"disturbed_{name}"], reference[name])
        print(f"{name}: relative difference {error:.1e}, the reference's to itself {inherent:.1e}")
        if error > max(TOLERANCE, ROUNDINGS * inherent):
            failures.append(name)
    if failures:
        sys.exit(f"the bundle sounds different here: {', '.join(failures)}")


if __name__ == "__main__":
    main()
