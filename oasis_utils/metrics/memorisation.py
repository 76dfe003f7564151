"""The copy test: nearest training slice against nearest slice of people whom no model has seen.

A new brain is as far from the training set as from other people; a copy is much nearer to training
(after Meehan 2020, arXiv 2004.05675, and Dar 2024, 2402.01054). "Much" is calibrated: the ratio of
the two distances is taken for real held-out slices as well, and a sample is suspicious below their
1st percentile. Slices are compared after aligning their centres and, where the data set has a
mid-line, with training slices also mirrored, because the priors learn from mirrored and shifted
slices, in two spaces: grey levels at 32 x 32 by their correlation, so that brightness and contrast
do not matter, and histograms of edge directions (Dalal 2005, doi 10.1109/CVPR.2005.177).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Integer, UInt8
from scipy.special import stdtrit
from torch import Tensor

from oasis_utils.metrics.features import as_floats
from oasis_utils.metrics.slices import LabelledSlices
from oasis_utils.runtime.symmetry import LEFT_RIGHT, Symmetry

SLICES_AT_ONCE = 256  # slices described at once
GREY_SIDE = 32  # pixels of the grey comparison
EDGE_CELLS, EDGE_DIRECTIONS = 12, 6  # of the edge histograms
THRESHOLD_PERCENTILE = 1.0  # percentile of real held-out ratios below which a sample is suspicious
SIGNIFICANCE = 0.01
MAX_LISTED = 50  # suspicious pairs kept in a report, lowest ratio first
RULE = (
    "A sample is suspicious if its distance to the nearest training slice, divided by that to the"
    f" nearest held-out slice, is below the {THRESHOLD_PERCENTILE:g}st"
    " percentile of the same ratio of real slices"
    f" of other people. Memorised: a binomial test (p < {SIGNIFICANCE:g}) finds more suspicious"
    " samples than the upper 95 % bound of the share that a real person's slices reach under the"
    " threshold of the others."
)


# ---------------------------------------------------------------- distances


@dataclass(frozen=True)
class Fingerprints:
    """What identifies slices, independent of their exact position in the frame."""

    grey: Float[Tensor, "n pixels"]  # mean 0, unit length: |a - b|² is 2 - 2 correlation
    edges: Float[Tensor, "n cells"]  # unit length

    @classmethod
    def of(
        cls, images: UInt8[np.ndarray, "n height width"], mirror: Symmetry | None = None
    ) -> Fingerprints:
        """mirror: the slices are mirrored first, across its mid-line."""
        chunks = (images[i : i + SLICES_AT_ONCE] for i in range(0, len(images), SLICES_AT_ONCE))
        parts = [
            _describe(as_floats(mirror.mirror(chunk) if mirror else chunk)) for chunk in chunks
        ]
        return cls(*(torch.cat(column) for column in zip(*parts, strict=True)))

    def __len__(self) -> int:
        return len(self.grey)

    def __getitem__(self, rows: Any) -> Fingerprints:
        return Fingerprints(self.grey[rows], self.edges[rows])


@torch.inference_mode()
def _describe(x: Float[Tensor, "n 1 height width"]) -> tuple[Tensor, Tensor]:
    x = _centred(x)
    grey = F.interpolate(x, size=(GREY_SIDE, GREY_SIDE), mode="area").flatten(1)
    middle = F.interpolate(x, size=(4 * EDGE_CELLS, 4 * EDGE_CELLS), mode="area")[:, 0]
    down, right = torch.gradient(middle, dim=(1, 2))
    strength, angle = torch.hypot(down, right), torch.atan2(down, right) % torch.pi
    bins = (angle / torch.pi * EDGE_DIRECTIONS).long().clamp(max=EDGE_DIRECTIONS - 1)
    histogram = F.one_hot(bins, EDGE_DIRECTIONS).permute(0, 3, 1, 2) * strength[:, None]
    edges = F.avg_pool2d(histogram, 4).flatten(1)
    return F.normalize(grey - grey.mean(1, keepdim=True)), F.normalize(edges)


def _centred(x: Float[Tensor, "n 1 height width"]) -> Float[Tensor, "n 1 height width"]:
    """The centre of mass moved to the middle pixel; what leaves the frame comes back on the other
    side, black.
    """
    rows, cols = x.shape[-2:]
    mass = x.sum((1, 2, 3)).clamp(min=1e-6)
    down = ((x.sum((1, 3)) * torch.arange(rows)).sum(1) / mass - rows / 2).round().long()
    right = ((x.sum((1, 2)) * torch.arange(cols)).sum(1) / mass - cols / 2).round().long()
    i = (torch.arange(rows) + down[:, None]) % rows
    j = (torch.arange(cols) + right[:, None]) % cols
    return x[torch.arange(len(x))[:, None, None], 0, i[:, :, None], j[:, None, :]][:, None]


@dataclass(frozen=True)
class Nearest:
    """For each slice its nearest reference slice: `distance` is the geometric mean of the two
    spaces' distances.
    """

    distance: Float[np.ndarray, " n"]
    grey: Float[np.ndarray, " n"]  # in [0, 2], at 32 x 32
    edges: Float[np.ndarray, " n"]  # in [0, √2]
    index: Integer[np.ndarray, " n"]
    mirrored: Bool[np.ndarray, " n"]


@dataclass(frozen=True)
class References:
    """A set of real slices, as they are and, where their symmetry allows it, mirrored."""

    plain: Fingerprints
    mirrored: Fingerprints | None  # None: slices without a mid-line

    @classmethod
    def of(
        cls, images: UInt8[np.ndarray, "n height width"], symmetry: Symmetry = LEFT_RIGHT
    ) -> References:
        """Describe real slices, and their mirror images where the symmetry allows it."""
        return cls(Fingerprints.of(images), Fingerprints.of(images, symmetry) if symmetry else None)

    def __getitem__(self, rows: Any) -> References:
        return References(self.plain[rows], self.mirrored and self.mirrored[rows])

    def nearest(self, prints: Fingerprints) -> Nearest:
        """The nearest slice of each row, and whether it is the mirrored one."""
        sides = [self.plain] if self.mirrored is None else [self.plain, self.mirrored]
        mine, theirs = (
            (prints.grey, prints.edges),
            zip(*((x.grey, x.edges) for x in sides), strict=True),
        )
        spaces = [(x.double(), torch.cat(y).double()) for x, y in zip(mine, theirs, strict=True)]
        parts = [
            _nearest([(x[i : i + SLICES_AT_ONCE], y) for x, y in spaces])
            for i in range(0, len(prints), SLICES_AT_ONCE)
        ]
        distance, grey, edges, index = (
            torch.cat(column).numpy() for column in zip(*parts, strict=True)
        )
        n = len(self.plain)
        return Nearest(distance, grey, edges, index % n, index >= n)


def _nearest(spaces: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(distance, grey, edges, index) of the nearest row. In double precision the product form errs
    by less than 1e-7; in single precision it loses pairs closer than 1e-3, and those are what is
    looked for.
    """
    grey, edges = (torch.cdist(x, y) for x, y in spaces)
    distance, index = (grey * edges).clamp(min=1e-12).sqrt().min(1)
    rows = torch.arange(len(index))
    return distance, grey[rows, index], edges[rows, index], index


