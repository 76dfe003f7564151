"""Diagrams of built models: every shape is there, and every text can be read."""

import functools
import io
import itertools

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.patches import FancyBboxPatch, Polygon
from matplotlib.text import Text

from oasis_utils import models, plotting
from oasis_utils.config import PROFILES, DCGANConfig, PixelCNNConfig, VQVAEConfig
from oasis_utils.plotting import diagrams
from oasis_utils.plotting.diagrams.canvas import Canvas

pytestmark = pytest.mark.usefixtures("shared_style")

AGES = dict(age_mean=50.0, age_std=20.0)
WIDE = dict(image_size=256, channels=1024, residual_blocks=1, n_codes=65536, code_dim=16)
VQVAES = {
    **{name: PROFILES[name].vqvae for name in PROFILES},
    **{f"factor {f}": VQVAEConfig(downsampling=f) for f in (4, 8, 16)},
    "factor 16, 256 pixels": VQVAEConfig(image_size=256, downsampling=16, channels=192),
    "published": VQVAEConfig(
        codebook="gradient", kmeans=False, revive_below=0.0, pixel_loss="mse", ssim_weight=0.0
    ),
    "no residuals": VQVAEConfig(residual_blocks=0, gradient="rotation", adversarial_weight=0.1),
    "odd weights": VQVAEConfig(ssim_weight=0.125, commitment=0.125, adversarial_weight=0.1),
    "wide": VQVAEConfig(downsampling=8, **WIDE),
}
SMALL_GAN = dict(channels=8, noise_dim=16)
DCGANS = {
    **{name: PROFILES[name].dcgan for name in PROFILES},
    "blank": DCGANConfig(start="blank", **SMALL_GAN),
    "index": DCGANConfig(space="index", loss="bce", spatial_noise=1, **SMALL_GAN),
    "ages": DCGANConfig(spatial_noise=2, commitment=0.0, **SMALL_GAN, **AGES),
}
PIXELCNNS = {
    **{name: PROFILES[name].pixelcnn for name in PROFILES},
    "one block": PixelCNNConfig(blocks=1),
    "two blocks": PixelCNNConfig(blocks=2),
    "all conditions": PixelCNNConfig(layout=8, **AGES),
}
STAGES = ("data", "vqvae", "codebook", "dcgan", "pixelcnn", "generation", "evaluation")
SLICE, MAP = np.linspace(0, 1, 1024).reshape(32, 32), np.arange(64).reshape(8, 8)
CODES = np.array([[0.0, 0.0], [1.0, 0.2], [-1.0, 0.4], [0.3, -1.0], [0.2, 1.1]])


@functools.cache
def blocks_of(kind, config):
    with torch.random.fork_rng():
        return models.block_shapes(kind(config))


@functools.cache
def seen_by(config):
    with torch.random.fork_rng():
        model, middle = models.PixelCNN(config), config.grid // 2
    cells = [[k.numpy() for k in models.receptive_field.kernel_cells(b)] for b in model.blocks]
    named = {"first block": tuple(cells[0]), "later blocks": tuple(cells[-1])}
    fields = models.receptive_field.fields_by_block(model, middle, middle).numpy()
    return named, fields, (middle, middle)


def kernels(config):
    return diagrams.masked_kernels(*seen_by(config), "title")


def network(kind, draw, config):
    return draw(blocks_of(kind, config), config, title="title")


def vqvae(name):
    return network(models.VQVAE, diagrams.vqvae, VQVAES[name])


def dcgan(name):
    return network(models.DCGAN, diagrams.dcgan, DCGANS[name])


def pixelcnn(name):
    return network(models.PixelCNN, diagrams.pixelcnn, PIXELCNNS[name])


def pipeline(pictures):
    numbers = {stage: f"0{i}" for i, stage in enumerate(STAGES, start=1)}
    return diagrams.pipeline(numbers, pictures, "title")


FIGURES = {
    **{f"vqvae {name}": lambda name=name: vqvae(name) for name in VQVAES},
    **{f"dcgan {name}": lambda name=name: dcgan(name) for name in DCGANS},
    **{f"pixelcnn {name}": lambda name=name: pixelcnn(name) for name in PIXELCNNS},
    **{f"kernels {name}": lambda name=name: kernels(PIXELCNNS[name]) for name in PIXELCNNS},
    "pipeline": lambda: pipeline(None),
    "pipeline slice": lambda: pipeline({"slice": SLICE}),
    "membership": lambda: diagrams.membership_attack({"person": SLICE}, "title"),
    "gradient": lambda: diagrams.gradient_route(
        np.array([0.3, 0.1]), CODES, np.array([0.2, 0.4]), np.array([0.3, 0.3]), "title"
    ),
}


