"""Speech of the model's own to learn from: it goes on from its own frames, as when it speaks.

A model that has only seen true frames makes small errors that it never learnt to recover from. So
it speaks texts of the corpus with its own timing; each of its frames is matched to the moment of
the true speech that it stands for (dynamic time warping over latents every 20 ms), and what it
should have said next is the true frame 80 ms after that moment. This is the imitation learning of
DAgger (Ross et al. 2011) with the speech engine as the expert.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from training.features import LATENT_DIM, PHASES
from training.lm_data import TAIL_FRAMES, Batch, Corpus, Item
from training.trunk import Cache, transformed

if TYPE_CHECKING:
    from training.lm import LanguageModel

# Spoken at once, in batches.
GROUP_BATCHES = 8
# So many frames more than the true speech has, for what the model says slowly.
EXTRA_FRAMES = 8
# A frame may stand for a moment from 0 to 240 ms after the one before; each 20 ms more or less than
# 80 cost this much of the distance between two unrelated frames, which is about 2.
LARGEST_ADVANCE = 3 * PHASES
ADVANCE_COST = 0.04


@torch.no_grad()
def spoken(model: "LanguageModel", batch: Batch, temperature: float) -> torch.Tensor:
    """What the model says after each row's prompt and text, `[rows, frames, LATENT_DIM]`."""
    flow_lm = model.flow_lm
    rows, n_frames = batch.is_frame.shape
    heads = batch.frame_positions[:, 0]
    longest = int(heads.max())
    firsts = longest - heads
    parts = model.heads(batch, batch.prompt)
    # Rows end together: what lies before the first position of a row is hidden.
    places = (torch.arange(longest, device=firsts.device) - firsts[:, None]).clamp_min(0)
    order = batch.order.gather(1, places)
    x = parts.gather(1, order[..., None].expand(-1, -1, parts.shape[-1]))
    state = Cache(flow_lm.transformer, firsts, longest + n_frames)
    transformed(flow_lm.transformer, x, state)
    frame = flow_lm.bos_emb.expand(rows, 1, LATENT_DIM)
    said = []
    for _ in range(n_frames):
        x = transformed(flow_lm.transformer, flow_lm.input_linear(frame), state)
        condition = flow_lm.out_norm(x)[:, 0].float()
        noise = torch.randn_like(frame[:, 0]) * temperature**0.5
        frame = model.one_step(condition, noise).float()[:, None]
        said.append(frame)
    return torch.cat(said, dim=1)


def aligned(
    own: torch.Tensor, true: torch.Tensor, counts: torch.Tensor, importance: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The moment of the true speech that each own frame stands for, `[rows, frames]`, in 20 ms.

    And what the match costs, mean of a row's frames, `[rows]`. `own` is `[rows, frames,
    LATENT_DIM]`, of which `counts` `[rows]` frames are matched, `true` `[rows, moments,
    LATENT_DIM]`; `importance` `[LATENT_DIM]`, of sum 1, weighs the errors.
    """
    scale = importance.sqrt()
    a, b = own * scale, true * scale
    # Differences of large numbers: neighbouring moments differ by less than bf16 can tell.
    with torch.autocast(own.device.type, enabled=False):
        products = a @ b.mT
    squares = a.square().sum(-1)[..., None] + b.square().sum(-1)[:, None]
    distances = (squares - 2 * products).clamp_min(0)
    advances = torch.arange(LARGEST_ADVANCE, -1, -1)
    costs = ADVANCE_COST * (advances - PHASES).abs()
    moments = true.shape[1]
    # The first frame begins where the true one does, give or take.
    total = torch.full((len(own), moments), torch.inf)
    total[:, : PHASES + 1] = distances[:, 0, : PHASES + 1] + ADVANCE_COST * torch.arange(PHASES + 1)
    from_where, best, costs_so_far = [], [total.argmin(1)], [total.amin(1)]
    for frame in range(1, own.shape[1]):
        reached = F.pad(total, (LARGEST_ADVANCE, 0), value=torch.inf)
        least, choice = (reached.unfold(1, LARGEST_ADVANCE + 1, 1) + costs).min(-1)
        total = least + distances[:, frame]
        from_where.append(torch.arange(moments) - advances[choice])
        best.append(total.argmin(1))
        costs_so_far.append(total.amin(1))
    ends = torch.stack(best, 1)
    place = torch.zeros(len(own), dtype=torch.long)
    path = []
    for frame in range(own.shape[1] - 1, -1, -1):
        place = torch.where(frame >= counts - 1, ends[:, frame], place)
        path.append(place)
        if frame:
            place = from_where[frame - 1].gather(1, place[:, None])[:, 0].clamp_min(0)
    cost = torch.stack(costs_so_far, 1).gather(1, counts[:, None] - 1)[:, 0]
    return torch.stack(path[::-1], 1), cost / counts


def taught(
    corpus: Corpus, items: list[Item], batch: Batch, own: torch.Tensor, importance: torch.Tensor
) -> Batch:
    """The batch with own frames to be seen, and as targets what the engine would say after them."""
    n_frames = own.shape[1]
    true = corpus.phased(items, (n_frames + 2) * PHASES)
    moments, _ = aligned(own, true, batch.is_frame.sum(1), importance)
    wanted = F.pad(moments[:, :-1] + PHASES, (1, 0)).clamp_max(true.shape[1] - 1)
    targets = true.gather(1, wanted[..., None].expand(-1, -1, LATENT_DIM))
    ends = torch.tensor([item.n_frames * PHASES for item in items])[:, None]
    return replace(
        batch,
        latents=own,
        targets=targets,
        is_end=(wanted >= ends).float(),
        is_frame=batch.is_frame & (wanted < ends + TAIL_FRAMES * PHASES),
    )


def spoken_distance(
    model: "LanguageModel",
    corpus: Corpus,
    importance: torch.Tensor,
    n_utterances: int,
    temperature: float = 0.1,
) -> float:
    """How far the model's own speech of held-out utterances is from the engine's, timing aside.

    About 2 for unrelated speech. Guidance makes it larger while speech gets clearer, so compare states
    of the same guidance.
    """
    items, batch = corpus.held_out(n_utterances)
    device = next(model.parameters()).device
    own = spoken(model, batch.to(device), temperature).cpu()
    true = corpus.phased(items, (own.shape[1] + 2) * PHASES)
    _, costs = aligned(own, true, torch.tensor([item.n_frames for item in items]), importance)
    return float(costs.mean())


@dataclass(frozen=True)
class RolloutOptions:
    """Positions of a batch, temperature of the noise, shares of the voices (as they come without)."""

    tokens: int
    temperature: float
    voice_shares: Sequence[float] = ()


def rollouts(
    model: "LanguageModel",
    corpus: Corpus,
    options: RolloutOptions,
    importance: torch.Tensor,
    rng: random.Random,
) -> Iterator[Batch]:
    """Without end: batches that follow the model's own frames."""
    tail = TAIL_FRAMES + EXTRA_FRAMES
    device = next(model.parameters()).device
    groups = corpus.groups(
        options.tokens * GROUP_BATCHES, rng, options.voice_shares, textless=0.0, tail=tail
    )
    for items, batch in groups:
        own = spoken(model, batch.to(device), options.temperature).cpu()
        whole = taught(corpus, items, batch, own, importance)
        n_rows = max(1, options.tokens // batch.order.shape[1])
        for start in range(0, len(items) - n_rows + 1, n_rows):
            chosen = torch.zeros(len(items), dtype=torch.bool)
            chosen[start : start + n_rows] = True
            yield whole.rows(chosen)
