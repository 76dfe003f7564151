"""Models trained on generated slices and tested on real people."""

import dataclasses

import numpy as np
import pytest
import torch

from oasis_utils.config import VQVAEConfig
from oasis_utils.data.dataset import Split
from oasis_utils.evaluation.utility import estimates
from oasis_utils.evaluation.utility import study as module
from oasis_utils.evaluation.utility.study import (
    DECODED,
    REAL,
    RELABELLED,
    SHUFFLED,
    added_name,
    share_name,
    utility,
)
from oasis_utils.evaluation.utility.table import utility_groups, utility_rows, utility_verdicts
from oasis_utils.evaluation.utility.tasks import Described, shuffled
from oasis_utils.models.samples import Samples
from oasis_utils.models.vqvae import VQVAE
from oasis_utils.plotting.tables import table
from oasis_utils.runtime.report import checked, plain
from oasis_utils.runtime.report.utility import UtilityResults
from oasis_utils.runtime.symmetry import Symmetry

CPU = torch.device("cpu")
POSITIONS = 4
FEW, FEWER = (share_name(share) for share in module.SHARES)


def people(name, n, seed, side=32):
    """Heads with a dark centre that is larger the older the person and the higher the slice."""
    rng = np.random.default_rng(seed)
    subjects, positions = np.repeat(np.arange(n), POSITIONS), np.tile(np.arange(POSITIONS), n)
    ages = rng.uniform(20, 90, n)[subjects].astype(np.float32)
    line = (np.arange(side) - (side - 1) / 2) / side
    distance = np.hypot(*np.meshgrid(line, line))
    size = 0.05 + ages / 500 + positions / 40 + rng.normal(0, 0.01, n)[subjects]
    masks = np.where(distance < size[:, None, None], 85, 255) * (distance < 0.45)
    image = masks * 0.75 + rng.normal(0, 45, masks.shape) * (masks > 0)
    images = np.clip(np.where(masks > 0, np.maximum(image, 20), 0), 0, 255).astype(np.uint8)
    return Split(name, images, subjects, positions, ages, masks.astype(np.uint8))


def drawn(split, ages=None, images=None):
    """The slices of a split as if they were generated."""
    n = len(split)
    return Samples(
        split.images if images is None else images,
        np.zeros((n, 1, 1), np.int64),
        split.positions,
        split.ages if ages is None else ages,
    )


TRAIN, TEST, OTHERS = people("train", 40, 1), people("test", 24, 2), people("train", 40, 3)


@pytest.fixture(scope="module")
def results():
    """Three generated sets: other people; other people with wrong ages; noise."""
    rng = np.random.default_rng(0)
    noise = rng.integers(20, 255, OTHERS.images.shape).astype(np.uint8)
    wrong = rng.permutation(OTHERS.ages)
    samples = {
        "people": drawn(OTHERS),
        "wrong": drawn(OTHERS, ages=wrong),
        "noise": drawn(OTHERS, images=noise),
    }
    return utility(samples, None, TRAIN, TEST, CPU)


def test_slices_of_other_people_are_worth_as_much_as_real_ones(results):
    for task in (results.age, results.segmentation):
        row = task.rows["people"]
        low, high = row.gain_interval
        print(task.measure, task.rows[REAL].value, row.value, row.gain_interval)
        assert row.base == (REAL if task is results.age else RELABELLED)
        spread = abs(task.rows[SHUFFLED].gain)
        assert max(abs(low), abs(high)) < 0.3 * spread
        assert task.rows[SHUFFLED].gain_interval[1] < 0


def test_wrong_ages_and_noise_are_worth_nothing(results):
    age, tissues = results.age.rows, results.segmentation.rows
    assert age["wrong"].gain_interval[1] < 0 and age["wrong"].r2 < 0.3 < 0.8 < age["people"].r2
    assert age["wrong"].value > 0.7 * age[SHUFFLED].value
    assert tissues["noise"].gain_interval[1] < 0
    assert tissues["wrong"].value == tissues["people"].value  # ages do not matter to tissues


def test_slices_of_other_people_help_those_who_have_few(results):
    age = results.age.rows
    row = age[added_name(FEWER, "people")]
    assert row.base == FEWER and row.gain_interval[0] > 0
    assert row.gain == pytest.approx(age[FEWER].value - row.value)
    assert age[REAL].value < age[FEW].value < age[FEWER].value


