"""Checkpoints: the same model comes back, anything else is refused in words, and reading runs no
code.
"""

import json
import os
import pickle
import random
import zipfile
from pathlib import Path

import pytest
import safetensors.torch
import torch
from safetensors.torch import save_file

from oasis_utils.config import DCGANConfig, PixelCNNConfig, VQVAEConfig, to_dict
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

SHAPE = dict(grid=4, n_codes=8, n_positions=3, channels=8)
MODELS = {
    "vqvae": lambda: VQVAE(
        VQVAEConfig(image_size=32, channels=32, residual_blocks=1, n_codes=8, code_dim=4)
    ),
    "pixelcnn": lambda: PixelCNN(PixelCNNConfig(**SHAPE, blocks=2, hidden=8)),
    "dcgan": lambda: DCGAN(DCGANConfig(**SHAPE, code_dim=4, noise_dim=4)),
}


@pytest.fixture(params=MODELS)
def model(request):
    torch.manual_seed(0)
    return MODELS[request.param]()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "checkpoints" / "model.safetensors"


@pytest.fixture
def vqvae():
    torch.manual_seed(0)
    return MODELS["vqvae"]()


def rewrite_header(path, **changes):
    """The same file with other entries in its description; None removes one."""
    tensors, about = load_tensors(path)
    about = {name: value for name, value in {**about, **changes}.items() if value is not None}
    save_tensors(path, tensors, about)


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


def test_unknown_config_field(vqvae, path):
    save_model(path, vqvae)
    rewrite_header(path, config={**to_dict(vqvae.config), "heads": 8})
    with pytest.raises(CheckpointError, match="VQVAEConfig has no field heads: .*another version"):
        load_model(path, VQVAE)


def test_config_that_does_not_fit_the_weights(vqvae, path):
    save_model(path, vqvae)
    rewrite_header(path, config={**to_dict(vqvae.config), "n_codes": 16})
    with pytest.raises(CheckpointError, match="does not fit its own description"):
        load_model(path, VQVAE)


def test_impossible_config_value(vqvae, path):
    save_model(path, vqvae)
    rewrite_header(path, config={**to_dict(vqvae.config), "downsampling": 3})
    with pytest.raises(CheckpointError, match="downsampling must be 4, 8 or 16, not 3"):
        load_model(path, VQVAE)


def test_another_format(vqvae, path):
    save_model(path, vqvae)
    rewrite_header(path, format=checkpoints.FORMAT + 1)
    with pytest.raises(
        CheckpointError, match=f"has format {checkpoints.FORMAT + 1}, this version reads"
    ):
        load_model(path, VQVAE)


def test_description_without_a_config(vqvae, path):
    save_model(path, vqvae)
    rewrite_header(path, config=None)
    with pytest.raises(CheckpointError, match="does not fit its own description"):
        load_model(path, VQVAE)


# ---------------------------------------------------------------- safety


class Canary:
    """Unpickling it makes a file."""

    def __init__(self, trace: Path):
        self.trace = trace

    def __reduce__(self):
        return (Path.touch, (self.trace,))


def as_torch_archive(payload: bytes, path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", payload)
        archive.writestr("archive/version", "3")


@pytest.mark.parametrize(
    "pack", [lambda payload, path: path.write_bytes(payload), as_torch_archive]
)
def test_pickle_under_our_name_never_runs(tmp_path, pack):
    trace, path = tmp_path / "trace", tmp_path / "vqvae.safetensors"
    payload = pickle.dumps(Canary(trace))
    pickle.loads(payload)
    assert trace.exists()  # the canary sings when it is unpickled
    trace.unlink()
    pack(payload, path)
    for read in (load_tensors, read_about, lambda file: load_model(file, VQVAE)):
        with pytest.raises(CheckpointError, match="is not a whole OASIS-VQ checkpoint"):
            read(path)
    assert not trace.exists()


def test_altered_weights_are_noticed(vqvae, path):
    save_model(path, vqvae)
    content = bytearray(path.read_bytes())
    content[-5] ^= 1  # one bit of one weight
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="does not match its digest"):
        load_model(path, VQVAE)


