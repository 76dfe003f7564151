"""The VQ-VAE: sizes, the law of its verbs, what it refuses, and that its training makes
progress.
"""

import copy
import json
import re

import pytest
import torch
import torch.nn.functional as F

from oasis_utils.config import TrainingConfig, VQVAEConfig
from oasis_utils.metrics import image_quality as metrics
from oasis_utils.models import checkpoints
from oasis_utils.models.vqvae import VQVAE
from oasis_utils.runtime import project_root
from oasis_utils.training.trainer import Trainer


def tiny(seed=0, **changes):
    values = (
        dict(image_size=32, downsampling=4, channels=16, residual_blocks=1, n_codes=16, code_dim=4)
        | changes
    )
    torch.manual_seed(seed)
    return VQVAE(VQVAEConfig(**values))


def discs(count, size=32, seed=0):
    """Bright discs of random radius, centre and level on black, in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    radius, level, rows, cols = torch.rand(4, count, 1, 1, generator=generator)
    axis = torch.arange(size).float()
    distance = (axis[:, None] - size * (0.35 + 0.3 * rows)) ** 2 + (
        axis - size * (0.35 + 0.3 * cols)
    ) ** 2
    return ((0.4 + 0.6 * level) * (distance < (size * (0.15 + 0.2 * radius)) ** 2))[:, None]


def learned(model, images, steps):
    """The model after so many steps on these images, with the losses of every step."""
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    history = []
    for _ in range(steps):
        losses = model.train().step({"images": images}, "autoencoder")
        optimizer.zero_grad()
        losses["loss"].backward()
        optimizer.step()
        history.append({name: float(value.detach()) for name, value in losses.items()})
    return model.eval(), history


@pytest.fixture(scope="module")
def trained():
    """A model after 200 steps on eight images, with the losses of every step."""
    images = discs(8)
    model, history = learned(tiny(cosine=True, ssim_weight=1.0, codebook_decay=0.9), images, 200)
    return model, images, history


# ------------------------------------------------------------ sizes


@pytest.mark.parametrize("cosine", [False, True])
@pytest.mark.parametrize(("downsampling", "size"), [(4, 32), (8, 32), (16, 64)])
def test_shapes_follow_the_configuration(downsampling, size, cosine):
    model = tiny(downsampling=downsampling, image_size=size, cosine=cosine).eval()
    images, grid = discs(2, size), model.config.grid
    latents = model.encode(images)
    assert latents.shape == (2, 4, grid, grid) and grid == size // downsampling
    quantized = model.quantize(latents)
    assert quantized.codes.shape == latents.shape and quantized.indices.shape == (2, grid, grid)
    assert model.decode(quantized.codes).shape == images.shape
    assert model.encode_indices(images).shape == (2, grid, grid)
    assert model.reconstruct(images).shape == images.shape


@pytest.mark.parametrize("downsampling", [4, 8, 16])
def test_a_cell_sees_its_part_of_the_image(downsampling):
    model = tiny(downsampling=downsampling, image_size=64).eval()
    image = torch.zeros(1, 1, 64, 64, requires_grad=True)
    model.encode(image)[0, :, 0, -1].square().sum().backward()
    slope = image.grad[0, 0].abs()
    own, opposite = slope[:downsampling, -downsampling:], slope[-downsampling:, :downsampling]
    assert own.mean() > 2 * slope.mean() and opposite.mean() < 0.1 * own.mean()


@pytest.mark.parametrize(("rows", "cols"), [(64, 64), (16, 16), (32, 64), (64, 32)])
def test_other_image_sizes_are_refused(rows, cols):
    message = f"takes 32x32 slices, not {rows}x{cols}: prepare the data with image_size=32"
    for verb in (tiny().encode, tiny().encode_indices, tiny().reconstruct):
        with pytest.raises(ValueError, match=message):
            verb(torch.zeros(1, 1, rows, cols))


# ------------------------------------------------------------ verbs


@pytest.mark.parametrize(
    "choices",
    [
        dict(cosine=False),
        dict(cosine=True),
        dict(gradient="rotation"),
        dict(codebook="gradient", kmeans=False, revive_below=0.0),
    ],
)
@pytest.mark.parametrize("downsampling", [4, 8, 16])
def test_decoding_the_indices_is_the_reconstruction(downsampling, choices):
    model = tiny(downsampling=downsampling, **choices)
    model.train().step({"images": discs(8)}, "autoencoder")  # so that the codebook has begun
    images = discs(4, seed=1)
    with torch.no_grad():
        indices = model.eval().encode_indices(images)
        reconstruction = model.reconstruct(images)
        from_codes = model.decode(model.quantize(model.encode(images)).codes).clamp(0, 1)
        torch.testing.assert_close(model.decode_indices(indices), reconstruction, atol=1e-5, rtol=0)
    torch.testing.assert_close(from_codes, reconstruction, atol=1e-5, rtol=0)


def test_indices_are_whole_numbers_in_range(trained):
    model, images, _ = trained
    indices = model.encode_indices(images)
    assert (
        indices.dtype == torch.int64 and indices.min() >= 0 and indices.max() < model.config.n_codes
    )
    assert len(indices.unique()) > 1


def test_images_from_indices_are_in_the_unit_range(trained):
    model, _, _ = trained
    with torch.no_grad():
        model.decoder[-2].weight.mul_(100)  # so that the raw output leaves the range
        maps = torch.randint(16, (4, 8, 8), generator=torch.Generator().manual_seed(0))
        raw, images = model.decode(model.quantizer.lookup(maps)), model.decode_indices(maps)
        model.decoder[-2].weight.div_(100)
    assert raw.min() < 0 and raw.max() > 1
    assert images.min() >= 0 and images.max() <= 1 and images.dtype == torch.float32


@pytest.mark.parametrize("bad", [-1, 16])
def test_indices_out_of_range_are_refused(bad):
    with pytest.raises(ValueError, match=r"indices must be in \[0, 16\)"):
        tiny().decode_indices(torch.full((1, 8, 8), bad))


def test_images_are_encoded_independently_of_their_batch(trained):
    model, images, _ = trained
    together = model.encode_indices(images)
    assert torch.equal(
        together, torch.cat([model.encode_indices(images[i : i + 1]) for i in range(8)])
    )


def test_verbs_do_not_change_a_model_in_evaluation_mode(trained):
    model, images, _ = trained
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():
        model.reconstruct(images)
        model.validate([{"images": images}])
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


# ------------------------------------------------------------ training


def test_step_is_the_weighted_sum_of_its_parts():
    model = tiny(ssim_weight=0.7).eval()
    losses = model.step({"images": discs(2)}, "autoencoder")
    torch.testing.assert_close(
        losses["loss"], losses["l1"] + 0.7 * losses["1-ssim"] + losses["commitment"]
    )
    output = model.decode(model.quantize(model.encode(discs(2))).codes)
    torch.testing.assert_close(losses["l1"], (output - discs(2)).abs().mean())
    torch.testing.assert_close(losses["1-ssim"], 1 - metrics.ssim(output, discs(2)).mean())


def test_every_parameter_learns():
    model = tiny()
    model.train().step({"images": discs(4)}, "autoencoder")["loss"].backward()
    still = [
        name
        for name, value in model.named_parameters()
        if value.grad is None or not value.grad.any()
    ]
    assert still == []
    assert sum(p.numel() for p in model.parameter_groups()["autoencoder"]) == sum(
        p.numel() for p in model.parameters()
    )


def test_a_few_steps_reduce_the_loss_clearly(trained):
    _, _, history = trained
    for name in ("loss", "l1", "1-ssim"):
        assert history[-1][name] < 0.5 * history[0][name], name


def test_training_reconstructs_better_than_a_black_image(trained):
    model, images, _ = trained
    found, black = (
        model.validate([{"images": images}]),
        metrics.score(images, torch.zeros_like(images)),
    )
    assert found["ssim"] > black["ssim"] + 0.1 and found["psnr"] > black["psnr"] + 6


def test_squared_error_takes_the_place_of_the_absolute_one():
    model = tiny(pixel_loss="mse", ssim_weight=0.0).eval()
    losses = model.step({"images": discs(2)}, "autoencoder")
    torch.testing.assert_close(losses["loss"], losses["mse"] + losses["commitment"])
    output = model.decode(model.quantize(model.encode(discs(2))).codes)
    torch.testing.assert_close(losses["mse"], (output - discs(2)).square().mean())


def gradients(model, images, precision=torch.float32):
    """All gradients of one step as one vector."""
    with torch.autocast("cpu", precision, enabled=precision != torch.float32):
        loss = model.step({"images": images}, "autoencoder")["loss"]
    return torch.cat(
        [slope.flatten() for slope in torch.autograd.grad(loss, list(model.parameters()))]
    )


@pytest.mark.parametrize("seed", range(3))
def test_bfloat16_changes_the_gradient_of_a_learning_model_by_a_tenth_and_keeps_its_direction(seed):
    """Measured while the loss still falls, on images not trained on: at a minimum the gradient is
    near zero and its relative error says nothing.
    """
    model = learned(tiny(seed, cosine=True, ssim_weight=1.0, codebook_decay=0.9), discs(8), 40)[0]
    images = discs(32, seed=1)
    plain, rounded = gradients(model, images), gradients(model, images, torch.bfloat16)
    error = float((rounded - plain).norm() / plain.norm())
    assert 0 < error < 0.15
    assert F.cosine_similarity(plain, rounded, dim=0) > 0.99


def test_the_memory_format_does_not_change_the_gradient(trained):
    model, images, _ = trained
    plain = copy.deepcopy(model).eval()
    for parameter in plain.parameters():
        parameter.data = parameter.data.contiguous()
    torch.testing.assert_close(
        gradients(plain, images), gradients(model.eval(), images), atol=1e-5, rtol=1e-3
    )


def test_a_long_run_under_bfloat16_autocast_stays_finite():
    model = tiny(
        gradient="rotation",
        ssim_weight=1.0,
        channels=8,
        adversarial_weight=0.1,
        adversarial_start=50,
    )
    trainer, images = (
        Trainer(model.train(), TrainingConfig(learning_rate=3e-3, warmup_steps=5), 200),
        discs(4),
    )
    history = []
    for _ in range(200):
        with torch.autocast("cpu", torch.bfloat16):
            history.append(trainer.step({"images": images}))
    assert all(
        value.isfinite().all() for value in [*history[-1].values(), *model.state_dict().values()]
    )
    assert history[-1]["autoencoder_l1"] < 0.8 * history[0]["autoencoder_l1"]


def test_the_lines_that_notebook_02_quotes_are_in_the_code():
    cells = json.loads(
        (project_root() / "notebooks/02_train_vqvae.ipynb").read_text(encoding="utf-8")
    )["cells"]
    text = next("".join(cell["source"]) for cell in cells if cell["id"] == "02-05")
    code = "".join(
        (project_root() / "oasis_utils/models" / name).read_text(encoding="utf-8")
        for name in ("vqvae.py", "quantizer.py")
    )
    lines = re.findall(r"\| `([^`]+)` \|\n", text)
    assert len(lines) == 7 and [line for line in lines if line not in code] == []


# ------------------------------------------------------------ patch discriminator


def test_the_two_networks_share_no_parameter_and_leave_none_out():
    model = tiny(adversarial_weight=0.5)
    groups = model.parameter_groups()
    assert model.phases == ("autoencoder", "discriminator") == tuple(groups)
    ids = [id(p) for group in groups.values() for p in group]
    assert len(ids) == len(set(ids)) and set(ids) == {id(p) for p in model.parameters()}
    assert tiny().phases == ("autoencoder",)


@pytest.mark.parametrize(("start", "gate"), [(0, True), (1, False)])
def test_the_adversarial_term_starts_after_the_warm_up_in_proportion_to_the_gradients(start, gate):
    model = tiny(adversarial_weight=0.5, adversarial_start=start).train()
    plain = tiny().train()
    plain.load_state_dict({k: v for k, v in model.state_dict().items() if k in plain.state_dict()})
    torch.manual_seed(1)
    losses = model.step({"images": discs(4)}, "autoencoder")
    torch.manual_seed(1)
    without = plain.step({"images": discs(4)}, "autoencoder")["loss"]
    torch.testing.assert_close(
        losses["loss"] - losses["adversarial_weight"] * losses["adversarial"], without
    )
    last = model.decoder[-2].weight
    total, adversarial = (
        torch.autograd.grad(losses[k], last, retain_graph=True)[0] for k in ("loss", "adversarial")
    )
    ours = torch.autograd.grad(without, plain.decoder[-2].weight)[0]
    weight = losses["adversarial_weight"].detach()
    assert float(weight) == pytest.approx(
        gate * 0.5 * float(ours.norm() / (adversarial.norm() + 1e-4)), rel=1e-3
    )
    torch.testing.assert_close(total, ours + weight * adversarial, atol=1e-5, rtol=1e-3)


def test_the_discriminator_learns_to_tell_and_its_steps_survive_a_checkpoint(tmp_path):
    model = tiny(adversarial_weight=0.1, adversarial_start=1000)
    trainer, images = Trainer(model.train(), TrainingConfig(learning_rate=2e-3), 40), discs(8)
    history = [trainer.step({"images": images}) for _ in range(40)]
    assert history[-1]["discriminator_loss"] < 0.8 * history[0]["discriminator_loss"]
    assert history[-1]["discriminator_accuracy"] > 0.6
    checkpoints.save_model(tmp_path / "model.safetensors", model)
    loaded, _ = checkpoints.load_model(tmp_path / "model.safetensors", VQVAE)
    assert int(loaded.steps) == 40
    assert torch.equal(loaded.reconstruct(images), model.eval().reconstruct(images))


# ------------------------------------------------------------ validation


def test_validation_equals_the_metrics_of_the_whole_split(trained):
    model, images, _ = trained
    with torch.no_grad():
        indices = model.encode_indices(images)
        output = model.decode_indices(indices)
    share = indices.flatten().bincount(minlength=16).double() / indices.numel()
    found = model.validate([{"images": images}])
    assert found["ssim"] == pytest.approx(float(metrics.ssim(output, images).mean()))
    assert found["psnr"] == pytest.approx(float(metrics.psnr(output, images).mean()))
    assert found["validation_loss"] == pytest.approx(
        float(model.step({"images": images}, "autoencoder")["loss"].detach()), rel=1e-5
    )
    assert found["used_fraction"] == pytest.approx(float((share > 0).double().mean()))
    assert found["perplexity"] == pytest.approx(
        float(torch.exp(-torch.xlogy(share, share).sum())), rel=1e-4
    )


@pytest.mark.parametrize("sizes", [(4, 4), (5, 3), (1, 7), (3, 3, 2)])
def test_validation_does_not_depend_on_the_batches(trained, sizes):
    model, images, _ = trained
    whole = model.validate([{"images": images}])
    parts = model.validate([{"images": part} for part in images.split(list(sizes))])
    assert parts == pytest.approx(whole, rel=1e-4)


def test_monitored_metric_is_among_those_of_the_validation(trained):
    model, images, _ = trained
    assert model.monitor[0] in model.validate([{"images": images}]) and model.monitor[1] == "max"


def test_training_use_is_counted_over_all_batches_of_the_epoch():
    model, images = tiny(), discs(8)
    assert "training_perplexity" not in model.eval().validate([{"images": images}])
    model.train()
    for part in images.split(2):
        model.step({"images": part}, "autoencoder")
    uses = model.quantizer.uses.double()
    assert uses.sum() == 8 * 64
    found, share = model.eval().validate([{"images": images}]), uses / uses.sum()
    assert found["training_used_fraction"] == pytest.approx(float((uses > 0).double().mean()))
    assert found["training_perplexity"] == pytest.approx(
        float(torch.exp(-torch.xlogy(share, share).sum())), rel=1e-4
    )
