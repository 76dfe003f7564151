"""Options of a reader study: of the command that writes it, and of `evaluate`, which reads it."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from oasis_utils.cli.argument_types import count_up_to, seed

MOST_PAIRS = 500  # of each prior; their pictures are in one page
PRIORS = {"pixelcnn": ("pixelcnn",), "dcgan": ("dcgan",), "both": ("pixelcnn", "dcgan")}


def add_readers(parsers, action: Callable[[argparse.Namespace], None]) -> None:
    """Add the command `readers`.

    Args:
        parsers: The commands so far.
        action: Its function.
    """
    readers = parsers.add_parser(
        "readers",
        help="write a page on which people say which slice of a pair is generated",
        description=(
            "Write a blinded reader study: a page of pairs of a decoded real slice and a generated"
            " one, and beside it the answer key, FILE.key.json, which stays with the organiser."
        ),
    )
    readers.add_argument(
        "--run", required=True, metavar="DIR", help="run folder, such as runs/demo"
    )
    readers.add_argument("--out", required=True, metavar="FILE.html", help="the page")
    readers.add_argument(
        "--prior", choices=tuple(PRIORS), default="both", help="whose slices (default: both)"
    )
    readers.add_argument(
        "--n", type=count_up_to(MOST_PAIRS), default=40, help="pairs of each prior (default: 40)"
    )
    readers.add_argument(
        "--seed", type=seed, default=0, help="decides pairs, order and sides (default: 0)"
    )
    readers.set_defaults(action=action)


def add_answers(evaluate: argparse.ArgumentParser) -> None:
    """Add the options of `evaluate` that take the answers of readers.

    Args:
        evaluate: The parser of that command.
    """
    evaluate.add_argument(
        "--answers",
        nargs="+",
        default=[],
        metavar="FILE",
        help="answers of readers, as the page of `readers` saves them",
    )
    evaluate.add_argument("--key", metavar="FILE", help="the key of that page")
