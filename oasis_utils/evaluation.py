"""Are they any good, are they copies? All measures brought together, each beside what a real set would score.

The *real* side are test slices, which no model has seen. The *floor* compares validation slices with them: two
disjoint groups of real people. The *ceiling* passes the validation slices through the VQ-VAE first: a prior can at
best reach it. All sets have the same number of images, because most figures depend on it.
"""

from __future__ import annotations

import contextlib
import re
import time
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Integer, UInt8
from torch import Tensor

from oasis_utils import fidelity, metrics, sensitivity
from oasis_utils.anatomy import MEASURES, Atlas, PositionReader, Tissues, compare_measures, measure
from oasis_utils.codes import CodeMaps, encode_images
from oasis_utils.config import EvaluationConfig
from oasis_utils.data import Split, read_slice
from oasis_utils.features import LEARNED, RADIOMIC, Projection, Standard, as_floats, balanced, learned, radiomic
from oasis_utils.memorisation import CopyTest
from oasis_utils.runtime import Progress
from oasis_utils.sampling import BrainSampler, Samples, image_seeds, spread_positions
from oasis_utils.twosample import logistic, network, small_pictures, two_sample
from oasis_utils.verdicts import SCHEMA, VERSION, check_form, verdicts
from oasis_utils.vqvae import VQVAE

BATCH = 32
COMPONENTS = 32  # principal components of the learned features in which the Frechet distance is taken
TRAINING_ROWS = 512  # training slices that fix the scales, thresholds and ranges
LEARNED_ROWS = 128  # of them, those that fix the principal components: the network is slow
SPACES = {"learned": LEARNED, "radiomic": RADIOMIC}

# ---------------------------------------------------------------- reconstruction


@torch.inference_mode()
def reconstruct_split(vqvae: VQVAE, split: Split, device: torch.device) -> tuple[np.ndarray, np.ndarray]:
    """(reconstructions uint8 (n, height, width), index maps (n, rows, cols)) of a split."""
    indices = encode_images(vqvae, split.images, device).astype(np.int64)
    return decode(vqvae, indices, device), indices


@torch.inference_mode()
def decode(vqvae: VQVAE, indices: Integer[np.ndarray, "n rows cols"],
           device: torch.device) -> UInt8[np.ndarray, "n height width"]:
    """Index maps as slices."""
    maps = torch.from_numpy(indices.astype(np.int64))
    images = [vqvae.decode_indices(part.to(device))[:, 0].cpu() for part in maps.split(BATCH)]
    return (torch.cat(images) * 255).round().to(torch.uint8).numpy()


def judge_reconstruction(split: Split, reconstructions: UInt8[np.ndarray, "n height width"],
                         train_mean: Float[Tensor, "1 height width"]) -> dict[str, Any]:
    """{"reconstruction": {ssim, brain_ssim, psnr, images, subjects}, "floors": {metric: {floor: value}}}."""
    real = split.floats()
    scores = metrics.score(real, as_floats(reconstructions))
    floors = metrics.floors(real, train_mean, torch.from_numpy(split.subjects), torch.from_numpy(split.positions))
    by_metric = {name: {floor: values[name] for floor, values in floors.items()} for name in scores}
    return {"reconstruction": {**scores, "split": split.name, "images": len(split),
                               "subjects": len(np.unique(split.subjects))},
            "floors": by_metric}


def mean_image(split: Split) -> Float[Tensor, "1 height width"]:
    """Mean slice of a split, in [0, 1]; the sums run over chunks, so the array may be larger than memory."""
    total = sum(split.images[i:i + 512].sum(0, dtype=np.float64) for i in range(0, len(split), 512))
    return torch.from_numpy(total / len(split) / 255).float()[None]


# ---------------------------------------------------------------- likelihood


def unigram_nats(train: Integer[np.ndarray, "n rows cols"], held_out: Integer[np.ndarray, "m rows cols"],
                 n_codes: int) -> float:
    """Nats per held-out code when every cell has the code frequencies of the training maps (add-one smoothed)."""
    counts = np.bincount(train.ravel(), minlength=n_codes) + 1.0
    return float(-np.log(counts / counts.sum())[held_out].mean())


