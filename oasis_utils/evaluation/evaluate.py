"""Evaluation of a set of generated slices: all metrics in one dictionary, with verdicts in words.

Every metric stands beside its real reference (see reference.py).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float, Integer, UInt8

from oasis_utils.data.dataset import Split
from oasis_utils.evaluation import corruptions as sensitivity
from oasis_utils.evaluation.giveaways import giveaways
from oasis_utils.evaluation.image_sets import require_images
from oasis_utils.evaluation.measured_sets import (
    SPACES,
    Comparison,
    Estimate,
    MeasuredSet,
    compare,
    estimate,
    resolution,
)
from oasis_utils.evaluation.reference import (
    DECODED_VS_DECODED,
    DECODED_VS_REAL,
    REAL_VS_REAL,
    Reference,
    reference_rows,
    timed,
)
from oasis_utils.evaluation.sample_sizes import kid_by_size
from oasis_utils.evaluation.verdicts import verdicts
from oasis_utils.metrics import image_quality as metrics
from oasis_utils.metrics.matching import balanced, matched
from oasis_utils.models.drawing import SamplingOptions
from oasis_utils.models.sampler import BrainSampler
from oasis_utils.models.samples import Samples, image_seeds, spread_positions
from oasis_utils.runtime import Progress
from oasis_utils.runtime.report import EvaluationResults, checked, plain


# ---------------------------------------------------------------- samples
def generate(
    sampler: BrainSampler,
    n: int,
    seed: int,
    options: SamplingOptions | None = None,
    real: Split | None = None,
) -> Samples:
    """Generate slices for an evaluation, with progress.

    Args:
        sampler: VQ-VAE and prior.
        n: Number of slices.
        seed: Of their noise.
        options: Temperature and cuts; None for the prior's own.
        real: Test split whose positions and, where the prior is conditioned on age, ages are used;
            None spreads the slices evenly over all positions, without ages.

    Returns:
        The slices with their maps, positions and ages.
    """
    positions, ages = spread_positions(n, sampler.n_positions), None
    if real is not None:
        rows = np.resize(reference_rows(real, n), n)  # a small split is gone through again
        positions, ages = real.positions[rows], real.ages[rows] if sampler.knows_age else None
    with Progress(f"sampling {sampler.name}", n) as progress:
        return sampler.sample(positions, image_seeds(seed, n), options, progress, ages)


def code_use(samples: Samples, n_codes: int) -> dict[str, float]:
    """Which codes the generated maps use.

    Args:
        samples: Generated slices with their maps.
        n_codes: Size of the codebook.

    Returns:
        {"valid": share of maps whose codes all exist, "distinct_codes": number of codes used}.
    """
    known = (samples.indices >= 0) & (samples.indices < n_codes)
    return {
        "valid": float(known.all(axis=(1, 2)).mean()),
        "distinct_codes": len(np.unique(samples.indices[known])),
    }


# ---------------------------------------------------------------- evaluation
def evaluate_images(
    images: UInt8[np.ndarray, "n height width"],
    positions: Integer[np.ndarray, " n"] | None,
    reference: Reference,
    name: str = "the images",
    ages: Float[np.ndarray, " n"] | None = None,
) -> dict[str, Any]:
    """All metrics of a set of slices beside those of real sets, `report.EvaluationResults`.

    Set distances use as many images as the reference has, those nearest to the real slices in
    position and age; copies are searched for in all.

    Args:
        images: uint8 (n, height, width), of the size of the data.
        positions: Slice positions; None estimates them from the slices.
        reference: The real sets.
        name: Of the set, for the progress.
        ages: Years, nan where unknown; None where all are unknown.

    Returns:
        The evaluation; metrics that could not be taken are None.

    Raises:
        ValueError: For images of another size, or fewer than the reference has.
    """
    require_images(images, reference.real.images.shape[1:])
    if len(images) < reference.n_images:
        raise ValueError(
            f"got {len(images)} images, the real sets have {reference.n_images}: sets of unequal"
            " size must not be compared; make the reference with n_evaluated, or generate more"
        )
    seconds: dict[str, float] = {}
    with timed(seconds, "images described"):
        drawn = _judged_set(images, _positions(images, positions, reference), ages, reference, name)
    with timed(seconds, "against real slices"):
        real = compare(drawn, reference.real, reference.config.bootstrap)
    with timed(seconds, "against decoded slices"):
        prior = reference.decoded_real and compare(
            drawn, reference.decoded_real, reference.config.bootstrap
        )
    with timed(seconds, "sample sizes"):
        sizes = kid_by_size(
            drawn, reference.decoded_real or reference.real, reference.config.bootstrap
        )
    with timed(seconds, "copies"):
        copies = reference.fitted.copies.evaluate(images)
    comparisons = {"real": real, "decoded": prior, **reference.comparisons}
    real_vs_real = reference.comparisons[REAL_VS_REAL]
    assert real_vs_real is not None, "a reference always compares real sets"
    result = plain(
        {
            "schema": "oasis_utils.evaluation",
            "version": 2,
            "images": len(images),
            "compared": reference.n_images,
            "real_subjects": len(np.unique(reference.real.groups)),
            "reference_subjects": len(np.unique(reference.other.groups)),
            "features": reference.fitted.spaces,
            "positions": "given" if positions is not None else "read from the slices",
            **_summary(comparisons),
            "resolution": resolution(real_vs_real),
            "memorised": copies.pop("memorised"),
            "suspicious_pairs": copies.pop("suspicious_pairs"),
            "copy_gap": copies["copy_gap"],
            "variety": _variety(drawn, reference),
            "anatomy": _anatomy(drawn, reference),
            "giveaways": reference.decoded_real
            and giveaways(drawn, reference.decoded_real, reference.fitted.anatomist.symmetry),
            "memorisation": copies,
            "comparisons": comparisons,
            "sample_sizes": sizes,
            "seconds": seconds,
        }
    )
    result["verdicts"] = verdicts(result)
    checked(EvaluationResults, result, "an evaluation")
    return result


def _judged_set(
    images: np.ndarray,
    positions: np.ndarray,
    ages: np.ndarray | None,
    reference: Reference,
    name: str,
) -> MeasuredSet:
    """As many images as the reference has, matched with the real slices; each is an independent
    draw.
    """
    ages = np.full(len(images), np.nan) if ages is None else np.asarray(ages)
    rows = matched(positions, ages, reference.real.positions, reference.ages)
    return MeasuredSet.of(
        np.array(images[rows]),
        positions[rows],
        np.arange(len(rows)),
        reference.fitted,
        reference.device,
        name,
    )


def _positions(
    images: np.ndarray, positions: np.ndarray | None, reference: Reference
) -> Integer[np.ndarray, " n"]:
    if positions is not None:
        return np.asarray(positions, np.int64)
    known = np.unique(reference.real.positions)
    return np.rint(reference.fitted.reader.read(images)).clip(known[0], known[-1]).astype(np.int64)


def _summary(comparisons: dict[str, Comparison | None]) -> dict[str, Any]:
    """Kernel distance and classifier's AUC to real and to decoded slices, each with its own
    reference.
    """
    result: dict[str, Any] = {}
    names = {
        "": "real",
        "_real_vs_real": REAL_VS_REAL,
        "_prior": "decoded",
        "_decoded_vs_decoded": DECODED_VS_DECODED,
        "_decoded_vs_real": DECODED_VS_REAL,
    }
    for metric, family, key in (
        ("kid", "learned", "kid"),
        ("two_sample_auc", "two_sample", "network"),
    ):
        for suffix, side in names.items():
            compared = comparisons[side]
            found = compared and compared[family][key]
            result[metric + suffix] = found and found["value"]
            result[f"{metric}{suffix}_interval"] = found and found["interval"]
    return result


def _variety(drawn: MeasuredSet, reference: Reference) -> dict[str, dict[str, Estimate] | None]:
    """Similarity of two slices of one position, by set and measure."""
    sides = {"generated": drawn, "real": reference.real, "decoded": reference.decoded_real}
    measures = {"pair_ssim": metrics.ssim, "pair_ms_ssim": metrics.ms_ssim}
    return {
        name: (
            some
            and {
                measure: some.similarity(kind, reference.config.bootstrap)
                for measure, kind in measures.items()
            }
        )
        for name, some in sides.items()
    }


def _anatomy(drawn: MeasuredSet, reference: Reference) -> dict[str, Any]:
    sides = {"generated": drawn, "real": reference.other, "decoded": reference.decoded}
    return {
        name: some and some.anatomy_shares(reference.config.bootstrap)
        for name, some in sides.items()
    }


def sensitivities(reference: Reference, n: int, seed: int = 0) -> dict[str, dict[str, float]]:
    """How far each metric moves when real slices are damaged.

    Args:
        reference: The real sets.
        n: Number of slices of other people that are damaged.
        seed: Of the choice of slices and of the damage.

    Returns:
        {damage: {metric: change from the undamaged slices, in widths of the upper half of their
        interval}}. Below 1 the metric does not see the damage.
    """
    rows = balanced(reference.other.positions, n, seed)
    images, positions, groups = (
        x[rows] for x in (reference.other.images, reference.other.positions, reference.other.groups)
    )

    def scores(changed: np.ndarray) -> dict[str, Estimate]:
        described = MeasuredSet.of(
            changed, positions, groups, reference.fitted, reference.device, ""
        )
        result = compare(described, reference.real, reference.config.bootstrap, classify=False)
        shares = described.anatomy_shares(reference.config.bootstrap)
        lost = result["learned"]["coverage"]
        flat = {
            f"{space} {kind}": result[space][kind]
            for space in SPACES
            for kind in ("kid", "frechet")
        }
        flat["learned coverage lost"] = estimate(
            1 - lost["value"], tuple(1 - end for end in lost["interval"][::-1])
        )
        flat["logistic AUC"] = result["two_sample"]["logistic"]
        return flat | {
            key: estimate(shares[name], tuple(shares[f"{name}_interval"]))
            for key, name in (
                ("outside range", "outside_share"),
                ("position error", "position_error"),
            )
        }

    anatomist = reference.fitted.anatomist
    table, still, names = {}, scores(images), sensitivity.possible(anatomist)
    least = {
        "outside range": 3 / len(images)
    }  # upper 95 % bound of a share of which nothing was seen
    with Progress("damaging slices", len(names)) as progress:
        for done, name in enumerate(names, start=1):
            moved = scores(sensitivity.damaged(images, name, seed, anatomist, positions))
            table[name] = {
                key: _excess(moved[key]["value"], item, least.get(key, 1e-3))
                for key, item in still.items()
            }
            progress.update(done, name)
    return table


def _excess(value: float, still: Estimate, least: float) -> float:
    """least: width of an interval that a bootstrap cannot see, as of a share of 0."""
    width = max(still["interval"][1] - still["value"], least)
    return float((value - still["value"]) / width)
