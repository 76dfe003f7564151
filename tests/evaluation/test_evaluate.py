"""Everything brought together: reconstructions, one evaluation of a set of slices, and refusals."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from random_slices import blobs

from oasis_utils.config import DCGANConfig, EvaluationConfig, PixelCNNConfig, VQVAEConfig
from oasis_utils.data.dataset import Split
from oasis_utils.evaluation import corruptions as sensitivity
from oasis_utils.evaluation import evaluate as evaluation
from oasis_utils.evaluation import measured_sets
from oasis_utils.evaluation import reference as reference_module
from oasis_utils.evaluation.evaluate import evaluate_images, generate, sensitivities
from oasis_utils.evaluation.model_card import model_card
from oasis_utils.evaluation.reference import (
    DECODED_VS_DECODED,
    DECODED_VS_REAL,
    REAL_VS_REAL,
    TRAINING_VS_REAL,
    Reference,
)
from oasis_utils.models.dcgan import DCGAN
from oasis_utils.models.pixelcnn import PixelCNN
from oasis_utils.models.sampler import BrainSampler
from oasis_utils.models.vqvae import VQVAE
from oasis_utils.runtime.report import EvaluationResults, checked

CPU = torch.device("cpu")

CONFIG = EvaluationConfig(n_images=32, bootstrap=50)


# ---------------------------------------------------------------- samples
@pytest.fixture(params=["pixelcnn", "dcgan"])
def sampler(request):
    """A small untrained sampler of 3 positions that knows ages."""
    torch.manual_seed(0)
    vqvae = VQVAE(VQVAEConfig(image_size=32, downsampling=8, channels=32, n_codes=8, code_dim=4))
    shape = dict(grid=4, n_codes=8, n_positions=3, channels=8, age_mean=50.0, age_std=20.0)
    prior = (
        PixelCNN(PixelCNNConfig(**shape, blocks=2, hidden=8))
        if request.param == "pixelcnn"
        else DCGAN(DCGANConfig(**shape, code_dim=4, noise_dim=4))
    )
    return BrainSampler(vqvae, prior)


def aged(name, n, n_positions=3):
    """n slices of people of 20, 30 … years; the last person's age is unknown."""
    people = np.arange(n) // n_positions
    ages = np.where(people == people.max(), np.nan, 20 + 10 * people).astype(np.float32)
    return Split(name, blobs(n, 0), people, np.arange(n) % n_positions, ages)


def test_generate_covers_the_positions(sampler):
    samples = generate(sampler, 7, seed=1)
    assert np.bincount(samples.positions).tolist() == [3, 2, 2] and np.isnan(samples.ages).all()
    assert samples.images.shape == (7, 32, 32)
    assert np.array_equal(generate(sampler, 7, seed=1).images, samples.images)


def test_judged_samples_have_the_positions_and_ages_of_the_real_slices(sampler):
    real = aged("test", 24)
    samples = generate(sampler, 10, 1, real=real)
    rows = reference_module.reference_rows(real, 10)
    assert np.array_equal(samples.positions, real.positions[rows])
    np.testing.assert_array_equal(samples.ages, real.ages[rows])
    twice = generate(sampler, 30, 1, real=real)  # more than there are
    np.testing.assert_array_equal(twice.ages[24:], twice.ages[:6])


def test_a_prior_without_ages_is_given_none(sampler):
    prior = type(sampler.prior)(dataclasses.replace(sampler.prior.config, age_std=0.0))
    samples = generate(BrainSampler(sampler.vqvae, prior), 6, 1, real=aged("test", 24))
    assert np.isnan(samples.ages).all()


# ---------------------------------------------------------------- judgement on sample brains
@pytest.fixture(scope="session")
def splits(brains):
    return [brains.split(name) for name in ("train", "validate", "test")]


@pytest.fixture
def cheap_features(monkeypatch):
    """Grey means in place of the network, where its features do not matter."""
    monkeypatch.setattr(
        measured_sets,
        "learned",
        lambda images, device, label: np.tile(
            images[:, ::8, ::8].reshape(len(images), -1)[:, :64] / 255, 20
        ).astype(np.float32),
    )


@pytest.fixture(scope="session")
def reference(splits):
    torch.manual_seed(0)
    vqvae = VQVAE(
        VQVAEConfig(image_size=64, downsampling=8, channels=32, n_codes=8, code_dim=4)
    ).eval()
    return Reference.of(*splits, CONFIG, CPU, vqvae)


@pytest.fixture(scope="session")
def evaluations(reference, splits):
    """Real people, copies, blurred people and shuffled people, each judged as if generated."""
    train, other, _ = splits
    images, positions = np.array(other.images), other.positions
    sets = {
        "real": (images, positions),
        "copies": (np.roll(train.images, (1, -1), (1, 2)), train.positions),
        "blurred": (sensitivity.damaged(images, "blur 1.5 %"), positions),
        "shuffled": (sensitivity.damaged(images, "50 % of patches shuffled"), positions),
    }
    return {name: evaluate_images(*some, reference, name) for name, some in sets.items()}


