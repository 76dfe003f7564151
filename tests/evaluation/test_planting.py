"""Planted anomalies: their positions, what they change, and the cells that they cover."""

import numpy as np
import pytest
from planted_heads import heads

from oasis_utils.evaluation.planting import covered, disc_centres, plant, pooled
from oasis_utils.runtime.symmetry import Symmetry


def test_discs_lie_in_the_brain_on_one_side_and_depend_on_the_seed_alone():
    images, radius = heads(20), 6.0
    centres = disc_centres(images > 16, radius, seed=1)
    assert np.array_equal(centres, disc_centres(images > 16, radius, seed=1))
    assert not np.array_equal(centres, disc_centres(images > 16, radius, seed=2))
    rows, cols = np.mgrid[:64, :64]
    for image, (y, x) in zip(images, centres, strict=True):
        disc = (rows - y) ** 2 + (cols - x) ** 2 <= radius**2
        assert (
            (image[disc] > 16).all()
            and (image[disc[:, ::-1]] > 16).all()
            and not (disc & disc[:, ::-1]).any()
        )
    assert (disc_centres(np.zeros((2, 64, 64), bool), radius) == -1).all()


def test_anomalies_change_their_mask_and_nothing_else():
    images = heads()
    planted = plant(images, disc_centres(images > 16, 7.0), 1.0)
    assert set(planted) == {
        "bright disc",
        "missing patch",
        "halves exchanged",
        "displaced patch",
        "white patch",
    }
    for change in planted.values():
        assert np.array_equal(change.images[~change.mask], images[~change.mask])
        assert (change.images[change.mask] != images[change.mask]).mean() > 0.3
    disc = planted["bright disc"]
    assert (disc.images[disc.mask] == 255).all() and (
        planted["missing patch"].images[disc.mask] == 0
    ).all()
    assert disc.mask.sum((1, 2)) == pytest.approx(
        np.full(4, np.pi * 7**2), rel=0.05
    )  # 14 mm across
    assert np.array_equal(planted["displaced patch"].mask, disc.mask | disc.mask[:, :, ::-1])


def test_exchanged_halves_and_patches_come_unmirrored_from_the_other_side():
    images = heads()
    planted = plant(images, disc_centres(images > 16, 7.0), 1.0)
    halves = planted["halves exchanged"]
    assert np.array_equal(halves.images[halves.mask], np.roll(images, 32, axis=2)[halves.mask])
    assert np.ptp(np.flatnonzero(halves.mask[0].any(1))) <= 32
    moved = planted["displaced patch"]
    for side in (
        slice(0, 32),
        slice(32, 64),
    ):  # what was bright is now in the dark half, and the reverse
        mask = moved.mask[:, :, side]
        before, after = (x[:, :, side][mask].mean() for x in (images, moved.images))
        assert (before > 130) != (after > 130)


def test_slices_on_their_side_get_the_same_anomalies():
    images, lying = heads(), heads().swapaxes(1, 2).copy()
    centres = disc_centres(images > 16, 7.0)
    assert np.array_equal(disc_centres(lying > 16, 7.0, 0, Symmetry(-2)), centres[:, ::-1])
    upright, turned = (
        plant(images, centres, 1.0),
        plant(lying, centres[:, ::-1], 1.0, None, Symmetry(-2)),
    )
    assert list(turned) == list(upright)
    for kind, change in turned.items():
        assert np.array_equal(change.images.swapaxes(1, 2), upright[kind].images), kind
        assert np.array_equal(change.mask.swapaxes(1, 2), upright[kind].mask), kind


def test_without_a_mid_line_nothing_changes_places_and_discs_lie_anywhere_in_the_region():
    images, half = heads(40), np.zeros((40, 64, 64), bool)
    half[:, 8:56, 12:30] = True
    assert (disc_centres(half, 7.0) == -1).all()  # the mirrored disc would lie outside
    centres = disc_centres(half, 7.0, 0, Symmetry(None))
    planted = plant(images, centres, 1.0, half, Symmetry(None))
    assert list(planted) == ["bright disc", "missing patch", "white patch"]
    assert all(half[change.mask].all() for change in planted.values())
    white = planted["white patch"]
    assert (white.images[white.mask] == int(np.percentile(images[half], 90))).all()


def test_cells_are_covered_when_more_than_half_of_them_is():
    mask = np.zeros((1, 8, 8), bool)
    mask[0, :4, :4] = mask[0, :4, 4:6] = mask[0, 4:7, :4] = True
    assert covered(mask, 2).tolist() == [[[True, False], [True, False]]]
    assert pooled(mask, 2).tolist() == [[[1.0, 0.5], [0.75, 0.0]]]
