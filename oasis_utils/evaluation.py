"""Are they any good, are they copies? A set of slices judged: all measures together, in one form, with verdicts.

Every figure stands beside its floor and its ceiling (see reference.py).
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

from oasis_utils import fidelity, metrics, sensitivity
from oasis_utils.codes import decode_maps, encode_images
from oasis_utils.data import Split
from oasis_utils.features import as_floats, balanced
from oasis_utils.images import read_slice
from oasis_utils.reference import SPACES, Comparison, Described, Reference, compare, figure, timed
from oasis_utils.runtime import Progress
from oasis_utils.sampling import BrainSampler, Samples, image_seeds, spread_positions
from oasis_utils.verdicts import SCHEMA, VERSION, check_form, verdicts
from oasis_utils.vqvae import VQVAE

# ---------------------------------------------------------------- reconstruction


@torch.inference_mode()
def reconstruct_split(vqvae: VQVAE, split: Split, device: torch.device) -> tuple[np.ndarray, np.ndarray]:
    """(reconstructions uint8 (n, height, width), index maps (n, rows, cols)) of a split."""
    indices = encode_images(vqvae, split.images, device).astype(np.int64)
    return decode_maps(vqvae, indices), indices


def judge_reconstruction(split: Split, reconstructions: UInt8[np.ndarray, "n height width"],
                         train_mean: Float[Tensor, "1 height width"]) -> dict[str, Any]:
    """{"reconstruction": {ssim, brain_ssim, psnr, split, region, images, subjects}, "floors": {metric: {floor:
    value}}}. region: "brain" or "head", what brain_ssim covers."""
    real, region = split.floats(), split.inside()
    scores = metrics.score(real, as_floats(reconstructions), region)
    floors = metrics.floors(real, train_mean, torch.from_numpy(split.subjects), torch.from_numpy(split.positions),
                            region)
    by_metric = {name: {floor: values[name] for floor, values in floors.items()} for name in scores}
    return {"reconstruction": {**scores, "split": split.name, "region": split.region_name, "images": len(split),
                               "subjects": len(np.unique(split.subjects))},
            "floors": by_metric}


def mean_image(split: Split) -> Float[Tensor, "1 height width"]:
    """Mean slice of a split, in [0, 1]; the sums run over chunks, so the array may be larger than memory."""
    total = sum(split.images[i:i + 512].sum(0, dtype=np.float64) for i in range(0, len(split), 512))
    return torch.from_numpy(total / len(split) / 255).float()[None]


def position_means(split: Split, n_positions: int) -> Float[Tensor, "n_positions 1 height width"]:
    """Mean slice of each position, in [0, 1]; a position that the split lacks gets the mean of all."""
    means = mean_image(split).repeat(n_positions, 1, 1)
    for position in np.unique(split.positions):
        means[position] = torch.from_numpy(split.images[split.positions == position].mean(0) / 255)
    return means[:, None]


# ---------------------------------------------------------------- samples


def generate(sampler: BrainSampler, n: int, seed: int, options=None) -> Samples:
    """n slices over all positions, with progress."""
    with Progress(f"sampling {sampler.name}", n) as progress:
        return sampler.sample(spread_positions(n, sampler.n_positions), image_seeds(seed, n), options, progress)


def code_use(samples: Samples, n_codes: int) -> dict[str, float]:
    """{valid: share of maps whose codes all exist, distinct_codes}."""
    known = (samples.indices >= 0) & (samples.indices < n_codes)
    return {"valid": float(known.all(axis=(1, 2)).mean()), "distinct_codes": len(np.unique(samples.indices[known]))}


# ---------------------------------------------------------------- judgement


def evaluate_images(images: UInt8[np.ndarray, "n height width"], positions: Integer[np.ndarray, " n"] | None,
                    reference: Reference, name: str = "the images") -> dict[str, Any]:
    """One evaluation in the form of `verdicts.FORM`. Positions that are None are read from the slices.

    Set distances use as many images as the reference has, spread over the positions; copies are looked for in all.
    """
    require_images(images, reference.real.images.shape[1:])
    if len(images) < reference.n_images:
        raise ValueError(f"got {len(images)} images, the real sets have {reference.n_images}: sets of unequal size are "
                         "not comparable; generate more, or build the reference for fewer")
    seconds: dict[str, float] = {}
    with timed(seconds, "images described"):
        where = _positions(images, positions, reference)
        rows = balanced(where, reference.n_images)
        drawn = Described.of(np.array(images[rows]), where[rows], np.arange(len(rows)), reference.yardsticks,
                             reference.device, name)
    with timed(seconds, "against real slices"):
        real = compare(drawn, reference.real, reference.config.bootstrap)
    with timed(seconds, "against reconstructions"):
        prior = reference.decoded and compare(drawn, reference.decoded, reference.config.bootstrap)
    with timed(seconds, "copies"):
        copies = reference.yardsticks.copies.judge(images)
    result = without_nan({
        "schema": SCHEMA, "version": VERSION, "images": len(images), "compared": reference.n_images,
        "real_subjects": len(np.unique(reference.real.groups)), "features": reference.yardsticks.spaces,
        "positions": "given" if positions is not None else "read from the slices",
        **_headline(real, reference), "memorised": copies.pop("memorised"),
        "suspicious_pairs": copies.pop("suspicious_pairs"), "copy_gap": copies["copy_gap"],
        **_variety(drawn, reference), "anatomy": _anatomy(drawn, reference), "memorisation": copies,
        "comparisons": {"real": real, "reconstructions": prior, "floor": reference.floor,
                        "ceiling": reference.ceiling}, "seconds": seconds})
    result["verdicts"] = verdicts(result)
    check_form(result)
    return result


def _positions(images: np.ndarray, positions: np.ndarray | None, reference: Reference) -> Integer[np.ndarray, " n"]:
    if positions is not None:
        return np.asarray(positions, np.int64)
    known = np.unique(reference.real.positions)
    return np.rint(reference.yardsticks.reader.read(images)).clip(known[0], known[-1]).astype(np.int64)


def _headline(real: Comparison, reference: Reference) -> dict[str, Any]:
    kid, floor, auc = real["learned"]["kid"], reference.floor["learned"]["kid"], real["two_sample"]["network"]
    return {"kid": kid["value"], "kid_interval": kid["interval"], "kid_floor": floor["value"],
            "kid_floor_interval": floor["interval"],
            "kid_ceiling": reference.ceiling and reference.ceiling["learned"]["kid"]["value"],
            "two_sample_auc": auc["value"], "two_sample_interval": auc["interval"],
            "two_sample_null": reference.floor["two_sample"]["network"]["value"]}


def _variety(drawn: Described, reference: Reference) -> dict[str, float | None]:
    sides = {"": drawn, "_real": reference.other, "_decoded": reference.decoded}
    measures = {"pair_ssim": metrics.ssim, "pair_ms_ssim": metrics.ms_ssim}
    return {name + side: described and described.pair_figure(kind)
            for name, kind in measures.items() for side, described in sides.items()}


def _anatomy(drawn: Described, reference: Reference) -> dict[str, Any]:
    def side(described: Described | None) -> dict[str, Any] | None:
        return described and {"outside_share": described.outside_share, "position_error": described.position_error,
                              "outside": dict(zip(described.measures, described.outside.mean(0).tolist(), strict=True))}

    return {"generated": side(drawn), "real": side(reference.other), "decoded": side(reference.decoded)}


def without_nan(value: Any) -> Any:
    """Figures that could not be taken become None: JSON has no nan."""
    if isinstance(value, dict):
        return {name: without_nan(item) for name, item in value.items()}
    if isinstance(value, list):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def sensitivities(reference: Reference, n: int, seed: int = 0) -> dict[str, dict[str, float]]:
    """{damage: {figure: excess}} of n damaged real slices: how far each figure moves from the undamaged slices (the
    floor), in widths of the upper half of the floor's interval. Below 1 the figure does not see the damage."""
    rows = balanced(reference.other.positions, n, seed)
    images, positions, groups = (x[rows] for x in (reference.other.images, reference.other.positions,
                                                   reference.other.groups))

    def figures(changed: np.ndarray) -> dict[str, dict[str, Any]]:
        described = Described.of(changed, positions, groups, reference.yardsticks, reference.device, "")
        result = compare(described, reference.real, reference.config.bootstrap, classify=False)
        errors = np.abs(described.read_positions - positions)
        flat = {f"{space} {kind}": result[space][kind] for space in SPACES for kind in ("kid", "frechet")}
        flat["coverage lost"] = {"value": 1 - result["learned"]["coverage"]["value"],
                                 "interval": [1 - end for end in result["learned"]["coverage"]["interval"][::-1]]}
        means = {"outside range": described.outside.any(1).astype(np.float64), "position error": errors}
        return flat | {"two-sample AUC": result["two_sample"]["logistic"]} | {
            key: figure(x.mean(), fidelity.mean_interval(x, groups, reference.config.bootstrap))
            for key, x in means.items()}

    table, still, anatomist = {}, figures(images), reference.yardsticks.anatomist
    names = sensitivity.possible(anatomist)
    with Progress("damaging slices", len(names)) as progress:
        for done, name in enumerate(names, start=1):
            moved = figures(sensitivity.damaged(images, name, seed, anatomist, positions))
            table[name] = {key: _excess(moved[key]["value"], item) for key, item in still.items()}
            progress.update(done, name)
    return table


