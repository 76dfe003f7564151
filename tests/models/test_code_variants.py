"""Mirrored and shifted variants of the training slices."""

import numpy as np
import pytest
import torch

from oasis_utils.config import CodesConfig
from oasis_utils.models.codes import is_shifted, shifted, variant
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


def made_of(number, seed=0, symmetry=LEFT_RIGHT, series=(5, 5, 5)):
    return variant(pictures(), number, CONFIG, symmetry, np.array(series), seed)


REACH = range(-CONFIG.max_shift, CONFIG.max_shift + 1)


def shifts_that_give(made, source):
    """Which of all small shifts turn one picture into the other."""
    allowed = [(rows, cols) for rows in REACH for cols in REACH]
    return [shift for shift in allowed if torch.equal(shifted(source, *shift), made)]


def test_first_variants_are_plain_and_mirrored():
    assert torch.equal(made_of(0), pictures())
    assert torch.equal(made_of(1), pictures().flip(-1))


@pytest.mark.parametrize("number", [1, 2, 3])
def test_slices_without_symmetry_are_only_shifted(number):
    assert len(shifts_that_give(made_of(number, symmetry=Symmetry(None)), pictures())) == 1


def test_a_horizontal_mid_line_is_mirrored_top_to_bottom():
    assert torch.equal(made_of(1, symmetry=Symmetry(-2)), pictures().flip(-2))


@pytest.mark.parametrize("number", [2, 3, 4, 5])
def test_later_variants_are_small_shifts_of_either(number):
    source, seen = pictures().flip(-1) if number % 2 else pictures(), set()
    for seed in range(30):
        (found,) = shifts_that_give(made_of(number, seed), source)
        seen.add(found)
    assert len(seen) > 10


def test_shifts_depend_on_session_variant_and_seed_alone():
    torch.manual_seed(0)
    first = made_of(2, 3)
    torch.manual_seed(1)
    np.random.seed(1)
    assert torch.equal(made_of(2, 3), first)
    sources = {number: pictures().flip(-1) if number % 2 else pictures() for number in range(2, 8)}
    by_number = [shifts_that_give(made_of(k), source)[0] for k, source in sources.items()]
    by_session = [shifts_that_give(made_of(2, series=(n,) * 3), pictures())[0] for n in range(20)]
    assert len(set(by_number)) > 2 and len(set(by_session)) > 5


def test_slices_of_a_session_are_shifted_alike_and_those_of_others_by_themselves():
    series = np.array([7, 3, 7, 0, 3, 7, 2**40])
    images = torch.rand(len(series), 1, 12, 12, generator=torch.Generator().manual_seed(0))
    together = variant(images, 2, CONFIG, LEFT_RIGHT, series, 0)
    found = [
        shifts_that_give(made[None], image[None])
        for made, image in zip(together, images, strict=True)
    ]
    assert all(len(shifts) == 1 for shifts in found)
    assert found[0] == found[2] == found[5] and found[1] == found[4]
    assert len({shifts[0] for shifts in found}) > 2
    for part in (slice(0, 1), slice(1, 3), slice(3, 7)):  # as in batches of any size
        alone = variant(images[part], 2, CONFIG, LEFT_RIGHT, series[part], 0)
        assert torch.equal(alone, together[part])


def test_only_later_variants_are_shifted():
    assert [is_shifted(number, LEFT_RIGHT) for number in range(4)] == [False, False, True, True]
    assert [is_shifted(number, Symmetry(None)) for number in range(3)] == [False, True, True]
