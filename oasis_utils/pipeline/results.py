"""Results of a run: summaries of the notebooks, the report, the final table."""

from __future__ import annotations

from typing import Any

from oasis_utils.pipeline.cache_keys import cache_record
from oasis_utils.pipeline.series import PRODUCTS, Step
from oasis_utils.runtime import RunFolder, read_json, write_json


def save_summary(run: RunFolder, notebook: str, summary: str, **parts: Any) -> None:
    """Write what a notebook contributes to the report.

    Args:
        run: The run folder.
        notebook: Name without its ending, such as 02_train_vqvae.
        summary: One line for the final table.
        parts: JSON values; dictionaries of several notebooks are merged.
    """
    write_json(run.headline(notebook), {"summary": summary, **parts})


def collect_report(run: RunFolder) -> dict[str, Any]:
    """The parts that the notebooks of a run have saved, merged into one dictionary."""
    report: dict[str, Any] = {}
    for name in PRODUCTS:
        path = run.headline(name)
        if path.exists():
            report = _merge(report, {k: v for k, v in read_json(path).items() if k != "summary"})
    return report


def _merge(a: dict[str, Any], b: dict[str, Any]) -> dict[str, Any]:
    merged = dict(a)
    for key, value in b.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def finish_report(run: RunFolder) -> dict[str, Any]:
    """The report with the seconds of each notebook; written only once every part of the series is
    there.
    """
    report = collect_report(run)
    seconds = {
        name: round(read_json(cache_record(run, name))["seconds"], 1)
        for name in PRODUCTS
        if cache_record(run, name).exists()
    }
    report["seconds"] = {"total": round(sum(seconds.values()), 1), **seconds}
    if run.report.exists() or len(seconds) == len(PRODUCTS):
        write_json(run.report, report)
    return report


def table(steps: list[Step], run: RunFolder) -> str:
    """Seconds and summary of each notebook, as text."""
    width = max(len(step.name) for step in steps)
    rows = [
        f"{step.name:<{width}}  {step.seconds:>6.0f} s{' *' if step.skipped else '  '} "
        f"{step.summary}"
        for step in steps
    ]
    total = sum(step.seconds for step in steps if not step.skipped)
    notes = "  (* done in an earlier run)" if any(step.skipped for step in steps) else ""
    return "\n".join(
        [*rows, f"{'this run':<{width}}  {total:>6.0f} s{notes}", f"report: {run.report}"]
    )
