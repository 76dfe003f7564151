"""Groups of people: who belongs to them, what is measured on each, and which gaps are shown."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from random_slices import blobs, vectors

from oasis_utils.data.cache_folder import SLICES
from oasis_utils.data.dataset import Dataset
from oasis_utils.evaluation import groups as audit
from oasis_utils.evaluation.evaluate import generate
from oasis_utils.evaluation.groups import (
    Drawn,
    Measured,
    audit_groups,
    gap_sentences,
    group_values,
)
from oasis_utils.evaluation.people_groups import groups_of
from oasis_utils.models.samples import Samples
from oasis_utils.runtime.report import GroupResults, checked, plain

CPU = torch.device("cpu")
POSITIONS = 6
AGES = [20.0 + 5 * i for i in range(12)]


def dataset_of(ages, sexes=None, ratings=None, subjects=None):
    """Test people with these values, one session each, and six random slices of a session."""
    count = len(ages)
    entries = [
        {
            "subject": subject,
            "split": "test",
            "age": age,
            "sex": sex,
            "cdr": rating,
            "positions": list(range(POSITIONS)),
        }
        for subject, age, sex, rating in zip(
            subjects or range(count),
            ages,
            sexes or [None] * count,
            ratings or [None] * count,
            strict=True,
        )
    ]
    manifest = {
        "subjects": entries,
        "masks": False,
        "symmetry": {"axis": -1},
        "content": "brain",
    }
    return Dataset(Path(), manifest, {SLICES: blobs(count * POSITIONS, 0)})


def members(dataset, people=None):
    """{attribute: {group: its people}}."""
    people = dataset.split("test").subjects if people is None else people
    return {
        attribute: {name: sorted(group.people.tolist()) for name, group in found.items()}
        for attribute, found in groups_of(dataset, "test", people).items()
    }


# ---------------------------------------------------------------- who belongs to a group
def test_ages_make_thirds_of_the_people():
    found = groups_of(dataset_of(AGES), "test", np.arange(12))["age"]
    assert [found[name].people.tolist() for name in ("young", "middle", "old")] == [
        [0, 1, 2, 3],
        [4, 5, 6, 7],
        [8, 9, 10, 11],
    ]
    assert found["middle"].who == "40 to 55 years"
    edges = [found[name].ages for name in found]
    assert edges[0][1] == edges[1][0] == 35 and edges[1][1] == edges[2][0] == 55
    assert members(dataset_of([33.3, 44.4]))["age"] == {"young": [0], "old": [1]}


def test_people_of_one_age_stay_together():
    ages = [30.0] * 5 + [40.0, 50.0]
    assert members(dataset_of(ages))["age"] == {"young": [0, 1, 2, 3, 4], "old": [5, 6]}
    assert members(dataset_of([30.0] * 7)) == {}


def test_the_ages_of_two_thirds_do_not_share_a_bound():
    found = groups_of(dataset_of([18.0, 28.9, 29.1, 40.0, 41.0, 50.0]), "test", np.arange(6))["age"]
    assert [group.who for group in found.values()] == [
        "18 to 29 years",
        "above 29 to 40 years",
        "41 to 50 years",
    ]


def test_a_third_within_one_year_has_a_name_of_its_own():
    ages = [20.0, 28.9, 29.1, 29.3, 40.0, 50.0]
    found = groups_of(dataset_of(ages), "test", np.arange(6))["age"]
    assert [group.who for group in found.values()] == [
        "20 to 29 years",
        "29.1 to 29.3 years",
        "40 to 50 years",
    ]


def test_unknown_people_are_in_no_group():
    ages = [20.0, None, 40.0, None, 60.0]
    dataset = dataset_of(ages, ["F", "M", None, "M", None], [None, 0.0, 0.0, 1.0, None])
    assert members(dataset) == {
        "age": {"young": [0], "middle": [2], "old": [4]},
        "sex": {"women": [0], "men": [1, 3]},
        "CDR": {"CDR 0": [1, 2], "CDR above 0": [3]},
    }
    assert members(dataset, np.array([1, 3, 3])) == {"CDR": {"CDR 0": [1], "CDR above 0": [3]}}


@pytest.mark.parametrize(
    ("ages", "sexes", "ratings"),
    [
        ([None, None], None, None),
        ([50.0, None], ["F", "F"], [0.0, 0.0]),
        ([50.0, 50.0], ["M", None], [0.5, 1.0]),
    ],
)
def test_an_attribute_without_two_groups_is_left_out(ages, sexes, ratings):
    assert members(dataset_of(ages, sexes, ratings)) == {}


def test_sessions_of_one_person_are_one_person():
    dataset = dataset_of(
        [60.0, 64.0, 70.0, 80.0], ["F", None, "M", "M"], [0.0, 0.5, 0.0, 0.0], [7, 7, 8, 9]
    )
    assert members(dataset) == {
        "age": {"young": [7], "middle": [8], "old": [9]},
        "sex": {"women": [7], "men": [8, 9]},
        "CDR": {"CDR 0": [8, 9], "CDR above 0": [7]},
    }
    assert groups_of(dataset, "test", np.array([7, 8]))["age"]["young"].who == "62 years"


# ---------------------------------------------------------------- what is measured
def measured(people=30, per_person=8, seed=0):
    """The same everywhere: random scores and features, slices generated for the same ages."""
    rng, n = np.random.default_rng(seed), people * per_person
    ages = np.repeat(20.0 + np.arange(people), per_person)
    drawn = Drawn(vectors(n, seed + 1), ages, rng.random(n) < 0.5)
    return Measured(
        np.repeat(np.arange(people), per_person),
        0.9 + 0.01 * rng.standard_normal(n),
        2 + 0.1 * rng.standard_normal(n),
        vectors(n, seed),
        {"prior": drawn},
    )


def judged(some, ages=None):
    """What the audit says of the thirds by age."""
    people = len(np.unique(some.subjects))
    dataset = dataset_of([20.0 + i for i in range(people)] if ages is None else ages)
    found = groups_of(dataset, "test", some.subjects)["age"]
    return audit._attribute("age", {name: some.row(group) for name, group in found.items()})


def changed(some, **values):
    return dataclasses.replace(some, **values)


def test_groups_share_out_the_whole():
    """Means of groups, weighted by slices, are the mean over all slices."""
    some = measured()
    rows = judged(some).groups.values()
    for key, values in (("reconstruction", some.reconstruction), ("nats_per_code", some.nats)):
        total = sum(row.slices * getattr(row, key).value for row in rows)
        assert total / len(values) == pytest.approx(values.mean())
    covered = sum(row.slices * row.coverage["prior"].value for row in rows)
    assert covered == pytest.approx(some.drawn["prior"].covered.sum())
    assert sum(row.people for row in rows) == 30


def test_groups_that_are_alike_rarely_show_a_gap(monkeypatch):
    """Of ten audits at most two; without the correction for many comparisons it would be more."""

    def audits_with_a_gap():
        audits = [judged(measured(60, 4, seed=10 * i)) for i in range(10)]
        return sum(any(gap.shown for gap in found.gaps.values()) for found in audits)

    corrected = audits_with_a_gap()
    monkeypatch.setattr(audit, "_wider", lambda _comparisons: 1.0)
    assert corrected <= 2 < audits_with_a_gap()


def test_the_correction_is_that_of_bonferroni():
    assert audit._wider(1) == 1
    assert audit._wider(5) == pytest.approx(2.5758 / 1.9600, rel=1e-4)  # 99 % against 95 %


def test_every_metric_has_its_gap_and_a_place_in_the_verdict():
    found = judged(measured())
    names = {"reconstruction SSIM", "nats per code", "coverage, prior", "KID, prior"}
    assert set(found.gaps) == names and all(name in found.verdict for name in names)
    assert found.verdict.startswith("Largest gaps by age: ")


def test_a_planted_gap_is_shown_where_it_was_planted():
    some = measured()
    old = some.subjects >= 20
    worse = changed(some, reconstruction=some.reconstruction - 0.05 * old)
    found = judged(worse)
    gap = found.gaps["reconstruction SSIM"]
    assert gap.shown and gap.lower == "old" and gap.difference == pytest.approx(0.05, abs=0.01)
    assert [name for name, gap in found.gaps.items() if gap.shown] == ["reconstruction SSIM"]


def test_the_sentence_on_gaps_gives_both_values():
    some = measured()
    old = some.subjects >= 20
    found = judged(changed(some, reconstruction=some.reconstruction - 0.05 * old))
    row, low = found.groups, found.groups["old"].reconstruction.value
    (text,) = gap_sentences(GroupResults("brain", 30, 240, {"age": found}, 0.0))
    higher = found.gaps["reconstruction SSIM"].higher
    values = f"{higher} {row[higher].reconstruction.value:.3f}, old {low:.3f}"
    assert text.startswith(
        f"Largest gaps by age. *shown*: reconstruction SSIM ({values}). *not shown*: nats per code"
    )


def test_slices_drawn_for_an_age_are_compared_with_people_of_that_age():
    """Slices for the young are off: the young lose distance, the others do not."""
    some = measured()
    drawn = some.drawn["prior"]
    off = changed(drawn, features=drawn.features + 2 * (drawn.ages[:, None] < 30))
    found = judged(changed(some, drawn={"prior": off}))
    gap = found.gaps["KID, prior"]
    assert gap.shown and gap.higher == "young"
    same = judged(some).groups
    for name in ("middle", "old"):
        assert found.groups[name].kid == same[name].kid


def test_a_prior_without_ages_has_no_distance_by_age():
    some = measured()
    blind = changed(some.drawn["prior"], ages=np.full(240, np.nan))
    rows = judged(changed(some, drawn={"prior": blind})).groups.values()
    assert all(row.kid == {} and row.coverage["prior"].value is not None for row in rows)


def test_too_few_people_or_slices_say_nothing():
    few = judged(measured(people=9, per_person=8))  # 3 people in a third
    assert all(gap.shown is None for gap in few.gaps.values())
    assert "too few people to say" in few.verdict
    assert all(row.reconstruction.interval is None for row in few.groups.values())
    lonely = judged(measured(people=3, per_person=20))
    assert "KID, prior" not in lonely.gaps  # one person has no pairs of people
    assert all(row.people == 1 for row in lonely.groups.values())


def test_slices_without_a_brain_are_left_out():
    some = measured()
    first = some.reconstruction.copy()
    first[::2] = np.nan
    assert judged(changed(some, reconstruction=first)).groups["young"].reconstruction.value == (
        pytest.approx(first[:80][1::2].mean())
    )
    nothing = changed(some, reconstruction=np.full(240, np.nan))
    assert "reconstruction SSIM" not in judged(nothing).gaps


# ---------------------------------------------------------------- the whole audit
@pytest.fixture
def cheap_features(monkeypatch):
    """Grey levels in place of the network; notes which sets were described."""
    seen = []

    def cheap(images, _device, label):
        seen.append(label)
        return (images[:, ::4, ::4].reshape(len(images), -1) / 255).astype(np.float32)

    monkeypatch.setattr(audit, "learned", cheap)
    return seen


def test_the_audit_of_small_models(samplers, cheap_features):
    dataset = dataset_of(AGES, ["F", "M"] * 6, [None] * 4 + [0.0, 0.5] * 4)
    test = dataset.split("test")
    samples = {name: generate(s, 48, 0, real=test) for name, s in samplers.items()}
    prior = samplers["PixelCNN"]
    found = audit_groups(dataset, prior.vqvae, prior.prior, samples, CPU)
    assert checked(GroupResults, plain(found), "groups") == found
    assert set(found.attributes) == {"age", "sex", "CDR"} and found.slices == 48
    assert len(cheap_features) == 3  # decoded slices and two priors, each once
    young = found.attributes["age"].groups["young"]
    assert set(young.coverage) == {"PixelCNN", "DCGAN"} and set(young.kid) == {"PixelCNN"}
    assert not found.attributes["sex"].groups["men"].kid
    panels = group_values(found)
    assert list(panels)[-2:] == ["coverage (higher is better)", "KID (lower is better)"]
    nats = panels["nats per code (lower is better)"]
    assert list(nats)[:4] == [
        "young, 20 to 35 years (n = 4)",
        "middle, 40 to 55 years (n = 4)",
        "old, 60 to 75 years (n = 4)",
        "women (n = 6)",
    ]
    assert nats["women (n = 6)"] == {
        "PixelCNN": plain(found.attributes["sex"].groups["women"].nats_per_code),
        "DCGAN": None,
        "VQ-VAE": None,
    }
    every = [list(row) for panel in panels.values() for row in panel.values()]
    assert all(models == every[0] for models in every)  # so that colours agree
    assert all(panels["coverage (higher is better)"]["women (n = 6)"][name] for name in samplers)
    assert len(panels["KID (lower is better)"]) == 3  # of ages only
    assert found.summary().startswith("metrics that differ between groups: age: too few people")


def test_nothing_known_of_the_people_is_no_error(samplers, cheap_features):
    dataset = dataset_of([None] * 4, ["F"] * 4)
    prior = samplers["PixelCNN"]
    samples = {"PixelCNN": generate(prior, 24, 0)}
    found = audit_groups(dataset, prior.vqvae, prior.prior, samples, CPU)
    assert found.attributes == {} and group_values(found) == {} and cheap_features == []
    assert gap_sentences(found) == []
    assert found.summary() == "groups: age, sex and CDR are unknown or the same for all test people"


def test_without_samples_the_models_alone_are_audited(samplers, cheap_features):
    prior = samplers["PixelCNN"]
    found = audit_groups(dataset_of(AGES), prior.vqvae, prior.prior, {}, CPU, n_slices=36)
    assert found.slices == 36 and cheap_features == []
    assert set(found.attributes["age"].gaps) == {"reconstruction SSIM", "nats per code"}


def test_samples_of_another_size_are_refused(samplers):
    prior = samplers["PixelCNN"]
    wrong = Samples(blobs(20, 0, 16), np.zeros((20, 4, 4), np.int64), np.zeros(20, np.int64))
    with pytest.raises(ValueError, match="images are 16x16, the data 32x32"):
        audit_groups(dataset_of(AGES), prior.vqvae, prior.prior, {"PixelCNN": wrong}, CPU)
