"""Configurations of the data: slices, splits and the index maps that the priors are trained on."""

from __future__ import annotations

from dataclasses import dataclass

from oasis_utils.config.checks import require, within

BRAIN_LEVEL = 0.03  # grey level above which a pixel counts as brain in a skull-stripped slice
SPLITS = ("train", "validate", "test")
SAMPLE_SLICES = 32  # axial slices of a sample brain, 1 mm apart


@dataclass(frozen=True)
class DataConfig:
    """Slices of `image_size`² pixels, cut to the field of view that holds the brains.

    Attributes:
        image_size: Pixels, height = width, after crop and resize; a multiple of 16, at least 32.
        fit_crop: Whether all slices are cut to one square window around the training brains.
        crop_margin: Border kept around that window, as a fraction of its side, in [0, 0.5).
        train_subjects: Sample brains to make for training when no data are given.
        validate_subjects: The same for validation.
        test_subjects: The same for the test.
    """

    image_size: int = 128
    fit_crop: bool = True
    crop_margin: float = 0.02
    train_subjects: int = 64
    validate_subjects: int = 8
    test_subjects: int = 8

    def __post_init__(self):
        require(
            self.image_size >= 32 and self.image_size % 16 == 0,
            f"image_size must be a multiple of 16 and at least 32, not {self.image_size}",
        )
        within(self, 32, 4096, "image_size")
        within(self, 1, 100_000, "train_subjects", "validate_subjects", "test_subjects")
        require(
            0 <= self.crop_margin < 0.5,
            f"crop_margin is a fraction in [0, 0.5), not {self.crop_margin}",
        )


@dataclass(frozen=True)
class CodesConfig:
    """Augmentation of the training split before it is encoded for the priors.

    Attributes:
        variants: Encodings of each training slice: plain, mirrored, then small random shifts of
            either.
        max_shift: Pixels, largest shift along each axis.
    """

    variants: int = 6
    max_shift: int = 3

    def __post_init__(self):
        within(self, 1, 1000, "variants")
        within(self, 0, 1000, "max_shift")
