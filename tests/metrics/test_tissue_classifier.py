"""Tissue of pixels, and Dice scores of people."""

import numpy as np
import pytest

from oasis_utils.metrics.tissue_classifier import (
    LATTICE,
    TissueClassifier,
    at_lattice,
    person_dice,
    pixel_features,
)


def test_the_lattice_covers_slices_of_any_size_evenly():
    for side in (32, 64, 100, 256):
        rows = np.broadcast_to(np.arange(side)[None, :, None], (1, side, side))
        found = at_lattice(rows).reshape(LATTICE, LATTICE)
        assert (found == found[:, :1]).all() and found[0, 0] <= side / LATTICE
        assert set(np.diff(found[:, 0])) <= {side // LATTICE, -(-side // LATTICE)}
        assert side - found[-1, 0] <= side / LATTICE + 1


def test_features_lie_where_the_labels_do():
    """The lower half is bright, and so are the features of its points."""
    for side in (64, 128, 256):
        image = np.full((1, side, side), 50, np.uint8)
        image[:, side // 2 :] = 250
        grey = pixel_features(image, np.zeros(1))[0, :, :6] @ np.linspace(0, 1, 6)
        assert np.array_equal(grey > 0.5, at_lattice(image)[0] > 100)


def slices(n, seed, side=64):
    """Three columns of fluid, grey and white matter with noise, moved at random; labels 85, 170,
    255.
    """
    rng = np.random.default_rng(seed)
    first = rng.integers(side // 4, side // 2, n)[:, None, None]
    column = np.broadcast_to(np.arange(side), (n, side, side))
    masks = np.where(column < first, 85, np.where(column < first + side // 4, 170, 255))
    images = masks * 0.9 + rng.normal(0, 12, masks.shape)
    return np.clip(images, 0, 255).astype(np.uint8), masks.astype(np.uint8)


def test_tissues_of_new_people_are_found():
    (images, masks), (new, true) = slices(20, 0), slices(8, 1)
    heights = np.zeros(20)
    features = pixel_features(images, heights)
    labels = at_lattice(masks).astype(np.int64)
    model = TissueClassifier.fit(features.reshape(-1, features.shape[-1]), labels.ravel())
    found = model.predict(pixel_features(new, heights[:8]))
    scores = person_dice(
        found, at_lattice(true).astype(np.int64), np.arange(8), np.array([85, 170, 255])
    )
    assert scores.min() > 0.9


def test_a_single_label_is_given_to_every_pixel():
    features = np.zeros((5, 3))
    found = TissueClassifier.fit(features, np.full(5, 7)).predict(np.ones((2, 4, 3)))
    assert np.array_equal(found, np.full((2, 4), 7))


def test_dice_of_people_in_closed_form():
    true = np.array([[1, 1, 0, 0], [1, 2, 2, 0], [0, 0, 0, 0]])
    found = np.array([[1, 0, 0, 0], [1, 2, 0, 2], [0, 0, 0, 0]])
    scores = person_dice(found, true, np.array([4, 4, 9]), np.array([1, 2]))
    # person 4: tissue 1 is found twice of three times, tissue 2 once of two found and two true
    assert scores[0] == pytest.approx(((2 * 2) / (2 + 3) + (2 * 1) / (2 + 2)) / 2)
    assert np.isnan(scores[1])
    assert person_dice(true, true, np.zeros(3, int), np.array([1, 2])) == pytest.approx([1])
