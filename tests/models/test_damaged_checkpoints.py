"""Damaged and hostile checkpoint files run no code and give a named error."""

import json
import pickle
import random
import zipfile
from pathlib import Path

import pytest
import safetensors.torch
import torch
from small_models import rewrite_header

from oasis_utils.models.checkpoints import (
    HEADER,
    CheckpointError,
    load_model,
    load_tensors,
    read_about,
    save_model,
    weights_digest,
)
from oasis_utils.models.vqvae import VQVAE


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
        part = rng.choice([about, about["config"], header, header[rng.choice(sorted(header))]])
        part[rng.choice(sorted(part))] = rng.choice(WILD)
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
