"""The command `sample`: generated slices as an .npz file, or whole heads as NIfTI files."""

from __future__ import annotations

import argparse

from oasis_utils.cli.argument_types import (
    count_up_to,
    finite,
    fraction_above_zero,
    not_negative,
    years,
)
from oasis_utils.cli.folders import data_of_run, refuse_results, run_folder
from oasis_utils.cli.options import add_models, add_seed
from oasis_utils.cli.sample_heads import MOST_HEADS, require_age, sample_heads
from oasis_utils.pipeline.series import UsageError
from oasis_utils.runtime import Progress

MOST_SLICES = 100_000  # of one command; they are held in memory
SLICES = 16  # where no number is given


def add_sample(parsers) -> None:
    """Add the command `sample`.

    Args:
        parsers: The commands so far.
    """
    parser = parsers.add_parser("sample", help="generate slices with the models of a run")
    add_models(parser, "FILE.npz|DIR")
    parser.add_argument("--prior", choices=("pixelcnn", "dcgan"), default="pixelcnn")
    parser.add_argument(
        "--n", type=count_up_to(MOST_SLICES), help=f"how many slices (default: {SLICES})"
    )
    parser.add_argument(
        "--position", type=not_negative(int), help="slice position (default: all, evenly)"
    )
    parser.add_argument(
        "--age",
        type=years,
        metavar="YEARS",
        help="age of the brains, for models trained with ages (default: none)",
    )
    parser.add_argument(
        "--temperature",
        type=not_negative(finite),
        default=1.0,
        help="softmax temperature of the PixelCNN; 0: always the most likely code (default: 1)",
    )
    parser.add_argument(
        "--top-k",
        type=not_negative(int),
        default=0,
        help="only the K likeliest codes; 0: all",
    )
    parser.add_argument(
        "--top-p",
        type=fraction_above_zero,
        default=1.0,
        help="only the likeliest codes that together have this probability",
    )
    add_seed(parser)
    parser.add_argument(
        "--as-source",
        action="store_true",
        help="turn the slices to the orientation of the data of the run (index maps stay upright)",
    )
    parser.add_argument(
        "--heads",
        type=count_up_to(MOST_HEADS),
        metavar="N",
        help="instead of slices, N whole heads as NIfTI files; --out is then a new folder",
    )
    parser.add_argument(
        "--tissues",
        action="store_true",
        help="with --heads: also a label map of grey matter, white matter and fluid for each",
    )
    parser.set_defaults(action=sample)


def sample(args: argparse.Namespace) -> None:
    """Generate slices or heads with the models of a run."""
    import dataclasses

    import numpy as np

    from oasis_utils.models.drawing import SamplingOptions
    from oasis_utils.models.sampler import load_sampler
    from oasis_utils.models.samples import image_seeds, spread_positions
    from oasis_utils.runtime import select_device

    if args.heads is not None:
        sample_heads(args)
        return
    if args.tissues:
        raise UsageError("--tissues is for whole heads: give --heads N, or leave it out")
    n = SLICES if args.n is None else args.n
    if args.as_source:
        data_of_run(args.run)  # refused before anything is drawn
    refuse_results(args.out)
    sampler = load_sampler(run_folder(args.run), args.prior, select_device(args.device))
    if args.position is not None and args.position >= sampler.n_positions:
        raise UsageError(
            f"position {args.position} is unknown: this model knows 0 to {sampler.n_positions - 1}"
        )
    require_age(args, sampler.knows_age)
    positions = (
        spread_positions(n, sampler.n_positions)
        if args.position is None
        else np.full(n, args.position)
    )
    options = SamplingOptions(args.temperature, args.top_k, args.top_p)
    with Progress(f"sampling {sampler.name}", n) as progress:
        ages = None if args.age is None else np.full(n, args.age)
        samples = sampler.sample(positions, image_seeds(args.seed, n), options, progress, ages)
    if args.as_source:
        samples = dataclasses.replace(
            samples, images=data_of_run(args.run).as_source(samples.images)
        )
    samples.save(args.out)
    print(f"wrote {n} slices to {args.out} (keys images, indices, positions, ages)")