def _excess(value: float, still: dict[str, Any]) -> float:
    width = max(still["interval"][1] - still["value"], 1e-3)
    return float((value - still["value"]) / width)


# ---------------------------------------------------------------- images from outside


def require_images(images: np.ndarray, shape: tuple[int, ...]) -> None:
    """ValueError unless the images are uint8 (n, height, width) of the data's size and enough of them."""
    if images.ndim != 3 or images.dtype != np.uint8:
        raise ValueError(f"images must be uint8 (n, height, width), not {images.dtype} {images.shape}")
    if images.shape[1:] != shape:
        raise ValueError(f"images are {images.shape[2]}x{images.shape[1]}, the data {shape[1]}x{shape[0]}: bring them "
                         "to one size")
    fidelity.require_enough(len(images), len(images))


def as_grey(images: np.ndarray, source: str) -> UInt8[np.ndarray, "n height width"]:
    """8-bit slices from uint8 ones, or from floats in [0, 1]. ValueError that says what else was found."""
    if images.ndim != 3:
        raise ValueError(f"images in {source} have shape {images.shape}, expected (n, height, width)")
    if images.dtype == np.uint8:
        return images
    if not np.issubdtype(images.dtype, np.floating):
        raise ValueError(f"images in {source} are {images.dtype}: give uint8, or floats in [0, 1]")
    if not np.isfinite(images).all():
        raise ValueError(f"{int((~np.isfinite(images)).any((1, 2)).sum())} images in {source} hold nan or infinite "
                         "pixels: remove them")
    if images.size and not 0 <= images.min() <= images.max() <= 1:
        raise ValueError(f"images in {source} are floats from {images.min():g} to {images.max():g}: scale them to "
                         "[0, 1]")
    return np.rint(images * 255).astype(np.uint8)


