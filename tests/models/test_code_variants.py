"""Mirrored and shifted variants of the training slices."""

import pytest
import torch

from oasis_utils.config import CodesConfig
from oasis_utils.models.codes import shifted, variant
from oasis_utils.runtime.symmetry import LEFT_RIGHT, Symmetry

CONFIG = CodesConfig(variants=4, max_shift=2)


def pictures(n=3, size=12):
    return torch.rand(n, 1, size, size, generator=torch.Generator().manual_seed(0))


def test_no_shift_is_no_change():
    assert torch.equal(shifted(pictures(), 0, 0), pictures())


@pytest.mark.parametrize("rows", [-2, 0, 3])
@pytest.mark.parametrize("cols", [-3, 0, 1])
def test_shift_moves_the_picture_down_and_right(rows, cols):
    image = pictures()
    moved = shifted(image, rows, cols)
    assert moved.shape == image.shape
    at = {(y, x): moved[:, :, y, x] for y in range(12) for x in range(12)}
    for (y, x), value in at.items():  # the border is repeated
        assert torch.equal(value, image[:, :, min(max(y - rows, 0), 11), min(max(x - cols, 0), 11)])


def test_shift_and_back_keeps_the_interior():
    back = shifted(shifted(pictures(), 2, -1), -2, 1)
    assert torch.equal(back[..., 2:-2, 2:-2], pictures()[..., 2:-2, 2:-2])


def test_first_variants_are_plain_and_mirrored():
    assert torch.equal(variant(pictures(), 0, CONFIG, LEFT_RIGHT, torch.Generator()), pictures())
    assert torch.equal(
        variant(pictures(), 1, CONFIG, LEFT_RIGHT, torch.Generator()), pictures().flip(-1)
    )


@pytest.mark.parametrize("number", [1, 2, 3])
def test_slices_without_symmetry_are_only_shifted(number):
    reach = range(-CONFIG.max_shift, CONFIG.max_shift + 1)
    made = variant(
        pictures(), number, CONFIG, Symmetry(None), torch.Generator().manual_seed(number)
    )
    assert any(
        torch.equal(shifted(pictures(), rows, cols), made) for rows in reach for cols in reach
    )


def test_a_horizontal_mid_line_is_mirrored_top_to_bottom():
    assert torch.equal(
        variant(pictures(), 1, CONFIG, Symmetry(-2), torch.Generator()), pictures().flip(-2)
    )


@pytest.mark.parametrize("number", [2, 3, 4, 5])
def test_later_variants_are_small_shifts_of_either(number):
    source = pictures().flip(-1) if number % 2 else pictures()
    reach = range(-CONFIG.max_shift, CONFIG.max_shift + 1)
    allowed = [shifted(source, rows, cols) for rows in reach for cols in reach]
    seen = set()
    for seed in range(30):
        made = variant(pictures(), number, CONFIG, LEFT_RIGHT, torch.Generator().manual_seed(seed))
        matches = [i for i, candidate in enumerate(allowed) if torch.equal(candidate, made)]
        assert len(matches) == 1
        seen |= set(matches)
    assert len(seen) > 10


def test_variant_depends_on_its_generator_alone():
    torch.manual_seed(0)
    first = variant(pictures(), 2, CONFIG, LEFT_RIGHT, torch.Generator().manual_seed(3))
    torch.manual_seed(1)
    assert torch.equal(
        variant(pictures(), 2, CONFIG, LEFT_RIGHT, torch.Generator().manual_seed(3)), first
    )
