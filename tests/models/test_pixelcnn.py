"""The PixelCNN: likelihood, and what it is conditioned on."""

import math

import pytest
import torch
from small_pixelcnn import AGES, random_maps, sharpened, tiny

from oasis_utils.models.drawing import SamplingOptions, uniform_noise

# ------------------------------------------------------------ likelihood


@pytest.mark.parametrize("n_codes", [10, 64, 256])
def test_first_loss_is_the_surprisal_of_a_uniform_guess(n_codes):
    model = tiny(n_codes=n_codes, channels=16, hidden=32).train()
    maps = random_maps(8, n_codes=n_codes)
    loss = model.step({"indices": maps, "positions": torch.arange(8) % 4}, "likelihood")["loss"]
    assert float(loss.detach()) == pytest.approx(math.log(n_codes), rel=0.04)


def test_surprisal_is_minus_the_log_of_the_predicted_probability():
    model, maps, positions = tiny(), random_maps(3), torch.tensor([0, 1, 3])
    probabilities = model(maps, positions).softmax(1).gather(1, maps[:, None])[:, 0]
    torch.testing.assert_close(model.surprisal(maps, positions), -probabilities.log().detach())


def test_probabilities_of_all_maps_sum_to_one():
    model = tiny(grid=2, n_codes=3)
    every = torch.cartesian_prod(*[torch.arange(3)] * 4).view(81, 2, 2)
    nats = model.surprisal(every, torch.full((81,), 2)).sum((1, 2))
    assert float(torch.exp(-nats).sum()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("sizes", [(5,), (1, 4), (3, 2)])
def test_validation_is_the_mean_over_all_cells_of_all_batches(sizes):
    model, maps, positions = tiny(), random_maps(5), torch.arange(5) % 4
    parts = zip(maps.split(sizes), positions.split(sizes), strict=True)
    found = model.validate([{"indices": a, "positions": b} for a, b in parts])
    assert found == {
        "nats_per_code": pytest.approx(float(model.surprisal(maps, positions).mean()), rel=1e-5)
    }


def test_every_parameter_learns():
    model = tiny(dropout=0.0).train()
    batch = {"indices": random_maps(16), "positions": torch.arange(16) % 4}
    model.step(batch, "likelihood")["loss"].backward()
    still = {
        name
        for name, value in model.named_parameters()
        if value.grad is None or not value.grad.any()
    }
    assert still == set()


# ------------------------------------------------------------ condition


def test_positions_change_the_logits():
    model, maps = tiny(), random_maps(1).expand(4, 6, 6)
    with torch.no_grad():
        logits = model(maps, torch.arange(4))
        same = model(maps, torch.tensor([2, 2, 2, 2]))
    torch.testing.assert_close(same[0], same[3])
    torch.testing.assert_close(same[0], logits[2])
    assert all((logits[i] - logits[j]).abs().max() > 1e-3 for i in range(4) for j in range(i))


@pytest.fixture(scope="module")
def trained():
    """Trained on maps whose every code is the slice position, with a marked column; and its last
    loss.
    """
    model = tiny(grid=4, n_codes=6, blocks=2, channels=16, dropout=0.0).train()
    positions = torch.arange(16) % 4
    maps = positions[:, None, None].expand(16, 4, 4).clone()
    maps[:, :, 2] = 5
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(60):
        loss = model.step({"indices": maps, "positions": positions}, "likelihood")["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval(), maps[:4], float(loss.detach())


def test_a_short_training_learns_the_conditional_distribution(trained):
    model, maps, loss = trained
    assert loss < 0.05 * math.log(6)
    positions = torch.arange(4)
    drawn = model.sample(
        positions, uniform_noise([7, 8, 9, 10], 4), SamplingOptions(temperature=0.0)
    )
    assert torch.equal(drawn, maps)
    assert (
        model.surprisal(maps, positions) < model.surprisal(maps, positions.roll(1))
    ).float().mean() > 0.6


# ------------------------------------------------------------ age

AGED = torch.tensor([25.0, 50.0, 90.0, math.nan])


def test_age_changes_the_logits_and_nan_is_the_learned_unknown():
    model, maps, positions = (
        tiny(**AGES),
        random_maps(1).expand(4, 6, 6),
        torch.ones(4, dtype=torch.long),
    )
    torch.nn.init.normal_(model.age_features.unknown, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits, unknown = model(maps, positions, AGED), model(maps, positions)
    torch.testing.assert_close(unknown[0], logits[3])
    assert all((logits[i] - logits[j]).abs().max() > 1e-3 for i in range(4) for j in range(i))
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize("shared", [0.0, 0.5])
def test_hidden_ages_train_the_vector_of_the_unknown(shared):
    model = tiny(**AGES, age_dropout=shared).train()
    batch = {
        "indices": random_maps(16),
        "positions": torch.arange(16) % 4,
        "ages": torch.full((16,), 60.0),
    }
    torch.manual_seed(0)
    model.step(batch, "likelihood")["loss"].backward()
    assert bool(model.age_features.unknown.grad.any()) == (shared > 0)
    assert torch.isfinite(model.age_features.spread.weight.grad).all()


def test_cached_samples_equal_naive_ones_at_any_age():
    model = sharpened(tiny(**AGES), 5.0)
    positions, noise = torch.ones(4, dtype=torch.long), uniform_noise([1, 1, 1, 1], 6)
    maps = model.sample(positions, noise, ages=AGED)
    assert torch.equal(maps, model.sample_naive(positions, noise, ages=AGED))
    assert not torch.equal(maps[0], maps[2])


def test_a_model_without_ages_refuses_one_but_trains_on_data_that_have_them():
    model, positions = tiny(), torch.tensor([0])
    with pytest.raises(ValueError, match="trained without ages"):
        model.sample(positions, uniform_noise([0], 6), ages=torch.tensor([40.0]))
    batch = {"indices": random_maps(1), "positions": positions}
    with_age = model.validate([{**batch, "ages": torch.tensor([40.0])}])
    assert with_age == model.validate([batch])