def test_sets_have_equal_sizes_and_shares_are_shares(results):
    for task in (results.age, results.segmentation):
        rows, n = task.rows, len(TRAIN)
        for name in (REAL, SHUFFLED):
            assert (rows[name].real_slices, rows[name].generated_slices) == (n, 0)
            assert rows[name].people == 40
        assert (rows["people"].real_slices, rows["people"].generated_slices) == (0, n)
        assert [rows[name].people for name in (FEW, FEWER)] == [12, 4]
        assert rows[FEWER].real_slices == 4 * POSITIONS and rows[FEWER].draws == module.DRAWS
        both = rows[added_name(REAL, "people")]
        assert (both.real_slices, both.generated_slices, both.people) == (n, n, 40)
        assert (task.test_people, task.test_slices) == (24, len(TEST))
    assert results.age.labeller is None and results.segmentation.labeller == FEWER


def test_real_slices_with_the_labels_of_the_labeller_stand_beside_it(results):
    rows = results.segmentation.rows
    assert rows[RELABELLED].value == pytest.approx(rows[FEWER].value, abs=0.03)
    assert rows[RELABELLED].draws == rows["people"].draws == rows[FEWER].draws
    assert RELABELLED not in results.age.rows


def test_values_lie_in_their_intervals(results):
    for task in (results.age, results.segmentation):
        for row in task.rows.values():
            for value, ends in (
                (row.value, row.interval),
                (row.gain, row.gain_interval),
                (row.r2, row.r2_interval),
            ):
                assert (value is None) == (ends is None)
                assert value is None or ends[0] <= value <= ends[1]


def test_the_report_takes_the_results(results):
    again = checked(UtilityResults, plain(results), "utility")
    assert again == results
    assert "real" in results.summary() and "people" in results.summary()


def test_table_and_sentences(results):
    for task in (results.age, results.segmentation):
        rows = utility_rows(task)
        assert list(rows) and len(rows) == len(task.rows)
        text = table(rows).data
        assert "160 of 40 people + 160 generated" in text
    sentences = utility_verdicts(results)
    assert set(sentences) == {"people", "wrong", "noise"}
    assert "worse by" in sentences["wrong"]["age"]
    assert "labelled by a model of 4 people" in sentences["noise"]["segmentation"]
    few = dataclasses.replace(results.age, test_people=5)
    told = utility_verdicts(dataclasses.replace(results, age=few))["wrong"]["age"]
    assert "5 test people are too few" in told and "worse" not in told


def test_gains_in_dice_have_a_digit_more_than_dice(results):
    row = utility_rows(results.segmentation)["noise"]
    assert len(row["mean Dice"].split()[0]) == len("0.917")
    assert len(row["better by"].split()[0]) == len("-0.0017")


def test_a_figure_shows_sets_alone_and_what_they_add(results):
    alone, *others = utility_groups(results.age)
    assert list(alone) == [REAL, "people", "wrong", "noise"]  # no shuffled labels
    priors = results.priors
    assert [list(group) for group in others] == [
        [added_name(REAL, name) for name in priors],
        *([share, *(added_name(share, name) for name in priors)] for share in (FEW, FEWER)),
    ]
    assert alone["people"] is results.age.rows["people"]


# ---------------------------------------------------------------- what data may lack
def small(train=TRAIN, test=TEST, vqvae=None, seed=0, **samples):
    return utility(samples or {"people": drawn(OTHERS)}, vqvae, train, test, CPU, seed)


@pytest.fixture
def few_draws(monkeypatch):
    monkeypatch.setattr(module, "DRAWS", 1)
    monkeypatch.setattr(estimates, "ROUNDS", 20)


@pytest.mark.usefixtures("few_draws")
def test_the_same_seed_gives_the_same_results():
    first = small(seed=3)
    assert first == small(seed=3) and first != small(seed=4)


@pytest.mark.usefixtures("few_draws")
def test_without_ages_or_masks_there_is_no_such_task():
    nothing = np.full(len(TRAIN), np.nan, np.float32)
    assert small(train=dataclasses.replace(TRAIN, ages=nothing)).age is None
    assert small(train=dataclasses.replace(TRAIN, ages=0 * TRAIN.ages + 50)).age is None
    unknown = dataclasses.replace(TEST, ages=np.full(len(TEST), np.nan, np.float32))
    assert small(test=unknown).age is None
    bare = small(train=dataclasses.replace(TRAIN, masks=None))
    assert bare.segmentation is None and bare.age is not None
    empty = dataclasses.replace(TRAIN, masks=np.zeros_like(TRAIN.masks), ages=nothing)
    neither = small(train=empty)
    assert neither == UtilityResults(["people"], None, None)
    assert neither.summary() == "no ages and no masks to learn from"
    assert utility_verdicts(neither) == {"people": {}}


