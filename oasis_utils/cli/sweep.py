"""The command `sweep`: a grid of runs, here or on a Slurm cluster; one table and one figure."""

from __future__ import annotations

import argparse

from oasis_utils.cli.argument_types import count


def add_sweep(parsers) -> None:
    """Add the command `sweep`.

    Args:
        parsers: The commands so far.
    """
    parser = parsers.add_parser(
        "sweep",
        help="run the series for a grid of parameters and seeds, here or as Slurm job arrays",
        description=(
            "Run the series for every combination of a grid of notebook parameters and seeds, only"
            " what is missing, and write one table and one figure of all runs. See docs/sweeps.md."
        ),
    )
    parser.add_argument("file", metavar="FILE.yml", help="the sweep, such as docs/sweeps/seeds.yml")
    parser.add_argument(
        "--engine",
        choices=("local", "slurm"),
        default="local",
        help="local: on this machine; slurm: job arrays through submitit (default: local)",
    )
    parser.add_argument(
        "--jobs", type=count, metavar="N", help="runs at a time of the local engine (default: 1)"
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--dry-run", action="store_true", help="print the batch scripts and commands, run nothing"
    )
    what.add_argument(
        "--table", action="store_true", help="only write table and figure of what is there"
    )
    parser.set_defaults(action=sweep)


def sweep(args: argparse.Namespace) -> None:
    """Run what is missing of a sweep, or print what would be run, or tabulate what is there."""
    from oasis_utils.pipeline.series import UsageError
    from oasis_utils.pipeline.sweep import execution
    from oasis_utils.pipeline.sweep.description import read_sweep
    from oasis_utils.pipeline.sweep.plan import plan_sweep

    if args.jobs and args.engine == "slurm":
        raise UsageError(
            "--jobs is of the local engine: set array_parallelism in slurm of the file"
        )
    described = read_sweep(args.file)
    try:
        runs = plan_sweep(described)
    except UsageError as error:
        raise UsageError(f"{args.file}: {error}") from None
    if args.table:
        execution.tabulate(described, runs)
    elif args.dry_run:
        print(execution.shown(described, runs, args.engine))
    else:
        execution.execute(described, runs, args.engine, args.jobs or 1)