def test_real_people_are_real(evaluations, reference):
    """The validation people judged as if generated: each slice counts as independent, all else is
    real vs real.
    """
    real, null = evaluations["real"], reference.comparisons[REAL_VS_REAL]["two_sample"]
    print(f"real vs real: AUC {null}, kernel distance {real['kid']:.4f} ({real['kid_interval']})")
    low, high = real["kid_real_vs_real_interval"]
    assert low <= real["kid"] <= high and low <= real["kid_real_vs_real"] <= high
    assert real["two_sample_auc_real_vs_real"] == null["network"]["value"]
    assert all(
        0 <= test["interval"][0] <= test["value"] <= test["interval"][1] <= 1
        for test in null.values()
    )
    assert real["memorised"] is False
    assert "2 people are too few to say" in real["verdicts"]["fidelity"]


def test_every_comparison_stands_beside_a_reference_of_its_kind(reference, evaluations):
    assert set(reference.comparisons) == {
        REAL_VS_REAL,
        TRAINING_VS_REAL,
        DECODED_VS_REAL,
        DECODED_VS_DECODED,
    }
    sides = evaluations["real"]["comparisons"]
    assert set(sides) == {"real", "decoded", *reference.comparisons}
    assert reference.decoded_real.images.shape == reference.real.images.shape
    assert np.array_equal(reference.decoded_real.groups, reference.real.groups)
    for key, metric in (
        ("", "kid"),
        ("_real_vs_real", "kid"),
        ("_prior", "kid"),
        ("_decoded_vs_decoded", "kid"),
    ):
        side = {"": "real", "_prior": "decoded"}.get(key, key[1:])
        assert evaluations["real"][metric + key] == sides[side]["learned"]["kid"]["value"]
    finest = evaluations["real"]["resolution"]
    low, high = evaluations["real"]["kid_real_vs_real_interval"]
    assert finest["learned kid"] == pytest.approx((high - low) / 2)
    assert set(finest) >= {
        "two_sample network",
        "radiomic frechet",
        "learned coverage",
        "anatomy ventricles",
    }


def test_decoded_people_are_judged_against_decoded_people(reference, splits):
    """A perfect prior writes the codes of other people: not shown to differ from decoded slices,
    far from real ones.
    """
    images = np.concatenate([reference.decoded.images] * 2)
    judged = evaluate_images(images, np.tile(reference.decoded.positions, 2), reference)
    assert "decoded vs decoded" in judged["verdicts"]["fidelity"]
    low, high = judged["kid_decoded_vs_decoded_interval"]
    rounding = 1e-12  # an untrained decoder gives all slices nearly equal features
    assert judged["kid_prior_interval"][0] <= high + rounding
    assert low <= judged["kid_prior_interval"][1] + rounding
    assert judged["kid_interval"][0] > judged["kid_prior_interval"][1]  # an untrained decoder


def test_planted_copies_are_caught_and_only_by_the_copy_test(evaluations):
    copies = evaluations["copies"]
    assert (
        copies["memorised"] is True and len(copies["suspicious_pairs"]) == 50
    )  # the list is cut there
    assert copies["memorisation"]["suspicious_share"] == 1.0
    for pair in copies["suspicious_pairs"]:
        assert pair["train_index"] == pair["sample"] and not pair["mirrored"]
    assert copies["copy_gap"] > 0.5 > abs(evaluations["real"]["copy_gap"])
    assert copies["kid"] < 3 * max(evaluations["real"]["kid"], 0.01)  # their distribution is right
    assert (
        "contain copies" in copies["verdicts"]["privacy"]
        and "Do not release" in copies["verdicts"]["privacy"]
    )


@pytest.mark.parametrize("name", ["blurred", "shuffled"])
def test_damaged_people_score_worse(evaluations, name):
    real, fake = evaluations["real"], evaluations[name]
    assert fake["kid_interval"][0] > real["kid_interval"][1]
    for space in ("learned", "radiomic"):
        a, b = (x["comparisons"]["real"][space] for x in (fake, real))
        assert (
            a["kid"]["value"] > 2 * abs(b["kid"]["value"])
            and a["frechet"]["value"] > b["frechet"]["value"]
        )
    ours, theirs = (x["comparisons"]["real"]["learned"]["coverage"]["value"] for x in (fake, real))
    assert ours < theirs
    assert fake["comparisons"]["real"]["two_sample"]["logistic"]["value"] > 0.9
    assert not fake["memorised"] or name == "blurred"


def test_shuffled_people_have_no_real_anatomy(evaluations):
    shares = {
        name: evaluations[name]["anatomy"]["generated"]["outside_share"]
        for name in ("real", "shuffled")
    }
    assert shares["shuffled"] == 1 > shares["real"] + 0.1


def test_every_evaluation_has_its_form_and_survives_json(evaluations):
    for result in evaluations.values():
        checked(EvaluationResults, result, "an evaluation")
        assert json.loads(json.dumps(result, allow_nan=False)) == result
        assert set(result["verdicts"]) == {"fidelity", "diversity", "anatomy", "privacy"}


