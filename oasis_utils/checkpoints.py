"""What is in this file? Weights as safetensors with, in the header, the JSON that rebuilds the model and says where it
comes from. Reading needs no other knowledge and runs no code; writing is all or nothing.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from oasis_utils.config import digest, from_dict, to_dict
from oasis_utils.runtime import atomic

FORMAT = 1
HEADER = "oasis_vq"  # the key of our JSON in the safetensors header


class CheckpointError(RuntimeError):
    """A checkpoint cannot be used; the message says why and what to do."""


def save_tensors(path: str | Path, tensors: dict[str, Tensor], about: dict[str, Any]) -> None:
    """Write tensors and a JSON description into one file."""
    plain = {name: tensor.detach().to("cpu").contiguous() for name, tensor in tensors.items()}
    with atomic(path) as partial:
        partial.write_bytes(save(plain, metadata={HEADER: json.dumps(about, allow_nan=False)}))


def load_tensors(path: str | Path, device: str | torch.device = "cpu") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `save_tensors` wrote; CheckpointError for a missing, truncated or foreign file."""
    path = Path(path)
    if not path.exists():
        raise CheckpointError(f"no checkpoint {path}: run the notebook that trains it first")
    try:
        with safe_open(str(path), framework="pt", device=str(device)) as file:
            about = json.loads((file.metadata() or {})[HEADER])
            return {name: file.get_tensor(name) for name in file.keys()}, about
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise CheckpointError(f"{path} is not a whole OASIS-VQ checkpoint ({type(error).__name__}: {error}): "
                              "delete it and train again") from None


def read_about(path: str | Path) -> dict[str, Any]:
    """The description alone: kind, config, recipe, metrics, provenance."""
    path = Path(path)
    try:
        with safe_open(str(path), framework="pt") as file:
            return json.loads((file.metadata() or {})[HEADER])
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise CheckpointError(f"{path} is not a whole OASIS-VQ checkpoint ({type(error).__name__}): "
                              "delete it and train again") from None


def save_model(path: str | Path, model: torch.nn.Module, **about: Any) -> None:
    """A model with its `config`; `about` adds recipe, metrics, provenance and whether the training is complete."""
    save_tensors(path, model.state_dict(), {
        "format": FORMAT, "kind": type(model).__name__, "config": to_dict(model.config),
        "config_digest": digest(model.config), **about})


def load_model(path: str | Path, kind: type, device: str | torch.device = "cpu") -> tuple[Any, dict[str, Any]]:
    """(model in evaluation mode, description). `kind` is the class to expect, such as VQVAE."""
    tensors, about = load_tensors(path, device)
    if about.get("kind") != kind.__name__:
        raise CheckpointError(f"{path} holds a {about.get('kind')}, not a {kind.__name__}: check the file name")
    if about.get("format") != FORMAT:
        raise CheckpointError(f"{path} has format {about.get('format')}, this version reads {FORMAT}: train again")
    try:
        model = kind(from_dict(kind.Config, about["config"])).to(device)
        model.load_state_dict(tensors)
    except (RuntimeError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} does not fit its own description: {error}") from None
    return model.eval(), about


def weights_digest(model: torch.nn.Module) -> str:
    """Identifies the exact weights: what a prior was trained on must be what decodes it."""
    import hashlib

    sha = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        sha.update(name.encode())
        sha.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return sha.hexdigest()[:12]
