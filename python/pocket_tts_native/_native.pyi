"""Types of the compiled module.

Users import `pocket_tts_native`; these signatures are strict and carry no defaults of the model.
All arrays are float32 and C-contiguous; nothing is converted. An array must not be written to
while a call reads it, because calls that compute release the GIL.
"""

from collections.abc import Callable, Sequence
from os import PathLike
from typing import Any, Protocol, TypedDict, final, type_check_only

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "AudioStream",
    "Config",
    "Model",
    "VoiceState",
    "__version__",
    "build_info",
    "decode_audio",
    "operator_times",
    "prompt_samples",
    "reset_operator_times",
]

__version__: str

@type_check_only
class BuildInfo(TypedDict):
    """What this build is and what it found on this machine."""

    version: str
    """Version of the package."""
    simd_level: str
    """SIMD level in use: `scalar`, `sse4`, `avx2`, `avx2vnni`, `avx512`, `avx512vnni`, `avx512bf16`, `amx`, `neon`,
    `neondot` or `neoni8mm`."""
    simd_levels_available: list[str]
    """Levels that this CPU can run; `POCKET_SIMD` chooses one of them."""
    cpu_features: list[str]
    """CPU features that the engine looks for and found."""
    num_threads: int
    """Threads that a model uses unless told otherwise."""

@type_check_only
class EngineCounters(TypedDict):
    """What an engine has counted; percentiles are None without any times."""

    n_started: int
    """Streams that began."""
    n_complete: int
    """Streams that came to their end."""
    n_cancelled: int
    """Streams that were closed before it."""
    n_failed: int
    """Streams that ended by an error."""
    n_audio_frames: int
    """Frames of audio that were decoded."""
    n_timed_frames: int
    """Those of them that `streaming_s` is the time of."""
    streaming_s: float
    """Sum over all streams, waits for their callers left out."""
    busy_s: float
    """While one of the loops computed, or both."""
    computing_s: float
    """Computing of both loops."""
    text_pass_s: float
    language_model_s: float
    flow_head_s: float
    codec_s: float
    first_audio_p50_s: float | None
    first_audio_p95_s: float | None
    frame_p50_s: float | None
    frame_p95_s: float | None

def operator_times() -> list[tuple[str, str, int, float]]:
    """Tell the times per operator of this process; none unless `POCKET_TIMING` is 1.

    Returns:
        Phase, operator, number of calls and seconds, phase by phase.
    """

def reset_operator_times() -> None:
    """Forget the times per operator."""

def build_info() -> BuildInfo:
    """Tell the version, the SIMD level in use, the levels available and the CPU's features.

    Returns:
        A new dictionary.
    """

@final
class VoiceState:
    """A voice as one model remembers it; immutable, so calls and threads may share it."""

    @staticmethod
    def from_tensors(
        tensors: dict[str, NDArray[Any]], fingerprint: str | None = None
    ) -> VoiceState:
        """Make a voice of the tensors of a voice state file.

        Args:
            tensors: float32 and int64 arrays by name.
            fingerprint: That of the model that made the voice; None if it is not known.

        Returns:
            The voice; its sizes are those of the tensors.

        Raises:
            TypeError: An array has another type.
            VoiceStateError: A tensor is missing, unknown, damaged or does not fit the others.
        """

    @property
    def n_layers(self) -> int:
        """Layers of the language model."""

    def layer(self, index: int) -> tuple[NDArray[np.float32], int]:
        """Copy the keys and values of a layer.

        Args:
            index: Which layer.

        Returns:
            float32 `[2, 1, positions, kv_heads, head_dim]`, and how many of its leading positions
            are masked.

        Raises:
            IndexError: There is no such layer.
        """

    @property
    def n_positions(self) -> int:
        """Positions of the language model that the voice takes up, one per 80 ms of audio."""

    @property
    def fingerprint(self) -> str | None:
        """Fingerprint of the model that made the voice; None if it is not known."""

    def save_cached(self, path: str | PathLike[str], key: str) -> None:
        """Write the state as an entry of the voice cache; it appears all at once.

        Args:
            path: File to write.
            key: What the voice was made of.

        Raises:
            OSError: The file cannot be written.
        """

    def save(self, path: str | PathLike[str]) -> None:
        """Write the state as safetensors.

        Args:
            path: File to write.

        Raises:
            OSError: The file cannot be written.
        """

