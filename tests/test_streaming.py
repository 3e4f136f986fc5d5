"""Speaking: whole and in pieces, cancelled, failing, from several threads; on tiny models."""

from __future__ import annotations

import copy
import gc
import logging
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pytest
from pocket_tts_native import Audio, TTSModel
from signals import voice_like
from tiny_model import random_tensors, tiny_config, write_model

if TYPE_CHECKING:
    from collections.abc import Callable

    from model_files import Array
    from pocket_tts_native import AudioStream, VoiceState

TEXT: Final = "hello there, it is one."
LONG_TEXT: Final = " ".join(["hello"] * 200)
FRAME_SAMPLES: Final = 128
LATENT_DIM: Final = 8
NEVER: Final = 1e9
# Frames that an unread stream may get ahead: eight latents, 32 decoded frames, those under way.
MAX_FRAMES_AHEAD: Final = 48
# What a frame of the slow model takes at least: several times the interval between looks at `stop`.
SLOW_FRAME_S: Final = 0.02


@pytest.fixture(scope="module")
def model(tiny_model_dir: Path) -> TTSModel:
    """A tiny model."""
    return TTSModel.load_model(config=str(tiny_model_dir / "config.yaml"), num_threads=1)


@pytest.fixture(scope="module")
def voice(model: TTSModel) -> VoiceState:
    """A voice made of ten frames of sound."""
    return model.get_state_for_audio_prompt(voice_like(10 * FRAME_SAMPLES, 1600))


@pytest.fixture(scope="module")
def endless(tiny_model_dir: Path) -> TTSModel:
    """A tiny model that never comes to an end of speech by itself."""
    config = str(tiny_model_dir / "config.yaml")
    return TTSModel.load_model(config=config, num_threads=1, eos_threshold=NEVER)


@pytest.fixture(scope="module")
def slow(tiny_model_dir: Path, voice: VoiceState) -> TTSModel:
    """An endless model whose frames take about `SLOW_FRAME_S`, by its number of sampler steps."""
    config = str(tiny_model_dir / "config.yaml")
    model = TTSModel.load_model(config=config, num_threads=1, eos_threshold=NEVER)
    model.sampler_decode_steps = 1000
    times_s = []
    for _ in range(5):
        begin = time.perf_counter()
        model.generate_latents(voice, TEXT, frames=4, seed=1)
        times_s.append((time.perf_counter() - begin) / 4)
    model.sampler_decode_steps = int(1000 * SLOW_FRAME_S / min(times_s)) + 1
    return model


def _settled(stream: AudioStream, *, wait_s: float = 5 * SLOW_FRAME_S) -> int:
    """Frames generated once the work had time to go on."""
    time.sleep(wait_s)
    return stream.n_frames_generated


def test_stream_joins_to_the_whole(model: TTSModel, voice: VoiceState) -> None:
    whole = model.generate_audio(voice, TEXT, seed=5)
    assert isinstance(whole, Audio)
    assert whole.dtype == np.float32
    assert whole.ndim == 1
    assert len(whole) % FRAME_SAMPLES == 0
    assert np.abs(whole).max() > 0.01
    for _ in range(20):
        pieces = list(model.generate_audio_stream(voice, TEXT, seed=5))
        assert all(piece.dtype == np.float32 and piece.ndim == 1 for piece in pieces)
        assert np.array_equal(np.concatenate(pieces), whole)


def test_frames_per_call_do_not_change_bits(
    model: TTSModel, voice: VoiceState, tiny_model_dir: Path
) -> None:
    whole = model.generate_audio(voice, TEXT, seed=5)
    other = TTSModel.load_model(config=str(tiny_model_dir / "config.yaml"), num_threads=1)
    for limit in (1, 2, 3):
        other.max_decoder_frames_per_call = limit
        pieces = list(other.generate_audio_stream(voice, TEXT, seed=5))
        assert max(len(piece) for piece in pieces) <= limit * FRAME_SAMPLES
        assert np.array_equal(np.concatenate(pieces), whole)


def test_seed_decides(model: TTSModel, voice: VoiceState) -> None:
    first = model.generate_audio(voice, TEXT, seed=1)
    assert np.array_equal(first, model.generate_audio(voice, TEXT, seed=1))
    assert not np.array_equal(first, model.generate_audio(voice, TEXT, seed=2))
    assert not np.array_equal(model.generate_audio(voice, TEXT), model.generate_audio(voice, TEXT))


