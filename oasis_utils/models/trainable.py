"""The base class of the networks: what the training loop and checkpoint files use of a model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Protocol, runtime_checkable

from torch import Tensor, nn


@runtime_checkable
class SizedBatches(Protocol):
    """Batches of a split, in order.

    Attributes:
        batch_size: rows of all batches but the last, which may have fewer.
    """

    batch_size: int

    def __iter__(self) -> Iterator[dict[str, Tensor]]: ...


class Trainable(nn.Module):
    """A network that the training loop can train and a checkpoint file can hold.

    Attributes:
        Config: class of the configuration; the class itself is built as `kind(config)`.
        version: of the code of the class and of all it uses. It is raised when the same training
            would give other weights.
        monitor: name of the validation metric that chooses the best checkpoint, and "min" or "max".
        phases: names of the parts of a training step, in order; each updates its own parameters.
        neighbours: for a loss that sees some rows of a batch together, the key by which its rows
            are sorted and how many neighbours stay in one process; None: rows are independent.
        config: the configuration of this model, a dataclass.
    """

    Config: ClassVar[type]
    version: ClassVar[int]
    monitor: tuple[str, str]
    phases: tuple[str, ...]
    neighbours: ClassVar[tuple[str, int] | None] = None
    config: Any

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """The parameters that each phase updates, by the name of the phase."""
        raise NotImplementedError

    def hidden_kernels(self) -> list[Tensor]:
        """The convolution kernels between first and last layers, which Muon may train; none if the
        model leaves all to AdamW.
        """
        return []

    def step(self, batch: Mapping[str, Tensor], phase: str) -> dict[str, Tensor]:
        """Losses of one batch in one phase; "loss" is the one that is minimised."""
        raise NotImplementedError

    def validate(self, batches: SizedBatches) -> dict[str, float]:
        """Metrics of the held-out split, with that of `monitor` among them. Processes that train
        together take its batches in turn and all return the metrics of the whole split.
        """
        raise NotImplementedError
