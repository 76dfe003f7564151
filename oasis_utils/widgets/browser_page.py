"""Writes a folder with a page that draws slices in the reader's browser, without a server.

The DCGAN and the VQ-VAE of a run, as an ONNX model, run in ONNX Runtime Web, a copy of which is
among the assets. The page is opened as a file, where a browser loads scripts but fetches nothing:
so model and runtime are scripts that hold compressed data.
"""

from __future__ import annotations

import base64
import gzip
import os
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch

import oasis_utils
from oasis_utils.data.dataset import is_cache, open_cache
from oasis_utils.models.dcgan import DCGAN
from oasis_utils.models.onnx_export import onnx_model
from oasis_utils.models.sampler import BrainSampler, load_sampler
from oasis_utils.models.vqvae import VQVAE
from oasis_utils.runtime import DataError, RunFolder, project_root
from oasis_utils.runtime.files import write_texts
from oasis_utils.widgets.painter import code_pictures

ASSETS = Path(__file__).parent / "assets" / "browser_page"
COPIED = ("ort.wasm-core.min.js", "NOTICE.md")
WRITTEN = ("index.html", "runtime.js", "model.js")
SCRIPTS = ("noise.js", "page.js")
LEAST_NOISE = 16  # numbers; torch makes fewer in another way, which the page does not know
SAMPLE_BRAINS = "synthetic sample brains, made from the Colin27 template"


def write_page(run: RunFolder, folder: str | Path, back: str = "") -> Path:
    """Write the page and all that it needs; an older page there is replaced.

    Args:
        run: Its VQ-VAE and DCGAN draw.
        folder: New, empty, or of an older page. It may be moved or copied as a whole.
        back: Address of a book that the page belongs to; empty: none.

    Returns:
        The path of index.html.

    Raises:
        DataError: The folder holds other files.
        CheckpointError: The run lacks one of the models.
        StorageError: There is no room or no permission; an older page stays as it was.
    """
    folder = Path(folder)
    refuse_others(folder)
    sampler = load_sampler(run, "dcgan", torch.device("cpu"))
    page = page_text(page_settings(sampler, run), data_of(run), back)
    model = gzip.compress(onnx_model(sampler), mtime=0)
    runtime = (ASSETS / "ort-wasm-simd.wasm.gz").read_bytes()
    texts = {
        "index.html": page,
        "model.js": data_script("model", model),
        "runtime.js": data_script("runtime", runtime),
        **{name: _asset(name) for name in COPIED},
    }
    write_texts({folder / name: text for name, text in texts.items()})
    return folder / "index.html"


def refuse_others(folder: Path) -> None:
    """DataError for a path where the page would be mixed with files that are no page's."""
    if not os.path.lexists(folder):
        return
    if not folder.is_dir() or {path.name for path in folder.iterdir()} - {*COPIED, *WRITTEN}:
        raise DataError(
            f"{folder} holds something else than a page: choose a new or an empty folder"
        )


def page_settings(sampler: BrainSampler, run: RunFolder) -> dict[str, Any]:
    """What the script of the page knows of the models.

    Args:
        sampler: A VQ-VAE and a DCGAN.
        run: Where they are from.

    Returns:
        Sizes, ages in years, and the colour of each code as red, green and blue in [0, 255].

    Raises:
        ValueError: The noise of the DCGAN is shorter than `LEAST_NOISE`.
    """
    assert isinstance(sampler.prior, DCGAN)
    config = sampler.prior.config
    if config.noise_size < LEAST_NOISE:
        raise ValueError(
            f"the page cannot make noise of {config.noise_size} numbers: train the DCGAN with"
            f" noise_dim={LEAST_NOISE} or more"
        )
    low, middle, high = (round(config.age_mean + n * config.age_std) for n in (-2, 0, 2))
    return {
        "imageSize": sampler.vqvae.config.image_size,
        "grid": config.grid,
        "positions": config.n_positions,
        "noiseSize": config.noise_size,
        "age": dict(low=max(0, low), middle=middle, high=high) if config.knows_age else None,
        "colours": code_colours(sampler.vqvae),
        "run": name_of(run),
    }


def name_of(run: RunFolder) -> str:
    """The path of a run in the project; RUN for one elsewhere, whose path is nobody's business."""
    if run.root.is_relative_to(project_root()):
        return run.root.relative_to(project_root()).as_posix()
    return "RUN"


def code_colours(vqvae: VQVAE) -> list[list[int]]:
    """The colour of each code as in the index maps of notebook 03: violet for dark codes, yellow
    for bright ones.
    """
    brightness = code_pictures(vqvae).mean((1, 2))
    rank = brightness.argsort(kind="stable").argsort()
    shares = rank / max(1, len(rank) - 1)
    return np.asarray(matplotlib.colormaps["viridis"](shares, bytes=True))[:, :3].tolist()


def data_of(run: RunFolder) -> str:
    """What the models of a run were trained on, in words."""
    if is_cache(run.data):
        dataset = open_cache(run.data)
        return SAMPLE_BRAINS if dataset.synthetic else dataset.description
    return SAMPLE_BRAINS if run.root == project_root() else "not known, the run holds no data"


def data_script(name: str, packed: bytes) -> str:
    """A script that keeps bytes, such as a gzip file, as base64 in `oasisData[name]`."""
    text = base64.b64encode(packed).decode("ascii")
    return f'(window.oasisData ??= {{}}).{name} = "{text}";\n'


def page_text(settings: dict[str, Any], data: str, back: str = "") -> str:
    """The page, with style and script inside.

    Args:
        settings: As from `page_settings`.
        data: What the models were trained on, in words.
        back: Address of a book that the page belongs to; empty: none.

    Returns:
        HTML that loads the other files of its folder and nothing else.
    """
    from jinja2 import Environment

    template = Environment(autoescape=True, trim_blocks=True).from_string(_asset("page.html.j2"))
    return template.render(
        page=settings,
        data=data,
        back=back,
        version=oasis_utils.__version__,
        style=_asset("page.css"),
        script="".join(map(_asset, SCRIPTS)),
    )


def _asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")
