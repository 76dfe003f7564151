"""What codes learned: usage, neighbours, coordinates, pictures; against closed forms and hand-made
maps.
"""

import os
import subprocess
import sys

import numpy as np
import pytest

from oasis_utils.metrics import codebook


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


# ------------------------------------------------------------ usage


@pytest.mark.parametrize("n_codes", [2, 7, 256])
def test_uniform_use_has_the_perplexity_of_all_codes(n_codes):
    use = codebook.usage(np.arange(n_codes).repeat(3).reshape(3, n_codes, 1), n_codes)
    assert use.perplexity == pytest.approx(n_codes) and use.entropy == pytest.approx(
        np.log(n_codes)
    )
    assert use.used == n_codes and use.used_fraction == 1.0


def test_a_single_code_has_perplexity_one():
    use = codebook.usage(np.full((2, 4, 4), 5), 8)
    assert use.perplexity == pytest.approx(1) and use.entropy == pytest.approx(0)
    assert use.used == 1 and use.used_fraction == 1 / 8


def test_usage_of_uneven_codes_is_the_closed_form():
    use = codebook.usage(np.array([[[0, 0], [0, 2]]]), 4)
    assert use.counts.tolist() == [3, 0, 1, 0] and use.n_codes == 4 and use.used == 2
    assert use.probabilities.tolist() == [0.75, 0, 0.25, 0]
    assert use.perplexity == pytest.approx(4 / 3**0.75)  # exp(-3/4 ln 3/4 - 1/4 ln 1/4)


def test_usage_counts_the_whole_split():
    maps = np.random.default_rng(0).integers(0, 9, (20, 4, 4))
    halves = codebook.usage(maps[:10], 9).counts + codebook.usage(maps[10:], 9).counts
    assert (codebook.usage(maps, 9).counts == halves).all() and halves.sum() == maps.size


@pytest.mark.parametrize(
    ("indices", "message"),
    [
        (np.zeros((0, 4, 4), int), "no indices: encode a split that holds slices"),
        (np.array([[[0, 8]]]), r"indices must be in \[0, 8\), but range from 0 to 8"),
        (np.array([[[-1, 3]]]), r"indices must be in \[0, 8\), but range from -1 to 3"),
    ],
)
def test_usage_refuses_bad_indices(indices, message):
    with pytest.raises(ValueError, match=message):
        codebook.usage(indices, 8)


# ------------------------------------------------------------ neighbours


def test_co_occurrence_of_a_hand_made_map():
    table = codebook.co_occurrence(np.array([[[0, 0, 1], [2, 0, 1]]]), 4)
    expected = np.zeros(
        (4, 4)
    )  # pairs: 00 01 20 01 across, 02 00 11 down, each seen from both ends
    expected[0, 0], expected[1, 1] = 4, 2
    expected[0, 1] = expected[1, 0] = expected[0, 2] = expected[2, 0] = 2
    np.testing.assert_array_equal(table, expected)


def test_co_occurrence_is_symmetric_and_counts_every_pair_from_both_ends():
    maps = np.random.default_rng(0).integers(0, 6, (5, 7, 3))
    table = codebook.co_occurrence(maps, 6)
    assert (table == table.T).all() and table.sum() == 2 * 5 * (7 * 2 + 6 * 3)
    np.testing.assert_array_equal(codebook.co_occurrence(maps.astype(np.uint16), 6), table)


def test_co_occurrence_of_stored_maps_holds_more_codes_than_their_type():
    table = codebook.co_occurrence(
        np.full((1, 2, 2), 300, np.uint16), 301
    )  # 300 * 301 is beyond 65,535
    assert table[300, 300] == table.sum() == 8


def test_co_occurrence_does_not_join_different_maps():
    table = codebook.co_occurrence(np.stack([np.zeros((3, 3), int), np.ones((3, 3), int)]), 2)
    np.testing.assert_array_equal(table, [[24, 0], [0, 24]])


