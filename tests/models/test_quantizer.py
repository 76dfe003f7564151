"""Vector quantisation: exact search, gradients past the arg min, cosine codes."""

import pytest
import torch
import torch.nn.functional as F
from small_quantizer import latent_map, normal, prepared, used

from oasis_utils.models.quantizer import VectorQuantizer, nearest_code, rotate, straight_through


def exact_distances(latents, codebook):
    codes, parts = codebook.double(), latents.double().split(1024)
    return torch.cat([(part[:, None] - codes).square().sum(2) for part in parts])


def wrong_choices(chosen, distances):
    """Choices that are not the exact minimum, leaving out those within rounding of it (ties)."""
    excess = distances.gather(1, chosen[:, None])[:, 0] - distances.min(1).values
    return int((excess > 1e-5).sum())


# ------------------------------------------------------------ search


@pytest.fixture(scope="module")
def unclustered():
    latents, codebook = normal(65_536, 8), normal(64, 8, seed=1)
    return latents, codebook, exact_distances(latents, codebook)


def test_nearest_code_is_exact_on_unclustered_vectors(unclustered):
    latents, codebook, distances = unclustered
    chosen = nearest_code(latents, codebook)
    assert chosen.shape == (65_536,) and wrong_choices(chosen, distances) == 0
    assert (chosen == distances.argmin(1)).float().mean() > 0.9999


def test_nearest_code_is_exact_inside_a_bfloat16_autocast_block(unclustered):
    latents, codebook, distances = unclustered
    with torch.autocast("cpu", torch.bfloat16):
        inside = nearest_code(latents, codebook)
        rounded = (codebook.square().sum(1) - 2 * (latents @ codebook.t())).argmin(1)
    assert wrong_choices(inside, distances) == 0
    assert (
        wrong_choices(rounded, distances) > 0
    )  # what would have happened in bfloat16: the test can fail


def test_quantizer_chooses_exact_codes_inside_a_bfloat16_autocast_block(unclustered):
    latents, codebook, distances = unclustered
    quantizer = prepared(codebook).eval()
    with torch.autocast("cpu", torch.bfloat16):
        quantized = quantizer(latent_map(latents[:4096], rows=64))
    assert wrong_choices(quantized.indices.flatten(), distances[:4096]) == 0
    assert quantized.codes.dtype == torch.float32


@pytest.mark.parametrize("cosine", [False, True])
def test_equal_latents_have_equal_indices_inside_and_outside_autocast(cosine):
    codebook = F.normalize(normal(64, 8, seed=1), dim=1) * 8**0.5
    quantizer, latents = prepared(codebook, cosine=cosine).eval(), normal(4, 8, 32, 32).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        inside = quantizer(latents)
    outside = quantizer(latents)
    assert torch.equal(inside.indices, outside.indices) and torch.equal(inside.loss, outside.loss)


def test_nearest_among_all_codes_is_the_nearest_code_and_forbidden_ones_are_never_chosen():
    quantizer, latents = prepared(normal(16, 3)).eval(), normal(2, 3, 8, 8, seed=1)
    assert torch.equal(
        quantizer.nearest_among(latents, torch.arange(16)), quantizer(latents).indices
    )
    allowed = torch.tensor([11, 2, 5])
    chosen = quantizer.nearest_among(latents, allowed)
    assert set(chosen.unique().tolist()) == {2, 5, 11}
    distances = exact_distances(quantizer.flatten(latents), quantizer.codebook)[:, allowed]
    assert torch.equal(chosen.flatten(), allowed[distances.argmin(1)])


@pytest.mark.parametrize("n", [1, 2047, 2048, 2049, 5000])
def test_nearest_code_covers_every_length(n):
    latents, codebook = normal(n, 3), normal(5, 3, seed=1)
    assert (
        nearest_code(latents, codebook).tolist()
        == exact_distances(latents, codebook).argmin(1).tolist()
    )


def test_every_code_is_nearest_to_itself():
    codebook = normal(300, 6)
    assert torch.equal(nearest_code(codebook, codebook), torch.arange(300))


