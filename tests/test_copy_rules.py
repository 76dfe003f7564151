"""The benchmark of rules for copies: its losses, copies and figures have the right closed forms."""

import itertools
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from oasis_utils.metrics.ranking import auroc

ROOT = Path(__file__).parent.parent
MODULES = ("copy_encoders", "copy_figures", "copy_rules", "copy_sets", "copy_tables")


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    yield
    for name in (*MODULES, "measure", "vqvae_study"):
        sys.modules.pop(name, None)


@pytest.fixture
def setting(brains):
    """Two people in each split; copies are decoded by leaving them as they are."""
    from copy_sets import Setting

    return Setting.of(brains, np.array)


def test_nt_xent_of_orthogonal_pairs():
    from copy_encoders import TEMPERATURE, nt_xent

    views, top = torch.eye(4, dtype=torch.float64), math.exp(1 / TEMPERATURE)
    found = nt_xent(views, 3 * views).item()
    assert found == pytest.approx(math.log((top + 6) / top), rel=1e-6)  # 6 others of cosine 0
    assert nt_xent(views, views.roll(1, 0)).item() > 10  # the wrong one is nearest


def test_changes_of_an_encoder_are_what_they_say():
    from copy_encoders import Changes

    rng, x = torch.Generator().manual_seed(0), torch.rand(5, 1, 16, 16)
    torch.testing.assert_close(Changes(0.0, degrees=10, noise=1, gamma=(3, 3))(x, rng), x)
    torch.testing.assert_close(Changes(1.0, degrees=0)(x, rng), x.flip(3), atol=1e-5, rtol=0)
    both = Changes(1.0, degrees=0, upside_down=True, gamma=(2, 2))(x, rng)
    torch.testing.assert_close(both, x.flip(2, 3) ** 2, atol=1e-5, rtol=0)
    turned = Changes(1.0, degrees=180)(x, rng)
    assert (turned - x.flip(3)).abs().mean() > 0.05


def test_a_shift_keeps_within_its_range():
    from copy_encoders import Changes

    dot = torch.zeros(200, 1, 32, 32)
    dot[:, 0, 16, 16] = 1
    moved = Changes(1.0, degrees=0, shift=3 / 32)(dot, torch.Generator().manual_seed(0))
    rows = moved[:, 0].sum(2) @ torch.arange(32.0)
    assert 1 < (rows - 16).abs().max() <= 3 + 1e-4 and len(rows.unique()) > 100


def test_a_third_of_the_pairs_each_is_of_one_slice_and_of_one_position():
    from copy_encoders import partners

    positions = torch.arange(1000) % 20
    rows = torch.arange(1000).repeat(9)
    others = partners(rows, positions, torch.Generator().manual_seed(0))
    assert (rows == others).float().mean().item() == pytest.approx(1 / 3 + 1 / 150, abs=0.02)
    same = (positions[rows] == positions[others]).float().mean().item()
    assert same == pytest.approx(2 / 3 + 1 / 60, abs=0.02)


def test_the_structural_loss_is_the_squared_error_of_the_ssim():
    """Equal slices have SSIM 1; embeddings of cosine c then cost (1 - c)²."""
    from copy_encoders import BATCH, Changes, structural

    images = torch.rand(1, 1, 64, 64).expand(8, -1, -1, -1)
    angle = torch.tensor(0.5)
    halves = torch.stack([torch.tensor([1.0, 0.0]), torch.stack([angle.cos(), angle.sin()])])
    loss = structural(images, torch.zeros(8, dtype=torch.long), Changes(0.0, degrees=0))
    found = loss(lambda x: halves.repeat_interleave(BATCH, 0), torch.Generator().manual_seed(0))
    assert found.item() == pytest.approx((1 - math.cos(0.5)) ** 2, rel=1e-4)


def test_contrastive_training_finds_changed_slices_and_repeats_with_its_seed(brains):
    from copy_encoders import DAR, contrastive, embed, small, train

    images = np.array(brains.split("train").images)
    loss = contrastive(small(images), DAR)
    first, again = (
        train(16, loss, 5, 3, lambda steps=steps: float(next(steps)))
        for steps in (itertools.count(), itertools.count())
    )
    assert first[1] == again[1] and first[1]["steps"] == 5
    torch.testing.assert_close(embed(first[0], images), embed(again[0], images))
    untrained = train(16, loss, 1, 3, itertools.count().__next__)[1]["loss"]
    assert first[1]["loss"] < untrained


