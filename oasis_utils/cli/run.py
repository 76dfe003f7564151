"""The command `run`: the notebooks in order, with papermill."""

from __future__ import annotations

import argparse
from pathlib import Path

from oasis_utils.cli.folders import require_utf8
from oasis_utils.cli.options import (
    add_device,
    add_parameters,
    add_profile,
    add_seed,
    name_and_value,
)
from oasis_utils.pipeline.parameters import plan
from oasis_utils.pipeline.results import table
from oasis_utils.pipeline.runner import run_series
from oasis_utils.pipeline.series import unpack_notebooks
from oasis_utils.runtime import RunFolder, project_root


def add_run(parsers) -> None:
    """Add the command `run`.

    Args:
        parsers: The commands so far.
    """
    parser = parsers.add_parser(
        "run",
        help="execute the notebooks in order with papermill",
        description=(
            "Execute the notebooks in order. Finished, unchanged steps are skipped; a training that"
            " was interrupted goes on."
        ),
    )
    add_profile(parser)
    parser.add_argument(
        "--data",
        default="",
        metavar="PATH",
        help=(
            "PNG slices, volumes (see `prepare`), or a folder "
            "made by `prepare` (default: synthetic sample brains)"
        ),
    )
    parser.add_argument(
        "--out", default="", metavar="DIR", help="run folder (default: runs/PROFILE in the project)"
    )
    parser.add_argument(
        "--only", default="", metavar="NN,NN", help="only these notebooks, such as 02,03"
    )
    parser.add_argument(
        "--force", action="store_true", help="run steps again even if nothing changed"
    )
    add_seed(parser)
    add_device(parser)
    add_parameters(parser, "a notebook")
    parser.set_defaults(action=run)


def run(args: argparse.Namespace) -> None:
    """Execute the notebooks and print the final table."""
    parameters = dict(map(name_and_value, args.parameters))
    folder = RunFolder(
        Path(args.out).resolve() if args.out else project_root() / "runs" / args.profile
    )
    data = str(Path(args.data).resolve()) if args.data else ""
    require_utf8(folder.root, Path(data))
    steps = plan(args.profile, data, folder, args.only, parameters, args.seed, args.device)
    folder_of_copies = unpack_notebooks(steps)
    if folder_of_copies:
        print(f"notebooks: copied to {folder_of_copies}")
    if not data:
        print("data: synthetic sample brains made from the Colin27 template (not OASIS)")
    print(f"figures appear in {folder.figures}")
    run_series(steps, folder, data, args.force)
    print(table(steps, folder))
