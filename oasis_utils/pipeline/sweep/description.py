"""A sweep as its YAML file describes it, checked before anything is run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oasis_utils.config import PROFILES
from oasis_utils.pipeline.series import PRODUCTS, UsageError, notebook_names
from oasis_utils.runtime import DEVICES, DataError, from_project_root, is_device_name, read_plain

LARGEST_FILE = 2**20  # bytes
MOST_RUNS = 1000  # Slurm's usual limit of tasks in an array
MOST_RETRIES = 20
KEYS = (
    *("name", "profile", "data", "out", "device", "seeds", "grid", "parameters", "stages"),
    *("retries", "slurm"),
)


@dataclass(frozen=True)
class Sweep:
    """Which runs to make, and how.

    Attributes:
        name: Of the Slurm jobs and of the figure.
        profile: smoke, demo, large or full.
        data: Absolute path of the data; empty: sample brains.
        out: Folder of the run folders, absolute.
        device: As in `select_device`.
        seeds: Every combination runs once with each.
        grid: {notebook parameter: its values as texts}.
        parameters: {notebook parameter: text}, the same in every run.
        stages: Notebooks that run as one job, such as "02,03", in the order of the series.
        retries: Further attempts of a stage that failed.
        slurm: Options of the jobs.
    """

    name: str
    profile: str
    data: str
    out: Path
    device: str
    seeds: tuple[int, ...]
    grid: dict[str, tuple[str, ...]]
    parameters: dict[str, str]
    stages: tuple[str, ...]
    retries: int
    slurm: dict[str, Any]


def read_sweep(path: str | Path) -> Sweep:
    """The sweep that a YAML file describes.

    Args:
        path: The file; paths in it are relative to the project root.

    Returns:
        The sweep; names and values of parameters are not checked yet, see `plan.plan_sweep`.

    Raises:
        UsageError: The file cannot be read, has an unknown key, or a value of another form.
    """
    path = Path(path)
    try:
        return _sweep(_mapping("the file", _yaml(path)), path)
    except (UsageError, DataError) as error:
        raise UsageError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from None


def _yaml(path: Path) -> Any:
    """Dictionaries, lists and texts: numbers stay texts, as on a command line."""
    import yaml

    class Loader(yaml.BaseLoader):
        def construct_mapping(self, node, deep=False):
            names = [key.value for key, _ in node.value]
            for name in names:
                if names.count(name) > 1:
                    raise UsageError(f"line {node.start_mark.line + 1}: {name!r} is given twice")
            return super().construct_mapping(node, deep)

    content = read_plain(path, LARGEST_FILE)
    try:
        return yaml.load(content.decode("utf-8"), Loader)  # a BaseLoader makes no objects
    except yaml.YAMLError as error:
        raise UsageError(f"no YAML: {' '.join(str(error).split())}") from None
    except (UnicodeDecodeError, RecursionError, TypeError) as error:
        raise UsageError(f"no YAML: {error}") from None


def _sweep(found: dict[str, Any], path: Path) -> Sweep:
    for key in found:
        if key not in KEYS:
            raise UsageError(f"unknown key {key!r}: choose from {', '.join(KEYS)}")
    name = (
        re.sub(r"[^\w.-]", "-", _text("name", found.get("name", path.stem))).strip(".-") or "sweep"
    )
    profile = _one_of("profile", found.get("profile", "demo"), tuple(PROFILES))
    device = _text("device", found.get("device", "auto"))
    if not is_device_name(device):
        raise UsageError(f"device {device!r} is unknown: choose {DEVICES}")
    data = _text("data", found.get("data", ""))
    grid = _mapping("grid", found.get("grid", {}))
    parameters = _mapping("parameters", found.get("parameters", {}))
    both = sorted(set(grid) & set(parameters))
    if both:
        raise UsageError(f"{both[0]!r} is in grid and in parameters: leave it in one of them")
    return Sweep(
        name,
        profile,
        str(from_project_root(data).resolve()) if data else "",
        from_project_root(_text("out", found.get("out", f"runs/{name}"))).resolve(),
        device,
        tuple(
            _whole_number("seeds", text, 2**32 - 1)
            for text in _list("seeds", found.get("seeds", "0"))
        ),
        {key: _list(f"grid: {key}", values) for key, values in grid.items()},
        {key: _text(f"parameters: {key}", value) for key, value in parameters.items()},
        _stages(found.get("stages", list(PRODUCTS))),
        _whole_number("retries", _text("retries", found.get("retries", "1")), MOST_RETRIES),
        _mapping("slurm", found.get("slurm", {})),
    )


def _stages(found: Any) -> tuple[str, ...]:
    """Stages as `--only` takes them, from texts such as "02,03" or lists such as [02, 03]."""
    if not isinstance(found, list) or not found:
        raise UsageError("stages must be a list, such as [01, [02, 03], 04]")
    groups = [",".join(_list("stages", group)) for group in found]
    names = [notebook_names(group) for group in groups]
    whole = [name for group in names for name in group]
    if whole != [name for name in PRODUCTS if name in whole] or not whole[0].startswith("01"):
        raise UsageError(
            "stages must begin with notebook 01 and keep the order of the series, each notebook"
            " once, such as [01, [02, 03], 04]"
        )
    return tuple(",".join(name[:2] for name in group) for group in names)


def _mapping(what: str, found: Any) -> dict[str, Any]:
    if found == "":  # a key without a value
        return {}
    if not isinstance(found, dict):
        raise UsageError(f"{what} must hold names with values, such as `n_codes: [64, 256]`")
    return found


def _list(what: str, found: Any) -> tuple[str, ...]:
    """One text or a list of them, each once."""
    texts = tuple(_text(what, item) for item in (found if isinstance(found, list) else [found]))
    if not texts or "" in texts:
        raise UsageError(f"{what} has no value: give one, or a list such as [64, 256]")
    for text in texts:
        if texts.count(text) > 1:
            raise UsageError(f"{what} lists {text} twice")
    return texts


def _text(what: str, found: Any) -> str:
    if not isinstance(found, str):
        raise UsageError(f"{what} must be one value, not {type(found).__name__}")
    if not found.isprintable():
        raise UsageError(f"{what} must be one line without control characters")
    return found


def _whole_number(what: str, text: str, most: int) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= most):
        raise UsageError(f"{what}: {text!r} is not a whole number from 0 to {most}")
    return int(text)


def _one_of(what: str, found: Any, known: tuple[str, ...]) -> str:
    if found not in known:
        raise UsageError(f"unknown {what} {found!r}: choose one of {', '.join(known)}")
    return found
