"""What a recogniser reads back: `python -m training.probe --sentences 30`.

Speaks held-out sentences with the checkpoints and with the teacher, recognises both with
pocketsphinx, and prints the word errors. `--oracle` decodes the teacher's own latents instead of
generated ones, which judges the decoder alone; `--griffin-lim` replaces the decoder, and with
`--unreduced` it gets the spectra before the PCA, which judges the latents alone.
"""

import argparse
import json
import wave
from pathlib import Path

import numpy as np
import torch

from training.codec import Decoder
from training.common import load_configuration, load_restart_point
from training.corpus import VOICES, words_of
from training.export import teacher_prompt
from training.features import (
    FFT_SAMPLES,
    HOP_SAMPLES,
    LATENT_DIM,
    MEL_BANDS,
    SAMPLE_RATE_HZ,
    Pca,
    frame_features,
    mel_filters,
)
from training.generate import generate_latents
from training.lm import LanguageModel
from training.paths import data_folder
from training.recognition import Recogniser, edits
from training.speech import Flite, whole_frames


def samples_by_griffin_lim(features: np.ndarray, rounds: int = 30) -> np.ndarray:
    """A crude inversion of the log-mel spectra in `frame_features`, for want of a decoder."""
    hops = features.reshape(-1, MEL_BANDS + 2)[:, :MEL_BANDS]
    power = np.maximum(np.exp(2 * hops) @ np.linalg.pinv(mel_filters()), 1e-8)
    size = torch.from_numpy(np.sqrt(power).T.astype(np.float32))
    window = torch.hann_window(640)
    options = {"n_fft": FFT_SAMPLES, "hop_length": HOP_SAMPLES, "win_length": 640, "window": window}
    phase = torch.rand(size.shape, generator=torch.Generator().manual_seed(0)) * 6.28
    for _ in range(rounds):
        samples = torch.istft(torch.polar(size, phase), **options)
        phase = torch.stft(samples, **options, return_complex=True).angle()[:, : size.shape[1]]
    return torch.istft(torch.polar(size, phase), **options).numpy()


def write_wav(path: Path, samples: np.ndarray) -> None:
    """16-bit mono."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE_HZ)
        file.writeframes((samples.clip(-1, 1) * 32767).astype("<i2").tobytes())


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sentences", type=int, default=20, help="per voice")
    parser.add_argument("--voices", nargs="+", default=list(VOICES))
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--temperature", type=float, default=0.1)
    parser.add_argument("--griffin-lim", action="store_true")
    parser.add_argument("--oracle", action="store_true")
    parser.add_argument("--unreduced", action="store_true")
    parser.add_argument("--source", type=Path, default=data_folder() / "runs")
    parser.add_argument("--out", type=Path, help="folder for the sounds")
    arguments = parser.parse_args()
    if arguments.unreduced and not (arguments.oracle and arguments.griffin_lim):
        parser.error("--unreduced goes with --oracle --griffin-lim: only the teacher has spectra")

    torch.set_num_threads(1)
    folder = data_folder()
    config = load_configuration()
    pca = Pca.load(folder / "pca.npz")
    model = LanguageModel(config, torch.ones(LATENT_DIM)).eval()
    decoder = Decoder(config.mimi).eval()
    if not arguments.oracle:
        load_restart_point(model, "lm", arguments.source)
    if not arguments.griffin_lim:
        load_restart_point(decoder, "decoder", arguments.source)
    flite = Flite(folder / "unpacked")
    sentences = [entry["text"] for entry in json.loads((folder / "held_out.json").read_text())][
        : arguments.sentences
    ]
    recogniser = Recogniser()

    for voice in arguments.voices:
        teachers = [whole_frames(flite.speak(text, voice)) for text in sentences]
        if arguments.oracle:
            made = [
                (torch.from_numpy(pca.latents(frame_features(sound))).float(), True)
                for sound in teachers
            ]
        else:
            prompt = teacher_prompt(voice)
            made = generate_latents(
                model.flow_lm,
                sentences,
                prompt,
                temperature=arguments.temperature,
                steps=arguments.steps,
                end_threshold=config.default_eos_threshold,
            )
        words = ours = theirs = 0
        for index, (text, teacher, (latents, _)) in enumerate(
            zip(sentences, teachers, made, strict=True)
        ):
            if arguments.griffin_lim:
                features = (
                    frame_features(teacher)
                    if arguments.unreduced
                    else pca.features(latents.numpy())
                )
                sound = samples_by_griffin_lim(features)
            else:
                with torch.no_grad():
                    sound = decoder(latents[None])[0].numpy()
            said = words_of(text)
            heard = recogniser.words(sound)
            words += len(said)
            ours += edits(said, heard)
            theirs += edits(said, recogniser.words(teacher))
            if index < 8:
                print(
                    f"  {text!r}\n    heard {' '.join(heard)!r}, {len(latents)} frames, teacher {len(teacher) // 1280}"
                )
            if arguments.out:
                arguments.out.mkdir(parents=True, exist_ok=True)
                write_wav(arguments.out / f"{voice}_{index:03d}.wav", sound)
        ratio = sum(len(latents) for latents, _ in made) / sum(
            len(sound) / 1280 for sound in teachers
        )
        ended = sum(found for _, found in made)
        print(
            f"{voice}: word error {ours / words:.3f}, teacher {theirs / words:.3f}, length ratio {ratio:.2f}, "
            f"{ended} of {len(made)} ended",
            flush=True,
        )


if __name__ == "__main__":
    main()
