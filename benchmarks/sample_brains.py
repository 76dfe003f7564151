"""How brain-like and how varied are the sample brains? Statistics of a freshly made set, beside
real ones where known.

    python benchmarks/sample_brains.py [--subjects 24] [--seed 0] [--out
    benchmarks/results/sample_brains.json]

Pixels are 1 mm, grey levels 0 to 255, SSIM has a data range of 1. Real figures: skull-stripped T1
slices of many subjects at 256 pixels, full frame. Where ours differ from them, the sample brains
are unlike real ones.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from oasis_utils.data import synthetic
from oasis_utils.data.people import read_people
from oasis_utils.data.sample_brains import write_sample_brains
from oasis_utils.data.template import load_template
from oasis_utils.metrics import baselines
from oasis_utils.metrics import image_quality as metrics
from oasis_utils.runtime import project_root, provenance, write_json

REAL_SSIM = {
    "black": 0.675,
    "mean": 0.778,
    "other_subject": 0.782,
    "position_mean": 0.826,
    "blur_2": 0.911,
    "neighbour": 0.953,
    "blur_1": 0.975,
}
POSITIONS = (4, 12, 20, 28)  # where slices are compared between subjects
TISSUES = dict(zip(("fluid", "grey", "white"), synthetic.MASK_LEVELS[1:], strict=True))
CENTRE = (
    slice(8, 25),
    slice(85, 165),
    slice(98, 158),
)  # slices, rows, columns around the lateral ventricles


def make_set(folder: Path, n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """(slices and masks uint8 (n, 32, 256, 256), ages (n,), CPU seconds a subject with writing its
    files).
    """
    load_template()  # once a process, so not a subject's cost
    start = time.process_time()
    root = write_sample_brains(folder, n, 0, 0, seed=seed, workers=1)
    seconds = (time.process_time() - start) / n

    def read(pattern: str) -> np.ndarray:
        return np.stack(
            [
                [
                    np.asarray(Image.open(root / pattern.format(number, position)))
                    for position in range(synthetic.SLICES)
                ]
                for number in range(1, n + 1)
            ]
        )

    people = read_people(root)
    return (
        read("keras_png_slices_train/case_{:03d}_slice_{}.nii.png"),
        read("keras_png_slices_seg_train/seg_{:03d}_slice_{}.nii.png"),
        np.array([people[f"case_{number:03d}"].age for number in range(1, n + 1)]),
        seconds,
    )


def spread(values: np.ndarray) -> dict[str, float]:
    """Mean, standard deviation and range over subjects or pairs."""
    values = np.asarray(values, dtype=float)
    return {
        name: round(float(getattr(values, name)()), 4) for name in ("mean", "std", "min", "max")
    }


def anatomy(slices: np.ndarray, masks: np.ndarray, ages: np.ndarray) -> dict[str, dict[str, float]]:
    """Areas, tissues and ageing; each value is one subject's."""
    brain = masks > 0
    levels = {
        name: np.array([s[m == level].mean() for s, m in zip(slices, masks, strict=True)])
        for name, level in TISSUES.items()
    }
    ventricles = (masks[:, *CENTRE] == TISSUES["fluid"]).sum((2, 3)).mean(1) / 100
    fluid = (masks == TISSUES["fluid"]).sum((1, 2, 3)) / brain.sum((1, 2, 3))
    rows = {
        f"brain area, position {p} (cm2)": brain[:, p].sum((1, 2)) / 100
        for p in (0, *POSITIONS, 31)
    }
    rows |= {
        f"share of {name}": (masks == level).sum((1, 2, 3)) / brain.sum((1, 2, 3))
        for name, level in TISSUES.items()
    }
    rows |= {f"grey level of {name}": values for name, values in levels.items()}
    rows["contrast (white - grey) / (white + grey)"] = (levels["white"] - levels["grey"]) / (
        levels["white"] + levels["grey"]
    )
    rows |= {"central fluid (cm2 a slice)": ventricles, "age (years)": ages}
    return {name: spread(values) for name, values in rows.items()} | {
        "correlation with age": {
            "central fluid": round(float(np.corrcoef(ages, ventricles)[0, 1]), 4),
            "share of fluid": round(float(np.corrcoef(ages, fluid)[0, 1]), 4),
        }
    }


