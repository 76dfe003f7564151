"""The linear start of the DCGAN, and the ages it is conditioned on."""

import math

import numpy as np
import pytest
import torch
from small_dcgan import CONFIG, batch, changed, normal, random_maps, tiny

from oasis_utils.models.checkpoints import load_model, save_model
from oasis_utils.models.dcgan import DCGAN

# ------------------------------------------------------------ linear start


def subjects(n_subjects=40, config=CONFIG):
    """(maps, positions): one map of each subject at each position; few codes differ between the
    subjects.
    """
    places, generator = (
        torch.arange(config.n_positions).repeat(n_subjects),
        torch.Generator().manual_seed(7),
    )
    anatomy = random_maps(config.n_positions, config, seed=8)[places]
    changes = torch.rand(anatomy.shape, generator=generator) < 0.2
    return torch.where(changes, random_maps(len(places), config, seed=9), anatomy), places


def started(config=CONFIG):
    model, (maps, positions) = tiny(config), subjects()
    model.use_maps(maps, positions)
    return model, maps, positions


def test_an_untrained_generator_draws_the_mean_map_of_the_position():
    model, maps, positions = started()
    drawn = model.generator(torch.zeros(5, model.config.noise_size), torch.arange(5))
    for position in range(5):
        torch.testing.assert_close(
            drawn[position], model.embed(maps[positions == position]).mean(0), atol=1e-5, rtol=0
        )


def test_an_untrained_generator_draws_as_varied_as_the_maps_are():
    model, maps, positions = started(
        changed(noise_dim=192)
    )  # as many directions as a map has numbers
    model.use_codebook(model.codebook, torch.ones(12))
    model.use_maps(maps, positions)
    noise = normal(4000, 192)
    with torch.no_grad():
        drawn = model.generator(noise, torch.zeros(4000, dtype=torch.long)).flatten(1)
    deviations = model.embed(maps).flatten(1) - model.generator.linear.mean[positions].flatten(1)
    assert float(drawn.var(0).sum()) == pytest.approx(
        float(deviations.square().mean(0).sum()), rel=0.03
    )
    few = started(changed(noise_dim=6))[0].generator.linear.directions.square().sum()
    assert (
        0.03 < float(few) / float(deviations.square().mean(0).sum()) < 0.5
    )  # the leading part only


def test_the_discriminator_sees_how_a_map_differs_from_the_mean_of_its_position():
    model = started()[0]
    maps, positions = model.embed(random_maps(4)), torch.tensor([0, 1, 2, 3])
    before = model.discriminator(maps, positions)
    model.discriminator.mean += 1
    assert (model.discriminator(maps, positions) - before).abs().min() > 1e-5


def test_the_start_is_saved_and_the_same_each_time(tmp_path):
    model, _, positions = started()
    torch.testing.assert_close(
        started()[0].generator.linear.directions, model.generator.linear.directions
    )
    save_model(tmp_path / "dcgan.safetensors", model)
    loaded, _ = load_model(tmp_path / "dcgan.safetensors", DCGAN)
    noise = model.noise([1, 2, 3])
    assert torch.equal(
        loaded.generator(noise, positions[:3]), model.generator(noise, positions[:3])
    )


@pytest.mark.parametrize("values", [dict(start="blank"), dict(space="index")])
def test_a_blank_start_knows_no_maps(values):
    model = tiny(changed(**values))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.use_maps(*subjects())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any("linear" in name or name.endswith("mean") for name in before)


def test_a_step_from_the_start_changes_what_is_drawn():
    model, maps, positions = started()
    optimizer = torch.optim.SGD(model.parameter_groups()["generator"], lr=0.1)
    noise = model.noise([0, 1])
    before = model.generator(noise, positions[:2]).detach()
    model.step({"indices": maps[:20], "positions": positions[:20]}, "generator")["loss"].backward()
    optimizer.step()
    assert (model.generator(noise, positions[:2]) - before).abs().max() > 1e-6


# ------------------------------------------------------------ age

AGES = dict(age_mean=50.0, age_std=20.0)


def ageing_subjects():
    """(model, maps, positions, ages): with age, more and more of the upper half of a map is code
    1.
    """
    model, (maps, positions) = tiny(changed(**AGES)), subjects()
    ages = 50 + 20 * normal(len(maps), seed=3)
    old = (
        torch.rand(maps.shape, generator=torch.Generator().manual_seed(4))
        < ((ages - 10) / 80)[:, None, None]
    )
    old[:, 4:] = False
    maps = torch.where(old, 1, maps)
    model.use_maps(maps, positions, ages)
    return model, maps, positions, ages


def test_the_linear_start_ages_as_the_maps_do():
    model, positions = ageing_subjects()[0], torch.full((32,), 2)
    noise, upper = model.noise(list(range(32))), np.s_[:, :4]
    shares = [
        (model.sample(positions, noise, torch.full((32,), years))[upper] == 1).float().mean()
        for years in (10.0, 50.0, 90.0)
    ]
    assert shares[0] + 0.2 < shares[1] < shares[2] - 0.2


def test_an_age_that_is_not_known_is_left_to_the_noise():
    model, positions = ageing_subjects()[0], torch.tensor([0, 1, 2])
    noise = model.noise([4, 5, 6])
    unknown = model.sample(positions, noise, torch.full((3,), math.nan))
    assert torch.equal(unknown, model.sample(positions, noise))
    known = model.sample(
        positions, noise, 50 + 20 * noise[:, 0]
    )  # the very ages that the noise stood for
    assert torch.equal(known, unknown)


def test_the_discriminator_is_conditioned_on_the_age():
    model, maps, positions, _ = ageing_subjects()
    young, old = (
        model.discriminator(model.embed(maps[:4]), positions[:4], torch.full((4,), age))
        for age in (-1.0, 1.0)
    )
    assert (young - old).abs().min() > 1e-6


@pytest.mark.parametrize("phase", DCGAN.phases)
def test_a_step_with_ages_some_of_them_unknown_is_finite(phase):
    model, maps, positions, ages = ageing_subjects()
    ages[::2] = math.nan
    losses = model.step(
        {"indices": maps[:10], "positions": positions[:10], "ages": ages[:10]}, phase
    )
    losses["loss"].backward()
    assert all(value.isfinite() for value in losses.values())
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_a_model_without_ages_refuses_them_when_asked_and_ignores_them_in_training():
    model = tiny()
    with pytest.raises(ValueError, match="trained without ages"):
        model.sample(torch.tensor([0]), model.noise([0]), torch.tensor([40.0]))
    torch.manual_seed(1)
    plain = model.step(batch(), "discriminator")["loss"]
    torch.manual_seed(1)
    assert torch.equal(
        model.step({**batch(), "ages": torch.full((6,), 30.0)}, "discriminator")["loss"], plain
    )
