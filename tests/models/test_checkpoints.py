"""Checkpoints: the same model comes back, anything else is refused in words."""

import json
import os

import pytest
import torch
from safetensors.torch import save_file
from small_models import rewrite_header

from oasis_utils.config import DCGANConfig, to_dict
from oasis_utils.models import checkpoints
from oasis_utils.models.checkpoints import (
    HEADER,
    CheckpointError,
    load_model,
    load_tensors,
    read_about,
    save_model,
    save_tensors,
    weights_digest,
)
from oasis_utils.models.dcgan import DCGAN
from oasis_utils.models.pixelcnn import PixelCNN
from oasis_utils.models.vqvae import VQVAE

# ---------------------------------------------------------------- identity


def test_weights_and_config_come_back(model, path):
    save_model(path, model)
    loaded, about = load_model(path, type(model))
    assert loaded.config == model.config
    assert about["kind"] == type(model).__name__ and about["config"] == to_dict(model.config)
    ours, theirs = model.state_dict(), loaded.state_dict()
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert all(ours[name].dtype == theirs[name].dtype for name in ours)
    assert weights_digest(loaded) == weights_digest(model)


def test_loaded_model_is_in_evaluation_mode(model, path):
    save_model(path, model.train())
    assert not any(module.training for module in load_model(path, type(model))[0].modules())
    assert model.training  # the one that was saved goes on training


def test_loaded_vqvae_reconstructs_alike_and_does_not_start_its_codebook_again(vqvae, path):
    images = torch.rand(2, 1, 32, 32)
    vqvae.train().quantize(vqvae.encode(images))  # starts the codebook
    save_model(path, vqvae)
    loaded, _ = load_model(path, VQVAE)
    assert loaded.quantizer.is_started
    assert torch.equal(loaded.reconstruct(images), vqvae.eval().reconstruct(images))


def test_description_comes_back(vqvae, path):
    save_model(path, vqvae, recipe="abc", metrics={"ssim": 0.5}, complete=True)
    about = read_about(path)
    assert about == load_tensors(path)[1]
    assert (about["recipe"], about["metrics"], about["complete"]) == ("abc", {"ssim": 0.5}, True)


def test_the_version_of_the_code_is_in_the_description_and_another_one_is_refused(
    vqvae, path, monkeypatch
):
    save_model(path, vqvae)
    assert read_about(path)["version"] == VQVAE.version
    monkeypatch.setattr(VQVAE, "version", VQVAE.version + 1)
    with pytest.raises(
        CheckpointError,
        match="was trained by version .* of VQVAE, this code is version .*: run the",
    ):
        load_model(path, VQVAE)


def test_a_file_without_a_version_is_of_the_first(vqvae, path, monkeypatch):
    save_model(path, vqvae)
    about = {name: value for name, value in read_about(path).items() if name != "version"}
    save_tensors(path, vqvae.state_dict(), about)
    monkeypatch.setattr(VQVAE, "version", 1)
    assert weights_digest(load_model(path, VQVAE)[0]) == weights_digest(vqvae)
    monkeypatch.setattr(VQVAE, "version", 2)
    with pytest.raises(CheckpointError, match="was trained by version 1 of VQVAE"):
        load_model(path, VQVAE)


def test_tensors_of_any_kind_and_layout_come_back(path):
    tensors = {
        "channels_last": torch.rand(2, 3, 4, 4).to(memory_format=torch.channels_last),
        "transposed": torch.rand(3, 5).t(),
        "scalar": torch.tensor(7.0),
        "bool": torch.rand(2) > 0.5,
        "state": torch.get_rng_state(),
        "half": torch.rand(3).bfloat16(),
    }
    save_tensors(path, tensors, {})
    loaded, _ = load_tensors(path)
    assert all(torch.equal(loaded[name], tensors[name]) for name in tensors)


@torch.no_grad()
def test_digest_changes_with_any_weight(model):
    seen = {weights_digest(model)}
    for tensor in model.state_dict().values():
        value = tensor[(0,) * tensor.ndim]  # one number of each tensor, in place
        value.logical_not_() if tensor.dtype == torch.bool else value.add_(1e-3)
        seen.add(weights_digest(model))
    assert len(seen) == 1 + len(model.state_dict())


def test_digest_does_not_depend_on_the_memory_format(vqvae):
    before = weights_digest(vqvae)
    assert weights_digest(vqvae.to(memory_format=torch.contiguous_format)) == before


# ---------------------------------------------------------------- refusals


def test_missing_file(path):
    with pytest.raises(
        CheckpointError, match="no checkpoint .*model.safetensors: run the notebook that"
    ):
        load_model(path, VQVAE)
    with pytest.raises(CheckpointError, match="model.safetensors"):
        read_about(path)


def test_wrong_kind(vqvae, path):
    save_model(path, vqvae)
    with pytest.raises(CheckpointError, match="holds a VQVAE, not a PixelCNN: check the file name"):
        load_model(path, PixelCNN)


