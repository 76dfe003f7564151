"""The command `train`: one model of a run, in one process or in several that train together."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from oasis_utils.cli.argument_types import count
from oasis_utils.cli.folders import run_folder
from oasis_utils.cli.options import (
    add_device,
    add_parameters,
    add_profile,
    add_seed,
    name_and_value,
)
from oasis_utils.config import PROFILES
from oasis_utils.pipeline.series import UsageError
from oasis_utils.runtime import processes

MODELS = ("vqvae", "pixelcnn", "dcgan")
RUN_FOLDER_HELP = "run folder that holds what the training reads, such as runs/demo"


def add_train(parsers) -> None:
    """Add the command `train`.

    Args:
        parsers: The commands so far.
    """
    parser = parsers.add_parser(
        "train",
        help="train one model of a run, on several CPUs or GPUs if asked",
        description=(
            "Train one model as its notebook does, which then loads it. A training that was"
            " interrupted goes on. Under torchrun the processes of torchrun train together."
        ),
    )
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("--run", required=True, metavar="DIR", help=RUN_FOLDER_HELP)
    add_profile(parser)
    parser.add_argument(
        "--devices",
        type=count,
        default=1,
        metavar="N",
        help="processes on this machine, or GPUs (default: 1)",
    )
    parser.add_argument(
        "--nodes",
        type=count,
        default=1,
        metavar="M",
        help="machines, on each of which the same command runs (default: 1)",
    )
    parser.add_argument(
        "--rdzv-endpoint",
        default="",
        metavar="HOST:PORT",
        help="with --nodes: where the machines meet, a free port of one of them",
    )
    add_device(parser)
    add_seed(parser)
    add_parameters(parser, "its notebook")
    parser.set_defaults(action=train)


def train(args: argparse.Namespace) -> None:
    """Train one model, or start the processes that do."""
    if args.profile not in PROFILES:
        raise UsageError(f"unknown profile {args.profile!r}: choose one of {', '.join(PROFILES)}")
    if args.nodes > 1 and not args.rdzv_endpoint and not processes.launched():
        raise UsageError(
            f"--nodes {args.nodes} needs --rdzv-endpoint HOST:PORT, where the machines meet"
        )
    run = run_folder(args.run)
    from oasis_utils.training.stages import require_inputs

    require_inputs(args.model, run)
    folder, changes = run.root, _changes(args.model, args.parameters)
    if processes.launched():
        _train_with_others(args, folder, changes)
    elif args.devices * args.nodes > 1:
        from oasis_utils.training.launching import launch

        launch(_words(args, folder), args.devices, args.nodes, args.rdzv_endpoint)
    else:
        _train(args, folder, changes)


def _words(args: argparse.Namespace, folder: Path) -> list[str]:
    """The command line of a process."""
    words = ["--debug"] if args.debug else []
    words += ["train", args.model, f"--run={folder}", f"--profile={args.profile}"]
    words += [f"--device={args.device}", f"--seed={args.seed}"]
    return words + [word for item in args.parameters for word in ("-p", item)]


def _changes(model: str, items: list[str]) -> dict[str, Any]:
    """Parameters in their types; UsageError for an unknown name or a wrong value."""
    from oasis_utils.training.stages import parameter_types

    known, changes = parameter_types(model), {}
    for name, text in map(name_and_value, items):
        if name not in known:
            raise UsageError(f"unknown parameter {name!r}: {model} has {', '.join(sorted(known))}")
        try:
            changes[name] = known[name](text)
        except ValueError:
            raise UsageError(
                f"parameter {name}={text!r} is not {known[name].__name__}: correct the value"
            ) from None
    return changes


def _train_with_others(args: argparse.Namespace, folder: Path, changes: dict[str, Any]) -> None:
    """Train as one of the processes of a launcher, and leave it the reason of a failure."""
    from oasis_utils.cli.messages import in_words
    from oasis_utils.training.launching import GO_ON, leave_reason, watched

    try:
        with watched():
            _train(args, folder, changes)
    except KeyboardInterrupt:
        if not leave_reason(f"it was asked to stop: {GO_ON}"):
            raise
        raise SystemExit(1) from None  # the launcher says it
    except Exception as error:
        if args.debug or not leave_reason(in_words(error)):
            raise
        raise SystemExit(1) from None


def _train(args: argparse.Namespace, folder: Path, changes: dict[str, Any]) -> None:
    from oasis_utils.pipeline.opening import open_run
    from oasis_utils.runtime import banner
    from oasis_utils.training import stages

    name = processes.own_device(args.device)
    opened = open_run(args.profile, str(folder), name)
    text = banner(args.seed, name)
    with processes.in_group(opened.device):
        if processes.is_first():
            together = f" · {processes.count()} processes" if processes.count() > 1 else ""
            print(text + together, flush=True)
        given = stages.Inputs(*opened, args.seed, changes)
        stages.build(args.model, given).fit(opened.run, args.seed)
