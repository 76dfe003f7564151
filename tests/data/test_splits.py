"""Splits of people: as many as asked, alike in age, sex and CDR, and decided by seed, names and
people alone.
"""

import random

import numpy as np
import pytest

from oasis_utils.data.splits import balance, deal

SPLITS = ("train", "validate", "test")


def cohort(n, seed, known=1.0):
    """People as in OASIS-1: half young, half over 60, of whom half are demented; more women than
    men.
    """
    rng = random.Random(seed)
    people = {}
    for i in range(n):
        age = rng.uniform(18, 30) if rng.random() < 0.5 else rng.uniform(60, 96)
        cdr = None if age < 60 else rng.choice((0.0, 0.0, 0.5, 1.0))
        person = (float(round(age)), rng.choice("FFFMM"), cdr)
        people[f"OAS1_{i:04d}"] = person if rng.random() < known else (None, None, None)
    return people


def dealt(people, counts, seed=0):
    """{split: people}."""
    home = deal(people, dict(zip(SPLITS, counts, strict=True)), seed)
    return {split: [people[name] for name in home if home[name] == split] for split in SPLITS}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("counts", [(64, 32, 64), (64, 8, 8), (333, 42, 41), (30, 10, 10)])
def test_age_sex_and_cdr_are_alike_in_all_splits(counts, seed):
    people = cohort(sum(counts), seed)
    found = dealt(people, counts, seed)
    assert tuple(map(len, found.values())) == counts
    ages, women = [p[0] for p in people.values()], [p[1] == "F" for p in people.values()]
    ill = [p[2] is not None and p[2] > 0 for p in people.values()]
    for split in found.values():
        assert abs(np.mean([p[0] for p in split]) - np.mean(ages)) < 2.5
        assert min(p[0] for p in split) < 30 and max(p[0] for p in split) > 75
        assert abs(np.mean([p[1] == "F" for p in split]) - np.mean(women)) < 0.5 / np.sqrt(
            len(split)
        )
        assert abs(
            np.mean([p[2] is not None and p[2] > 0 for p in split]) - np.mean(ill)
        ) < 0.5 / np.sqrt(len(split))


@pytest.mark.parametrize("seed", range(5))
def test_two_people_a_split_are_one_younger_and_one_older(seed):
    people = {
        str(i): (float(age), None, None)
        for i, age in enumerate(random.Random(seed).sample(range(18, 97), 6))
    }
    middle = np.median([p[0] for p in people.values()])
    for split in dealt(people, (2, 2, 2), seed).values():
        assert min(p[0] for p in split) < middle < max(p[0] for p in split)


@pytest.mark.parametrize("seed", range(5))
def test_unknown_ages_are_dealt_evenly_as_well(seed):
    people = cohort(100, seed, known=0.6)
    unknown = np.mean([p[0] is None for p in people.values()])
    for split in dealt(people, (60, 20, 20), seed).values():
        assert abs(np.mean([p[0] is None for p in split]) - unknown) < 0.06


@pytest.mark.parametrize("known", [0.0, 0.7, 1.0])
def test_order_does_not_matter_and_the_seed_does(known):
    people = cohort(40, 3, known)
    counts = dict(zip(SPLITS, (24, 8, 8), strict=True))
    mixed = dict(random.Random(1).sample(list(people.items()), 40))
    assert deal(people, counts, 5) == deal(mixed, counts, 5) != deal(people, counts, 6)


def test_without_people_known_every_name_may_go_anywhere():
    names = dict.fromkeys(map(str, range(9)), (None, None, None))
    homes = [deal(names, {"train": 5, "validate": 2, "test": 2}, seed) for seed in range(60)]
    assert all({home[name] for home in homes} == set(SPLITS) for name in names)


def test_empty_splits_and_counts_that_do_not_fit():
    people = cohort(3, 0)
    assert set(deal(people, {"train": 3, "validate": 0, "test": 0}).values()) == {"train"}
    with pytest.raises(ValueError, match="3 subjects cannot be dealt .* must sum to"):
        deal(people, {"train": 1, "test": 1})
    with pytest.raises(ValueError, match="no subjects to deal"):
        deal({}, {"train": 0})


def test_balance_says_how_alike_splits_are():
    def entry(subject, split, age, sex=None, cdr=None):
        return {"subject": subject, "split": split, "age": age, "sex": sex, "cdr": cdr}

    entries = [
        entry(1, "train", 20.0, "F", 0.0),
        entry(2, "train", 70.0, "M", 0.5),
        entry(2, "train", 71.0, "M", 1.0),
        entry(3, "train", None, "F"),
        entry(4, "test", None),
    ]
    found = balance(entries)
    assert found["train"] == {
        "subjects": 3,
        "mean age": 45.0,
        "youngest": 20.0,
        "oldest": 70.0,
        "women": pytest.approx(2 / 3),
        "CDR > 0": 0.5,
    }
    assert found["test"] == {"subjects": 1} | dict.fromkeys(
        ("mean age", "youngest", "oldest", "women", "CDR > 0"), "unknown"
    )