def position_unigram_nats(train: Integer[np.ndarray, "n rows cols"], held_out: Integer[np.ndarray, "m rows cols"],
                          n_codes: int, strength: float = 16.0) -> float:
    """The same with frequencies of each cell of the map; `strength` imaginary maps follow the unigram frequencies."""
    counts = np.bincount(train.ravel(), minlength=n_codes) + 1.0
    rows, cols = train.shape[1:]
    cell = np.arange(rows * cols).reshape(rows, cols)
    table = np.bincount((cell * n_codes + train.astype(np.int64)).ravel(), minlength=rows * cols * n_codes)
    table = table.reshape(rows * cols, n_codes) + strength * counts / counts.sum()
    table /= table.sum(1, keepdims=True)
    return float(-np.log(table[np.broadcast_to(cell, held_out.shape), held_out]).mean())


def likelihood_baselines(codes: CodeMaps, split: str = "test") -> dict[str, float]:
    """What a prior must beat. The training maps are taken with their mirrored and shifted variants, as the prior's."""
    train, held_out = codes.indices["train"], codes.indices[split]
    return {"unigram_nats": unigram_nats(train, held_out, codes.n_codes),
            "position_unigram_nats": position_unigram_nats(train, held_out, codes.n_codes)}


# ---------------------------------------------------------------- samples


def generate(sampler: BrainSampler, n: int, seed: int, options=None) -> Samples:
    """n slices over all positions, with progress."""
    with Progress(f"sampling {sampler.name}", n) as progress:
        return sampler.sample(spread_positions(n, sampler.n_positions), image_seeds(seed, n), options, progress)


def code_use(samples: Samples, n_codes: int) -> dict[str, float]:
    """{valid: share of maps whose codes all exist, distinct_codes}."""
    known = (samples.indices >= 0) & (samples.indices < n_codes)
    return {"valid": float(known.all(axis=(1, 2)).mean()), "distinct_codes": len(np.unique(samples.indices[known]))}


# ---------------------------------------------------------------- what is measured