def test_planted_copies_are_what_they_say(brains):
    import copy_sets

    images = np.array(brains.split("train").images[10:14])
    assert np.array_equal(np.roll(copy_sets.moved(images), (-3, 3), (1, 2)), images)
    assert np.array_equal(copy_sets.mirrored(copy_sets.mirrored(images)), images)
    assert np.array_equal(copy_sets.warped(images, 0.0, 1.0), images)
    inside = images > 0
    assert (copy_sets.darkened(images, 1.5) <= images).all()
    assert copy_sets.blurred(images, 3).std() < images.std()
    noise = copy_sets.noisy(images, 8.0).astype(float) - images
    assert noise[inside & (images > 40) & (images < 215)].std() == pytest.approx(8, abs=0.5)
    kinds = copy_sets.copies(images, np.array) | copy_sets.harder_copies(images)
    assert len(kinds) == 15 and all(x.dtype == np.uint8 for x in kinds.values())
    changed = {name for name, x in kinds.items() if not np.array_equal(x, images)}
    assert set(kinds) - changed == {"as it is", "decoded"}


def test_no_person_has_two_roles(brains, setting):
    from copy_sets import FRESH

    test, held_out = brains.split("test"), setting.held_out.images
    fresh = setting.judged[FRESH].images
    owners = [
        {int(test.subjects[(test.images == image).all((1, 2))][0]) for image in part}
        for part in (held_out, fresh)
    ]
    assert all(len(names) == 1 for names in owners) and owners[0] != owners[1]
    assert np.array_equal(setting.calibration.images, brains.split("validate").images)


def test_one_percent_of_calibrated_scores_lie_below_the_threshold():
    from copy_figures import resampled_shares, resampled_thresholds, threshold

    rng, people = np.random.default_rng(0), np.arange(4000) // 100
    values, others = rng.random(4000), rng.random(4000)
    assert (others < threshold(values)).mean() == pytest.approx(0.01, abs=0.005)
    once = np.ones((1, 40), int)
    cuts = resampled_thresholds(values, people, once)
    assert cuts == pytest.approx([threshold(values)])
    shares = resampled_shares(others, people, once, cuts)
    assert shares == pytest.approx([(others < cuts[0]).mean()])
    twice = np.eye(40, dtype=int)[[7]] * 40  # one person only
    assert resampled_shares(others, people, twice, np.array([0.3])) == pytest.approx(
        [(others[people == 7] < 0.3).mean()]
    )


def test_auc_of_a_resample_that_draws_everyone_once(setting):
    from copy_figures import Draws, resampled_auc
    from copy_sets import FRESH

    sides, rng = (setting.judged["shifted"], setting.judged[FRESH]), np.random.default_rng(0)
    copied, fresh = (rng.random(len(side.images)) for side in sides)
    copied -= 0.3
    draws = Draws(*(np.ones((1, side.n_people), int) for side in (setting.train, *sides[::-1])))
    value, resamples = resampled_auc(copied, fresh, sides, draws)
    assert resamples == pytest.approx([value])
    assert value == pytest.approx(auroc(-copied, -fresh)) and value > 0.6


def test_every_rule_finds_plain_copies(setting, monkeypatch):
    import copy_figures
    from copy_rules import study

    monkeypatch.setattr(copy_figures, "ROUNDS", 50)
    found = study(setting, 0.1, 2)
    assert list(found) == [
        "grey levels",
        "grey levels, aligned",
        "contrastive",
        "contrastive, more changes",
        "DeepSSIM-like",
        "ours",
    ]
    for name, space in found.items():
        assert len(space["trainings"]) == (2 if name[0] in "cD" else 0)
        for rule in space["rules"].values():
            assert rule["found"]["as it is"]["value"] == 1
            assert len(rule["false_positives"]["seeds"]) == (2 if name[0] in "cD" else 1)
    assert found["grey levels"]["rules"]["distance"]["found"]["mirrored"]["value"] < 0.5
    for name in ("ours", "grey levels, aligned"):
        kinds = found[name]["rules"]["ratio"]["found"]
        assert kinds["shifted"]["value"] > 0.9 and kinds["mirrored"]["value"] > 0.9


def test_the_page_shows_the_record():
    import copy_tables

    page = copy_tables.PAGE.read_text(encoding="utf-8")
    record = copy_tables.read_json(copy_tables.RECORD)
    assert copy_tables.with_tables(page, copy_tables.tables(record)) == page


def test_a_cell_shows_an_interval_only_where_there_is_one():
    from copy_tables import cell

    sure = {"value": 1.0, "interval": (1.0, 1.0), "seeds": [1.0]}
    assert cell(sure, 100, 0) == "100"
    varied = {"value": 0.5, "interval": (0.4, 0.6), "seeds": [0.45, 0.55]}
    assert cell(varied, 100, 0, seeds=True) == "50 (40 to 60; 45 to 55)"
    assert cell(varied, 1, 2) == "0.50 (0.40 to 0.60)"
