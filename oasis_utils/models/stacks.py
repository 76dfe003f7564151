"""Index maps of stacks of slices: which map lies below and above which."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Integer
from torch import Tensor

from oasis_utils.models.codes import CodeMaps
from oasis_utils.models.neighbour_pixelcnn import NO_SLICE
from oasis_utils.runtime import DataError


def neighbour_rows(
    stacks: Integer[np.ndarray, " n"], positions: Integer[np.ndarray, " n"], step: int
) -> Integer[np.ndarray, " n"]:
    """The row of each slice's neighbour in its stack.

    Args:
        stacks: number of the stack that each slice belongs to.
        positions: of the slices.
        step: -1 for the slice below, 1 for that above.

    Returns:
        Rows in [0, n), -1 where the stack has no slice there.
    """
    pairs = list(zip(stacks.tolist(), positions.tolist(), strict=True))
    rows = {pair: row for row, pair in enumerate(pairs)}
    return np.array([rows.get((stack, at + step), -1) for stack, at in pairs], dtype=np.int64)


def stacked_maps(
    maps: CodeMaps, split: str, series: Integer[np.ndarray, " slices"], device: torch.device
) -> dict[str, Tensor]:
    """The maps of a split that have a neighbour, with the maps of the slices below and above.

    Variants of a training slice (mirrored, shifted) have neighbours of the same variant.

    Args:
        maps: of all splits.
        split: "train", "validate" or "test".
        series: number of the session of each slice of the split, as `Split.series`.
        device: where the tensors are placed.

    Returns:
        "indices", "positions", "subjects" and "ages" as `CodeMaps.to`; "stacks", the number of the
        stack of each map; "below" and "above", maps as int32, `NO_SLICE` in all cells where there
        is no such slice.

    Raises:
        DataError: no slice has a neighbour.
    """
    tensors = maps.to(split, device)
    copies = len(tensors["indices"]) // len(series)
    apart = int(series.max()) + 1
    stacks = np.concatenate([series + apart * copy for copy in range(copies)])
    rows = [neighbour_rows(stacks, maps.positions[split].astype(np.int64), s) for s in (-1, 1)]
    kept = np.flatnonzero((rows[0] >= 0) | (rows[1] >= 0))
    if not len(kept):
        raise DataError(
            f"no slice of the {split} split has a neighbour at the next position: whole heads need"
            " several slices of each person, at positions that follow each other"
        )
    for name, found in zip(("below", "above"), rows, strict=True):
        there = torch.from_numpy(found[kept]).to(device)
        told = tensors["indices"][there.clamp(min=0)].int()
        tensors[name] = torch.where((there >= 0)[:, None, None], told, NO_SLICE)
    tensors["stacks"] = torch.from_numpy(stacks.astype(np.int64)).to(device)
    chosen = torch.from_numpy(kept).to(device)
    return {
        name: values if name in ("below", "above") else values[chosen]
        for name, values in tensors.items()
    }
