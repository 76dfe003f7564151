"""The DCGAN: valid maps, the losses of both networks in closed form, and its metrics."""

import dataclasses
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from oasis_utils.config import DCGANConfig
from oasis_utils.models.adversarial import PACK, pack_variety
from oasis_utils.models.checkpoints import load_model, save_model
from oasis_utils.models.dcgan import (
    DCGAN,
    code_divergence,
    discriminator_loss,
    generator_loss,
    kernel_distance,
    position_spread,
    symptoms,
)
from oasis_utils.models.quantizer import nearest_code

CONFIG = DCGANConfig(grid=8, n_codes=12, code_dim=3, n_positions=5, noise_dim=6, channels=8)


def changed(**values):
    return dataclasses.replace(CONFIG, **values)


def tiny(config=CONFIG):
    torch.manual_seed(0)
    return DCGAN(config)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def random_maps(count, config=CONFIG, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(config.n_codes, (count, config.grid, config.grid), generator=generator)


def batch(count=6):
    return {
        "indices": random_maps(count),
        "positions": torch.arange(count) * CONFIG.n_positions // count,
    }


class Batches(list):
    batch_size = 6


class StandIn(nn.Module):
    """A discriminator whose score of a map x is a given function of x alone."""

    def __init__(self, score):
        super().__init__()
        self.weight, self.score = nn.Parameter(torch.zeros(())), score

    def forward(self, maps, positions, ages=None):
        return self.score(maps) + self.weight


class Draws(nn.Module):
    """A generator that draws the same vectors for any noise."""

    def __init__(self, drawn):
        super().__init__()
        self.drawn = nn.Parameter(drawn)

    def forward(self, noise, positions):
        return self.drawn


# ------------------------------------------------------------ maps


@pytest.mark.parametrize("space", ["embedding", "index"])
@pytest.mark.parametrize("grid", [4, 8, 16])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_every_sampled_map_is_valid_indices(space, grid, scale):
    model = tiny(changed(space=space, grid=grid, texture=1)).eval()
    maps = model.sample(torch.arange(5), scale * model.noise([0, 1, 2, 3, 4]))
    assert maps.shape == (5, grid, grid) and maps.dtype == torch.int64
    assert maps.min() >= 0 and maps.max() < 12


@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_any_map_of_vectors_quantises_to_valid_indices(scale):
    indices = tiny().quantize(scale * normal(4, 3, 8, 8))
    assert indices.shape == (4, 8, 8) and indices.min() >= 0 and indices.max() < 12


@pytest.mark.parametrize("n_codes", [2, 12, 512])
def test_index_space_cuts_the_output_range_into_equal_bins(n_codes):
    model = tiny(changed(space="index", n_codes=n_codes))
    levels = torch.linspace(-1, 1, 4 * n_codes + 1)[:-1] + 0.25 / n_codes  # four in each bin
    found = model.quantize(levels.view(1, 1, 4, -1))
    assert torch.equal(found.flatten(), torch.arange(n_codes).repeat_interleave(4))
    assert model.quantize(torch.tensor([-1.0, 1.0]).view(1, 1, 1, 2)).tolist() == [
        [[0, n_codes - 1]]
    ]
    assert torch.equal(model.quantize(model.embed(found)), found)


def test_index_space_draws_one_channel_within_the_range():
    model = tiny(changed(space="index"))
    drawn = model.generator(1e3 * normal(5, 6), torch.arange(5))
    assert drawn.shape == (5, 1, 8, 8) and drawn.abs().max() <= 1


def test_quantising_embedded_indices_is_the_identity():
    model, maps = tiny(), random_maps(4)
    embedded = model.embed(maps)
    assert embedded.shape == (4, 3, 8, 8)
    assert torch.equal(embedded[1, :, 2, 5], model.codebook[maps[1, 2, 5]])
    assert torch.equal(model.quantize(embedded), maps)


def test_same_seed_same_map_in_any_batch():
    model, seeds = tiny().eval(), [4, 8, 15, 16, 23]
    positions = torch.tensor([0, 1, 2, 3, 4])
    together = model.sample(positions, model.noise(seeds))
    for place in range(5):
        alone = model.sample(positions[place : place + 1], model.noise(seeds[place : place + 1]))
        assert torch.equal(alone[0], together[place])
    reversed_ = model.sample(positions.flip(0), model.noise(seeds[::-1]))
    assert torch.equal(reversed_.flip(0), together)


def test_noise_depends_on_the_seed_alone():
    model = tiny()
    noise = model.noise([3, 4, 3])
    torch.manual_seed(99)
    assert torch.equal(model.noise([3, 4, 3]), noise) and torch.equal(noise[0], noise[2])
    assert noise.shape == (3, 6) and not torch.equal(noise[0], noise[1])


def test_noise_and_position_change_the_drawn_vectors():
    generator = tiny().generator
    noise = normal(1, 6).expand(2, 6)
    same = generator(noise, torch.tensor([1, 1]))
    torch.testing.assert_close(same[0], same[1])
    by_position = generator(noise, torch.tensor([1, 2]))
    by_noise = generator(normal(2, 6), torch.tensor([1, 1]))
    assert (by_position[0] - by_position[1]).abs().max() > 1e-3
    assert (by_noise[0] - by_noise[1]).abs().max() > 1e-3


@pytest.mark.parametrize("grid", [4, 8])
def test_noise_of_a_cell_changes_the_drawing_near_that_cell_only(grid):
    model = tiny(changed(grid=grid, texture=2))
    config, position = model.config, torch.tensor([1])
    noise = model.noise([0])
    assert noise.shape == (1, 6 + 2 * (grid // 2) ** 2 + 2 * grid**2) == (1, config.noise_size)
    nudged = noise.clone()
    nudged[0, config.noise_dim + config.half_noise] += (
        0.5  # the top left cell of the first full map
    )
    with torch.no_grad():
        model.generator.layers[6] = nn.Identity()  # this norm mixes all cells
        difference = (
            (model.generator(nudged, position) - model.generator(noise, position)).abs().sum((0, 1))
        )
    assert (
        difference[:3, :3].min() > 0 and difference[3:].sum() == 0 and difference[:, 3:].sum() == 0
    )


def test_discriminator_is_conditioned_on_the_position():
    model = tiny()
    maps = model.embed(random_maps(1)).expand(2, 3, 8, 8)
    scores = model.discriminator(maps, torch.tensor([1, 2]))
    assert scores.shape == (2,) and (scores[0] - scores[1]).abs() > 1e-4


@pytest.mark.parametrize("positions", [[0, 5], [-1, 0], []])
def test_unknown_positions_are_refused(positions):
    positions = torch.tensor(positions, dtype=torch.long)
    with pytest.raises(ValueError, match=r"positions must be in \[0, 5\)"):
        tiny().sample(positions, torch.zeros(len(positions), 6))


# ------------------------------------------------------------ codebook


@pytest.fixture
def codes():
    """A codebook far from standard, and how often each code is used."""
    codebook = normal(12, 3) * torch.tensor([5.0, 1.0, 0.2]) + torch.tensor([10.0, -3.0, 0.0])
    return codebook, torch.arange(12).float()


def test_codebook_has_unit_variance_under_the_counts(codes):
    model, (codebook, counts) = tiny(), codes
    model.use_codebook(codebook, counts)
    uses = model.codebook.double().repeat_interleave(
        counts.long(), 0
    )  # every code as often as it is used
    torch.testing.assert_close(uses.mean(0), torch.zeros(3, dtype=torch.double), atol=1e-5, rtol=0)
    assert float(uses.var(0, unbiased=False).mean()) == pytest.approx(1, abs=1e-5)


def test_one_scale_for_all_dimensions_keeps_the_nearest_codes(codes):
    model, (codebook, counts) = tiny(), codes
    model.use_codebook(codebook, counts)
    ratio = torch.pdist(model.codebook) / torch.pdist(codebook)
    torch.testing.assert_close(ratio, ratio[:1].expand_as(ratio), rtol=1e-4, atol=0)
    points = normal(2000, 3, seed=1) * 4 + torch.tensor([10.0, -3.0, 0.0])
    moved = (points - codebook[0]) * ratio[0] + model.codebook[0]
    agree = nearest_code(points, codebook) == nearest_code(moved, model.codebook)
    assert agree.float().mean() > 0.999
    spread = codebook.std(0)  # one scale for each dimension would not do
    torn = nearest_code(points, codebook) == nearest_code(points / spread, codebook / spread)
    assert torn.float().mean() < 0.9


def test_codebook_is_saved_with_the_model(codes):
    model, loaded = tiny(), tiny()
    model.use_codebook(*codes)
    loaded.load_state_dict(model.state_dict())
    assert torch.equal(loaded.codebook, model.codebook) and not torch.equal(
        tiny().codebook, model.codebook
    )


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


def test_an_age_that_is_not_said_is_left_to_the_noise():
    model, positions = ageing_subjects()[0], torch.tensor([0, 1, 2])
    noise = model.noise([4, 5, 6])
    unknown = model.sample(positions, noise, torch.full((3,), math.nan))
    assert torch.equal(unknown, model.sample(positions, noise))
    said = model.sample(
        positions, noise, 50 + 20 * noise[:, 0]
    )  # the very ages that the noise stood for
    assert torch.equal(said, unknown)


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


# ------------------------------------------------------------ packs


def test_the_variety_of_packs_sees_a_collapse_within_each_position():
    anatomy = 3 * normal(8, 50).repeat_interleave(PACK, 0)  # eight positions, far apart
    varied, collapsed = anatomy + normal(8 * PACK, 50, seed=1), anatomy
    assert float(pack_variety(collapsed).max()) < 0.01 * float(pack_variety(varied).min())
    whole = [float(x.var(0, unbiased=False).sqrt().mean()) for x in (varied, collapsed)]
    assert whole[1] > 0.9 * whole[0]  # over the whole batch the collapse is hardly seen


@pytest.mark.parametrize("count", [1, 3, 4, 7, 32])
def test_a_pack_shares_its_variety_and_sees_no_other(count):
    features = normal(count, 10)
    found = pack_variety(features)
    packs = [len(part) for part in torch.arange(count).tensor_split(max(count // PACK, 1))]
    assert (
        found.shape == (count,)
        and len(found.unique()) == len(packs)
        and min(packs) >= min(count, PACK)
    )
    features[: packs[0]] += normal(packs[0], 10, seed=2)
    assert torch.equal(pack_variety(features)[packs[0] :], found[packs[0] :])


def test_the_players_meet_neighbours_in_order_of_position():
    model, seen = tiny(), []
    model.generator.register_forward_hook(lambda _module, args, _out: seen.append(args[1]))
    mixed = {"indices": random_maps(5), "positions": torch.tensor([3, 0, 4, 1, 0])}
    model.discriminator.register_forward_hook(lambda _module, args, _out: seen.append(args[1]))
    model.step(mixed, "generator")
    assert all(positions.tolist() == [0, 0, 1, 3, 4] for positions in seen) and len(seen) == 3


# ------------------------------------------------------------ losses


def gradients(model, phase, of):
    """The gradients of this phase's loss for the parameters of one player; None where there is
    none.
    """
    torch.manual_seed(1)
    loss = model.step(batch(), phase)["loss"]
    return torch.autograd.grad(loss, model.parameter_groups()[of], allow_unused=True)


def test_discriminator_step_does_not_reach_the_generator():
    assert all(slope is None for slope in gradients(tiny(), "discriminator", of="generator"))


@pytest.mark.parametrize("space", ["embedding", "index"])
@pytest.mark.parametrize("loss", ["relativistic", "hinge", "bce"])
def test_every_variant_learns_in_both_phases(space, loss):
    model = tiny(changed(space=space, loss=loss))
    for phase in model.phases:
        slopes = gradients(model, phase, of=phase)
        assert all(slope.isfinite().all() for slope in slopes if slope is not None)
        assert sum(slope is not None and bool(slope.any()) for slope in slopes) >= len(slopes) - 2


@pytest.mark.parametrize("phase", ["discriminator", "generator"])
def test_every_player_learns_in_its_own_phase(phase):
    slopes = gradients(tiny(), phase, of=phase)
    assert [slope is not None for slope in slopes[:-1]] == [True] * (len(slopes) - 1)
    assert all(slope.isfinite().all() for slope in slopes if slope is not None)
    assert sum(bool(slope.any()) for slope in slopes if slope is not None) >= len(slopes) - 1


@pytest.mark.parametrize(
    ("phase", "other"), [("discriminator", "generator"), ("generator", "discriminator")]
)
def test_an_update_in_one_phase_leaves_the_other_player_alone(phase, other):
    model = tiny()
    groups = model.parameter_groups()
    before = {name: [value.clone() for value in group] for name, group in groups.items()}
    optimizer = torch.optim.Adam(groups[phase], lr=0.1)
    model.step(batch(), phase)["loss"].backward()
    optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(before[other], groups[other], strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(before[phase], groups[phase], strict=True))


def test_the_players_share_no_parameter_and_leave_none_out():
    model = tiny()
    players = [{id(p) for p in group} for group in model.parameter_groups().values()]
    assert players[0].isdisjoint(players[1]) and len(players[0] | players[1]) == len(
        list(model.parameters())
    )
    assert list(model.parameter_groups()) == list(model.phases)


def test_penalty_of_a_linear_discriminator_is_the_closed_form():
    model, slope = tiny(), normal(3, 8, 8, seed=5)
    model.discriminator = StandIn(lambda maps: (maps * slope).sum((1, 2, 3)))
    losses = model.step(batch(), "discriminator")
    assert float(losses["penalty"].detach()) == pytest.approx(
        2 * float(slope.square().sum()), rel=1e-5
    )


def test_penalty_of_a_quadratic_discriminator_is_the_closed_form():
    model = tiny()
    model.codebook.copy_(
        3 * F.normalize(model.codebook, dim=1)
    )  # |x|² is 9 in every cell of every map
    model.discriminator = StandIn(lambda maps: 0.25 * maps.square().sum((1, 2, 3)))
    losses = model.step(batch(), "discriminator")
    penalty = 2 * 0.5**2 * 64 * 9
    assert float(losses["penalty"].detach()) == pytest.approx(penalty, rel=1e-5)
    expected = math.log(2) + 0.5 * CONFIG.gamma * penalty
    assert float(losses["loss"].detach()) == pytest.approx(expected, rel=1e-5)


def test_penalty_of_the_network_equals_finite_differences():
    model = tiny(changed(penalty_share=1.0)).double()
    maps = model.embed(random_maps(2)).double()
    positions = torch.tensor([0, 3])
    model.generator = Draws(maps)  # the drawn maps are the real ones: both penalties are equal
    losses = model.step({"indices": random_maps(2), "positions": positions}, "discriminator")
    steps = 1e-5 * torch.eye(maps.numel(), dtype=torch.double).view(-1, *maps.shape)
    with torch.no_grad():
        ahead = torch.stack([model.discriminator(maps + step, positions).sum() for step in steps])
        behind = torch.stack([model.discriminator(maps - step, positions).sum() for step in steps])
    squared = ((ahead - behind) / 2e-5).square().view(2, -1).sum(1).mean()
    assert float(losses["penalty"].detach()) == pytest.approx(2 * float(squared), rel=1e-4)


def test_gamma_weighs_the_penalty():
    found = {}
    for gamma in (0.0, 3.0):
        model = tiny(changed(gamma=gamma))
        torch.manual_seed(1)
        found[gamma] = model.step(batch(), "discriminator")
    expected = found[0.0]["loss"] + 0.5 * 3 * found[3.0]["penalty"]
    torch.testing.assert_close(found[3.0]["loss"], expected)


def test_penalty_is_taken_on_its_share_of_the_batch():
    model, whole = tiny(changed(penalty_share=0.5)), tiny(changed(penalty_share=1.0))
    maps = [model.embed(random_maps(6)), model.embed(random_maps(6, seed=1)), torch.arange(6) % 5]
    stretches = [
        float(whole.penalty(*(x[first : first + 3] for x in maps)).detach()) for first in range(4)
    ]
    found = {float(model.penalty(*maps).detach()) for _ in range(40)}
    assert sorted(found) == pytest.approx(sorted(stretches), rel=1e-4)  # every stretch has its turn


@pytest.mark.parametrize(
    ("kind", "real", "fake", "discriminator", "generator"),
    [
        (
            "relativistic",
            [3.0, 0.0],
            [1.0, 0.0],
            (math.log1p(math.exp(-2)) + math.log(2)) / 2,
            (math.log1p(math.exp(2)) + math.log(2)) / 2,
        ),
        ("hinge", [3.0, 0.5], [-2.0, 0.0], 0.25 + 0.5, 1.0),
        ("bce", [0.0, 0.0], [0.0, 0.0], 2 * math.log(2), math.log(2)),
        ("bce", [1.0], [-1.0], 2 * math.log1p(math.exp(-1)), math.log1p(math.exp(1))),
    ],
)
def test_losses_have_their_closed_forms(kind, real, fake, discriminator, generator):
    real, fake = torch.tensor(real), torch.tensor(fake)
    assert float(discriminator_loss(kind, real, fake)) == pytest.approx(discriminator)
    assert float(generator_loss(kind, real, fake)) == pytest.approx(generator)


def test_hinge_comes_with_spectral_norms_of_one():
    discriminator = tiny(changed(loss="hinge")).discriminator
    positions = torch.arange(6) % 5
    for _ in range(50):  # one power iteration a call
        discriminator(normal(6, 3, 8, 8), positions)
    for layer in discriminator.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear, nn.Embedding)):
            assert float(
                torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2)
            ) == pytest.approx(1, abs=0.02)


def test_equal_scores_cost_ln_two_for_either_player():
    model = tiny(changed(commitment=0.0))
    model.discriminator = StandIn(lambda maps: 0.0 * maps.sum((1, 2, 3)))
    for phase in model.phases:
        assert float(model.step(batch(), phase)["loss"].detach()) == pytest.approx(math.log(2))


def test_the_players_want_opposite_signs_of_the_margin():
    model = tiny(changed(commitment=0.0, gamma=0.0, penalty_share=1.0))
    real = model.embed(batch()["indices"])

    def score(maps):  # 4 for the real maps of the batch, 0 for the drawn ones
        is_real = (maps.detach() - real).abs().amax((1, 2, 3)) < 1e-6
        return 4.0 * is_real + 0.0 * maps.sum((1, 2, 3))

    model.discriminator = StandIn(score)
    found = {phase: model.step(batch(), phase) for phase in model.phases}
    assert float(found["discriminator"]["loss"].detach()) == pytest.approx(
        math.log1p(math.exp(-4)), rel=1e-4
    )
    assert float(found["generator"]["loss"].detach()) == pytest.approx(
        math.log1p(math.exp(4)), rel=1e-4
    )
    assert float(found["discriminator"]["accuracy"]) == 1


def test_discriminator_sees_codes_only():
    model, seen = tiny(), []
    model.discriminator = StandIn(lambda maps: seen.append(maps.detach()) or maps.sum((1, 2, 3)))
    for phase in model.phases:
        model.step(batch(), phase)
    assert len(seen) == 6  # real and drawn: to the loss of either player, and to the penalty
    for maps in seen:
        torch.testing.assert_close(model.embed(model.quantize(maps)), maps, atol=1e-5, rtol=0)


def test_generator_gradient_passes_straight_through_the_quantisation():
    model = tiny(changed(commitment=0.0))
    model.generator = Draws(normal(6, 3, 8, 8))
    drawn = model.generator.drawn
    slope = normal(3, 8, 8, seed=5) / 100
    model.discriminator = StandIn(lambda maps: (maps * slope).sum((1, 2, 3)))
    model.step(batch(), "generator")["loss"].backward()
    margin = ((model.embed(model.quantize(drawn)) - model.embed(batch()["indices"])) * slope).sum(
        (1, 2, 3)
    )
    expected = -torch.sigmoid(-margin)[:, None, None, None] * slope / 6
    torch.testing.assert_close(drawn.grad, expected)


def test_commitment_pulls_drawn_vectors_to_their_codes():
    found = {weight: tiny(changed(commitment=weight)) for weight in (0.0, 2.0)}
    losses = {}
    for weight, model in found.items():
        torch.manual_seed(1)
        losses[weight] = model.step(batch(), "generator")
    torch.testing.assert_close(
        losses[2.0]["loss"], losses[0.0]["loss"] + 2 * losses[2.0]["commitment"]
    )
    assert float(losses[2.0]["commitment"].detach()) > 0


# ------------------------------------------------------------ distances


def slow_kernel_distance(a, b):
    def kernel(x, y):
        return (sum(p * q for p, q in zip(x, y, strict=True)) / len(x) + 1) ** 3

    def within(s):
        pairs = [kernel(x, y) for i, x in enumerate(s) for j, y in enumerate(s) if i != j]
        return sum(pairs) / len(pairs)

    return within(a) + within(b) - 2 * sum(kernel(x, y) for x in a for y in b) / (len(a) * len(b))


@pytest.mark.parametrize(("n", "m", "dim"), [(2, 2, 1), (3, 5, 4), (6, 4, 2)])
def test_kernel_distance_equals_a_double_loop(n, m, dim):
    a, b = normal(n, dim), normal(m, dim, seed=1) + 0.5
    assert kernel_distance(a, b) == pytest.approx(
        slow_kernel_distance(a.tolist(), b.tolist()), rel=1e-5
    )


def test_kernel_distance_is_unbiased():
    trials = torch.tensor(
        [
            kernel_distance(normal(20, 4, seed=2 * i), normal(20, 4, seed=2 * i + 1))
            for i in range(400)
        ]
    )
    error = trials.std() / 400**0.5
    assert trials.mean().abs() < 4 * error and (trials < 0).any()
    diagonal = (normal(1000, 4).square().mean(1) + 1).pow(3).mean()
    bias = 2 / 20 * float(diagonal - 1)  # of the estimator that counts i = j
    assert bias > 10 * error


def test_kernel_distance_is_large_for_different_distributions():
    a = normal(200, 4)
    same = abs(kernel_distance(a, normal(200, 4, seed=1)))
    assert kernel_distance(a, normal(200, 4, seed=1) + 1) > 20 * same
    assert kernel_distance(a, 3 * normal(200, 4, seed=1)) > 20 * same


def test_kernel_distance_ignores_the_order_and_is_symmetric():
    a, b = normal(30, 4), normal(20, 4, seed=1) + 0.5
    shuffled = a[torch.randperm(30, generator=torch.Generator().manual_seed(0))]
    assert kernel_distance(shuffled, b.flip(0)) == pytest.approx(kernel_distance(a, b))
    assert kernel_distance(b, a) == pytest.approx(kernel_distance(a, b))


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


def test_validation_draws_at_the_held_out_positions_and_pools_all_batches():
    model = tiny().eval()
    whole = batch(12)
    parts = Batches({name: value[i : i + 6] for name, value in whole.items()} for i in (0, 6))
    found = model.validate(parts)
    drawn = model.sample(whole["positions"], model.noise(list(range(12))))
    expected = kernel_distance(
        model.embed(whole["indices"]).flatten(1), model.embed(drawn).flatten(1)
    )
    assert found["kernel_distance"] == pytest.approx(expected, rel=1e-4)
    assert found["code_divergence"] == pytest.approx(code_divergence(whole["indices"], drawn, 12))
    assert found["distinct_codes"] == len(drawn.unique()) and model.monitor == (
        "kernel_distance",
        "min",
    )


def test_validation_of_a_perfect_generator_is_near_zero():
    model, real = tiny().eval(), random_maps(12)
    model.sample = lambda positions, noise, ages: random_maps(12, seed=1)[: len(positions)]
    batches = Batches([{"indices": real, "positions": torch.zeros(12, dtype=torch.long)}])
    fair = model.validate(batches)
    model.sample = lambda positions, noise, ages: torch.zeros_like(real)
    collapsed = model.validate(batches)
    assert abs(fair["kernel_distance"]) < 0.2 * collapsed["kernel_distance"]
    assert (
        fair["code_divergence"] < 0.05 < collapsed["code_divergence"]
        and collapsed["distinct_codes"] == 1
    )


def test_validation_names_the_variety_and_the_accuracy():
    model, real = tiny().eval(), random_maps(12)
    batches = Batches([{"indices": real, "positions": torch.arange(12) // 3}])
    model.sample = lambda positions, noise, ages: random_maps(12, seed=1)[: len(positions)]
    assert model.validate(batches)["variety"] == pytest.approx(1, abs=0.2)
    model.sample = lambda positions, noise, ages: real[positions]  # one map for each position
    assert model.validate(batches)["variety"] == pytest.approx(0, abs=1e-9)
    model.discriminator = StandIn(lambda maps: torch.zeros(len(maps)))
    assert model.validate(batches)["held_out_accuracy"] == 0


def test_variety_needs_two_maps_of_a_position():
    batches = Batches([{"indices": random_maps(5), "positions": torch.arange(5)}])
    assert "variety" not in tiny().eval().validate(batches)


def test_position_spread_is_the_unbiased_variance_within_positions():
    vectors, positions = normal(9, 4), torch.tensor([7, 7, 7, 2, 2, 2, 5, 5, 5])
    expected = vectors.view(3, 3, 4).var(1).sum(1).mean()
    assert position_spread(vectors, positions) == pytest.approx(float(expected), rel=1e-5)
    moved = (
        vectors + 10 * normal(8, 4, seed=1)[positions]
    )  # what differs between positions is no variety
    assert position_spread(moved, positions) == pytest.approx(float(expected), rel=1e-4)
    assert position_spread(vectors[:2], torch.tensor([0, 1])) == 0


ILL = {"discriminator_margin": 9.0, "held_out_accuracy": 1.0}


@pytest.mark.parametrize(
    ("history", "words"),
    [
        ([{}], []),
        ([{"variety": 0.8, "discriminator_margin": 0.5, "held_out_accuracy": 1.0}] * 2, []),
        ([{"variety": 0.05}], []),  # the first epoch: nothing is learned yet
        ([{"variety": 0.05}, {"variety": 0.2}], []),  # on its way up
        ([{"variety": 0.2}, {"variety": 0.05}], ["nearly alike"]),
        ([ILL], ["overpowers"]),
        ([ILL | {"held_out_accuracy": 0.6}], []),
        ([{"variety": 0.5}, ILL | {"variety": 0.0}], ["overpowers", "nearly alike"]),
    ],
)
def test_symptoms_warn_of_an_ill_game_and_say_what_to_try(history, words):
    found = symptoms(history)
    assert len(found) == len(words) and all(
        word in text for word, text in zip(words, found, strict=True)
    )
    assert all("try" in text for text in found)


@pytest.mark.parametrize(
    ("space", "loss", "texture"),
    [("index", "bce", 0), ("embedding", "hinge", 2), ("embedding", "relativistic", 2)],
)
def test_every_variant_draws_the_same_after_saving_and_loading(tmp_path, space, loss, texture):
    model = tiny(changed(space=space, loss=loss, texture=texture)).eval()
    save_model(tmp_path / "dcgan.safetensors", model)
    loaded, _ = load_model(tmp_path / "dcgan.safetensors", DCGAN)
    positions, maps = torch.arange(5), random_maps(5)
    assert torch.equal(
        loaded.sample(positions, loaded.noise(list(range(5)))),
        model.sample(positions, model.noise(list(range(5)))),
    )
    torch.testing.assert_close(
        loaded.discriminator(loaded.embed(maps), positions),
        model.discriminator(model.embed(maps), positions),
    )
