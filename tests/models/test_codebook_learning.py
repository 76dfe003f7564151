"""How a codebook learns: moving averages, k-means start, revival, several processes."""

import copy

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from small_quantizer import latent_map, normal, prepared, used

from oasis_utils.models.quantizer import VectorQuantizer, kmeans, nearest_code


def buffers(quantizer):
    return {name: value.clone() for name, value in quantizer.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


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