def texts(figure):
    """The visible texts of a figure, drawn."""
    figure.canvas.draw()
    return [t for t in figure.findobj(Text) if t.get_text().strip() and t.get_visible()]


def extents(figure):
    """{text: its box in pixels}."""
    return {
        f"{i} {text.get_text()}": text.get_window_extent() for i, text in enumerate(texts(figure))
    }


def overlaps(a, b, slack=0.5):
    return min(a.x1, b.x1) - max(a.x0, b.x0) > slack and min(a.y1, b.y1) - max(a.y0, b.y0) > slack


@pytest.mark.parametrize("name", FIGURES)
def test_every_text_can_be_read(name):
    figure = FIGURES[name]()
    assert figure.get_figwidth() <= 10
    assert all(text.get_fontsize() >= 8 for text in texts(figure))
    boxes, page = extents(figure), figure.bbox
    outside = [
        words
        for words, box in boxes.items()
        if box.x0 < 0 or box.y0 < 0 or box.x1 > page.x1 or box.y1 > page.y1
    ]
    assert not outside
    touching = [
        (a, b)
        for (a, first), (b, second) in itertools.combinations(boxes.items(), 2)
        if overlaps(first, second)
    ]
    assert not touching


@pytest.mark.parametrize("name", FIGURES)
def test_words_stay_within_their_boxes(name):
    figure = FIGURES[name]()
    found = extents(figure)
    patches = [p.get_window_extent() for p in figure.findobj(FancyBboxPatch)]
    for words, text in found.items():
        x, y = (text.x0 + text.x1) / 2, (text.y0 + text.y1) / 2
        around = [p for p in patches if p.x0 < x < p.x1 and p.y0 < y < p.y1]
        if around:
            box = min(around, key=lambda p: p.width * p.height)
            assert box.x0 <= text.x0 and text.x1 <= box.x1, words
            assert box.y0 <= text.y0 and text.y1 <= box.y1, words


CASES = {
    **{f"vqvae {name}": (models.VQVAE, VQVAES[name]) for name in VQVAES if name != "wide"},
    **{f"dcgan {name}": (models.DCGAN, DCGANS[name]) for name in DCGANS},
    **{f"pixelcnn {name}": (models.PixelCNN, PIXELCNNS[name]) for name in PIXELCNNS},
}


@pytest.mark.parametrize("name", CASES)
def test_every_shape_is_shown(name):
    kind, config = CASES[name]
    blocks = blocks_of(kind, config)
    if kind is models.VQVAE:  # the patch discriminator is not drawn
        blocks = [block for block in blocks if block.part != "discriminator"]
    shown = "\n".join(text.get_text() for text in texts(FIGURES[name]()))
    for block in blocks:
        assert diagrams.shape_text(block.shape) in shown.replace("(", "\n").replace(")", "\n")


def test_the_gradient_and_the_losses_are_those_of_the_configuration():
    words = "\n".join(text.get_text() for text in texts(vqvae("published")))
    assert "straight-through" in words and "squared error" in words and "SSIM" not in words
    words = "\n".join(text.get_text() for text in texts(vqvae("odd weights")))
    assert "0.125 (1 − SSIM)" in words and "0.125 ‖z − sg[e]‖²" in words
    assert "rotation" in "\n".join(text.get_text() for text in texts(vqvae("no residuals")))


def test_the_gradient_of_a_vqvae_goes_to_the_codes_and_from_there_to_the_latents(monkeypatch):
    ways = []
    monkeypatch.setattr(Canvas, "gradient", lambda _, points: ways.append(points))
    faces = np.array([face.get_xy()[:4] for face in vqvae("demo").findobj(Polygon)])
    to_codes, around, from_latents = ways

    def touches(point, solid):
        """Whether a point lies in the box of a solid, with 0.05 inches to spare."""
        low, high = solid.min((0, 1)) - 0.05, solid.max((0, 1)) + 0.05
        return (low <= point).all() and (point <= high).all()

    last = faces[faces[:, :, 0].min(1) > 6.5]  # the solids of the last column
    upper = last[:, :, 1].mean(1) > 2.75
    latents, codes = last[upper], last[~upper]
    assert touches(to_codes[-1], codes) and touches(around[0], codes)
    assert touches(around[-1], latents) and touches(from_latents[0], latents)


