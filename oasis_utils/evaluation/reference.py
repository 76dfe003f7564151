"""The real sets that generated slices are compared with, and the comparisons among them.

The *real* set holds slices of the test split, which no model has seen; generated slices are drawn
at their positions and ages. Four comparisons put a distance into context: *real vs real*
(validation people against test people), *training vs real* (training people) and, with a VQ-VAE,
*decoded vs real* (validation people passed through it) and *decoded vs decoded* (both sides passed
through it), the reference of priors compared without the decoder's blur. All sets have the same
number of slices, at positions and ages as near to the real ones as the data allow.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Integer

from oasis_utils.config import EvaluationConfig
from oasis_utils.data.dataset import Split
from oasis_utils.evaluation.measured_sets import Comparison, FittedReference, MeasuredSet, compare
from oasis_utils.metrics.matching import balanced, matched, partners
from oasis_utils.metrics.slices import MIN_IMAGES, require_enough
from oasis_utils.models.codes import decode_maps, encode_images
from oasis_utils.models.vqvae import VQVAE

REAL_VS_REAL, TRAINING_VS_REAL, DECODED_VS_REAL, DECODED_VS_DECODED = (
    "real_vs_real",
    "training_vs_real",
    "decoded_vs_real",
    "decoded_vs_decoded",
)


# ---------------------------------------------------------------- the real side
def reference_rows(
    real: Split, n: int, kept: Integer[np.ndarray, " m"] | None = None
) -> Integer[np.ndarray, " k"]:
    """The rows of the test split with which generated slices are compared, and whose positions and
    ages they are drawn at: as evenly over the positions as the data allow.

    Args:
        real: The test split.
        n: Largest number of rows.
        kept: Only these rows; None: all.

    Returns:
        Rows of the split.
    """
    kept = np.arange(len(real)) if kept is None else kept
    return kept[balanced(real.positions[kept], n)]


@dataclass(frozen=True)
class Reference:
    """The real sets, measured once, and the comparisons among them.

    Attributes:
        fitted: What training slices fix: scales, components, ranges.
        real: Test people.
        ages: Years of these slices, nan where unknown.
        decoded_real: The same slices through the VQ-VAE; None without one.
        other: Validation people, matched in position and age.
        decoded: The same slices through the VQ-VAE; None without one.
        comparisons: REAL_VS_REAL, TRAINING_VS_REAL, DECODED_VS_REAL and DECODED_VS_DECODED; the
            last two are None without a VQ-VAE.
        config: Sizes and number of resamples.
        device: Where the networks run.
        seconds: Wall time of each part.
    """

    fitted: FittedReference
    real: MeasuredSet
    ages: Float[np.ndarray, " n"]
    decoded_real: MeasuredSet | None
    other: MeasuredSet
    decoded: MeasuredSet | None
    comparisons: dict[str, Comparison | None]
    config: EvaluationConfig
    device: torch.device
    seconds: dict[str, float]

    @classmethod
    def of(
        cls,
        train: Split,
        other: Split,
        real: Split,
        config: EvaluationConfig,
        device: torch.device,
        vqvae: VQVAE | None = None,
        n_evaluated: int | None = None,
        positions: Integer[np.ndarray, " n"] | None = None,
    ) -> Reference:
        """Measure and compare the real sets.

        Every set has as many slices as the smallest, at most config.n_images.

        Args:
            train: Training split.
            other: Validation split.
            real: Test split.
            config: Sizes and number of resamples.
            device: Where the networks run.
            vqvae: Adds the decoded sets; None leaves them out.
            n_evaluated: How many generated images will be compared; None for config.n_images.
            positions: Slice positions of those images, to which the real sets are restricted; None
                for all positions.

        Returns:
            The reference.

        Raises:
            ValueError: If too few slices or people are left, or a position is unknown.
        """
        kept = [_restrict(split, positions) for split in (other, real)]
        limit = min(config.n_images, len(train), *map(len, kept), n_evaluated or config.n_images)
        require_enough(n_evaluated or limit, limit)
        wanted = reference_rows(real, limit, kept[1])
        rows = {
            "real slices": (real, wanted),
            "other people": (other, _like(other, kept[0], real, wanted)),
            "training people": (train, _like(train, np.arange(len(train)), real, wanted)),
        }
        seconds: dict[str, float] = {}
        with timed(seconds, "references from training slices"):
            fitted = FittedReference.fit(train, other, real, device)
        with timed(seconds, "real slices described"):
            sets = {name: _described(*some, fitted, device, name) for name, some in rows.items()}
        decoded: dict[str, MeasuredSet] = {}
        if vqvae is not None:
            with timed(seconds, "decoded slices described"):
                decoded = {
                    name: _decoded(sets[name], vqvae, fitted, device, f"decoded {name}")
                    for name in ("real slices", "other people")
                }
        with timed(seconds, "references compared"):
            comparisons = _references(sets, decoded, config.bootstrap)
        return cls(
            fitted,
            sets["real slices"],
            np.asarray(real.ages[wanted], np.float32),
            decoded.get("real slices"),
            sets["other people"],
            decoded.get("other people"),
            comparisons,
            config,
            device,
            seconds,
        )

    @property
    def n_images(self) -> int:
        """Number of slices of every set."""
        return len(self.real.images)


def _references(
    sets: dict[str, MeasuredSet], decoded: dict[str, MeasuredSet], rounds: int
) -> dict[str, Comparison | None]:
    real, other = sets["real slices"], sets["other people"]
    through = decoded.get("other people")
    return {
        REAL_VS_REAL: compare(other, real, rounds),
        TRAINING_VS_REAL: compare(sets["training people"], real, rounds, classify=False),
        DECODED_VS_REAL: through and compare(through, real, rounds),
        DECODED_VS_DECODED: through and compare(through, decoded["real slices"], rounds),
    }


def _like(
    split: Split, kept: np.ndarray, real: Split, wanted: np.ndarray
) -> Integer[np.ndarray, " n"]:
    """The kept rows of a split that match the wanted slices of the test split: each test person has
    a partner of about the same age, who lends slices of the same positions, so that both sides have
    as many slices of each person.
    """
    (names, mine, ages), (_, theirs, to_ages) = (
        _people(s, rows) for s, rows in ((split, kept), (real, wanted))
    )
    partner = names[partners(ages, to_ages)][theirs]
    return kept[
        matched(
            split.positions[kept],
            split.ages[kept],
            real.positions[wanted],
            real.ages[wanted],
            names[mine][:, None] != partner,
        )
    ]


def _people(split: Split, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(subjects, each row's number among them, mean age of each)."""
    names, number = np.unique(split.subjects[rows], return_inverse=True)
    return (
        names,
        number,
        np.bincount(number, split.ages[rows].astype(np.float64)) / np.bincount(number),
    )


