"""Index maps of more slices than fit into memory: shards of slices to shards of code maps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Integer
from torch import Tensor

from oasis_utils.config import CodesConfig
from oasis_utils.data.shards import SHARD_BYTES, Shards, open_shards, writing
from oasis_utils.models.checkpoints import weights_digest
from oasis_utils.models.codes import CODED_AT_ONCE, encode_images, is_shifted, variant
from oasis_utils.models.vqvae import VQVAE
from oasis_utils.runtime import DataError
from oasis_utils.runtime.symmetry import Symmetry

KNOWN = ("positions", "subjects", "ages")  # columns of slices that their maps keep


def encode_shards(
    vqvae: VQVAE,
    slices: Shards,
    folder: str | Path,
    device: torch.device,
    config: CodesConfig,
    symmetry: Symmetry,
    seed: int = 0,
    maps_of_shard: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Shards:
    """Encode shards of slices into shards of index maps; no command does, it is for own scripts.

    Plain and mirrored maps are those of `encode_dataset`. Shifts are as large but others: all
    slices of a subject, of whatever session, are shifted alike. Memory holds one shard of maps. An
    interrupted encoding goes on after its last whole shard.

    Args:
        vqvae: the trained model.
        slices: the shards of slices, as `write_shards` makes them.
        folder: where the maps are written, another than that of the slices.
        device: where the VQ-VAE is.
        config: number of variants and their largest shift in pixels.
        symmetry: across which slices are mirrored.
        seed: 0 or more, of the shifts.
        maps_of_shard: about how many: rounded up to a multiple of 64. Default: those of 32 MiB.
        progress: called with (done, total) shards.

    Returns:
        The opened shards of maps: "indices" as uint8, or uint16 for more than 256 codes, and
        "positions", "subjects", "ages". The maps of the plain slices come first.

    Raises:
        DataError: the slices lack a column, or the folder is theirs or holds foreign files.
        FolderInUse: another process writes there.
        StorageError: there is no room or no permission.
    """
    folder, kind = Path(folder), index_type(vqvae.config.n_codes)
    _refuse_unfit(slices, folder)
    count = maps_of_shard or max(SHARD_BYTES // (vqvae.config.grid**2 * kind.itemsize), 1)
    count = -(-count // CODED_AT_ONCE) * CODED_AT_ONCE  # whole batches
    about = describe(vqvae, slices, config, symmetry, seed) | {"rows_of_shard": count}
    starts = range(0, len(slices), count)
    with writing(folder, about) as writer:
        for number in range(config.variants):
            for done, start in enumerate(starts, start=1):
                rows = np.arange(start, min(start + count, len(slices)))
                if not writer.keep(len(rows)):
                    maps = [
                        _encoded(vqvae, slices, batch, device, number, config, symmetry, seed)
                        for batch in _batches(rows)
                    ]
                    columns = slices.read(rows, KNOWN)
                    writer.write(
                        {"indices": np.concatenate(maps).astype(kind)}
                        | {name: columns[name].numpy() for name in KNOWN}
                    )
                if progress:
                    progress(number * len(starts) + done, config.variants * len(starts))
    return open_shards(folder)


def index_type(n_codes: int) -> np.dtype:
    """The smallest type of an index map: uint8 up to 256 codes, else uint16."""
    return np.dtype(np.uint8 if n_codes <= 256 else np.uint16)


def describe(
    vqvae: VQVAE, slices: Shards, config: CodesConfig, symmetry: Symmetry, seed: int
) -> dict[str, Any]:
    """What the maps are made from, as `codes.describe`."""
    return {
        "kind": "codes",
        "n_codes": vqvae.config.n_codes,
        "grid": vqvae.config.grid,
        "variants": config.variants,
        "max_shift": config.max_shift,
        "axis": symmetry.axis,
        "vqvae": weights_digest(vqvae),
        "slices": slices.identity,
        "seed": seed,
        **({"shifts": "of a subject"} if is_shifted(config.variants - 1, symmetry) else {}),
    }


def _refuse_unfit(slices: Shards, folder: Path) -> None:
    of = slices.files[0].path.parent
    missing = [name for name in ("images", *KNOWN) if name not in slices.opened(0)]
    if missing:
        raise DataError(
            f"the shards in {of} have no {', '.join(missing)}: write them with write_shards, or"
            " with these columns (unknown ages are nan)"
        )
    own = {file.path.parent.resolve() for file in slices.files}
    if folder.resolve() in own:
        raise DataError(f"{folder} holds the slices themselves: give another folder for the maps")


def _batches(rows: np.ndarray) -> Iterator[np.ndarray]:
    return (rows[i : i + CODED_AT_ONCE] for i in range(0, len(rows), CODED_AT_ONCE))


def _encoded(
    vqvae: VQVAE,
    slices: Shards,
    rows: np.ndarray,
    device: torch.device,
    number: int,
    config: CodesConfig,
    symmetry: Symmetry,
    seed: int,
) -> Integer[np.ndarray, "n rows cols"]:
    """Index maps of one variant of one batch."""
    known = slices.read(rows, ["images", "subjects"])
    images, subjects = known["images"].numpy(), known["subjects"].numpy()

    def change(batch: Tensor, part: slice) -> Tensor:
        return variant(batch, number, config, symmetry, subjects[part], seed)

    return encode_images(vqvae, images, device, change)
