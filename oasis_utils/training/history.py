"""Training history and snapshots, as files: losses, validations, and outputs of a model.

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

from oasis_utils.runtime import DataError, atomic, read_arrays

SNAPSHOTS_AGAIN = "delete it; the next training keeps them anew"
Record = dict[str, int | float]
# names in the files of earlier versions, and what they are called now
RENAMED_METRICS = {
    "autoencoder_opinion": "autoencoder_adversarial",
    "autoencoder_opinion_weight": "autoencoder_adversarial_weight",
}


def write_history(path: Path, history: Sequence[Record]) -> None:
    """One line of JSON for each record."""
    with atomic(path) as partial:
        partial.write_text(
            "".join(json.dumps(record) + "\n" for record in history), encoding="utf-8"
        )


def read_history(path: Path) -> list[dict[str, Any]]:
    """The records in order, under the names of this version; an empty list without a file."""
    if not path.exists():
        return []
    return [
        with_new_names(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()
    ]


def with_new_names(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record with the names that this version uses."""
    return {RENAMED_METRICS.get(name, name): value for name, value in record.items()}


def best_record(history: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The record of the model that was kept.

    Args:
        history: records of a training, as `fit` or `read_history` returns them.

    Returns:
        The last record with "improved".

    Raises:
        ValueError: no record has it.
    """
    kept = [record for record in history if record.get("improved")]
    if not kept:
        raise ValueError(
            "the history names no best model: it is empty or of another version; delete the"
            " checkpoint and train again"
        )
    return kept[-1]


class Snapshots:
    """Arrays that show a model at moments of its training.

    They are kept on disk, so that a training that was resumed, or loaded, shows them too. `keep`
    can be given to `fit` as `on_milestone`.

    Args:
        path: of the .npz file.
        probe: makes the array of a model, such as pictures that it draws.
    """

    def __init__(self, path: Path, probe: Callable[[Any], np.ndarray]):
        self.path, self.probe = path, probe

    def keep(self, model: nn.Module, moment: int) -> None:
        """Keep the array of this model, and drop those of later moments, which are of another
        training.

        Args:
            model: as it is at that moment.
            moment: number of steps, or of epochs.
        """
        kept = {known: array for known, array in self.arrays().items() if known < moment}
        kept[moment] = self.probe(model)
        named: dict[str, Any] = {str(known): array for known, array in kept.items()}
        with atomic(self.path) as partial, open(partial, "wb") as file:
            np.savez_compressed(file, **named)

    def arrays(self) -> dict[int, np.ndarray]:
        """{moment: array}, in order; empty before the first."""
        if not self.path.exists():
            return {}
        arrays = read_arrays(self.path, SNAPSHOTS_AGAIN)
        if not all(name.isdecimal() for name in arrays):
            raise DataError(f"{self.path} is a file of another kind: {SNAPSHOTS_AGAIN}")
        return {int(name): arrays[name] for name in sorted(arrays, key=int)}

    def rows(self, kept: np.ndarray, steps: int) -> dict[str, np.ndarray]:
        """The arrays by the titles of their rows in a figure.

        Args:
            kept: array of the model that was kept, which need not be the best at any step.
            steps: at which that model was kept.

        Returns:
            {"16 steps": array, ...} in order, with that of the kept model as the last; a snapshot
            of the same steps that equals it is left out.
        """
        earlier = {
            f"{moment} steps": array
            for moment, array in self.arrays().items()
            if not (moment == steps and np.array_equal(array, kept))
        }
        return {**earlier, f"kept\n({steps} steps)": kept}