def _described(
    split: Split, rows: np.ndarray, fitted: FittedReference, device: torch.device, name: str
) -> MeasuredSet:
    return MeasuredSet.of(
        np.array(split.images[rows]),
        split.positions[rows],
        split.subjects[rows],
        fitted,
        device,
        name,
    )


def _decoded(
    some: MeasuredSet, vqvae: VQVAE, fitted: FittedReference, device: torch.device, name: str
) -> MeasuredSet:
    images = decode_maps(vqvae, encode_images(vqvae, some.images, device))
    return MeasuredSet.of(images, some.positions, some.groups, fitted, device, name)


def _restrict(split: Split, positions: np.ndarray | None) -> Integer[np.ndarray, " rows"]:
    """Rows of a split at these positions. ValueError for a position that the data lack or a single
    subject.
    """
    subjects = np.unique(split.subjects)
    if len(subjects) < 2:
        raise ValueError(
            f"the {split.name} split holds 1 subject, at least 2 are needed: slices of one person"
            " say nothing on how people differ, and intervals draw whole subjects; use more"
            " subjects"
        )
    if positions is None:
        return np.arange(len(split))
    unknown = np.setdiff1d(positions, split.positions)
    if len(unknown):
        known = np.unique(split.positions)
        raise ValueError(
            f"position {unknown[0]} of the images is unknown: the {split.name} split has positions "
            f"{known[0]} to {known[-1]}; leave positions out to have them read from the slices"
        )
    rows = np.flatnonzero(np.isin(split.positions, positions))
    if len(rows) < MIN_IMAGES:
        raise ValueError(
            f"the {split.name} split has {len(rows)} slices at the positions of the images, at"
            f" least {MIN_IMAGES} are needed: evaluate images of more positions"
        )
    return rows


@contextlib.contextmanager
def timed(seconds: dict[str, float], part: str) -> Iterator[None]:
    """Write the wall seconds of a block under its name."""
    start = time.monotonic()
    yield
    seconds[part] = round(time.monotonic() - start, 1)