def test_attraction_is_the_log_of_how_much_more_often_codes_meet():
    use = np.array([5, 3, 2])
    np.testing.assert_allclose(
        codebook.pointwise_mutual_information(np.outer(use, use)), 0, atol=1e-12
    )
    table = codebook.pointwise_mutual_information(np.array([[500, 0], [0, 500]]), 1e-9)
    assert table[0, 0] == table[1, 1] == pytest.approx(np.log(2)) and table[0, 1] < -20


def test_attraction_of_rare_pairs_is_small_and_of_common_ones_is_kept():
    rare, common = (
        codebook.pointwise_mutual_information(scale * np.array([[2, 0], [0, 2]]), 5.0)
        for scale in (1, 1000)
    )
    np.testing.assert_allclose(rare, np.log([[7 / 6, 5 / 6], [5 / 6, 7 / 6]]))
    assert common[0, 0] == pytest.approx(np.log(2), abs=0.01) and common[0, 1] < -5


def test_groups_attract_as_if_each_were_one_code():
    table = np.array(
        [[40, 40, 10], [40, 40, 10], [10, 10, 900]]
    )  # 180 ends in the first group, 920 in the other
    found = codebook.information_of_groups(table, np.array([True, True, False]))
    assert found == {
        "near-black with near-black": pytest.approx(np.log(160 * 1100 / 180**2)),
        "near-black with other": pytest.approx(np.log(20 * 1100 / (180 * 920))),
        "other with other": pytest.approx(np.log(900 * 1100 / 920**2)),
    }


def test_groups_that_never_meet_or_are_empty():
    table = np.diag([5, 5])
    assert (
        codebook.information_of_groups(table, np.array([True, False]))["near-black with other"]
        == -np.inf
    )
    assert list(codebook.information_of_groups(table, np.ones(2, bool))) == [
        "near-black with near-black"
    ]


def test_a_strength_of_nothing_is_refused():
    with pytest.raises(ValueError, match="strength must be positive, not 0.0"):
        codebook.pointwise_mutual_information(np.ones((2, 2), int), 0.0)


def test_expected_pairs_keep_the_number_of_pairs():
    table = codebook.co_occurrence(np.random.default_rng(0).integers(0, 6, (5, 7, 3)), 6)
    assert codebook.expected_pairs(table).sum() == pytest.approx(table.sum())
    assert codebook.expected_pairs(np.zeros((2, 2), int)).sum() == 0


def test_nearest_other_code():
    codes = np.array([[0.0, 0], [1, 0], [10, 0], [12, 0], [0.5, 5]])
    assert codebook.nearest_other_code(codes).tolist() == [1, 0, 3, 2, 0]


def test_nearest_other_code_of_twins_is_the_twin():
    codes = normal(10, 3)
    twins = np.concatenate([codes, codes])
    assert codebook.nearest_other_code(twins).tolist() == [*range(10, 20), *range(10)]


# ------------------------------------------------------------ coordinates


@pytest.mark.parametrize("components", [1, 2, 3])
def test_pca_columns_are_centred_uncorrelated_and_sorted(components):
    points = codebook.pca(normal(50, 6) @ normal(6, 6, seed=1) + 7, components)
    assert points.shape == (50, components)
    covariance = points.T @ points
    np.testing.assert_allclose(points.mean(0), 0, atol=1e-10)
    np.testing.assert_allclose(covariance, np.diag(np.diag(covariance)), atol=1e-8)
    assert (np.diff(np.diag(covariance)) <= 0).all()


def test_pca_keeps_all_distances_when_it_keeps_all_components():
    vectors = normal(20, 3)
    points = codebook.pca(vectors, 3)
    np.testing.assert_allclose(
        np.linalg.norm(points[:, None] - points, axis=2),
        np.linalg.norm(vectors[:, None] - vectors, axis=2),
        atol=1e-10,
    )


def test_pca_explains_the_largest_variances():
    vectors = normal(50, 6)
    eigenvalues = np.linalg.eigvalsh(np.cov(vectors.T, bias=True))[::-1]
    np.testing.assert_allclose(codebook.pca(vectors).var(0), eigenvalues[:2])


def test_pca_is_repeatable_and_its_signs_do_not_depend_on_the_order_of_rows():
    vectors = normal(30, 5)
    points = codebook.pca(vectors)
    assert (codebook.pca(vectors.copy()) == points).all()
    np.testing.assert_allclose(codebook.pca(vectors[::-1]), points[::-1], atol=1e-10)


