"""Synthetic sample brains: what their slices look like."""

from itertools import combinations

import numpy as np
import pytest

from oasis_utils.data import synthetic
from oasis_utils.data.template import load_template


@pytest.fixture(scope="module")
def template():
    return load_template()


@pytest.fixture(scope="module")
def subjects(template):
    return [synthetic.make_subject(template, number, seed=5) for number in (1, 2, 3)]


def difference(first, second):
    """Mean absolute grey-level difference where either slice shows brain."""
    brain = (first > 0) | (second > 0)
    return np.abs(first.astype(float) - second)[brain].mean()


def dark_fraction(subject, rows, columns):
    """Share of fluid-like pixels in a window, over slices 5 to 25."""
    window = subject.slices[5:26, rows, columns]
    return (window[window > 0] < 85).mean()


def test_same_seed_and_number_give_the_same_subject(template, subjects):
    again = synthetic.make_subject(template, 2, seed=5)
    assert again.age == subjects[1].age
    assert np.array_equal(again.slices, subjects[1].slices) and np.array_equal(
        again.masks, subjects[1].masks
    )


def test_another_seed_gives_another_subject(template, subjects):
    other = synthetic.make_subject(template, 2, seed=6)
    assert difference(other.slices[16], subjects[1].slices[16]) > 25


def test_subjects_differ_more_than_neighbouring_slices(subjects):
    neighbours = [
        difference(s.slices[p], s.slices[p + 1]) for s in subjects for p in range(0, 31, 5)
    ]
    between = [
        difference(first.slices[p], second.slices[p])
        for first, second in combinations(subjects, 2)
        for p in range(0, 31, 5)
    ]
    assert min(between) > max(neighbours)
    assert np.mean(between) > 2 * np.mean(neighbours)


def test_folding_slides_the_cortex_along_the_surface(template):
    rng = np.random.default_rng(0)
    points = synthetic._place_head(rng, template.origin)
    moved = synthetic._fold_cortex(rng, template, points)
    shift = np.sqrt(((moved - points) ** 2).sum(axis=0))
    depth, depth_after = (
        synthetic._sample(template.depth, points),
        synthetic._sample(template.depth, moved),
    )
    cortex = (depth > 2) & (depth < 12)
    assert np.median(shift[cortex]) > 4  # mm
    assert np.median(np.abs(depth_after - depth)[cortex]) < 1
    assert shift[depth > 30].max() == 0


def test_slices_are_grey_pictures_of_a_brain(subjects):
    for subject in subjects:
        assert subject.slices.shape == (32, 256, 256) and subject.slices.dtype == np.uint8
        assert subject.slices.max() > 200  # white matter is bright
        brain_share = (subject.slices > 0).mean(axis=(1, 2))
        assert brain_share.min() > 0.15 and brain_share.max() < 0.42
        assert 120 < subject.slices[subject.slices > 0].mean() < 190
        assert 18 <= subject.age <= 96


def test_background_is_exactly_black(subjects):
    for subject in subjects:
        frame = subject.slices.copy()
        frame[:, 24:232, 40:216] = 0
        assert not frame.any()
        assert (
            subject.slices[:, 24:34, 40:50] == 0
        ).all()  # noise must not reach the air beside the head


def test_every_slice_is_one_piece_without_holes(subjects):
    from scipy import ndimage

    for picture in subjects[0].slices:
        brain = picture > 0
        sizes = np.sort(np.bincount(ndimage.label(brain)[0].ravel())[1:])
        assert sizes[-1] > 0.99 * sizes.sum()
        assert (ndimage.binary_fill_holes(brain) == brain).all()


def test_mid_line_is_vertical_and_central(subjects):
    """The outline matches its mirror image, and the fissure before and behind lies near the middle
    column.
    """
    for subject in subjects:
        for picture in subject.slices[[4, 20, 28]]:
            outline = picture > 0
            assert (outline & outline[:, ::-1]).sum() > 0.93 * outline.sum()
            for rows in (slice(40, 75), slice(180, 205)):
                fissure = 108 + np.argmin(picture[rows, 108:148].astype(float).mean(axis=0))
                assert abs(fissure - 127.5) < 9


def test_front_is_up(subjects):
    """The frontal horns lie before the thalami: fluid near the mid-line, then grey matter."""
    for subject in subjects:
        columns = subject.slices[4:9, :, 116:140]
        assert columns[:, 88:112].mean() < columns[:, 118:134].mean()


def test_position_0_is_lowest(subjects):
    for subject in subjects:
        area = (subject.slices > 0).sum(axis=(1, 2))
        assert area[:4].mean() > 1.04 * area[-4:].mean()  # the head narrows toward the vertex


def test_age_widens_ventricles_and_sulci(template):
    ages = (20, 60, 94)
    subjects = [synthetic.make_subject(template, 4, seed=5, age=age) for age in ages]
    assert [s.age for s in subjects] == list(ages)
    ventricles = [dark_fraction(s, slice(85, 165), slice(98, 158)) for s in subjects]
    outer = [dark_fraction(s, slice(24, 232), np.r_[40:90, 166:216]) for s in subjects]
    assert ventricles[0] < ventricles[1] < ventricles[2] and ventricles[2] > 1.5 * ventricles[0]
    assert outer[0] < outer[1] < outer[2] and outer[2] > 1.5 * outer[0]


def test_masks_show_the_tissue_of_every_pixel(subjects):
    for subject in subjects:
        assert subject.masks.shape == subject.slices.shape and subject.masks.dtype == np.uint8
        assert np.array_equal(np.unique(subject.masks), synthetic.MASK_LEVELS)
        assert ((subject.masks > 0) == (subject.slices > 0)).all()
        fluid, grey, white = (
            subject.slices[subject.masks == level] for level in synthetic.MASK_LEVELS[1:]
        )
        assert np.percentile(fluid, 90) < np.median(grey) and np.percentile(grey, 90) < np.median(
            white
        )
        middle = subject.masks[
            10:22
        ]  # through the ventricles: as much grey as white matter, some fluid
        shares = [(middle[middle > 0] == level).mean() for level in synthetic.MASK_LEVELS[1:]]
        assert 0.05 < shares[0] < 0.35 and min(shares[1:]) > 0.25


def test_a_whole_head_holds_the_same_brain(template, subjects):
    head, brain = synthetic.make_subject(template, 2, seed=5, whole_head=True), subjects[1]
    inside = brain.masks > 0
    assert np.array_equal(head.masks, brain.masks) and np.array_equal(
        head.slices[inside], brain.slices[inside]
    )
    for picture, mask in zip(head.slices, inside, strict=True):
        shell = (picture > 0) & ~mask
        assert 0.3 < shell.sum() / mask.sum() < 0.8
        assert not picture[:, [0, -1]].any() and not picture[[0, -1]].any()  # no head is cut off
        middle = picture[128][~mask[128] & (picture[128] > 0)]
        assert np.percentile(middle, 90) > 2 * np.percentile(middle, 25)  # bright scalp, dark skull


@pytest.mark.parametrize("age", [17.9, 97, float("nan")])
def test_age_out_of_range_is_refused(template, age):
    with pytest.raises(ValueError, match="between 18 and 96"):
        synthetic.make_subject(template, 1, age=age)
