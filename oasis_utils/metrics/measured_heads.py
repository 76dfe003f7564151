"""Measurements of whole heads: coherence, smoothness, what is read back, defects, features."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Integer, UInt8

from oasis_utils.metrics import coherence, head_features, smoothness
from oasis_utils.metrics.age_regressor import AgeRegressor, age_features
from oasis_utils.metrics.broken_slices import BrokenSlices
from oasis_utils.metrics.dark_area import DarkArea
from oasis_utils.metrics.features import learned
from oasis_utils.metrics.head_blocks import Heads
from oasis_utils.metrics.matching import balanced
from oasis_utils.metrics.position_regressor import PositionRegressor
from oasis_utils.metrics.slices import LabelledSlices
from oasis_utils.metrics.stack_windows import quarters, single_positions, spread_slices
from oasis_utils.metrics.two_sample import small_pictures

MIN_POSITIONS = 8  # of a stack whose quarters are judged: at least two slices each
READER_ROWS = 2048  # training slices from which positions and ages are learned
QUARTER_SLICES, POSITION_SLICES = 128, 64  # most slices of a window that networks see


@dataclass(frozen=True)
class HeadReaders:
    """What training slices fix before any head is judged.

    Attributes:
        position: Estimates positions.
        age: Estimates ages; None where fewer than two different ages are known.
        n_positions: Positions of the data.
        middle: Dark area of one middle for all positions, so that its curve has no steps.
        broken: Finds broken slices.
        device: Where the feature network runs.
    """

    position: PositionRegressor
    age: AgeRegressor | None
    n_positions: int
    middle: DarkArea
    broken: BrokenSlices
    device: torch.device

    @classmethod
    def fit(cls, train: LabelledSlices, device: torch.device) -> HeadReaders:
        """From training slices.

        Args:
            train: The training split.
            device: Where the feature network runs.

        Returns:
            The readers.
        """
        rows = balanced(train.positions, READER_ROWS)
        images, positions = np.array(train.images[rows]), train.positions[rows]
        n_positions, ages = int(train.positions.max()) + 1, train.ages[rows].astype(np.float64)
        known, age = np.isfinite(ages), None
        if len(np.unique(ages[known])) > 1:
            heights = positions[known] / n_positions
            age = AgeRegressor.fit(age_features(images[known]), heights, ages[known])
        return cls(
            PositionRegressor.fit(images, positions),
            age,
            n_positions,
            _one_middle(DarkArea.fit(train)),
            BrokenSlices.fit(train),
            device,
        )

    def ages(self, heads: Heads) -> Float[np.ndarray, "heads positions"] | None:
        """Years estimated from each slice; None if ages cannot be read."""
        if self.age is None:
            return None
        heights = heads.positions / self.n_positions
        return np.array([self.age.predict(age_features(head), heights) for head in heads.images])


class WindowSlices:
    """Slices, and what networks see of them, computed when it is first asked for: it takes most of
    the time, and few people leave nothing to compare.

    Args:
        images: The slices.
        device: Where the feature network runs.
    """

    def __init__(self, images: UInt8[np.ndarray, "n height width"], device: torch.device):
        self.images, self.device = images, device

    @cached_property
    def learned(self) -> Float[np.ndarray, "n features"]:
        """Features of the network."""
        return learned(self.images, self.device)

    @cached_property
    def pictures(self) -> Float[np.ndarray, "n side side"]:
        """The slices at 64 x 64 pixels, in [0, 1]."""
        return small_pictures(self.images)


@dataclass(frozen=True)
class Window:
    """Slices that stand for a part of the stack.

    Attributes:
        owners: Head of each slice.
        rows: Which of `slices` these are.
        slices: All slices of the part.
    """

    owners: Integer[np.ndarray, " n"]
    rows: Integer[np.ndarray, " n"]
    slices: WindowSlices

    @classmethod
    def of(cls, heads: Heads, window: np.ndarray, limit: int, readers: HeadReaders) -> Window:
        """At most `limit` slices at these indices of positions."""
        owners, places = spread_slices(len(heads), window, limit)
        slices = WindowSlices(heads.images[owners, places], readers.device)
        return cls(owners, np.arange(len(owners)), slices)

    @property
    def learned(self) -> Float[np.ndarray, "n features"]:
        """Features of the network."""
        return self.slices.learned[self.rows]

    @property
    def pictures(self) -> Float[np.ndarray, "n side side"]:
        """The slices at 64 x 64 pixels, in [0, 1]."""
        return self.slices.pictures[self.rows]

    def some(self, rows: Bool[np.ndarray, " heads"]) -> Window:
        """The slices of these heads, whose numbers become those among them."""
        kept, number = rows[self.owners], np.cumsum(rows) - 1
        return Window(number[self.owners[kept]], self.rows[kept], self.slices)


@dataclass(frozen=True)
class MeasuredHeads:
    """Heads and all that is measured on each of them, once.

    Attributes:
        heads: The heads.
        similar: {"neighbour SSIM" and, with maps, "same code": value of each pair of neighbours}.
        planes: {plane: SSIM of neighbouring planes}.
        rough: {curve: its roughness in per cent, or in grey levels}.
        read_positions: Positions estimated from the slices.
        read_ages: Years estimated from the slices; None if ages cannot be read.
        broken: {kind: whether a slice is broken}.
        features: {"content", "changes": features of the whole head}.
        windows: {part of the stack: slices that stand for it}.
    """

    heads: Heads
    similar: dict[str, Float[np.ndarray, "heads pairs"]]
    planes: dict[str, Float[np.ndarray, " heads"]]
    rough: dict[str, Float[np.ndarray, " heads"]]
    read_positions: Float[np.ndarray, "heads positions"]
    read_ages: Float[np.ndarray, "heads positions"] | None
    broken: dict[str, Bool[np.ndarray, "heads positions"]]
    features: dict[str, Float[np.ndarray, "heads features"]]
    windows: dict[str, Window]

    @classmethod
    def of(cls, heads: Heads, readers: HeadReaders) -> MeasuredHeads:
        """Measure heads.

        Args:
            heads: One or more, of at least MIN_POSITIONS slices.
            readers: What training slices fixed.

        Returns:
            What was measured.

        Raises:
            ValueError: For no heads, or too few positions.
        """
        _require(heads)
        images, n = heads.images, len(heads.positions)
        flat = images.reshape(-1, *images.shape[2:])
        at = np.tile(heads.positions, len(heads))
        similar = {"neighbour SSIM": coherence.neighbour_ssim(images)}
        if heads.maps is not None:
            similar["same code"] = coherence.neighbour_same_code(heads.maps)
        symmetry = readers.broken.symmetry
        found = readers.broken.find(flat, at)
        windows = {name: (x, QUARTER_SLICES) for name, x in quarters(n).items()}
        windows |= {name: (x, POSITION_SLICES) for name, x in single_positions(n).items()}
        return cls(
            heads,
            similar,
            {name: coherence.plane_ssim(images, name, symmetry) for name in coherence.PLANES},
            _roughness(images, readers.middle),
            readers.position.read(flat).reshape(len(heads), n),
            readers.ages(heads),
            {name: x.reshape(len(heads), n) for name, x in found.items()},
            {
                "content": head_features.content_features(images),
                "changes": head_features.change_features(images),
            },
            {name: Window.of(heads, x, limit, readers) for name, (x, limit) in windows.items()},
        )

    def some(self, rows: Bool[np.ndarray, " heads"]) -> MeasuredHeads:
        """Only these heads.

        Args:
            rows: True for those to keep.

        Returns:
            What was measured on them.
        """

        def kept(values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            return {name: x[rows] for name, x in values.items()}

        return MeasuredHeads(
            self.heads.some(rows),
            kept(self.similar),
            kept(self.planes),
            kept(self.rough),
            self.read_positions[rows],
            None if self.read_ages is None else self.read_ages[rows],
            kept(self.broken),
            kept(self.features),
            {name: window.some(rows) for name, window in self.windows.items()},
        )


def _one_middle(dark: DarkArea) -> DarkArea:
    """The median box for all positions."""
    shown = dark.boxes[dark.boxes.any(1)]
    return DarkArea(np.rint(np.median(shown, axis=0)).astype(int)[None], dark.level)


def _require(heads: Heads) -> None:
    if not len(heads):
        raise ValueError("there is no complete head: judge a split whose sessions have all slices")
    if len(heads.positions) < MIN_POSITIONS:
        raise ValueError(
            f"whole heads are judged by the quarters of a stack of {MIN_POSITIONS} positions or"
            f" more, not {len(heads.positions)}: judge single slices instead"
        )


def _roughness(images: np.ndarray, middle: DarkArea) -> dict[str, Float[np.ndarray, " heads"]]:
    dark = np.array([middle.share(head, 0) for head in images])
    return {
        "brain area, %": 100 * smoothness.roughness(smoothness.foreground_area(images)),
        "dark area, %": 100 * smoothness.roughness(dark),
        "grey levels": smoothness.grey_roughness(images),
    }