def test_pca_axis_points_along_its_largest_entry():
    line = np.arange(5.0)[:, None] * np.array([[1.0, -3.0]])
    assert (np.diff(codebook.pca(line, 1)[:, 0]) < 0).all()  # the axis is (-1, 3) / sqrt(10)


def test_pca_is_the_textbook_decomposition():
    """Singular vectors of the centred rows, each with its largest entry positive."""
    vectors = normal(30, 6, seed=3)
    centred = vectors - vectors.mean(0)
    axes = np.linalg.svd(centred, full_matrices=False)[2][:3]
    axes *= np.sign(axes[np.arange(3), np.abs(axes).argmax(1)])[:, None]
    np.testing.assert_allclose(codebook.pca(vectors, 3), centred @ axes.T, atol=1e-10)
    few = codebook.pca(vectors[:2], 5)  # as many as there are
    assert few.shape == (2, 2)


def test_pca_leaves_its_input_alone():
    vectors = normal(30, 5)
    before = vectors.copy()
    codebook.pca(vectors)
    assert (vectors == before).all()


@pytest.mark.slow
def test_umap_is_repeatable_for_a_seed_and_keeps_groups_together():
    groups = np.concatenate([normal(24, 4), normal(24, 4, seed=1) + 50]).astype(np.float32)
    points = codebook.umap_coordinates(groups, seed=3)
    assert points.shape == (48, 2) and np.isfinite(points).all()
    assert (codebook.umap_coordinates(groups, seed=3) == points).all()
    assert not np.allclose(codebook.umap_coordinates(groups, seed=4), points)
    distance = np.linalg.norm(points[:, None] - points, axis=2)
    np.fill_diagonal(distance, np.inf)
    assert ((distance.argmin(1) < 24) == (np.arange(48) < 24)).all()


@pytest.mark.slow
def test_what_umap_compiles_is_kept_on_disk():
    """All that it compiled for these calls was read from files or is written to them."""
    umap = pytest.importorskip("umap")
    codebook.umap_coordinates(np.random.default_rng(0).standard_normal((20, 4)), seed=0)
    for function in (
        umap.umap_.smooth_knn_dist,
        umap.umap_.compute_membership_strengths,
        umap.layouts._nb_optimize_layout_euclidean_single_epoch,
    ):
        used = function.stats
        assert used.cache_path and sum((used.cache_hits | used.cache_misses).values()) > 0


def test_umap_leaves_the_threads_of_torch_as_they_are():
    """In a process of its own, as numba may have started its threads here before."""
    code = (
        "import numpy as np, torch; from oasis_utils.metrics import codebook\n"
        "codebook.umap_coordinates(np.random.default_rng(0).standard_normal((64, 8)))\n"
        "print(torch.get_num_threads())"
    )
    alone = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=alone
    )
    assert done.stdout.strip() == "1"


def test_kept_coordinates_are_computed_once_for_the_same_weights_vectors_and_seed(
    tmp_path, monkeypatch
):
    calls = []
    monkeypatch.setattr(
        codebook, "umap_coordinates", lambda v, seed: calls.append(seed) or v[:, :2] + seed
    )
    path, vectors = tmp_path / "kept.npz", normal(6, 4)
    first = codebook.cached_umap(path, "weights", vectors, 1)
    assert (codebook.cached_umap(path, "weights", vectors, 1) == first).all() and calls == [1]
    for weights, points, seed in (
        ("others", vectors, 1),
        ("others", vectors + 1, 1),
        ("others", vectors + 1, 2),
    ):
        assert (codebook.cached_umap(path, weights, points, seed) == points[:, :2] + seed).all()
    assert calls == [1, 1, 1, 2]


# ------------------------------------------------------------ pictures


