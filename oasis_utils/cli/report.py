"""The command `report`: a run as one HTML page."""

from __future__ import annotations

import argparse

from oasis_utils.cli.folders import refuse_results, run_folder


def add_report(parsers) -> None:
    """Add the command `report`.

    Args:
        parsers: The commands so far.
    """
    parser = parsers.add_parser("report", help="write a run as one self-contained HTML page")
    parser.add_argument("run", metavar="DIR", help="run folder, such as runs/demo")
    parser.add_argument("--out", metavar="FILE.html", help="default: DIR/report.html")
    parser.set_defaults(action=report)


def report(args: argparse.Namespace) -> None:
    """Write the HTML page of a run."""
    from oasis_utils.pipeline.html_report import write_report

    folder = run_folder(args.run)
    if args.out:
        refuse_results(args.out)
    print(f"wrote {write_report(folder, args.out)}")