def test_equal_blocks_are_drawn_once_with_their_number():
    words = {text.get_text() for text in texts(pixelcnn("demo"))}
    assert {"first gated block", "gated block ×5"} <= words


def images_of(figure):
    return [image.get_array() for ax in figure.axes for image in ax.images]


def test_given_pictures_are_shown():
    config = VQVAEConfig(image_size=32, channels=32, n_codes=8)
    blocks = blocks_of(models.VQVAE, config)
    pictures = {"slice": SLICE, "reconstruction": SLICE[::-1], "index map": MAP}
    shown = images_of(diagrams.vqvae(blocks, config, pictures))
    for picture in pictures.values():
        assert any(np.array_equal(image, picture) for image in shown)
    slices = {"slice": SLICE, "generated slice": SLICE[::-1]}
    maps = {"index map": MAP, "generated map": MAP[::-1]}
    assert len(images_of(pipeline(slices | maps))) == 4
    assert not images_of(pipeline(None))


def test_the_pipeline_names_the_notebooks_and_refuses_unknown_stages():
    words = {text.get_text() for text in texts(pipeline(None))}
    assert {f"notebook 0{i}" for i in range(1, 8)} <= words
    series = {text.get_text() for text in texts(diagrams.pipeline())}
    assert {"notebook 01", "notebook 05", "notebooks 02, 07"} <= series
    with pytest.raises(ValueError, match="unknown stages"):
        diagrams.pipeline({"training": "02"})


def test_the_attack_shows_the_slices_that_it_is_given():
    pictures = {"training": SLICE, "sample": SLICE[::-1], "person": SLICE[:, ::-1]}
    shown = images_of(diagrams.membership_attack(pictures))
    assert len(shown) == 3 and not images_of(diagrams.membership_attack())
    assert all(any(np.array_equal(x, p) for x in shown) for p in pictures.values())


def test_kernels_and_fields_are_shown_as_given():
    kernel = np.eye(3, dtype=bool)
    fields = np.zeros((2, 5, 5), dtype=bool)
    fields[0, 1, 2] = fields[1, 1, 2] = fields[1, 0, 2] = True
    figure = diagrams.masked_kernels({"first block": (kernel, ~kernel)}, fields, (2, 2))
    first, second, one, two, *_ = images_of(figure)
    assert np.array_equal(first, kernel) and np.array_equal(second, ~kernel)
    assert one[1, 2] == 2 and one[2, 2] == 3  # new, the cell
    assert two[1, 2] == 1 and two[0, 2] == 2 and (two == 0).sum() == 22
    words = {text.get_text() for text in texts(figure)}
    assert {"1 cell", "2 cells", "horizontal stack"} <= words


def test_a_deep_network_shows_its_first_and_last_field():
    words = {text.get_text() for text in texts(kernels(PROFILES["full"].pixelcnn))}
    assert {"after block 1", "after block 12"} <= words
    assert sum(word.startswith("after block") for word in words) == 6


def test_the_arrow_of_the_gradient_is_copied_from_the_nearest_code():
    latent, step = np.array([0.3, 0.1]), np.array([0.2, 0.4])
    ax = diagrams.gradient_route(latent, CODES, step).axes[0]
    arrows = [(a.xyann, a.xy) for a in ax.texts if getattr(a, "arrow_patch", None) is not None]
    to_code, at_code, at_latent = (np.array(arrow) for arrow in arrows)
    assert np.allclose(to_code, [latent, CODES[0]])
    assert np.allclose(at_code, [CODES[0], CODES[0] + step])
    assert np.allclose(at_latent, [latent, latent + step])


def test_a_part_that_is_missing_is_named():
    config = PIXELCNNS["one block"]
    blocks = blocks_of(models.PixelCNN, config)
    with pytest.raises(ValueError, match="no block of the part encoder"):
        diagrams.vqvae(blocks, VQVAEConfig())


def test_a_tight_picture_in_the_style_of_the_notebooks_warns_of_nothing():
    """As the inline display of a notebook makes it."""
    with plt.style.context(plotting.STYLE):
        figure = diagrams.gradient_route(
            np.array([0.8, 0.3]), np.eye(2), np.array([0.2, 0.4]), np.array([0.2, 0.4]), "Title"
        )
        for _ in range(2):
            figure.canvas.print_figure(io.BytesIO(), bbox_inches="tight")
        page = diagrams.pipeline({"data": "01", "vqvae": "02"})
        for _ in range(2):
            page.canvas.print_figure(io.BytesIO(), bbox_inches="tight")
