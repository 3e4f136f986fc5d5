"""`TTSModel`: the reference's class over the compiled engine.

Arguments are checked and defaults chosen here; everything is computed in `_native`.
"""

from __future__ import annotations

import math
import os
import secrets
from collections.abc import AsyncIterable
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np

from pocket_tts_native.audio import Audio
from pocket_tts_native.config_view import ConfigView
from pocket_tts_native.incremental import (
    IncrementalSpeech,
    SpeakOptions,
    TextFeed,
    begin_incremental,
    check_text,
)
from pocket_tts_native.inspection import DEFAULT_MAX_TOKENS, Inspection
from pocket_tts_native.loading import load_native
from pocket_tts_native.module_like import ModuleLike
from pocket_tts_native.old_names import decode_steps, model_names
from pocket_tts_native.prompt import voice_from_prompt
from pocket_tts_native.stats import Measured
from pocket_tts_native.stream import AudioStream
from pocket_tts_native.voice import VoiceState, check_replaceable, native_state, replace_state
from pocket_tts_native.voices import local_prompt

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable
    from os import PathLike
    from pathlib import PurePath

    from numpy.typing import NDArray

    from pocket_tts_native import _native
    from pocket_tts_native.loading import LoadedModel
    from pocket_tts_native.prompt import Prompt
    from pocket_tts_native.stream import StopEvent
    from pocket_tts_native.voice import ModelState

# 1 makes a chunk that never comes to its end an error; the reference's name.
_REQUIRE_EOS_VARIABLE: Final = "KPOCKET_TTS_ERROR_WITHOUT_EOS"
_PRECISIONS: Final = ("f32", "bf16", "int8", "auto")
_SEED_BITS: Final = 64


