"""Grey levels of slices: which pixels are foreground, and uint8 images as floats in [0, 1]."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float, Shaped, UInt8
from torch import Tensor

# Grey level of 255 above which a pixel of a source belongs to the head. It is higher than
# config.BRAIN_LEVEL, because whole heads come with noise around them; skull-stripped ones do not.
FOREGROUND = 16


def foreground(images: UInt8[np.ndarray, "*stack h w"]) -> Bool[np.ndarray, "*stack h w"]:
    """The pixels that belong to the head: brighter than `FOREGROUND`."""
    return np.asarray(images) > FOREGROUND


def with_channel(images: UInt8[np.ndarray, "n h w"]) -> UInt8[Tensor, "n 1 h w"]:
    """A copy of images, which may be a memory map, as a tensor with one channel."""
    return torch.from_numpy(np.array(images))[:, None]


def to_float(images: Shaped[Tensor, "n 1 h w"]) -> Float[Tensor, "n 1 h w"]:
    """Grey levels of 0 to 255 as float32 in [0, 1], on the same device."""
    return images.float().div_(255)
