"""Which map lies below and above which: by session and position, never across sessions."""

import numpy as np
import pytest
import torch

from oasis_utils.models.codes import CodeMaps
from oasis_utils.models.neighbour_pixelcnn import NO_SLICE
from oasis_utils.models.stacks import neighbour_rows, stacked_maps
from oasis_utils.runtime import DataError

CPU = torch.device("cpu")


def code_maps(positions, subjects, copies=1, split="train"):
    """Maps whose every code is the number of their row."""
    n = len(positions) * copies
    maps = np.broadcast_to(np.arange(n, dtype=np.uint16)[:, None, None], (n, 2, 2)).copy()
    return CodeMaps(
        {split: maps},
        {split: np.tile(positions, copies)},
        {split: np.tile(subjects, copies)},
        {split: np.tile(np.asarray(subjects, np.float32) + 20, copies)},
        {"n_codes": n, "variants": copies},
    )


def found(stacked):
    """(row, below, above) of each map; NO_SLICE for none."""
    names = ("indices", "below", "above")
    for name in names:  # all cells tell the same row
        assert torch.equal(stacked[name], stacked[name][:, :1, :1].expand(-1, 2, 2))
    return list(zip(*(stacked[name][:, 0, 0].tolist() for name in names), strict=True))


def test_rows_of_neighbours_go_by_stack_and_position():
    stacks = np.array([4, 4, 9, 4, 9, 9])
    positions = np.array([2, 0, 1, 1, 0, 3])  # in no order; 9 lacks position 2
    assert neighbour_rows(stacks, positions, -1).tolist() == [3, -1, 4, 1, -1, -1]
    assert neighbour_rows(stacks, positions, 1).tolist() == [-1, 3, -1, 0, 2, -1]


def test_maps_have_those_below_and_above_them():
    maps = code_maps([0, 1, 2, 1, 0], [7, 7, 7, 8, 8])
    stacked = stacked_maps(maps, "train", np.array([0, 0, 0, 1, 1]), CPU)
    assert found(stacked) == [(0, -1, 1), (1, 0, 2), (2, 1, -1), (3, 4, -1), (4, -1, 3)]
    assert NO_SLICE == -1
    types = {name: values.dtype for name, values in stacked.items()}
    assert types == {
        "indices": torch.int64,
        "positions": torch.int64,
        "subjects": torch.int64,
        "ages": torch.float32,
        "stacks": torch.int64,
        "below": torch.int32,
        "above": torch.int32,
    }
    assert stacked["positions"].tolist() == [0, 1, 2, 1, 0]
    assert stacked["subjects"].tolist() == [7, 7, 7, 8, 8]
    assert stacked["ages"].tolist() == [27, 27, 27, 28, 28]


def test_two_sessions_of_one_person_are_never_mixed():
    maps = code_maps([0, 1, 0, 1, 2], [7] * 5)
    stacked = stacked_maps(maps, "train", np.array([3, 3, 4, 4, 4]), CPU)
    assert found(stacked) == [(0, -1, 1), (1, 0, -1), (2, -1, 3), (3, 2, 4), (4, 3, -1)]
    assert len(set(stacked["stacks"].tolist())) == 2


def test_variants_have_neighbours_of_the_same_variant():
    maps = code_maps([0, 1, 0, 1], [7, 7, 8, 8], copies=3)
    stacked = stacked_maps(maps, "train", np.array([0, 0, 5, 5]), CPU)
    pairs = found(stacked)
    assert pairs[4:8] == [(4, -1, 5), (5, 4, -1), (6, -1, 7), (7, 6, -1)] and len(pairs) == 12
    names = stacked["stacks"].view(6, 2)
    assert torch.equal(names[:, 0], names[:, 1]) and len(names.unique()) == 6


def test_a_gap_has_no_neighbour_and_a_single_slice_is_left_out():
    maps = code_maps([0, 1, 3, 4, 6, 2], [7, 7, 7, 7, 7, 8])
    stacked = stacked_maps(maps, "train", np.array([0, 0, 0, 0, 0, 1]), CPU)
    assert found(stacked) == [(0, -1, 1), (1, 0, -1), (2, -1, 3), (3, 2, -1)]
    assert all(len(values) == 4 for values in stacked.values())
    assert stacked["positions"].tolist() == [0, 1, 3, 4]


@pytest.mark.parametrize("positions", [[2, 2, 2], [0, 2, 4]])
def test_slices_without_any_neighbour_make_no_heads(positions):
    maps = code_maps(positions, [7, 7, 7], split="test")
    series = np.arange(3) if positions[0] == positions[1] else np.zeros(3, int)
    with pytest.raises(
        DataError, match="no slice of the test split has a neighbour .*several slices of each"
    ):
        stacked_maps(maps, "test", series, CPU)


def test_neighbours_of_real_slices_are_those_of_their_sessions(brains):
    """Of the sample brains, whose slices follow each other."""
    split = brains.split("validate")
    maps = code_maps(split.positions, split.subjects, split="validate")
    stacked = stacked_maps(maps, "validate", split.series, CPU)
    assert len(stacked["indices"]) == len(split)
    for row, below, above in found(stacked):
        for other, step in ((below, -1), (above, 1)):
            if other != NO_SLICE:
                assert split.series[other] == split.series[row]
                assert split.positions[other] == split.positions[row] + step
            else:
                own = split.positions[split.series == split.series[row]]
                assert split.positions[row] + step not in own
