"""What may be written on a slice: where the front and the left are, and how long 5 cm are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from oasis_utils.data.dataset import Dataset
from oasis_utils.data.keras_layout import EXPORT_RECORD, files_named


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
