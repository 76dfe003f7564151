"""A prepared data set in numbers, as the report of a run holds it."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from oasis_utils.config import SPLITS
from oasis_utils.data.dataset import Dataset
from oasis_utils.runtime.report import Crop, DataResults, SplitSize


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
