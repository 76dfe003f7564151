"""The textbook VQ-VAE, trainings by the clock, and codes taken away."""

import contextlib
import itertools
import time

import numpy as np
import pytest
import torch

from oasis_utils.config import TrainingConfig, VQVAEConfig
from oasis_utils.data.batches import Batches
from oasis_utils.metrics import image_quality as metrics
from oasis_utils.models.vqvae import VQVAE
from oasis_utils.training import equal_time as collapse

SMALL = VQVAEConfig(
    image_size=32,
    downsampling=4,
    channels=16,
    residual_blocks=1,
    n_codes=16,
    code_dim=4,
    cosine=True,
)
SCHEDULE = TrainingConfig(learning_rate=2e-3, warmup_steps=2)
CPU = torch.device("cpu")


def batches(n=12):
    images = torch.randint(0, 256, (n, 1, 4, 4), generator=torch.Generator().manual_seed(0))
    return Batches(
        {"images": images.repeat_interleave(8, 2).repeat_interleave(8, 3).to(torch.uint8)},
        4,
        shuffle=True,
    )


def test_the_textbook_is_equation_3_on_the_same_architecture():
    plain = collapse.textbook(SMALL)
    assert (
        plain.pixel_loss,
        plain.ssim_weight,
        plain.codebook,
        plain.kmeans,
        plain.revive_below,
        plain.cosine,
    ) == ("mse", 0.0, "gradient", False, 0.0, False)
    ours, theirs = (
        sum(p.numel() for part in (m.encoder, m.decoder) for p in part.parameters())
        for m in (VQVAE(SMALL), VQVAE(plain))
    )
    assert ours == theirs
    assert [name for name, _ in VQVAE(plain).named_parameters() if "quantizer" in name] == [
        "quantizer.codebook"
    ]


def test_the_gradient_codebook_differs_from_ours_in_codebook_and_from_the_textbook_in_loss():
    middle = collapse.gradient_codebook(SMALL)
    assert (middle.pixel_loss, middle.ssim_weight) == (SMALL.pixel_loss, SMALL.ssim_weight)
    changed = {name for name, value in vars(middle).items() if value != getattr(SMALL, name)}
    assert (
        {"codebook", "cosine", "kmeans"}
        <= changed
        <= {"codebook", "cosine", "kmeans", "revive_below", "gradient"}
    )
    changed = {
        name
        for name, value in vars(collapse.textbook(SMALL)).items()
        if value != getattr(middle, name)
    }
    assert changed <= {"pixel_loss", "ssim_weight"} and "pixel_loss" in changed


def test_a_training_by_the_clock_ends_on_time_with_evenly_spaced_looks():
    ticks = itertools.count()  # every step takes one tick, so ten seconds are ten steps
    model = VQVAE(SMALL)
    history = collapse.train_for(
        10.0, model, batches(), batches(), SCHEDULE, n_records=5, clock=lambda: float(next(ticks))
    )
    assert [record["steps"] for record in history] == [2, 4, 6, 8, 10]
    assert [record["seconds"] for record in history] == [2, 4, 6, 8, 10]
    assert history[-1]["images_per_second"] == 4 and not model.training
    assert history[-1]["ssim"] != history[0]["ssim"]


def test_a_number_of_steps_takes_the_place_of_the_time():
    _, histories = collapse.train_configurations(
        {"a": SMALL, "b": SMALL}, 0.0, batches(), batches(), SCHEDULE, 0, CPU, steps=10
    )
    assert [record["steps"] for record in histories["a"]] == [2, 4, 6, 8, 10]
    assert histories["a"][-1]["ssim"] == histories["b"][-1]["ssim"]


def test_rivals_are_trained_apart_and_leave_the_random_numbers_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    models, histories = collapse.train_configurations(
        {"a": SMALL, "b": collapse.textbook(SMALL)}, 0.05, batches(), batches(), SCHEDULE, 0, CPU
    )
    assert torch.equal(torch.rand(3), expected)
    assert (
        models.keys() == histories.keys() == {"a", "b"}
        and models["b"].config.codebook == "gradient"
    )
    assert len(histories["a"]) and "used_fraction" in histories["b"][-1]


