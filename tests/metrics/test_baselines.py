"""Partners of slices, and the scores of trivial and informed baselines."""

import pytest
import torch
from scipy.ndimage import gaussian_filter

from oasis_utils.metrics import baselines
from oasis_utils.metrics import image_quality as metrics


def disc(size, radius, level=0.8):
    axis = torch.arange(size) - (size - 1) / 2
    return level * ((axis[:, None] ** 2 + axis[None] ** 2) < radius**2).float()


def discs(size, radii):
    return torch.stack([disc(size, radius) for radius in radii])[:, None]


def check_partners(subjects, positions, partner):
    for slice_, other in enumerate(partner.tolist()):
        candidates = (positions == positions[slice_]) & (subjects != subjects[slice_])
        assert (other == -1) == (not candidates.any())
        assert other == -1 or candidates[other]


@pytest.mark.parametrize("seed", range(10))
def test_other_subject_keeps_the_position_and_never_the_subject(seed):
    generator = torch.Generator().manual_seed(seed)
    subjects = torch.randint(5, (60,), generator=generator)
    positions = torch.randint(8, (60,), generator=generator)
    check_partners(subjects, positions, baselines.other_subject(subjects, positions))


def test_other_subject_in_a_full_split():
    subjects, positions = torch.arange(6).repeat_interleave(4), torch.arange(4).repeat(6)
    partner = baselines.other_subject(subjects, positions)
    check_partners(subjects, positions, partner)
    assert sorted(partner.tolist()) == list(range(24))  # everybody stands in for somebody else once


def test_other_subject_is_minus_one_where_nobody_else_has_the_position():
    subjects, positions = torch.tensor([3, 3, 9, 3]), torch.tensor([0, 1, 1, 1])
    assert baselines.other_subject(subjects, positions).tolist() == [-1, 2, 1, 2]
    alone = torch.zeros(3, dtype=torch.long)
    assert baselines.other_subject(alone, alone).tolist() == [-1, -1, -1]


@pytest.fixture(scope="module")
def split():
    """Three subjects with slices at two positions: discs, whose radius grows with both."""
    subjects, positions = torch.arange(3).repeat_interleave(2), torch.arange(2).repeat(3)
    return discs(40, (8 + 2 * subjects + positions).tolist()), subjects, positions


def test_trivial_baselines_are_the_scores_of_worthless_images(split):
    images, subjects, positions = split
    mean = images.mean(0)
    found = baselines.trivial_baselines(images, mean, subjects, positions)
    assert set(found) == {"black", "mean", "other_subject"}
    assert found["black"] == metrics.score(images, torch.zeros_like(images))
    assert found["mean"] == metrics.score(images, mean.expand(6, 1, 40, 40))
    assert found["other_subject"] == metrics.score(
        images, images[baselines.other_subject(subjects, positions)]
    )


def test_black_scores_least_inside_the_brain(split):
    images, subjects, positions = split
    found = baselines.trivial_baselines(images, images.mean(0), subjects, positions)
    assert found["black"]["brain_ssim"] < 0.1 < found["black"]["ssim"]  # the background flatters
    assert all(baseline["brain_ssim"] < 1 and baseline["psnr"] < 40 for baseline in found.values())


def test_trivial_baselines_leave_out_slices_without_a_partner(split):
    images, subjects, positions = split
    alone = torch.cat([images, discs(40, [4])])
    found = baselines.trivial_baselines(
        alone,
        images.mean(0),
        torch.cat([subjects, torch.tensor([3])]),
        torch.cat([positions, torch.tensor([7])]),
    )
    without = baselines.trivial_baselines(images, images.mean(0), subjects, positions)
    assert found["other_subject"] == without["other_subject"]


def test_a_single_subject_has_no_other_subject(split):
    images, _, positions = split
    found = baselines.trivial_baselines(
        images[:2], images.mean(0), torch.zeros(2, dtype=torch.long), positions[:2]
    )
    assert set(found) == {"black", "mean"}


def test_the_neighbour_is_the_next_slice_of_the_same_subject():
    subjects, positions = torch.tensor([1, 2, 1, 1, 2, 3]), torch.tensor([0, 0, 1, 2, 2, 1])
    assert baselines.neighbour(subjects, positions).tolist() == [2, -1, 3, 2, -1, -1]


def test_two_sessions_of_a_subject_are_two_heads():
    """One entry for each slice, never one of another session, although subject and position are the
    same.
    """
    series, positions = torch.tensor([0, 0, 1, 1, 2, 2]), torch.tensor([0, 1, 0, 1, 0, 1])
    assert baselines.neighbour(series, positions).tolist() == [1, 0, 3, 2, 5, 4]
    subjects = torch.tensor([7, 7, 7, 7, 8, 8])
    assert baselines.other_subject(subjects, positions).tolist() == [4, 5, 4, 5, 0, 1]
    with pytest.raises(
        ValueError, match="2 slices share series and position with another one: pass Split.series"
    ):
        baselines.neighbour(subjects, positions)


@pytest.mark.parametrize("seed", range(10))
def test_the_neighbour_is_of_the_same_series_and_one_position_away(seed):
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(60, generator=generator)[
        :40
    ]  # of 6 series with 10 positions, in any order
    series, positions = chosen // 10, chosen % 10
    near = baselines.neighbour(series, positions)
    assert near.shape == (40,)
    for row, other in enumerate(near.tolist()):
        beside = (series == series[row]) & ((positions - positions[row]).abs() == 1)
        assert beside[other] if other >= 0 else not beside.any()


def test_informed_baselines_score_every_slice_of_two_sessions(split):
    images, subjects, positions = split
    series = torch.cat([subjects, subjects + 3])
    found = baselines.informed_baselines(
        torch.cat([images, images]), images[:2], series, positions.repeat(2)
    )
    assert found["neighbour"] == pytest.approx(metrics.score(images, images[[1, 0, 3, 2, 5, 4]]))


def test_informed_baselines_are_the_scores_of_informed_answers(split):
    images, subjects, positions = split
    means = torch.stack([images[positions == p].mean(0) for p in range(2)])
    found = baselines.informed_baselines(images, means, subjects, positions)
    assert list(found) == ["position_mean", "blur_2", "blur_1", "neighbour"]
    assert found["position_mean"] == metrics.score(images, means.repeat(3, 1, 1, 1))
    assert found["neighbour"] == metrics.score(images, images[[1, 0, 3, 2, 5, 4]])
    for metric in ("ssim", "brain_ssim", "psnr"):
        assert found["blur_2"][metric] < found["blur_1"][metric]


def test_blur_is_a_gaussian_of_that_width(split):
    images, subjects, positions = split
    fakes = torch.from_numpy(gaussian_filter(images.numpy(), (0, 0, 2, 2), mode="mirror"))
    found = baselines.informed_baselines(images, images[:2], subjects, positions)["blur_2"]
    assert found == pytest.approx(metrics.score(images, fakes), rel=1e-3)