@dataclass(frozen=True)
class Yardsticks:
    """Everything that training slices fix before anything is judged."""

    projection: Projection
    standard: Standard
    tissues: Tissues
    atlas: Atlas
    reader: PositionReader
    copies: CopyTest

    @classmethod
    def fit(cls, train: Split, floor: Split, real: Split, device: torch.device) -> Yardsticks:
        rows = balanced(train.positions, TRAINING_ROWS)
        images, positions = np.array(train.images[rows]), train.positions[rows]
        n_positions = 1 + int(max(split.positions.max() for split in (train, floor, real)))
        few = balanced(positions, LEARNED_ROWS)
        principal = Projection.fit(learned(images[few], device, "features of training slices"),
                                   min(COMPONENTS, len(few) // 2))
        tissues = Tissues.fit(images)
        return cls(principal, Standard.fit(radiomic(images)), tissues,
                   Atlas.fit(measure(images, tissues), positions, n_positions), PositionReader.fit(images, positions),
                   CopyTest.fit(train, real, floor))


@dataclass(frozen=True)
class Described:
    """A set of slices and all that is measured on each of them, once."""

    images: UInt8[np.ndarray, "n height width"]
    positions: Integer[np.ndarray, " n"]
    groups: Integer[np.ndarray, " n"]  # subjects; generated slices are independent, each its own group
    learned: Float[np.ndarray, "n features"]
    projected: Float[np.ndarray, "n components"]
    radiomic: Float[np.ndarray, "n numbers"]
    anatomy: Float[np.ndarray, "n measures"]  # in real deviations from the mean of the position
    outside: Bool[np.ndarray, "n measures"]
    read_positions: Float[np.ndarray, " n"]

    @classmethod
    def of(cls, images: UInt8[np.ndarray, "n height width"], positions: Integer[np.ndarray, " n"],
           groups: Integer[np.ndarray, " n"], yardsticks: Yardsticks, device: torch.device, name: str) -> Described:
        features = learned(images, device, f"features of {name}")
        measured = measure(images, yardsticks.tissues)
        return cls(images, positions, groups, features, yardsticks.projection(features),
                   yardsticks.standard(radiomic(images)), yardsticks.atlas.scaled(measured, positions),
                   yardsticks.atlas.outside(measured, positions), yardsticks.reader.read(images))

    @property
    def position_error(self) -> float:
        """Mean distance between the position asked for and the one read back, in slices."""
        return float(np.abs(self.read_positions - self.positions).mean())

    @property
    def outside_share(self) -> float:
        """Share of slices with at least one measure outside the real range of their position."""
        return float(self.outside.any(1).mean())

    def pair_figure(self, kind) -> float:
        return fidelity.pair_similarity(self.images, self.positions, self.groups, kind)


Comparison = dict[str, dict[str, dict[str, Any]]]


def compare(a: Described, b: Described, rounds: int, classify: bool = True) -> Comparison:
    """{family: {figure: {"value", "interval"}}} of two sets; families learned, radiomic, two_sample, anatomy.

    Intervals are central 95 % over whole subjects of both sides. classify=False leaves the network out: it is slow.
    """
    owners = a.groups, b.groups
    spaces = {"learned": (a.learned, b.learned, a.projected, b.projected),
              "radiomic": (a.radiomic, b.radiomic, a.radiomic, b.radiomic)}
    result = {name: _compare_space(*arrays, *owners, rounds) for name, arrays in spaces.items()}
    tests = {"logistic": two_sample(a.radiomic, b.radiomic, *owners, logistic, rounds)}
    if classify:
        tests["network"] = two_sample(small_pictures(a.images), small_pictures(b.images), *owners, network, rounds)
    result["two_sample"] = {name: figure(test.auc, test.interval) for name, test in tests.items()}
    result["anatomy"] = {name: figure(value) for name, value in compare_measures(a.anatomy, b.anatomy).items()}
    return result


def figure(value: float, interval: tuple[float, float] | None = None) -> dict[str, Any]:
    """A figure as it stands in a report."""
    return {"value": float(value), "interval": None if interval is None else [float(end) for end in interval]}


def _compare_space(a: np.ndarray, b: np.ndarray, few_a: np.ndarray, few_b: np.ndarray, groups_a: np.ndarray,
                   groups_b: np.ndarray, rounds: int) -> dict[str, dict[str, Any]]:
    near = fidelity.Neighbourhoods.of(a, b, groups_a, groups_b)
    intervals = near.intervals(groups_a, groups_b, rounds)
    return {"kid": figure(fidelity.kid(a, b), fidelity.kid_interval(a, b, groups_a, groups_b, rounds)),
            "frechet": figure(fidelity.frechet(few_a, few_b),
                              fidelity.frechet_interval(few_a, few_b, groups_a, groups_b, rounds)),
            **{name: figure(value, intervals[name]) for name, value in near.means().items()}}


# ---------------------------------------------------------------- the real side


@dataclass(frozen=True)
class Reference:
    """The real sets, described once, and their own figures: what every judgement is read against."""

    yardsticks: Yardsticks
    real: Described
    other: Described
    decoded: Described | None  # `other` through the VQ-VAE; None where only images are known
    floor: Comparison
    ceiling: Comparison | None
    config: EvaluationConfig
    device: torch.device
    seconds: dict[str, float]

    @classmethod
    def of(cls, train: Split, floor: Split, real: Split, config: EvaluationConfig, device: torch.device,
           vqvae: VQVAE | None = None, n_judged: int | None = None,
           positions: Integer[np.ndarray, " n"] | None = None) -> Reference:
        """n_judged: how many images will be judged; positions: theirs, and then the real sets keep only these. Every
        set has as many slices as the smallest, at most config.n_images. ValueError if too few are left."""
        kept = [_restrict(split, positions) for split in (floor, real)]
        limit = min(config.n_images, *map(len, kept), n_judged or config.n_images)
        fidelity.require_enough(n_judged or limit, limit)
        rows = [rows[balanced(split.positions[rows], limit)] for rows, split in zip(kept, (floor, real), strict=True)]
        seconds: dict[str, float] = {}
        with timed(seconds, "yardsticks from training slices"):
            yardsticks = Yardsticks.fit(train, floor, real, device)
        with timed(seconds, "real slices described"):
            other, target = (
                Described.of(np.array(s.images[i]), s.positions[i], s.subjects[i], yardsticks, device, name)
                for s, i, name in zip((floor, real), rows, ("other real slices", "real slices"), strict=True))
        decoded = ceiling = None
        if vqvae is not None:
            with timed(seconds, "decoded slices described"):
                images = decode(vqvae, encode_images(vqvae, other.images, device), device)
                decoded = Described.of(images, other.positions, other.groups, yardsticks, device, "decoded slices")
        with timed(seconds, "floor and ceiling"):
            own = compare(other, target, config.bootstrap)
            ceiling = decoded and compare(decoded, target, config.bootstrap)
        return cls(yardsticks, target, other, decoded, own, ceiling, config, device, seconds)

    @property
    def n_images(self) -> int:
        return len(self.real.images)


def _restrict(split: Split, positions: np.ndarray | None) -> Integer[np.ndarray, " rows"]:
    """Rows of a split at these positions. ValueError for a position that the data lack or a single subject."""
    subjects = np.unique(split.subjects)
    if len(subjects) < 2:
        raise ValueError(f"the {split.name} split holds 1 subject, at least 2 are needed: slices of one person say "
                         "nothing on how people differ, and intervals draw whole subjects; use more subjects")
    if positions is None:
        return np.arange(len(split))
    unknown = np.setdiff1d(positions, split.positions)
    if len(unknown):
        known = np.unique(split.positions)
        raise ValueError(f"position {unknown[0]} of the images is unknown: the {split.name} split has positions "
                         f"{known[0]} to {known[-1]}; leave positions out to have them read from the slices")
    rows = np.flatnonzero(np.isin(split.positions, positions))
    if len(rows) < fidelity.MINIMUM:
        raise ValueError(f"the {split.name} split has {len(rows)} slices at the positions of the images, at least "
                         f"{fidelity.MINIMUM} are needed: judge images of more positions")
    return rows


@contextlib.contextmanager
def timed(seconds: dict[str, float], part: str) -> Iterator[None]:
    """Write the wall seconds of a block under its name."""
    start = time.monotonic()
    yield
    seconds[part] = round(time.monotonic() - start, 1)


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
        "real_subjects": len(np.unique(reference.real.groups)), "features": dict(SPACES),
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
                              "outside": dict(zip(MEASURES, described.outside.mean(0).tolist(), strict=True))}

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

    def figures(changed: np.ndarray, name: str) -> dict[str, dict[str, Any]]:
        described = Described.of(changed, positions, groups, reference.yardsticks, reference.device, name)
        result = compare(described, reference.real, reference.config.bootstrap, classify=False)
        errors = np.abs(described.read_positions - positions)
        flat = {f"{space} {kind}": result[space][kind] for space in SPACES for kind in ("kid", "frechet")}
        flat["coverage lost"] = {"value": 1 - result["learned"]["coverage"]["value"],
                                 "interval": [1 - end for end in result["learned"]["coverage"]["interval"][::-1]]}
        means = {"outside range": described.outside.any(1).astype(np.float64), "position error": errors}
        return flat | {"two-sample AUC": result["two_sample"]["logistic"]} | {
            key: figure(x.mean(), fidelity.mean_interval(x, groups, reference.config.bootstrap))
            for key, x in means.items()}

    still = figures(images, "undamaged slices")
    table = {}
    for name in sensitivity.DAMAGES:
        moved = figures(sensitivity.damaged(images, name, seed), f"slices, {name}")
        table[name] = {key: _excess(moved[key]["value"], item) for key, item in still.items()}
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