def load_images(path: str | Path) -> tuple[np.ndarray, np.ndarray | None]:
    """(images uint8, positions or None) of an .npz file as `sample` writes it, or of a folder of grey PNGs.

    Positions of a folder are taken from names such as case_001_slice_7.png where all have one. ValueError that names
    any other file.
    """
    if Path(path).is_dir():
        return _load_folder(Path(path))
    try:
        with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = {name: file[name] for name in ("images", "positions") if name in file}
    except (OSError, EOFError, ValueError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"cannot read {path} ({error}): give an .npz file that `sample` wrote") from None
    if "images" not in arrays:
        raise ValueError(f"{path} has no array 'images': give a file that `sample` wrote")
    images, positions = as_grey(arrays["images"], str(path)), arrays.get("positions")
    if positions is not None and (positions.shape != (len(images),) or positions.dtype.kind not in "iu"):
        raise ValueError(f"positions in {path} are {positions.dtype} {positions.shape}, expected one whole number for "
                         f"each of {len(images)} images")
    return images, positions


def _load_folder(folder: Path) -> tuple[np.ndarray, np.ndarray | None]:
    files = sorted(folder.glob("*.png"))
    if not files:
        raise ValueError(f"no .png files in {folder}: give a folder of grey slices or an .npz file that `sample` wrote")
    images = [read_slice(file) for file in files]
    other = next((i for i, image in enumerate(images) if image.shape != images[0].shape), None)
    if other is not None:
        raise ValueError(f"{files[0].name} and {files[other].name} in {folder} have different sizes, "
                         f"{images[0].shape} and {images[other].shape}: bring them to one size")
    places = [re.search(r"slice_(\d+)", file.name) for file in files]
    return np.stack(images), np.array([int(m[1]) for m in places]) if all(places) else None
