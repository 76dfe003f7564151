"""Statistics of a codebook: usage, perplexity, neighbours, PCA and UMAP coordinates. NumPy arrays
in, arrays out.
"""

from __future__ import annotations

import contextlib
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Integer

from oasis_utils.config import digest
from oasis_utils.metrics.compiled_umap import keep_compiled
from oasis_utils.runtime import DataError, atomic, read_arrays
from oasis_utils.runtime.threads import kept_threads


@dataclass(frozen=True)
class CodeUsage:
    """How often each code is used over a whole split. (One batch is too small to show all codes.)

    Attributes:
        counts: Number of cells with each code.
    """

    counts: Integer[np.ndarray, " n_codes"]

    @property
    def n_codes(self) -> int:
        """Size of the codebook."""
        return len(self.counts)

    @property
    def used(self) -> int:
        """Codes that occur at least once."""
        return int((self.counts > 0).sum())

    @property
    def used_fraction(self) -> float:
        """Share of the codes that occur at least once."""
        return self.used / self.n_codes

    @property
    def probabilities(self) -> Float[np.ndarray, " n_codes"]:
        """Share of the cells that have each code."""
        return self.counts / self.counts.sum()

    @property
    def entropy(self) -> float:
        """Nats per code under the unigram distribution of this split."""
        p = self.probabilities[self.counts > 0]
        return float(-(p * np.log(p)).sum())

    @property
    def perplexity(self) -> float:
        """exp(entropy): the number of equally likely codes that would be as surprising; 1 is total
        collapse.
        """
        return float(np.exp(self.entropy))


def usage(indices: Integer[np.ndarray, ...], n_codes: int) -> CodeUsage:
    """Count the codes of index maps.

    Args:
        indices: Index maps of any shape.
        n_codes: Size of the codebook.

    Returns:
        The counts with their entropy and perplexity.

    Raises:
        ValueError: If there are no indices or one is outside [0, n_codes).
    """
    flat = np.asarray(indices).ravel()
    if flat.size == 0:
        raise ValueError("no indices: encode a split that holds slices")
    if flat.min() < 0 or flat.max() >= n_codes:
        raise ValueError(
            f"indices must be in [0, {n_codes}), but range from {flat.min()} to {flat.max()}"
        )
    return CodeUsage(np.bincount(flat, minlength=n_codes))


def co_occurrence(
    indices: Integer[np.ndarray, "n rows cols"], n_codes: int
) -> Integer[np.ndarray, "n_codes n_codes"]:
    """How often two codes are adjacent, left and right or above and below.

    Args:
        indices: Index maps.
        n_codes: Size of the codebook.

    Returns:
        Symmetric counts: each pair of cells is counted from both ends.
    """
    indices = indices.astype(np.int64)
    pairs = np.concatenate(
        [
            np.stack([indices[:, :, :-1].ravel(), indices[:, :, 1:].ravel()]),
            np.stack([indices[:, :-1].ravel(), indices[:, 1:].ravel()]),
        ],
        axis=1,
    )
    table = np.bincount(pairs[0] * n_codes + pairs[1], minlength=n_codes**2).reshape(
        n_codes, n_codes
    )
    return table + table.T


def expected_pairs(
    table: Integer[np.ndarray, "n_codes n_codes"],
) -> Float[np.ndarray, "n_codes n_codes"]:
    """How often two codes would be adjacent if only their frequencies mattered.

    Args:
        table: `co_occurrence` of the codes, (n_codes, n_codes).

    Returns:
        Expected counts, with the same total as the table.
    """
    use = table.sum(0).astype(float)
    return np.outer(use, use) / max(use.sum(), 1.0)


def pointwise_mutual_information(
    table: Integer[np.ndarray, "n_codes n_codes"], strength: float = 5.0
) -> Float[np.ndarray, "n_codes n_codes"]:
    """Pointwise mutual information of adjacent codes in nats.

    It is the log of the observed over the expected count.

    Args:
        table: `co_occurrence` of the codes, (n_codes, n_codes).
        strength: Added to both counts, so that pairs expected less often than this, whose counts
            are mostly chance, come out near 0.

    Returns:
        Above 0 for codes that are adjacent more often than by chance.

    Raises:
        ValueError: For a strength that is not positive.

    Reference:
        Church and Hanks 1990, Computational Linguistics 16, 22-29.
    """
    if strength <= 0:
        raise ValueError(
            f"strength must be positive, not {strength}: without it pairs that never meet have no"
            " value"
        )
    return np.log((table + strength) / (expected_pairs(table) + strength))


