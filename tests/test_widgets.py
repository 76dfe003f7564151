"""The sampling panel: its sliders reach the sampler, its picture and status follow."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from oasis_utils.config import DCGANConfig, PixelCNNConfig, VQVAEConfig
from oasis_utils.dcgan import DCGAN
from oasis_utils.pixelcnn import PixelCNN, SamplingOptions
from oasis_utils.sampling import BrainSampler, image_seeds
from oasis_utils.vqvae import VQVAE
from oasis_utils.widgets import TILE, SamplingPanel, png_sheet


def make_samplers():
    torch.manual_seed(0)
    vqvae = VQVAE(VQVAEConfig(image_size=32, downsampling=8, channels=32, n_codes=16, code_dim=4))
    shape = dict(grid=4, n_codes=16, n_positions=6, channels=8)
    pixelcnn = PixelCNN(PixelCNNConfig(**shape, blocks=2, hidden=16))
    for table in (block.condition for block in pixelcnn.blocks):
        torch.nn.init.normal_(table.weight, std=3.0)  # else an untrained prior hardly heeds the position
    torch.nn.init.normal_(pixelcnn.head[-1].weight)
    dcgan = DCGAN(DCGANConfig(**shape, code_dim=4, noise_dim=4))
    return {"PixelCNN": BrainSampler(vqvae, pixelcnn), "DCGAN": BrainSampler(vqvae, dcgan)}


@pytest.fixture
def panel():
    return SamplingPanel(make_samplers())


def picture(panel):
    return np.asarray(Image.open(io.BytesIO(panel.picture.value)))


# ---------------------------------------------------------------- sheet


@pytest.mark.parametrize(("n", "columns", "size"), [(1, 4, (1, 1)), (3, 4, (3, 1)), (4, 4, (4, 1)),
                                                    (5, 4, (4, 2)), (8, 4, (4, 2)), (5, 2, (2, 3))])
def test_sheet_size(n, columns, size):
    sheet = Image.open(io.BytesIO(png_sheet(np.zeros((n, 16, 16), np.uint8), columns, tile=20)))
    assert sheet.format == "PNG" and sheet.mode == "L"
    assert sheet.size == (20 * size[0], 20 * size[1])


def test_sheet_is_filled_row_by_row():
    images = np.repeat(np.arange(10, 60, 10, dtype=np.uint8), 64).reshape(5, 8, 8)
    sheet = np.asarray(Image.open(io.BytesIO(png_sheet(images, 2, tile=8))))
    assert sheet[4::8, 4::8].tolist() == [[10, 20], [30, 40], [50, 0]]


def test_tile_of_the_same_size_is_the_picture_itself():
    image = np.random.default_rng(0).integers(0, 256, (1, 16, 16), dtype=np.uint8)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(png_sheet(image, tile=16)))), image[0])


# ---------------------------------------------------------------- panel


def test_panel_shows_slices_at_once(panel):
    assert picture(panel).shape == (TILE, 4 * TILE)
    assert panel.status.value.startswith("4 slices in ")
    assert {panel.picture, panel.status, *panel.controls} <= set(leaves(panel.widget))


def leaves(widget):
    for child in getattr(widget, "children", ()):
        yield child
        yield from leaves(child)


def test_picture_is_what_the_sampler_draws(panel):
    panel.position.value, panel.seed.value, panel.count.value = 5, 7, 2
    panel.temperature.value, panel.top_k.value, panel.top_p.value = 0.8, 9, 0.9
    options = SamplingOptions(temperature=0.8, top_k=9, top_p=0.9)
    samples = make_samplers()["PixelCNN"].sample(np.full(2, 5), image_seeds(7, 2), options)
    assert np.array_equal(picture(panel), np.asarray(Image.open(io.BytesIO(png_sheet(samples.images)))))


@pytest.mark.parametrize(("control", "value"), [
    ("position", 0), ("temperature", 0.0), ("top_k", 1), ("top_p", 0.05), ("seed", 1), ("count", 2),
    ("prior", "DCGAN")])
def test_every_slider_changes_the_picture(panel, control, value):
    before = panel.picture.value
    getattr(panel, control).value = value
    assert panel.picture.value != before


def test_slider_and_back_gives_the_same_picture(panel):
    before = panel.picture.value
    panel.seed.value = 5
    panel.seed.value = 0
    assert panel.picture.value == before


def test_status_says_how_many(panel):
    panel.count.value = 7
    assert panel.status.value.startswith("7 slices in ") and picture(panel).shape == (2 * TILE, 4 * TILE)


def test_more_images_leave_the_first_ones_alone(panel):
    two = None
    for count in (2, 3):
        panel.count.value = count
        two = picture(panel)[:, :2 * TILE] if two is None else two
    assert np.abs(picture(panel)[:, :2 * TILE].astype(int) - two).max() <= 1


def test_dcgan_switches_off_what_it_ignores(panel):
    ignored = (panel.temperature, panel.top_k, panel.top_p)
    assert not any(control.disabled for control in ignored)
    panel.prior.value = "DCGAN"
    assert all(control.disabled for control in ignored)
    assert not any(control.disabled for control in (panel.position, panel.seed, panel.count, panel.prior))
    panel.prior.value = "PixelCNN"
    assert not any(control.disabled for control in ignored)


def test_dcgan_draws_whatever_the_sliders_of_the_pixelcnn_say(panel):
    panel.temperature.value = 0.3
    panel.prior.value = "DCGAN"
    samples = make_samplers()["DCGAN"].sample(np.full(4, 3), image_seeds(0, 4))
    assert np.array_equal(picture(panel), np.asarray(Image.open(io.BytesIO(png_sheet(samples.images)))))


def test_sliders_end_where_the_models_do(panel):
    assert (panel.position.min, panel.position.max) == (0, 5)
    assert panel.top_k.max == 16
    for control in (panel.position, panel.temperature, panel.top_k, panel.top_p, panel.seed, panel.count):
        for end in (control.min, control.max):
            control.value = end
            assert picture(panel).any()


def test_one_prior_is_enough():
    dcgan = make_samplers()["DCGAN"]
    panel = SamplingPanel({"DCGAN": dcgan})
    assert panel.temperature.disabled and picture(panel).shape == (TILE, 4 * TILE)