@pytest.mark.usefixtures("few_draws")
def test_a_set_without_ages_has_no_row_in_that_task():
    blind = drawn(OTHERS, ages=np.full(len(OTHERS), np.nan, np.float32))
    result = small(people=drawn(OTHERS), blind=blind)
    assert "blind" not in result.age.rows and "blind" in result.segmentation.rows
    assert set(utility_verdicts(result)["blind"]) == {"segmentation"}
    assert result.age.rows["people"].generated_slices == len(OTHERS)


@pytest.mark.usefixtures("few_draws")
def test_slices_of_unknown_age_are_left_out():
    ages = np.where(TRAIN.subjects < 10, np.nan, TRAIN.ages)
    result = small(train=dataclasses.replace(TRAIN, ages=ages))
    assert result.age.rows[REAL].people == 30
    assert result.segmentation.rows[REAL].people == 40


@pytest.mark.usefixtures("few_draws")
def test_two_people_give_values_without_intervals():
    result = small(people("train", 2, 0), people("test", 2, 1), people=drawn(people("test", 2, 2)))
    for task in (result.age, result.segmentation):
        assert [name for name in task.rows if "%" in name] == []  # shares of two people are both
        assert all(np.isfinite(row.value) and row.interval is None for row in task.rows.values())
    assert result.segmentation.labeller == REAL
    assert "2 test people are too few" in utility_verdicts(result)["people"]["age"]
    checked(UtilityResults, plain(result), "utility")
    assert table(utility_rows(result.age)).data


@pytest.mark.usefixtures("few_draws")
def test_fewer_generated_slices_than_real_ones_set_the_size():
    few = people("test", 8, 5)
    result = small(people=drawn(few), more=drawn(OTHERS))
    for task in (result.age, result.segmentation):
        for name in (REAL, SHUFFLED):
            assert task.rows[name].real_slices == 32
        assert {task.rows[name].generated_slices for name in ("people", "more")} == {32}


@pytest.mark.usefixtures("few_draws")
def test_slices_of_other_sizes_and_without_a_mid_line():
    train, test = (people("train", 6, 0, 256), people("test", 5, 1, 256))
    train, test = (dataclasses.replace(x, symmetry=Symmetry(None)) for x in (train, test))
    result = small(train, test, people=drawn(people("train", 6, 2, 256)))
    assert result.age.rows["people"].interval and result.segmentation.rows[REAL].value > 0.9


@pytest.mark.usefixtures("few_draws")
def test_decoded_slices_are_those_of_the_vqvae():
    torch.manual_seed(0)
    config = VQVAEConfig(image_size=32, channels=32, residual_blocks=1, n_codes=8, code_dim=4)
    result = small(vqvae=VQVAE(config).eval())
    for task in (result.age, result.segmentation):
        row = task.rows[DECODED]
        assert row.base == REAL and row.real_slices == task.rows[REAL].real_slices
        assert row.gain < 0  # an untrained VQ-VAE keeps nothing


@pytest.mark.usefixtures("few_draws")
def test_without_generated_sets_the_real_rows_are_left():
    result = utility({}, None, TRAIN, TEST, CPU)
    assert set(result.age.rows) == {REAL, SHUFFLED, FEW, FEWER}  # and none decoded


# ---------------------------------------------------------------- refusals and the null
@pytest.mark.parametrize(
    ("name", "some", "message"),
    [
        ("people", drawn(people("test", 4, 0, 64)), "generate with models of these data"),
        ("real", drawn(OTHERS), "give the generated set another name"),
        ("people", drawn(people("test", 0, 0)), "holds no slices"),
    ],
)
def test_sets_that_cannot_be_used(name, some, message):
    with pytest.raises(ValueError, match=message):
        utility({name: some}, None, TRAIN, TEST, CPU)


def test_shuffled_ages_are_those_of_another_person():
    people_of = np.repeat(np.arange(5), 3)
    some = Described(np.zeros((15, 1)), np.zeros(15), people_of * 10.0, people_of)
    for seed in range(5):
        found = shuffled(some, by_person=True, seed=seed).labels
        assert (found != some.labels).all()
        assert sorted(found) == sorted(some.labels)
        assert all(len(set(found[people_of == person])) == 1 for person in range(5))


def test_shuffled_masks_are_those_of_other_slices_of_about_the_position():
    heights = np.tile(np.arange(4), 6) / 4
    labels = np.arange(24)[:, None]
    some = Described(np.zeros((24, 1, 1)), heights, labels, np.repeat(np.arange(6), 4))
    found = shuffled(some, by_person=False, seed=0).labels[:, 0]
    assert sorted(found) == list(range(24)) and (found != labels[:, 0]).all()
    assert (heights[found] == heights).sum() == 24 - 4  # the first of each position has no other
