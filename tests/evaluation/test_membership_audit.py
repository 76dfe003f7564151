"""The membership audit on small models: it alarms for one that remembers, not for others."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy import ndimage

from oasis_utils.config import DCGANConfig, PixelCNNConfig, TrainingConfig, VQVAEConfig
from oasis_utils.data.batches import Batches
from oasis_utils.data.dataset import Split
from oasis_utils.evaluation import membership as module
from oasis_utils.evaluation.membership import (
    NEGATIVE,
    POSITIVE,
    Group,
    attack_rows,
    audit_membership,
    scorers,
)
from oasis_utils.models.codes import decode_maps
from oasis_utils.models.dcgan import DCGAN
from oasis_utils.models.pixelcnn import PixelCNN
from oasis_utils.models.vqvae import VQVAE
from oasis_utils.runtime.report import (
    AttackResults,
    EstimateResults,
    MembershipResults,
    MembershipRow,
    checked,
    plain,
)
from oasis_utils.training.trainer import Trainer

CPU = torch.device("cpu")
POSITIONS, SIDE = 8, 32
COLUMNS = ("images", "subjects", "positions", "ages")


def heads(name, n, seed):
    """Smooth random slices of n people, no two alike, with ages."""
    rng = np.random.default_rng(seed)
    fields = ndimage.gaussian_filter(rng.normal(size=(n * POSITIONS, SIDE, SIDE)), (0, 3, 3))
    images = np.clip(128 + 60 * fields / fields.std(), 0, 255).astype(np.uint8)
    people = np.repeat(np.arange(n), POSITIONS) + 1000 * seed
    ages = np.repeat(rng.uniform(20, 90, n), POSITIONS).astype(np.float32)
    return Split(name, images, people, np.tile(np.arange(POSITIONS), n), ages)


@pytest.fixture(scope="module")
def splits():
    return {
        name: heads(name, n, seed)
        for seed, (name, n) in enumerate({"train": 16, "validate": 16, "test": 32}.items())
    }


@pytest.fixture(scope="module")
def vqvae(splits):
    """Untrained but for its codes, the k-means centres of some slices."""
    torch.manual_seed(0)
    config = VQVAEConfig(image_size=SIDE, downsampling=4, channels=32, n_codes=16, code_dim=4)
    model = VQVAE(config).train()
    images = torch.from_numpy(splits["train"].images)[:, None].float() / 255
    with torch.no_grad():
        model.step({"images": images}, "autoencoder")
    return model.eval()


def pixelcnn(**changes):
    torch.manual_seed(0)
    shape = dict(grid=8, n_codes=16, n_positions=POSITIONS, channels=32, blocks=3, hidden=32)
    return PixelCNN(PixelCNNConfig(**shape | changes))


@pytest.fixture(scope="module")
def overfitted(vqvae, splits):
    """20 epochs on the plain maps of the training people."""
    train = splits["train"]
    group = Group.of(train, np.unique(train.subjects), vqvae, CPU, POSITIONS)
    batches, model = (
        Batches(
            {
                "indices": torch.from_numpy(group.maps.astype(np.int64)),
                "positions": torch.from_numpy(group.positions),
            },
            8,
            True,
        ),
        pixelcnn(),
    )
    trainer = Trainer(model.train(), TrainingConfig(learning_rate=3e-3), 20 * len(batches))
    for epoch in range(20):
        for batch in batches.epoch(epoch):
            trainer.step(batch)
    return model.eval()


def test_it_alarms_for_an_overfitted_prior_and_not_for_an_untrained_one(vqvae, splits, overfitted):
    priors = {"overfitted": overfitted, "untrained": pixelcnn().eval()}
    result = audit_membership(vqvae, priors, splits, CPU)
    row = result.models["overfitted"]
    assert row.alarm == "yes" and "are told from others" in row.verdict
    assert row.calibrated.person_auc.value > 0.95
    low, high = row.null.person_auc.interval
    assert low < 0.5 < high
    assert row.calibrated.person_found.value > 0.5
    assert result.models["untrained"].alarm in ("no", "unclear")
    assert [result.controls[name].alarm for name in (POSITIVE, NEGATIVE)] == ["yes", "no"]
    assert result.controls[NEGATIVE].null is None
    assert result.people == {"members": 16, "others": 16, "validation": 16, "reference": 16}
    checked(MembershipResults, plain(result), "an audit")
    assert "overfitted 1.00" in result.summary() or "overfitted 0.9" in result.summary()


def test_nobody_is_on_two_sides(vqvae, splits):
    from oasis_utils.evaluation.membership import _groups

    groups, spared = _groups(vqvae, splits, CPU, POSITIONS)
    sides = [set(g.people.tolist()) for g in (*groups.values(), spared)]
    assert sum(map(len, sides)) == len(set().union(*sides))


def test_everybody_gives_equally_many_slices(vqvae, splits):
    test = splits["test"]
    some = np.arange(len(test)) > POSITIONS - 2  # one slice of the first person is left
    gaps = Split("test", *(getattr(test, name)[some] for name in COLUMNS))
    group = Group.of(gaps, np.unique(test.subjects), vqvae, CPU, 3)
    assert np.unique(group.people, return_counts=True)[1].tolist() == [1] + [3] * 31
    second = group.positions[1:4].tolist()
    assert second[0] == 0 and second[-1] == POSITIONS - 1


def test_of_many_people_some_are_asked(vqvae, splits, monkeypatch):
    monkeypatch.setattr(module, "MAX_PEOPLE", 12)
    result = audit_membership(vqvae, {}, splits, CPU, each=2)
    assert set(result.people.values()) == {12}
    assert result.slices == {"members": 24, "others": 24, "validation": 24, "reference": 96}


def test_few_people_give_scores_without_a_verdict(vqvae):
    few = {name: heads(name, 2, seed) for seed, name in enumerate(("train", "validate", "test"))}
    result = audit_membership(vqvae, {"PixelCNN": pixelcnn().eval()}, few, CPU)
    row = result.models["PixelCNN"]
    assert row.calibrated is None and row.alarm == "too few people"
    assert 0 <= row.plain.slice_auc.value <= 1 and row.plain.slice_auc.interval is None
    assert "reference" not in result.people
    checked(MembershipResults, plain(result), "an audit")


def test_unknown_ages_are_no_obstacle(vqvae, splits):
    ageless = {
        name: dataclasses.replace(split, ages=np.full(len(split), np.nan, np.float32))
        for name, split in splits.items()
    }
    result = audit_membership(vqvae, {}, ageless, CPU)
    assert result.controls[POSITIVE].alarm == "yes"


def test_every_model_is_asked_for_what_its_training_changed(vqvae, splits):
    torch.manual_seed(0)
    dcgan = DCGAN(
        DCGANConfig(grid=8, n_codes=16, code_dim=4, n_positions=POSITIONS, noise_dim=4, channels=8)
    ).eval()
    train = splits["train"]
    group = Group.of(train, np.unique(train.subjects)[:3], vqvae, CPU, POSITIONS)
    asked = scorers(vqvae, {"PixelCNN": pixelcnn().eval(), "DCGAN": dcgan}, CPU)
    scores = {name: scorer(group) for name, (_, scorer) in asked.items()}
    assert {s.shape for s in scores.values()} == {(24,)}
    some = np.random.default_rng(0).permutation(24)[:7]  # a score is of one slice alone
    fewer = Group(*(getattr(group, f.name)[some] for f in dataclasses.fields(group)))
    for name, (_, scorer) in asked.items():
        assert len(np.unique(scores[name])) > 12
        np.testing.assert_allclose(scorer(fewer), scores[name][some], rtol=1e-4)
    decoded = decode_maps(vqvae, group.maps).astype(float)
    errors = np.abs(decoded - group.images).mean((1, 2)) / 255
    np.testing.assert_allclose(scores["VQ-VAE"], -errors, rtol=1e-5)


def attack(low, high):
    estimate = EstimateResults((low + high) / 2, (low, high))
    return AttackResults(estimate, estimate, estimate, estimate)


@pytest.mark.parametrize(
    ("found", "null", "alarm"),
    [
        ((0.9, 1.0), (0.4, 0.6), "yes"),
        ((0.0, 0.1), (0.4, 0.6), "yes"),  # an attacker may turn the sign around
        ((0.55, 0.7), (0.4, 0.6), "unclear"),
        ((0.55, 0.7), (0.25, 0.45), "unclear"),  # two groups may differ in either direction
        ((0.45, 0.7), (0.4, 0.6), "no"),
        ((0.55, 0.7), None, "yes"),
    ],
)
def test_an_alarm_is_beyond_what_the_draw_of_people_gives(found, null, alarm):
    answer, sentence = module._verdict(attack(*found), null and attack(*null))
    assert answer == alarm
    assert ("unclear" in sentence) == (alarm == "unclear")
    assert ("not shown" in sentence) == (alarm == "no")


def test_the_table_is_of_the_calibrated_attack_where_there_is_one():
    plain_one, null = attack(0.4, 0.5), attack(0.45, 0.55)
    row = MembershipRow("nats", plain_one, attack(0.7, 0.9), null, "yes", "text")
    rows = attack_rows({"a": row, "b": dataclasses.replace(row, calibrated=None)})
    columns = ["AUC, slices", "AUC, people", "found at 1 %"]
    assert list(rows["a"]) == ["score", *columns, "alarm"]
    assert [rows["a"][key] for key in columns] == ["0.80 (0.70 to 0.90)"] * 3
    assert [rows["b"][key] for key in columns] == ["0.45 (0.40 to 0.50)"] * 3
