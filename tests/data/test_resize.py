"""The square window around the training heads."""

import numpy as np
import pytest
from slice_files import disc

from oasis_utils.config import DataConfig
from oasis_utils.data.grey_levels import FOREGROUND, foreground
from oasis_utils.data.resize import fit_window
from oasis_utils.runtime import DataError

CONFIG = DataConfig(image_size=32)


def window(train, config=CONFIG):
    return fit_window(foreground(train).sum(0), len(train), config)


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