def information_of_groups(
    table: Integer[np.ndarray, "n_codes n_codes"],
    first: Bool[np.ndarray, " n_codes"],
    names: tuple[str, str] = ("near-black", "other"),
) -> dict[str, float]:
    """Pointwise mutual information within and between two groups of codes, each as one code.

    Args:
        table: `co_occurrence` of the codes, (n_codes, n_codes).
        first: Which codes are of the first group; the others are of the second.
        names: What the two groups are called in the result.

    Returns:
        {"a with b": log of the observed over the expected number of pairs, in nats}; -inf for
        groups that are never adjacent. Groups without cells are left out.
    """
    expected, groups, found = expected_pairs(table), {names[0]: first, names[1]: ~first}, {}
    for i, (a, rows) in enumerate(groups.items()):
        for b, cols in list(groups.items())[i:]:
            wanted, seen = expected[np.ix_(rows, cols)].sum(), table[np.ix_(rows, cols)].sum()
            if wanted > 0:
                found[f"{a} with {b}"] = float(np.log(seen / wanted)) if seen else float("-inf")
    return found


def pca(
    vectors: Float[np.ndarray, "n dim"], components: int = 2
) -> Float[np.ndarray, "n components"]:
    """Coordinates along the first principal components, by scikit-learn.

    Args:
        vectors: Rows, for example the codes.
        components: Number of columns, at most the number of rows and of entries.

    Returns:
        The coordinates; the largest entry of each axis is positive, so that they are repeatable.
    """
    from sklearn.decomposition import PCA  # slow to import

    kept = min(components, *vectors.shape)
    return PCA(kept, svd_solver="full").fit_transform(vectors)


def umap_coordinates(
    vectors: Float[np.ndarray, "n dim"], seed: int = 0
) -> Float[np.ndarray, "n 2"]:
    """UMAP coordinates of the codes, repeatable for a seed.

    The first call on a machine compiles for some 10 seconds, later ones read what it compiled. The
    imports are slow, so they are inside. UMAP's own search for neighbours would compile for as long
    again.

    Args:
        vectors: Rows, for example the codes.
        seed: Of the random start.

    Returns:
        Two coordinates for each row.

    Reference:
        McInnes 2018, arXiv 1802.03426.
    """
    with warnings.catch_warnings(), kept_threads():
        # such a UMAP cannot transform new points, which is not needed here
        warnings.filterwarnings("ignore", message="precomputed_knn")
        # an optional part of UMAP wants TensorFlow
        warnings.filterwarnings("ignore", category=ImportWarning)
        from scipy.spatial import KDTree
        from umap import UMAP

        keep_compiled()
        near = min(15, len(vectors) - 1)
        distances, neighbours = KDTree(vectors).query(vectors, k=near)
        return UMAP(
            n_neighbors=near, random_state=seed, n_jobs=1, precomputed_knn=(neighbours, distances)
        ).fit_transform(vectors)


def cached_umap(
    path: Path, weights: str, vectors: Float[np.ndarray, "n dim"], seed: int = 0
) -> Float[np.ndarray, "n 2"]:
    """`umap_coordinates`, computed once and kept in a file.

    Args:
        path: The .npz file; it is used if it holds the same weights, vectors and seed, else
            replaced.
        weights: Identity of the model's weights, such as a hash.
        vectors: Rows, for example the codes.
        seed: Of the random start.

    Returns:
        Two coordinates for each row.
    """
    key = digest([weights, len(vectors), float(vectors.sum(dtype=np.float64)), seed])
    if path.exists():
        with contextlib.suppress(DataError):  # damaged: computed again
            known = read_arrays(path, "delete it")
            if str(known.get("key")) == key and "coordinates" in known:
                return known["coordinates"]
    coordinates = umap_coordinates(vectors, seed)
    with atomic(path) as partial, open(partial, "wb") as file:
        np.savez_compressed(file, key=np.array(key), coordinates=coordinates)
    return coordinates


def mean_patches(
    images: Float[np.ndarray, "n height width"],
    indices: Integer[np.ndarray, "n rows cols"],
    n_codes: int,
    context: int = 2,
) -> Float[np.ndarray, "n_codes side side"]:
    """Mean picture around the cells that use each code.

    Args:
        images: Slices, in any unit of grey.
        indices: Their index maps.
        n_codes: Size of the codebook.
        context: Side of a picture in cells; 1 shows the cell alone, beyond the frame is black.

    Returns:
        One square picture for each code; nan for unused codes.
    """
    cell = images.shape[1] // indices.shape[1]
    side = context * cell
    pad = (side - cell) // 2
    padded = np.pad(images, ((0, 0), (pad, pad), (pad, pad)))
    sums, counts = np.zeros((n_codes, side, side)), np.bincount(indices.ravel(), minlength=n_codes)
    for row in range(indices.shape[1]):
        for col in range(indices.shape[2]):
            patch = padded[:, row * cell : row * cell + side, col * cell : col * cell + side]
            np.add.at(sums, indices[:, row, col], patch)
    with np.errstate(invalid="ignore"):
        return sums / counts[:, None, None]


