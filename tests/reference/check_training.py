"""Runs the parts of `training/` that need PyTorch on speech that it makes up, and prints what came out as JSON.

Usage: `check_training.py FOLDER`, in the reference's environment, from the root of the repository.
"""

import json
import random
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from pocket_tts.modules.stateful_module import increment_steps, init_states

from training.codec import Decoder, Encoder, whole_codec
from training.codec_data import Stretches
from training.common import load_configuration
from training.features import FRAME_SAMPLES, LATENT_DIM, PHASES
from training.generate import generate_latents, name_states
from training.lm import LanguageModel, LossWeights
from training.lm_data import Batch, Corpus
from training.muon import Muon
from training.paths import CHECKPOINTS, latents_of
from training.rollouts import ADVANCE_COST, aligned, spoken, taught
from training.spectra import SpectralLoss
from training.train_codec import make_optimizers

FRAMES = (9, 14, 11, 8)
TEXTS = ("The sea is calm.", "Nobody said a word about it.", "Where did they go?", "Good night.")
SILENCE = np.full(LATENT_DIM, -0.5, np.float32)
# What own latents differ by from the true ones, so that a stretch shows which it has.
OWN_OFFSET = 8.0


def make_shard(folder: Path) -> Path:
    """A shard of utterances whose samples and latents tell the moment that they belong to."""
    counts = np.array(FRAMES, np.int32)
    rng = np.random.default_rng(1)
    latents = rng.standard_normal((counts.sum(), LATENT_DIM)).astype(np.float16)
    numbers = np.arange(1, counts.sum() + 1)
    latents[:, 0] = numbers / 64
    path = folder / "shards" / "000.npz"
    for place in (path.parent, latents_of(path).parent, folder / "own"):
        place.mkdir()
    moments = np.arange(PHASES * counts.sum()) + PHASES
    samples = np.repeat(moments, FRAME_SAMPLES // PHASES).astype(np.int16)
    voices = np.array([0, 1, 2, 0], np.int8)
    np.savez(path, samples=samples, n_frames=counts, voice=voices, text=TEXTS)
    # In the same places for every phase: 20 ms later is 1 / 256 more in the first number.
    phased = np.repeat(latents, PHASES, axis=0)
    phased[:, 0] += np.tile(np.arange(PHASES) / (64 * PHASES), counts.sum())
    np.save(latents_of(path), phased)
    np.save(folder / "own" / "000.npy", latents + np.float16(OWN_OFFSET))
    return path


def streamed(model: LanguageModel, batch: Batch, row: int) -> torch.Tensor:
    """The conditions of a row's frames, position after position through the reference's own state."""
    flow_lm = model.flow_lm
    name_states(flow_lm)
    n_frames = int(batch.is_frame[row].sum())
    n_text = int(batch.frame_positions[row, 0]) - 1 - batch.prompt.shape[1]
    state = init_states(flow_lm, batch_size=1, sequence_length=200)
    head = torch.cat(
        [
            flow_lm.bos_before_voice[0],
            F.linear(batch.prompt[row], flow_lm.speaker_proj_weight),
            flow_lm.conditioner(batch.text[row : row + 1, :n_text])[0],
        ]
    )
    frames = torch.cat([flow_lm.bos_emb[None], batch.latents[row, : n_frames - 1]])
    steps = [head[None], *flow_lm.input_linear(frames)[:, None, None]]
    conditions = []
    for step in steps:
        conditions.append(flow_lm.out_norm(flow_lm.transformer(step, state))[0, -1])
        increment_steps(flow_lm, state, increment=step.shape[1])
    return torch.stack(conditions[1:])


def relative(got: torch.Tensor, want: torch.Tensor) -> float:
    """The relative L2 distance."""
    return float((got - want).norm() / want.norm())


def check_model(corpus: Corpus) -> dict[str, float]:
    """Figures of the language model's losses and batches."""
    torch.manual_seed(1)
    model = LanguageModel(load_configuration(), torch.ones(LATENT_DIM))
    # Fresh heads and embeddings of silence are zero or alike; random ones show every path.
    with torch.no_grad():
        for value in model.parameters():
            value.add_(0.02 * torch.randn_like(value))
    ((items, batch),) = corpus.whole(2_048, random.Random(2))
    with torch.no_grad():
        conditions = model.backbone(batch, None)
        textless = model.backbone(batch.textless(), None)
        own = model.own_latents(batch, 0.0, 0.0)
        again = model.own_latents(batch, 0.0, 1.0)
    found: dict[str, float] = {"n_items": len(items)}
    with torch.no_grad():
        found["backbone"] = max(
            relative(conditions[row][batch.is_frame[row]], streamed(model, batch, row))
            for row in range(len(items))
        )
    found["text_matters"] = relative(textless, conditions)
    time = torch.zeros(*conditions.shape[:2], 1).flatten(0, 1)
    with torch.no_grad():
        start = torch.zeros(len(time), LATENT_DIM)
        one_step = model.flow_lm.flow_net(conditions.flatten(0, 1), time, time + 1, start)
    found["own"] = relative(own.flatten(0, 1), one_step)
    found["own_after_own"] = relative(again, own)

    # The same noise every time: what differs is the target of the head.
    def losses(batch: Batch, guidance: float) -> dict[str, torch.Tensor]:
        torch.manual_seed(3)
        with torch.no_grad():
            return model.losses(batch, LossWeights(guidance=guidance))

    model.eval()
    plain, guided = losses(batch, 1.0), losses(batch, 3.0)
    found["guided_flow"] = abs(float(plain["flow"] - guided["flow"]))
    found["guided_regression"] = abs(float(plain["regression"] - guided["regression"]))
    nothing = batch.textless()
    found["guided_without_text"] = abs(
        float(losses(nothing, 1.0)["flow"] - losses(nothing, 3.0)["flow"])
    )
    model.train()

    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    weights = LossWeights()
    history = []
    for _ in range(25):
        loss = model.total(model.losses(batch, weights), weights)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(float(loss))
    found["learnt"] = float(np.mean(history[-5:]) / np.mean(history[:5]))
    return found


def check_rollouts(corpus: Corpus) -> dict[str, float]:
    """The model's own speech against the reference's streaming, and what is matched to it."""
    torch.manual_seed(6)
    model = LanguageModel(load_configuration(), torch.ones(LATENT_DIM)).eval()
    with torch.no_grad():
        for value in model.parameters():
            value.add_(0.02 * torch.randn_like(value))
    ((items, batch),) = corpus.whole(2_048, random.Random(2))
    own = spoken(model, batch, 0.0)
    found: dict[str, float] = {"n_spoken": len(own)}
    starts = [sum(FRAMES[:index]) for index in range(len(FRAMES))]
    wanted = []
    for row, item in enumerate(items):
        ((latents, _),) = generate_latents(
            model.flow_lm,
            [TEXTS[starts.index(item.start)]],
            batch.prompt[row],
            temperature=0.0,
            end_threshold=torch.inf,
        )
        wanted.append(latents[: own.shape[1]])
    found["spoken"] = max(
        relative(own[row, : len(latents)], latents) for row, latents in enumerate(wanted)
    )

    try:
        next(corpus.groups(1_000_000, random.Random(1)))
    except ValueError:
        found["too_few_refused"] = 1

    # True speech, then the same said late, with a frame twice and one left out.
    even = torch.full((LATENT_DIM,), 1 / LATENT_DIM)
    true = torch.randn(1, 60, LATENT_DIM).repeat_interleave(2, dim=1)
    true = true + 0.2 * torch.randn_like(true)
    moments = torch.tensor([[2, 6, 10, 10, 14, 22, 26, 30]])
    said = true.gather(1, moments[..., None].expand(-1, -1, LATENT_DIM))
    matched, cost = aligned(said, true, torch.tensor([8]), even)
    found["misplaced"] = int((matched != moments).sum())
    advances = moments.diff(dim=1, prepend=torch.tensor([[-PHASES]]))
    expected = ADVANCE_COST * (advances - PHASES).abs().sum() / 8
    found["cost"] = abs(float(cost[0]) - float(expected))

    # Speech that is the engine's own is taught what follows it in the engine's speech.
    true = corpus.phased(items, own.shape[1] * PHASES)[:, ::PHASES]
    taught_batch = taught(corpus, items, batch, true, even)
    counts = torch.tensor([item.n_frames for item in items])
    is_speech = torch.arange(true.shape[1]) < counts[:, None]
    found["taught"] = float((taught_batch.targets - true)[is_speech].abs().max())
    found["ends"] = int((taught_batch.is_end.argmax(1) != counts).sum())
    return found


def check_codec() -> dict[str, float]:
    """Whole stretches against the reference's own streaming, and whether the decoder learns."""
    torch.manual_seed(5)
    config = load_configuration().mimi
    decoder, encoder = Decoder(config), Encoder(config)
    mimi = whole_codec(config, decoder, encoder).eval()
    name_states(mimi)
    frames = 6
    latents = torch.randn(1, frames, LATENT_DIM)
    state = init_states(mimi, batch_size=1, sequence_length=1_000)
    pieces = []
    with torch.no_grad():
        for frame in latents.split(1, dim=1):
            pieces.append(mimi.decode_from_latent(frame, state))
            increment_steps(mimi, state, increment=16)
        samples = decoder(latents)
        encoded = mimi.encode_to_latent(samples[:, None])
        found = {
            "decoder": relative(samples, torch.cat(pieces, dim=-1)[:, 0]),
            "encoder": relative(encoder(samples), encoded),
        }

    loss = SpectralLoss()
    time = torch.arange(frames * FRAME_SAMPLES) / 16_000
    target = 0.3 * torch.sin(2 * torch.pi * 220 * time)[None]
    found["no_distance"] = sum(float(value) for value in loss(target, target).values())
    optimizers = make_optimizers(decoder, 2e-3)
    history = []
    for _ in range(30):
        total = torch.stack(list(loss(decoder(latents), target).values())).sum()
        total.backward()
        for optimizer in optimizers.values():
            optimizer.step()
            optimizer.zero_grad()
        history.append(float(total))
    found["decoder_learnt"] = float(np.mean(history[-5:]) / np.mean(history[:5]))

    kernel = torch.nn.Parameter(torch.zeros(6, 4, 5))
    kernel.grad = torch.randn(6, 4, 5)
    Muon([kernel], lr=1.0, momentum=0.0, weight_decay=0.0).step()
    sizes = torch.linalg.svdvals(kernel.detach().flatten(1)) / (0.2 * 20**0.5)
    found["muon_smallest"], found["muon_largest"] = float(sizes.min()), float(sizes.max())
    return found


def check_stretches(path: Path, folder: Path) -> dict[str, float]:
    """Whether latents stand beside their own samples, and whose they are."""
    data = Stretches([path], folder / "stretches", SILENCE)
    found: dict[str, float] = {}
    for name, share in (("true", 0.0), ("own", 1.0)):
        samples, latents = data.draw(16, 6, np.random.default_rng(4), share, delay=0)
        numbers = samples[:, ::FRAME_SAMPLES] * 32767.0 / PHASES
        is_speech = numbers > 0.5
        shifted = latents[..., 0] - (OWN_OFFSET if share else 0.0)
        found[f"{name}_aligned"] = float((shifted * 64 - numbers)[is_speech].abs().max())
        found[f"{name}_pause"] = float(
            (latents[~is_speech] - torch.from_numpy(SILENCE)).abs().max()
        )
    samples, _ = data.draw(32, 2, np.random.default_rng(5), 0.5, (0.0, 1.0, 0.0), delay=0)
    firsts = (samples[:, 0] * 32767.0).round() / PHASES
    # The second utterance, and the pause after it.
    found["other_voices"] = int((~((firsts == 0) | ((firsts >= 10) & (firsts < 24)))).sum())
    found["starts"] = len(firsts.unique())
    return found


def main() -> None:
    """Prints the figures."""
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    path = make_shard(folder)
    corpus = Corpus([path], CHECKPOINTS / "tokenizer.json", SILENCE, 200)
    print(
        json.dumps(
            check_model(corpus)
            | check_rollouts(corpus)
            | check_codec()
            | check_stretches(path, folder)
        )
    )


if __name__ == "__main__":
    main()
