"""Splits of people: as many as asked, alike in age, sex and CDR, and decided by seed, names and
people alone.
"""

import random

import numpy as np
import pytest

from oasis_utils.config import SPLITS
from oasis_utils.data.people import Person
from oasis_utils.data.splits import assign_splits, balance, balanced_splits
from oasis_utils.runtime import DataError


def cohort(n, seed, known=1.0):
    """People as in OASIS-1: half young, half over 60, of whom half are demented; more women than
    men.
    """
    rng = random.Random(seed)
    people = {}
    for i in range(n):
        age = rng.uniform(18, 30) if rng.random() < 0.5 else rng.uniform(60, 96)
        cdr = None if age < 60 else rng.choice((0.0, 0.0, 0.5, 1.0))
        person = Person(float(round(age)), rng.choice("FFFMM"), cdr)
        people[f"OAS1_{i:04d}"] = person if rng.random() < known else Person()
    return people


def dealt(people, counts, seed=0):
    """{split: people}."""
    split_of = balanced_splits(people, dict(zip(SPLITS, counts, strict=True)), seed)
    return {
        split: [people[name] for name in split_of if split_of[name] == split] for split in SPLITS
    }


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("counts", [(64, 32, 64), (64, 8, 8), (333, 42, 41), (30, 10, 10)])
def test_age_sex_and_cdr_are_alike_in_all_splits(counts, seed):
    people = cohort(sum(counts), seed)
    found = dealt(people, counts, seed)
    assert tuple(map(len, found.values())) == counts
    ages, women = [p.age for p in people.values()], [p.sex == "F" for p in people.values()]
    ill = [p.cdr is not None and p.cdr > 0 for p in people.values()]
    for split in found.values():
        assert abs(np.mean([p.age for p in split]) - np.mean(ages)) < 2.5
        assert min(p.age for p in split) < 30 and max(p.age for p in split) > 75
        assert abs(np.mean([p.sex == "F" for p in split]) - np.mean(women)) < 0.5 / np.sqrt(
            len(split)
        )
        assert abs(
            np.mean([p.cdr is not None and p.cdr > 0 for p in split]) - np.mean(ill)
        ) < 0.5 / np.sqrt(len(split))


@pytest.mark.parametrize("seed", range(5))
def test_two_people_a_split_are_one_younger_and_one_older(seed):
    people = {
        str(i): Person(float(age))
        for i, age in enumerate(random.Random(seed).sample(range(18, 97), 6))
    }
    middle = np.median([p.age for p in people.values()])
    for split in dealt(people, (2, 2, 2), seed).values():
        assert min(p.age for p in split) < middle < max(p.age for p in split)


@pytest.mark.parametrize("seed", range(5))
def test_unknown_ages_are_dealt_evenly_as_well(seed):
    people = cohort(100, seed, known=0.6)
    unknown = np.mean([p.age is None for p in people.values()])
    for split in dealt(people, (60, 20, 20), seed).values():
        assert abs(np.mean([p.age is None for p in split]) - unknown) < 0.06


@pytest.mark.parametrize("known", [0.0, 0.7, 1.0])
def test_order_does_not_matter_and_the_seed_does(known):
    people = cohort(40, 3, known)
    counts = dict(zip(SPLITS, (24, 8, 8), strict=True))
    mixed = dict(random.Random(1).sample(list(people.items()), 40))
    assert (
        balanced_splits(people, counts, 5)
        == balanced_splits(mixed, counts, 5)
        != balanced_splits(people, counts, 6)
    )


def test_without_people_known_every_name_may_go_anywhere():
    names = dict.fromkeys(map(str, range(9)), Person())
    deals = [
        balanced_splits(names, {"train": 5, "validate": 2, "test": 2}, seed) for seed in range(60)
    ]
    assert all({split_of[name] for split_of in deals} == set(SPLITS) for name in names)


def test_empty_splits_and_counts_that_do_not_fit():
    people = cohort(3, 0)
    assert set(balanced_splits(people, {"train": 3, "validate": 0, "test": 0}).values()) == {
        "train"
    }
    with pytest.raises(ValueError, match="3 subjects cannot be assigned .* must sum to"):
        balanced_splits(people, {"train": 1, "test": 1})
    with pytest.raises(ValueError, match="no subjects to assign"):
        balanced_splits({}, {"train": 0})


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
    assert list(balance([entry(1, "train", 20.0), entry(2, "test", None)])["test"]) == [
        "subjects",
        "mean age",
        "youngest",
        "oldest",
    ]


# ---------------------------------------------------------------- shares


@pytest.mark.slow
def test_no_subject_is_ever_in_two_splits():
    """Random names, shares and seeds: a partition, of the asked proportions, that file order does
    not change.
    """
    for seed in range(200):
        rng = random.Random(seed)
        names = list(
            {
                f"{rng.choice(['OAS1_', 'sub-', ''])}{rng.randrange(10 ** rng.choice((2, 4)))}"
                for _ in range(rng.randint(3, 60))
            }
            | {"x", "y", "z"}
        )
        shares = tuple(rng.choice((0.05, 0.1, 0.3, 0.8, 1.0, 7.0)) for _ in range(3))
        known = {
            name: rng.choice(
                [
                    Person(),
                    Person(rng.uniform(18, 96), rng.choice("FM"), rng.choice((0.0, 0.5))),
                ]
            )
            for name in names
        }
        split_of = assign_splits(known, shares, seed)
        counts = [list(split_of.values()).count(split) for split in SPLITS]
        assert set(split_of) == set(names) and min(counts) >= 1
        ideal = [share / sum(shares) * len(names) for share in shares]
        if min(ideal) >= 1:
            assert all(abs(n - wanted) < 1 for n, wanted in zip(counts, ideal, strict=True))
        assert (
            assign_splits(
                {name: known[name] for name in rng.sample(names, len(names))}, shares, seed
            )
            == split_of
        )


def test_seeds_give_other_splits():
    names = {f"sub-{i}": Person() for i in range(50)}
    assert assign_splits(names, seed=1) != assign_splits(names, seed=2)
    assert list(assign_splits(names).values()).count("train") == 40


@pytest.mark.parametrize("n", [0, 1, 2])
def test_too_few_subjects_to_split(n):
    with pytest.raises(DataError, match=f"{n} subjects cannot be split .* at least 3"):
        assign_splits({str(i): Person() for i in range(n)})


@pytest.mark.parametrize("shares", [(0.8, 0.2, 0.0), (1.0, -1.0, 1.0), (float("nan"), 1.0, 1.0)])
def test_shares_are_positive(shares):
    with pytest.raises(DataError, match="three positive shares"):
        assign_splits(dict.fromkeys("abcd", Person()), shares)
