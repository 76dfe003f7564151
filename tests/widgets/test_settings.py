"""Settings of a panel: seed box, random seed, and a reset that draws once."""

import pytest

from oasis_utils.widgets.controls import integer, number
from oasis_utils.widgets.settings import LARGEST_SEED, SeedBox, Settings


def test_box_and_value_follow_each_other():
    seed = SeedBox("seed", 3)
    assert seed.value == seed.box.value == 3 and seed.description == "seed"
    seed.box.value = 7
    assert seed.value == 7
    seed.value = 9
    assert seed.box.value == 9


def test_a_random_seed_is_another_one_within_the_range():
    seed = SeedBox("seed", 0)
    for _ in range(20):
        old = seed.value
        seed.dice.click()
        assert seed.value != old and 0 <= seed.value <= LARGEST_SEED


@pytest.fixture
def panel():
    calls = []
    controls = [SeedBox("seed", 0), number("temperature", 1.0, 0.0, 1.5)]
    index = integer("position", 2, 0, 5)
    settings = Settings(lambda: calls.append(settings.values()), controls, also=(index,))
    return settings, controls, index, calls


def test_a_change_draws_and_a_reset_draws_once(panel):
    settings, (seed, temperature), index, calls = panel
    seed.value, temperature.value, index.value = 4, 0.5, 0
    assert len(calls) == 2 and calls[-1] == {"seed": "4", "temperature": "0.5"}
    settings.reset.click()
    assert len(calls) == 3 and calls[-1] == {"seed": "0", "temperature": "1"}
    assert index.value == 2


def test_settings_that_are_switched_off_are_not_named(panel):
    settings, (_, temperature), _, _ = panel
    temperature.disabled = True
    assert settings.values() == {"seed": "0"}
