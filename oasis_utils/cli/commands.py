"""The commands: run, prepare, sample, reconstruct, evaluate, report, app, page, readers.

Heavy imports are inside the functions, so that `--help` and refusals take no time.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
from pathlib import Path

from oasis_utils.config import SPLITS, DataConfig, from_dict
from oasis_utils.pipeline.parameters import plan
from oasis_utils.pipeline.results import table
from oasis_utils.pipeline.runner import run_series
from oasis_utils.pipeline.series import UsageError, unpack_notebooks
from oasis_utils.runtime import (
    DataError,
    Progress,
    RunFolder,
    printable,
    project_root,
    refuse_inside,
)
from oasis_utils.runtime.files import json_text, write_texts


def run(args: argparse.Namespace) -> None:
    """Execute the notebooks and print the final table."""
    parameters = {}
    for item in args.parameters:
        name, separator, value = item.partition("=")
        if not separator:
            raise UsageError(f"-p {item!r}: expected NAME=VALUE, such as epochs=50")
        parameters[name] = value
    folder = RunFolder(
        Path(args.out).resolve() if args.out else project_root() / "runs" / args.profile
    )
    data = str(Path(args.data).resolve()) if args.data else ""
    _require_utf8(folder.root, Path(data))
    steps = plan(args.profile, data, folder, args.only, parameters, args.seed, args.device)
    folder_of_copies = unpack_notebooks(steps)
    if folder_of_copies:
        print(f"notebooks: copied to {folder_of_copies}")
    if not data:
        print("data: synthetic sample brains made from the Colin27 template (not OASIS)")
    run_series(steps, folder, data, args.force)
    print(table(steps, folder))


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


def sample(args: argparse.Namespace) -> None:
    """Generate slices with the models of a run."""
    import dataclasses

    import numpy as np

    from oasis_utils.models import sampler as sampling
    from oasis_utils.models.drawing import SamplingOptions
    from oasis_utils.runtime import select_device

    if args.as_source:
        _data_of(args.run)  # refused before anything is drawn
    _refuse_results(args.out)
    sampler = sampling.load_sampler(_run_folder(args.run), args.prior, select_device(args.device))
    if args.position is not None and args.position >= sampler.n_positions:
        raise UsageError(
            f"position {args.position} is unknown: this model knows 0 to {sampler.n_positions - 1}"
        )
    if args.age is not None and not sampler.knows_age:
        raise UsageError(
            f"--age: the {args.prior} of {args.run} was trained without ages; leave the option out,"
            " or train it on data with ages"
        )
    positions = (
        sampling.spread_positions(args.n, sampler.n_positions)
        if args.position is None
        else np.full(args.n, args.position)
    )
    options = SamplingOptions(args.temperature, args.top_k, args.top_p)
    with Progress(f"sampling {sampler.name}", args.n) as progress:
        ages = None if args.age is None else np.full(args.n, args.age)
        samples = sampler.sample(
            positions, sampling.image_seeds(args.seed, args.n), options, progress, ages
        )
    if args.as_source:
        samples = dataclasses.replace(samples, images=_data_of(args.run).as_source(samples.images))
    samples.save(args.out)
    print(f"wrote {args.n} slices to {args.out} (keys images, indices, positions, ages)")


def reconstruct(args: argparse.Namespace) -> None:
    """Encode and decode a split, and print metrics beside trivial baselines."""
    import numpy as np

    from oasis_utils import evaluation
    from oasis_utils.data import dataset as data
    from oasis_utils.models.checkpoints import load_model
    from oasis_utils.models.vqvae import VQVAE
    from oasis_utils.runtime import atomic, select_device

    _refuse_in_data(args.data, args.out)
    folder, device = _run_folder(args.run), select_device(args.device)
    _refuse_results(args.out)
    vqvae, _ = load_model(folder.checkpoint("vqvae"), VQVAE, device)
    config = (
        from_dict(DataConfig, data.open_cache(folder.data).manifest["config"])
        if data.is_cache(folder.data)
        else DataConfig(image_size=vqvae.config.image_size)
    )
    with _dataset(args.data, config) as dataset:
        split = dataset.split(args.split)
        images, indices = evaluation.reconstruct_split(vqvae, split, device)
        scores = evaluation.score_reconstruction(
            split, images, evaluation.mean_image(dataset.split("train"))
        )
        assert split.series is not None  # set when a split is made
        with atomic(args.out) as partial, open(partial, "wb") as file:
            np.savez_compressed(
                file,
                images=np.array(split.images),
                reconstructions=images,
                indices=indices,
                subjects=split.subjects,
                series=split.series,
                positions=split.positions,
            )
    for name, baselines in scores.trivial_baselines.items():
        text = ", ".join(f"{answer} {value:.3f}" for answer, value in baselines.items())
        print(f"{name}: {getattr(scores, name):.3f}  (trivial baselines: {text})")
    print(
        f"wrote {len(images)} slices to {args.out} (keys images, reconstructions, indices,"
        " subjects, series, positions)"
    )


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
            _refuse_in_data(source, path)
        _refuse_results(path)
    study = read_study(args.key, args.answers) if args.key else None
    images, positions = evaluation.load_images(args.images)
    evaluation.require_images(images, images.shape[1:])
    with _dataset(args.against, DataConfig(image_size=images.shape[1])) as dataset:
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


def report(args: argparse.Namespace) -> None:
    """Write the HTML page of a run."""
    from oasis_utils.pipeline.html_report import write_report

    folder = _run_folder(args.run)
    if args.out:
        _refuse_results(args.out)
    print(f"wrote {write_report(folder, args.out)}")


def app(args: argparse.Namespace) -> None:
    """Serve the slider panels."""
    from oasis_utils.widgets.app import serve

    folder = _run_folder(args.run) if args.run else RunFolder.at("runs/demo")
    _require_utf8(folder.root)
    serve(folder, args.port, not args.no_browser, args.theme, args.device)


def page(args: argparse.Namespace) -> None:
    """Write the page that draws slices in a browser."""
    from oasis_utils.models.sampler import shipped
    from oasis_utils.widgets.browser_page import SAMPLE_BRAINS, data_of, write_page

    folder = _run_folder(args.run) if args.run else shipped()
    _refuse_results(args.out)
    written = write_page(folder, args.out)
    size = sum(path.stat().st_size for path in written.parent.iterdir())
    print(f"wrote {written} ({size / 1e6:.1f} MB with the files beside it): open it in a browser")
    if data_of(folder) != SAMPLE_BRAINS:
        print(
            "the page holds the models: before you pass it on, check what the agreement on the use"
            " of their data allows"
        )


def readers(args: argparse.Namespace) -> None:
    """Write the page of a reader study, and its key."""
    from oasis_utils.cli.reader_options import PRIORS
    from oasis_utils.data.dataset import open_cache
    from oasis_utils.pipeline.reader_study import key_path, write_study

    folder = _run_folder(args.run)
    if Path(args.out).suffix != ".html":
        raise UsageError(f"--out {args.out} must end in .html")
    for path in (args.out, str(key_path(args.out))):
        _refuse_results(path)
    key = write_study(folder, args.out, PRIORS[args.prior], args.n, args.seed)
    print(f"wrote {args.out}: give it to the readers")
    print(f"wrote {key}, its key: keep it from the readers; `evaluate --answers --key` reads it")
    if not open_cache(folder.data).synthetic:
        print(
            "the page shows decoded slices of people: before you pass it on, check what the"
            " agreement on the use of their data allows"
        )


def _refuse_in_data(source: str | Path, out: str | Path) -> None:
    """DataError for a file to write that is what a command reads, or lies in it."""
    data = Path(source, "data")
    if Path(source).resolve() == Path(out).resolve():
        raise DataError(f"{out} is read by this command: choose another file to write")
    refuse_inside(data if data.is_dir() else Path(source), Path(out))


def _refuse_results(out: str) -> None:
    """DataError for a file to write among those that the series wrote, into any run folder."""
    path = Path(out).resolve()
    for run in map(RunFolder, path.parents):
        is_run = run.checkpoint("vqvae").exists() or run.summary("").parent.is_dir()
        if is_run and any(map(path.is_relative_to, run.products)):
            raise DataError(f"{out} is among the results of the run: choose another file to write")


@contextlib.contextmanager
def _dataset(source: str, config: DataConfig):
    """A prepared folder, the data of a run folder, or a source prepared in a temporary folder."""
    from oasis_utils.data import dataset as data

    for folder in (Path(source), Path(source) / "data"):
        if data.is_cache(folder):
            yield data.open_cache(folder)
            return
    with tempfile.TemporaryDirectory() as folder:
        with Progress("reading slices", 1) as progress:
            dataset = data.build_cache(source, folder, config, progress)
        yield dataset


def _data_of(run: str):
    """The data set of a run; UsageError if the run has none."""
    from oasis_utils.data import dataset as data

    folder = _run_folder(run).data
    if not data.is_cache(folder):
        raise UsageError(
            f"--as-source: {run} has no data, so the orientation of its source is unknown;"
            " leave the option out"
        )
    return data.open_cache(folder)


def _run_folder(path: str) -> RunFolder:
    folder = Path(path).resolve()
    if not folder.is_dir():
        raise UsageError(f"no run folder {folder}: make one with `python -m oasis_utils run`")
    _require_utf8(folder)
    return RunFolder(folder)


def _require_utf8(*paths: Path) -> None:
    """UsageError for a path that notebooks, pages and JSON cannot hold."""
    for path in paths:
        try:
            str(path).encode()
        except UnicodeEncodeError:
            raise UsageError(
                f"the path {path} is not encoded in UTF-8: rename the folder"
            ) from None