class TTSModel(Inspection, Measured, ModuleLike):
    """A text-to-speech model, loaded once and usable from any number of threads.

    Make one with `TTSModel.load_model`. The sampling attributes may be changed between calls; a
    call uses the values at its start.

    Attributes:
        temp: Sampling temperature: the noise has the variance `temp`.
        sampler_decode_steps: Steps of the flow head per frame.
        noise_clamp: Bound of the scaled noise, or None.
        eos_threshold: Speech ends once the end-of-speech logit exceeds it.
        max_decoder_frames_per_call: Most frames that the codec decodes at once; 0 or less for all
            that are ready, which is faster. The audio does not depend on it.
        has_custom_weights: Whether the weights are those of a training checkpoint.
    """

    temp: float
    sampler_decode_steps: int
    noise_clamp: float | None
    eos_threshold: float
    max_decoder_frames_per_call: int
    has_custom_weights: bool = False

    def __init__(
        self,
        loaded: LoadedModel,
        *,
        temp: float,
        sampler_decode_steps: int,
        noise_clamp: float | None,
        eos_threshold: float,
    ) -> None:
        """Wrap a loaded engine; use `load_model` instead."""
        self._loaded = loaded
        self._native = loaded.native
        self.temp = temp
        self.sampler_decode_steps = sampler_decode_steps
        self.noise_clamp = noise_clamp
        self.eos_threshold = eos_threshold
        self.max_decoder_frames_per_call = 0
        self._check_sampling()

    @classmethod
    def load_model(
        cls,
        language: str | None = None,
        config: str | PathLike[str] | None = None,
        temp: float | None = None,
        sampler_decode_steps: int = 1,
        noise_clamp: float | None = None,
        eos_threshold: float | None = None,
        quantize: bool = False,
        checkpoint: str | PathLike[str] | None = None,
        lsd_decode_steps: int | None = None,
        *,
        variant: str | None = None,
        precision: str | None = None,
        num_threads: int | None = None,
    ) -> TTSModel:
        """Load a model.

        Released models are downloaded from the Hugging Face hub once, into the cache that its
        programs share. Their weights with voice cloning need access to the repository
        `kyutai/pocket-tts`; without it a warning is logged, the ones without serve, and
        `has_voice_cloning` is False.

        Args:
            language: Name of a released model; without `config`, None stands for `"english"`.
            config: A `.yaml` configuration of the caller's own: a local path, `http(s)://` or
                `hf://owner/repo/file[@revision]`, as the files that it names. Relative paths in it
                are relative to the working directory.
            temp: Sampling temperature; None for the configuration's.
            sampler_decode_steps: Steps of the flow head per frame, at least 1.
            noise_clamp: Bound of the scaled noise, which is redrawn until it lies within; None
                for no bound.
            eos_threshold: Speech ends once the end-of-speech logit exceeds it; None for the
                configuration's.
            quantize: The same as `precision="int8"`.
            checkpoint: Training checkpoint (`.pt`) of the reference, whose weights count instead of
                the configuration's; PyTorch must be installed to read it. The moving average of
                the weights counts where there is one, and the configuration's codec where the
                checkpoint has none. The released voices do not fit it.
            lsd_decode_steps: Deprecated name of `sampler_decode_steps`, which it overrides.
            variant: Deprecated name of `language`.
            precision: Arithmetic: `"f32"` (the default) is exact; `"bf16"` takes half the memory;
                `"int8"` a quarter, and is the fastest. `"auto"` is `"int8"`. `docs/precision.md`
                tells what each costs in quality.
            num_threads: Threads to compute with; None for the engine's choice. The results do
                not depend on it.

        Returns:
            The model.

        Raises:
            ConnectionError: A download failed.
            FileNotFoundError: No released model has the name `language`, or a file is missing, or
                it is not in the cache and HF_HUB_OFFLINE is set.
            ImportError: There is a `checkpoint`, and PyTorch is not installed.
            ModelFormatError: A file is damaged or does not fit the others (a `ValueError`).
            PermissionError: A server refuses a download.
            ValueError: The arguments exclude each other or are out of range.
        """
        precision = _precision(precision, is_quantized=quantize)
        if num_threads is not None and num_threads < 1:
            raise ValueError(f"num_threads must be at least 1, found {num_threads}")
        sampler_decode_steps = decode_steps(sampler_decode_steps, lsd_decode_steps, stacklevel=2)
        language, config = model_names(language, config, variant, stacklevel=2)
        loaded = load_native(
            language,
            config,
            precision=precision,
            num_threads=num_threads,
            checkpoint=checkpoint,
        )
        native = loaded.native
        model = cls(
            loaded,
            temp=native.default_temperature if temp is None else temp,
            sampler_decode_steps=sampler_decode_steps,
            noise_clamp=noise_clamp,
            eos_threshold=native.default_eos_threshold if eos_threshold is None else eos_threshold,
        )
        model.has_custom_weights = checkpoint is not None
        return model

    @property
    def sample_rate(self) -> int:
        """Samples per second of all audio, in Hz."""
        return self._native.sample_rate

    @property
    def precision(self) -> str:
        """The arithmetic: `"f32"`, `"bf16"` or `"int8"`."""
        return self._native.precision

    @property
    def has_voice_cloning(self) -> bool:
        """Whether voices can be made from audio; saved and predefined ones always work."""
        return self._loaded.has_voice_cloning

    @property
    def config(self) -> ConfigView:
        """The configuration, to be read: `model.config.mimi.sample_rate`, `model.config.model_dump()`."""
        return ConfigView(self._loaded.config.as_dict())

    @property
    def origin(self) -> PurePath | str:
        """Path or address of the configuration; `<language>.yaml` for a released model."""
        return self._loaded.origin

    def get_state_for_audio_prompt(
        self,
        audio_conditioning: Prompt,
        truncate: bool = False,
        *,
        sample_rate: int | None = None,
    ) -> VoiceState:
        """Make the voice that a recording speaks with.

        The recording is resampled to the model's rate and cut at its last pause. Clipped, very short
        and, without `truncate`, long ones are told to the logger `pocket_tts_native`.

        Args:
            audio_conditioning: A recording: the path of a WAV, FLAC, MP3 or OGG (Vorbis) file, the
                bytes of one, a file opened in mode `"rb"`, or samples as an array or a tensor
                `[samples]`, `[channels, samples]` or `[samples, channels]`: floats in -1..1, or
                int8, uint8, int16 or int32 over the range of the type. Or a voice state: the path
                of a `.safetensors` file. The content of a file decides its format, not its name.
                Instead of a path, an `http(s)://` or `hf://owner/repo/file[@revision]` address.
                Or the name of a predefined voice, if the model is a released one.
            truncate: Use only the first 30 s of a file. Arrays are never truncated.
            sample_rate: Rate of an array in Hz; None for the model's. A file names its own.

        Returns:
            The voice, for any number of calls.

        Raises:
            ConnectionError: A download failed.
            FileNotFoundError: The file does not exist, or there is no such voice for the model.
            PermissionError: A server refuses a download.
            TypeError: The argument is none of these, or an array of another type.
            UnsupportedError: The file is of another format.
            ValueError: The audio is damaged, silent or empty, the model has no voice cloning, or a
                predefined voice was named and the model is not a released one.
            VoiceStateError: The voice state is damaged or of another model (a `ValueError`).
        """
        prompt = local_prompt(
            audio_conditioning,
            language=self._loaded.language,
            has_voice_cloning=self.has_voice_cloning,
        )
        native = voice_from_prompt(self._native, prompt, truncate=truncate, sample_rate=sample_rate)
        return VoiceState(native)

    def generate_audio(
        self,
        model_state: ModelState,
        text_to_generate: str | Iterable[str],
        max_tokens: int = DEFAULT_MAX_TOKENS,
        frames_after_eos: int | None = None,
        copy_state: bool = True,
        *,
        seed: int | None = None,
        noise: NDArray[np.float32] | None = None,
    ) -> Audio:
        """Speak a text.

        The arguments and exceptions are those of `generate_audio_stream`.

        Returns:
            float32 `[samples]` at `sample_rate` Hz, in -1..1 for most voices.
        """
        with self.generate_audio_stream(
            model_state,
            text_to_generate,
            max_tokens,
            frames_after_eos,
            copy_state,
            seed=seed,
            noise=noise,
        ) as stream:
            return np.concatenate(list(stream)).view(Audio)

    def generate_audio_stream(
        self,
        model_state: ModelState,
        text_to_generate: str | Iterable[str],
        max_tokens: int = DEFAULT_MAX_TOKENS,
        frames_after_eos: int | None = None,
        copy_state: bool = True,
        stop: StopEvent | None = None,
        *,
        seed: int | None = None,
        noise: NDArray[np.float32] | None = None,
    ) -> AudioStream:
        """Speak a text piece by piece, each as soon as it is decoded.

        Nothing happens before the first piece is asked for, and errors of the text appear there.
        Two threads compute until the stream ends or is closed.

        Args:
            model_state: The voice; a dictionary of arrays like the reference's is converted.
            text_to_generate: Any text. It is spoken in chunks that are split at sentence ends. Or an
                iterable of pieces of a text that is still being written, as a language model
                yields them: each sentence is spoken as soon as it is complete, like a text of its
                own, the k-th with the seed `seed + k`, whatever the pieces and their timing. A
                thread reads the pieces, at most two sentences ahead. What the iterable raises is
                raised after the audio of the complete sentences. `noise` is for whole texts.
            max_tokens: Most tokens of a chunk, where the text has a place to split; with 0 every part
                of a sentence is a chunk.
            frames_after_eos: Frames of 80 ms to go on for after the end of speech; None for the
                configuration's choice, or else one that depends on the length of the chunk.
            copy_state: Leave `model_state` as it is. With False every chunk continues after the one
                before it, and at the end of the stream `model_state` becomes the state after the
                last; if the stream ends early or by an error, it stays as it was.
            stop: Ends the stream once it is set; looked at while the stream is read.
            seed: Makes the drawn noise, and so the audio, repeatable; None for a random one.
            noise: Standard normals, float32 `[n, latent_dim]`, a row per frame of every chunk, the
                frame after the last included; scaled by `sqrt(temp)`, not clamped. None to draw
                them.

        Returns:
            An iterator over float32 `[samples]` at `sample_rate` Hz, and a context manager.

        Raises:
            TypeError: `model_state` is no voice, `noise` no float32 array, or `text_to_generate`
                neither text nor an iterable of it.
            ValueError: An argument or a sampling attribute is out of range, or `noise` is given
                together with `seed` or with pieces of text.
            VoiceStateError: `model_state` belongs to another model (a `ValueError`).
        """
        return self._stream(
            model_state,
            text_to_generate,
            max_tokens=max_tokens,
            frames_after_eos=frames_after_eos,
            copy_state=copy_state,
            stop=stop,
            seed=seed,
            noise=noise,
        )[0]

    def astream(
        self,
        model_state: ModelState,
        text_to_generate: str | Iterable[str] | AsyncIterable[str],
        max_tokens: int = DEFAULT_MAX_TOKENS,
        frames_after_eos: int | None = None,
        copy_state: bool = True,
        stop: StopEvent | None = None,
        *,
        seed: int | None = None,
        noise: NDArray[np.float32] | None = None,
    ) -> AsyncGenerator[Audio, None]:
        """Speak a text piece by piece, for `async for` in an event loop of asyncio.

        The arguments, the audio and the exceptions are those of `generate_audio_stream`. The loop
        is never blocked: one thread of the stream waits for the audio. Leaving the loop by
        `aclose()` or by the cancellation of its task ends the work after the frame that is being
        computed; `contextlib.aclosing` does so for every way out.

        Args:
            model_state: The voice.
            text_to_generate: Any text, an iterable of its pieces, or an asynchronous iterable of
                them, which is read in the event loop.
            max_tokens: As in `generate_audio_stream`, like the following.
            frames_after_eos: Frames to go on for after the end of speech.
            copy_state: Leave `model_state` as it is.
            stop: Ends the stream once it is set; it may be an `asyncio.Event`.
            seed: Makes the audio repeatable.
            noise: Standard normals instead of drawn ones.

        Returns:
            An asynchronous generator of float32 `[samples]` at `sample_rate` Hz.

        Raises:
            TypeError: As in `generate_audio_stream`.
            ValueError: As in `generate_audio_stream`.
        """
        from pocket_tts_native.asynchronous import audio_of

        stream, feed = self._stream(
            model_state,
            text_to_generate,
            max_tokens=max_tokens,
            frames_after_eos=frames_after_eos,
            copy_state=copy_state,
            stop=stop,
            seed=seed,
            noise=noise,
            is_async=True,
        )
        if feed is None or not isinstance(text_to_generate, AsyncIterable):
            return audio_of(stream)
        return audio_of(stream, text_to_generate, feed)

    def _stream(
        self,
        model_state: ModelState,
        text: str | Iterable[str] | AsyncIterable[str],
        *,
        max_tokens: int,
        frames_after_eos: int | None,
        copy_state: bool,
        stop: StopEvent | None,
        seed: int | None,
        noise: NDArray[np.float32] | None,
        is_async: bool = False,
    ) -> tuple[AudioStream, TextFeed | None]:
        """Prepare a stream, and where its text comes through if it is still being written."""
        if frames_after_eos is not None and frames_after_eos < 0:
            raise ValueError(f"frames_after_eos must not be negative, found {frames_after_eos}")
        check_text(text, noise, is_async=is_async)
        if not copy_state:
            check_replaceable(model_state)
        first_seed = _seed(seed, noise)
        self._check_sampling()
        options = SpeakOptions(
            max_tokens=max(max_tokens, 0),
            frames_after_eos=frames_after_eos,
            temp=self.temp,
            decode_steps=self.sampler_decode_steps,
            noise_clamp=self.noise_clamp,
            eos_threshold=self.eos_threshold,
            noise=noise,
            continues=not copy_state,
            requires_eos=os.environ.get(_REQUIRE_EOS_VARIABLE) == "1",
            max_frames_per_call=max(self.max_decoder_frames_per_call, 0),
        )

        def speak(
            text: str, index: int = 0, state: _native.VoiceState | None = None
        ) -> _native.AudioStream:
            if state is None:
                state = native_state(model_state)
            seed = (first_seed + index) % 2**_SEED_BITS
            return self._native.speak(state, text, seed=seed, **options)

        def on_final_state(final: _native.VoiceState) -> None:
            replace_state(model_state, final)

        feed = None
        start: Callable[[], _native.AudioStream | IncrementalSpeech]
        if isinstance(text, str):
            start = partial(speak, text)
        else:
            feed = TextFeed(lambda part: len(self._native.tokenize(part)), options["max_tokens"])
            start = partial(begin_incremental, [text], feed, speak, continues=not copy_state)
        on_end = None if copy_state else on_final_state
        return AudioStream(start, stop=stop, on_final_state=on_end), feed

    def generate_latents(
        self,
        state: ModelState,
        text: str,
        *,
        frames: int | None = None,
        noise: NDArray[np.float32] | None = None,
        seed: int | None = None,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Generate the latents that speak `text`, as it is, not split. For inspection.

        Args:
            state: The voice.
            text: Any text.
            frames: Generate exactly as many 80 ms frames; None to stop at the end of speech.
            noise: Standard normals, float32 `[n, latent_dim]`, a row per frame, the stop frame
                included; scaled by `sqrt(temp)`, not clamped. None to draw them.
            seed: Makes the drawn noise, and so the result, repeatable; None for a random one.

        Returns:
            Latents float32 `[frames, latent_dim]` and end-of-speech logits float32 `[frames]`.

        Raises:
            TypeError: `noise` is no float32 array.
            ValueError: An argument or a sampling attribute is out of range, `noise` and `seed`
                are both given, or `noise` has another shape or layout.
        """
        if frames is not None and frames < 0:
            raise ValueError(f"frames must not be negative, found {frames}")
        seed = _seed(seed, noise)
        self._check_sampling()
        return self._native.generate_latents(
            native_state(state),
            text,
            temp=self.temp,
            decode_steps=self.sampler_decode_steps,
            noise_clamp=self.noise_clamp,
            eos_threshold=self.eos_threshold,
            frames=frames,
            noise=noise,
            seed=seed,
        )

    def _check_sampling(self) -> None:
        """Refuse sampling attributes that make no sense; they may have been set by the caller."""
        if not (math.isfinite(self.temp) and self.temp >= 0.0):
            raise ValueError(f"temp must be a finite number of at least 0, found {self.temp}")
        if self.sampler_decode_steps < 1:
            raise ValueError(
                f"sampler_decode_steps must be at least 1, found {self.sampler_decode_steps}"
            )
        if self.noise_clamp is not None and not self.noise_clamp > 0.0:
            raise ValueError(f"noise_clamp must be above 0 or None, found {self.noise_clamp}")
        if math.isnan(self.eos_threshold):
            raise ValueError("eos_threshold must be a number, found NaN")


def _precision(precision: str | None, *, is_quantized: bool) -> str:
    """Choose the arithmetic that the engine loads with."""
    if precision is None:
        return "int8" if is_quantized else "f32"
    if precision not in _PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(_PRECISIONS)}, found {precision!r}")
    chosen = "int8" if precision == "auto" else precision
    if is_quantized and chosen != "int8":
        raise ValueError(
            f"quantize=True is precision='int8' and excludes precision={precision!r}; pass one of them"
        )
    return chosen


def _seed(seed: int | None, noise: NDArray[np.float32] | None) -> int:
    """Check the seed, or draw one."""
    if noise is not None and seed is not None:
        raise ValueError("noise and seed exclude each other; pass one of them")
    if seed is None:
        return secrets.randbits(_SEED_BITS)
    if not 0 <= seed < 2**_SEED_BITS:
        raise ValueError(f"seed must be in 0..2**{_SEED_BITS}, found {seed}")
    return seed