def mean_greys(
    images: Float[np.ndarray, "n height width"],
    indices: Integer[np.ndarray, "n rows cols"],
    n_codes: int,
) -> Float[np.ndarray, " n_codes"]:
    """Mean grey level of the cells that use each code.

    Args:
        images: Slices, in any unit of grey.
        indices: Their index maps.
        n_codes: Size of the codebook.

    Returns:
        In the unit of the images; nan for unused codes.
    """
    return mean_patches(images, indices, n_codes, context=1).mean(axis=(1, 2))


def nearest_other_code(codes: Float[np.ndarray, "n_codes dim"]) -> Integer[np.ndarray, " n_codes"]:
    """For each code the index of the code nearest to it.

    Args:
        codes: Vectors of the codebook.

    Returns:
        Indices; a code is never its own nearest one.
    """
    distance = ((codes[:, None] - codes[None]) ** 2).sum(-1)
    np.fill_diagonal(distance, np.inf)
    return distance.argmin(1)


def largest_half_share(
    indices: Integer[np.ndarray, "n rows cols"], n_codes: int
) -> Float[np.ndarray, " n_codes"]:
    """How far each code keeps to one half of the frame.

    Args:
        indices: Index maps.
        n_codes: Size of the codebook.

    Returns:
        Share of a code's cells in that half (left, right, upper or lower) which holds most of them,
        from 0.5 to 1; nan for unused codes. The middle row and column of an odd map count half to
        either side.
    """
    rows, cols = indices.shape[1:]
    upper, left = (np.clip(size / 2 - np.arange(size), 0, 1) for size in (rows, cols))
    flat = indices.ravel()
    counts = np.bincount(flat, minlength=n_codes)
    shares = []
    for weight in (
        np.broadcast_to(upper[:, None], indices.shape),
        np.broadcast_to(left, indices.shape),
    ):
        with np.errstate(invalid="ignore"):
            share = np.bincount(flat, weight.ravel(), minlength=n_codes) / counts
        shares.append(np.maximum(share, 1 - share))
    return np.maximum(*shares)


def grey_regression(
    codes: Float[np.ndarray, "n_codes dim"],
    images: Float[np.ndarray, "n height width"],
    indices: Integer[np.ndarray, "n rows cols"],
    black: float = 0.03,
) -> tuple[Float[np.ndarray, " dim"], float]:
    """How the components of the codes go with the mean grey level of their cells.

    Args:
        codes: Vectors of the codebook.
        images: Slices in [0, 1].
        indices: Their index maps.
        black: Cells that are not brighter than this are left out.

    Returns:
        Correlation of each component with the grey level, in [-1, 1], and the share of the variance
        of the grey level that a linear function of all components explains (R²); nan where a
        component or the grey levels are constant.
    """
    components, grey = _components_and_grey(codes, images, indices, black)
    total = float((grey**2).sum())
    if total == 0:
        return np.full(codes.shape[1], np.nan), float("nan")
    with np.errstate(invalid="ignore", divide="ignore"):
        correlation = grey @ components / np.sqrt((components**2).sum(0) * total)
    weights = np.linalg.lstsq(components, grey, rcond=None)[0]
    return correlation, 1 - float(((grey - components @ weights) ** 2).sum()) / total


def _components_and_grey(
    codes: Float[np.ndarray, "n_codes dim"],
    images: Float[np.ndarray, "n height width"],
    indices: Integer[np.ndarray, "n rows cols"],
    black: float,
) -> tuple[Float[np.ndarray, "cells dim"], Float[np.ndarray, " cells"]]:
    """Components of the codes and mean grey levels of all cells that are not black, centred."""
    n, rows, cols = indices.shape
    cells = images.reshape(n, rows, images.shape[1] // rows, cols, images.shape[2] // cols)
    grey = cells.mean(axis=(2, 4)).ravel()
    shown = grey > black
    if not shown.any():
        return np.zeros((0, codes.shape[1])), np.zeros(0)
    components, grey = codes[indices.ravel()[shown]].astype(float), grey[shown].astype(float)
    return components - components.mean(0), grey - grey.mean()
