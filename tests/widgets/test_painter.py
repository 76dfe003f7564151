"""The painter: a selected cell takes the chosen code, the slice follows, steps can be undone."""

import io

import numpy as np
import pytest
from PIL import Image

from oasis_utils.models.samples import image_seeds
from oasis_utils.widgets.controls import png_sheet
from oasis_utils.widgets.painter import PICTURE_SIDE, PainterPanel, code_pictures, coloured


@pytest.fixture
def painter(samplers, tmp_path):
    panel = PainterPanel(samplers, tmp_path)
    panel.redraw()
    panel.output.wait()
    return panel


def choose(panel, row, col, rank):
    panel.map.row, panel.map.col = row, col
    panel.palette.row, panel.palette.col = divmod(rank, panel.palette.cols)
    panel.palette.chosen += 1


def test_painting_changes_the_chosen_cell_only(painter, samplers):
    before = painter.maps.copy()
    rank = 15 if painter.order[15] != before[0, 1, 2] else 14
    choose(painter, 1, 2, rank)
    assert np.argwhere(painter.maps != before).tolist() == [[0, 1, 2]]
    assert painter.maps[0, 1, 2] == painter.order[rank]
    images = samplers["PixelCNN"].decode(painter.maps)
    assert painter.brain.picture == png_sheet(images, tile=PICTURE_SIDE)
    assert np.array_equal(painter.output.drawing.samples.images, images)
    assert painter.output.status.value == "cells painted: 1"


def test_every_step_can_be_undone(painter):
    before, pictures = painter.maps.copy(), (painter.map.picture, painter.brain.picture)
    for rank in range(5):
        choose(painter, rank % 4, 0, rank)
    painter.undo.click()
    assert len(painter.history) == 4
    painter.clear.click()
    assert (
        np.array_equal(painter.maps, before)
        and (painter.map.picture, painter.brain.picture) == pictures
    )
    painter.undo.click()  # nothing left: stays as it is
    assert np.array_equal(painter.maps, before)


def test_selecting_a_cell_marks_its_code(painter):
    for row, col in ((0, 0), (3, 1)):
        painter.brain.row, painter.brain.col = row, col
        assert (painter.map.row, painter.map.col) == (row, col)
        rank = painter.palette.row * painter.palette.cols + painter.palette.col
        assert painter.order[rank] == painter.maps[0, row, col]
        assert painter.palette.caption == f"code {painter.maps[0, row, col]}"


def test_a_new_drawing_starts_without_history(painter, samplers):
    choose(painter, 0, 0, 3)
    painter.seed.value = 4
    painter.output.wait()
    assert painter.history == []
    assert np.array_equal(painter.maps, samplers["PixelCNN"].draw(np.array([3]), image_seeds(4, 1)))


def test_codes_are_ordered_from_dark_to_bright(painter, samplers):
    pictures = code_pictures(samplers["PixelCNN"].vqvae)
    assert pictures.shape == (16, 8, 8) and pictures.dtype == np.uint8
    assert (np.diff(pictures[painter.order].mean((1, 2))) >= 0).all()


def test_cells_without_a_code_paint_nothing(painter):
    before = painter.maps.copy()
    painter.order = painter.order[:10]  # a palette whose last row is not full
    choose(painter, 0, 0, 11)
    assert np.array_equal(painter.maps, before) and painter.palette.caption == "no code here"


def test_colours_follow_the_rank():
    shown = np.asarray(Image.open(io.BytesIO(coloured(np.array([[0, 15]]), 16))))
    assert shown[0, 0].tolist() == [68, 1, 84] and shown[0, -1].tolist() == [
        253,
        231,
        36,
    ]  # the ends of viridis
