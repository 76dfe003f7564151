"""Options that several commands share."""

from __future__ import annotations

import argparse
from typing import Any

from oasis_utils.cli.argument_types import device, seed
from oasis_utils.config import PROFILES
from oasis_utils.pipeline.series import UsageError
from oasis_utils.runtime import DEVICES


def add_debug(parser: argparse.ArgumentParser, default: bool | str) -> None:
    """Add --debug.

    Args:
        parser: Of all commands, or of one.
        default: Its value without the option; argparse.SUPPRESS: none.
    """
    parser.add_argument(
        "--debug",
        action="store_true",
        default=default,
        help="show the traceback of an error",
    )


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add --device."""
    parser.add_argument("--device", type=device, default="auto", help=f"{DEVICES}; default: auto")


def add_seed(parser: argparse.ArgumentParser, what: str = "decides every random choice") -> None:
    """Add --seed.

    Args:
        parser: Of a command.
        what: What the seed decides, in words.
    """
    parser.add_argument("--seed", type=seed, default=0, help=f"{what} (default: 0)")


def add_profile(parser: argparse.ArgumentParser) -> None:
    """Add --profile."""
    parser.add_argument(
        "--profile", default="demo", help=f"one of {', '.join(PROFILES)} (default: demo)"
    )


def add_parameters(parser: argparse.ArgumentParser, what: str) -> None:
    """Add -p, whose items are in `parameters`.

    Args:
        parser: Of a command.
        what: Whose parameter it sets, in words.
    """
    parser.add_argument(
        "-p",
        dest="parameters",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help=f"set a parameter of {what}, such as epochs=50; may be repeated",
    )


def name_and_value(item: str) -> tuple[str, str]:
    """The two parts of an item of `parameters`; UsageError without an equals sign."""
    name, separator, value = item.partition("=")
    if not separator:
        raise UsageError(f"-p {item!r}: expected NAME=VALUE, such as epochs=50")
    return name, value


def add_data(parser: argparse.ArgumentParser, name: str, **more: Any) -> None:
    """Add slices that a command reads.

    Args:
        parser: Of a command.
        name: Of the argument.
        more: Of `add_argument`.
    """
    what = "PNG slices, volumes, or a folder made by `prepare`"
    parser.add_argument(name, metavar="DATA", help=what, **more)


def add_models(parser: argparse.ArgumentParser, out: str = "FILE.npz") -> None:
    """Add --run, --out and --device of commands that write what the models of a run make.

    Args:
        parser: Of a command.
        out: What is written, for its help.
    """
    parser.add_argument("--run", required=True, metavar="DIR", help="run folder, such as runs/demo")
    parser.add_argument("--out", required=True, metavar=out)
    add_device(parser)
