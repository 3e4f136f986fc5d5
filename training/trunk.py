"""The language model's transformer on the reference's weights, in a form that trains quickly.

The same numbers as the reference's own forward pass, whose attention is slow to differentiate on
CPUs. `Cache` is for speaking many texts at once: rows that end together, one frame after another.
"""

import math
from functools import cache

import torch
import torch.nn.functional as F
from pocket_tts.modules.transformer import StreamingTransformer, StreamingTransformerLayer

# Positions of a row, at most.
LONGEST = 1024


@cache
def _rotations(length: int, head_width: int, max_period: float) -> torch.Tensor:
    """Unit complex numbers `[length, head_width / 2]`."""
    frequencies = torch.exp(
        torch.arange(head_width // 2) * (-math.log(max_period) * 2 / head_width)
    )
    angles = torch.arange(length)[:, None] * frequencies
    return torch.polar(torch.ones_like(angles), angles)


@cache
def _causal_mask(length: int) -> torch.Tensor:
    return torch.full((length, length), -torch.inf).triu(1)


class Cache:
    """Keys and values of `rows` texts; positions before a row's first are hidden."""

    def __init__(
        self, transformer: StreamingTransformer, firsts: torch.Tensor, capacity: int
    ) -> None:
        """`firsts` `[rows]` is where each row's sequence begins."""
        rows = len(firsts)
        device = firsts.device.type
        is_mixed = torch.is_autocast_enabled(device)
        dtype = torch.get_autocast_dtype(device) if is_mixed else torch.float32
        shapes: list[tuple[int, ...]] = []
        for layer in transformer.layers:
            attention = layer.self_attn
            shapes.append((rows, attention.num_heads, capacity, attention.dim_per_head))
        self.keys = [torch.zeros(shape, dtype=dtype, device=firsts.device) for shape in shapes]
        self.values = [torch.zeros(shape, dtype=dtype, device=firsts.device) for shape in shapes]
        self.length = 0
        positions = torch.arange(capacity, device=firsts.device)
        hidden = positions < firsts[:, None]
        self.mask = torch.where(hidden, -torch.inf, 0.0)[:, None, None]  # [rows, 1, 1, capacity]

    def extend(
        self, index: int, keys: torch.Tensor, values: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write the new positions of a layer; all of its keys and values so far."""
        end = self.length + keys.shape[2]
        self.keys[index][:, :, self.length : end] = keys
        self.values[index][:, :, self.length : end] = values
        return self.keys[index][:, :, :end], self.values[index][:, :, :end]


def _gelu(x: torch.Tensor) -> torch.Tensor:
    """The tanh form, which is a sigmoid: `(1 + tanh u) / 2 = sigmoid(2 u)`."""
    if torch.is_grad_enabled():
        return F.gelu(x, approximate="tanh")
    # Without gradients a third of the time on CPUs.
    u = (x * x).mul_(2 * 0.044715 * (2 / math.pi) ** 0.5).add_(2 * (2 / math.pi) ** 0.5).mul_(x)
    return u.sigmoid_().mul_(x)


def _attention(
    layer: StreamingTransformerLayer,
    x: torch.Tensor,
    rotations: torch.Tensor,
    mask: torch.Tensor,
    index: int,
    state: Cache | None,
) -> torch.Tensor:
    attention = layer.self_attn
    heads = attention.num_heads
    rows, length, _ = x.shape
    projected = attention.in_proj(x).view(rows, length, 3, heads, -1).permute(2, 0, 3, 1, 4)
    pairs = torch.view_as_complex(projected[:2].float().unflatten(-1, (-1, 2)))
    queries, keys = torch.view_as_real(pairs * rotations).flatten(-2).to(projected.dtype)
    values = projected[2]
    if state is not None:
        keys, values = state.extend(index, keys, values)
        mixed = F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask.to(keys.dtype))
    else:
        # PyTorch's own attention takes several times as long backwards on CPUs.
        scores = (queries * queries.shape[-1] ** -0.5) @ keys.mT
        shares = torch.softmax(scores.float() + mask, dim=-1)
        mixed = shares.to(values.dtype) @ values
    return attention.out_proj(mixed.transpose(1, 2).reshape(rows, length, -1))


def transformed(
    transformer: StreamingTransformer, x: torch.Tensor, state: Cache | None = None
) -> torch.Tensor:
    """`[rows, length, width]` through all layers; with `state`, after the positions in it."""
    length = x.shape[1]
    start = state.length if state else 0
    head_width = transformer.layers[0].self_attn.dim_per_head
    rotations = _rotations(LONGEST, head_width, transformer.max_period)[start : start + length]
    rotations, mask = rotations.to(x.device), _causal_mask(length).to(x.device)
    if state is not None:
        # A row's hidden positions may see themselves: a softmax over nothing is NaN.
        mask = F.pad(mask, (start, 0)) + state.mask[..., : start + length]
        mask = mask.clamp_min(-1e9)
    for index, layer in enumerate(transformer.layers):
        x = x + _attention(layer, layer.norm1(x), rotations, mask, index, state)
        x = x + layer.linear2(_gelu(layer.linear1(layer.norm2(x))))
    if state is not None:
        state.length += length
    return x