@type_check_only
class StopEvent(Protocol):
    """What tells a stream to end."""

    def is_set(self) -> bool: ...

@final
class AudioStream:
    """The audio of one utterance; usable from several threads, dropping it ends the work."""

    def next(self, stop: StopEvent | None) -> NDArray[np.float32] | None:
        """Wait for the next samples; Ctrl-C ends the work and is raised.

        Args:
            stop: Asked every few milliseconds; ends the work once it is set.

        Returns:
            float32 `[samples]`; None at the end, after `cancel`, and once `stop` is set.

        Raises:
            RuntimeError: A chunk required an end of speech and had none.
            ValueError: The noise has too few rows, or the weights compute infinity.
        """

    def cancel(self) -> None:
        """End the work: at most the frame that is being computed is still finished."""

    @property
    def n_frames_generated(self) -> int:
        """Frames that the language model has generated so far."""

    @property
    def n_chunks_cut(self) -> int:
        """Chunks that reached their longest length without an end of speech."""

    @property
    def overlong_chunks(self) -> list[tuple[int, int]]:
        """Chunks with more tokens than were asked for, as index and number of tokens."""

    def final_state(self) -> VoiceState | None:
        """Tell the state after the last chunk of a finished utterance that continues.

        Returns:
            The state; None before the end, after a cancellation and for other utterances.
        """

@final
class Config:
    """A model's configuration; immutable."""

    @staticmethod
    def from_file(path: str | PathLike[str]) -> Config:
        """Read a local YAML file.

        Args:
            path: The file.

        Returns:
            The configuration.

        Raises:
            FileNotFoundError: The file does not exist.
            ModelFormatError: The file is no YAML, or its keys or values are wrong.
        """

    @staticmethod
    def from_yaml(text: str, origin: str | PathLike[str]) -> Config:
        """Read YAML text.

        Args:
            text: The text.
            origin: What messages call it.

        Returns:
            The configuration.

        Raises:
            ModelFormatError: The text is no YAML, or its keys or values are wrong.
        """

    @staticmethod
    def named(name: str) -> Config | None:
        """Tell the configuration of a released model.

        Args:
            name: The model's name.

        Returns:
            The configuration; None for other names.
        """

    @staticmethod
    def names() -> list[str]:
        """Tell the names of the released models, sorted."""

    def sources(self) -> dict[str, str]:
        """Tell the addresses of the files that the model needs.

        Returns:
            Addresses by key, such as `mimi.weights_path`, in the order of their use.

        Raises:
            ValueError: They are not those of a whole model.
        """

    def with_files(self, files: dict[str, str | PathLike[str]]) -> Config:
        """Tell where files are on this machine.

        Args:
            files: Local paths by the keys of `sources`.

        Returns:
            The same configuration; its addresses stay, the engine opens these files.

        Raises:
            KeyError: A key names no file.
        """

    def with_checkpoint(
        self, name: str, flow_lm: str | PathLike[str], mimi: str | PathLike[str] | None
    ) -> Config:
        """Take weights from a training checkpoint instead of the configuration's.

        Args:
            name: What messages call it.
            flow_lm: Its language model as safetensors, names without a prefix.
            mimi: Its codec likewise; None for the configuration's.

        Returns:
            The same configuration; `sources` tells what it still needs.
        """

    def as_dict(self) -> dict[str, Any]:
        """Copy all values, nested as in a file, with the reference's names."""

