"""The code finder: a chosen cell or number highlights the cells of its code, and those only."""

import io

import numpy as np
import pytest
from PIL import Image

from oasis_utils.widgets.code_finder import CODE_SIDE, TILE, CodeFinder
from oasis_utils.widgets.controls import png_sheet

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (3, 16, 16), dtype=np.uint8)
MAPS = RNG.integers(0, 6, (3, 4, 4))
PICTURES = np.arange(8, dtype=np.uint8)[::-1, None, None].repeat(4, 1).repeat(4, 2) * 30
COUNTS = np.bincount(MAPS.flatten(), minlength=8)


@pytest.fixture
def finder():
    return CodeFinder(IMAGES, MAPS, PICTURES, COUNTS, ["a", "b", "c"])


def tinted(finder):
    """(3, 4, 4): cells of the sheet that are not grey."""
    sheet = np.asarray(Image.open(io.BytesIO(finder.found.value))).astype(int)
    colour = np.ptp(sheet, axis=2) > 0
    return colour.reshape(4, TILE // 4, 3, 4, TILE // 4).any((1, 4)).transpose(1, 0, 2)


@pytest.mark.parametrize("code", [0, 3, 7])
def test_the_number_box_highlights_all_cells_of_the_code(finder, code):
    finder.code.value = code
    assert np.array_equal(tinted(finder), code == MAPS)
    assert finder.drawn.value == png_sheet(PICTURES[code : code + 1], tile=CODE_SIDE)
    share = f"{COUNTS[code] / COUNTS.sum():.2%} of all cells"
    assert finder.text[1].value == (share if COUNTS[code] else "not used in any cell")
    assert finder.text[3].value.startswith(f"{(code == MAPS).sum()} cells, in ")


def test_a_cell_of_map_or_slice_gives_its_code(finder):
    for grid, row, col in ((finder.map, 0, 3), (finder.brain, 3, 1)):
        grid.row, grid.col = row, col
        assert finder.code.value == MAPS[0, row, col]
        assert np.array_equal(tinted(finder), finder.code.value == MAPS)


def test_another_slice_shows_its_map_and_the_code_of_its_cell(finder):
    before = finder.map.picture, finder.brain.picture
    finder.slice.value = 2
    assert finder.map.picture != before[0] and finder.brain.picture != before[1]
    assert finder.code.value == MAPS[2, 2, 2]


def test_colours_are_from_dark_to_bright(finder):
    assert finder.rank.tolist() == list(range(8))[::-1]


def test_slices_without_maps_are_refused():
    with pytest.raises(ValueError, match="one index map"):
        CodeFinder(IMAGES, MAPS[:2], PICTURES, COUNTS)
