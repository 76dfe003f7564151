"""Training, validation and batches on a GPU, compared with a CPU where that means something."""

import math

import pytest
import torch
from gpu_helpers import CPU, needs_gpu

from oasis_utils.config import TrainingConfig, load_profile
from oasis_utils.models.dcgan import DCGAN
from oasis_utils.models.pixelcnn import PixelCNN
from oasis_utils.models.quantizer import nearest_code
from oasis_utils.models.vqvae import VQVAE
from oasis_utils.training.trainer import Trainer

SMOKE = load_profile("smoke")


def model_and_batch(kind, device):
    torch.manual_seed(0)
    model = kind(getattr(SMOKE, kind.__name__.lower()))
    config, random = SMOKE.pixelcnn, torch.Generator().manual_seed(1)
    rows = torch.linspace(-1, 1, SMOKE.vqvae.image_size)
    images = torch.exp(-3 * (rows[:, None] ** 2 + rows**2)) * torch.rand(
        8, 1, 1, 1, generator=random
    )
    indices = (
        torch.rand(8, config.grid, config.grid, generator=random) * config.n_codes / 2
    ).long()
    if kind is DCGAN:
        model.use_codebook(
            torch.randn(config.n_codes, 8, generator=random), torch.ones(config.n_codes)
        )
        model.use_maps(indices, torch.arange(8) % 2)
    batch = {"images": images, "indices": indices, "positions": torch.arange(8) % 2}
    return model.to(device).train(), {name: value.to(device) for name, value in batch.items()}


@pytest.mark.parametrize(
    ("kind", "loss"), [(VQVAE, "loss"), (PixelCNN, "loss"), (DCGAN, "discriminator_loss")]
)
def test_twenty_steps_are_finite_and_the_loss_falls(device, kind, loss):
    """In bfloat16 on a GPU that has it; the DCGAN's second derivatives in float32."""
    model, batch = model_and_batch(kind, device)
    trainer = Trainer(model, TrainingConfig(learning_rate=1e-3, warmup_steps=0), 20)
    found = [{name: float(value) for name, value in trainer.step(batch).items()} for _ in range(20)]
    assert all(math.isfinite(value) for losses in found for value in losses.values())
    assert sum(losses[loss] for losses in found[-5:]) < sum(losses[loss] for losses in found[:5])
    assert all(value.isfinite().all() for value in model.state_dict().values())


@pytest.mark.parametrize("kind", [VQVAE, PixelCNN, DCGAN])
def test_a_training_goes_on_from_its_file_as_if_it_had_not_stopped(device, kind, tmp_path):
    """Equal random states. Losses to the bit on a CPU; on a GPU, where sums are taken in changing
    order, to 2 %.
    """
    config = TrainingConfig(learning_rate=1e-3, warmup_steps=0, ema_decay=0.9)
    (model, batch), path = model_and_batch(kind, device), tmp_path / "resume.safetensors"
    whole = Trainer(model, config, 10)
    for _ in range(3):
        whole.step(batch)
    whole.save(path, "same")
    saved = torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()
    expected = [{name: float(value) for name, value in whole.step(batch).items()} for _ in range(3)]
    torch.manual_seed(99)
    again = Trainer(model_and_batch(kind, device)[0], config, 10)
    assert again.restore(path, "same")
    assert torch.equal(
        torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state(), saved
    )
    for losses in expected:
        found = {name: float(value) for name, value in again.step(batch).items()}
        assert found == (
            losses if device.type == "cpu" else pytest.approx(losses, rel=2e-2, abs=2e-2)
        )


@needs_gpu
def test_encoding_and_validation_agree_with_a_cpu(cuda):
    model, batch = model_and_batch(VQVAE, CPU)
    Trainer(model, TrainingConfig(warmup_steps=0), 10).step(batch)
    model.eval()
    with torch.no_grad():
        indices, metrics = model.encode_indices(batch["images"]), model.validate([batch])
        model.to(cuda)
        there = {name: value.to(cuda) for name, value in batch.items()}
        found = model.encode_indices(there["images"]).cpu()
        assert (found == indices).float().mean() >= 0.998  # near ties may tip over
        assert model.validate([there]) == pytest.approx(metrics, rel=2e-2, abs=1e-3)
    prior_here, maps = (
        model_and_batch(PixelCNN, CPU)[0].eval(),
        {k: batch[k] for k in ("indices", "positions")},
    )
    here = prior_here.validate([maps])
    there = prior_here.to(cuda).validate([{k: v.to(cuda) for k, v in maps.items()}])
    assert there == pytest.approx(here, rel=1e-4)


@pytest.mark.parametrize("n", [5000, 70_000])
def test_the_nearest_code_is_exact_under_autocast(device, n):
    """Another code than the nearest one may be chosen only where float32 cannot tell them apart."""
    random = torch.Generator().manual_seed(0)
    latents, codebook = torch.randn(n, 8, generator=random), torch.randn(512, 8, generator=random)
    with torch.autocast(device.type, dtype=torch.bfloat16):
        chosen = nearest_code(latents.to(device), codebook.to(device)).cpu()
    distances = torch.cdist(
        latents.double(), codebook.double(), compute_mode="donot_use_mm_for_euclid_dist"
    )
    excess = distances.gather(1, chosen[:, None])[:, 0] - distances.min(1).values
    assert int((excess > 1e-5).sum()) == 0


def test_streamed_batches_equal_those_held(device, tmp_path):
    np = pytest.importorskip("numpy")
    for package in ("PIL", "scipy", "nibabel"):
        pytest.importorskip(package)
    from oasis_utils.data.batches import Batches, Streamed

    file = tmp_path / "slices.npy"
    np.save(file, np.random.default_rng(0).integers(0, 256, (23, 16, 16), dtype=np.uint8))
    images, positions = np.load(file, mmap_mode="r"), torch.arange(23, device=device)
    held = {
        "images": torch.from_numpy(np.array(images))[:, None].to(device),
        "positions": positions,
    }
    streamed = {"images": Streamed(images, device), "positions": positions}
    for a, b in zip(Batches(held, 5, True), Batches(streamed, 5, True), strict=True):
        assert b["images"].device == a["images"].device and all(
            torch.equal(a[key], b[key]) for key in a
        )
