"""What UMAP compiles with Numba, kept for the next process."""

from __future__ import annotations


def keep_compiled() -> None:
    """Let Numba keep on disk what UMAP has it compile in every process.

    Does nothing with a version of UMAP that has other functions.
    """
    import umap.layouts  # slow to import
    import umap.umap_

    names = ("smooth_knn_dist", "compute_membership_strengths")
    functions = [getattr(umap.umap_, name, None) for name in names]
    single_epoch = getattr(umap.layouts, "_nb_optimize_layout_euclidean_single_epoch", None)
    for function in (*functions, single_epoch):
        if keep := getattr(function, "enable_caching", None):
            keep()
