"""Parameters of the notebooks: names and types from their parameters cells, values for a run."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oasis_utils.config import PROFILES
from oasis_utils.pipeline.series import Step, UsageError, notebook_file, notebook_names
from oasis_utils.runtime import DataError, RunFolder, refuse_inside

# set by the runner itself
SHARED = ("profile", "data", "run_folder", "seed", "device")
# types of parameters, each with a value for the message that refuses another type
EXAMPLES = {"bool": True, "int": 50, "float": 0.5, "str": "text"}


@dataclass(frozen=True)
class Parameter:
    """One line of a parameters cell, such as `epochs: int = None  # passes`.

    Attributes:
        default: The value in the cell.
        kind: bool, int, float or str.
    """

    default: Any
    kind: type


def notebook_parameters(path: Path) -> dict[str, Parameter]:
    """Names, defaults and types of a notebook's parameters; the annotation decides the type."""
    from papermill import inspect_notebook

    found = {}
    for name, item in inspect_notebook(papermill_path(path)).items():
        default, annotation = _literal(item["default"]), item["inferred_type_name"]
        example = EXAMPLES.get(annotation, default)
        found[name] = Parameter(default, type(example))
    return found


def papermill_path(path: Path) -> str:
    """A path as papermill takes it: papermill would replace `{name}` by the parameter `name`."""
    return str(path).replace("{", "{{").replace("}", "}}")


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def plan(
    profile: str,
    data: str,
    run: RunFolder,
    only: str | None,
    parameters: dict[str, str],
    seed: int = 0,
    device: str = "auto",
) -> list[Step]:
    """The notebooks to run, with their parameters.

    Args:
        profile: smoke, demo, large or full.
        data: Path of the data; empty: sample brains.
        run: The run folder.
        only: As in `notebook_names`.
        parameters: {name: text} from the command line; each notebook takes those that it has.
        seed: Of all random choices.
        device: As in `select_device`.

    Returns:
        Steps in the order of the series.

    Raises:
        UsageError: A name is unknown, a value has the wrong type, the data do not exist, or the run
            folder lies inside them.
    """
    if profile not in PROFILES:
        raise UsageError(f"unknown profile {profile!r}: choose one of {', '.join(PROFILES)}")
    if data and not Path(data).exists():
        raise UsageError(
            f"no folder {data}: give the folder that holds keras_png_slices_train/, volumes, or"
            " data made by `prepare`; see README, Data"
        )
    if data:
        try:
            refuse_inside(Path(data), run.root)
        except DataError as error:
            raise UsageError(error) from None
    shared = dict(zip(SHARED, (profile, data or None, str(run.root), seed, device), strict=True))
    steps, known = [], set()
    for name in notebook_names(only):
        source = notebook_file(name)
        if not source.exists():
            raise UsageError(f"no notebook {source}: install the package again")
        known_here = notebook_parameters(source)
        known |= set(known_here)
        given = {k: _typed(k, v, known_here[k]) for k, v in parameters.items() if k in known_here}
        steps.append(
            Step(name, source, {k: v for k, v in shared.items() if k in known_here} | given)
        )
    for name in parameters:
        if name not in known:
            raise UsageError(
                f"unknown parameter {name!r}: the chosen notebooks have {', '.join(sorted(known))}"
            )
        if name in SHARED:
            raise UsageError(
                f"parameter {name!r} has its own option: see `python -m oasis_utils run --help`"
            )
    return steps


def _typed(name: str, text: str, parameter: Parameter) -> Any:
    """A value from the command line in the type of the parameter."""
    kind = parameter.kind
    try:
        return {"true": True, "false": False}[text.lower()] if kind is bool else kind(text)
    except (ValueError, KeyError):
        example = EXAMPLES[kind.__name__] if parameter.default is None else parameter.default
        raise UsageError(
            f"parameter {name}={text!r} is not {kind.__name__}: give a value such as {example!r}"
        ) from None
