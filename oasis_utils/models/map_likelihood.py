"""What the autoregressive models of index maps have in common: noise on what they read, layouts of
the maps, and the mean surprisal as the measure of a validation.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from oasis_utils.models.gated_network import GatedNetwork
from oasis_utils.models.trainable import Trainable
from oasis_utils.runtime import processes


class MapLikelihood(GatedNetwork, Trainable):
    """A gated network that is trained by the likelihood of index maps.

    Args:
        config: sizes of the network and of the maps.
    """

    phases = ("likelihood",)
    monitor = ("nats_per_code", "min")

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """All parameters, in the one phase "likelihood"."""
        return {"likelihood": list(self.parameters())}

    def hidden_kernels(self) -> list[Tensor]:
        """Kernels of all blocks and of the head's first layer."""
        layers = [*self.blocks.modules(), *self.head.modules()]
        return [layer.weight for layer in layers if isinstance(layer, nn.Conv2d)][:-1]

    def surprisal_of(self, batch: Mapping[str, Tensor]) -> Float[Tensor, "batch rows cols"]:
        """Negative log-likelihood of every cell of a batch, in nats."""
        raise NotImplementedError

    @torch.no_grad()
    def validate(self, batches: Iterable[dict[str, Tensor]]) -> dict[str, float]:
        """Mean surprisal of all cells of a split, as {"nats_per_code"}."""
        total, cells = 0.0, 0
        for _, batch in processes.in_turn(batches):
            nats = self.surprisal_of(batch)
            total, cells = total + float(nats.double().sum()), cells + nats.numel()
        return {"nats_per_code": processes.ratio(total, cells)}

    def _some_ages(self, batch: Mapping[str, Tensor]) -> Tensor | None:
        """The ages of a batch, of which training hides the share `age_dropout`."""
        ages = batch.get("ages")
        if ages is not None and self.training and self.config.knows_age:
            ages = torch.where(torch.rand_like(ages) < self.config.age_dropout, math.nan, ages)
        return ages

    def _noisy(self, indices: Tensor, most: float) -> Tensor:
        """Maps with wrong codes here and there in training, as sampling makes, a share of up to
        `most` of a map (reAR, arXiv 2510.04450).
        """
        if not (self.training and most):
            return indices
        share = most * torch.rand(len(indices), 1, 1, device=indices.device)
        wrong = torch.rand(indices.shape, device=indices.device) < share
        return torch.where(wrong, torch.randint_like(indices, self.config.n_codes), indices)

    def _told_layouts(
        self,
        indices: Int[Tensor, "batch rows cols"],
        positions: Int[Tensor, " batch"],
        ages: Float[Tensor, " batch"] | None,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor | None, Tensor | float]:
        """(Layouts with noise, what telling them costs a map in nats); (None, 0) without any."""
        if self.layout is None:
            return None, 0.0
        layouts, _ = self.layout.measure(indices, positions, ages)
        noise = torch.randn(layouts.shape, generator=generator).to(layouts)
        cost = self.layout.nats(layouts, positions, ages)
        told = layouts + self.config.layout_noise * noise
        known = self.layout.standardize(ages, positions).isfinite()
        told[:, 0] = torch.where(known, layouts[:, 0], told[:, 0])
        return told, cost
