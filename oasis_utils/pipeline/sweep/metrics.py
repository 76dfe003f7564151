"""The metrics of a sweep: what its table and its figure show of a report."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from oasis_utils.pipeline.cache_keys import read_record
from oasis_utils.pipeline.results import collect_report
from oasis_utils.pipeline.series import PRODUCTS
from oasis_utils.runtime import RunFolder, read_json

Report = dict[str, Any]


@dataclass(frozen=True)
class Estimate:
    """A metric of one run.

    Attributes:
        value: The metric.
        interval: Its ends over people; None: there is none.
    """

    value: float
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class Metric:
    """A column of the table and a panel of the figure.

    Attributes:
        name: Of the CSV columns.
        title: Of the panel.
        digits: After the point.
        read: Value and interval in a report; KeyError where it has none.
        neutral: Place of a dashed line; None: none.
    """

    name: str
    title: str
    digits: int
    read: Callable[[Report], tuple[Any, Any]]
    neutral: float | None = None

    def of(self, report: Report) -> Estimate | None:
        """The metric in a report; None where it has none."""
        try:
            value, ends = self.read(report)
        except (KeyError, TypeError):
            return None
        if value is None:
            return None
        return Estimate(float(value), (float(ends[0]), float(ends[1])) if ends else None)

    def text(self, found: Estimate | None) -> str:
        """Such as "0.956 (0.956 to 0.957)"; empty where there is none."""
        if found is None:
            return ""
        if found.interval is None:
            return f"{found.value:.{self.digits}f}"
        low, high = (f"{end:.{self.digits}f}" for end in found.interval)
        return f"{found.value:.{self.digits}f} ({low} to {high})"


def _bits(report: Report) -> tuple[Any, Any]:
    """Bits per pixel of the codes, whose interval is that of the nats per code, scaled."""
    found = report["pixelcnn"]
    nats, bits = found["nats_per_code"], found["bits_per_pixel"]
    ends = found["intervals"].get("PixelCNN")
    return bits, [end * bits / nats for end in ends] if ends and nats else None


def _reconstruction(key: str) -> Callable[[Report], tuple[Any, Any]]:
    return lambda r: (r["reconstruction"][key], r["reconstruction"]["intervals"].get(key))


def _prior(name: str, key: str) -> Callable[[Report], tuple[Any, Any]]:
    return lambda r: (r["priors"][name][key], r["priors"][name].get(f"{key}_interval"))


METRICS = (
    Metric("ssim", "SSIM", 3, _reconstruction("ssim")),
    Metric("brain_ssim", "SSIM inside the brain or head", 3, _reconstruction("brain_ssim")),
    Metric(
        "perplexity", "perplexity of the codes", 1, lambda r: (r["codebook"]["perplexity"], None)
    ),
    Metric(
        "nats_per_code",
        "PixelCNN, nats per code",
        3,
        lambda r: (r["pixelcnn"]["nats_per_code"], r["pixelcnn"]["intervals"].get("PixelCNN")),
    ),
    Metric("bits_per_pixel", "PixelCNN, bits per pixel", 3, _bits),
    Metric("kid_pixelcnn", "KID, PixelCNN", 4, _prior("pixelcnn", "kid"), 0.0),
    Metric("kid_dcgan", "KID, DCGAN", 4, _prior("dcgan", "kid"), 0.0),
    Metric("auc_pixelcnn", "AUC to real, PixelCNN", 3, _prior("pixelcnn", "two_sample_auc"), 0.5),
    Metric("auc_dcgan", "AUC to real, DCGAN", 3, _prior("dcgan", "two_sample_auc"), 0.5),
    Metric("seconds", "seconds", 0, lambda r: (r["seconds"]["total"], None)),
)


def report_of(run: RunFolder) -> Report:
    """The report of a run; before it is written, what its notebooks have saved.

    Args:
        run: The run folder.

    Returns:
        Sections of the report; empty if there are none, or if the file is damaged.
    """
    try:
        return read_json(run.report) if run.report.exists() else _saved(run)
    except ValueError:
        return {}


def _saved(run: RunFolder) -> Report:
    records = [record for name in PRODUCTS if (record := read_record(run, name))]
    total = sum(record["seconds"] for record in records)
    return collect_report(run) | ({"seconds": {"total": total}} if records else {})


def mean_and_spread(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and standard deviation of a sample; None for a single value."""
    mean = math.fsum(values) / len(values)
    return mean, statistics.stdev(values) if len(values) > 1 else None