# ---------------------------------------------------------------- the test


@dataclass(frozen=True)
class Calibration:
    """Ratios (nearest training / nearest held-out distance) of real slices of people in neither
    reference.
    """

    threshold: float  # below it a sample is suspicious
    # share of a person's slices below the threshold of all other people, mean over people
    rate: float
    limit: float  # the upper 95 % bound of that share

    @classmethod
    def of(
        cls, ratios: Float[np.ndarray, " n"], subjects: Integer[np.ndarray, " n"]
    ) -> Calibration:
        """Threshold of the ratio, and how often real slices fall below it.

        Args:
            ratios: Ratio of each slice of people in neither reference.
            subjects: Their people.

        Returns:
            The calibration.

        Raises:
            ValueError: For a single subject: its slices would both set and check the threshold.
        """
        names = np.unique(subjects)
        if len(names) < 2:
            raise ValueError(
                f"calibrating copies needs at least 2 held-out subjects, got {len(names)}: one sets"
                " the threshold and another one checks it; use a larger split"
            )
        shares = np.array(
            [
                (
                    ratios[subjects == s]
                    < np.percentile(ratios[subjects != s], THRESHOLD_PERCENTILE)
                ).mean()
                for s in names
            ]
        )
        error = stdtrit(len(names) - 1, 0.95) * shares.std(ddof=1) / len(names) ** 0.5
        limit = float(np.clip(shares.mean() + error, THRESHOLD_PERCENTILE / 100, 0.5))
        return cls(float(np.percentile(ratios, THRESHOLD_PERCENTILE)), float(shares.mean()), limit)


