"""Vector quantisation: exact search, straight-through gradients, the EMA codebook and what keeps it
alive.
"""

import copy

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F

from oasis_utils.models.quantizer import (
    VectorQuantizer,
    kmeans,
    nearest_code,
    rotate,
    straight_through,
)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def latent_map(flat, rows=4):
    """(n, dim) vectors as latents (1, dim, rows, n / rows), in the order of the cells."""
    return flat.view(1, rows, -1, flat.shape[1]).permute(0, 3, 1, 2)


def buffers(quantizer):
    return {name: value.clone() for name, value in quantizer.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def prepared(codebook, **options):
    """A quantiser that has already begun with this codebook, each code used once."""
    quantizer = VectorQuantizer(*codebook.shape, **options)
    quantizer.load_state_dict(
        {
            "codebook": codebook,
            "sums": codebook,
            "counts": torch.ones(len(codebook)),
            "started": torch.tensor(True),
        }
    )
    return quantizer


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
        9, 3, revive_below=0.0, learning="gradient", start=False, commitment=0.5
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


# ------------------------------------------------------------ several processes


def quantize_in_process(rank, folder, scenario):
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    torch.manual_seed(rank)  # other random choices in each process
    if scenario == "averages":
        quantizer = prepared(normal(5, 2, seed=9), decay=0.5, revive_below=0.0)
        batches = [normal(3, 2, 4, 4, seed=10 * step + rank) for step in range(3)]
    else:
        quantizer = VectorQuantizer(16, 2, decay=0.5, revive_below=0.4)
        batches = [normal(3 + rank, 2, 4, 4, seed=10 * step + rank) for step in range(3)]
    for batch in batches:
        quantizer(batch)
    torch.save(quantizer.state_dict(), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize("scenario", ["averages", "start and revival"])
def test_processes_with_different_data_keep_one_codebook(tmp_path, scenario):
    torch.multiprocessing.spawn(quantize_in_process, (str(tmp_path), scenario), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    assert same(first, second)
    if scenario == "averages":
        alone = prepared(normal(5, 2, seed=9), decay=0.5, revive_below=0.0)
        for step in range(3):
            alone(torch.cat([normal(3, 2, 4, 4, seed=10 * step + rank) for rank in range(2)]))
        for name, value in alone.state_dict().items():
            torch.testing.assert_close(first[name], value, msg=name)


# ------------------------------------------------------------ moving averages


def test_uses_count_every_batch_since_training_mode_was_set():
    quantizer = prepared(normal(5, 2, seed=1))
    counts = sum(
        quantizer(normal(2, 2, 4, 4, seed=s)).indices.flatten().bincount(minlength=5)
        for s in range(3)
    )
    assert torch.equal(quantizer.uses, counts.float())
    quantizer.eval()(normal(2, 2, 4, 4))
    assert quantizer.uses.sum() == 96 and not quantizer.train().uses.any()


def test_without_memory_codes_are_the_means_of_the_batch():
    flat, codebook = normal(400, 2), normal(5, 2, seed=1)
    quantizer = prepared(codebook, decay=0.0, revive_below=0.0)
    indices = quantizer(latent_map(flat)).indices.flatten()
    means = torch.stack([flat[indices == code].mean(0) for code in range(5)])
    torch.testing.assert_close(quantizer.codebook, means)
    torch.testing.assert_close(quantizer.counts, torch.bincount(indices, minlength=5).float())


@pytest.mark.parametrize("decay", [0.5, 0.9])
def test_counts_and_sums_are_moving_averages(decay):
    quantizer = prepared(normal(5, 2, seed=1), decay=decay, revive_below=0.0)
    before = buffers(quantizer)
    flat = normal(400, 2)
    indices = quantizer(latent_map(flat)).indices.flatten()
    chosen = F.one_hot(indices, 5).float()
    counts = decay * before["counts"] + (1 - decay) * chosen.sum(0)
    sums = decay * before["sums"] + (1 - decay) * chosen.t() @ flat
    torch.testing.assert_close(quantizer.counts, counts)
    torch.testing.assert_close(quantizer.sums, sums)
    torch.testing.assert_close(quantizer.codebook, sums / counts[:, None])


def test_the_batch_is_quantised_with_the_codes_from_before_the_update():
    codebook = normal(5, 2, seed=1)
    quantizer = prepared(codebook, decay=0.0)
    quantized = quantizer(latent_map(normal(40, 2)))
    expected = F.embedding(quantized.indices, codebook).permute(0, 3, 1, 2)
    torch.testing.assert_close(quantized.codes, expected)
    assert not torch.allclose(quantizer.codebook, codebook)


def test_an_unused_code_stays_where_it_is():
    codebook = torch.tensor([[0.0, 0.0], [1e3, 1e3]])
    quantizer = prepared(codebook, decay=0.0, revive_below=0.0)
    quantizer(latent_map(normal(40, 2)))
    assert quantizer.codebook[1].tolist() == [1e3, 1e3] and quantizer.counts.tolist() == [40.0, 0.0]


def test_evaluation_changes_no_buffer():
    quantizer = VectorQuantizer(8, 3).eval()
    fresh = buffers(quantizer)
    quantizer(normal(2, 3, 4, 4))
    assert same(buffers(quantizer), fresh) and not quantizer.is_started
    quantizer.train()(normal(2, 3, 4, 4))
    begun = buffers(quantizer)
    quantizer.eval()(normal(2, 3, 4, 4, seed=1))
    assert same(buffers(quantizer), begun) and not same(begun, fresh)


# ------------------------------------------------------------ start


def separated(n_clusters, per_cluster, dim=4):
    cluster = torch.arange(n_clusters)
    centres = 20 * F.one_hot(cluster % dim, dim) * (1 + cluster // dim)[:, None]
    points = centres.repeat_interleave(per_cluster, 0) + 0.05 * normal(
        n_clusters * per_cluster, dim
    )
    return centres.float(), points[
        torch.randperm(len(points), generator=torch.Generator().manual_seed(0))
    ]


def test_start_recovers_well_separated_clusters():
    centres, points = separated(4, 64)
    found = 0
    for seed in range(8):
        torch.manual_seed(seed)
        quantizer = VectorQuantizer(16, 4, revive_below=0.0)
        quantizer(latent_map(points))
        found += bool((torch.cdist(centres, quantizer.codebook).min(1).values < 0.5).all())
    assert found == 8


def test_kmeans_centres_are_the_means_of_their_points():
    torch.manual_seed(0)
    _, points = separated(4, 64)
    centres = kmeans(points, 6, rounds=20)
    nearest = nearest_code(points, centres)
    means = torch.stack([points[nearest == cluster].mean(0) for cluster in nearest.unique()])
    torch.testing.assert_close(centres[nearest.unique()], means)


def test_kmeans_with_as_many_clusters_as_points_returns_the_points():
    torch.manual_seed(0)
    points = normal(12, 3)
    assert torch.cdist(points, kmeans(points, 12)).min(1).values.max() < 1e-3


def test_kmeans_takes_fewer_points_than_clusters():
    torch.manual_seed(0)
    points = normal(3, 2)
    centres = kmeans(points, 10)
    assert centres.shape == (10, 2) and torch.cdist(centres, points).min(1).values.max() < 1e-3


def test_training_starts_once_only():
    torch.manual_seed(0)
    quantizer = VectorQuantizer(8, 3, decay=0.9999, revive_below=0.0)
    quantizer(normal(4, 3, 8, 8))
    assert bool(quantizer.started) and quantizer.is_started
    codes = quantizer.codebook.clone()
    quantizer(normal(4, 3, 8, 8, seed=1) + 100)
    assert (quantizer.codebook - codes).norm(
        dim=1
    ).median() < 0.2  # a second start would move them by 100


def test_loading_never_starts_again():
    torch.manual_seed(0)
    trained = VectorQuantizer(8, 3, decay=0.9999, revive_below=0.0)
    trained(normal(4, 3, 8, 8))
    loaded = VectorQuantizer(8, 3, decay=0.9999, revive_below=0.0)
    loaded.load_state_dict(copy.deepcopy(trained.state_dict()))
    assert loaded.is_started and same(buffers(loaded), buffers(trained))
    batch = normal(4, 3, 8, 8, seed=1) + 100
    assert torch.equal(trained(batch).indices, loaded(batch).indices)
    assert same(buffers(loaded), buffers(trained))
    assert loaded.codebook.abs().max() < 50


def test_loading_an_untrained_state_still_starts():
    torch.manual_seed(0)
    quantizer = VectorQuantizer(8, 3)
    quantizer(normal(4, 3, 8, 8))
    quantizer.load_state_dict(VectorQuantizer(8, 3).state_dict())
    assert not quantizer.is_started
    quantizer(normal(4, 3, 8, 8) + 100)
    assert (quantizer.codebook > 50).all()


# ------------------------------------------------------------ revival


def used(quantizer, latents):
    return len(quantizer(latents).indices.unique())


def collapsed(revive_below):
    """32 codes, of which only the first is near the latents."""
    codebook = torch.full((32, 4), 1e3) + normal(32, 4)
    codebook[0] = 0
    return prepared(codebook, decay=0.9, revive_below=revive_below)


def test_dead_codes_come_alive_within_a_few_batches():
    torch.manual_seed(0)
    quantizer = collapsed(revive_below=0.03)
    history = [used(quantizer, normal(8, 4, 8, 8, seed=seed)) for seed in range(15)]
    assert history[0] == 1 and min(history[-5:]) >= 30


def test_without_revival_a_collapse_stays():
    quantizer = collapsed(revive_below=0.0)
    assert [used(quantizer, normal(8, 4, 8, 8, seed=seed)) for seed in range(10)] == [1] * 10


def test_revived_codes_are_latents_of_the_batch_and_their_averages_restart():
    torch.manual_seed(0)
    quantizer = prepared(collapsed(0.5).codebook, decay=0.0, revive_below=0.5)
    flat = normal(512, 4)
    quantizer(latent_map(flat))
    born = quantizer.codebook[1:]
    assert (
        torch.cdist(born, flat, compute_mode="donot_use_mm_for_euclid_dist").min(1).values.max()
        == 0
    )
    restart = quantizer.counts[1:]
    assert (restart == restart[0]).all() and 0.5 * 512 / 32 < restart[0] < 512 / 32  # alive
    torch.testing.assert_close(quantizer.sums[1:], born * restart[:, None])


def test_living_codes_are_not_revived():
    quantizer = prepared(normal(4, 2), decay=0.0, revive_below=0.01)
    flat = normal(4000, 2, seed=1)
    indices = quantizer(latent_map(flat)).indices.flatten()
    assert indices.bincount(minlength=4).min() > 10  # none is dead
    means = torch.stack([flat[indices == code].mean(0) for code in range(4)])
    torch.testing.assert_close(quantizer.codebook, means)


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
