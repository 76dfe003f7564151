"""Shards of index maps: those of `encode_images`, and an encoding that goes on."""

import numpy as np
import pytest
import torch
from shard_files import WholeOrder, write_numbered
from small_models import small_model

from oasis_utils.config import CodesConfig
from oasis_utils.data.batches import Batches
from oasis_utils.data.shards import open_shards, writing
from oasis_utils.data.shards_batches import ShardedBatches
from oasis_utils.models import code_shards
from oasis_utils.models.code_shards import encode_shards, index_type
from oasis_utils.models.codes import encode_images
from oasis_utils.runtime import DataError
from oasis_utils.runtime.symmetry import LEFT_RIGHT, Symmetry

CPU = torch.device("cpu")
PLAIN = CodesConfig(variants=1, max_shift=0)


def varied_vqvae():
    """A VQ-VAE whose codes are latents of noise, so that maps differ."""
    model = small_model("vqvae").eval()
    noise = torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        latents = model.encode(noise)[0].flatten(1).T
        model.quantizer.codebook.copy_(latents[: len(model.quantizer.codebook)])
    return model


@pytest.fixture
def slices(tmp_path):
    """Shards of 150 slices, and all their rows with ages."""
    _, rows = write_numbered(tmp_path / "numbered", (150,), size=32)
    rows["ages"] = rows["subjects"].astype(np.float32)
    with writing(tmp_path / "slices", {"made": "here"}) as writer:
        for start in range(0, 150, 40):
            writer.write({name: values[start : start + 40] for name, values in rows.items()})
    return open_shards(tmp_path / "slices"), rows


def encoded(slices, folder, config=PLAIN, symmetry=LEFT_RIGHT, **options):
    model = varied_vqvae()
    return encode_shards(model, slices, folder, CPU, config, symmetry, maps_of_shard=64, **options)


def everything(shards):
    return {name: t.numpy() for name, t in shards.read(np.arange(len(shards))).items()}


def test_maps_are_those_of_the_array(slices, tmp_path):
    shards, rows = slices
    maps = encoded(shards, tmp_path / "codes")
    found = everything(maps)
    assert maps.sizes == [64, 64, 22] and found["indices"].dtype == np.uint8
    expected = encode_images(varied_vqvae(), rows["images"], CPU)
    assert np.array_equal(found["indices"], expected) and len(np.unique(expected)) > 2
    for name in ("positions", "subjects", "ages"):
        assert np.array_equal(found[name], rows[name])


def test_variants_follow_the_plain_maps(slices, tmp_path):
    shards, rows = slices
    maps = encoded(shards, tmp_path / "codes", CodesConfig(variants=3, max_shift=2), seed=4)
    found = everything(maps)
    model = varied_vqvae()
    mirrored = np.ascontiguousarray(rows["images"][..., ::-1])
    assert len(maps) == 450 and np.array_equal(found["positions"][300:], rows["positions"])
    assert np.array_equal(found["indices"][150:300], encode_images(model, mirrored, CPU))
    assert not np.array_equal(found["indices"][300:], found["indices"][:150])
    again = encoded(shards, tmp_path / "b", CodesConfig(variants=3, max_shift=2), seed=4)
    assert np.array_equal(everything(again)["indices"], found["indices"])
    other = encoded(shards, tmp_path / "c", CodesConfig(variants=3, max_shift=2), seed=5)
    assert not np.array_equal(everything(other)["indices"], found["indices"])


def test_slices_of_a_subject_are_shifted_alike_in_all_batches(slices, tmp_path, monkeypatch):
    config, found = CodesConfig(variants=3, max_shift=2), []
    for size in (64, 32):
        monkeypatch.setattr(code_shards, "CODED_AT_ONCE", size)
        found.append(everything(encoded(slices[0], tmp_path / str(size), config))["indices"])
    assert np.array_equal(*found)


def test_slices_without_a_mid_line_are_only_shifted(slices, tmp_path):
    maps = encoded(
        slices[0], tmp_path / "codes", CodesConfig(variants=2, max_shift=0), Symmetry(None)
    )
    indices = everything(maps)["indices"]
    assert np.array_equal(indices[:150], indices[150:])


def test_interrupted_encoding_goes_on_after_its_last_shard(slices, tmp_path, monkeypatch):
    whole = everything(encoded(slices[0], tmp_path / "whole"))
    calls, real = [], code_shards.encode_images

    def interrupted(*arguments):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(1)
        return real(*arguments)

    monkeypatch.setattr(code_shards, "encode_images", interrupted)
    with pytest.raises(KeyboardInterrupt):
        encoded(slices[0], tmp_path / "codes")
    calls.clear()
    again = encoded(slices[0], tmp_path / "codes")
    assert len(calls) == 1  # the third of three
    assert np.array_equal(everything(again)["indices"], whole["indices"])


