"""Batches held on the device or streamed from the memory map."""

import numpy as np
import pytest
import torch

from oasis_utils.data import dataset
from oasis_utils.data.batches import Batches, Streamed, free_memory
from oasis_utils.data.dataset import Split
from oasis_utils.runtime import DataError
from oasis_utils.runtime.symmetry import LEFT_RIGHT, Symmetry

CPU = torch.device("cpu")


def numbered(n):
    """n different pictures of an odd one out: a bright left half, grey level = number."""
    images = torch.zeros(n, 1, 4, 4, dtype=torch.uint8)
    images[..., :2] = torch.arange(1, n + 1, dtype=torch.uint8)[:, None, None, None]
    return {"images": images, "positions": torch.arange(n)}


def rows_of(batches, epoch):
    return torch.cat([batch["positions"] for batch in batches.epoch(epoch)])


def test_shuffled_epoch_has_every_row_once():
    batches = Batches(numbered(24), 8, shuffle=True, seed=3)
    for epoch in range(3):
        rows = rows_of(batches, epoch)
        assert sorted(rows.tolist()) == list(range(24))
        assert rows.tolist() != list(range(24))


def test_shuffled_epoch_drops_the_rest_and_an_ordered_one_keeps_it():
    shuffled, ordered = Batches(numbered(10), 4, shuffle=True), Batches(numbered(10), 4)
    assert len(shuffled) == 2 and len(set(rows_of(shuffled, 0).tolist())) == 8
    assert len(ordered) == 3 and rows_of(ordered, 0).tolist() == list(range(10))


def test_only_batch_is_kept_even_if_small():
    batches = Batches(numbered(3), 8, shuffle=True)
    assert len(batches) == 1 and sorted(rows_of(batches, 0).tolist()) == [0, 1, 2]


def test_order_depends_on_seed_and_epoch_alone():
    batches = Batches(numbered(24), 8, shuffle=True, seed=3)
    torch.manual_seed(0)
    third = rows_of(batches, 3)
    torch.manual_seed(1)
    assert torch.equal(rows_of(Batches(numbered(24), 8, shuffle=True, seed=3), 3), third)
    assert not torch.equal(rows_of(batches, 4), third)
    assert not torch.equal(rows_of(Batches(numbered(24), 8, shuffle=True, seed=4), 3), third)


def test_batches_leave_the_global_random_state_alone():
    before = torch.get_rng_state()
    rows_of(Batches(numbered(24), 8, shuffle=True, mirror=LEFT_RIGHT), 0)
    assert torch.equal(torch.get_rng_state(), before)


def test_images_become_floats_that_belong_to_their_rows():
    for batch in Batches(numbered(24), 8, shuffle=True, mirror=LEFT_RIGHT):
        images = batch["images"]
        assert images.dtype == torch.float32 and images.min() >= 0 and images.max() <= 1
        assert torch.allclose(images.amax((1, 2, 3)) * 255, batch["positions"] + 1.0)


def test_white_is_one():
    tensors = {"images": torch.full((2, 1, 4, 4), 255, dtype=torch.uint8)}
    assert next(iter(Batches(tensors, 2)))["images"].eq(1).all()


def test_mirror_flips_about_half_of_the_rows_afresh_each_epoch():
    batches = Batches(numbered(200), 200, mirror=LEFT_RIGHT, seed=1)
    flipped = [next(batches.epoch(epoch))["images"][:, 0, 0, 0] == 0 for epoch in (0, 0, 1)]
    assert 70 < flipped[0].sum() < 130
    assert torch.equal(flipped[0], flipped[1]) and not torch.equal(flipped[0], flipped[2])
    image = next(batches.epoch(0))["images"][flipped[0]][0, 0]
    assert torch.equal(image[:, :2].sum(), torch.tensor(0.0)) and image[:, 2:].min() > 0


