"""Converts any source of slices or volumes into one prepared data set with splits and batches."""

from oasis_utils.data.batches import Batches
from oasis_utils.data.cache_folder import is_cache
from oasis_utils.data.dataset import (
    Dataset,
    Split,
    build_cache,
    one_slice_per_subject,
    open_cache,
    open_or_build,
    subsample,
)
from oasis_utils.data.grey_levels import FOREGROUND
from oasis_utils.data.picture_marks import PictureMarks, named_places
from oasis_utils.data.sample_brains import make_sample_brains
from oasis_utils.data.shards import Shards, open_shards
from oasis_utils.data.shards_batches import ShardedBatches, mixed
from oasis_utils.data.shards_of_slices import training_batches, write_shards
from oasis_utils.data.shown_slices import captions, nearest_slices
from oasis_utils.data.sources import OASIS_ACKNOWLEDGEMENT
from oasis_utils.data.splits import balance
from oasis_utils.data.summary import data_results, notes
from oasis_utils.data.tissues import mask_levels, tissue_shares

__all__ = [
    "FOREGROUND",
    "OASIS_ACKNOWLEDGEMENT",
    "Batches",
    "Dataset",
    "PictureMarks",
    "ShardedBatches",
    "Shards",
    "Split",
    "balance",
    "build_cache",
    "captions",
    "data_results",
    "is_cache",
    "make_sample_brains",
    "mask_levels",
    "mixed",
    "named_places",
    "nearest_slices",
    "notes",
    "one_slice_per_subject",
    "open_cache",
    "open_or_build",
    "open_shards",
    "subsample",
    "tissue_shares",
    "training_batches",
    "write_shards",
]