def test_files_of_the_first_version_have_no_digest_and_load(vqvae, path):
    save_model(path, vqvae)
    text = json.dumps(read_about(path))
    path.write_bytes(safetensors.torch.save(load_tensors(path)[0], metadata={HEADER: text}))
    loaded, _ = load_model(path, VQVAE)
    assert weights_digest(loaded) == weights_digest(vqvae)


def test_a_description_cannot_claim_the_memory_of_the_machine(vqvae, path):
    """80 GB of weights are asked for; they are refused before they are made."""
    save_model(path, vqvae)
    rewrite_header(path, config={"channels": 4096, "residual_blocks": 64})
    with pytest.raises(CheckpointError, match="other weights than its configuration asks for"):
        load_model(path, VQVAE)


@pytest.mark.parametrize(
    "start", [(1 << 62).to_bytes(8, "little"), ((16 << 20) + 1).to_bytes(8, "little")]
)
def test_a_giant_header_is_refused_unread(path, start):
    path.parent.mkdir()
    path.write_bytes(start + b"{" * 100)
    with pytest.raises(CheckpointError, match="a header of"):
        load_tensors(path)


def test_a_description_nested_without_end_is_refused(path):
    path.parent.mkdir()
    text = "[" * 100_000 + "]" * 100_000
    path.write_bytes(safetensors.torch.save({"x": torch.zeros(1)}, metadata={HEADER: text}))
    for read in (load_tensors, read_about):
        with pytest.raises(CheckpointError, match="is not a whole OASIS-VQ checkpoint"):
            read(path)


WILD = (
    0,
    -1,
    1 << 40,
    0.5,
    float("inf"),
    None,
    True,
    "",
    "64",
    [],
    [1, 2],
    {},
    {"a": 1},
    "é" * 1000,
)


def damaged(content, rng):
    """A checkpoint with flipped bits, a lost end, foreign bytes, or wild values in its
    description.
    """
    content, size = bytearray(content), int.from_bytes(content[:8], "little")
    kind = rng.choice(["flip", "header", "cut", "splice", "value", "length"])
    if kind in ("flip", "header"):
        for _ in range(rng.choice((1, 3, 50))):
            content[rng.randrange(size + 8 if kind == "header" else len(content))] ^= (
                1 << rng.randrange(8)
            )
    elif kind == "cut":
        del content[rng.randrange(len(content)) :]
    elif kind == "splice":
        at = rng.randrange(len(content))
        content[at : at + rng.choice((0, 1, 100))] = rng.randbytes(rng.choice((1, 7, 100)))
    elif kind == "length":
        content[:8] = rng.choice((0, 1, size - 1, size + 1, 1 << 31, (1 << 64) - 1)).to_bytes(
            8, "little"
        )
    else:
        header = json.loads(content[8 : 8 + size])
        about = json.loads(header["__metadata__"][HEADER])
        place = rng.choice([about, about["config"], header, header[rng.choice(sorted(header))]])
        place[rng.choice(sorted(place))] = rng.choice(WILD)
        if isinstance(header["__metadata__"], dict):
            header["__metadata__"][HEADER] = json.dumps(about)
        new = json.dumps(header).encode()
        content[: 8 + size] = len(new).to_bytes(8, "little") + new
    return bytes(content)


def result_or_message(load):
    """(what it returns, None), or (None, the message of its CheckpointError)."""
    try:
        return load(), None
    except CheckpointError as error:
        return None, str(error)


@pytest.mark.fuzz
def test_300_damaged_files_load_rightly_or_give_a_named_error(model, tmp_path):
    rng, path, right = random.Random(type(model).__name__), tmp_path / "model.safetensors", 0
    save_model(path, model, recipe="abc", complete=True, metrics={"ssim": 0.5})
    content, digest = path.read_bytes(), weights_digest(model)
    for _ in range(100):  # of each of the three models
        path.write_bytes(damaged(content, rng))
        loaded, message = result_or_message(lambda: load_model(path, type(model))[0])
        assert message is None or str(path) in message
        if loaded is not None:
            right += 1
            assert weights_digest(loaded) == digest and loaded.config == model.config
        about, message = result_or_message(lambda: read_about(path))
        assert isinstance(about, dict) if message is None else str(path) in message
    assert right < 30  # most damage is seen


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


def test_figures_that_json_lacks_are_refused(vqvae, path):
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
