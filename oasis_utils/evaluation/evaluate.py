"""A set of slices judged: all metrics together, in one form, with verdicts in words.

Every metric stands beside its real reference (see reference.py).
"""

from __future__ import annotations

import re
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Integer, UInt8
from torch import Tensor

from oasis_utils.data.dataset import Split
from oasis_utils.data.image_files import read_slice
from oasis_utils.evaluation import corruptions as sensitivity
from oasis_utils.evaluation.reference import (
    DECODED,
    PRIOR,
    REAL,
    SPACES,
    Comparison,
    Described,
    Estimate,
    Reference,
    compare,
    estimate,
    judged_rows,
    resolution,
    timed,
)
from oasis_utils.evaluation.verdicts import SCHEMA, VERSION, check_form, verdicts
from oasis_utils.metrics import distances as fidelity
from oasis_utils.metrics import image_quality as metrics
from oasis_utils.metrics.features import as_floats, balanced, matched
from oasis_utils.models.codes import decode_maps, encode_images
from oasis_utils.models.drawing import SamplingOptions
from oasis_utils.models.sampler import BrainSampler, Samples, image_seeds, spread_positions
from oasis_utils.models.vqvae import VQVAE
from oasis_utils.runtime import Progress

INTERVAL_ROUNDS = 1000  # resamples behind the intervals of a reconstruction's scores

# ---------------------------------------------------------------- reconstruction


@torch.inference_mode()
def reconstruct_split(
    vqvae: VQVAE, split: Split, device: torch.device
) -> tuple[np.ndarray, np.ndarray]:
    """(reconstructions uint8 (n, height, width), index maps (n, rows, cols)) of a split."""
    indices = encode_images(vqvae, split.images, device).astype(np.int64)
    return decode_maps(vqvae, indices), indices


def judge_reconstruction(
    split: Split,
    reconstructions: UInt8[np.ndarray, "n height width"],
    train_mean: Float[Tensor, "1 height width"],
) -> dict[str, Any]:
    """{"reconstruction": {ssim, brain_ssim, psnr, intervals, split, region, images, subjects},
    "floors": {metric: {floor: value}}}. region: "brain" or "head", what brain_ssim covers.
    intervals: central 95 % of each metric's mean over resamples of whole people.
    """
    real, region = split.floats(), split.inside()
    values = {
        name: x.numpy()
        for name, x in metrics.slice_scores(real, as_floats(reconstructions), region).items()
    }
    scores = {name: float(np.nanmean(x)) for name, x in values.items()}
    intervals = {name: _interval(x, split.subjects) for name, x in values.items()}
    floors = metrics.floors(
        real,
        train_mean,
        torch.from_numpy(split.subjects),
        torch.from_numpy(split.positions),
        region,
    )
    by_metric = {name: {floor: values[name] for floor, values in floors.items()} for name in scores}
    return {
        "reconstruction": {
            **scores,
            "intervals": intervals,
            "split": split.name,
            "region": split.region_name,
            "images": len(split),
            "subjects": len(np.unique(split.subjects)),
        },
        "floors": by_metric,
    }


def _interval(values: Float[np.ndarray, " n"], subjects: Integer[np.ndarray, " n"]) -> list[float]:
    """Central 95 % of the mean of the finite values over resamples of subjects; nan without any."""
    known = np.isfinite(values)
    if not known.any():
        return [float("nan")] * 2
    return list(fidelity.mean_interval(values[known], subjects[known], INTERVAL_ROUNDS))


def mean_image(split: Split) -> Float[Tensor, "1 height width"]:
    """Mean slice of a split, in [0, 1]; the sums run over chunks, so the array may be larger than
    memory.
    """
    total = sum(
        split.images[i : i + 512].sum(0, dtype=np.float64) for i in range(0, len(split), 512)
    )
    return torch.from_numpy(total / len(split) / 255).float()[None]


def position_means(split: Split, n_positions: int) -> Float[Tensor, "n_positions 1 height width"]:
    """Mean slice of each position, in [0, 1]; a position that the split lacks gets the mean of
    all.
    """
    means = mean_image(split).repeat(n_positions, 1, 1)
    for position in np.unique(split.positions):
        means[position] = torch.from_numpy(split.images[split.positions == position].mean(0) / 255)
    return means[:, None]


# ---------------------------------------------------------------- samples


def generate(
    sampler: BrainSampler,
    n: int,
    seed: int,
    options: SamplingOptions | None = None,
    real: Split | None = None,
) -> Samples:
    """n slices, with progress, at the positions and (where the prior knows ages) the ages of the
    very test slices that they will be judged against; without a test split, evenly over all
    positions and of any age.
    """
    positions, ages = spread_positions(n, sampler.n_positions), None
    if real is not None:
        rows = np.resize(judged_rows(real, n), n)  # a small split is gone through again
        positions, ages = real.positions[rows], real.ages[rows] if sampler.knows_age else None
    with Progress(f"sampling {sampler.name}", n) as progress:
        return sampler.sample(positions, image_seeds(seed, n), options, progress, ages)