def test_mean_patches_of_one_cell_are_the_mean_cells():
    images = np.array([[[1, 1, 5, 5], [1, 1, 5, 5]], [[3, 3, 7, 9], [3, 3, 7, 9]]], float)
    patches = codebook.mean_patches(images, np.array([[[0, 2]], [[0, 1]]]), 4, context=1)
    assert patches.shape == (4, 2, 2)
    assert patches[0].tolist() == [[2, 2], [2, 2]]
    assert patches[1].tolist() == [[7, 9], [7, 9]]
    assert patches[2].tolist() == [[5, 5], [5, 5]]
    assert np.isnan(patches[3]).all()


def test_the_mean_grey_of_a_code_is_that_of_its_cells():
    images = np.array([[[1, 1, 5, 5], [1, 1, 5, 5]], [[3, 3, 7, 9], [3, 3, 7, 9]]], float)
    greys = codebook.mean_greys(images, np.array([[[0, 2]], [[0, 1]]]), 4)
    np.testing.assert_array_equal(greys, [2, 8, 5, np.nan])


def test_mean_patches_show_the_surroundings_and_black_outside():
    image = np.arange(1.0, 17).reshape(1, 4, 4)
    patches = codebook.mean_patches(image, np.array([[[0, 1], [1, 1]]]), 2, context=2)
    expected = np.zeros((4, 4))
    expected[1:, 1:] = image[0, :3, :3]  # the cell of rows and columns 0 and 1, one pixel around it
    assert (patches[0] == expected).all()


def test_mean_patches_average_every_use_of_a_code():
    image = np.arange(1.0, 17).reshape(1, 4, 4)
    apart = codebook.mean_patches(image, np.array([[[0, 1], [2, 3]]]), 4)
    together = codebook.mean_patches(image, np.zeros((1, 2, 2), int), 1)
    np.testing.assert_allclose(together[0], apart.mean(0))


# ------------------------------------------------------------ where codes are used, and what their
# numbers mean


def test_one_sided_codes_are_told_from_those_that_ring_the_frame():
    maps = np.zeros((2, 4, 4), int)
    maps[:, :, 0], maps[:, 0, 1:], maps[0, 3, 1], maps[0, 3, 2] = 1, 2, 3, 3
    sided = codebook.largest_half_share(maps, 5)
    assert sided[1] == sided[2] == sided[3] == 1.0 and sided[0] == 11 / 16 and np.isnan(sided[4])
    ring = np.ones((1, 4, 4), int)
    ring[0, 1:3, 1:3] = 0
    assert codebook.largest_half_share(ring, 2).tolist() == [0.5, 0.5]


def test_the_middle_of_an_odd_map_belongs_to_both_halves():
    maps = np.zeros((1, 3, 3), int)
    maps[0, 1, 1] = 1
    assert codebook.largest_half_share(maps, 2)[1] == 0.5


def test_grey_correlation_of_components_that_are_and_are_not_grey_levels():
    rng = np.random.default_rng(0)
    indices = rng.integers(0, 4, (6, 4, 4))
    level = np.array([0.2, 0.4, 0.6, 0.8])
    images = level[indices].repeat(2, axis=1).repeat(2, axis=2)
    codes = np.stack([level, 1 - 2 * level, np.array([1.0, -1, -1, 1]), np.ones(4)], axis=1)
    found, _ = codebook.grey_regression(codes, images, indices)
    assert found[:2] == pytest.approx([1, -1]) and abs(found[2]) < 0.3 and np.isnan(found[3])
    black, explained = codebook.grey_regression(codes, 0 * images, indices)
    assert np.isnan(black).all()
    assert np.isnan(explained)


def test_grey_that_lies_in_two_components_together_is_explained_by_neither_alone():
    rng = np.random.default_rng(0)
    indices = rng.integers(0, 4, (6, 4, 4))
    level = np.array([0.2, 0.4, 0.6, 0.8])
    images = level[indices].repeat(2, axis=1).repeat(2, axis=2)
    first = np.array([0.0, 0.5, -0.5, 1.0])
    codes = np.stack([first, level - first, np.ones(4)], axis=1)
    correlation, explained = codebook.grey_regression(codes, images, indices)
    alone = correlation[:2] ** 2
    assert alone.max() < 0.9
    assert explained == pytest.approx(1)
    _, by_first = codebook.grey_regression(codes[:, :1], images, indices)
    assert by_first == pytest.approx(alone[0])
