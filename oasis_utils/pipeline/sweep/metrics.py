"""The metrics of a sweep: what its table and its figure show of a report."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from oasis_utils.pipeline.cache_keys import is_done
from oasis_utils.pipeline.results import collect_report, seconds_of
from oasis_utils.pipeline.sweep.plan import SweepRun
from oasis_utils.runtime.report import Report, checked

Sections = dict[str, Any]  # of a report, as JSON holds them


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
    read: Callable[[Sections], tuple[Any, Any]]
    neutral: float | None = None

    def of(self, report: Sections) -> Estimate | None:
        """The metric in a report; None where it has none."""
        try:
            value, ends = self.read(report)
            if value is None:
                return None
            return Estimate(float(value), (float(ends[0]), float(ends[1])) if ends else None)
        except (LookupError, TypeError, ValueError, AttributeError):
            return None

    def text(self, found: Estimate | None) -> str:
        """Such as "0.956 (0.956 to 0.957)"; empty where there is none."""
        from oasis_utils.plotting import span  # slow to import

        if found is None:
            return ""
        text = f"{found.value:.{self.digits}f}"
        return text if found.interval is None else f"{text} ({span(found.interval, self.digits)})"


def _bits(report: Sections) -> tuple[Any, Any]:
    """Bits per pixel of the codes, whose interval is that of the nats per code, scaled."""
    found = report["pixelcnn"]
    nats, bits = found["nats_per_code"], found["bits_per_pixel"]
    ends = found["intervals"].get("PixelCNN")
    return bits, [end * bits / nats for end in ends] if ends and nats else None


def _reconstruction(key: str) -> Callable[[Sections], tuple[Any, Any]]:
    return lambda r: (r["reconstruction"][key], r["reconstruction"]["intervals"].get(key))


def _prior(name: str, key: str) -> Callable[[Sections], tuple[Any, Any]]:
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


def report_of(run: SweepRun) -> Sections:
    """The report of a run, from what its up-to-date notebooks saved.

    Sections of an earlier setting, which the run folder may still hold, are left out: those of
    the first notebook that is not up to date, and of all after it.

    Args:
        run: Of the sweep as it is now.

    Returns:
        Sections of the report, seconds only once all notebooks are done; empty if there are none,
        or if a file is damaged.
    """
    names, whole = _up_to_date(run)
    try:
        found = collect_report(run.folder, names)
        if whole:
            found["seconds"] = seconds_of(run.folder, names)
        checked(Report, found, str(run.folder.root))
    except ValueError:
        return {}
    return found


def _up_to_date(run: SweepRun) -> tuple[list[str], bool]:
    """Names of the notebooks before the first that is not, and whether all are."""
    steps = [step for stage in run.stages for step in stage.steps]
    done = list(itertools.takewhile(lambda step: is_done(step, run.folder), steps))
    return [step.name for step in done], len(done) == len(steps)


def mean_and_spread(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and standard deviation of a sample; None for a single value."""
    mean = math.fsum(values) / len(values)
    return mean, statistics.stdev(values) if len(values) > 1 else None
