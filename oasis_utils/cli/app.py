"""The command `app`: the slider panels as a page without code."""

from __future__ import annotations

import argparse

from oasis_utils.cli.argument_types import port
from oasis_utils.cli.folders import require_utf8, run_folder
from oasis_utils.cli.options import add_device
from oasis_utils.runtime import RunFolder


def add_app(parsers) -> None:
    """Add the command `app`.

    Args:
        parsers: The commands so far.
    """
    parser = parsers.add_parser(
        "app", help="serve the slider panels as a page without code, on this machine only"
    )
    parser.add_argument(
        "--run",
        metavar="DIR",
        help=(
            "run folder (default: runs/demo in the project, or, while it has no models, those that"
            " come with the project)"
        ),
    )
    parser.add_argument("--port", type=port, default=8866, help="default: 8866")
    parser.add_argument("--theme", choices=("light", "dark"), default="light")
    parser.add_argument("--no-browser", action="store_true", help="do not open a browser")
    add_device(parser)
    parser.set_defaults(action=app)


def app(args: argparse.Namespace) -> None:
    """Serve the slider panels."""
    from oasis_utils.widgets.app import serve

    folder = run_folder(args.run) if args.run else RunFolder.at("runs/demo")
    require_utf8(folder.root)
    serve(folder, args.port, not args.no_browser, args.theme, args.device)
