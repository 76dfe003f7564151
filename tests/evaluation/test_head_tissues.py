"""Label maps of generated heads by thresholds."""

from dataclasses import replace

import numpy as np
import pytest

from oasis_utils.evaluation.head_tissues import FLUID, GREY, WHITE, fit_tissues, tissue_labels
from oasis_utils.metrics.anatomy import Tissues, outline
from oasis_utils.runtime import DataError


def test_labels_agree_with_the_masks_of_sample_brains(brains):
    tissues, test = fit_tissues(brains.split("train")), brains.split("test")
    labels, masks = tissue_labels(np.array(test.images), tissues), np.asarray(test.masks)
    for label, level in ((FLUID, 85), (GREY, 170), (WHITE, 255)):
        ours, theirs = labels == label, masks == level
        assert 2 * (ours & theirs).sum() / (ours.sum() + theirs.sum()) > 0.7


def test_shares_of_labels_are_those_of_the_metric(brains):
    image = np.array(brains.split("test").images[16])
    tissues = Tissues(0.4, 0.75)
    labels, brain = tissue_labels(image[None], tissues)[0], outline(image)
    shares = [(labels == label).sum() / brain.sum() for label in (FLUID, GREY, WHITE)]
    assert shares == pytest.approx(tissues.shares(image, brain)[1:])
    assert np.array_equal(labels > 0, brain)


def test_a_black_slice_is_background():
    assert not tissue_labels(np.zeros((2, 8, 8), np.uint8), Tissues(0.4, 0.7)).any()


def test_heads_with_the_skull_on_are_refused(brains):
    with pytest.raises(DataError, match="heads with the skull on: leave out --tissues"):
        fit_tissues(replace(brains.split("train"), content="head"))
