"""The square window around the training heads."""

import numpy as np
import pytest
from slice_files import disc

from oasis_utils.config import DataConfig
from oasis_utils.data.grey_levels import FOREGROUND, foreground
from oasis_utils.data.resize import Window, fit_window
from oasis_utils.runtime import DataError
from oasis_utils.runtime.symmetry import Symmetry

CONFIG = DataConfig(image_size=32)


def window(train, config=CONFIG, axis=None):
    return fit_window(foreground(train).sum(0), len(train), config, Symmetry(axis))


def test_window_holds_all_brains_with_a_margin():
    train = np.stack([disc(200, 30, centre=(80, 90)), disc(200, 20, centre=(110, 120))])
    top, left, side = window(train, DataConfig(image_size=32, crop_margin=0.1))
    cut = train[:, top : top + side, left : left + side]
    assert cut.sum() == train.sum()
    assert side == 80 * 1.2  # they reach over rows 50 to 130 and columns 60 to 140
    assert not cut[:, [0, -1]].any() and not cut[:, :, [0, -1]].any()


@pytest.mark.parametrize("seed", range(6))
def test_window_lies_inside_the_picture_and_holds_random_brains(seed):
    rng = np.random.default_rng(seed)
    train = np.stack(
        [disc(128, rng.integers(5, 40), 99, rng.uniform(10, 118, 2)) for _ in range(4)]
    )
    top, left, side = window(train)
    assert 32 <= side <= 128 and 0 <= top <= 128 - side and 0 <= left <= 128 - side
    assert train[:, top : top + side, left : left + side].sum() == train.sum()


def test_window_is_never_smaller_than_the_pictures_that_are_made():
    assert window(disc(64, 4)[None], DataConfig(image_size=48))[2] == 48
    assert window(disc(64, 4)[None], DataConfig(image_size=64)) == (0, 0, 64)


@pytest.mark.parametrize("axis", [-1, -2])
@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("size", [96, 128])
def test_the_mid_line_is_the_middle_of_the_square(size, axis, seed):
    """To a quarter of a pixel in a square that is cut, to half a pixel in a whole picture."""
    rng = np.random.default_rng(seed)
    centre = np.array([rng.uniform(58, 68), 62]) if axis == -2 else [62, rng.uniform(58, 68)]
    train = np.stack([disc(128, radius, 99, centre) for radius in (25, 28, 30)])
    train[0, 60:64, 60:64] = 0
    config = DataConfig(image_size=size)
    top, left, side = window(train, config, axis)
    cut = Window((top, left, side), size).cut(train)
    assert cut.sum() == train.sum()  # nothing is lost
    counts = (cut > 0).sum((0, {-1: 1, -2: 2}[axis]))
    middle = (counts * np.arange(side)).sum() / counts.sum()
    assert abs(middle - (side - 1) / 2) <= (0.26 if side < 128 else 0.51)
    assert side >= size and (side == 128) == (size == 128)


def test_a_square_that_reaches_out_of_the_picture_is_black_there():
    train = disc(64, 20, 99, (32, 25))[None]
    top, left, side = window(train, DataConfig(image_size=64), -1)
    assert (top, left, side) == (0, -7, 64) or (top, left, side) == (0, -6, 64)
    cut = Window((top, left, side), 64).cut(train)
    assert not cut[:, :, :-left].any() and np.array_equal(cut[:, :, -left:], train[:, :, :left])


def test_heads_at_the_edge_of_the_picture_are_not_cut_off():
    train = np.concatenate([disc(64, 20, 99, (32, 43)), disc(64, 12, 99, (32, 12))]).reshape(
        2, 64, 64
    )
    top, left, side = window(train, DataConfig(image_size=64), -1)
    assert Window((top, left, side), 64).cut(train).sum() == train.sum()


def test_no_crop_when_asked():
    assert window(disc(64, 8)[None], DataConfig(image_size=32, fit_crop=False)) == (0, 0, 64)


def test_window_ignores_dim_noise_and_the_odd_bright_pixel():
    train = np.repeat(disc(96, 15)[None], 600, axis=0)
    clean = window(train)
    train[:, 2, 2] = FOREGROUND
    train[0, 90, 90] = 255
    assert window(train) == clean


def test_black_data_are_refused():
    with pytest.raises(DataError, match="all 5 training slices are black"):
        window(np.zeros((5, 64, 64), np.uint8))
