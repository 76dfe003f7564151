"""The command line: all commands, and exit codes.

Exit codes: 0 done, 1 failed, 2 invalid usage.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import signal
import sys

from oasis_utils import __version__
from oasis_utils.cli.app import add_app
from oasis_utils.cli.evaluate import add_evaluate
from oasis_utils.cli.messages import in_words
from oasis_utils.cli.options import add_debug
from oasis_utils.cli.page import add_page
from oasis_utils.cli.prepare import add_prepare
from oasis_utils.cli.readers import add_readers
from oasis_utils.cli.reconstruct import add_reconstruct
from oasis_utils.cli.report import add_report
from oasis_utils.cli.run import add_run
from oasis_utils.cli.sample import add_sample
from oasis_utils.cli.sweep import add_sweep
from oasis_utils.cli.train import add_train
from oasis_utils.pipeline.series import UsageError

COMMANDS = (  # in the order of --help
    add_run,
    add_prepare,
    add_sample,
    add_reconstruct,
    add_evaluate,
    add_report,
    add_app,
    add_page,
    add_readers,
    add_sweep,
    add_train,
)


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands; `action` of its result is the function of the command."""
    parser = argparse.ArgumentParser(
        prog="python -m oasis_utils",
        description=(
            "Generate brain MRI slices with discrete models: run the notebooks, or use what they"
            " trained."
        ),
    )
    parser.add_argument("--version", action="version", version=__version__)
    add_debug(parser, False)
    parsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for add_command in COMMANDS:
        add_command(parsers)
    for command in parsers.choices.values():
        add_debug(command, argparse.SUPPRESS)  # absent: as given before the command
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: Words of the command line; None: those of this process.

    Returns:
        The exit code: 0 done, 1 failed or stopped, 2 invalid usage. With --debug, errors of a
        command are raised instead.
    """
    try:
        args = build_parser().parse_args(arguments)
    except SystemExit as stop:
        return int(stop.code or 0)
    with contextlib.suppress(ValueError):  # not in the main thread
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # a request to stop, like Ctrl-C
    _print_anywhere()
    if not _in_a_folder():
        print("error: the working folder was deleted: change to another one", file=sys.stderr)
        return 1
    try:
        args.action(args)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("stopped; run the same command again to continue", file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader of the output, such as `head`, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if args.debug:
            raise
        print(f"error: {in_words(error)}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    return 0


def _in_a_folder() -> bool:
    try:
        return bool(os.getcwd())
    except OSError:
        return False


def _print_anywhere() -> None:
    """Let a terminal or log in another encoding show escapes, and closed streams take anything."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever started the command
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 (until the process ends)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