def code_use(samples: Samples, n_codes: int) -> dict[str, float]:
    """{valid: share of maps whose codes all exist, distinct_codes}."""
    known = (samples.indices >= 0) & (samples.indices < n_codes)
    return {
        "valid": float(known.all(axis=(1, 2)).mean()),
        "distinct_codes": len(np.unique(samples.indices[known])),
    }


# ---------------------------------------------------------------- judgement


def evaluate_images(
    images: UInt8[np.ndarray, "n height width"],
    positions: Integer[np.ndarray, " n"] | None,
    reference: Reference,
    name: str = "the images",
    ages: Float[np.ndarray, " n"] | None = None,
) -> dict[str, Any]:
    """One evaluation in the form of `verdicts.FORM`. Positions that are None are read from the
    slices.

    Set distances use as many images as the reference has, those nearest to the real slices in
    position and age; copies are looked for in all. ValueError for images of another size or fewer
    than the reference.
    """
    require_images(images, reference.real.images.shape[1:])
    if len(images) < reference.n_images:
        raise ValueError(
            f"got {len(images)} images, the real sets have {reference.n_images}: sets of unequal"
            " size must not be compared; make the reference with n_judged, or generate more"
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
    with timed(seconds, "copies"):
        copies = reference.yardsticks.copies.judge(images)
    comparisons = {"real": real, "decoded": prior, **reference.comparisons}
    result = without_nan(
        {
            "schema": SCHEMA,
            "version": VERSION,
            "images": len(images),
            "compared": reference.n_images,
            "real_subjects": len(np.unique(reference.real.groups)),
            "reference_subjects": len(np.unique(reference.other.groups)),
            "features": reference.yardsticks.spaces,
            "positions": "given" if positions is not None else "read from the slices",
            **_headline(comparisons),
            "resolution": resolution(reference.comparisons[REAL]),
            "memorised": copies.pop("memorised"),
            "suspicious_pairs": copies.pop("suspicious_pairs"),
            "copy_gap": copies["copy_gap"],
            "variety": _variety(drawn, reference),
            "anatomy": _anatomy(drawn, reference),
            "memorisation": copies,
            "comparisons": comparisons,
            "seconds": seconds,
        }
    )
    result["verdicts"] = verdicts(result)
    check_form(result)
    return result


def _judged_set(
    images: np.ndarray,
    positions: np.ndarray,
    ages: np.ndarray | None,
    reference: Reference,
    name: str,
) -> Described:
    """As many images as the reference has, matched with the real slices; each is an independent
    draw.
    """
    ages = np.full(len(images), np.nan) if ages is None else np.asarray(ages)
    rows = matched(positions, ages, reference.real.positions, reference.ages)
    return Described.of(
        np.array(images[rows]),
        positions[rows],
        np.arange(len(rows)),
        reference.yardsticks,
        reference.device,
        name,
    )


def _positions(
    images: np.ndarray, positions: np.ndarray | None, reference: Reference
) -> Integer[np.ndarray, " n"]:
    if positions is not None:
        return np.asarray(positions, np.int64)
    known = np.unique(reference.real.positions)
    return (
        np.rint(reference.yardsticks.reader.read(images)).clip(known[0], known[-1]).astype(np.int64)
    )


def _headline(comparisons: dict[str, Comparison | None]) -> dict[str, Any]:
    """Kernel distance and classifier's AUC to real and to decoded slices, each with its own
    reference.
    """
    result: dict[str, Any] = {}
    names = {
        "": "real",
        "_real_vs_real": REAL,
        "_prior": "decoded",
        "_decoded_vs_decoded": PRIOR,
        "_decoded_vs_real": DECODED,
    }
    for metric, family, key in (
        ("kid", "learned", "kid"),
        ("two_sample_auc", "two_sample", "network"),
    ):
        for suffix, side in names.items():
            found = comparisons[side] and comparisons[side][family][key]
            result[metric + suffix] = found and found["value"]
            result[f"{metric}{suffix}_interval"] = found and found["interval"]
    return result


def _variety(drawn: Described, reference: Reference) -> dict[str, dict[str, Estimate] | None]:
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


def _anatomy(drawn: Described, reference: Reference) -> dict[str, Any]:
    sides = {"generated": drawn, "real": reference.other, "decoded": reference.decoded}
    return {
        name: some and some.anatomy_shares(reference.config.bootstrap)
        for name, some in sides.items()
    }


def without_nan(value: Any) -> Any:
    """Metrics that could not be taken become None: JSON has no nan."""
    if isinstance(value, dict):
        return {name: without_nan(item) for name, item in value.items()}
    if isinstance(value, list):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def sensitivities(reference: Reference, n: int, seed: int = 0) -> dict[str, dict[str, float]]:
    """{damage: {metric: excess}} of n damaged slices of other people: how far each metric moves
    from the undamaged slices, in widths of the upper half of their interval. Below 1 the metric
    does not see the damage.
    """
    rows = balanced(reference.other.positions, n, seed)
    images, positions, groups = (
        x[rows] for x in (reference.other.images, reference.other.positions, reference.other.groups)
    )

    def scores(changed: np.ndarray) -> dict[str, Estimate]:
        described = Described.of(
            changed, positions, groups, reference.yardsticks, reference.device, ""
        )
        result = compare(described, reference.real, reference.config.bootstrap, classify=False)
        shares = described.anatomy_shares(reference.config.bootstrap)
        lost = result["learned"]["coverage"]
        flat = {
            f"{space} {kind}": result[space][kind]
            for space in SPACES
            for kind in ("kid", "frechet")
        }
        flat["coverage lost"] = estimate(
            1 - lost["value"], tuple(1 - end for end in lost["interval"][::-1])
        )
        flat["two-sample AUC"] = result["two_sample"]["logistic"]
        return flat | {
            key: estimate(shares[name], tuple(shares[f"{name}_interval"]))
            for key, name in (
                ("outside range", "outside_share"),
                ("position error", "position_error"),
            )
        }

    anatomist = reference.yardsticks.anatomist
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


# ---------------------------------------------------------------- images from outside


def require_images(images: np.ndarray, shape: tuple[int, ...]) -> None:
    """ValueError unless the images are uint8 (n, height, width) of the data's size and enough of
    them.
    """
    if images.ndim != 3 or images.dtype != np.uint8:
        raise ValueError(
            f"images must be uint8 (n, height, width), not {images.dtype} {images.shape}"
        )
    if images.shape[1:] != shape:
        raise ValueError(
            f"images are {images.shape[2]}x{images.shape[1]}, the data {shape[1]}x{shape[0]}: bring"
            " them to one size"
        )
    fidelity.require_enough(len(images), len(images))


def as_grey(images: np.ndarray, source: str) -> UInt8[np.ndarray, "n height width"]:
    """8-bit slices from uint8 ones, or from floats in [0, 1]. ValueError that says what else was
    found.
    """
    if images.ndim != 3:
        raise ValueError(
            f"images in {source} have shape {images.shape}, expected (n, height, width)"
        )
    if images.dtype == np.uint8:
        return images
    if not np.issubdtype(images.dtype, np.floating):
        raise ValueError(f"images in {source} are {images.dtype}: give uint8, or floats in [0, 1]")
    if not np.isfinite(images).all():
        raise ValueError(
            f"{int((~np.isfinite(images)).any((1, 2)).sum())} images in {source} hold nan or"
            " infinite pixels: remove them"
        )
    if images.size and not 0 <= images.min() <= images.max() <= 1:
        raise ValueError(
            f"images in {source} are floats from {images.min():g} to {images.max():g}: scale them"
            " to [0, 1]"
        )
    return np.rint(images * 255).astype(np.uint8)


def load_images(path: str | Path) -> tuple[np.ndarray, np.ndarray | None]:
    """(images uint8, positions or None) of an .npz file as `sample` writes it, or of a folder of
    grey PNGs.

    Positions of a folder are taken from names such as case_001_slice_7.png where all have one.
    ValueError that names any other file.
    """
    if Path(path).is_dir():
        return _load_folder(Path(path))
    try:
        with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = {name: file[name] for name in ("images", "positions") if name in file}
    except (OSError, EOFError, ValueError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(
            f"cannot read {path} ({error}): give an .npz file that `sample` wrote"
        ) from None
    if "images" not in arrays:
        raise ValueError(f"{path} has no array 'images': give a file that `sample` wrote")
    images, positions = as_grey(arrays["images"], str(path)), arrays.get("positions")
    if positions is not None and (
        positions.shape != (len(images),) or positions.dtype.kind not in "iu"
    ):
        raise ValueError(
            f"positions in {path} are {positions.dtype} {positions.shape}, expected one whole"
            f" number for each of {len(images)} images"
        )
    return images, positions


def _load_folder(folder: Path) -> tuple[np.ndarray, np.ndarray | None]:
    files = sorted(folder.glob("*.png"))
    if not files:
        raise ValueError(
            f"no .png files in {folder}: give a folder of grey slices or an .npz file that `sample`"
            " wrote"
        )
    images = [read_slice(file) for file in files]
    other = next((i for i, image in enumerate(images) if image.shape != images[0].shape), None)
    if other is not None:
        raise ValueError(
            f"{files[0].name} and {files[other].name} in {folder} have different sizes, "
            f"{images[0].shape} and {images[other].shape}: bring them to one size"
        )
    places = [re.search(r"slice_(\d+)", file.name) for file in files]
    return np.stack(images), np.array([int(m[1]) for m in places]) if all(places) else None
