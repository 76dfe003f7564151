"""The command `readers`: a page on which people say which slice of a pair is generated."""

from __future__ import annotations

import argparse
from pathlib import Path

from oasis_utils.cli.argument_types import count_up_to
from oasis_utils.cli.folders import refuse_results, run_folder
from oasis_utils.cli.options import add_seed
from oasis_utils.pipeline.series import UsageError

MOST_PAIRS = 500  # of each prior; their pictures are in one page
PRIORS = {"pixelcnn": ("pixelcnn",), "dcgan": ("dcgan",), "both": ("pixelcnn", "dcgan")}


def add_readers(parsers) -> None:
    """Add the command `readers`.

    Args:
        parsers: The commands so far.
    """
    parser = parsers.add_parser(
        "readers",
        help="write a page on which people say which slice of a pair is generated",
        description=(
            "Write a blinded reader study: a page of pairs of a decoded real slice and a generated"
            " one, and beside it the answer key, FILE.key.json, which stays with the organiser."
        ),
    )
    parser.add_argument("--run", required=True, metavar="DIR", help="run folder, such as runs/demo")
    parser.add_argument("--out", required=True, metavar="FILE.html", help="the page")
    parser.add_argument(
        "--prior", choices=tuple(PRIORS), default="both", help="whose slices (default: both)"
    )
    parser.add_argument(
        "--n", type=count_up_to(MOST_PAIRS), default=40, help="pairs of each prior (default: 40)"
    )
    add_seed(parser, "decides pairs, order and sides")
    parser.set_defaults(action=readers)


def readers(args: argparse.Namespace) -> None:
    """Write the page of a reader study, and its key."""
    from oasis_utils.data.dataset import open_cache
    from oasis_utils.pipeline.reader_study import key_path, write_study

    folder = run_folder(args.run)
    if Path(args.out).suffix != ".html":
        raise UsageError(f"--out {args.out} must end in .html")
    for path in (args.out, str(key_path(args.out))):
        refuse_results(path)
    key = write_study(folder, args.out, PRIORS[args.prior], args.n, args.seed)
    print(f"wrote {args.out}: give it to the readers")
    print(f"wrote {key}, its key: keep it from the readers; `evaluate --answers --key` reads it")
    if not open_cache(folder.data).synthetic:
        print(
            "the page shows decoded slices of people: before you pass it on, check what the"
            " agreement on the use of their data allows"
        )
