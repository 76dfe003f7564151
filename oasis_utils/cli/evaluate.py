"""The command `evaluate`: generated slices beside real ones, with verdicts and a model card."""

from __future__ import annotations

import argparse
from pathlib import Path

from oasis_utils.cli.folders import opened_dataset, refuse_in_data, refuse_results
from oasis_utils.cli.options import add_data, add_device
from oasis_utils.config import SPLITS, DataConfig
from oasis_utils.pipeline.series import UsageError
from oasis_utils.runtime.files import json_text, write_texts


def add_evaluate(parsers) -> None:
    """Add the command `evaluate`.

    Args:
        parsers: The commands so far.
    """
    parser = parsers.add_parser("evaluate", help="compare generated slices with real ones")
    parser.add_argument(
        "images",
        metavar="IMAGES",
        help=".npz file or folder of heads as `sample` writes it, or a folder of grey PNGs",
    )
    add_data(parser, "--against", required=True)
    parser.add_argument("--json", metavar="FILE", help="also write the metrics there")
    parser.add_argument("--card", metavar="FILE.md", help="also write a one-page model card there")
    _add_answers(parser)
    add_device(parser)
    parser.set_defaults(action=evaluate)


def evaluate(args: argparse.Namespace) -> None:
    """Compare generated slices with real ones, and print metrics and verdicts."""
    from oasis_utils import evaluation
    from oasis_utils.config import EvaluationConfig
    from oasis_utils.evaluation.model_card import model_card
    from oasis_utils.evaluation.readers import read_study, with_readers
    from oasis_utils.evaluation.reference import Reference
    from oasis_utils.runtime import select_device

    if args.json and args.card and Path(args.json).resolve() == Path(args.card).resolve():
        raise UsageError(f"--json and --card are both {args.card}: give two files")
    if bool(args.answers) != bool(args.key):
        raise UsageError("--answers needs --key, and --key needs --answers: give both")
    read = [args.against, args.images, *args.answers, *filter(None, [args.key])]
    for path in filter(None, (args.json, args.card)):
        for source in read:
            refuse_in_data(source, path)
        refuse_results(path)
    study = read_study(args.key, args.answers) if args.key else None
    images, positions = evaluation.load_images(args.images)
    evaluation.require_images(images, images.shape[1:])
    with opened_dataset(args.against, DataConfig(image_size=images.shape[1])) as dataset:
        train, validate, test = (dataset.split(name) for name in SPLITS)
        evaluation.require_images(images, train.images.shape[1:])
        images = dataset.aligned(images)
        reference = Reference.of(
            train,
            validate,
            test,
            EvaluationConfig(),
            select_device(args.device),
            n_evaluated=len(images),
            positions=positions,
        )
        metrics = evaluation.evaluate_images(images, positions, reference)
        metrics = with_readers(metrics, *study) if study else metrics
        about = {
            "slices evaluated": f"{len(images)}, from {Path(args.images).name}",
            "real data": dataset.description,
        }
    for name, value in metrics.items():
        if isinstance(value, (int, float, str)):
            print(f"{name}: {value:.5f}" if isinstance(value, float) else f"{name}: {value}")
    for name, text in metrics["verdicts"].items():
        print(f"\n{name}: {text}")
    for name, found in metrics.get("readers", {}).items():
        print(f"\nreaders, {name}: {found['verdict']}")
    texts = {args.json: json_text(metrics)} if args.json else {}
    if args.card:
        texts[args.card] = model_card({"the images": metrics}, about)
    write_texts(texts)


def _add_answers(evaluate: argparse.ArgumentParser) -> None:
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