@pytest.mark.parametrize(("device", "clock"), [("cpu", "thread_time"), ("cuda", "monotonic")])
def test_a_busy_cpu_does_not_shorten_the_training_of_rivals(monkeypatch, device, clock):
    used = []
    monkeypatch.setattr(
        collapse, "train_for", lambda *_args, clock, **_options: used.append(clock) or []
    )
    monkeypatch.setattr(collapse, "VQVAE", lambda config: VQVAE(config).cpu())
    monkeypatch.setattr(VQVAE, "to", lambda model, *_args, **_options: model)
    monkeypatch.setattr(torch.random, "fork_rng", lambda devices: contextlib.nullcontext())
    collapse.train_configurations(
        {"a": SMALL}, 1.0, batches(), batches(), SCHEDULE, 0, torch.device(device)
    )
    assert used == [getattr(time, clock)]


def test_taking_no_code_away_changes_nothing_and_the_rarest_go_first():
    torch.manual_seed(0)
    model, images = VQVAE(SMALL), next(iter(batches()))["images"]
    ticks = itertools.count()
    collapse.train_for(
        20.0, model, batches(), batches(), SCHEDULE, clock=lambda: float(next(ticks))
    )
    with torch.no_grad():
        whole = float(metrics.ssim(model.reconstruct(images), images).mean())
        counts = model.encode_indices(images).flatten().bincount(minlength=16).numpy()
        most = torch.full((len(images), 8, 8), int(counts.argmax()))
        single = float(metrics.ssim(model.decode_indices(most), images).mean())
    found = collapse.ssim_without_rarest(model, images, counts, [0, int((counts == 0).sum()), 15])
    assert (counts == counts.max()).sum() == 1  # so that the last code left is known
    assert list(dict.fromkeys(found)) == list(found) and found[0] == pytest.approx(whole, abs=1e-6)
    assert found[int((counts == 0).sum())] == pytest.approx(whole, abs=1e-6)
    assert found[15] == pytest.approx(single, abs=1e-6)


@torch.no_grad()
def test_near_codes_cost_more_the_more_cells_take_them():
    torch.manual_seed(0)
    model = VQVAE(SMALL).eval()
    model.quantizer.codebook.copy_(torch.randn(16, 4))
    images = next(iter(batches()))["images"]
    found = collapse.ssim_with_near_codes(model, images, [0.0, 0.3, 1.0], seed=1)
    exact = float(metrics.ssim(model.reconstruct(images), images).mean())
    assert found[0.0] == pytest.approx(exact)
    changes = [abs(found[share] - exact) for share in (0.0, 0.3, 1.0)]
    assert changes[0] < changes[1] < changes[2]
    assert found == collapse.ssim_with_near_codes(model, images, [0.0, 0.3, 1.0], seed=1)


def test_cells_of_kept_codes_never_change():
    torch.manual_seed(0)
    model = VQVAE(SMALL).eval()
    images = next(iter(batches()))["images"]
    own, decoded = model.encode_indices(images), []
    kept = np.zeros(16, dtype=bool)
    kept[int(own.flatten().mode().values)] = True
    model.decode_indices = lambda indices: decoded.append(indices) or images
    collapse.ssim_with_near_codes(model, images, [0.5, 1.0])
    collapse.ssim_with_near_codes(model, images, [0.5, 1.0], kept=kept)
    still = torch.from_numpy(kept)[own]
    for free, bound in zip(decoded[:2], decoded[2:], strict=True):
        assert torch.equal(bound, torch.where(still, own, free))
    assert (decoded[0] != own)[still].any()


def test_a_near_code_is_never_the_own_one():
    torch.manual_seed(0)
    model = VQVAE(SMALL).eval()
    images = next(iter(batches()))["images"]
    decoded = []
    model.decode_indices = lambda indices: decoded.append(indices) or images
    collapse.ssim_with_near_codes(model, images, [1.0])
    own = model.encode_indices(images)
    codes = model.quantizer.codebook
    assert (decoded[0] != own).all()
    distances = torch.cdist(codes, codes)
    rank = (distances[own] < distances[own, decoded[0]][..., None]).sum(-1)
    assert rank.max() <= 5  # itself and at most four others are nearer
    collapse.ssim_with_near_codes(model, images, [1.0], among=1)
    distances.fill_diagonal_(float("inf"))
    assert torch.equal(decoded[1], distances.argmin(dim=1)[own])
