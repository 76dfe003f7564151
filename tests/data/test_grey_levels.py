"""Foreground, and uint8 images as floats."""

import numpy as np
import torch

from oasis_utils.data.grey_levels import FOREGROUND, foreground, to_float, with_channel
from oasis_utils.metrics.features import as_floats
from oasis_utils.models import to_uint8

LEVELS = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)


def test_foreground_is_brighter_than_its_level():
    assert (
        foreground(LEVELS).sum() == 255 - FOREGROUND and not foreground(LEVELS)[LEVELS <= 16].any()
    )


def test_floats_are_those_of_the_metrics_and_come_back_as_the_same_levels():
    floats = to_float(with_channel(LEVELS))
    assert floats.dtype == torch.float32 and floats.min() == 0 and floats.max() == 1
    assert torch.equal(floats, as_floats(LEVELS))
    assert np.array_equal(to_uint8(floats[:, 0]), LEVELS)


def test_the_tensor_is_a_copy():
    images = LEVELS.copy()
    tensor = with_channel(images)
    images[:] = 0
    assert tensor.max() == 255
