"""Whole heads, forehead to the right and the brain dimmer than the scalp: "in the brain" means the
brain there too.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch

from oasis_utils.config import EvaluationConfig
from oasis_utils.data.dataset import Split
from oasis_utils.data.synthetic import make_subject
from oasis_utils.data.template import load_template
from oasis_utils.evaluation import measured_sets, reference
from oasis_utils.evaluation.anomalies import auroc_by_kind
from oasis_utils.evaluation.corruptions import DAMAGES, damaged, possible
from oasis_utils.evaluation.evaluate import sensitivities
from oasis_utils.evaluation.planting import DISC_MM, planted_slices, pooled
from oasis_utils.evaluation.reconstruction import mean_image, score_reconstruction
from oasis_utils.metrics import baselines
from oasis_utils.metrics.anatomy import Anatomist
from oasis_utils.metrics.baselines import trivial_baselines
from oasis_utils.metrics.dark_area import DarkArea
from oasis_utils.metrics.features import as_floats
from oasis_utils.metrics.image_quality import brain_ssim, score, ssim
from oasis_utils.runtime.symmetry import Symmetry

CPU = torch.device("cpu")
AGES = np.array([20, 31, 45, 58, 70, 83, 92], np.float32)
POSITIONS = (10, 14, 18)
DIM = 0.6  # of the grey of a skull-stripped brain


def halved(pictures):
    """256 to 128 pixels, as the mean of 2 x 2."""
    return pictures.reshape(-1, 128, 2, 128, 2).mean((2, 4))


@pytest.fixture(scope="module")
def upright():
    """Whole heads with masks, forehead up: one slice of each subject at each position."""
    template, places = load_template(), list(POSITIONS)
    subjects = [
        make_subject(template, i, age=float(age), whole_head=True) for i, age in enumerate(AGES)
    ]
    slices = np.concatenate([subject.slices[places] for subject in subjects])
    masks = np.concatenate([subject.masks[places] for subject in subjects])
    images = halved(np.where(masks > 0, DIM * slices, slices)).round().astype(np.uint8)
    n = len(POSITIONS)
    return Split(
        "train",
        images,
        np.repeat(np.arange(len(AGES)), n),
        np.tile(np.arange(n), len(AGES)),
        np.repeat(AGES, n),
        masks[:, ::2, ::2].copy(),
        content="head",
    )


def turned(split):
    """The forehead to the right: the mid-line is horizontal."""
    images, masks = (
        x if x is None else np.rot90(x, -1, (1, 2)).copy() for x in (split.images, split.masks)
    )
    return replace(split, images=images, masks=masks, symmetry=Symmetry(-2))


@pytest.fixture(scope="module")
def heads(upright):
    return turned(upright)


@pytest.fixture(scope="module")
def stripped(heads):
    """The same subjects without skull."""
    images = np.where(heads.masks > 0, heads.images, 0).astype(np.uint8)
    return replace(heads, images=images, masks=None, content="brain")


@pytest.fixture(scope="module")
def bare(heads):
    """The same heads without masks."""
    return replace(heads, masks=None)


def column(split, name):
    anatomist = Anatomist.fit(split)
    return anatomist.measure(split.images, split.positions)[:, anatomist.measures.index(name)]


# ---------------------------------------------------------------- SSIM


def test_ssim_in_the_brain_is_that_of_the_masks(heads):
    real = heads.floats()
    fake = torch.where(heads.inside(), real, 0 * real)  # the brain as it is, the skull gone
    near = brain_ssim(real, fake, region=heads.inside()).mean()
    assert (
        near > 0.97
        and near > ssim(real, fake).mean() + 0.05
        and near > brain_ssim(real, fake).mean() + 0.05
    )
    assert score(real, fake, heads.inside())["brain_ssim"] == pytest.approx(float(near), abs=1e-4)
    assert torch.equal(heads.inside(), torch.from_numpy(heads.masks > 0)[:, None])


def test_trivial_baselines_take_the_region_of_the_chosen_slices(heads):
    real, subjects, positions = (
        heads.floats(),
        *map(torch.from_numpy, (heads.subjects, heads.positions)),
    )
    alone = (
        torch.cat([subjects[:-1], torch.tensor([99])]),
        torch.cat([positions[:-1], torch.tensor([9])]),
    )
    found = trivial_baselines(real, real.mean(0), *alone, heads.inside())
    rows = baselines.other_subject(*alone)
    partner = rows[rows >= 0]
    assert (rows < 0).sum() == 1
    assert found["other_subject"] == score(
        real[rows >= 0], real[partner], heads.inside()[rows >= 0]
    )
    assert (
        found["mean"]["brain_ssim"]
        != trivial_baselines(real, real.mean(0), *alone)["mean"]["brain_ssim"]
    )
    means = torch.stack([real[positions == p].mean(0) for p in positions.unique()])
    blurred = baselines.informed_baselines(real, means, subjects, positions, heads.inside())
    assert blurred["position_mean"] == score(real, means[positions], heads.inside())


# ---------------------------------------------------------------- anatomy


def test_tissues_of_heads_with_masks_are_those_of_their_brains(heads, stripped):
    assert Anatomist.fit(heads).measures == (
        "head area",
        "asymmetry",
        "ventricles",
        "fluid",
        "grey matter",
        "white matter",
    )
    for name in ("ventricles", "fluid", "grey matter", "white matter"):
        ours, theirs = column(heads, name), column(stripped, name)
        assert np.abs(ours - theirs).mean() < 0.03, name
    assert (column(heads, "head area") > 1.1 * column(stripped, "brain area")).all()


def test_ventricles_of_heads_widen_with_age_as_those_of_brains(heads, stripped):
    for split in (heads, stripped):
        assert np.corrcoef(column(split, "ventricles"), split.ages)[0, 1] > 0.6


def test_heads_without_masks_are_measured_as_heads(bare):
    anatomist = Anatomist.fit(bare)
    assert anatomist.measures == ("head area", "asymmetry")
    assert anatomist.measure(bare.images, bare.positions).shape == (len(bare), 2)
    assert possible(anatomist) == [
        name
        for name in possible(Anatomist.fit(replace(bare, content="brain")))
        if "ventricles" not in name
    ]


def test_generated_heads_need_no_masks(heads):
    """A position beyond the training slices has the region of the last."""
    anatomist = Anatomist.fit(heads)
    last = heads.positions == heads.positions.max()
    assert np.array_equal(
        anatomist.measure(heads.images[last], heads.positions[last]),
        anatomist.measure(heads.images[last], heads.positions[last] + 5),
    )


@pytest.mark.parametrize("kind", ["heads", "stripped", "bare"])
def test_the_dark_middle_grows_with_age(kind, request):
    split = request.getfixturevalue(kind)
    dark = DarkArea.fit(split)
    level = dark.darkest_position(split.images, split.positions)
    here = split.positions == level
    assert dark.age_correlation(split.images[here], level, split.ages[here]) > 0.7
    assert 0.02 < dark.share(split.images, split.positions).mean() < 0.6


def test_painted_ventricles_are_gone_and_the_skull_stays(heads):
    anatomist = Anatomist.fit(heads)
    painted = damaged(heads.images, "ventricles painted, all", 0, anatomist, heads.positions)
    ventricles = anatomist.measures.index("ventricles")
    before, after = (
        anatomist.measure(x, heads.positions)[:, ventricles].mean() for x in (heads.images, painted)
    )
    assert after < 0.3 * before
    outside = ~anatomist.brains(heads.images, heads.positions)
    assert np.array_equal(painted[outside], heads.images[outside])
    with pytest.raises(ValueError, match="give positions"):
        damaged(heads.images, "ventricles painted, all", 0, anatomist)


@pytest.mark.parametrize("masked", [True, False])
def test_heads_measure_the_same_however_they_lie(upright, masked):
    upright = upright if masked else replace(upright, masks=None)
    lying = turned(upright)
    first, second = (Anatomist.fit(x).measure(x.images, x.positions) for x in (upright, lying))
    assert first == pytest.approx(second, abs=1e-9)
    first, second = (DarkArea.fit(x).share(x.images, x.positions) for x in (upright, lying))
    assert first == pytest.approx(second, abs=1e-9)


# ---------------------------------------------------------------- anomalies


def test_discs_lie_in_the_masked_brain(heads):
    rows, planted = planted_slices(heads, 2.0, seed=1)
    assert len(rows) == len(heads)
    for kind in ("bright disc", "missing patch", "white patch", "displaced patch"):
        assert (heads.masks[rows] > 0)[
            planted[kind].mask
        ].mean() > 0.99  # holes between folds are filled
    white = planted["white patch"]  # of the brain, not of the brighter scalp
    level = int(np.percentile(heads.images[heads.masks > 0], 90))
    assert (white.images[white.mask] == level).all() and level < np.percentile(
        heads.images[heads.masks == 0], 99
    )


def test_cells_of_the_region_are_named_for_what_they_are(heads, bare):
    for split, name in ((heads, "brain"), (bare, "head")):
        rows, planted = planted_slices(split, 2.0)
        images, region = split.images[rows], split.region(rows)
        result = auroc_by_kind(
            lambda x: pooled(as_floats(x)[:, 0].numpy(), 16),
            images,
            planted,
            region,
            split.region_name,
        )
        assert set(result["bright disc"]) == {"same cells", f"all cells in the {name}"}
        assert result["bright disc"][f"all cells in the {name}"] > 0.7
    blank = replace(bare, images=np.zeros_like(bare.images))
    with pytest.raises(
        ValueError,
        match=f"no train slice has room for discs of {DISC_MM:.0f} mm: its heads are too",
    ):
        planted_slices(blank, 2.0)


# ---------------------------------------------------------------- evaluation


def test_a_reconstruction_is_judged_in_the_region_and_says_which(heads, bare):
    fake = np.where(heads.masks > 0, heads.images, 0).astype(np.uint8)
    for split, name in ((heads, "brain"), (bare, "head")):
        judged = score_reconstruction(split, fake, mean_image(split))
        expected = score(split.floats(), as_floats(fake), split.inside())
        assert judged.region == name
        assert {key: getattr(judged, key) for key in expected} == pytest.approx(expected)
        assert (
            judged.trivial_baselines["brain_ssim"]["black"]
            == score(split.floats(), torch.zeros_like(split.floats()), split.inside())["brain_ssim"]
        )


def test_a_judgement_names_only_what_can_be_measured(brains, monkeypatch):
    """Sagittal heads without masks, from the upright brains of the fixture: the chain from training
    to tables.
    """
    monkeypatch.setattr(
        measured_sets,
        "learned",
        lambda images, device, label: np.tile(
            images[:, ::8, ::8].reshape(len(images), -1) / 255, 20
        ).astype(np.float32),
    )
    splits = [
        replace(brains.split(name), content="head", symmetry=Symmetry(None), masks=None)
        for name in ("train", "validate", "test")
    ]
    fitted = measured_sets.FittedReference.fit(*splits, CPU)
    sides = [
        measured_sets.MeasuredSet.of(np.array(s.images), s.positions, s.subjects, fitted, CPU, "")
        for s in splits[1:]
    ]
    floor = measured_sets.compare(*sides, 10, classify=False)
    assert set(floor["anatomy"]) == {"head area"} and sides[0].radiomic.shape[1] == 28
    assert fitted.spaces["radiomic"].startswith("28 hand-crafted features of shape, grey levels")
    auroc_by_kind = reference.Reference(
        fitted,
        sides[1],
        splits[2].ages,
        None,
        sides[0],
        None,
        {reference.REAL_VS_REAL: floor},
        EvaluationConfig(n_images=64, bootstrap=10),
        CPU,
        {},
    )
    damages = sensitivities(auroc_by_kind, 16)
    assert set(damages) == set(possible(fitted.anatomist)) and len(damages) == len(DAMAGES) - 3
