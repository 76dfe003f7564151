"""What may be written on a slice: front, left, how long 5 cm are, places in a sample brain."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from oasis_utils.data.dataset import Dataset, Split
from oasis_utils.data.keras_layout import EXPORT_RECORD, files_named
from oasis_utils.data.tissues import mask_levels

# of a sample brain at a quarter of its height: (share of the brain's height, of its width, tissue);
# heads differ, so a place moves to the nearest pixel of its tissue
PLACES = {
    "cortex": (0.4, 0.06, "grey matter"),
    "white matter": (0.22, 0.3, "white matter"),
    "furrow": (0.3, 0.91, "fluid"),
    "ventricle": (0.33, 0.56, "fluid"),
    "deep nucleus": (0.5, 0.61, None),
    "mid-line": (0.1, 0.5, "fluid"),
}


@dataclass(frozen=True)
class PictureMarks:
    """What is known of the sides and the scale of a data set's slices.

    Attributes:
        front: Whether the forehead is up.
        left: Whether the person's left is at the left.
        millimetres: Size of a pixel of the resized slices; None where the source does not tell.
    """

    front: bool
    left: bool
    millimetres: float | None

    @classmethod
    def of(cls, dataset: Dataset) -> PictureMarks:
        """The marks of a data set.

        Volumes are cut on a grid of 1 mm with the left at the left. Sample brains are on the same
        grid, and mirrored at random, so they have no left. PNG files tell neither.

        Args:
            dataset: An open cache.

        Returns:
            Its marks.
        """
        kind, manifest = dataset.manifest["kind"], dataset.manifest
        resized = files_named(Path(manifest["source"]), EXPORT_RECORD)  # before they were saved
        on_grid = kind in ("synthetic", "oasis", "nifti") and not resized
        as_it_is = dataset.orient == "as-is"
        upright = manifest["orientation"]["measured"] and (on_grid or not as_it_is)
        return cls(
            front=bool(upright),
            left=bool(upright and on_grid and as_it_is and kind != "synthetic"),
            millimetres=manifest["crop"]["side"] / manifest["config"]["image_size"]
            if on_grid
            else None,
        )


def named_places(dataset: Dataset, split: Split, row: int) -> dict[str, tuple[int, int]]:
    """Where one finds parts of the anatomy in a low slice of a sample brain.

    Args:
        dataset: An open cache.
        split: One of its splits.
        row: Of a slice at about a quarter of the height.

    Returns:
        {"ventricle" and so on: (row, column) of a pixel}; empty for other data, where the places
        are not known.
    """
    if not dataset.synthetic or split.masks is None:
        return {}
    mask, levels = np.asarray(split.masks[row]), mask_levels(split.masks)
    inside = np.argwhere(mask > 0)
    top, size = inside.min(axis=0), np.ptp(inside, axis=0)
    found = {}
    for name, (down, right, tissue) in PLACES.items():
        wanted = top + size * (down, right)
        pixels = inside if tissue is None else np.argwhere(mask == levels[tissue])
        nearest = pixels[np.square(pixels - wanted).sum(axis=1).argmin()]
        found[name] = (int(nearest[0]), int(nearest[1]))
    return found
