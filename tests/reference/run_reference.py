"""Serve outputs of the PyTorch reference: one JSON request a line in, one JSON reply a line out.

    PYTHONPATH=tests $POCKET_REFERENCE_PYTHON -m reference.run_reference

One process answers many requests, because the import alone takes seconds. Requests:

- `{"op": "make", "directory": …, "spec": …}` writes a model (`reference.model_factory`).
- `{"op": "run", "config": …, "temp": …, "steps": …, "inputs": "in.npz", "output": "out.npz", …}`
  runs every stage that has an input and writes the results; `Reference.run` lists them.
- `{"op": "speak", "config": …, "voice": …, "noise": "in.npy", "speeches": […], "output": …}` speaks
  texts from end to end; `Reference.speak` lists the outputs.
- `{"op": "texts", "config": …, "texts": […], "max_tokens": […]}` prepares each text and splits it at
  its `max_tokens`; replies `prepared`, `[text, frames_after_eos]` each or null for an empty text, and
  `chunks`.

Everything is float32 on one thread. Replies hold `seconds`, or `error` with a traceback.
"""

from __future__ import annotations

import contextlib
import copy
import json
import os
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import numpy.typing as npt
import torch
from pocket_tts import TTSModel
from pocket_tts.models.model_state import export_model_state
from pocket_tts.models.text_chunking import prepare_text_prompt, split_into_best_sentences
from pocket_tts.modules.stateful_module import increment_steps, init_states

from reference.model_factory import make_model

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

Floats: TypeAlias = npt.NDArray[np.float32]
State: TypeAlias = dict[str, dict[str, torch.Tensor]]

torch.set_num_threads(1)
torch.set_grad_enabled(False)

# Other latents must change the audio by this share of its RMS, or a decoder that ignores its input
# would pass; likewise what text and voice must change in the latents, the noise taken out.
MIN_AUDIO_SENSITIVITY = 0.5
MIN_TEXT_SENSITIVITY = 0.05
MIN_VOICE_SENSITIVITY = 0.05
MIN_NETWORK_SHARE = 0.2


def relative_l2(a: Floats, b: Floats) -> float:
    """`‖a − b‖ / ‖b‖` in float64."""
    difference = a.astype(np.float64) - b.astype(np.float64)
    return float(np.linalg.norm(difference) / np.linalg.norm(b.astype(np.float64)))


@contextlib.contextmanager
def injected_noise(rows: Iterator[torch.Tensor]) -> Iterator[None]:
    """Replace the reference's noise draws by `rows` of standard normals times its deviation."""
    original = torch.nn.init.normal_

    def replacement(tensor: torch.Tensor, mean: float = 0.0, std: float = 1.0) -> torch.Tensor:
        return tensor.copy_(next(rows) * std + mean)

    torch.nn.init.normal_ = replacement
    try:
        yield
    finally:
        torch.nn.init.normal_ = original


