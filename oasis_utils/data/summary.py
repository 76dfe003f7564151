"""A prepared data set in numbers, as the report of a run holds it."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from oasis_utils.config import SPLITS
from oasis_utils.data.dataset import Dataset
from oasis_utils.runtime.report import Crop, DataResults, SplitSize

COMPARED = ("validate", "test")  # splits in which people are compared with one another


def notes(dataset: Dataset) -> list[str]:
    """What was changed in reading, and what will be missing later, a line each.

    Args:
        dataset: an open cache.

    Returns:
        Sentences without a stop; none where all is as expected.
    """
    lines = [f"{count} {note}" for note, count in dataset.manifest["notes"].items()]
    alone = [name for name in COMPARED if len(set(dataset.split(name).subjects.tolist())) == 1]
    if alone:
        lines.append(
            f"1 subject in {' and '.join(alone)}: notebook 08 compares people and needs 2 or more"
            " in each, so it will stop; take more subjects, or other shares (`prepare --split`)"
        )
    return lines


def data_results(dataset: Dataset) -> DataResults:
    """Source, sizes and crop of a data set.

    Args:
        dataset: An open cache, see `open_cache`.

    Returns:
        The section `data` of the report.
    """
    splits = {name: dataset.split(name) for name in SPLITS}
    owners = {name: set(np.unique(split.subjects).tolist()) for name, split in splits.items()}
    return DataResults(
        source=dataset.description,
        synthetic=dataset.synthetic,
        identity=dataset.identity,
        image_size=dataset.manifest["config"]["image_size"],
        crop=Crop(**dataset.manifest["crop"]),
        splits={name: SplitSize(len(owners[name]), len(split)) for name, split in splits.items()},
        shared_subjects=sum(
            len(owners[one] & owners[other]) for one, other in combinations(SPLITS, 2)
        ),
    )
