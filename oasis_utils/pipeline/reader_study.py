"""Writes a blinded reader study: one HTML page of pairs, and the answer key beside it.

Readers say which slice of a pair is generated (two-alternative forced choice). The other one is a
held-out real slice that was encoded and decoded, so that the decoder's blur is no clue.
"""

from __future__ import annotations

import base64
import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image

import oasis_utils
from oasis_utils.config import digest
from oasis_utils.data.dataset import Dataset, Split, open_cache
from oasis_utils.models.checkpoints import load_model
from oasis_utils.models.codes import decode_maps, encode_images
from oasis_utils.models.samples import Samples
from oasis_utils.models.vqvae import VQVAE
from oasis_utils.pipeline.reader_pairs import Pair, chosen_pairs
from oasis_utils.runtime import DataError, RunFolder, read_json
from oasis_utils.runtime.files import json_text, write_texts
from oasis_utils.runtime.report import KeyedTrial, ReaderKey, plain
from oasis_utils.runtime.report.readers import KEY

ASSETS = Path(__file__).parent / "assets" / "reader_study"
CPU = torch.device("cpu")
MOST_GREY_LEVELS = 2.0  # mean difference of two decodings of one map, on other devices


def key_path(page: str | Path) -> Path:
    """Where the key of a page is written: trials.key.json beside trials.html."""
    return Path(page).with_suffix(".key.json")


def write_study(
    run: RunFolder, page: str | Path, priors: tuple[str, ...], n: int, seed: int
) -> Path:
    """Write the page and its key.

    Args:
        run: A run with data, a VQ-VAE and the samples of notebook 07.
        page: The HTML file; the key goes to `key_path(page)`.
        priors: Whose samples are shown, such as ("pixelcnn", "dcgan").
        n: Pairs of each prior.
        seed: Decides pairs, order and sides.

    Returns:
        The path of the key.

    Raises:
        FileNotFoundError: The run has no samples of a prior.
        CheckpointError: The run has no VQ-VAE.
        DataError: The run has no data, too few slices, or samples of another VQ-VAE; or the key of
            another study would be lost.
    """
    dataset, rng = open_cache(run.data), np.random.default_rng(seed)
    vqvae, _ = load_model(run.checkpoint("vqvae"), VQVAE, CPU)
    vqvae.eval()
    samples = {name: run_samples(run, name, vqvae) for name in priors}
    test = dataset.split("test")
    pairs = chosen_pairs(test, samples, n, rng)
    generated_left = rng.random(len(pairs)) < 0.5
    names = [f"{value:08x}" for value in rng.choice(2**32, len(pairs), replace=False)]
    pictures = pair_pictures(vqvae, pairs, test, samples)
    trials = [
        {"trial": name, "left": png(sides[0]), "right": png(sides[1])}
        for name, sides in zip(
            names,
            np.where(generated_left[:, None, None, None], pictures, pictures[:, ::-1]),
            strict=True,
        )
    ]
    key = ReaderKey(
        schema=KEY,
        version=1,
        study=digest(trials),
        data=dataset.description,
        seed=seed,
        trials=[
            keyed(name, pair, "left" if left else "right", test)
            for name, pair, left in zip(names, pairs, generated_left, strict=True)
        ],
    )
    refuse_other_key(key_path(page), key.study)
    text = page_text({"study": key.study, "trials": trials}, dataset)
    write_texts({page: text, key_path(page): json_text(plain(key))})
    return key_path(page)


def run_samples(run: RunFolder, prior: str, vqvae: VQVAE) -> Samples:
    """The samples of a prior in a run.

    Args:
        run: Notebook 07 has written its samples.
        prior: Its name.
        vqvae: The decoder of the run.

    Returns:
        The samples.

    Raises:
        FileNotFoundError: There are none.
        DataError: The file is damaged, or its slices were decoded by another VQ-VAE.
    """
    path = run.require(run.samples(prior), "07_generation")
    samples, grid = Samples.load(path), vqvae.config.grid
    n = len(samples.positions)
    fits = samples.indices.shape == (n, grid, grid) and samples.images.shape[:1] == (n,) and n > 0
    known = fits and 0 <= samples.indices.min() <= samples.indices.max() < vqvae.config.n_codes
    if known:
        some = slice(0, 8)
        again = decode_maps(vqvae, samples.indices[some])
        known = again.shape == samples.images[some].shape and (
            np.abs(again.astype(float) - samples.images[some]).mean() <= MOST_GREY_LEVELS
        )
    if not known:
        raise DataError(
            f"{path} does not hold slices that the VQ-VAE of this run decodes: run notebook"
            " 07_generation again"
        )
    return samples


def pair_pictures(
    vqvae: VQVAE, pairs: list[Pair], test: Split, samples: dict[str, Samples]
) -> UInt8[np.ndarray, "n 2 height width"]:
    """The generated and the decoded real slice of each pair, both by the same decoder.

    Args:
        vqvae: Encodes and decodes.
        pairs: Which slices.
        test: The real slices.
        samples: {prior: its slices}.

    Returns:
        Grey levels; generated slices first.
    """
    maps = np.stack([samples[pair.prior].indices[pair.sample] for pair in pairs])
    real = np.stack([test.images[pair.row] for pair in pairs])
    return np.stack(
        [decode_maps(vqvae, maps), decode_maps(vqvae, encode_images(vqvae, real, CPU))], axis=1
    )


def keyed(name: str, pair: Pair, generated: Any, test: Split) -> KeyedTrial:
    """The entry of a pair in the key.

    Args:
        name: Of the trial.
        pair: Its slices.
        generated: "left" or "right".
        test: The real slices.
    """
    age = float(test.ages[pair.row])
    return KeyedTrial(
        trial=name,
        prior=pair.prior,
        generated=generated,
        subject=int(test.subjects[pair.row]),
        position=int(test.positions[pair.row]),
        age=round(age, 2) if math.isfinite(age) else None,
        sample=pair.sample,
    )


def png(image: UInt8[np.ndarray, "height width"]) -> str:
    """A slice as the data URL of a grey PNG without any text in it."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def refuse_other_key(path: Path, study: str) -> None:
    """DataError if there is a key of another study, whose answers may not have been read yet."""
    if not path.exists():
        return
    found = read_json(path)
    if not isinstance(found, dict) or found.get("study") != study:
        raise DataError(
            f"{path} is of another study, whose answers may not have been read yet: choose another"
            " --out, or move that file away"
        )


def page_text(study: dict[str, Any], dataset: Dataset) -> str:
    """The page, with style, script and pictures inside.

    Args:
        study: Its id and the trials, without answers.
        dataset: Where the real slices are from.

    Returns:
        HTML that loads nothing from elsewhere.
    """
    from jinja2 import Environment

    def asset(name: str) -> str:
        return (ASSETS / name).read_text(encoding="utf-8")

    template = Environment(autoescape=True, trim_blocks=True).from_string(asset("page.html.j2"))
    return template.render(
        study=study,
        n=len(study["trials"]),
        data=dataset.description,
        synthetic=dataset.synthetic,
        side=dataset.manifest["config"]["image_size"],
        version=oasis_utils.__version__,
        style=asset("page.css"),
        script=asset("page.js"),
    )