class Reference:
    """A model of the reference with its inner stages opened up."""

    def __init__(self, config_path: Path, *, temp: float, steps: int) -> None:
        """Load the model at `config_path`."""
        self.model = TTSModel.load_model(
            config=str(config_path), temp=temp, sampler_decode_steps=steps
        )
        self.temp = temp
        self.latent_dim = int(self.model.flow_lm.ldim)
        mimi = self.model.mimi
        self.codec_stride = int(mimi.encoder_frame_rate / mimi.frame_rate)

    def tokens(self, text: str) -> npt.NDArray[np.int64]:
        """Token ids of `text` as it is."""
        ids: npt.NDArray[np.int64] = self.model.flow_lm.conditioner.prepare(text)[0].numpy()
        return ids

    def encode(self, pcm: Floats) -> Floats:
        """Voice latents `[frames, inner_dim]` of mono audio at the model's rate."""
        audio = torch.from_numpy(pcm)[None, None]
        latents: Floats = self.model.mimi.encode_to_latent(audio)[0].numpy()
        return latents

    def voice_state(self, prompt: str | Floats) -> State:
        """State after the voice pass over a WAV file, an exported state or an array."""
        source = prompt if isinstance(prompt, str) else torch.from_numpy(prompt)[None]
        state: State = self.model.get_state_for_audio_prompt(source)
        return state

    def generate(self, voice: State, text: str, noise: Floats) -> tuple[Floats, Floats]:
        """Latents `[frames, latent_dim]` and EOS logits `[frames]`, one row of noise a frame."""
        model, n_frames = self.model, len(noise)
        state = copy.deepcopy(voice)
        tokens = model.flow_lm.conditioner.prepare(text)
        end = model._flow_lm_current_end(state) + tokens.shape[1] + n_frames
        model._expand_kv_cache(state, sequence_length=end)
        logits: list[float] = []
        latents: list[torch.Tensor] = []
        # The text pass draws once and throws the draw away.
        discarded = torch.zeros(1, self.latent_dim)
        rows = iter([discarded, *torch.from_numpy(noise)[:, None]])
        with injected_noise(rows):
            model._run_flow_lm_and_increment_step(model_state=state, text_tokens=tokens)
            hook = model.flow_lm.out_eos.register_forward_hook(
                lambda _module, _inputs, output: logits.append(float(output))
            )
            latent = torch.full((1, 1, self.latent_dim), float("nan"))
            for _ in range(n_frames):
                latent, _ = model._run_flow_lm_and_increment_step(
                    model_state=state, backbone_input_latents=latent
                )
                latents.append(latent[0, 0])
            hook.remove()
        return torch.stack(latents).numpy(), np.array(logits, dtype=np.float32)

    def forced(
        self, voice: State, text: str, given: Floats, noise: Floats
    ) -> tuple[Floats, Floats]:
        """As `generate`, but each frame follows the rows of `given` before it."""
        run = self.model._run_flow_lm_and_increment_step
        before = iter(torch.from_numpy(given)[:, None, None])
        is_first = True

        def forced(**arguments: Any) -> Any:  # noqa: ANN401
            nonlocal is_first
            if arguments.get("backbone_input_latents") is not None:
                if not is_first:
                    arguments["backbone_input_latents"] = next(before)
                is_first = False
            return run(**arguments)

        self.model._run_flow_lm_and_increment_step = forced
        try:
            return self.generate(voice, text, noise)
        finally:
            del self.model._run_flow_lm_and_increment_step

    def decode(self, latents: Floats, groups: Sequence[int]) -> Floats:
        """Samples of `latents`, handed to the codec in `groups` of frames; no fade-in."""
        model = self.model
        state = init_states(
            model.mimi, batch_size=1, sequence_length=len(latents) * self.codec_stride
        )
        pieces = []
        for group in torch.from_numpy(latents)[None].split(list(groups), dim=1):
            scaled = group * model.flow_lm.emb_std + model.flow_lm.emb_mean
            pieces.append(model.mimi.decode_from_latent(scaled, state)[0, 0])
            increment_steps(model.mimi, state, increment=self.codec_stride * group.shape[1])
        audio: Floats = torch.cat(pieces).numpy()
        return audio

    def speak(
        self, voice: str, noise: Floats, speeches: Sequence[Mapping[str, Any]]
    ) -> dict[str, Any]:
        """Speak the texts of each speech over the same noise, one row per frame.

        Results by name of the speech: `audio_<name>`, all texts joined; `lengths_<name>`, the
        samples of each text; `draws_<name>`, the rows consumed.
        """
        results: dict[str, Any] = {}
        # Groups of frames depend on the speed of two threads; single frames do not.
        self.model.max_decoder_frames_per_call = 1
        for speech in speeches:
            state = self.voice_state(voice)
            self.model.eos_threshold = speech["eos_threshold"]
            with self.frame_noise(noise) as rows_left:
                audio = [
                    self.model.generate_audio(
                        state,
                        text,
                        max_tokens=speech["max_tokens"],
                        frames_after_eos=speech["frames_after_eos"],
                        copy_state=speech["copy_state"],
                    )
                    for text in speech["texts"]
                ]
                n_left = len(list(rows_left))
            results[f"audio_{speech['name']}"] = torch.cat(audio).numpy()
            results[f"lengths_{speech['name']}"] = np.array([len(samples) for samples in audio])
            results[f"draws_{speech['name']}"] = len(noise) - n_left
        return results

    @contextlib.contextmanager
    def frame_noise(self, noise: Floats) -> Iterator[Iterator[torch.Tensor]]:
        """Give a row of `noise` to every frame, and zeros to text passes, which draw in vain."""
        model = self.model
        run = model._run_flow_lm_and_increment_step
        is_frame = False

        def watched(**arguments: Any) -> Any:  # noqa: ANN401
            nonlocal is_frame
            is_frame = arguments.get("backbone_input_latents") is not None
            return run(**arguments)

        rows = iter(torch.from_numpy(noise)[:, None])
        discarded = torch.zeros(1, self.latent_dim)
        model._run_flow_lm_and_increment_step = watched

        def draws() -> Iterator[torch.Tensor]:
            while True:
                yield next(rows) if is_frame else discarded

        try:
            with injected_noise(draws()):
                yield rows
        finally:
            del model._run_flow_lm_and_increment_step

    def network_share(self, latents: Floats, noise: Floats) -> Floats:
        """Latents less the noise that the head passes through unchanged."""
        if self.model.flow_lm.flow_type == "drifting":
            return latents
        return latents - noise * np.float32(self.temp**0.5)

    def check_sensitivity(self) -> dict[str, float]:
        """Measure how much latents, text, voice and noise matter; fail where one hardly does."""
        rng = np.random.Generator(np.random.Philox(key=7))
        rate = self.model.sample_rate
        frame = self.model.mimi.frame_size
        noise = rng.standard_normal((8, self.latent_dim), dtype=np.float32)
        time_s = np.arange(12 * frame, dtype=np.float32) / rate
        buzz = 0.4 * np.sign(np.sin(2 * np.pi * 0.01 * rate * time_s)).astype(np.float32)
        hiss = 0.2 * rng.standard_normal(12 * frame, dtype=np.float32)
        voice, other_voice = self.voice_state(buzz), self.voice_state(hiss)
        text, other_text = "one two three four", "A different text, please."
        results = {}

        base, _ = self.generate(voice, text, noise)
        share = self.network_share(base, noise)
        with_text, _ = self.generate(voice, other_text, noise)
        with_voice, _ = self.generate(other_voice, text, noise)
        results["network_share"] = float(np.linalg.norm(share) / np.linalg.norm(base))
        results["text"] = relative_l2(self.network_share(with_text, noise), share)
        results["voice"] = relative_l2(self.network_share(with_voice, noise), share)
        with_noise, _ = self.generate(voice, text, np.roll(noise, 1, axis=0))
        results["noise"] = relative_l2(with_noise, base)

        latents = rng.standard_normal((2, 6, self.latent_dim), dtype=np.float32)
        audio, other_audio = (self.decode(rows, [len(rows)]) for rows in latents)
        results["audio"] = relative_l2(other_audio, audio)
        results["audio_rms"] = float(np.sqrt(np.mean(np.square(audio))))
        results["latent_rms"] = float(np.sqrt(np.mean(np.square(base))))
        # How a tiny difference grows over the frames: the room that rounding errors have.
        nudged, _ = self.generate(voice, text, noise * np.float32(1 + 1e-4))
        results["noise_gain"] = relative_l2(self.network_share(nudged, noise), share) / 1e-4

        bounds = {
            "audio": MIN_AUDIO_SENSITIVITY,
            "text": MIN_TEXT_SENSITIVITY,
            "voice": MIN_VOICE_SENSITIVITY,
            "noise": MIN_TEXT_SENSITIVITY,
            "network_share": MIN_NETWORK_SHARE,
        }
        for name, bound in bounds.items():
            if not results[name] >= bound:
                message = f"{name} hardly matters in this model: {results[name]:.3g} < {bound}"
                raise AssertionError(message)
        for name in ("audio_rms", "latent_rms"):
            if not 0.05 < results[name] < 20.0:
                message = f"{name} of {results[name]:.3g} is far from 1"
                raise AssertionError(message)
        return results

    def run(self, request: Mapping[str, Any], inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Outputs for `inputs`.

        - `texts` (in the request) → `tokens_<i>`
        - `pcm_<name>` → `voice_latents_<name>`
        - `voice_wav` (in the request), `text` and `noise` → `latents`, `eos_logits`, the voice state
          as `kv_<layer>` `[2, frames, kv_heads, head_dim]`; the state is exported to `voice_export`
        - `forced` besides → `forced_latents`, `forced_eos_logits`
        - `voice_array` → `array_latents`, from a state made of the array
        - `prompts` (in the request, paths by name) → `prompt_latents_<name>`, over `prompt_noise`
        - `decode_in`, `groups` (in the request) → `audio`, `audio_by_frame`, `audio_by_group`
        - always: `sensitivity_<name>` of `check_sensitivity`, unless `check` is false
        """
        results: dict[str, Any] = {}
        for index, text in enumerate(request.get("texts", [])):
            results[f"tokens_{index}"] = self.tokens(text)
        for name, pcm in inputs.items():
            if name.startswith("pcm_"):
                results[f"voice_latents_{name.removeprefix('pcm_')}"] = self.encode(pcm)
        text = request.get("text", "")
        if "noise" in inputs:
            voice = self.voice_state(request["voice_wav"])
            if request.get("voice_export"):
                export_model_state(voice, request["voice_export"])
            for index, layer in enumerate(sorted(voice, key=lambda name: int(name.split(".")[2]))):
                results[f"kv_{index}"] = voice[layer]["cache"][:, 0].numpy()
            results["latents"], results["eos_logits"] = self.generate(voice, text, inputs["noise"])
            if "forced" in inputs:
                results["forced_latents"], results["forced_eos_logits"] = self.forced(
                    voice, text, inputs["forced"], inputs["noise"]
                )
        if "voice_array" in inputs:
            voice = self.voice_state(inputs["voice_array"])
            results["array_latents"], _ = self.generate(voice, text, inputs["prompt_noise"])
        for name, path in request.get("prompts", {}).items():
            voice = self.voice_state(path)
            latents, _ = self.generate(voice, text, inputs["prompt_noise"])
            results[f"prompt_latents_{name}"] = latents
        if "decode_in" in inputs:
            latents = inputs["decode_in"]
            results["audio"] = self.decode(latents, [len(latents)])
            results["audio_by_frame"] = self.decode(latents, [1] * len(latents))
            results["audio_by_group"] = self.decode(latents, request["groups"])
        if request.get("check", True):
            for name, value in self.check_sensitivity().items():
                results[f"sensitivity_{name}"] = np.float64(value)
        return results


def prepare_and_split(
    config: Path, texts: Sequence[str], max_tokens: Sequence[int]
) -> dict[str, Any]:
    """What speaking each text starts with, by the functions and settings that speaking uses."""
    model = TTSModel.load_model(config=str(config))
    settings = {
        "pad_with_spaces_for_short_inputs": model.pad_with_spaces_for_short_inputs,
        "remove_semicolons": model.remove_semicolons,
        "append_terminal_punctuation": model.append_terminal_punctuation,
        "capitalize_first_letter": model.capitalize_first_letter,
        "replace_characters": model.replace_characters,
    }
    tokenizer = model.flow_lm.conditioner.tokenizer
    prepared: list[tuple[str, int] | None] = []
    chunks: list[list[str] | None] = []
    for text, most in zip(texts, max_tokens, strict=True):
        try:
            result, frames = prepare_text_prompt(text, **settings)
        except ValueError as error:
            if "empty" not in str(error):
                raise
            prepared.append(None)
            chunks.append(None)
            continue
        # Speaking adds two frames to the guess.
        prepared.append((result, frames + 2))
        chunks.append(split_into_best_sentences(tokenizer, text, most, **settings))
    return {"prepared": prepared, "chunks": chunks}


def handle(request: dict[str, Any]) -> dict[str, Any]:
    """Answer one request."""
    if request["op"] == "make":
        make_model(Path(request["directory"]), request["spec"])
        return {}
    if request["op"] == "run":
        reference = Reference(Path(request["config"]), temp=request["temp"], steps=request["steps"])
        with np.load(request["inputs"]) as archive:
            inputs = dict(archive)
        np.savez(request["output"], **reference.run(request, inputs))
        return {}
    if request["op"] == "speak":
        reference = Reference(Path(request["config"]), temp=request["temp"], steps=request["steps"])
        noise = np.load(request["noise"])
        np.savez(request["output"], **reference.speak(request["voice"], noise, request["speeches"]))
        return {}
    if request["op"] == "texts":
        config = Path(request["config"])
        return prepare_and_split(config, request["texts"], request["max_tokens"])
    message = f"unknown operation {request['op']!r}"
    raise ValueError(message)


def main() -> None:
    """Answer requests until standard input ends."""
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # prints of libraries are no replies
    for line in sys.stdin:
        started = time.monotonic()
        try:
            reply = handle(json.loads(line))
        except Exception:  # noqa: BLE001  reported to the caller, who fails the test
            reply = {"error": traceback.format_exc()}
        reply["seconds"] = round(time.monotonic() - started, 3)
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


if __name__ == "__main__":
    main()