def test_maps_of_another_model_are_made_again(slices, tmp_path):
    encoded(slices[0], tmp_path / "codes")
    model = varied_vqvae()
    with torch.no_grad():
        model.quantizer.codebook.neg_()
    again = encode_shards(
        model, slices[0], tmp_path / "codes", CPU, PLAIN, LEFT_RIGHT, maps_of_shard=64
    )
    expected = encode_images(model, slices[1]["images"], CPU)
    assert np.array_equal(everything(again)["indices"], expected)


@pytest.mark.parametrize("missing", ["ages", "images"])
def test_slices_without_a_column_are_refused(slices, tmp_path, missing):
    rows = {name: values for name, values in slices[1].items() if name != missing}
    with writing(tmp_path / "less", {"made": "here"}) as writer:
        writer.write(rows)
    with pytest.raises(DataError, match=f"have no {missing}: write them with"):
        encoded(open_shards(tmp_path / "less"), tmp_path / "codes")
    assert not (tmp_path / "codes").exists()


def test_maps_do_not_replace_their_slices_or_checkpoints(slices, tmp_path):
    with pytest.raises(DataError, match="holds the slices themselves"):
        encoded(slices[0], tmp_path / "slices")
    (tmp_path / "checkpoints").mkdir()
    for name in ("vqvae.safetensors", "vqvae.json"):
        (tmp_path / "checkpoints" / name).write_text("mine")
    with pytest.raises(DataError, match=r"vqvae\.json and 1 more"):
        encoded(slices[0], tmp_path / "checkpoints")
    assert len(open_shards(tmp_path / "slices")) == 150
    assert len(list((tmp_path / "checkpoints").iterdir())) == 2


def test_size_of_a_shard_is_rounded_up_to_whole_batches(slices, tmp_path):
    folder = tmp_path / "codes"
    maps = encode_shards(
        varied_vqvae(), slices[0], folder, CPU, PLAIN, LEFT_RIGHT, maps_of_shard=65
    )
    assert maps.sizes == [128, 22]


def test_batches_of_maps_are_what_a_prior_takes(slices, tmp_path):
    maps = encoded(slices[0], tmp_path / "codes")
    numbers, expected = [], everything(maps)
    for batch in ShardedBatches(maps, 50, seed=2):
        assert batch["indices"].dtype == torch.int64
        positions = batch["positions"].numpy()
        assert np.array_equal(batch["indices"].numpy(), expected["indices"][positions])
        numbers += positions.tolist()
    assert sorted(numbers) == list(range(150))


def test_index_type_is_the_smallest():
    assert [index_type(n) for n in (2, 256, 257)] == [np.uint8, np.uint8, np.uint16]


def test_many_codes_are_read_unchanged(tmp_path):
    indices = np.arange(60_000, 60_000 + 32, dtype=np.uint16).reshape(2, 4, 4)
    with writing(tmp_path, {"codes": "many"}) as writer:
        for one in indices:
            writer.write({"indices": one[None]})
    batch = next(ShardedBatches(open_shards(tmp_path), 2).epoch(0))
    assert sorted(batch["indices"].flatten().tolist()) == list(range(60_000, 60_032))


def test_prior_trained_from_shards_equals_one_trained_from_the_array(tmp_path):
    random = np.random.default_rng(0)
    rows = {
        "indices": random.integers(0, 8, (30, 4, 4)).astype(np.uint8),
        "positions": random.integers(0, 3, 30),
        "ages": random.uniform(20, 90, 30).astype(np.float32),
    }
    with writing(tmp_path, {"some": "codes"}) as writer:
        for start in range(0, 30, 10):
            writer.write({name: values[start : start + 10] for name, values in rows.items()})
    tensors = {name: torch.from_numpy(values) for name, values in rows.items()}
    tensors["indices"] = tensors["indices"].long()
    weights = []
    for batches in (
        Batches(tensors, 6, True, seed=3),
        ShardedBatches(open_shards(tmp_path), 6, order=WholeOrder(30, 3)),
    ):
        model = small_model("pixelcnn")
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for epoch in range(2):
            for batch in batches.epoch(epoch):
                optimizer.zero_grad()
                model.step(batch, model.phases[0])["loss"].backward()
                optimizer.step()
        weights.append(model.state_dict())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
