"""Real slices: the nearest position of the chosen subject, with its own index map."""

import io

import numpy as np
import pytest
from PIL import Image

from oasis_utils.data.dataset import Split
from oasis_utils.widgets.controls import TILE
from oasis_utils.widgets.panels import Explorer, SamplingPanel
from oasis_utils.widgets.real_slices import RealSlice

POSITIONS = np.array([0, 2, 4, 0, 2, 4])


@pytest.fixture
def split():
    images = np.random.default_rng(0).integers(0, 256, (6, 32, 32), dtype=np.uint8)
    ages = np.full(6, np.nan, np.float32)
    return Split("test", images, np.array([7, 7, 7, 9, 9, 9]), POSITIONS, ages)


@pytest.fixture
def real(split, samplers):
    return RealSlice(split, samplers["PixelCNN"], "sample brains")


def test_the_slice_of_the_nearest_position_is_shown(real, split):
    real.show(5)
    assert real.text.value.startswith("subject 7, position 4:")
    sheet = np.asarray(Image.open(io.BytesIO(real.picture.value)))
    assert sheet.shape == (TILE, 3 * TILE, 3)
    small = Image.fromarray(sheet[:, :TILE, 0]).resize((32, 32), Image.Resampling.BOX)
    assert np.corrcoef(np.asarray(small).flat, split.images[2].flat)[0, 1] > 0.9
    assert real.note.value == "Real slices: test split, sample brains"


def test_another_subject_changes_the_picture(real):
    real.show(0)
    before = real.picture.value
    real.person.value = 1
    assert real.picture.value != before and real.text.value.startswith("subject 9, position 0:")


def test_it_follows_the_position_of_the_panel(real, samplers, tmp_path):
    panel = SamplingPanel(samplers, tmp_path, real)
    panel.position.value = 0
    panel.output.wait()
    assert real.text.value.startswith("subject 7, position 0:")


def test_it_is_there_only_with_data(split, samplers, tmp_path):
    assert Explorer(samplers, tmp_path).panels["Sample"].real is None
    assert Explorer(samplers, tmp_path, split, "data").panels["Sample"].real is not None
