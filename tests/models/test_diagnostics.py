"""Diagnostics of the DCGAN: code divergence, spread at a position, symptoms."""

import math

import pytest
import torch
from small_dcgan import normal

from oasis_utils.config import DCGANConfig
from oasis_utils.models.diagnostics import (
    code_divergence,
    position_spread,
    symptoms,
    with_adversarial_losses,
)

# ------------------------------------------------------------ distances


def test_code_divergence_of_equal_and_disjoint_histograms():
    a = torch.tensor([[0, 1], [2, 2]])
    assert code_divergence(a, a.flip(0).repeat(3, 1), 6) == pytest.approx(0, abs=1e-12)
    assert code_divergence(a, a + 3, 6) == pytest.approx(math.log(2))


def test_code_divergence_closed_form():
    a, b = torch.tensor([0, 0, 0, 1]), torch.tensor([1, 1])
    middle = (0.375, 0.625)
    from_a = 0.75 * math.log(0.75 / middle[0]) + 0.25 * math.log(0.25 / middle[1])
    expected = (from_a + math.log(1 / middle[1])) / 2
    assert code_divergence(a, b, 2) == pytest.approx(expected) == code_divergence(b, a, 2)


# ------------------------------------------------------------ validation


def test_position_spread_is_the_unbiased_variance_within_positions():
    vectors, positions = normal(9, 4), torch.tensor([7, 7, 7, 2, 2, 2, 5, 5, 5])
    expected = vectors.view(3, 3, 4).var(1).sum(1).mean()
    assert position_spread(vectors, positions) == pytest.approx(float(expected), rel=1e-5)
    moved = (
        vectors + 10 * normal(8, 4, seed=1)[positions]
    )  # what differs between positions is no variety
    assert position_spread(moved, positions) == pytest.approx(float(expected), rel=1e-4)
    assert position_spread(vectors[:2], torch.tensor([0, 1])) == 0


OVERPOWERED = {"discriminator_margin": 9.0, "held_out_accuracy": 1.0}


@pytest.mark.parametrize(
    ("history", "words"),
    [
        ([{}], []),
        ([{"variety": 0.8, "discriminator_margin": 0.5, "held_out_accuracy": 1.0}] * 2, []),
        ([{"variety": 0.05}], []),  # the first epoch: nothing is learned yet
        ([{"variety": 0.05}, {"variety": 0.2}], []),  # on its way up
        ([{"variety": 0.2}, {"variety": 0.05}], ["nearly alike"]),
        ([OVERPOWERED], ["overpowers"]),
        ([OVERPOWERED | {"held_out_accuracy": 0.6}], []),
        ([{"variety": 0.5}, OVERPOWERED | {"variety": 0.0}], ["overpowers", "nearly alike"]),
    ],
)
def test_symptoms_warn_of_a_failing_training_and_say_what_to_try(history, words):
    found = symptoms(history)
    assert len(found) == len(words) and all(
        word in text for word, text in zip(words, found, strict=True)
    )
    assert all("try" in text for text in found)


def test_adversarial_losses_are_what_is_left_without_penalty_and_commitment():
    config = DCGANConfig(gamma=2.0, commitment=0.25)
    start = {"steps": 0, "kernel_distance": 1.0}
    losses = {"discriminator_loss": 3.0, "generator_loss": 2.0, "generator_commitment": 4.0}
    first, classical, relativistic = with_adversarial_losses(
        [start, losses, losses | {"discriminator_penalty": 0.5}], config
    )
    assert first == start
    assert classical["discriminator_adversarial"] == 3.0
    assert relativistic["discriminator_adversarial"] == 3.0 - 0.5 * 2.0 * 0.5
    assert classical["generator_adversarial"] == 2.0 - 0.25 * 4.0
    assert "discriminator_adversarial" not in losses