def test_indices_are_in_the_order_of_the_cells():
    quantizer = prepared(normal(7, 3)).eval()
    indices = torch.randint(7, (2, 3, 5), generator=torch.Generator().manual_seed(0))
    assert torch.equal(quantizer(quantizer.lookup(indices)).indices, indices)


# ------------------------------------------------------------ gradients and loss


@pytest.mark.parametrize("commitment", [0.0, 0.25, 2.0])
def test_gradient_passes_straight_through_beside_the_commitment(commitment):
    quantizer = prepared(normal(6, 3), commitment=commitment).eval()
    latents, slope = normal(2, 3, 4, 5, seed=1).requires_grad_(), normal(2, 3, 4, 5, seed=2)
    quantized = quantizer(latents)
    ((quantized.codes * slope).sum() + quantized.loss).backward()
    codes = quantizer.lookup(quantized.indices)
    expected = slope + commitment * 2 * (latents - codes) / latents.numel()
    torch.testing.assert_close(latents.grad, expected.detach())


def test_output_and_commitment_loss_are_the_closed_forms():
    quantizer = prepared(normal(6, 3), commitment=0.7).eval()
    latents = normal(2, 3, 4, 5, seed=1)
    quantized = quantizer(latents)
    codes = quantizer.lookup(quantized.indices)
    torch.testing.assert_close(quantized.codes, codes)
    torch.testing.assert_close(quantized.loss, 0.7 * (latents - codes).square().mean())


def test_codebook_has_no_gradient():
    assert list(VectorQuantizer(4, 2).parameters()) == []


def passed_on(way, latents, codes, incoming):
    """The gradient at the latents for a gradient at the codes."""
    latents = latents.clone().requires_grad_()
    return torch.autograd.grad((way(latents, codes)[0] * incoming).sum(), latents)[0]


def test_rotation_returns_the_codes_and_keeps_the_angle_of_the_gradient():
    latents, codes, incoming = (
        normal(2, 5, 4, 4),
        3 * normal(2, 5, 4, 4, seed=1),
        normal(2, 5, 4, 4, seed=2),
    )
    torch.testing.assert_close(rotate(latents, codes)[0], codes)
    turned = passed_on(rotate, latents, codes, incoming)
    stretch = codes.norm(dim=1) / latents.norm(dim=1)
    torch.testing.assert_close(turned.norm(dim=1), stretch * incoming.norm(dim=1))
    torch.testing.assert_close(
        F.cosine_similarity(turned, latents, dim=1),
        F.cosine_similarity(incoming, codes, dim=1),
        atol=1e-5,
        rtol=0,
    )
    assert not torch.allclose(turned, incoming, atol=0.1)


def test_rotation_is_straight_through_where_latents_lie_on_their_codes():
    latents, incoming = normal(2, 5, 4, 4), normal(2, 5, 4, 4, seed=2)
    torch.testing.assert_close(passed_on(rotate, latents, latents.clone(), incoming), incoming)
    torch.testing.assert_close(
        passed_on(straight_through, latents, 2 * latents, incoming), incoming
    )


@pytest.mark.parametrize("way", [straight_through, rotate])
def test_the_distance_passes_its_own_gradient_to_the_latents_alone(way):
    latents, codes = (
        normal(2, 5, 4, 4).requires_grad_(),
        normal(2, 5, 4, 4, seed=1).requires_grad_(),
    )
    _, distance = way(latents, codes)
    torch.testing.assert_close(distance, F.mse_loss(latents, codes))
    slopes = torch.autograd.grad(3 * distance, (latents, codes), allow_unused=True)
    torch.testing.assert_close(slopes[0], 6 * (latents - codes).detach() / latents.numel())
    assert slopes[1] is None


def test_rotation_is_finite_for_latents_at_zero_or_opposite_to_their_codes():
    codes = normal(1, 5, 2, 2)
    for latents in (torch.zeros_like(codes), -codes):
        torch.testing.assert_close(rotate(latents, codes)[0], codes)
        assert passed_on(rotate, latents, codes, torch.ones_like(codes)).isfinite().all()


