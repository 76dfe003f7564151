"""Muon: orthogonal steps for hidden kernels, beside AdamW for the rest."""

import dataclasses

import pytest
import torch
from small_trainings import Line, LineConfig
from torch import nn

from oasis_utils.config import PixelCNNConfig, TrainingConfig, VQVAEConfig
from oasis_utils.models.pixelcnn import PixelCNN
from oasis_utils.models.vqvae import VQVAE
from oasis_utils.training import muon
from oasis_utils.training.muon import Muon, orthogonalized
from oasis_utils.training.trainer import Trainer, optimizers_of

MUON = TrainingConfig(learning_rate=2e-3, muon_rate=0.01, weight_decay=0.1)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("rows", "cols"), [(8, 8), (8, 40), (40, 8), (1, 9)])
def test_singular_values_come_near_one_and_singular_vectors_stay(rows, cols):
    matrices = normal(3, rows, cols).double() * torch.tensor([1e-4, 1.0, 1e3])[:, None, None]
    found = orthogonalized(matrices)
    u, _, vt = torch.linalg.svd(matrices, full_matrices=False)
    values = u.transpose(1, 2) @ found @ vt.transpose(1, 2)
    diagonal = values.diagonal(dim1=1, dim2=2)
    assert diagonal.min() > 0.4 and diagonal.max() < 1.3  # small singular values rise last
    assert (values - torch.diag_embed(diagonal)).abs().max() < 1e-6


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_single_precision_is_computed_as_fast_as_the_hardware_can(monkeypatch, dtype):
    monkeypatch.setattr(muon, "select_dtype", lambda device: dtype)
    matrices = normal(3, 8, 40)
    found, exact = orthogonalized(matrices), orthogonalized(matrices.double())
    assert found.dtype == torch.float32 and found.is_contiguous()
    error = (found - exact).abs().max()
    assert error < (1e-5 if dtype == torch.float32 else 0.05)
    assert dtype == torch.float32 or error > 1e-4  # it is bfloat16 that was computed


def test_a_zero_gradient_makes_no_step():
    assert torch.equal(orthogonalized(torch.zeros(2, 3, 5)), torch.zeros(2, 3, 5))


def test_matrices_take_the_steps_of_torch():
    ours, theirs = (nn.Parameter(normal(6, 10)) for _ in range(2))
    options = {"lr": 0.02, "momentum": 0.9, "weight_decay": 0.1}
    optimizers = (
        Muon([ours], **options),
        torch.optim.Muon([theirs], **options, nesterov=True, adjust_lr_fn="original"),
    )
    for step in range(5):
        ours.grad, theirs.grad = normal(6, 10, seed=step + 1), normal(6, 10, seed=step + 1)
        for optimizer in optimizers:
            optimizer.step()
    moved = (ours - normal(6, 10)).norm()
    assert (ours - theirs).norm() < 0.02 * moved  # torch iterates in bfloat16


def test_kernels_of_one_shape_are_treated_apart():
    together = [nn.Parameter(normal(4, 3, 3, 3, seed=seed)) for seed in (1, 2)]
    alone = [nn.Parameter(kernel.detach().clone()) for kernel in together]
    for kernel in together + alone:
        kernel.grad = kernel.detach() * 0.5
    Muon(together, lr=0.1).step()
    for kernel in alone:
        Muon([kernel], lr=0.1).step()
    for a, b in zip(together, alone, strict=True):
        torch.testing.assert_close(a, b)


def test_a_kernel_of_any_memory_format_takes_the_same_step():
    plain = nn.Parameter(normal(4, 3, 3, 3))
    last = nn.Parameter(normal(4, 3, 3, 3).to(memory_format=torch.channels_last))
    for kernel in (plain, last):
        kernel.grad = (normal(4, 3, 3, 3, seed=1)).to(kernel)
        Muon([kernel], lr=0.1).step()
    torch.testing.assert_close(plain, last)


def small_vqvae():
    return VQVAE(VQVAEConfig(image_size=32, channels=8, n_codes=8, code_dim=4))


def small_pixelcnn():
    return PixelCNN(PixelCNNConfig(grid=4, n_codes=8, channels=4, blocks=2, hidden=8))


@pytest.mark.parametrize("model", [small_vqvae(), small_pixelcnn()], ids=["vqvae", "pixelcnn"])
def test_every_parameter_has_one_optimizer(model):
    for phase in model.phases:
        parameters = model.parameter_groups()[phase]
        found = optimizers_of(parameters, model.hidden_kernels(), MUON)
        assert set(found) == {"adamw", "muon"}, phase
        groups = [group["params"] for o in found.values() for group in o.param_groups]
        taken = [id(parameter) for group in groups for parameter in group]
        assert sorted(taken) == sorted(id(parameter) for parameter in parameters)


def test_first_and_last_layers_are_left_to_adamw():
    model = small_vqvae()
    hidden = {id(kernel) for kernel in model.hidden_kernels()}
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert [id(m.weight) in hidden for m in convolutions] == (
        [False] + [True] * (len(convolutions) - 2) + [False]
    )
    prior = small_pixelcnn()
    hidden = {id(kernel) for kernel in prior.hidden_kernels()}
    assert id(prior.head[-1].weight) not in hidden and id(prior.embedding.weight) not in hidden
    assert id(prior.head[1].weight) in hidden


def test_without_a_rate_all_is_adamw():
    plain = dataclasses.replace(MUON, muon_rate=0.0)
    model = small_vqvae()
    groups = model.parameter_groups()["autoencoder"]
    assert set(optimizers_of(groups, model.hidden_kernels(), plain)) == {"adamw"}
    assert set(Trainer(Line(LineConfig()), MUON, 10).optimizers["all"]) == {"adamw"}


def test_both_rates_follow_one_schedule():
    config = dataclasses.replace(MUON, warmup_steps=4)
    trainer = Trainer(small_vqvae().train(), config, 10)
    images = normal(2, 1, 32, 32).sigmoid()
    for step in range(2):
        trainer.step({"images": images})
        rates = {
            name: optimizer.param_groups[0]["lr"]
            for name, optimizer in trainer.optimizers["autoencoder"].items()
        }
        assert rates["adamw"] == pytest.approx(2e-3 * (step + 1) / 4)
        assert rates["muon"] == pytest.approx(0.01 * (step + 1) / 4)