def test_noise_replaces_the_drawn(model: TTSModel, voice: VoiceState) -> None:
    noise = np.random.default_rng(0).standard_normal((200, LATENT_DIM), dtype=np.float32)
    first = model.generate_audio(voice, TEXT, noise=noise)
    assert np.array_equal(first, model.generate_audio(voice, TEXT, noise=noise))
    assert not np.array_equal(first, model.generate_audio(voice, TEXT, noise=-noise))


def test_thread_count_does_not_change_bits(tiny_model_dir: Path) -> None:
    audio: list[Array] = []
    for n_threads in (1, 2):
        config = str(tiny_model_dir / "config.yaml")
        model = TTSModel.load_model(config=config, num_threads=n_threads)
        voice = model.get_state_for_audio_prompt(voice_like(10 * FRAME_SAMPLES, 1600))
        audio.append(model.generate_audio(voice, TEXT, seed=3))
    assert np.array_equal(audio[0], audio[1])


def test_audio_answers_to_a_tensors_names(model: TTSModel, voice: VoiceState) -> None:
    audio = model.generate_audio(voice, TEXT, seed=5)
    plain = audio.detach().cpu().numpy()
    assert type(plain) is np.ndarray
    assert np.shares_memory(plain, audio)
    assert not np.shares_memory(audio.clone(), audio)
    assert isinstance(audio.sum(), np.float32)
    assert isinstance(audio[0], np.float32)
    assert isinstance((audio * 2)[:5], Audio)
    assert np.array_equal((audio * 2)[:5], (plain * 2)[:5])
    for duplicate in (copy.deepcopy(audio), pickle.loads(pickle.dumps(audio))):
        assert isinstance(duplicate, Audio)
        assert np.array_equal(duplicate, audio)
    for piece in model.generate_audio_stream(voice, TEXT, seed=5):
        assert type(piece.cpu().detach().numpy()) is np.ndarray


