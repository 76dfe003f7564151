"""Makes a cache of any source: a manifest and memory-mapped uint8 arrays (slices.npy, masks.npy).

Slices are read once into an unnamed temporary file in the cache's folder, which the system frees
even when the process is killed. This pass also fits the crop window to the training slices; then
chunks are cut, resized and written. Memory holds one chunk and a 32-byte hash a slice, however long
the source is.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from oasis_utils.config import DataConfig, to_dict
from oasis_utils.data import volumes
from oasis_utils.data.cache_folder import (
    MANIFEST,
    MASKS,
    SLICES,
    finish_replacement,
    is_cache,
    read_manifest,
    remove_abandoned,
    replaced_cache,
)
from oasis_utils.data.manifest import CACHE_FORMAT, checked_arrays, digests, opened_array
from oasis_utils.data.orientation import AUTO, oriented
from oasis_utils.data.reading import ImportOptions, OnProgress
from oasis_utils.data.resize import Window, fit_window, write_resized
from oasis_utils.data.slice_collector import SliceCollector
from oasis_utils.data.sources import Source, discover, with_splits
from oasis_utils.runtime import DataError, atomic, refuse_inside, write_json


def import_source(
    path: str | Path,
    folder: str | Path,
    config: DataConfig,
    options: ImportOptions | None = None,
    progress: OnProgress | None = None,
) -> None:
    """Read, check, split, crop and resize a source; an up-to-date cache is left as it is.

    A failed or killed import leaves the last good cache, see `cache_folder`. Whatever cannot be
    used is a DataError, and so is a folder that holds files of other origin.

    Args:
        path: the source, see `sources.discover`.
        folder: where the cache is written; not inside the source.
        config: size and crop of the slices.
        options: how the source is read. Default: as `run` does.
        progress: called with (done, total) after each file or volume.
    """
    path, folder, options = Path(path), Path(folder), options or ImportOptions()
    found = discover(path, options.pattern, options.skip_bad)
    _refuse_idle(found, options)
    source = with_splits(found, options.split, options.seed)
    refuse_inside(path, folder)
    about = {
        "format": CACHE_FORMAT,
        "kind": source.kind,
        "files": source.state,
        "config": to_dict(config),
        "options": to_dict(options),
    }
    finish_replacement(folder)
    remove_abandoned(folder)
    if _is_up_to_date(folder, about):
        return
    with (
        replaced_cache(folder) as draft,
        tempfile.TemporaryFile(dir=draft) as raw,
        tempfile.TemporaryFile(dir=draft) as raw_masks,
    ):
        stack = SliceCollector(source, options.skip_bad, raw, raw_masks)
        stack.read(options, progress)
        found_in_stack = _write_arrays(draft, stack, config, options)
        about |= {"source": str(path.resolve()), **found_in_stack}
        write_json(draft / MANIFEST, about)


def _is_up_to_date(folder: Path, about: dict[str, Any]) -> bool:
    """Whether the folder holds a sound cache of this source, made in this way."""
    manifest = read_manifest(folder) if is_cache(folder) else None
    if not manifest or any(manifest.get(key) != value for key, value in about.items()):
        return False
    try:
        checked_arrays(folder, manifest)
    except DataError:  # it is made again
        return False
    return True


def _write_arrays(
    folder: Path, stack: SliceCollector, config: DataConfig, options: ImportOptions
) -> dict[str, Any]:
    """Write slices and masks; returns what the manifest says about them."""
    geometry, orient = stack.measured(), options.slices.orient
    measured = orient == AUTO and options.slices.plane == "axial"
    turn = geometry.orient if measured else "as-is"  # any other was applied while reading
    symmetry = geometry.symmetry_after(turn)
    crop = fit_window(oriented(stack.heads, turn), stack.n_train, config, symmetry)
    window, rows = Window(crop, config.image_size, turn), stack.rows()
    with atomic(folder / SLICES) as partial:
        write_resized(partial, stack.raw, stack.size, rows, window)
    if stack.masks:
        with atomic(folder / MASKS) as partial:
            write_resized(partial, stack.raw_masks, stack.size, rows, window, nearest=True)
    shape, entries = (len(rows), config.image_size, config.image_size), stack.entries()
    names = (SLICES, MASKS) if stack.masks else (SLICES,)
    arrays = {name: opened_array(folder / name, shape) for name in names}
    return {
        "source_size": stack.size,
        "crop": dict(zip(("top", "left", "side"), crop, strict=True)),
        "masks": stack.masks,
        "orientation": {
            "turned": turn if orient == AUTO else orient,
            "measured": measured,
            "correlations": geometry.rounded_correlations(),
        },
        "symmetry": {"axis": symmetry.axis},
        "content": geometry.content,
        "notes": dict(stack.notes),
        "skipped": stack.skipped,
        "subjects": entries,
        "digests": digests(entries, arrays),
    }


def _refuse_idle(source: Source, options: ImportOptions) -> None:
    """DataError for an option that this source would leave without effect."""
    first = source.series[0]
    if first.split is not None and options.split != ImportOptions.split:
        raise DataError(f"{source.path} has splits of its own, which are kept: leave out --split")
    if first.scan is None and replace(options.slices, orient=AUTO) != volumes.SliceOptions():
        raise DataError(
            f"{source.path} holds images: --plane, --slices, --every and --count are for volumes"
        )
