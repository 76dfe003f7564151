"""The command line: commands, options and exit codes.

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
from oasis_utils.cli import commands
from oasis_utils.cli.argument_types import (
    count,
    count_up_to,
    device,
    finite,
    fraction_above_zero,
    interval,
    millimetres,
    not_negative,
    port,
    seed,
    shares,
    years,
)
from oasis_utils.cli.messages import in_words
from oasis_utils.cli.reader_options import add_answers, add_readers
from oasis_utils.cli.sweep import add_sweep
from oasis_utils.cli.train import add_train
from oasis_utils.config import PROFILES
from oasis_utils.pipeline.series import UsageError
from oasis_utils.runtime import DEVICES

MOST_SLICES = 100_000  # of one command; they are held in memory
SOURCES = (
    "a folder that holds keras_png_slices_train/ and so on, a folder of images (with --pattern),"
    " OASIS discs, NIfTI or Analyze volumes"
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
    _add_debug(parser, False)
    parsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_run(parsers)
    _add_prepare(parsers)
    _add_sample(parsers)
    _add_reconstruct(parsers)
    _add_evaluate(parsers)
    _add_report(parsers)
    _add_app(parsers)
    _add_page(parsers)
    add_readers(parsers, commands.readers)
    add_sweep(parsers)
    add_train(parsers)
    for command in parsers.choices.values():
        _add_debug(command, argparse.SUPPRESS)  # absent: as given before the command
    return parser


def _add_debug(parser: argparse.ArgumentParser, default: bool | str) -> None:
    parser.add_argument(
        "--debug",
        action="store_true",
        default=default,
        help="show the traceback of an error",
    )


def _add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", type=device, default="auto", help=f"{DEVICES}; default: auto")


def _add_run(parsers) -> None:
    run = parsers.add_parser(
        "run",
        help="execute the notebooks in order with papermill",
        description=(
            "Execute the notebooks in order. Finished, unchanged steps are skipped; a training that"
            " was interrupted goes on."
        ),
    )
    run.add_argument(
        "--profile", default="demo", help=f"one of {', '.join(PROFILES)} (default: demo)"
    )
    run.add_argument(
        "--data",
        default="",
        metavar="PATH",
        help=(
            "PNG slices, volumes (see `prepare`), or a folder "
            "made by `prepare` (default: synthetic sample brains)"
        ),
    )
    run.add_argument(
        "--out", default="", metavar="DIR", help="run folder (default: runs/PROFILE in the project)"
    )
    run.add_argument(
        "--only", default="", metavar="NN,NN", help="only these notebooks, such as 02,03"
    )
    run.add_argument("--force", action="store_true", help="run steps again even if nothing changed")
    run.add_argument(
        "--seed",
        type=seed,
        default=0,
        help="decides every random choice (default: 0)",
    )
    _add_device(run)
    run.add_argument(
        "-p",
        dest="parameters",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="set a notebook parameter, such as epochs=50; may be repeated",
    )
    run.set_defaults(action=commands.run)


def _add_prepare(parsers) -> None:
    prepare = parsers.add_parser(
        "prepare",
        help="check data of any kind and build the memory-mapped cache",
        description=(
            "Check, split, cut and resize slices or volumes into one memory-mapped cache, for `run"
            " --data`."
        ),
    )
    prepare.add_argument("source", metavar="SOURCE", help=SOURCES)
    prepare.add_argument("--out", required=True, metavar="DIR", help="folder of the cache")
    prepare.add_argument(
        "--size",
        type=count,
        default=256,
        help="pixels a side after crop and resize (default: 256)",
    )
    prepare.add_argument("--no-crop", action="store_true", help="keep the whole frame")
    prepare.add_argument(
        "--orient",
        default="auto",
        metavar="TURN",
        help=(
            "auto (forehead up, as measured), as-is, rot90, rot180 or rot270 (anticlockwise),"
            " optionally with ,flip behind it (default: auto)"
        ),
    )
    prepare.add_argument(
        "--split",
        type=shares,
        default=(0.8, 0.1, 0.1),
        metavar="A,B,C",
        help=(
            "shares of subjects "
            "to train, validate and test on, where the source has no splits (default: 0.8,0.1,0.1)"
        ),
    )
    prepare.add_argument("--seed", type=seed, default=0, help="decides that split (default: 0)")
    prepare.add_argument(
        "--skip-bad",
        action="store_true",
        help="leave out unusable files, and list them in the manifest",
    )
    prepare.add_argument("--png", metavar="DIR", help="also write the result as PNG slices there")
    prepare.add_argument(
        "--shards", action="store_true", help="also write shards, for sets larger than memory"
    )
    prepare.add_argument(
        "--as-source", action="store_true", help="with --png: in the orientation of SOURCE"
    )
    images = prepare.add_argument_group("folders of images or volumes")
    images.add_argument(
        "--pattern",
        metavar="REGEX",
        help=(
            "finds the subject in each path below SOURCE: a regular expression with the group"
            " (?P<subject>...) and optionally (?P<session>...) and, of images, (?P<slice>...)"
        ),
    )
    volumes = prepare.add_argument_group("volumes")
    volumes.add_argument(
        "--plane", default="axial", help="axial, coronal or sagittal (default: axial)"
    )
    which = volumes.add_mutually_exclusive_group()
    which.add_argument(
        "--slices",
        type=interval,
        metavar="A:B",
        help="only from millimetre A up to B of the plane's axis",
    )
    which.add_argument(
        "--every",
        type=millimetres,
        metavar="MM",
        help="distance between slices, in millimetres",
    )
    volumes.add_argument(
        "--count",
        type=count,
        default=32,
        metavar="N",
        help="without --every: N slices, evenly (default: 32)",
    )
    prepare.set_defaults(action=commands.prepare)


def _add_sample(parsers) -> None:
    sample = parsers.add_parser("sample", help="generate slices with the models of a run")
    _add_model_options(sample)
    sample.add_argument("--prior", choices=("pixelcnn", "dcgan"), default="pixelcnn")
    sample.add_argument(
        "--n", type=count_up_to(MOST_SLICES), default=16, help="how many slices (default: 16)"
    )
    sample.add_argument(
        "--position", type=not_negative(int), help="slice position (default: all, evenly)"
    )
    sample.add_argument(
        "--age",
        type=years,
        metavar="YEARS",
        help="age of the brains, for models trained with ages (default: none)",
    )
    sample.add_argument(
        "--temperature",
        type=not_negative(finite),
        default=1.0,
        help="softmax temperature of the PixelCNN; 0: always the most likely code (default: 1)",
    )
    sample.add_argument(
        "--top-k",
        type=not_negative(int),
        default=0,
        help="only the K likeliest codes; 0: all",
    )
    sample.add_argument(
        "--top-p",
        type=fraction_above_zero,
        default=1.0,
        help="only the likeliest codes that together have this probability",
    )
    sample.add_argument("--seed", type=seed, default=0)
    sample.add_argument(
        "--as-source",
        action="store_true",
        help="turn the slices to the orientation of the data of the run (index maps stay upright)",
    )
    sample.set_defaults(action=commands.sample)


def _add_reconstruct(parsers) -> None:
    reconstruct = parsers.add_parser("reconstruct", help="encode and decode a split")
    reconstruct.add_argument(
        "data", metavar="DATA", help="PNG slices, volumes, or a folder made by `prepare`"
    )
    _add_model_options(reconstruct)
    reconstruct.add_argument("--split", choices=("train", "validate", "test"), default="test")
    reconstruct.set_defaults(action=commands.reconstruct)


def _add_evaluate(parsers) -> None:
    evaluate = parsers.add_parser("evaluate", help="compare generated slices with real ones")
    evaluate.add_argument(
        "images", metavar="IMAGES", help=".npz file as `sample` writes it, or a folder of grey PNGs"
    )
    evaluate.add_argument(
        "--against",
        required=True,
        metavar="DATA",
        help="PNG slices, volumes, or a folder made by `prepare`",
    )
    evaluate.add_argument("--json", metavar="FILE", help="also write the metrics there")
    evaluate.add_argument(
        "--card", metavar="FILE.md", help="also write a one-page model card there"
    )
    add_answers(evaluate)
    _add_device(evaluate)
    evaluate.set_defaults(action=commands.evaluate)


def _add_report(parsers) -> None:
    report = parsers.add_parser("report", help="write a run as one self-contained HTML page")
    report.add_argument("run", metavar="DIR", help="run folder, such as runs/demo")
    report.add_argument("--out", metavar="FILE.html", help="default: DIR/report.html")
    report.set_defaults(action=commands.report)


def _add_app(parsers) -> None:
    app = parsers.add_parser(
        "app", help="serve the slider panels as a page without code, on this machine only"
    )
    app.add_argument(
        "--run",
        metavar="DIR",
        help=(
            "run folder (default: runs/demo in the project, or, while it has no models, those that"
            " come with the project)"
        ),
    )
    app.add_argument("--port", type=port, default=8866, help="default: 8866")
    app.add_argument("--theme", choices=("light", "dark"), default="light")
    app.add_argument("--no-browser", action="store_true", help="do not open a browser")
    _add_device(app)
    app.set_defaults(action=commands.app)


def _add_page(parsers) -> None:
    page = parsers.add_parser(
        "page",
        help="write a page that draws slices in the browser, without a server",
        description=(
            "Write a folder with a page that draws slices with the DCGAN and the VQ-VAE of a run in"
            " the reader's browser, without a server."
        ),
    )
    page.add_argument(
        "--run",
        metavar="DIR",
        help="run folder (default: the models that come with the project)",
    )
    page.add_argument(
        "--out", required=True, metavar="DIR", help="new folder, or one of an older page"
    )
    page.set_defaults(action=commands.page)


def _add_model_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--run", required=True, metavar="DIR", help="run folder, such as runs/demo")
    parser.add_argument("--out", required=True, metavar="FILE.npz")
    _add_device(parser)


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
