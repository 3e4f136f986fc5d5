"""Latents of many texts at once, in PyTorch, for judging checkpoints."""

import math
from functools import partial

import torch
import torch.nn.functional as F
from pocket_tts.models.flow_lm import FlowLMModel, lsd_decode
from pocket_tts.modules.stateful_module import (
    ModelState,
    StatefulModule,
    increment_steps,
    init_states,
)

FIRST_END_FRAME = 6
TOKENS_PER_SECOND = 3.0
FRAMES_PER_SECOND = 12.5


def name_states(module: torch.nn.Module) -> None:
    """Give each streaming layer the name under which it finds its state."""
    for name, part in module.named_modules():
        if isinstance(part, StatefulModule):
            part._module_absolute_name = name


def _pass(flow_lm: FlowLMModel, rows: torch.Tensor, state: ModelState) -> torch.Tensor:
    out = flow_lm.out_norm(flow_lm.transformer(rows, state))[:, -1]
    increment_steps(flow_lm, state, increment=rows.shape[1])
    return out


@torch.no_grad()
def generate_latents(
    flow_lm: FlowLMModel,
    texts: list[str],
    prompt: torch.Tensor,
    *,
    temperature: float = 0.1,
    steps: int = 1,
    end_threshold: float,
    frames_after_end: int = 3,
    seed: int = 0,
) -> list[tuple[torch.Tensor, bool]]:
    """Per text `[frames, LATENT_DIM]` and whether the end was found; `prompt` is `[frames, LATENT_DIM]`.

    Rows of different lengths are aligned at their ends; the layers' `pad` hides what lies before.
    """
    name_states(flow_lm)
    generator = torch.Generator().manual_seed(seed)
    head = torch.cat([flow_lm.bos_before_voice[0], F.linear(prompt, flow_lm.speaker_proj_weight)])
    rows = [
        torch.cat([head, flow_lm.conditioner(flow_lm.conditioner.prepare(text))[0]])
        for text in texts
    ]
    longest = max(map(len, rows))
    most_frames = math.ceil(((longest - len(head)) / TOKENS_PER_SECOND + 2) * FRAMES_PER_SECOND)
    state = init_states(flow_lm, batch_size=len(texts), sequence_length=longest + most_frames)
    padding = torch.tensor([longest - len(row) for row in rows])
    for part in state.values():
        part["pad"] = padding
        part["cache"].zero_()
    _pass(flow_lm, torch.stack([F.pad(row, (0, 0, longest - len(row), 0)) for row in rows]), state)
    current = flow_lm.bos_emb.expand(len(texts), 1, -1)
    made: list[torch.Tensor] = []
    ends = torch.full((len(texts),), most_frames)
    for frame in range(most_frames):
        condition = _pass(flow_lm, flow_lm.input_linear(current), state)
        ended = flow_lm.out_eos(condition)[:, 0] > end_threshold
        if frame >= FIRST_END_FRAME:
            ends = torch.where(ended & (ends == most_frames), frame, ends)
        if bool((frame >= ends + frames_after_end).all()):
            break
        noise = torch.randn(len(texts), flow_lm.ldim, generator=generator) * temperature**0.5
        flow = partial(flow_lm.flow_net, condition)
        current = lsd_decode(flow, noise, steps)[:, None]
        made.append(current)
    latents = torch.cat(made, dim=1)
    return [
        (latents[row, : int(end) + frames_after_end], int(end) < most_frames)
        for row, end in enumerate(ends.tolist())
    ]