def texture(slices: np.ndarray, masks: np.ndarray) -> dict[str, dict[str, float]]:
    """Sharpness, spectrum and symmetry at the compared positions, one value a subject."""
    chosen, brain = slices[:, POSITIONS].astype(float), masks[:, POSITIONS] > 0
    gradient = np.hypot(*np.gradient(chosen, axis=(2, 3)))
    inside = (
        brain
        & np.roll(brain, 3, 2)
        & np.roll(brain, -3, 2)
        & np.roll(brain, 3, 3)
        & np.roll(brain, -3, 3)
    )
    mirrored = np.stack(
        [
            [mirror(s, b) for s, b in zip(*subject, strict=True)]
            for subject in zip(chosen, brain, strict=True)
        ]
    )
    rows = {
        "gradient in the brain (levels/mm)": [
            g[i].mean() for g, i in zip(gradient, inside, strict=True)
        ],
        "power spectrum slope, 0.02 to 0.25 cycles/mm": [spectrum_slope(s) for s in chosen],
        "difference from its mirror image (levels)": [
            np.abs(a - b)[i].mean() for a, b, i in zip(chosen, mirrored, inside, strict=True)
        ],
    }
    return {name: spread(values) for name, values in rows.items()}


def mirror(picture: np.ndarray, brain: np.ndarray) -> np.ndarray:
    """The slice flipped about the middle column of its brain."""
    columns = np.flatnonzero(brain.any(0))
    return np.roll(picture[:, ::-1], columns[0] + columns[-1] - (picture.shape[1] - 1), axis=1)


def spectrum_slope(pictures: np.ndarray) -> float:
    """Slope of log power against log frequency, averaged over directions and slices."""
    power = (np.abs(np.fft.fft2(pictures)) ** 2).mean(0)
    frequency = np.hypot(*np.meshgrid(*[np.fft.fftfreq(n) for n in power.shape], indexing="ij"))
    edges = np.geomspace(0.02, 0.25, 13)
    radial = [power[(frequency >= a) & (frequency < b)].mean() for a, b in pairwise(edges)]
    return float(np.polyfit(np.log(edges[:-1] * edges[1:]) / 2, np.log(radial), 1)[0])


def likeness(slices: np.ndarray) -> dict[str, dict[str, float]]:
    """SSIM of all pairs of subjects at a position, of neighbouring slices, and how many slices
    occur twice.
    """

    def ssim(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        pairs = (torch.from_numpy(np.stack(x)).float()[:, None] / 255 for x in (a, b))
        return metrics.ssim(*pairs).numpy()

    pairs = list(combinations(range(len(slices)), 2))
    between = np.concatenate(
        [
            ssim([slices[i, p] for i, _ in pairs], [slices[j, p] for _, j in pairs])
            for p in POSITIONS
        ]
    )
    within = np.concatenate([ssim(slices[:, p], slices[:, p + 1]) for p in POSITIONS])
    flat = slices.reshape(-1, slices[0, 0].size)
    return {
        "SSIM, two subjects, same position": spread(between),
        "SSIM, one subject, next slice": spread(within),
        "slices that occur twice": {
            "mean": len(flat) - len({picture.tobytes() for picture in flat})
        },
    }


def compared_with_real(slices: np.ndarray) -> dict[str, dict[str, float]]:
    """SSIM of worthless and of simple answers for the second half of the subjects; means come from
    the first.
    """
    known, held_out = np.array_split(slices, 2)
    means = torch.from_numpy(known.mean(0) / 255).float()[:, None]
    images = torch.from_numpy(held_out).flatten(0, 1)[:, None].float() / 255
    subjects = torch.arange(len(held_out)).repeat_interleave(synthetic.SLICES)
    positions = torch.arange(synthetic.SLICES).repeat(len(held_out))
    scores = baselines.trivial_baselines(
        images, means.mean(0), subjects, positions
    ) | baselines.informed_baselines(images, means, subjects, positions)
    return {
        name: {
            "ours": round(scores[name]["ssim"], 4),
            "ours in the brain": round(scores[name]["brain_ssim"], 4),
            "real": real,
        }
        for name, real in REAL_SSIM.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--subjects", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--out", type=Path, default=project_root() / "benchmarks/results/sample_brains.json"
    )
    options = parser.parse_args()
    origin = provenance(options.seed, torch.device("cpu"))
    with tempfile.TemporaryDirectory() as folder:
        slices, masks, ages, seconds = make_set(Path(folder), options.subjects, options.seed)
    result = {
        "subjects": options.subjects,
        "cpu_seconds_a_subject": round(seconds, 3),
        "statistics": anatomy(slices, masks, ages) | texture(slices, masks) | likeness(slices),
        "ssim": compared_with_real(slices),
        "provenance": origin,
    }
    for name, row in (result["statistics"] | result["ssim"]).items():
        print(f"{name:<50}" + "  ".join(f"{key} {value:.3f}" for key, value in row.items()))
    print(f"CPU seconds a subject: {seconds:.2f}")
    write_json(options.out, result)


if __name__ == "__main__":
    main()
