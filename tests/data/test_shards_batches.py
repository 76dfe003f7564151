"""Batches from shards are those of the array in the same order."""

import itertools

import numpy as np
import pytest
import torch
from shard_files import WholeOrder, write_numbered

from oasis_utils.config import VQVAEConfig
from oasis_utils.data.batches import Batches, TrainingBatches
from oasis_utils.data.shards_batches import ShardedBatches, mixed
from oasis_utils.data.shards_order import BlockOrder
from oasis_utils.models.vqvae import VQVAE
from oasis_utils.runtime import DataError
from oasis_utils.runtime.symmetry import LEFT_RIGHT

SIZES = (10, 6, 10, 10, 4)  # 40 rows


@pytest.fixture
def numbered(tmp_path):
    return write_numbered(tmp_path / "shards", SIZES)


def equal(first, second):
    first, second = list(first), list(second)
    return len(first) == len(second) and all(
        a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)
        for a, b in zip(first, second, strict=True)
    )


def numbers_of(batches, epoch=0, **options):
    return torch.cat([batch["positions"] for batch in batches.epoch(epoch, **options)]).tolist()


def tensors(rows):
    return {
        name: torch.from_numpy(values)[:, None] if name == "images" else torch.from_numpy(values)
        for name, values in rows.items()
    }


def in_order(rows, order, epoch, mirror):
    """The array in the order of an epoch, as tensors that `Batches` goes through as they are."""
    part = order.part(epoch, 0, order.size)
    arranged = {name: values[part.rows].copy() for name, values in rows.items()}
    if mirror:
        arranged["images"][part.flips] = mirror.mirror(arranged["images"][part.flips])
    return tensors(arranged)


@pytest.mark.parametrize("mirror", [None, LEFT_RIGHT])
@pytest.mark.parametrize("shuffled", [True, False])
def test_whole_order_gives_the_batches_of_the_array(numbered, shuffled, mirror):
    shards, rows = numbered
    order = WholeOrder(len(shards), 3, shuffled)
    sharded = ShardedBatches(shards, 7, mirror=mirror, order=order)
    held = Batches(tensors(rows), 7, shuffled, mirror, 3)
    assert len(sharded) == len(held)
    assert equal(sharded.epoch(2), held.epoch(2))


@pytest.mark.parametrize("mirror", [None, LEFT_RIGHT])
def test_block_order_gives_the_batches_of_the_array_in_that_order(numbered, mirror):
    shards, rows = numbered
    sharded = ShardedBatches(shards, 8, 5, mirror)
    held = Batches(in_order(rows, BlockOrder(SIZES, 5), 1, mirror), 8)
    assert equal(sharded.epoch(1), held.epoch(0))


def test_every_slice_comes_once_an_epoch(numbered):
    batches = ShardedBatches(numbered[0], 8)
    assert isinstance(batches, TrainingBatches) and len(batches) == 5
    for epoch in range(3):
        numbers = numbers_of(batches, epoch)
        assert sorted(numbers) == list(range(40)) and numbers != sorted(numbers)


def test_last_smaller_batch_is_left_out_but_not_the_only_one(numbered):
    assert len(numbers_of(ShardedBatches(numbered[0], 16))) == 32
    assert len(numbers_of(ShardedBatches(numbered[0], 64))) == 40


@pytest.mark.parametrize("workers", [0, 1])
def test_going_on_in_mid_epoch_gives_the_remaining_batches(numbered, workers):
    batches = ShardedBatches(numbered[0], 8, mirror=LEFT_RIGHT)
    rest = list(batches.epoch(3))[2:]
    again = ShardedBatches(numbered[0], 8, mirror=LEFT_RIGHT, workers=workers)
    assert equal(again.epoch(3, start_batch=2), rest)
    assert list(again.epoch(3, start_batch=5)) == []


def test_global_random_state_is_left_alone(numbered):
    before = torch.get_rng_state()
    list(ShardedBatches(numbered[0], 8, mirror=LEFT_RIGHT).epoch(0))
    assert torch.equal(torch.get_rng_state(), before)


def test_damage_found_by_a_worker_is_told(numbered):
    shards, _ = numbered
    path = shards.files[1].path
    path.write_bytes(path.read_bytes()[:-1] + b"\x55")
    with pytest.raises(DataError, match="checksum differs") as found:
        list(ShardedBatches(shards, 8, workers=1).epoch(0))
    with pytest.raises(DataError) as expected:
        list(ShardedBatches(shards, 8).epoch(0))
    assert str(found.value) == str(expected.value)  # without the worker's traceback


