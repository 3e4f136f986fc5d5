"""Muon: momentum whose matrices are made orthogonal before each step.

A step then changes all directions of a matrix alike instead of a few dominant ones, which saves
many steps of a small transformer's training. After Keller Jordan's description of the method; the
iteration runs over all matrices of one shape at once, in bf16 where that is fast.
"""

import re
from collections.abc import Iterable

import torch

ITERATIONS = 5
# Of the quintic iteration x -> a x + b x^3 + c x^5 on singular values: drives them near 1 quickly.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def orthogonalised(matrices: torch.Tensor) -> torch.Tensor:
    """The nearest matrices, roughly, with all singular values near 1; `[count, rows, columns]`."""
    a, b, c = COEFFICIENTS
    is_tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if is_tall else matrices
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(ITERATIONS):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return x.mT if is_tall else x


class Muon(torch.optim.Optimizer):
    """For matrices within the network; embeddings and outermost layers are AdamW's.

    A convolution's kernel `[a, b, taps]` counts as the matrix `[a, b * taps]`.
    """

    def __init__(
        self,
        parameters: Iterable[torch.Tensor],
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.03,
        products: torch.dtype = torch.float32,
    ) -> None:
        """`lr` is on AdamW's scale: the root mean square of a step is 0.2 of it.

        `products` is what matrices are made orthogonal in.
        """
        self._products = products
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """One step."""
        del closure
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[torch.Tensor]] = {}
            for value in group["params"]:
                if value.grad is not None:
                    by_shape.setdefault(value.shape, []).append(value)
            for shape, values in by_shape.items():
                updates = []
                for value in values:
                    state = self.state[value]
                    if "momentum" not in state:
                        state["momentum"] = torch.zeros_like(value)
                    state["momentum"].lerp_(value.grad, 1 - group["momentum"])
                    update = value.grad.lerp(state["momentum"], group["momentum"])
                    updates.append(update.flatten(1))
                steps = orthogonalised(torch.stack(updates).to(self._products)).float()
                scale = 0.2 * max(steps.shape[1:]) ** 0.5 * group["lr"]
                for value, step in zip(values, steps, strict=True):
                    value.mul_(1 - group["lr"] * group["weight_decay"])
                    value.sub_(step.view(shape), alpha=scale)


def muon_and_adamw(
    module: torch.nn.Module,
    inner: str,
    rate: float,
    betas: tuple[float, float],
    products: torch.dtype = torch.float32,
) -> dict[str, torch.optim.Optimizer]:
    """Muon for matrices and kernels whose names the pattern `inner` finds, AdamW for all else."""
    named = list(module.named_parameters())
    matrices = [value for name, value in named if value.ndim > 1 and re.search(inner, name)]
    chosen = set(map(id, matrices))
    others = [value for _, value in named if id(value) not in chosen]
    return {
        "muon": Muon(matrices, lr=rate, products=products),
        "adamw": torch.optim.AdamW(others, lr=rate, betas=betas, weight_decay=0.0),
    }
