"""The AUROC's interval over people: its width, its coverage, and the cells that it takes."""

import numpy as np
import pytest

from oasis_utils.evaluation import roc
from oasis_utils.evaluation.planting import Planted, pooled
from oasis_utils.metrics.ranking import auroc


def clustered(seed, people=12, cells=20, shift=1.0):
    """Scores whose changed cells differ from person to person: (changed, unchanged, owners)."""
    rng = np.random.default_rng(seed)
    owners = np.arange(people).repeat(cells)
    effect = shift + rng.standard_normal(people)
    return (
        effect[owners] + 0.1 * rng.standard_normal(len(owners)),
        0.1 * rng.standard_normal(len(owners)),
        owners,
    )


def test_intervals_widen_when_cells_belong_to_few_people():
    changed, unchanged, owners = clustered(0)
    single = np.arange(len(owners))
    wide, narrow = (
        np.ptp(roc.auroc_interval(changed, unchanged, who, who)) for who in (owners, single)
    )
    assert wide > 2 * narrow > 0


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    truth = auroc(*clustered(99, people=20_000, cells=1)[:2])
    ends = [
        roc.auroc_interval(c, u, o, o, 200) for c, u, o in (clustered(s, 24, 4) for s in range(120))
    ]
    assert 0.85 <= np.mean([low <= truth <= high for low, high in ends]) <= 1.0


def test_the_difference_of_two_scores_is_surer_than_either():
    """Two scores that both follow the effect of a person share what varies between people."""
    rng = np.random.default_rng(0)
    untouched = rng.integers(80, 120, (24, 4, 4)).astype(np.uint8)
    effect = rng.integers(-30, 50, (24, 1, 1))
    changed = (untouched + effect).astype(np.uint8)
    planted = {"disc": Planted(changed, np.ones((24, 4, 4), dtype=bool))}

    def score(images):
        return images.astype(np.float64)

    def shifted(images):
        return images + 0.4 * (images > 100)

    found = roc.differences(score, shifted, untouched, planted, np.arange(24))["disc"]
    alone = roc.intervals(score, untouched, planted, np.arange(24))["disc"]
    assert found[0] <= 0 <= found[1] and np.ptp(found) < 0.5 * np.ptp(alone)
    few = {"disc": Planted(planted["disc"].images[:3], planted["disc"].mask[:3])}
    assert np.isnan(roc.differences(score, shifted, untouched[:3], few, np.arange(3))["disc"]).all()


def test_few_people_have_no_interval():
    ones = np.ones(6)
    assert np.isnan(roc.auroc_interval(ones, ones, np.arange(6) % 3, np.arange(6) % 3)).all()


def test_no_changed_cell_has_no_interval():
    assert np.isnan(
        roc.auroc_interval(np.ones(0), np.ones(6), np.zeros(0, int), np.arange(6))
    ).all()


def test_intervals_of_planted_anomalies_take_the_cells_of_their_masks():
    images = np.zeros((6, 8, 8), np.uint8)
    mask = np.zeros(images.shape, bool)
    mask[:, :4, :4] = True
    bright = Planted(np.where(mask, np.uint8(200), images), mask)
    asked = []

    def score(slices):
        asked.append(slices)
        return pooled(slices / 255.0, 4)

    once = roc.cached(score)
    found = roc.intervals(
        once, images, {"bright": bright, "nothing": Planted(images, mask)}, np.arange(6)
    )
    assert found == {"bright": (1.0, 1.0), "nothing": (0.5, 0.5)}
    roc.intervals(once, images, {"bright": bright}, np.arange(6))
    assert len(asked) == 2  # the untouched and the bright slices, once each


def test_scores_are_compared_against_the_same_cells_and_against_all():
    """Where the slice is brighter by nature, the same cells tell less from the changed ones."""
    images = np.full((6, 8, 8), 100, np.uint8)
    images[:, 4:] = 220
    mask = np.zeros(images.shape, bool)
    mask[:, :4, :4] = True
    planted = {"bright": Planted(np.where(mask, np.uint8(200), images), mask)}
    scores = {
        "grey": lambda slices: pooled(slices / 255.0, 4),
        "nothing": lambda slices: np.zeros((len(slices), 4, 4)),
    }
    region = np.ones(images.shape, bool)
    found = roc.compared(scores, images, planted, np.arange(6), region, "head")
    assert list(found) == ["the same cells", "all cells in the head"]
    assert found["the same cells"]["bright"] == {
        "grey": {"value": 1.0, "interval": (1.0, 1.0)},
        "nothing": {"value": 0.5, "interval": (0.5, 0.5)},
    }
    assert found["all cells in the head"]["bright"]["grey"] == {"value": 0.5, "interval": None}


@pytest.mark.parametrize(
    ("low", "words"),
    [
        (0.81, "found"),
        (0.8, "partly found"),
        (0.5, "not shown to be found"),
        (np.nan, "too few people to say"),
    ],
)
def test_an_anomaly_is_found_by_the_lower_end_of_its_interval(low, words):
    assert roc.detected((low, 0.95)) == words
