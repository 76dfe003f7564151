"""The interface of a prior over index maps: what a sampler and the panels ask of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Bool, Float, Int
from torch import Tensor

from oasis_utils.models.drawing import AS_LEARNED, SamplingOptions


@runtime_checkable
class Prior(Protocol):
    """A distribution of index maps, conditioned on slice position and, where known, on age.

    Attributes:
        config: with grid (cells a side), n_positions and knows_age.
        supports_options: temperature, top-k and top-p can be changed.
        supports_completion: `sample` takes `given` and `keep`, and there is a method `complete` as
            in `PixelCNN`.
        gradual: a small change of the noise makes a small change of the map.
    """

    config: Any
    supports_options: bool
    supports_completion: bool
    gradual: bool

    def noise(self, seeds: list[int]) -> Float[Tensor, batch * shape]:
        """Noise of one map for each seed, the same on every device and in every batch."""
        ...

    def noise_path(self, ends: tuple[int, int], steps: int) -> Float[Tensor, steps * shape]:
        """Noise on the way between that of two seeds."""
        ...

    def sample(
        self,
        positions: Int[Tensor, " batch"],
        noise: Float[Tensor, batch * shape],
        *,
        options: SamplingOptions = AS_LEARNED,
        given: Int[Tensor, "_ _ _"] | None = None,
        keep: Bool[Tensor, "_ _ _"] | None = None,
        on_row: Callable[[int, Tensor], None] | None = None,
        ages: Float[Tensor, " batch"] | None = None,
    ) -> Int[Tensor, "batch rows cols"]:
        """Index maps in [0, n_codes); ValueError for what the prior does not support."""
        ...