def test_the_card_holds_verdicts_and_limits(evaluations):
    card = model_card(
        {"real": evaluations["real"], "copies": evaluations["copies"]}, {"data": "sample brains"}
    )
    privacy = evaluations["copies"]["verdicts"]["privacy"]
    for word in ("Intended use", "Not for diagnosis", "Limits", "sample brains", privacy):
        assert word in card
    assert "nan" not in card and "None" not in card


def test_positions_can_be_read_from_the_slices(reference, splits, monkeypatch, cheap_features):
    monkeypatch.setattr(
        evaluation, "compare", lambda *_: reference.comparisons[REAL_VS_REAL]
    )  # not what is tested here
    result = evaluate_images(np.array(splits[2].images), None, reference)
    assert (
        result["positions"] == "read from the slices"
        and "read from the slices" in result["verdicts"]["anatomy"]
    )


def test_a_reference_keeps_the_positions_and_the_number_of_the_images(
    splits, monkeypatch, cheap_features
):
    monkeypatch.setattr(reference_module, "compare", lambda *_, **__: {})
    reference = Reference.of(
        *splits, CONFIG, CPU, n_evaluated=20, positions=np.repeat(np.arange(4, 14), 2)
    )
    assert reference.n_images == len(reference.other.images) == 20
    assert set(reference.real.positions) == set(range(4, 14)) and reference.decoded is None
    assert np.array_equal(reference.other.positions, reference.real.positions)


def test_images_are_matched_with_the_real_slices_they_were_drawn_for(
    splits, monkeypatch, cheap_features
):
    """More images than the reference holds: those of its positions and ages are compared."""
    monkeypatch.setattr(reference_module, "compare", lambda *_, **__: {})
    reference = Reference.of(*splits, CONFIG, CPU)
    test, rows = splits[2], np.random.default_rng(0).permutation(64)
    drawn = evaluation._judged_set(
        np.array(test.images[rows]), test.positions[rows], test.ages[rows], reference, ""
    )
    assert np.array_equal(drawn.images, reference.real.images)
    assert np.array_equal(drawn.groups, np.arange(reference.n_images))


def test_people_are_matched_with_people():
    """Each test person has one partner of about the same age, who lends the same positions."""
    real = aged("test", 24)
    other = Split(
        "validate",
        blobs(30, 1),
        np.arange(30) // 3,
        np.arange(30) % 3,
        np.repeat(90 - 10 * np.arange(10), 3).astype(np.float32),
    )
    wanted = reference_module.reference_rows(real, 16)
    rows = reference_module._like(other, np.arange(30), real, wanted)
    assert np.array_equal(other.positions[rows], real.positions[wanted]) and len(set(rows)) == 16
    known = np.isfinite(real.ages[wanted])
    np.testing.assert_array_equal(other.ages[rows][known], real.ages[wanted][known])
    partners = {
        tuple(pair) for pair in zip(real.subjects[wanted], other.subjects[rows], strict=True)
    }
    assert len(partners) == len(np.unique(real.subjects[wanted]))


def test_sensitivity_is_given_in_widths_of_the_interval(reference, monkeypatch, capsys):
    few = {name: sensitivity.DAMAGES[name] for name in ("noise 10 %", "all mirrored")}
    monkeypatch.setattr(sensitivity, "DAMAGES", few)
    table = sensitivities(reference, 16)
    assert set(table) == set(few)
    assert table["noise 10 %"]["learned kid"] > 2 > table["all mirrored"]["learned kid"]
    (line,) = capsys.readouterr().err.splitlines()  # one progress for all
    assert "damaging slices" in line and "2/2" in line


# ---------------------------------------------------------------- refusals
def test_too_few_images_say_how_many_and_why(splits):
    with pytest.raises(
        ValueError, match="at least 16 images on either side, got 15 and 15: with fewer its error"
    ):
        Reference.of(*splits, CONFIG, CPU, n_evaluated=15)


def test_one_subject_is_refused(splits):
    train, floor, real = splits
    alone = Split("test", real.images[:32], real.subjects[:32], real.positions[:32], real.ages[:32])
    with pytest.raises(ValueError, match="the test split holds 1 subject, at least 2 are needed"):
        Reference.of(train, floor, alone, CONFIG, CPU)


def test_unknown_and_lonely_positions_are_refused(splits):
    with pytest.raises(
        ValueError, match="position 99 of the images is unknown: the validate split has positions 0"
    ):
        Reference.of(*splits, CONFIG, CPU, n_evaluated=64, positions=np.array([3, 99]))
    with pytest.raises(
        ValueError, match="2 slices at the positions of the images, at least 16 are needed"
    ):
        Reference.of(*splits, CONFIG, CPU, n_evaluated=64, positions=np.full(64, 3))


def test_images_of_another_size_or_number_are_refused(reference):
    with pytest.raises(
        ValueError, match="images are 32x32, the data 64x64: bring them to one size"
    ):
        evaluate_images(blobs(64, 3), None, reference)
    with pytest.raises(
        ValueError, match="got 20 images, the real sets have 32: sets of unequal size"
    ):
        evaluate_images(blobs(20, 3, 64), None, reference)
