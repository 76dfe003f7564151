"""The command `page`: a page that draws slices in the browser."""

from __future__ import annotations

import argparse

from oasis_utils.cli.folders import refuse_results, run_folder


def add_page(parsers) -> None:
    """Add the command `page`.

    Args:
        parsers: The commands so far.
    """
    parser = parsers.add_parser(
        "page",
        help="write a page that draws slices in the browser, without a server",
        description=(
            "Write a folder with a page that draws slices with the DCGAN and the VQ-VAE of a run in"
            " the reader's browser, without a server."
        ),
    )
    parser.add_argument(
        "--run",
        metavar="DIR",
        help="run folder (default: the models that come with the project)",
    )
    parser.add_argument(
        "--out", required=True, metavar="DIR", help="new folder, or one of an older page"
    )
    parser.set_defaults(action=page)


def page(args: argparse.Namespace) -> None:
    """Write the page that draws slices in a browser."""
    from oasis_utils.models.sampler import shipped
    from oasis_utils.widgets.browser_page import SAMPLE_BRAINS, data_of, write_page

    folder = run_folder(args.run) if args.run else shipped()
    refuse_results(args.out)
    written = write_page(folder, args.out)
    size = sum(path.stat().st_size for path in written.parent.iterdir())
    print(f"wrote {written} ({size / 1e6:.1f} MB with the files beside it): open it in a browser")
    if data_of(folder) != SAMPLE_BRAINS:
        print(
            "the page holds the models: before you pass it on, check what the agreement on the use"
            " of their data allows"
        )