def test_a_horizontal_mid_line_is_mirrored_top_to_bottom():
    lying = {
        name: tensor.mT if name == "images" else tensor for name, tensor in numbered(200).items()
    }
    images = next(iter(Batches(lying, 200, mirror=Symmetry(-2), seed=1)))["images"]
    plain = next(iter(Batches(lying, 200)))["images"]
    turned = (images != plain).any((1, 2, 3))
    assert 70 < turned.sum() < 130 and torch.equal(images[turned], plain[turned].flip(-2))


@pytest.mark.parametrize("mirror", [None, Symmetry(None)])
def test_nothing_is_mirrored_unless_asked(mirror):
    assert (next(iter(Batches(numbered(50), 50, mirror=mirror)))["images"][:, 0, 0, 0] > 0).all()


@pytest.mark.parametrize("lengths", [(3, 4), (0, 0)])
def test_lengths_must_agree(lengths):
    with pytest.raises(DataError, match="tensors of one length above 0"):
        Batches(
            {"images": torch.zeros(lengths[0], 1, 4, 4), "positions": torch.zeros(lengths[1])}, 2
        )


# ---------------------------------------------------------------- streaming


def memory_map(path, n=24):
    np.save(path, np.random.default_rng(0).integers(0, 256, (n, 8, 8), dtype=np.uint8))
    images = np.load(path, mmap_mode="r")
    return Split(
        "train", images, np.arange(n) // 4, np.arange(n) % 4, np.full(n, np.nan, np.float32)
    )


@pytest.mark.parametrize(("shuffle", "mirror"), [(False, None), (True, None), (True, LEFT_RIGHT)])
def test_streamed_batches_equal_those_held(tmp_path, shuffle, mirror):
    split = memory_map(tmp_path / "a.npy")
    held, streamed = (
        Batches(split.to(CPU, stream), 5, shuffle, mirror, seed=3) for stream in (False, True)
    )
    for epoch in range(2):
        for a, b in zip(held.epoch(epoch), streamed.epoch(epoch), strict=True):
            assert a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_the_choice_follows_the_free_memory_and_is_printed(tmp_path, monkeypatch, capsys):
    split = memory_map(tmp_path / "a.npy")
    monkeypatch.setattr(
        dataset, "free_memory", lambda device: split.images.nbytes / dataset.MAX_MEMORY_SHARE + 1
    )
    assert isinstance(split.to(CPU)["images"], torch.Tensor) and capsys.readouterr().out == ""
    monkeypatch.setattr(
        dataset, "free_memory", lambda device: split.images.nbytes / dataset.MAX_MEMORY_SHARE - 1
    )
    assert isinstance(split.to(CPU)["images"], Streamed)
    assert "slices stream from the memory map" in capsys.readouterr().out


def test_streaming_reads_only_the_rows_of_a_batch(tmp_path):
    """A sparse file of 64 GiB, more than there is memory."""
    n = 2**20
    images = np.memmap(tmp_path / "large", np.uint8, "w+", shape=(n, 256, 256))
    images[n - 1] = 7
    split = Split(
        "train", images, np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros(n, np.float32)
    )
    tensors = split.to(CPU)
    assert isinstance(tensors["images"], Streamed)
    assert (
        tensors["images"].read(torch.tensor([0, n - 1])).amax((1, 2, 3)) == torch.tensor([0, 7])
    ).all()
    assert len(next(iter(Batches(tensors, 4, shuffle=True)))["images"]) == 4


def test_free_memory_is_some():
    assert free_memory(CPU) > 2**20


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_streamed_batches_equal_those_held_on_a_gpu(tmp_path, capsys):
    split, device = memory_map(tmp_path / "a.npy"), torch.device("cuda")
    held, streamed = (Batches(split.to(device, stream), 5, True, True) for stream in (False, True))
    for a, b in zip(held, streamed, strict=True):
        assert b["images"].device.type == "cuda" and all(torch.equal(a[key], b[key]) for key in a)
    assert "held at once" in (out := capsys.readouterr().out) and "stream from" in out