def test_a_quantizer_rotates_when_asked_to():
    quantizer = prepared(normal(6, 3), commitment=0.0, gradient="rotation").eval()
    latents, incoming = normal(2, 3, 4, 5, seed=1).requires_grad_(), normal(2, 3, 4, 5, seed=2)
    quantized = quantizer(latents)
    (found,) = torch.autograd.grad((quantized.codes * incoming).sum() + quantized.loss, latents)
    codes = quantizer.lookup(quantized.indices)
    torch.testing.assert_close(found, passed_on(rotate, latents.detach(), codes, incoming))


# ------------------------------------------------------------ gradient codebook


def test_a_gradient_codebook_is_pulled_to_the_latents_it_serves_and_unused_codes_stay():
    quantizer = VectorQuantizer(
        9, 3, revive_below=0.0, learning="gradient", kmeans_init=False, commitment=0.5
    )
    assert quantizer.codebook.abs().max() <= 1 / 9
    with torch.no_grad():
        quantizer.codebook[8] = 1e3
    flat = normal(40, 3)
    quantized = quantizer(latent_map(flat))
    before = quantizer.codebook.detach().clone()
    quantized.loss.backward()
    chosen = F.one_hot(quantized.indices.flatten(), 9).float()
    expected = 2 * (chosen.sum(0)[:, None] * before - chosen.t() @ flat) / flat.numel()
    torch.testing.assert_close(quantizer.codebook.grad, expected)
    assert not quantizer.codebook.grad[8].any()
    codes = F.embedding(quantized.indices.flatten(), before)
    torch.testing.assert_close(quantized.loss.detach(), 1.5 * F.mse_loss(codes, flat))


def test_a_gradient_codebook_can_start_at_clusters_and_be_revived():
    torch.manual_seed(0)
    quantizer = VectorQuantizer(32, 4, decay=0.9, learning="gradient")
    quantizer(normal(4, 4, 8, 8) + 100)
    assert (quantizer.codebook > 50).all()
    with torch.no_grad():
        quantizer.codebook[1:] = 1e3
    assert [used(quantizer, normal(8, 4, 8, 8, seed=seed)) for seed in range(40)][-1] >= 28


# ------------------------------------------------------------ cosine codes


def test_cosine_codes_and_outputs_have_length_sqrt_dim():
    torch.manual_seed(0)
    quantizer = VectorQuantizer(32, 5, decay=0.5, revive_below=0.1, cosine=True)
    for seed in range(4):
        quantized = quantizer(normal(2, 5, 8, 8, seed=seed) * 10**seed)
        torch.testing.assert_close(quantizer.codebook.norm(dim=1), torch.full((32,), 5**0.5))
        torch.testing.assert_close(quantized.codes.norm(dim=1), torch.full((2, 8, 8), 5**0.5))


def test_cosine_choice_ignores_the_length_of_the_latents():
    torch.manual_seed(0)
    quantizer = VectorQuantizer(16, 3, cosine=True)
    latents = normal(2, 3, 8, 8)
    quantizer(latents)
    quantizer.eval()
    near, far = quantizer(latents), quantizer(1000 * latents)
    assert torch.equal(near.indices, far.indices)
    torch.testing.assert_close(near.loss, far.loss)
    cosines = torch.einsum("bdhw,kd->bhwk", latents, F.normalize(quantizer.codebook, dim=1))
    assert torch.equal(near.indices, cosines.argmax(-1))


# ------------------------------------------------------------ lookup


def test_lookup_returns_the_codes_at_the_indices():
    quantizer = VectorQuantizer(4, 3)
    indices = torch.tensor([[[0, 3], [2, 2]]])
    codes = quantizer.lookup(indices)
    assert codes.shape == (1, 3, 2, 2)
    assert torch.equal(codes[0, :, 0, 1], quantizer.codebook[3])
    assert torch.equal(codes[0, :, 1, 0], quantizer.codebook[2])


@pytest.mark.parametrize(
    ("bad", "message"),
    [(4, "range from 0 to 4"), (-1, "range from -1 to 0"), (99, r"must be in \[0, 4\)")],
)
def test_lookup_refuses_indices_out_of_range(bad, message):
    indices = torch.zeros(1, 2, 2, dtype=torch.long)
    indices[0, 1, 1] = bad
    with pytest.raises(ValueError, match=message):
        VectorQuantizer(4, 3).lookup(indices)
