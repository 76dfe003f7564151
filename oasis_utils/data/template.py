"""The Colin27 template: a slab of axial slices, and the data needed to warp it into other brains.

Every array axis order here is (slice, row, column): slices run upward, rows from front to back,
columns across the mid-line, all at 1 mm. The template's licence is in `assets/NOTICE.md`.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

import numpy as np
from scipy import ndimage


@dataclass(frozen=True)
class Template:
    """The Colin27 slab prepared for warping; arrays are float32 (68, 217, 181) on a 1 mm grid.

    Attributes:
        tissue: 0 fluid, 1 grey matter, 2 white matter, continuous between and a little beyond
            (-0.35 to 2.4).
        depth: mm below the smooth brain surface, negative outside.
        inward: gradient of the depth, shape (3, ...): unit vectors across the cortex.
        ventricle_push: outward vectors of length 0-1, shape (3, ...), longest at the ventricle
            walls.
        sulcus_share: 0-1, the share of the near neighbourhood that is fluid outside the
            ventricles.
        head: grey levels of the template, skull and scalp included.
        origin: voxel (slice, row, column) of MNI (0, 0, 0).
    """

    tissue: np.ndarray
    depth: np.ndarray
    inward: np.ndarray
    ventricle_push: np.ndarray
    sulcus_share: np.ndarray
    head: np.ndarray
    origin: tuple[float, float, float]


def read_slab() -> tuple[np.ndarray, np.ndarray, tuple[float, float, float]]:
    """The slab that is shipped with the package.

    Returns:
        Grey levels of the head, uint8 (68, 217, 181); its brain, bool; the voxel (slice, row,
        column) of MNI (0, 0, 0).
    """
    asset = resources.files("oasis_utils.data") / "assets" / "colin27_slab.npz"
    with resources.as_file(asset) as path, np.load(path) as slab:
        shape = tuple(slab["shape"])
        bits = np.unpackbits(slab["brain"], count=int(np.prod(shape)))
        head = _to_picture_axes(slab["t1"])
        brain = _to_picture_axes(bits.reshape(shape).astype(bool))
        x, y, z = slab["origin"]
    return head, brain, (float(z), float(shape[1] - 1 - y), float(x))


@functools.lru_cache(maxsize=1)
def load_template() -> Template:
    """The slab and what warping needs, computed on first use (about 3 s) and cached."""
    grey, brain, origin = read_slab()
    head = grey.astype(np.float32)
    surface, pial = _brain_surfaces(brain)
    tissue = pial * _tissue_scale(head, brain)  # outside the pia: fluid, 0
    depth = _signed_distance(surface)
    fluid = np.clip(1 - tissue, 0, 1) * surface
    from_ventricles = ndimage.gaussian_filter(
        -_signed_distance(_ventricles(fluid, depth, origin)), 2
    )
    return Template(
        tissue=tissue,
        depth=depth,
        inward=np.array(np.gradient(ndimage.gaussian_filter(depth, 3))),
        ventricle_push=_ventricle_push(from_ventricles),
        sulcus_share=ndimage.gaussian_filter(fluid * (from_ventricles > 4), 1.2),
        head=head,
        origin=origin,
    )


def _to_picture_axes(volume: np.ndarray) -> np.ndarray:
    """(x, y, z) RAS volume to (slice, row, column) with the front in row 0."""
    return np.ascontiguousarray(volume.transpose(2, 1, 0)[:, ::-1])


def _brain_surfaces(brain: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A smooth closed surface around the brain mask (bool), and the soft mask (0-1) of what it
    encloses.
    """
    margin = 16  # voxels; the faces of the slab are no brain surface for morphology
    padded = np.pad(brain, ((margin, margin), (0, 0), (0, 0)), mode="edge")
    inside = slice(margin, -margin)
    filled = np.asarray(ndimage.binary_fill_holes(ndimage.binary_closing(padded, iterations=6)))
    closed = ndimage.binary_closing(filled, iterations=8).astype(np.float32)
    surface = ndimage.gaussian_filter(closed, 3) > 0.42
    return surface[inside], ndimage.gaussian_filter(filled.astype(np.float32), 0.7)[inside]


def _tissue_scale(head: np.ndarray, brain: np.ndarray) -> np.ndarray:
    """Scanner grey levels to the tissue scale of `Template`, by the histogram peaks of grey and
    white.
    """
    inner = np.asarray(ndimage.binary_erosion(brain, iterations=2, border_value=1), bool)
    core = head[inner]
    counts = ndimage.gaussian_filter1d(np.histogram(core, 128, (0, 128))[0].astype(float), 2)
    white = int(np.argmax(counts[80:])) + 80
    grey = int(np.argmax(counts[50 : white - 14])) + 50
    fluid = max(grey - 1.25 * (white - grey), 12)
    levels = [0, fluid - 8, fluid, grey, white, white + 25]
    return np.interp(head, levels, [-0.35, -0.1, 0, 1, 2, 2.4]).astype(np.float32)


def _signed_distance(region: np.ndarray) -> np.ndarray:
    """Distance in mm to the border of a region (bool), positive inside.

    The faces of the slab are no border.
    """
    inside, outside = (
        np.asarray(ndimage.distance_transform_edt(part)) for part in (region, ~region)
    )
    return (inside - outside).astype(np.float32)


def _ventricles(fluid: np.ndarray, depth: np.ndarray, origin: Sequence[float]) -> np.ndarray:
    """Mask (bool) of the lateral and third ventricles: large deep fluid, but not the midbrain's
    cisterns.
    """
    z, y, x = _mm_axes(fluid.shape, origin)
    box = (np.abs(x) < 36) & (y > -62) & (y < 42) & (z > -8) & (z < 42)
    cistern = ((z < 6) & (y < -24) & (np.abs(x) < 14)) | ((y < -46) & (np.abs(x) < 12))
    candidates = (fluid > 0.5) & (depth > 27) & box & ~cistern
    labels = np.empty(candidates.shape, np.int32)
    ndimage.label(ndimage.binary_opening(candidates), output=labels)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return np.asarray(ndimage.binary_dilation((sizes > 600)[labels], mask=candidates))


def _mm_axes(
    shape: Sequence[int], origin: Sequence[float]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Broadcastable MNI z, y, x of a template-sized grid, in mm."""
    z, row, column = np.ogrid[tuple(slice(n) for n in shape)]
    return z - origin[0], origin[1] - row, column - origin[2]


def _ventricle_push(distance: np.ndarray) -> np.ndarray:
    """Outward directions by mm from the ventricle wall: full there, fading over 13 mm, 0 deep
    inside.
    """
    strength = np.exp(-np.clip(distance, 0, None) / 13) * np.clip(1 + distance / 4, 0, 1)
    return np.array(np.gradient(distance)) * strength