@final
class Model:
    """A loaded model: immutable, shared by any number of threads and voice states."""

    @staticmethod
    def load(
        config: Config,
        *,
        precision: str = "f32",
        num_threads: int | None = None,
        packed_cache: str | PathLike[str] | None = None,
    ) -> Model:
        """Load the model that a configuration describes, whose files are on this machine.

        Args:
            config: The configuration.
            precision: Arithmetic: `f32`, `bf16` or `int8`.
            num_threads: Threads to compute with; None for the engine's choice.
            packed_cache: Folder where packed weights are kept for the next load; None to pack them in
                memory. Whatever happens to the folder is no error.

        Returns:
            The model.

        Raises:
            FileNotFoundError: The weights or the tokenizer do not exist.
            ModelFormatError: One of them is damaged or does not fit the others.
            UnsupportedError: One of them is at an address and was not downloaded.
        """

    @property
    def load_notes(self) -> list[str]:
        """What became of the cache of packed weights at the load, a sentence each."""

    @property
    def precision(self) -> str:
        """Arithmetic: `f32`, `bf16` or `int8`."""

    @property
    def sample_rate(self) -> int:
        """Samples per second of all audio, in Hz."""

    @property
    def frame_size(self) -> int:
        """Samples per latent frame."""

    @property
    def latent_dim(self) -> int:
        """Width of a latent."""

    @property
    def voice_dim(self) -> int:
        """Width of an encoded voice row."""

    @property
    def fingerprint(self) -> str:
        """What tells this model's voices from those of others; not its precision or SIMD level."""

    @property
    def cloning_key(self) -> str:
        """Everything besides a recording that decides the bits of its voice."""

    @property
    def default_temperature(self) -> float:
        """Sampling temperature that the configuration recommends."""

    @property
    def default_eos_threshold(self) -> float:
        """End-of-speech threshold that the configuration recommends."""

    def warm_up(self) -> None:
        """Split a text, encode noise and speak two chunks, without counting it.

        Raises:
            OSError: The system gives no threads.
        """

    def stats(self) -> EngineCounters:
        """Copy the counters of this process, warm-ups left out."""

    def forced_latents(
        self,
        state: VoiceState,
        text: str,
        latents: NDArray[np.float32],
        noise: NDArray[np.float32],
        decode_steps: int,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Generate each frame as if those before it had been `latents`.

        Args:
            state: The voice.
            text: Any text.
            latents: float32 `[frames, latent_dim]`; the last row is not looked at.
            noise: What the flow head starts from, float32 of the same shape.
            decode_steps: Steps of the flow head per frame.

        Returns:
            Latents float32 `[frames, latent_dim]` and end-of-speech logits float32 `[frames]`.

        Raises:
            TypeError: `latents` or `noise` is no float32 array.
            ValueError: They differ in shape, or `decode_steps` is 0.
            VoiceStateError: The voice is of another model.
        """

    def fidelity(
        self,
        other: Model,
        state: VoiceState,
        text: str,
        latents: NDArray[np.float32],
        noise: NDArray[np.float32],
    ) -> tuple[float, float, float]:
        """Compare another precision of the same model with this one, frame by frame.

        Args:
            other: The other model.
            state: A voice of either.
            text: What the latents follow, not split.
            latents: float32 `[frames, latent_dim]`, what every frame but the first starts from.
            noise: float32 `[frames, latent_dim]`, what the flow head starts from.

        Returns:
            Signal-to-error ratios in dB, infinite where nothing differs: of the network's share of
            the latents, of the end-of-speech logits, of the audio of the same latents.

        Raises:
            TypeError: An array is not float32.
            ValueError: The arrays have other shapes, or the models differ.
        """

    def tokenize(self, text: str) -> list[int]:
        """Turn `text`, as it is, into token ids.

        Args:
            text: Any text.

        Returns:
            Token ids.
        """

    def detokenize(self, tokens: Sequence[int]) -> str:
        """Turn token ids into the text that they read.

        Args:
            tokens: Token ids.

        Returns:
            The text, without special tokens.

        Raises:
            ModelFormatError: A SentencePiece tokenizer has not got one of the tokens.
        """

    def prepare_text(self, text: str) -> tuple[str, int]:
        """Prepare `text` for the tokenizer as the configuration says.

        Args:
            text: Any text; it is not split.

        Returns:
            The text, and the frames that follow the end of its speech.

        Raises:
            ValueError: Nothing is left of the text.
        """

    def split_text(self, text: str, *, max_tokens: int) -> list[str]:
        """Split `text` into the chunks that are spoken one at a time.

        Args:
            text: Any text.
            max_tokens: Most tokens of a chunk, at least 0.

        Returns:
            Chunks in order.

        Raises:
            OverflowError: `max_tokens` is negative.
            ValueError: Nothing is left of the text.
        """

    def encode_audio(self, pcm: NDArray[np.float32]) -> NDArray[np.float32]:
        """Encode mono samples, nothing trimmed, padded on the right to whole frames.

        Args:
            pcm: float32 `[samples]` or `[1, samples]` at the model's rate.

        Returns:
            float32 `[frames, voice_dim]`.

        Raises:
            TypeError: `pcm` is no float32 array.
            ValueError: `pcm` has another shape or layout, is empty or not finite.
        """

    def voice_from_pcm(
        self, pcm: NDArray[np.float32], sample_rate: int, *, warn: Callable[[str], object]
    ) -> VoiceState:
        """Resample mono samples, end them on a pause, encode them and prompt the model.

        Args:
            pcm: float32 `[samples]` or `[1, samples]`.
            sample_rate: Rate of `pcm` in Hz.
            warn: Called with each sentence that the user should read, before the encoding.

        Returns:
            The voice.

        Raises:
            TypeError: `pcm` is no float32 array.
            ValueError: `pcm` has another shape or layout, is empty, silent or not finite.
        """

    def voice_from_audio(
        self,
        source: bytes | bytearray | str | PathLike[str],
        *,
        truncate: bool,
        warn: Callable[[str], object],
    ) -> VoiceState:
        """Decode an audio file, block by block, and make a voice of it.

        Args:
            source: The path of a WAV, FLAC, MP3 or Vorbis file, or its bytes.
            truncate: Use only its first 30 s.
            warn: Called with each sentence that the user should read, before the encoding.

        Returns:
            The voice.

        Raises:
            FileNotFoundError: The file does not exist.
            UnsupportedError: The file is of another format.
            ValueError: The file is damaged or holds no sound.
        """

    def voice_from_file(self, path: str | PathLike[str]) -> VoiceState:
        """Read a voice state saved as safetensors.

        Args:
            path: The file.

        Returns:
            The voice.

        Raises:
            FileNotFoundError: The file does not exist.
            VoiceStateError: The file is damaged or belongs to another model.
        """

    def voice_from_cache(self, path: str | PathLike[str], key: str) -> VoiceState:
        """Read an entry of the voice cache.

        Args:
            path: The file.
            key: The key that the entry was saved with.

        Returns:
            The voice, exactly as it was saved.

        Raises:
            FileNotFoundError: The file does not exist.
            VoiceStateError: The file is damaged, another entry, or belongs to another model.
        """

    def decode_latents(
        self, latents: NDArray[np.float32], frames_per_call: list[int]
    ) -> NDArray[np.float32]:
        """Decode latents to audio, a group of frames per step of the decoder.

        Args:
            latents: float32 `[frames, latent_dim]`.
            frames_per_call: Sizes of the groups; the last repeats; empty for one group.

        Returns:
            float32 `[frames * frame_size]` at the model's rate.

        Raises:
            TypeError: `latents` is no float32 array.
            ValueError: `latents` has another shape or layout.
        """

    def generate_latents(
        self,
        state: VoiceState,
        text: str,
        *,
        temp: float,
        decode_steps: int,
        noise_clamp: float | None,
        eos_threshold: float,
        frames: int | None,
        noise: NDArray[np.float32] | None,
        seed: int,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Generate the latents that speak `text`, as it is, not split.

        Args:
            state: The voice.
            text: Any text.
            temp: Temperature; noise has the variance `temp`.
            decode_steps: Steps of the flow head per frame.
            noise_clamp: Bound of the scaled noise; None for none. Given noise is not bounded.
            eos_threshold: Speech ends once the logit exceeds it.
            frames: Generate exactly as many; None to stop at the end of speech.
            noise: Standard normals, float32 `[frames, latent_dim]`; None to draw them.
            seed: Key of the drawn noise, 64 bits.

        Returns:
            Latents float32 `[frames, latent_dim]` and end-of-speech logits float32 `[frames]`.

        Raises:
            TypeError: `noise` is no float32 array.
            ValueError: A value is out of range, or `noise` has another shape or layout.
        """

    def speak(
        self,
        state: VoiceState,
        text: str,
        *,
        max_tokens: int,
        frames_after_eos: int | None,
        temp: float,
        decode_steps: int,
        noise_clamp: float | None,
        eos_threshold: float,
        noise: NDArray[np.float32] | None,
        seed: int,
        continues: bool,
        requires_eos: bool,
        max_frames_per_call: int,
    ) -> AudioStream:
        """Start to speak `text`, split into chunks.

        Args:
            state: The voice.
            text: Any text.
            max_tokens: Most tokens of a chunk, where the text has a place to split.
            frames_after_eos: Frames after the end of speech; None for the configuration's choice.
            temp: Temperature; noise has the variance `temp`.
            decode_steps: Steps of the flow head per frame.
            noise_clamp: Bound of the scaled noise; None for none. Given noise is not bounded.
            eos_threshold: Speech ends once the logit exceeds it.
            noise: Standard normals, float32 `[frames, latent_dim]`; None to draw them.
            seed: Key of the drawn noise, 64 bits.
            continues: Whether a chunk continues after the one before it.
            requires_eos: Whether a chunk without an end of speech is an error.
            max_frames_per_call: Most frames that are decoded at once; 0 for all that are ready.

        Returns:
            The audio as it comes.

        Raises:
            TypeError: `noise` is no float32 array.
            ValueError: The text is empty, a value is out of range, or `noise` has another shape or
                layout.
            VoiceStateError: The voice belongs to another model.
        """

def decode_audio(
    source: bytes | bytearray | str | PathLike[str],
) -> tuple[NDArray[np.float32], int]:
    """Decode an audio file to the mean of its channels.

    Args:
        source: The path of a WAV, FLAC, MP3 or Vorbis file, or its bytes.

    Returns:
        Mono samples, float32 `[samples]`, and their rate in Hz.

    Raises:
        FileNotFoundError: The file does not exist.
        UnsupportedError: The file is of another format.
        ValueError: The file is damaged.
    """

def prompt_samples(
    source: NDArray[np.float32] | bytes | bytearray | str | PathLike[str],
    *,
    sample_rate: int | None,
    model_rate: int,
    frame_size: int,
    truncate: bool,
) -> NDArray[np.float32]:
    """Make what the encoder gets of a prompt: resampled, ended on a pause, in whole frames.

    Args:
        source: The path of an audio file, its bytes, or mono samples.
        sample_rate: Rate of samples in Hz; None for a file.
        model_rate: Rate of the model in Hz.
        frame_size: Samples of a frame.
        truncate: Use only the first 30 s.

    Returns:
        float32 `[samples]`.

    Raises:
        FileNotFoundError: The file does not exist.
        TypeError: The samples are no float32 array.
        UnsupportedError: The file is of another format.
        ValueError: The audio is damaged or holds no sound.
    """
