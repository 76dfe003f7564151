"""Cache keys: digests by which a finished notebook is recognised as up to date."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import oasis_utils
from oasis_utils.config import digest
from oasis_utils.pipeline.series import PRODUCTS, Step
from oasis_utils.runtime import RunFolder, read_json


def package_state() -> str:
    """A digest of all modules and assets of the package."""
    folder = Path(oasis_utils.__file__).parent
    files = {
        path
        for pattern in ("*.py", "assets/**/*")
        for path in folder.rglob(pattern)
        if path.is_file()
    }
    return digest(
        [
            [path.relative_to(folder).as_posix(), hashlib.sha256(path.read_bytes()).hexdigest()]
            for path in sorted(files)
            if "__pycache__" not in path.parts
        ]
    )


def data_state(data: str) -> str:
    """A digest of names, sizes and times of the data files."""
    if not data:
        return "sample brains"
    return digest(
        sorted(
            [str(p), p.stat().st_size, p.stat().st_mtime_ns]
            for p in (Path(data), *Path(data).rglob("*"))
            if p.is_file()
        )
    )


def notebook_source(path: Path) -> list[str]:
    """The code of a notebook, without outputs and metadata."""
    return ["".join(cell["source"]) for cell in read_json(path)["cells"]]


def set_cache_keys(steps: list[Step], data: str, package: str | None = None) -> None:
    """Set the cache key of each step: a digest of its code, parameters, package and data.

    Args:
        steps: Of one run.
        data: Path of the data; empty: sample brains.
        package: What `package_state` returned for other runs; None: it is taken now.
    """
    state = [package_state() if package is None else package, data_state(data)]
    for step in steps:
        step.cache_key = digest([state, notebook_source(step.source), step.parameters])


def cache_record(run: RunFolder, name: str) -> Path:
    """The file with the cache key and the times of a finished notebook."""
    return run.root / "cache_keys" / f"{name}.json"


def read_record(run: RunFolder, name: str) -> dict[str, Any] | None:
    """The cache record of a notebook; None if there is none, or only a damaged one."""
    try:
        record = read_json(cache_record(run, name))
        whole = isinstance(record["cache_key"], str) and isinstance(record["earlier"], dict)
        return record if whole and record["finished"] >= 0 and record["seconds"] >= 0 else None
    except (ValueError, KeyError, TypeError, IndexError):
        return None


def earlier(run: RunFolder, name: str) -> dict[str, int]:
    """Finish times, in nanoseconds, of the notebooks before this one.

    A later finish makes this one out of date.
    """
    before = list(PRODUCTS)[: list(PRODUCTS).index(name)]
    records = {other: read_record(run, other) for other in before}
    return {other: record["finished"] for other, record in records.items() if record}


def is_done(step: Step, run: RunFolder) -> bool:
    """Whether the step was finished with the same cache key and its products exist."""
    record = read_record(run, step.name)
    return (
        record is not None
        and record["cache_key"] == step.cache_key
        and record["earlier"] == earlier(run, step.name)
        and all((run.root / product).exists() for product in PRODUCTS[step.name])
    )
