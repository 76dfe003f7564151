"""Comparison of two measured sets: anatomy as one distribution, sample sizes, older reports."""

import numpy as np
import pytest
from random_slices import blobs, vectors

from oasis_utils.evaluation.measured_sets import MeasuredSet, compare, resolution
from oasis_utils.evaluation.sample_sizes import enough_slices, kid_by_size
from oasis_utils.metrics.kernel_distance import kid, kid_interval
from oasis_utils.runtime.report import checked, plain
from oasis_utils.runtime.report.evaluation import ComparisonResults

MEASURES = ("brain area", "asymmetry", "ventricles")


def measured(n, seed, per_person=1, shift=0.0, images=None):
    """A set of random numbers in place of features and measures."""
    return MeasuredSet(
        images=blobs(n, seed) if images is None else images,
        positions=np.arange(n) % 8,
        groups=np.arange(n) // per_person,
        learned=vectors(n, seed),
        projected=vectors(n, seed, dim=4),
        radiomic=vectors(n, seed),
        anatomy=vectors(n, seed, dim=3) + np.array([shift, 0.0, 0.0]),
        outside=np.zeros((n, 3), bool),
        measures=MEASURES,
        read_positions=np.arange(n, dtype=np.float64) % 8,
    )


@pytest.fixture(scope="module")
def real():
    return measured(64, 0, per_person=4)


@pytest.fixture(scope="module")
def shifted(real):
    """The comparison of the same measures, the first moved by one unit, with the unmoved ones."""
    return compare(measured(64, 0, shift=1.0), real, 50, classify=False)


def test_anatomy_is_compared_as_one_distribution(real, shifted):
    joint, effects = shifted["anatomy_joint"], shifted["anatomy_effects"]
    low, high = joint["interval"]
    assert joint["value"] == pytest.approx(1.0, abs=0.2) and low < 1 < high
    assert effects["brain area"]["value"] == pytest.approx(1 / real.anatomy[:, 0].std(ddof=1))
    assert effects["asymmetry"]["value"] == pytest.approx(0, abs=1e-9)
    assert set(effects) == set(shifted["anatomy"]) == set(MEASURES)
    reverse = compare(real, measured(64, 0, shift=1.0), 50, classify=False)["anatomy_effects"]
    assert reverse["brain area"]["value"] == pytest.approx(-effects["brain area"]["value"])


def test_a_comparison_has_its_form_and_older_ones_still_load(shifted):
    found = checked(ComparisonResults, plain(shifted), "a comparison")
    assert found.anatomy_joint.value == shifted["anatomy_joint"]["value"]
    new = ("anatomy_joint", "anatomy_effects")
    older = {name: value for name, value in plain(shifted).items() if name not in new}
    loaded = checked(ComparisonResults, older, "a comparison")
    assert loaded.anatomy_joint is None and loaded.anatomy_effects == {}
    assert not any("joint" in name for name in resolution(older))


def test_the_resolution_is_half_an_interval_of_every_metric(shifted):
    found = resolution(shifted)
    low, high = shifted["anatomy_joint"]["interval"]
    assert found["anatomy_joint"] == pytest.approx((high - low) / 2)
    assert {"learned kid", "anatomy ventricles", "anatomy_effects ventricles"} <= set(found)


# ---------------------------------------------------------------- sample sizes
@pytest.fixture(scope="module")
def sizes():
    drawn, real = measured(400, 1), measured(400, 2, per_person=8)
    return drawn, real, kid_by_size(drawn, real, 100)


def test_sizes_double_up_to_all_slices(sizes):
    drawn, real, found = sizes
    assert list(found) == [32, 64, 128, 256, 400]
    sides = drawn.learned, real.learned, drawn.groups, real.groups
    assert found[400]["value"] == pytest.approx(kid(*sides))
    assert found[400]["interval"] == pytest.approx(list(kid_interval(*sides, 100)))
    small = measured(20, 1), measured(20, 2)
    assert list(kid_by_size(*small, 10)) == [20]


def test_the_interval_narrows_about_the_same_distance(sizes):
    found = sizes[2]
    widths = {n: item["interval"][1] - item["interval"][0] for n, item in found.items()}
    assert widths[400] < widths[128] < widths[32] and widths[400] < widths[32] / 3
    for item in found.values():  # one distribution: 0 at every size
        assert item["interval"][0] < 0 < item["interval"][1]


def test_parts_of_one_person_are_left_out():
    drawn, real = measured(64, 1), measured(64, 2, per_person=64)
    assert kid_by_size(drawn, real, 10) == {}


def test_enough_slices_is_the_smallest_number_from_which_on_intervals_are_narrow():
    def item(half):
        return {"value": 0.0, "interval": [-half, half]}

    by_size = {32: item(0.4), 64: item(0.1), 128: item(0.2), 256: item(0.05)}
    assert enough_slices(by_size, 0.5) == 32
    assert enough_slices(by_size, 0.15) == 256  # 64 were narrow by chance
    assert enough_slices({str(n): x for n, x in by_size.items()}, 0.3) == 64
    assert enough_slices(by_size, 0.05) is None and enough_slices({}, 0.1) is None
    assert enough_slices({32: {"value": 0.1, "interval": None}}, 0.1) is None
    with pytest.raises(ValueError, match="half_width must be above 0, not 0.0"):
        enough_slices(by_size, 0.0)
