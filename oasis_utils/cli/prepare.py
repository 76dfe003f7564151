"""The command `prepare`: data of any kind as one prepared folder."""

from __future__ import annotations

import argparse
from pathlib import Path

from oasis_utils.cli.argument_types import count, interval, millimetres, shares
from oasis_utils.cli.options import add_seed
from oasis_utils.config import SPLITS, DataConfig
from oasis_utils.pipeline.series import UsageError
from oasis_utils.runtime import Progress, printable, refuse_inside

SOURCES = (
    "a folder that holds keras_png_slices_train/ and so on, a folder of images (with --pattern),"
    " OASIS discs, NIfTI or Analyze volumes"
)


def add_prepare(parsers) -> None:
    """Add the command `prepare`.

    Args:
        parsers: The commands so far.
    """
    parser = parsers.add_parser(
        "prepare",
        help="check data of any kind and build the memory-mapped cache",
        description=(
            "Check, split, cut and resize slices or volumes into one memory-mapped cache, for `run"
            " --data`."
        ),
    )
    parser.add_argument("source", metavar="SOURCE", help=SOURCES)
    parser.add_argument("--out", required=True, metavar="DIR", help="folder of the cache")
    parser.add_argument(
        "--size",
        type=count,
        default=256,
        help="pixels a side after crop and resize (default: 256)",
    )
    parser.add_argument("--no-crop", action="store_true", help="keep the whole frame")
    parser.add_argument(
        "--orient",
        default="auto",
        metavar="TURN",
        help=(
            "auto (forehead up, as measured), as-is, rot90, rot180 or rot270 (anticlockwise),"
            " optionally with ,flip behind it (default: auto)"
        ),
    )
    parser.add_argument(
        "--split",
        type=shares,
        default=(0.8, 0.1, 0.1),
        metavar="A,B,C",
        help=(
            "shares of subjects "
            "to train, validate and test on, where the source has no splits (default: 0.8,0.1,0.1)"
        ),
    )
    add_seed(parser, "decides that split")
    parser.add_argument(
        "--skip-bad",
        action="store_true",
        help="leave out unusable files, and list them in the manifest",
    )
    parser.add_argument("--png", metavar="DIR", help="also write the result as PNG slices there")
    parser.add_argument(
        "--shards", action="store_true", help="also write shards, for sets larger than memory"
    )
    parser.add_argument(
        "--as-source", action="store_true", help="with --png: in the orientation of SOURCE"
    )
    images = parser.add_argument_group("folders of images or volumes")
    images.add_argument(
        "--pattern",
        metavar="REGEX",
        help=(
            "finds the subject in each path below SOURCE: a regular expression with the group"
            " (?P<subject>...) and optionally (?P<session>...) and, of images, (?P<slice>...)"
        ),
    )
    volumes = parser.add_argument_group("volumes")
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
    parser.set_defaults(action=prepare)


def prepare(args: argparse.Namespace) -> None:
    """Build the cache of a source, shards with --shards, and PNG slices with --png."""
    from oasis_utils.data import dataset as data
    from oasis_utils.data import export as exporting
    from oasis_utils.data.reading import ImportOptions
    from oasis_utils.data.shards_of_slices import write_shards
    from oasis_utils.data.volumes import SliceOptions

    try:
        config = DataConfig(image_size=args.size, fit_crop=not args.no_crop)
        slices = SliceOptions(args.plane, args.slices, args.every, args.count, args.orient)
    except ValueError as error:
        raise UsageError(error) from None
    options = ImportOptions(args.split, args.seed, args.pattern, slices, args.skip_bad)
    if args.as_source and not args.png:
        raise UsageError("--as-source changes what --png writes: add --png DIR, or leave it out")
    if args.png:
        exporting.refuse_full(Path(args.png))
        refuse_inside(Path(args.source), Path(args.png))
        out, png = Path(args.out).resolve(), Path(args.png).resolve()
        if out.is_relative_to(png) or png.is_relative_to(out):
            raise UsageError(f"--out {out} and --png {png} lie in one another: give two folders")
    with Progress("reading slices", 1) as progress:
        dataset = data.build_cache(args.source, args.out, config, progress, options)
    for line in describe_cache(dataset):
        print(line)
    if args.shards:
        with Progress("writing shards", 1) as progress:
            print(f"wrote shards to {write_shards(dataset, progress=progress)}")
    if args.png:
        with Progress("writing PNG", 1) as progress:
            print(
                "wrote PNG slices to "
                f"{exporting.export_png(dataset, args.png, progress, args.as_source)}"
            )


def describe_cache(dataset) -> list[str]:
    """Lines that describe a prepared data set.

    Args:
        dataset: As `open_cache` returns it.

    Returns:
        Splits, notes, orientation, skipped files and, for OASIS, the acknowledgement.
    """
    from oasis_utils.data.sources import OASIS_ACKNOWLEDGEMENT
    from oasis_utils.data.summary import notes

    manifest, lines = dataset.manifest, []
    for name in SPLITS:
        split = dataset.split(name)
        lines.append(f"{name}: {len(split)} slices of {len(set(split.subjects.tolist()))} subjects")
    lines += [f"note: {note}" for note in notes(dataset)]
    lines.append(f"orientation: {dataset.geometry}")
    skipped = manifest["skipped"]
    if skipped:
        lines.append(f"skipped {len(skipped)} (all are listed in manifest.json):")
        lines += [f"  {printable(item['reason'])}" for item in skipped[:3]]
    lines.append(
        printable(f"prepared {dataset.description} in {dataset.folder}")
        + f" (kind {manifest['kind']}, crop "
        f"{manifest['crop']}, {manifest['config']['image_size']} pixels a side"
        f"{', with masks' if manifest['masks'] else ''})"
    )
    thanks = f"OASIS: follow the data use agreement, and acknowledge: {OASIS_ACKNOWLEDGEMENT}"
    return [*lines, thanks] if manifest["kind"] in ("keras", "oasis") else lines
