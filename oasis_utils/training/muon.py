"""Muon: momentum whose steps are made orthogonal, for the kernels of hidden convolutions.

A step changes a layer's output about equally in all directions, not mostly in the few that its
gradient points to (Jordan 2024, https://kellerjordan.github.io/posts/muon/; scale by shape and
weight decay: Liu 2025, arXiv 2502.16982). torch.optim.Muon takes matrices only, one at a time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from oasis_utils.runtime import select_dtype

# coefficients of the quintic iteration: singular values go to about 0.7 to 1.2, in five rounds
QUINTIC = (3.4445, -4.7750, 2.0315)
ROUNDS = 5


@torch.no_grad()
def orthogonalized(
    matrices: Float[Tensor, "n rows cols"],
) -> Float[Tensor, "n rows cols"]:
    """Each matrix with its singular vectors kept and its singular values brought near 1.

    Args:
        matrices: of any scale; zeros stay zeros.

    Returns:
        U Vᵀ of each U S Vᵀ, up to singular values between about 0.7 and 1.2. float32 is computed
        in bfloat16 where the hardware multiplies it, which is fine enough for a direction.

    Reference:
        Newton-Schulz iteration of Jordan 2024, https://kellerjordan.github.io/posts/muon/.
    """
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.transpose(1, 2) if tall else matrices
    x = x.to(select_dtype(x.device)) if x.dtype == torch.float32 else x
    x = x / torch.linalg.matrix_norm(x, keepdim=True).clamp(min=1e-7)
    a, b, c = QUINTIC
    for _ in range(ROUNDS):
        square = torch.bmm(x, x.transpose(1, 2))
        polynomial = torch.baddbmm(square, square, square, beta=b, alpha=c)
        x = torch.baddbmm(x, polynomial, x, beta=a)
    return (x.transpose(1, 2) if tall else x).to(matrices.dtype)


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, made orthogonal over each kernel as a matrix (out, in * rows * cols).

    Args:
        kernels: parameters of two dimensions or more; not those of first and last layers.
        lr: learning rate; about 0.01 to 0.05 suits networks of any width.
        momentum: share that the moving average of the gradients keeps in a step, in [0, 1).
        weight_decay: decoupled from the gradient, as in AdamW.

    Reference:
        Jordan 2024, https://kellerjordan.github.io/posts/muon/; Liu 2025, arXiv 2502.16982.
    """

    def __init__(
        self,
        kernels: Iterable[nn.Parameter],
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
    ):
        super().__init__(kernels, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]  # no closure
        """Update all kernels that have a gradient; those of one shape together."""
        for group in self.param_groups:
            alike: dict[tuple[int, int], list[tuple[Tensor, Tensor]]] = defaultdict(list)
            for kernel in group["params"]:
                if kernel.grad is None:
                    continue
                average = self.state[kernel].setdefault("average", torch.zeros_like(kernel))
                average.lerp_(kernel.grad, 1 - group["momentum"])
                matrix = kernel.grad.lerp(average, group["momentum"]).flatten(1)
                alike[(matrix.shape[0], matrix.shape[1])].append((kernel, matrix))
            for (rows, cols), pairs in alike.items():
                scale = -group["lr"] * max(1, rows / cols) ** 0.5
                steps = orthogonalized(torch.stack([matrix for _, matrix in pairs]))
                for (kernel, _), step in zip(pairs, steps, strict=True):
                    kernel.mul_(1 - group["lr"] * group["weight_decay"])
                    kernel.add_(step.view(kernel.shape), alpha=scale)