def equal_rows(
    a: LabelledSlices, b: LabelledSlices
) -> tuple[Integer[np.ndarray, " k"], Integer[np.ndarray, " k"]]:
    """Rows of both splits: slices of equally many subjects, and equally many slices; the larger
    side is thinned out evenly.

    A nearest distance shrinks as the references grow, so only sets of one size are compared.
    """
    count = min(len(np.unique(split.subjects)) for split in (a, b))
    chosen = [
        np.random.default_rng(0).permutation(np.unique(split.subjects))[:count] for split in (a, b)
    ]
    rows = [
        np.flatnonzero(np.isin(split.subjects, names))
        for split, names in zip((a, b), chosen, strict=True)
    ]
    k = min(map(len, rows))
    first, second = (side[np.linspace(0, len(side) - 1, k).round().astype(int)] for side in rows)
    return first, second


@dataclass(frozen=True)
class CopyTest:
    """Real references on either side and what is normal between them."""

    train: References
    held_out: References
    calibration: Calibration
    equal: Integer[np.ndarray, " k"]  # training rows of as many whole subjects …
    equal_held_out: Integer[np.ndarray, " k"]  # … and slices as these of held_out
    subjects: Integer[np.ndarray, " n"]  # of the training slices
    positions: Integer[np.ndarray, " n"]

    @classmethod
    def fit(
        cls, train: LabelledSlices, held_out: LabelledSlices, others: LabelledSlices
    ) -> CopyTest:
        """`held_out` stands against `train`; the slices of `others`, in neither, tell what is
        normal.
        """
        near, far = (References.of(split.images, train.symmetry) for split in (train, held_out))
        prints = Fingerprints.of(others.images)
        ratios = near.nearest(prints).distance / far.nearest(prints).distance
        return cls(
            near,
            far,
            Calibration.of(ratios, others.subjects),
            *equal_rows(train, held_out),
            train.subjects,
            train.positions,
        )

    def ratios(self, prints: Fingerprints) -> tuple[Float[np.ndarray, " n"], Nearest]:
        """(nearest training over nearest held-out distance, the nearest training slices)."""
        near = self.train.nearest(prints)
        return near.distance / self.held_out.nearest(prints).distance, near

    def gap(self, prints: Fingerprints) -> float:
        """(held-out - training) / held-out of the median nearest distances, references of equal
        size: about 0 for new brains, towards 1 for copies of the training subjects that are
        left.
        """
        near, far = (
            np.median(x.nearest(prints).distance)
            for x in (self.train[self.equal], self.held_out[self.equal_held_out])
        )
        return float((far - near) / far)

    def evaluate(self, images: UInt8[np.ndarray, "n height width"]) -> dict[str, Any]:
        """The test's numbers; `rule` says what `memorised` means, suspicious_pairs are sorted,
        worst first.
        """
        from scipy.stats import binomtest  # slow to import

        prints = Fingerprints.of(images)
        ratios, near = self.ratios(prints)
        suspicious = np.flatnonzero(ratios < self.calibration.threshold)
        p_value = float(
            binomtest(len(suspicious), len(images), self.calibration.limit, "greater").pvalue
        )
        listed = suspicious[np.argsort(ratios[suspicious])][:MAX_LISTED]
        return {
            "memorised": p_value < SIGNIFICANCE,
            "suspicious": len(suspicious),
            "suspicious_share": len(suspicious) / len(images),
            "suspicious_share_real": self.calibration.rate,
            "suspicious_share_limit": self.calibration.limit,
            "p_value": p_value,
            "threshold": self.calibration.threshold,
            "median_ratio": float(np.median(ratios)),
            "copy_gap": self.gap(prints),
            "rule": RULE,
            "suspicious_pairs": [self._pair(i, ratios, near) for i in listed.tolist()],
        }

    def nearest_pairs(
        self, images: UInt8[np.ndarray, "n height width"], count: int
    ) -> list[dict[str, Any]]:
        """The pairs of lowest ratio, suspicious or not: for the eye."""
        ratios, near = self.ratios(Fingerprints.of(images))
        return [self._pair(i, ratios, near) for i in np.argsort(ratios)[:count].tolist()]

    def _pair(self, i: int, ratios: np.ndarray, near: Nearest) -> dict[str, Any]:
        match = near.index[i]
        return {
            "sample": int(i),
            "train_index": int(match),
            "subject": int(self.subjects[match]),
            "position": int(self.positions[match]),
            "mirrored": bool(near.mirrored[i]),
            "distance": float(near.distance[i]),
            "ratio": float(ratios[i]),
            "grey_distance": float(near.grey[i]),
            "edge_distance": float(near.edges[i]),
        }