@pytest.mark.parametrize("share", [0, 0.0005, 0.01, 0.5, 0.999])
def test_truncated_file(vqvae, path, share):
    save_model(path, vqvae)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    for read in (lambda: load_model(path, VQVAE), lambda: read_about(path)):
        with pytest.raises(
            CheckpointError, match="is not a whole OASIS-VQ checkpoint .*train again"
        ):
            read()


@pytest.mark.parametrize(
    "content", [b"x", b"not a checkpoint" * 20, b"\xff" * 64, b"\x08" + b"\0" * 7 + b"{" * 8]
)
def test_garbage(path, content):
    path.parent.mkdir()
    path.write_bytes(content)
    for read in (lambda: load_model(path, VQVAE), lambda: read_about(path)):
        with pytest.raises(CheckpointError, match="is not a whole OASIS-VQ checkpoint"):
            read()


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}, {HEADER: "no json"}])
def test_foreign_safetensors(path, metadata):
    path.parent.mkdir()
    save_file({"weight": torch.rand(3)}, str(path), metadata=metadata)
    for read in (lambda: load_model(path, VQVAE), lambda: read_about(path)):
        with pytest.raises(CheckpointError, match="is not a whole OASIS-VQ checkpoint"):
            read()


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ({"heads": 8}, "VQVAEConfig has no field heads: .*another version"),
        ({"n_codes": 16}, "does not fit its own description"),
        ({"downsampling": 3}, "downsampling must be 4, 8 or 16, not 3"),
    ],
    ids=["unknown field", "other weights", "impossible value"],
)
def test_a_wrong_field_of_the_config_is_refused(vqvae, path, field, message):
    save_model(path, vqvae)
    rewrite_header(path, config={**to_dict(vqvae.config), **field})
    with pytest.raises(CheckpointError, match=message):
        load_model(path, VQVAE)


def test_another_format(vqvae, path):
    save_model(path, vqvae)
    rewrite_header(path, format=checkpoints.CHECKPOINT_FORMAT + 1)
    with pytest.raises(
        CheckpointError, match=f"has format {checkpoints.CHECKPOINT_FORMAT + 1}, this version reads"
    ):
        load_model(path, VQVAE)


def test_description_without_a_config(vqvae, path):
    save_model(path, vqvae)
    rewrite_header(path, config=None)
    with pytest.raises(CheckpointError, match="does not fit its own description"):
        load_model(path, VQVAE)


# ---------------------------------------------------------------- all or nothing


def test_failed_save_keeps_the_old_checkpoint(vqvae, path, monkeypatch):
    save_model(path, vqvae)
    before = path.read_bytes()

    def break_off(_file):
        raise OSError("no space left on device")

    monkeypatch.setattr(
        os, "fsync", break_off
    )  # after the new file is written, before it takes the old one's place
    with pytest.raises(OSError, match="no space"):
        save_model(path, vqvae, complete=True)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


def test_numbers_that_json_lacks_are_refused(vqvae, path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        save_model(path, vqvae, metrics={"ssim": float("nan")})
    assert not path.exists()


def test_the_description_lies_in_the_header(vqvae, path):
    """Any safetensors reader can see what a file is."""
    save_model(path, vqvae)
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    about = json.loads(json.loads(content[8 : 8 + size])["__metadata__"][HEADER])
    assert about["kind"] == "VQVAE"


def test_fields_that_were_renamed_load_from_older_files(tmp_path):
    """The version that wrote it called `spatial_noise` of a DCGAN `texture`."""
    path = tmp_path / "dcgan.safetensors"
    config = DCGANConfig(grid=8, n_codes=16, code_dim=4, channels=8, noise_dim=8, spatial_noise=2)
    save_model(path, DCGAN(config))
    old = to_dict(config)
    old["texture"] = old.pop("spatial_noise")
    rewrite_header(path, config=old)
    assert load_model(path, DCGAN)[0].config == config


def test_a_file_that_is_replaced_while_it_is_read_is_read_again(tmp_path, monkeypatch):
    path, read, calls = tmp_path / "x.safetensors", checkpoints._read_tensors, []
    checkpoints.save_tensors(path, {"a": torch.zeros(2)}, {})

    def replaced(*arguments):
        calls.append(arguments)
        if len(calls) == 1:
            checkpoints.save_tensors(path, {"a": torch.ones(2)}, {})
            raise checkpoints.CheckpointError("header of one file, tensors of another")
        return read(*arguments)

    monkeypatch.setattr(checkpoints, "_read_tensors", replaced)
    assert checkpoints.load_tensors(path)[0]["a"].tolist() == [1.0, 1.0] and len(calls) == 2


def test_a_damaged_file_that_nobody_replaces_is_refused_at_once(tmp_path, monkeypatch):
    path, read, calls = tmp_path / "x.safetensors", checkpoints._read_tensors, []
    path.write_bytes(b"no checkpoint")
    monkeypatch.setattr(
        checkpoints, "_read_tensors", lambda *some: calls.append(some) or read(*some)
    )
    with pytest.raises(checkpoints.CheckpointError):
        checkpoints.load_tensors(path)
    assert len(calls) == 1
