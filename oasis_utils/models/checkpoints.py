"""Checkpoint files: weights as safetensors with, in the header, the JSON that rebuilds the
model and describes its training. Reading runs no code; writing is all or nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from oasis_utils.config import digest, from_dict, to_dict
from oasis_utils.models.trainable import Trainable
from oasis_utils.runtime import DataError, atomic, open_plain

CHECKPOINT_FORMAT = 1
FIRST_VERSION = 1  # of a model's code, where a file names none
HEADER = "oasis_vq"  # the key of our JSON in the safetensors header
FINGERPRINT = "sha256"  # the key of the digest of that JSON and of all tensors
LARGEST_HEADER = 16 << 20  # bytes; ours have some kilobytes
# of a file that was replaced while it was read: safetensors opens it once for the header and again
# for the tensors
REREADS = 3
RENAMED_FIELDS = {"texture": "spatial_noise"}  # in configurations of older files
DAMAGE = (SafetensorError, KeyError, ValueError, TypeError, OSError, RecursionError, OverflowError)


Model = TypeVar("Model", bound=Trainable)


class CheckpointError(RuntimeError):
    """A checkpoint cannot be used; the message says why and what to do."""


def save_tensors(path: str | Path, tensors: dict[str, Tensor], about: dict[str, Any]) -> None:
    """Write tensors and a JSON description into one file.

    Args:
        path: of the file; an earlier one is replaced when the new one is whole.
        tensors: by name.
        about: the description; it must be JSON without nan and infinity.
    """
    plain = {name: tensor.detach().to("cpu").contiguous() for name, tensor in tensors.items()}
    text = json.dumps(about, allow_nan=False)
    with atomic(path) as partial:
        partial.write_bytes(
            save(plain, metadata={HEADER: text, FINGERPRINT: _fingerprint(text, plain)})
        )


def load_tensors(
    path: str | Path, device: str | torch.device = "cpu"
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save_tensors` wrote.

    Args:
        path: of the file.
        device: where the tensors are placed.

    Returns:
        (tensors by name, description).

    Raises:
        CheckpointError: the file is missing, truncated, altered or foreign.
    """
    for _ in range(REREADS):
        stamp = _stamp(path)
        try:
            return _read_tensors(path, device)
        except CheckpointError:
            if _stamp(path) == stamp:
                raise
    return _read_tensors(path, device)


def _stamp(path: str | Path) -> tuple[int, int] | None:
    """Changes when another process replaces the file; None without one."""
    with contextlib.suppress(OSError):
        found = os.stat(path)
        return found.st_ino, found.st_mtime_ns
    return None