def test_frames_after_eos(model: TTSModel, voice: VoiceState, tiny_model_dir: Path) -> None:
    """Every frame is an end of speech, and the first that counts is the seventh."""
    config = str(tiny_model_dir / "config.yaml")
    hasty = TTSModel.load_model(config=config, num_threads=1, eos_threshold=-NEVER)
    for frames in (0, 1, 7):
        audio = hasty.generate_audio(voice, TEXT, frames_after_eos=frames, seed=1)
        assert len(audio) == (6 + frames) * FRAME_SAMPLES
    assert len(hasty.generate_audio(voice, "one two three four five", seed=1)) == 9 * FRAME_SAMPLES
    assert len(hasty.generate_audio(voice, "one two", seed=1)) == 11 * FRAME_SAMPLES


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"seed": -1}, ValueError),
        ({"seed": 2**64}, ValueError),
        ({"seed": 1, "noise": np.zeros((9, LATENT_DIM), np.float32)}, ValueError),
        ({"frames_after_eos": -1}, ValueError),
    ],
)
def test_arguments_are_refused_at_the_call(
    model: TTSModel, voice: VoiceState, arguments: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        model.generate_audio_stream(voice, TEXT, **arguments)


@pytest.mark.parametrize("text", ["", "  \n\t "])
def test_empty_text_is_refused_at_the_first_next(
    model: TTSModel, voice: VoiceState, text: str
) -> None:
    """As in the reference, whose stream is a generator."""
    stream = model.generate_audio_stream(voice, text)
    with pytest.raises(ValueError, match="empty"):
        next(stream)
    with pytest.raises(StopIteration):
        next(stream)
    with pytest.raises(ValueError, match="empty"):
        model.generate_audio(voice, text)


def test_nothing_happens_before_the_first_next(slow: TTSModel, voice: VoiceState) -> None:
    stream = slow.generate_audio_stream(voice, LONG_TEXT, seed=1)
    assert _settled(stream) == 0
    stream.close()
    assert list(stream) == []


def test_two_streams_in_one_thread(model: TTSModel, voice: VoiceState) -> None:
    texts = [TEXT, "another one"]
    expected = [model.generate_audio(voice, text, seed=4) for text in texts]
    streams = [model.generate_audio_stream(voice, text, seed=4) for text in texts]
    pieces: list[list[Array]] = [[], []]
    open_streams = [0, 1]
    while open_streams:
        for index in list(open_streams):
            piece = next(streams[index], None)
            if piece is None:
                open_streams.remove(index)
            else:
                pieces[index].append(piece)
    for ours, theirs in zip(pieces, expected, strict=True):
        assert np.array_equal(np.concatenate(ours), theirs)


def test_threads_on_one_model_give_the_serial_results(model: TTSModel, voice: VoiceState) -> None:
    texts = [f"hello number {index}, " + "one two " * (index % 5) for index in range(32)]
    serial = [model.generate_audio(voice, text, seed=seed) for seed, text in enumerate(texts)]

    def speak(seed: int) -> Array:
        return model.generate_audio(voice, texts[seed], seed=seed)

    with ThreadPoolExecutor(8) as pool:
        for ours, theirs in zip(pool.map(speak, range(len(texts))), serial, strict=True):
            assert np.array_equal(ours, theirs)


def test_other_threads_run_meanwhile(slow: TTSModel, voice: VoiceState) -> None:
    """The GIL is released: a thread counts while another one waits for audio."""
    n_counted = 0
    is_over = threading.Event()

    def count() -> None:
        nonlocal n_counted
        while not is_over.wait(0.001):
            n_counted += 1

    counter = threading.Thread(target=count)
    counter.start()
    with slow.generate_audio_stream(voice, LONG_TEXT, seed=1) as stream:
        for _ in range(10):
            next(stream)
    is_over.set()
    counter.join()
    assert n_counted > 20


def test_unread_stream_stops_the_work(endless: TTSModel, voice: VoiceState) -> None:
    with endless.generate_audio_stream(voice, LONG_TEXT, seed=1) as stream:
        n_read = len(next(stream)) // FRAME_SAMPLES
        ahead = _settled(stream, wait_s=0.5)
        assert ahead <= n_read + MAX_FRAMES_AHEAD
        assert _settled(stream, wait_s=0.2) == ahead
        n_read += sum(len(next(stream)) for _ in range(20)) // FRAME_SAMPLES
        assert ahead <= _settled(stream, wait_s=0.5) <= n_read + MAX_FRAMES_AHEAD


def _close(stream: AudioStream) -> None:
    stream.close()


def _leave_with(stream: AudioStream) -> None:
    with stream:
        pass


def _raise_in_with(stream: AudioStream) -> None:
    with pytest.raises(KeyError), stream:
        raise KeyError


@pytest.mark.parametrize("end", [_close, _leave_with, _raise_in_with])
def test_closing_ends_the_work(
    slow: TTSModel, voice: VoiceState, end: Callable[[AudioStream], None]
) -> None:
    stream = slow.generate_audio_stream(voice, LONG_TEXT, seed=1)
    next(stream)
    end(stream)
    n_frames = stream.n_frames_generated
    assert _settled(stream) <= n_frames + 1
    assert list(stream) == []


def test_closing_from_another_thread_ends_a_wait(slow: TTSModel, voice: VoiceState) -> None:
    stream = slow.generate_audio_stream(voice, LONG_TEXT, seed=1)
    next(stream)
    closer = threading.Timer(3 * SLOW_FRAME_S, stream.close)
    closer.start()
    n_read = 1 + len(list(stream))
    closer.join()
    # The whole text would be hundreds of frames.
    assert n_read < 100
    n_frames = stream.n_frames_generated
    assert _settled(stream) <= n_frames + 1


def test_dropping_ends_the_work(slow: TTSModel, voice: VoiceState) -> None:
    """The work goes on while nobody reads, and ends with the last reference."""
    stream = slow.generate_audio_stream(voice, LONG_TEXT, seed=1)
    next(stream)
    begin_s, deadline = time.process_time(), time.monotonic() + 30
    while time.process_time() - begin_s < 2 * SLOW_FRAME_S:
        assert time.monotonic() < deadline, "it does not go on by itself"
        time.sleep(SLOW_FRAME_S)
    del stream
    gc.collect()
    time.sleep(5 * SLOW_FRAME_S)
    begin_s = time.process_time()
    time.sleep(10 * SLOW_FRAME_S)
    assert time.process_time() - begin_s < SLOW_FRAME_S


def test_stop_event_ends_the_work(slow: TTSModel, voice: VoiceState) -> None:
    """Once the event was seen, at most the frame under way is finished."""
    stop = threading.Event()
    stream = slow.generate_audio_stream(voice, LONG_TEXT, stop=stop, seed=1)
    timer = threading.Timer(6 * SLOW_FRAME_S, stop.set)
    timer.start()
    pieces = list(stream)
    n_frames = stream.n_frames_generated
    timer.join()
    # The whole text would be hundreds of frames.
    assert len(pieces) < 100
    assert _settled(stream) <= n_frames + 1


def test_stop_event_that_is_set_before(slow: TTSModel, voice: VoiceState) -> None:
    stop = threading.Event()
    stop.set()
    stream = slow.generate_audio_stream(voice, LONG_TEXT, stop=stop, seed=1)
    assert list(stream) == []
    assert _settled(stream) == 0


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_interrupt_ends_the_work(slow: TTSModel, voice: VoiceState) -> None:
    """Ctrl-C during a wait for audio: once it is raised, at most the frame under way is finished."""
    stream = slow.generate_audio_stream(voice, LONG_TEXT, seed=1)
    next(stream)
    timer = threading.Timer(3 * SLOW_FRAME_S, os.kill, (os.getpid(), signal.SIGINT))
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            for _ in stream:
                pass
        n_frames = stream.n_frames_generated
    finally:
        timer.join()
        signal.signal(signal.SIGINT, previous)
    assert _settled(stream) <= n_frames + 1
    assert list(stream) == []


@pytest.mark.parametrize("n_rows", [0, 1, 5, 6])
def test_too_little_noise_is_an_error(model: TTSModel, voice: VoiceState, n_rows: int) -> None:
    """The audio before it is delivered, then the exception, never a short stream."""
    noise = np.ones((n_rows, LATENT_DIM), np.float32)
    with pytest.raises(ValueError, match=f"noise has {n_rows} rows"):
        model.generate_audio(voice, TEXT, noise=noise)
    stream = model.generate_audio_stream(voice, TEXT, noise=noise)
    pieces: list[Array] = []
    with pytest.raises(ValueError, match=f"noise has {n_rows} rows"):
        pieces.extend(stream)
    assert sum(map(len, pieces)) == n_rows * FRAME_SAMPLES
    assert list(stream) == []


def _damaged(directory: Path, tensor: str) -> TTSModel:
    tensors = random_tensors(tiny_config(), 0)
    tensors[tensor] = np.full_like(tensors[tensor], np.inf)
    config = write_model(directory, tiny_config(), tensors=tensors)
    return TTSModel.load_model(config=str(config), num_threads=1)


@pytest.mark.parametrize(
    "tensor", ["flow_lm.flow_net.final_layer.linear.bias", "mimi.decoder.model.11.conv.bias"]
)
def test_errors_of_both_loops_arrive(tmp_path: Path, voice: VoiceState, tensor: str) -> None:
    """The language model's and the codec's; the loops go on for other streams."""
    model = _damaged(tmp_path, tensor)
    for _ in range(3):
        with pytest.raises(ValueError, match="not finite"):
            model.generate_audio(voice, TEXT, seed=1)


def test_missing_end_of_speech_is_logged(
    endless: TTSModel, voice: VoiceState, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="pocket_tts_native"):
        audio = endless.generate_audio(voice, "one two", seed=1)
    assert "without EOS" in caplog.text
    n_tokens = len(endless.tokenize(endless.prepare_text("one two")[0]))
    assert len(audio) == np.ceil((n_tokens / 3 + 2) * 12.5) * FRAME_SAMPLES


def test_chunks_without_a_place_to_split_are_logged(
    model: TTSModel, voice: VoiceState, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="pocket_tts_native"):
        model.generate_audio(voice, "Hello. " + "one " * 30 + ". Two.", 20, seed=1)
    (message,) = (m for m in caplog.messages if "may skip words" in m)
    assert message.startswith("chunk 1 of the text has ")


def test_chunks_are_spoken_one_by_one(model: TTSModel, voice: VoiceState) -> None:
    """Every chunk fades in from silence, and is spoken as it would be by itself."""
    text = "Hello there. One, two; three. And more of it, is it?"
    chunks = model.split_text(text, 0)
    assert len(chunks) > 2
    noise = np.ones((500, LATENT_DIM), np.float32)
    whole = model.generate_audio(voice, text, 0, noise=noise)
    single = [model.generate_audio(voice, chunk, 10**6, noise=noise) for chunk in chunks]
    assert np.array_equal(whole, np.concatenate(single))
    assert all(audio[0] == 0 for audio in single)


def test_text_of_unknown_characters_is_refused(model: TTSModel, voice: VoiceState) -> None:
    """Never an empty stream, even where the text leaves no chunk."""
    assert model.split_text("日…") == []
    with pytest.raises(ValueError, match="empty"):
        list(model.generate_audio_stream(voice, "日…", seed=1))


def test_missing_end_of_speech_can_be_an_error(
    endless: TTSModel,
    model: TTSModel,
    voice: VoiceState,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All audio of the chunk is delivered, then the exception."""
    expected = endless.generate_audio(voice, "one two", seed=1)
    monkeypatch.setenv("KPOCKET_TTS_ERROR_WITHOUT_EOS", "1")
    stream = endless.generate_audio_stream(voice, "one two", seed=1)
    pieces: list[Array] = []
    with pytest.raises(RuntimeError, match="end was not spoken"):
        pieces.extend(stream)
    assert np.array_equal(np.concatenate(pieces), expected)
    model.generate_audio(voice, TEXT, seed=1)


def test_many_utterances_with_early_closes(
    model: TTSModel, endless: TTSModel, voice: VoiceState
) -> None:
    """No thread is left over, and the audio afterwards is right."""
    expected = model.generate_audio(voice, TEXT, seed=9)
    rng = np.random.default_rng(1)
    n_threads = _n_native_threads()
    for index in range(200):
        speaker, text = ((model, TEXT), (endless, LONG_TEXT))[index % 2]
        stream = speaker.generate_audio_stream(voice, text, seed=index)
        for _ in range(rng.integers(0, 4)):
            next(stream, None)
        if index % 3:
            stream.close()
        if index % 20 == 0:
            assert np.array_equal(model.generate_audio(voice, TEXT, seed=9), expected)
    assert np.array_equal(model.generate_audio(voice, TEXT, seed=9), expected)
    assert _n_native_threads() <= n_threads + 2  # the loops of `endless`, if it was first used here


def _n_native_threads() -> int:
    tasks = Path("/proc/self/task")
    return len(list(tasks.iterdir())) if tasks.is_dir() else 0


def test_models_leave_no_threads(tiny_model_dir: Path) -> None:
    n_threads = _n_native_threads()
    for _ in range(5):
        config = str(tiny_model_dir / "config.yaml")
        model = TTSModel.load_model(config=config, num_threads=2)
        voice = model.get_state_for_audio_prompt(voice_like(10 * FRAME_SAMPLES, 1600))
        stream = model.generate_audio_stream(voice, TEXT, seed=1)
        next(stream)
        del model
        assert len(list(stream)) > 0
        del stream
    gc.collect()
    deadline = time.monotonic() + 5
    while _n_native_threads() > n_threads and time.monotonic() < deadline:
        time.sleep(0.01)
    assert _n_native_threads() <= n_threads


def test_a_voice_of_another_model_is_refused(tmp_path: Path, voice: VoiceState) -> None:
    config = tiny_config({"flow_lm": {"transformer": {"num_layers": 3}}})
    other = TTSModel.load_model(config=str(write_model(tmp_path, config)), num_threads=1)
    with pytest.raises(ValueError, match="layers"):
        other.generate_audio(voice, TEXT, seed=1)


_FORK: Final = """
import os, sys
import numpy as np
from pocket_tts_native import TTSModel
model = TTSModel.load_model(config=sys.argv[1], num_threads=2)
pcm = np.linspace(-0.5, 0.5, 1280, dtype=np.float32)
voice = model.get_state_for_audio_prompt(pcm, sample_rate=1600)
stream = None
if sys.argv[2] == "used":
    model.generate_audio(voice, "one", seed=1)
elif sys.argv[2] == "speaking":
    stream = model.generate_audio_stream(voice, "one", seed=1)
    next(stream)
reader, writer = os.pipe()
child = os.fork()
if child == 0 and stream is not None:
    try:
        list(stream)
        os._exit(3)
    except ValueError:
        stream.close()
audio = model.generate_audio(voice, "one", seed=1)
if child == 0:
    del stream
    os.write(writer, audio.tobytes())
    os._exit(0)
os.close(writer)
received = b""
while chunk := os.read(reader, 65536):
    received += chunk
_, status = os.waitpid(child, 0)
assert status == 0, status
assert received == audio.tobytes()
if stream is not None:
    assert len(list(stream)) > 0
print("same")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no fork on Windows")
@pytest.mark.parametrize("use", ["loaded", "used", "speaking"])
def test_speaking_survives_fork(tiny_model_dir: Path, use: str) -> None:
    """A child speaks with a model that its parent loaded; a stream stays the parent's."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _FORK, str(tiny_model_dir / "config.yaml"), use],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "same\n", done.stderr


_EXIT: Final = """
import sys
import numpy as np
from pocket_tts_native import TTSModel
model = TTSModel.load_model(config=sys.argv[1], eos_threshold=1e9, sampler_decode_steps=10000)
voice = model.get_state_for_audio_prompt(np.linspace(-0.5, 0.5, 1280, dtype=np.float32))
stream = model.generate_audio_stream(voice, "one " * 30, seed=1)
next(stream)
print("leaving")
"""


def test_process_ends_in_the_middle_of_a_stream(tiny_model_dir: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _EXIT, str(tiny_model_dir / "config.yaml")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "leaving\n"), done.stderr