# ---------------------------------------------------------------- processes


def test_processes_share_the_rows_as_those_of_the_array(numbered):
    shards, rows = numbered
    sharded = ShardedBatches(shards, 8, mirror=LEFT_RIGHT, order=WholeOrder(40, 2))
    held = Batches(tensors(rows), 8, True, LEFT_RIGHT, 2)
    for rank in range(3):
        assert equal(sharded.shared(rank, 3).epoch(1), held.shared(rank, 3).epoch(1))
    parts = [numbers_of(sharded.shared(rank, 3)) for rank in range(3)]
    assert sorted(itertools.chain(*parts)) == sorted(numbers_of(sharded))


def test_neighbours_stay_in_one_process_as_those_of_the_array(numbered):
    shards, rows = numbered
    sharded = ShardedBatches(shards, 8, order=WholeOrder(40, 2))
    held = Batches(tensors(rows), 8, True, None, 2)
    for rank in range(2):
        ours, theirs = (b.shared(rank, 2, ("subjects", 4)).epoch(0) for b in (sharded, held))
        assert equal(ours, theirs)


def test_too_many_processes_are_refused(numbered):
    with pytest.raises(DataError, match="too small for 9 processes"):
        ShardedBatches(numbered[0], 8).shared(0, 9)


# ---------------------------------------------------------------- mixtures


def test_mixture_draws_from_both_sets_by_weight(numbered, tmp_path):
    other, _ = write_numbered(tmp_path / "other", (20,) * 10, first=1000)
    batches = mixed([(numbered[0], 1), (other, 3)], 16, seed=1, mirror=LEFT_RIGHT)
    numbers = np.concatenate([numbers_of(batches, epoch) for epoch in range(18)])
    assert abs((numbers < 40).mean() - 0.25) < 0.01
    assert set(numbers) == {*range(40), *range(1000, 1200)}
    again = mixed([(numbered[0], 1), (other, 3)], 16, seed=1, mirror=LEFT_RIGHT)
    assert equal(again.epoch(2, start_batch=4), list(batches.epoch(2))[4:])


def test_mixture_has_its_shares_exactly_where_batches_do_not_divide_an_epoch(numbered, tmp_path):
    other, _ = write_numbered(tmp_path / "other", (9, 8), first=1000)
    batches = mixed([(numbered[0], 1), (other, 3)], 16)
    numbers = [n for epoch in range(86) for n in numbers_of(batches, epoch)]
    assert len(batches) == 3 and 57 % 16 and len(numbers) == 86 * 48
    drawn = np.array(numbers[:4096])
    assert (drawn < 40).sum() == 1024
    first_epochs = np.array([n for n in numbers if n >= 1000][: 17 * 100]).reshape(100, 17)
    assert all(sorted(epoch) == list(range(1000, 1017)) for epoch in first_epochs)


# ---------------------------------------------------------------- training


def trained(batches, epochs):
    """The weights of a small VQ-VAE after some epochs."""
    torch.manual_seed(0)
    model = VQVAE(VQVAEConfig(32, channels=32, residual_blocks=1, n_codes=8, code_dim=4))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for epoch in range(epochs):
        for batch in batches(epoch):
            optimizer.zero_grad()
            model.step(batch, model.phases[0])["loss"].backward()
            optimizer.step()
    return model.state_dict()


@pytest.mark.parametrize("whole", [True, False])
def test_training_from_shards_equals_training_from_the_array(tmp_path, whole):
    shards, rows = write_numbered(tmp_path / "shards", SIZES, size=32)
    order = WholeOrder(40, 1) if whole else BlockOrder(SIZES, 1, block=2)
    sharded = ShardedBatches(shards, 8, mirror=LEFT_RIGHT, order=order)

    def held(epoch):
        if whole:
            return Batches(tensors(rows), 8, True, LEFT_RIGHT, 1).epoch(epoch)
        return Batches(in_order(rows, order, epoch, LEFT_RIGHT), 8).epoch(0)

    ours, theirs = trained(sharded.epoch, 4), trained(held, 4)  # 20 steps
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    other = trained(ShardedBatches(shards, 8, mirror=LEFT_RIGHT, seed=9).epoch, 4)
    assert not all(torch.equal(other[name], theirs[name]) for name in theirs)
