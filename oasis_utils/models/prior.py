"""The interface of a prior over index maps, and the checks of what a prior is conditioned on."""

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
        settled: a sampler decodes the drawn maps and encodes them again.
    """

    config: Any
    supports_options: bool
    supports_completion: bool
    gradual: bool
    settled: bool

    def eval(self) -> Any:
        """The prior in evaluation mode."""
        ...

    def noise(self, seeds: list[int]) -> Float[Tensor, " batch *shape"]:
        """Noise of one map for each seed, the same on every device and in every batch."""
        ...

    def noise_path(self, ends: tuple[int, int], steps: int) -> Float[Tensor, " steps *shape"]:
        """Noise on the way between that of two seeds."""
        ...

    def sample(
        self,
        positions: Int[Tensor, " batch"],
        noise: Float[Tensor, " batch *shape"],
        *,
        options: SamplingOptions = AS_LEARNED,
        given: Int[Tensor, "_ _ _"] | None = None,
        keep: Bool[Tensor, "_ _ _"] | None = None,
        on_row: Callable[[int, Tensor], None] | None = None,
        ages: Float[Tensor, " batch"] | None = None,
    ) -> Int[Tensor, "batch rows cols"]:
        """Index maps in [0, n_codes); ValueError for what the prior does not support."""
        ...


class CompletingPrior(Prior, Protocol):
    """A prior with supports_completion."""

    def complete(
        self,
        positions: Int[Tensor, " batch"],
        seeds: list[int],
        given: Int[Tensor, "_ _ _"],
        keep: Bool[Tensor, "_ _ _"],
        options: SamplingOptions = AS_LEARNED,
        ages: Float[Tensor, " batch"] | None = None,
        particles: int = 16,
        on_row: Callable[[int, Tensor], None] | None = None,
    ) -> Int[Tensor, "batch rows cols"]:
        """Index maps equal to `given` where `keep` is true, as `PixelCNN.complete`."""
        ...


def check_positions(positions: Tensor, n_positions: int) -> None:
    """ValueError unless there are positions and all are in [0, n_positions)."""
    if len(positions) == 0 or int(positions.min()) < 0 or int(positions.max()) >= n_positions:
        raise ValueError(f"positions must be in [0, {n_positions}), got {positions.tolist()[:8]}")


def check_ages(ages: Tensor | None, knows_age: bool, name: str) -> None:
    """ValueError if ages are asked of a model, called `name`, that was trained without."""
    if ages is not None and not knows_age:
        raise ValueError(
            f"this {name} was trained without ages: leave the age out, or train on data with ages"
            " (participants.tsv)"
        )