def _read_tensors(
    path: str | Path, device: str | torch.device
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    with _opened(path) as (file, text):
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (safe_open is no mapping)
        if file.metadata().get(FINGERPRINT) not in (
            None,
            _fingerprint(text, tensors),
        ):  # the first files have none
            raise ValueError("its content does not match its digest")
        return {name: tensor.to(device) for name, tensor in tensors.items()}, _description(text)


def read_about(path: str | Path) -> dict[str, Any]:
    """The description alone: kind, config, configuration hash ("recipe"), metrics, provenance."""
    with _opened(path) as (_, text):
        return _description(text)


@contextlib.contextmanager
def _opened(path: str | Path):
    """(open file, text of its description); everything that is wrong with a file becomes a
    CheckpointError.
    """
    path = Path(path)
    if not os.path.lexists(path):
        raise CheckpointError(f"no checkpoint {path}: run the notebook that trains it first")
    try:
        _check_header_size(path)
        with safe_open(str(path), framework="pt", device="cpu") as file:
            yield file, (file.metadata() or {})[HEADER]
    except DataError as error:  # it cannot be opened, so nothing is known about its content
        raise CheckpointError(str(error)) from None
    except DAMAGE as error:
        raise CheckpointError(
            f"{path} is not a whole OASIS-VQ checkpoint ({type(error).__name__}: {error}): "
            "delete it and train again"
        ) from None


def _check_header_size(path: Path) -> None:
    with open_plain(path) as file:
        size = int.from_bytes(file.read(8), "little")
    if size > LARGEST_HEADER:
        raise ValueError(f"a header of {size} bytes")


def _description(text: str) -> dict[str, Any]:
    about = json.loads(text)
    if not isinstance(about, dict):
        raise ValueError("its description is not a JSON object")
    return about


def _fingerprint(text: str, tensors: dict[str, Tensor]) -> str:
    sha = hashlib.sha256(text.encode())
    for name, tensor in sorted(tensors.items()):
        sha.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        sha.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return sha.hexdigest()


def save_model(path: str | Path, model: Trainable, **about: Any) -> None:
    """Write a model with its configuration and the version of its code.

    Args:
        path: of the file.
        model: a VQVAE, PixelCNN, DCGAN or other `Trainable`.
        **about: added to the description: configuration hash ("recipe"), metrics, provenance, and
            whether the training is complete.
    """
    save_tensors(
        path,
        model.state_dict(),
        {
            "format": CHECKPOINT_FORMAT,
            "kind": type(model).__name__,
            "version": model.version,
            "config": to_dict(model.config),
            "config_digest": digest(model.config),
            **about,
        },
    )


def load_model(
    path: str | Path, kind: type[Model], device: str | torch.device = "cpu"
) -> tuple[Model, dict[str, Any]]:
    """Read a model that `save_model` wrote.

    Args:
        path: of the file.
        kind: the class to expect, such as VQVAE.
        device: where the model is placed.

    Returns:
        (model in evaluation mode, description).

    Raises:
        CheckpointError: the file is missing, damaged or foreign, or its weights were trained with
            another version of the class's code. Files without a version count as version 1.
    """
    tensors, about = load_tensors(path, device)
    if about.get("kind") != kind.__name__:
        raise CheckpointError(
            f"{path} holds a {about.get('kind')}, not a {kind.__name__}: check the file name"
        )
    if about.get("format") != CHECKPOINT_FORMAT:
        raise CheckpointError(
            f"{path} has format {about.get('format')}, this version reads {CHECKPOINT_FORMAT}:"
            " train again"
        )
    version = about.get("version", FIRST_VERSION)
    if version != kind.version:
        raise CheckpointError(
            f"{path} was trained by version {version} of {kind.__name__}, this code is version "
            f"{kind.version}: run the notebook that trains it again"
        )
    try:
        config = from_dict(kind.Config, _with_present_names(about["config"]))
        _check_types(config)
        with torch.device("meta"):  # takes no memory, however large a foreign description is
            expected = kind(config).state_dict()
        _check_shapes(tensors, expected)
        _check_finite(tensors)
        model = kind(config).to(device)
        model.load_state_dict(tensors)
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{path} does not fit its own description ({error}): run the notebook that trains it"
            " again"
        ) from None
    return model.eval(), about


def _with_present_names(config: Any) -> dict[str, Any]:
    if not isinstance(config, dict):
        raise TypeError("its configuration is not a JSON object")
    return {RENAMED_FIELDS.get(str(name), str(name)): value for name, value in config.items()}


def _check_shapes(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    wrong = [
        name
        for name in sorted(found.keys() | expected.keys())
        if name not in found or name not in expected or found[name].shape != expected[name].shape
    ]
    if wrong:
        raise ValueError(
            f"other weights than its configuration asks for ({', '.join(wrong[:3])}, {len(wrong)}"
            " in all)"
        )


def _check_types(config: Any) -> None:
    """ValueError for a value of another type than its field, or a number that is not finite."""
    for name, kind in get_type_hints(type(config)).items():
        value = getattr(config, name)
        if kind is float and type(value) is int:  # as JSON may write it
            continue
        if kind in (int, float, bool, str) and type(value) is not kind:
            raise ValueError(f"{name} is {value!r}, not of type {kind.__name__}")
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{name} is {value}")


def _check_finite(tensors: dict[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise ValueError(f"its weights {name} are nan or infinite; train again")


def input_of(about: dict[str, Any], name: str) -> str | None:
    """The identity of what a model was trained on, as its description says.

    Args:
        about: as `load_model` returns it.
        name: such as "vqvae".

    Returns:
        The identity; None where the description has none.
    """
    inputs = about.get("inputs")
    return inputs.get(name) if isinstance(inputs, dict) else None


def weights_digest(model: torch.nn.Module) -> str:
    """Identifies the exact weights, so that a prior is decoded by the VQ-VAE it was trained on.

    Args:
        model: any model.

    Returns:
        12 hexadecimal digits that change with any weight.
    """
    sha = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        sha.update(name.encode())
        sha.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return sha.hexdigest()[:12]
