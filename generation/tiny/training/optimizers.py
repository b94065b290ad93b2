"""The optimizers of the tiny model's parts: Muon for the matrices of their layers, AdamW for the rest."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def split(module: torch.nn.Module, layers: str, *, lr: float, matrix_lr: float = 0.02) -> list[torch.optim.Optimizer]:
    """Return optimizers for all parameters: Muon for matrices with `layers` in their names, else AdamW with `lr`.

    The kernel of a convolution is a matrix whose rows are its outputs.
    """
    matrices: list[Tensor] = []
    rest: list[Tensor] = []
    for name, parameter in module.named_parameters():
        table = "scale_shift" in name or "relative_attention_bias" in name
        (matrices if parameter.ndim in {2, 5} and layers in name and not table else rest).append(parameter)
    return [
        Orthogonal(matrices, lr=matrix_lr),
        torch.optim.AdamW(rest, lr=lr, betas=(0.9, 0.97), weight_decay=0.0),
    ]


class Orthogonal(torch.optim.Optimizer):  # type: ignore[misc]  # torch comes without types
    """Muon (Jordan et al. 2024): momentum whose step is made orthogonal, for matrices; it learns in fewer steps.

    torch.optim.Muon does the same in bfloat16, which is slow on most CPUs.
    """

    def __init__(self, matrices: list[Tensor], lr: float) -> None:
        super().__init__(matrices, {"lr": lr})

    @torch.no_grad()  # type: ignore[untyped-decorator]  # as above
    def step(self, closure: Callable[[], float] | None = None) -> None:
        """Update the matrices by their gradients; `closure` is ignored."""
        for group in self.param_groups:
            for matrix in group["params"]:
                if matrix.grad is None:
                    continue
                momentum = self.state[matrix].setdefault("momentum", torch.zeros_like(matrix))
                momentum.lerp_(matrix.grad, 0.05)
                update = _orthogonal(matrix.grad.lerp(momentum, 0.95).flatten(1))
                tall = max(1.0, update.shape[0] / update.shape[1]) ** 0.5
                matrix.add_(update.view_as(matrix), alpha=-group["lr"] * tall)


def _orthogonal(x: Tensor) -> Tensor:
    """Return nearly the nearest orthogonal matrix, by the Newton-Schulz iteration."""
    tall = x.shape[0] > x.shape[1]
    x = (x.T if tall else x) / (x.norm() + 1e-7)
    for _ in range(5):
        square = x @ x.T
        x = 3.4445 * x + (-4.775 * square + 2.0315 * square @ square) @ x
    return x.T if tall else x
