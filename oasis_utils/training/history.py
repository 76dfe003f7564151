"""What a training leaves for its curves and pictures: records of the losses and validations, and
snapshots of a model.

A record holds "epoch", "steps" (so far), "seconds", the means of the losses since the record
before, and, where the model was validated, what was found on the held-out split; "improved" marks
those that were the best so far.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from oasis_utils.runtime import atomic

Record = dict[str, int | float]


def write_history(path: Path, history: Sequence[Record]) -> None:
    """One line of JSON for each record."""
    with atomic(path) as partial:
        partial.write_text(
            "".join(json.dumps(record) + "\n" for record in history), encoding="utf-8"
        )


def read_history(path: Path) -> list[dict[str, Any]]:
    """The records in order; an empty list without a file."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def best_record(history: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The record of the model that was kept; ValueError for a history without one."""
    kept = [record for record in history if record.get("improved")]
    if not kept:
        raise ValueError(
            "the history names no best model: it is empty or of another version; delete the"
            " checkpoint and train again"
        )
    return kept[-1]


class Snapshots:
    """What `look(model)` returns at moments of a training. The arrays are kept on disk, so that a
    training that was resumed, or loaded, shows them too. `keep` is an observer `on_stage` of `fit`;
    after epochs call it with theirs.
    """

    def __init__(self, path: Path, look: Callable[[nn.Module], np.ndarray]):
        self.path, self.look = path, look

    def keep(self, model: nn.Module, moment: int) -> None:
        """Look at the model after so many epochs, or steps; what was kept of later moments is of
        another training.
        """
        before = {known: array for known, array in self.arrays().items() if known < moment}
        with atomic(self.path) as partial, open(partial, "wb") as file:
            np.savez_compressed(
                file, **{str(k): array for k, array in {**before, moment: self.look(model)}.items()}
            )

    def arrays(self) -> dict[int, np.ndarray]:
        """{moment: array}, in order; empty before the first."""
        if not self.path.exists():
            return {}
        with np.load(self.path, allow_pickle=False) as file:
            return {moment: file[str(moment)] for moment in sorted(map(int, file))}

    def rows(self, best: np.ndarray, steps: int) -> dict[str, np.ndarray]:
        """{"16 steps": array, ...} in order, with the array of the best model, that of `steps`, as
        the last.
        """
        return {
            **{f"{moment} steps": array for moment, array in self.arrays().items()},
            f"best\n({steps} steps)": best,
        }
