"""Stacks of slices: which slices follow each other, and how alike they are."""

import numpy as np
import pytest

from oasis_utils.metrics.coherence import (
    neighbour_same_code,
    neighbour_ssim,
    next_slices,
    plane_ssim,
    stack_coherence,
)
from oasis_utils.runtime.symmetry import Symmetry


def stack(n=6, seed=0, drift=0.0):
    """(images, maps) of one noise picture that changes by so much from slice to slice."""
    rng = np.random.default_rng(seed)
    pictures = [rng.uniform(0, 255, (16, 16))]
    for _ in range(n - 1):
        pictures.append((1 - drift) * pictures[-1] + drift * rng.uniform(0, 255, (16, 16)))
    images = np.stack(pictures).astype(np.uint8)
    return images, (images[:, ::4, ::4] // 32).astype(np.int64)


def test_pairs_follow_positions_in_any_order_of_rows_and_stop_at_gaps():
    stacks = np.array([7, 7, 7, 7, 3, 3])
    positions = np.array([2, 0, 1, 5, 5, 6])
    pairs = {tuple(pair) for pair in next_slices(stacks, positions).tolist()}
    assert pairs == {(1, 2), (2, 0), (4, 5)}
    further = {tuple(pair) for pair in next_slices(stacks, positions, 1).tolist()}
    assert further == {(3, 5)}  # position 6 of the other stack


def test_equal_slices_are_as_coherent_as_can_be_and_other_stacks_are_not():
    images, maps = (np.concatenate(x) for x in zip(stack(seed=1), stack(seed=2), strict=True))
    stacks, positions = np.repeat([4, 9], 6), np.tile(np.arange(6), 2)
    same = stack_coherence(images, maps, stacks, positions)
    assert same.ssim == pytest.approx([1, 1]) and same.same_code.tolist() == [1, 1]
    other = stack_coherence(images, maps, stacks, positions, further=1)
    assert other.ssim.max() < 0.2 and other.same_code.max() < 0.4


def test_faster_change_is_less_coherence():
    scores = []
    for drift in (0.05, 0.2, 0.6):
        images, maps = stack(drift=drift)
        found = stack_coherence(images, maps, np.zeros(6, int), np.arange(6))
        scores.append((found.ssim[0], found.same_code[0]))
    assert scores == sorted(scores, reverse=True)


def test_each_stack_has_a_value_of_its_own():
    still, moving = stack(seed=1), stack(seed=2, drift=0.5)
    images, maps = (np.concatenate(x) for x in zip(still, moving, strict=True))
    found = stack_coherence(images, maps, np.repeat([0, 1], 6), np.tile(np.arange(6), 2))
    assert found.ssim[0] == pytest.approx(1) and found.ssim[1] < 0.9


def test_slices_without_neighbours_have_no_value():
    images, maps = stack(2)
    found = stack_coherence(images, maps, np.zeros(2, int), np.array([0, 4]))
    assert found.ssim.size == found.same_code.size == 0


def test_blocks_and_labelled_slices_give_the_same_values():
    stacks = [stack(seed=s, drift=0.3) for s in (1, 2, 3)]
    heads, maps = (np.stack(x) for x in zip(*stacks, strict=True))
    numbers, positions = np.repeat([0, 1, 2], 6), np.tile(np.arange(6), 3)
    flat = stack_coherence(np.concatenate(heads), np.concatenate(maps), numbers, positions)
    assert neighbour_ssim(heads).shape == neighbour_same_code(maps).shape == (3, 5)
    np.testing.assert_allclose(neighbour_ssim(heads).mean(1), flat.ssim, atol=1e-6)
    np.testing.assert_allclose(neighbour_same_code(maps).mean(1), flat.same_code)


def test_one_bad_slice_lowers_its_two_pairs_only():
    still = np.stack([stack(seed=1)[0]])
    still[0, 3] = stack(seed=2)[0][0]
    values = neighbour_ssim(still)[0]
    assert values[[0, 1, 4]] == pytest.approx(1) and values[[2, 3]].max() < 0.3


def along_columns(heads=2, size=16):
    """Heads that are the same in all columns, and noise along rows and positions."""
    noise = np.random.default_rng(0).integers(1, 255, (heads, 12, size, 1))
    return np.broadcast_to(noise, (heads, 12, size, size)).astype(np.uint8)


def test_planes_are_columns_and_rows_of_upright_slices():
    heads = along_columns()
    assert plane_ssim(heads, "sagittal") == pytest.approx([1, 1])
    assert plane_ssim(heads, "coronal").max() < 0.3
    turned = heads.swapaxes(2, 3)
    assert plane_ssim(turned, "sagittal", Symmetry(-2)) == pytest.approx([1, 1])
    assert plane_ssim(turned, "sagittal").max() < 0.3


def test_planes_that_show_nothing_do_not_flatter():
    heads = np.random.default_rng(0).integers(1, 255, (1, 12, 16, 16)).astype(np.uint8)
    wide = np.pad(heads, [(0, 0), (0, 0), (0, 0), (20, 20)])
    assert plane_ssim(wide, "sagittal") == pytest.approx(plane_ssim(heads, "sagittal"))
    assert np.isnan(plane_ssim(0 * heads, "coronal")).all()


def test_short_stacks_have_no_planes_and_other_planes_are_unknown():
    assert np.isnan(plane_ssim(along_columns()[:, :10], "coronal")).all()
    with pytest.raises(ValueError, match="choose one of sagittal, coronal"):
        plane_ssim(along_columns(), "axial")
