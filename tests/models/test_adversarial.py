"""Generator and discriminator: packs, and the losses of both in closed form."""

import math

import pytest
import torch
import torch.nn.functional as F
from small_dcgan import CONFIG, StandIn, batch, changed, normal, random_maps, tiny
from torch import nn

from oasis_utils.models.adversarial import (
    PACK_SIZE,
    discriminator_loss,
    generator_loss,
    pack_variety,
)


class Draws(nn.Module):
    """A generator that draws the same vectors for any noise."""

    def __init__(self, drawn):
        super().__init__()
        self.drawn = nn.Parameter(drawn)

    def forward(self, noise, positions):
        return self.drawn


# ------------------------------------------------------------ maps


@pytest.mark.parametrize("grid", [4, 8])
def test_noise_of_a_cell_changes_the_drawing_near_that_cell_only(grid):
    model = tiny(changed(grid=grid, spatial_noise=2))
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


# ------------------------------------------------------------ packs


def test_the_variety_of_packs_sees_a_collapse_within_each_position():
    anatomy = 3 * normal(8, 50).repeat_interleave(PACK_SIZE, 0)  # eight positions, far apart
    varied, collapsed = anatomy + normal(8 * PACK_SIZE, 50, seed=1), anatomy
    assert float(pack_variety(collapsed).max()) < 0.01 * float(pack_variety(varied).min())
    whole = [float(x.var(0, unbiased=False).sqrt().mean()) for x in (varied, collapsed)]
    assert whole[1] > 0.9 * whole[0]  # over the whole batch the collapse is hardly seen


@pytest.mark.parametrize("count", [1, 3, 4, 7, 32])
def test_a_pack_shares_its_variety_and_sees_no_other(count):
    features = normal(count, 10)
    found = pack_variety(features)
    packs = [len(part) for part in torch.arange(count).tensor_split(max(count // PACK_SIZE, 1))]
    assert (
        found.shape == (count,)
        and len(found.unique()) == len(packs)
        and min(packs) >= min(count, PACK_SIZE)
    )
    features[: packs[0]] += normal(packs[0], 10, seed=2)
    assert torch.equal(pack_variety(features)[packs[0] :], found[packs[0] :])


def test_the_discriminator_sees_neighbours_in_order_of_position():
    model, seen = tiny(), []
    model.generator.register_forward_hook(lambda _module, args, _out: seen.append(args[1]))
    mixed = {"indices": random_maps(5), "positions": torch.tensor([3, 0, 4, 1, 0])}
    model.discriminator.register_forward_hook(lambda _module, args, _out: seen.append(args[1]))
    model.step(mixed, "generator")
    assert all(positions.tolist() == [0, 0, 1, 3, 4] for positions in seen) and len(seen) == 3


# ------------------------------------------------------------ losses


def gradients(model, phase, of):
    """The gradients of this phase's loss for the parameters of one network; None where there is
    none.
    """
    torch.manual_seed(1)
    loss = model.step(batch(), phase)["loss"]
    return torch.autograd.grad(loss, model.parameter_groups()[of], allow_unused=True)


def test_discriminator_step_does_not_reach_the_generator():
    assert all(slope is None for slope in gradients(tiny(), "discriminator", of="generator"))


@pytest.mark.parametrize("space", ["embedding", "index"])
@pytest.mark.parametrize("loss", ["relativistic", "bce"])
def test_every_variant_learns_in_both_phases(space, loss):
    model = tiny(changed(space=space, loss=loss))
    for phase in model.phases:
        slopes = gradients(model, phase, of=phase)
        assert all(slope.isfinite().all() for slope in slopes if slope is not None)
        assert sum(slope is not None and bool(slope.any()) for slope in slopes) >= len(slopes) - 2


@pytest.mark.parametrize("phase", ["discriminator", "generator"])
def test_every_network_learns_in_its_own_phase(phase):
    slopes = gradients(tiny(), phase, of=phase)
    assert [slope is not None for slope in slopes[:-1]] == [True] * (len(slopes) - 1)
    assert all(slope.isfinite().all() for slope in slopes if slope is not None)
    assert sum(bool(slope.any()) for slope in slopes if slope is not None) >= len(slopes) - 1


@pytest.mark.parametrize(
    ("phase", "other"), [("discriminator", "generator"), ("generator", "discriminator")]
)
def test_an_update_in_one_phase_leaves_the_other_network_alone(phase, other):
    model = tiny()
    groups = model.parameter_groups()
    before = {name: [value.clone() for value in group] for name, group in groups.items()}
    optimizer = torch.optim.Adam(groups[phase], lr=0.1)
    model.step(batch(), phase)["loss"].backward()
    optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(before[other], groups[other], strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(before[phase], groups[phase], strict=True))


def test_the_networks_share_no_parameter_and_leave_none_out():
    model = tiny()
    networks = [{id(p) for p in group} for group in model.parameter_groups().values()]
    assert networks[0].isdisjoint(networks[1]) and len(networks[0] | networks[1]) == len(
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
        ("bce", [0.0, 0.0], [0.0, 0.0], 2 * math.log(2), math.log(2)),
        ("bce", [1.0], [-1.0], 2 * math.log1p(math.exp(-1)), math.log1p(math.exp(1))),
    ],
)
def test_losses_have_their_closed_forms(kind, real, fake, discriminator, generator):
    real, fake = torch.tensor(real), torch.tensor(fake)
    assert float(discriminator_loss(kind, real, fake)) == pytest.approx(discriminator)
    assert float(generator_loss(kind, real, fake)) == pytest.approx(generator)


def test_equal_scores_cost_ln_two_for_either_network():
    model = tiny(changed(commitment=0.0))
    model.discriminator = StandIn(lambda maps: 0.0 * maps.sum((1, 2, 3)))
    for phase in model.phases:
        assert float(model.step(batch(), phase)["loss"].detach()) == pytest.approx(math.log(2))


def test_the_losses_want_opposite_signs_of_the_margin():
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
    assert len(seen) == 6  # real and drawn: to the loss of either network, and to the penalty
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
