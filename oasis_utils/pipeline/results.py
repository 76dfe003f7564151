"""Results of a run: what each notebook contributes, the report, the final table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from oasis_utils.pipeline.cache_keys import read_record
from oasis_utils.pipeline.series import PRODUCTS, Step
from oasis_utils.runtime import RunFolder, read_json, write_json
from oasis_utils.runtime.report import Report, checked, plain, section


def save_results(run: RunFolder, notebook: str, summary: str, **sections: Any) -> None:
    """Write what a notebook contributes to the report.

    Args:
        run: The run folder.
        notebook: Name without its ending, such as 02_train_vqvae.
        summary: One line for the final table.
        sections: Entries of `runtime.report.Report`, as dataclasses or what they are made from.

    Raises:
        ValueError: A section that the report does not have, or that is not of its form.
    """
    entries = {name: section(name, value) for name, value in sections.items()}
    write_json(run.summary(notebook), {"summary": summary, **entries})


def collect_report(run: RunFolder, notebooks: Iterable[str] = tuple(PRODUCTS)) -> dict[str, Any]:
    """The sections that the notebooks of a run have saved, as one dictionary.

    Args:
        run: The run folder.
        notebooks: Whose sections, in the order of the series.

    Returns:
        {section: its JSON value}; only the sections that are there.

    Raises:
        ValueError: A file is damaged.
    """
    report: dict[str, Any] = {}
    for name in notebooks:
        path = run.summary(name)
        if path.exists():
            found = read_json(path)
            if not isinstance(found, dict):
                raise ValueError(f"{path} holds no sections: run {name} again")
            report |= {k: v for k, v in found.items() if k != "summary"}
    return report


def save_report(run: RunFolder, seconds: dict[str, float] | None = None) -> dict[str, Any]:
    """Write report.json from what the notebooks have saved.

    Args:
        run: The run folder.
        seconds: {notebook: wall time}, and their total; None: not known yet.

    Returns:
        The report as JSON holds it, `runtime.report.Report`.

    Raises:
        ValueError: Sections of another version.
    """
    report = checked(Report, collect_report(run) | {"seconds": seconds or {}}, str(run.report))
    entries = {name: value for name, value in plain(report).items() if value is not None}
    write_json(run.report, entries)
    return entries


def finish_report(run: RunFolder) -> dict[str, Any]:
    """Add the seconds of each notebook to the report, once every part of the series is there.

    Args:
        run: The run folder.

    Returns:
        The sections that are there, with seconds.
    """
    seconds = seconds_of(run)
    if run.report.exists() or len(seconds) > len(PRODUCTS):
        return save_report(run, seconds)
    return collect_report(run) | {"seconds": seconds}


def seconds_of(run: RunFolder, notebooks: Iterable[str] = tuple(PRODUCTS)) -> dict[str, float]:
    """Wall time of the last execution of each finished notebook, and their total.

    Args:
        run: The run folder.
        notebooks: Which ones, in the order of the series.

    Returns:
        {"total" or notebook: seconds, to a tenth}.
    """
    seconds = {
        name: round(record["seconds"], 1)
        for name in notebooks
        if (record := read_record(run, name)) is not None
    }
    return {"total": round(sum(seconds.values()), 1), **seconds}


def table(steps: list[Step], run: RunFolder) -> str:
    """Seconds and summary of each notebook, as text.

    Args:
        steps: The notebooks of a run, with their seconds.
        run: The run folder.

    Returns:
        One line a notebook, the total, and where the report lies.
    """
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
