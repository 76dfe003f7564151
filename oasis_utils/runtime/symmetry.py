"""The mirror symmetry of a data set: the axis along which its slices may be flipped, if any.

A brain is nearly its own mirror image across the mid-sagittal plane, and across no other. Where
that plane meets the slices depends on how they lie: an upright axial or coronal slice has a
vertical mid-line, an axial one with the forehead to the right a horizontal one, a sagittal one
none. `orientation.py` measures it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

Array = TypeVar("Array")  # a NumPy array or a torch tensor, (..., height, width)


@dataclass(frozen=True)
class Symmetry:
    """The axis along which slices may be mirrored.

    Attributes:
        axis: -1 left-right, -2 top-bottom, None if no mirroring gives a possible brain.
    """

    axis: int | None = -1

    def __post_init__(self):
        if self.axis not in (-1, -2, None):
            raise ValueError(
                f"a symmetry's axis is -1 (left-right), -2 (top-bottom) or None, not {self.axis}"
            )

    def __bool__(self) -> bool:
        return self.axis is not None

    def mirror(self, images: Array) -> Array:
        """Images or index maps, each mirrored across the mid-line.

        Args:
            images: (..., height, width), a NumPy array or a torch tensor.

        Returns:
            The same shape and type; of NumPy arrays a view.

        Raises:
            ValueError: The slices have no mid-line.
        """
        if self.axis is None:
            raise ValueError(
                "these slices have no mid-line, so they may not be mirrored: check `if symmetry`"
                " first"
            )
        array: Any = images
        if hasattr(array, "flip"):  # a tensor
            return array.flip(self.axis)
        return array[..., ::-1] if self.axis == -1 else array[..., ::-1, :]

    def upright(self, images: Array) -> Array:
        """Images with a vertical mid-line: transposed if it is horizontal, else unchanged.

        Args:
            images: (..., height, width), a NumPy array or a torch tensor.

        Returns:
            The same type; a view if transposed.
        """
        array: Any = images
        return array.swapaxes(-1, -2) if self.axis == -2 else images


LEFT_RIGHT = Symmetry(-1)
