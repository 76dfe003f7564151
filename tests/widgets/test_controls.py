"""Parts of the panels: the sheet of slices, and the output area, which draws in the background."""

import io
import threading

import numpy as np
import pytest
import torch
from PIL import Image

from oasis_utils.models.samples import Samples
from oasis_utils.widgets import controls as widgets
from oasis_utils.widgets.controls import (
    TILE,
    OutputArea,
    RenderedImages,
    black_below,
    choice,
    chosen,
    png_sheet,
    sheet_of,
)


def pixels(png):
    return np.asarray(Image.open(io.BytesIO(png)))


# ---------------------------------------------------------------- sheet


@pytest.mark.parametrize(
    ("n", "columns", "size"),
    [
        (1, 4, (1, 1)),
        (3, 4, (3, 1)),
        (4, 4, (4, 1)),
        (5, 4, (4, 2)),
        (8, 4, (4, 2)),
        (5, 2, (2, 3)),
    ],
)
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


def test_more_than_eight_slices_are_shown_half_as_large():
    images = np.zeros((9, 16, 16), np.uint8)
    assert pixels(sheet_of(images[:8])).shape == (2 * TILE, 4 * TILE)
    assert pixels(sheet_of(images)).shape == (TILE, 4 * TILE)


def test_what_is_not_drawn_yet_is_black():
    images = black_below(np.full((2, 16, 16), 9, np.uint8), 0.25)
    assert (images[:, :4] == 9).all() and not images[:, 4:].any()


# ---------------------------------------------------------------- controls


def test_the_chosen_option_is_read_and_none_is_refused():
    buttons = choice("prior", ["PixelCNN", "DCGAN"])
    assert chosen(buttons) == "PixelCNN"
    buttons.value = None
    with pytest.raises(TypeError, match="nothing is chosen as prior"):
        chosen(buttons)


# ---------------------------------------------------------------- output area


@pytest.fixture
def output(tmp_path):
    return OutputArea(tmp_path / "saved")


def shown_of(sampler, name="some"):
    maps = np.zeros((2, 4, 4), np.int64)
    samples = Samples(sampler.decode(maps), maps, np.array([1, 2]))
    return RenderedImages(samples, name, png_sheet(samples.images))


def test_saved_files_hold_what_is_shown(output, samplers):
    shown = shown_of(samplers["DCGAN"])
    output.run(lambda on_row: shown, samplers["DCGAN"], 2)
    output.wait()
    output.save.click()
    assert (output.folder / "some.png").read_bytes() == shown.sheet == output.picture.value
    again = Samples.load(output.folder / "some.npz")
    assert np.array_equal(again.images, shown.samples.images) and np.array_equal(
        again.positions, [1, 2]
    )
    assert output.status.value == f"saved some.png and .npz in {output.folder}"


def test_nothing_is_saved_before_the_first_drawing(output):
    output.save.click()
    assert not output.folder.exists()


def test_rows_are_shown_as_they_come_and_cancel_keeps_the_last(output, samplers, monkeypatch):
    monkeypatch.setattr(widgets, "PREVIEW_INTERVAL", -1.0)
    sampler, first_row, go_on = samplers["PixelCNN"], threading.Event(), threading.Event()

    def draw(on_row):
        for row in range(4):
            on_row(row, torch.zeros(2, 4, 4, dtype=torch.long))
            first_row.set()
            assert go_on.wait(5)
        raise AssertionError("was to be cancelled")

    output.run(draw, sampler, 2)
    assert first_row.wait(5)
    assert output.status.value == "row 1 of 4 …" and not output.cancel.disabled
    drawn = pixels(output.picture.value)
    assert (
        drawn[: TILE // 4 - 8].any() and not drawn[TILE // 4 + 8 :].any()
    )  # the border is smoothed
    output.cancel.click()
    go_on.set()
    output.wait()
    assert output.status.value == "cancelled" and output.cancel.disabled
    assert np.array_equal(pixels(output.picture.value), drawn) and output.drawing is None


def test_an_error_is_reported_and_the_next_drawing_works(output, samplers):
    def fail(on_row):
        raise ValueError("no such age")

    output.run(fail, samplers["DCGAN"], 1)
    output.wait()
    assert output.status.value == "could not draw: no such age"
    output.run(lambda on_row: shown_of(samplers["DCGAN"]), samplers["DCGAN"], 2)
    output.wait()
    assert output.status.value.startswith("2 slices in ")
