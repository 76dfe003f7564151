"""`python -m oasis_utils`: run, prepare, sample, reconstruct, evaluate, report, app.

Exit codes: 0 done, 1 failed, 2 asked wrongly.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import tempfile
from pathlib import Path

from oasis_utils import __version__
from oasis_utils.config import PROFILES, SPLITS, DataConfig, from_dict
from oasis_utils.pipeline import NotebookFailed, UsageError, plan, run_series, table
from oasis_utils.runtime import Progress, RunFolder, project_root, read_json, write_json


def _fraction_above_zero(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not in (0, 1]")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return value


def _shares(text: str) -> tuple[float, ...]:
    train, validate, test = map(float, text.split(","))
    return train, validate, test


def _span(text: str) -> tuple[int, ...]:
    first, end = text.split(":")
    return int(first), int(end)


_shares.__name__, _span.__name__ = "A,B,C", "A:B"  # argparse names the type in its message


def _not_negative(kind):
    def parse(text: str):
        value = kind(text)
        if value < 0:
            raise argparse.ArgumentTypeError(f"{text} is negative")
        return value

    parse.__name__ = kind.__name__  # argparse names the type in its message
    return parse


def _port(text: str) -> int:
    value = int(text)
    if not 1024 <= value <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is not a port for users, 1024 to 65535")
    return value


def _years(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 120:
        raise argparse.ArgumentTypeError(f"{text} is not an age in years, 0 to 120")
    return value


SOURCES = ("a folder that holds keras_png_slices_train/ and so on, a folder of images (with --pattern), OASIS discs, "
           "NIfTI or Analyze volumes")


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m oasis_utils",
        description="Generate brain MRI slices with discrete models: run the notebooks, or use what they trained.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_run(commands)
    _add_prepare(commands)
    _add_sample(commands)
    _add_reconstruct(commands)
    _add_evaluate(commands)
    _add_report(commands)
    _add_app(commands)
    return parser


def _add_run(commands) -> None:
    run = commands.add_parser(
        "run", help="execute the notebooks in order with papermill",
        description="Execute the notebooks in order. Finished, unchanged steps are skipped; a training that was "
                    "interrupted goes on.")
    run.add_argument("--profile", default="demo", help=f"one of {', '.join(PROFILES)} (default: demo)")
    run.add_argument("--data", default="", metavar="PATH", help="PNG slices, volumes (see `prepare`), or a folder "
                     "made by `prepare` (default: synthetic sample brains)")
    run.add_argument("--out", default="", metavar="DIR", help="run folder (default: runs/PROFILE in the project)")
    run.add_argument("--only", default="", metavar="NN,NN", help="only these notebooks, such as 02,03")
    run.add_argument("--force", action="store_true", help="run steps again even if nothing changed")
    run.add_argument("--seed", type=int, default=0, help="decides every random choice (default: 0)")
    run.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    run.add_argument("-p", dest="parameters", action="append", default=[], metavar="NAME=VALUE",
                     help="set a notebook parameter, such as epochs=50; may be repeated")
    run.set_defaults(action=run_command)


def _add_prepare(commands) -> None:
    prepare = commands.add_parser(
        "prepare", help="check data of any kind and build the memory-mapped cache",
        description="Check, split, cut and resize slices or volumes into one memory-mapped cache, for `run --data`.")
    prepare.add_argument("source", metavar="SOURCE", help=SOURCES)
    prepare.add_argument("--out", required=True, metavar="DIR", help="where the cache goes")
    prepare.add_argument("--size", type=_count, default=256, help="pixels a side after crop and resize (default: 256)")
    prepare.add_argument("--no-crop", action="store_true", help="keep the whole frame")
    prepare.add_argument("--orient", default="as-is", metavar="TURN", help="as-is, rot90, rot180 or rot270 "
                         "(anticlockwise), optionally with ,flip behind it (default: as-is)")
    prepare.add_argument("--split", type=_shares, default=(0.8, 0.1, 0.1), metavar="A,B,C", help="shares of subjects "
                         "to train, validate and test on, where the source has no splits (default: 0.8,0.1,0.1)")
    prepare.add_argument("--seed", type=_not_negative(int), default=0, help="decides that split (default: 0)")
    prepare.add_argument("--skip-bad", action="store_true", help="go on without files that cannot be used, and list "
                         "them in the manifest")
    prepare.add_argument("--png", metavar="DIR", help="also write the result as PNG slices there")
    images = prepare.add_argument_group("folders of images")
    images.add_argument("--pattern", metavar="REGEX", help="finds the subject in each path below SOURCE: a regular "
                        "expression with groups (?P<subject>...) and, if wanted, (?P<slice>...) and (?P<session>...)")
    volumes = prepare.add_argument_group("volumes")
    volumes.add_argument("--plane", default="axial", help="axial, coronal or sagittal (default: axial)")
    which = volumes.add_mutually_exclusive_group()
    which.add_argument("--slices", type=_span, metavar="A:B", help="only from millimetre A up to B of the plane's axis")
    which.add_argument("--every", type=float, metavar="MM", help="a slice every so many millimetres of the head")
    volumes.add_argument("--count", type=_count, default=32, metavar="N", help="without --every: N slices, evenly "
                         "(default: 32)")
    prepare.set_defaults(action=prepare_command)


def _add_sample(commands) -> None:
    sample = commands.add_parser("sample", help="generate slices with the models of a run")
    _add_model_options(sample)
    sample.add_argument("--prior", choices=("pixelcnn", "dcgan"), default="pixelcnn")
    sample.add_argument("--n", type=_count, default=16, help="how many slices (default: 16)")
    sample.add_argument("--position", type=_not_negative(int), help="slice position (default: all, evenly)")
    sample.add_argument("--age", type=_years, metavar="YEARS", help="age of the brains, for a PixelCNN trained with "
                        "ages (default: not said)")
    sample.add_argument("--temperature", type=_not_negative(float), default=1.0, help="0: the likeliest code")
    sample.add_argument("--top-k", type=_not_negative(int), default=0, help="only the K likeliest codes; 0: all")
    sample.add_argument("--top-p", type=_fraction_above_zero, default=1.0, help="only the likeliest codes that hold "
                        "this much probability")
    sample.add_argument("--seed", type=_not_negative(int), default=0)
    sample.set_defaults(action=sample_command)


def _add_reconstruct(commands) -> None:
    reconstruct = commands.add_parser("reconstruct", help="encode and decode a split")
    reconstruct.add_argument("data", metavar="DATA", help="PNG slices, volumes, or a folder made by `prepare`")
    _add_model_options(reconstruct)
    reconstruct.add_argument("--split", choices=("train", "validate", "test"), default="test")
    reconstruct.set_defaults(action=reconstruct_command)


def _add_evaluate(commands) -> None:
    evaluate = commands.add_parser("evaluate", help="judge generated slices against real ones")
    evaluate.add_argument("images", metavar="IMAGES", help=".npz file as `sample` writes it, or a folder of grey PNGs")
    evaluate.add_argument("--against", required=True, metavar="DATA", help="PNG slices, volumes, or a folder made "
                          "by `prepare`")
    evaluate.add_argument("--json", metavar="FILE", help="also write the figures there")
    evaluate.add_argument("--card", metavar="FILE.md", help="also write a one-page model card there")
    evaluate.add_argument("--device", default="auto")
    evaluate.set_defaults(action=evaluate_command)


def _add_report(commands) -> None:
    report = commands.add_parser("report", help="turn a run into one HTML page that needs nothing else")
    report.add_argument("run", metavar="DIR", help="run folder, such as runs/demo")
    report.add_argument("--out", metavar="FILE.html", help="default: DIR/report.html")
    report.set_defaults(action=report_command)


def _add_app(commands) -> None:
    app = commands.add_parser("app", help="serve the slider panels as a page without code, on this machine only")
    app.add_argument("--run", default="runs/demo", metavar="DIR", help="run folder (default: runs/demo; the models "
                     "that come with the project are used where it has none)")
    app.add_argument("--port", type=_port, default=8866, help="default: 8866")
    app.add_argument("--theme", choices=("light", "dark"), default="light")
    app.add_argument("--no-browser", action="store_true", help="only serve")
    app.add_argument("--device", default="auto")
    app.set_defaults(action=app_command)


def _add_model_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--run", required=True, metavar="DIR", help="run folder, such as runs/demo")
    parser.add_argument("--out", required=True, metavar="FILE.npz")
    parser.add_argument("--device", default="auto")


# ---------------------------------------------------------------- commands


def run_command(args: argparse.Namespace) -> None:
    parameters = {}
    for item in args.parameters:
        name, separator, value = item.partition("=")
        if not separator:
            raise UsageError(f"-p {item!r}: expected NAME=VALUE, such as epochs=50")
        parameters[name] = value
    run = RunFolder(Path(args.out).resolve() if args.out else project_root() / "runs" / args.profile)
    data = str(Path(args.data).resolve()) if args.data else ""
    steps = plan(args.profile, data, run, args.only, parameters, args.seed, args.device)
    if not data:
        print("data: synthetic sample brains made from the Colin27 template (not OASIS)")
    run_series(steps, run, data, args.force)
    print(table(steps, run))


def prepare_command(args: argparse.Namespace) -> None:
    from oasis_utils import data, exporting, importing
    from oasis_utils.volumes import SliceOptions

    try:
        config = DataConfig(image_size=args.size, fit_crop=not args.no_crop)
        slices = SliceOptions(args.plane, args.slices, args.every, args.count, args.orient)
    except ValueError as error:
        raise UsageError(error) from None
    options = importing.ImportOptions(args.split, args.seed, args.pattern, slices, args.skip_bad)
    if args.png:
        exporting.refuse_full(Path(args.png))
        importing.refuse_inside(Path(args.source), Path(args.png))
    with Progress("reading slices", 1) as progress:
        dataset = data.build_cache(args.source, args.out, config, progress, options)
    for line in describe_cache(dataset):
        print(line)
    if args.png:
        with Progress("writing PNG", 1) as progress:
            print(f"wrote PNG slices to {exporting.export_png(dataset, args.png, progress)}")


def describe_cache(dataset) -> list[str]:
    """What was prepared, and what a person should know about it."""
    from oasis_utils.sources import OASIS_ACKNOWLEDGEMENT

    manifest, lines = dataset.manifest, []
    for name in SPLITS:
        split = dataset.split(name)
        lines.append(f"{name}: {len(split)} slices of {len(set(split.subjects.tolist()))} subjects")
    lines += [f"note: {count} {note}" for note, count in manifest["notes"].items()]
    skipped = manifest["skipped"]
    if skipped:
        lines.append(f"skipped {len(skipped)} (all are listed in manifest.json):")
        lines += [f"  {item['reason']}" for item in skipped[:3]]
    lines.append(f"prepared {dataset.description} in {dataset.folder} (kind {manifest['kind']}, crop "
                 f"{manifest['crop']}, {manifest['config']['image_size']} pixels a side"
                 f"{', with masks' if manifest['masks'] else ''})")
    thanks = f"OASIS: follow the data use agreement, and acknowledge: {OASIS_ACKNOWLEDGEMENT}"
    return [*lines, thanks] if manifest["kind"] in ("keras", "oasis") else lines


def sample_command(args: argparse.Namespace) -> None:
    import numpy as np

    from oasis_utils import sampling
    from oasis_utils.incremental import SamplingOptions
    from oasis_utils.runtime import select_device

    sampler = sampling.load_sampler(_run_folder(args.run), args.prior, select_device(args.device))
    if args.position is not None and args.position >= sampler.n_positions:
        raise UsageError(f"position {args.position} is unknown: this model knows 0 to {sampler.n_positions - 1}")
    if args.age is not None and not sampler.knows_age:
        raise UsageError(f"--age: the {args.prior} of {args.run} was trained without ages; leave the option out, or "
                         "train a PixelCNN on data with ages")
    positions = (sampling.spread_positions(args.n, sampler.n_positions) if args.position is None
                 else np.full(args.n, args.position))
    options = SamplingOptions(args.temperature, args.top_k, args.top_p)
    with Progress(f"sampling {sampler.name}", args.n) as progress:
        ages = None if args.age is None else np.full(args.n, args.age)
        samples = sampler.sample(positions, sampling.image_seeds(args.seed, args.n), options, progress, ages)
    samples.save(args.out)
    print(f"wrote {args.n} slices to {args.out} (keys images, indices, positions)")


def reconstruct_command(args: argparse.Namespace) -> None:
    import numpy as np

    from oasis_utils import evaluation
    from oasis_utils.checkpoints import load_model
    from oasis_utils.runtime import atomic, select_device
    from oasis_utils.vqvae import VQVAE

    run, device = _run_folder(args.run), select_device(args.device)
    vqvae, _ = load_model(run.checkpoint("vqvae"), VQVAE, device)
    manifest = run.data / "manifest.json"
    config = from_dict(DataConfig, read_json(manifest)["config"]) if manifest.exists() else DataConfig(
        image_size=vqvae.config.image_size)
    with _dataset(args.data, config) as dataset:
        split = dataset.split(args.split)
        images, indices = evaluation.reconstruct_split(vqvae, split, device)
        judged = evaluation.judge_reconstruction(split, images, evaluation.mean_image(dataset.split("train")))
        with atomic(args.out) as partial, open(partial, "wb") as file:
            np.savez_compressed(file, images=np.array(split.images), reconstructions=images, indices=indices,
                                subjects=split.subjects, positions=split.positions)
    for name, floors in judged["floors"].items():
        print(f"{name}: {judged['reconstruction'][name]:.3f}  (floors: "
              + ", ".join(f"{floor} {value:.3f}" for floor, value in floors.items()) + ")")
    print(f"wrote {len(images)} slices to {args.out} (keys images, reconstructions, indices, subjects, positions)")


def evaluate_command(args: argparse.Namespace) -> None:
    from oasis_utils import evaluation
    from oasis_utils.config import EvaluationConfig
    from oasis_utils.reference import Reference
    from oasis_utils.runtime import atomic, select_device
    from oasis_utils.verdicts import model_card

    images, positions = evaluation.load_images(args.images)
    evaluation.require_images(images, images.shape[1:])
    with _dataset(args.against, DataConfig(image_size=images.shape[1])) as dataset:
        splits = [dataset.split(name) for name in ("train", "validate", "test")]
        evaluation.require_images(images, splits[0].images.shape[1:])
        reference = Reference.of(*splits, EvaluationConfig(), select_device(args.device),
                                 n_judged=len(images), positions=positions)
        judged = evaluation.evaluate_images(images, positions, reference)
        about = {"slices judged": f"{len(images)}, from {Path(args.images).name}", "real data": dataset.description}
    for name, value in judged.items():
        if isinstance(value, (int, float, str)):
            print(f"{name}: {value:.5f}" if isinstance(value, float) else f"{name}: {value}")
    for name, text in judged["verdicts"].items():
        print(f"\n{name}: {text}")
    if args.json:
        write_json(args.json, judged)
    if args.card:
        with atomic(args.card) as partial:
            partial.write_text(model_card({"the images": judged}, about), encoding="utf-8")


def report_command(args: argparse.Namespace) -> None:
    from oasis_utils.report import write_report

    print(f"wrote {write_report(_run_folder(args.run), args.out)}")


def app_command(args: argparse.Namespace) -> None:
    from oasis_utils.app import serve

    serve(RunFolder.at(args.run), args.port, not args.no_browser, args.theme, args.device)


@contextlib.contextmanager
def _dataset(source: str, config: DataConfig):
    """A prepared folder as it is, a run's own data, or slices and volumes prepared for the time being."""
    from oasis_utils import data

    for folder in (Path(source), Path(source) / "data"):
        if data.is_cache(folder):
            yield data.open_cache(folder)
            return
    with tempfile.TemporaryDirectory() as folder:
        with Progress("reading slices", 1) as progress:
            dataset = data.build_cache(source, folder, config, progress)
        yield dataset


def _run_folder(path: str) -> RunFolder:
    folder = Path(path).resolve()
    if not folder.is_dir():
        raise UsageError(f"no run folder {folder}: make one with `python -m oasis_utils run`")
    return RunFolder(folder)


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    try:
        args = build_parser().parse_args(arguments)
    except SystemExit as stop:
        return int(stop.code or 0)
    with contextlib.suppress(ValueError):  # not in the main thread
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # a polite stop, as Ctrl-C
    try:
        args.action(args)
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (NotebookFailed, ValueError, RuntimeError, MemoryError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 1
    return 0
