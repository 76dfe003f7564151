"""Comparison of the textbook VQ-VAE and of other codebooks, under equal training time or steps.

The textbook: eq. 3 of Neural Discrete Representation Learning (van den Oord 2017, arXiv 1711.00937)
as written, with a codebook that learns by gradient from small random numbers, squared error, and
nothing that keeps codes alive.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Bool, Float, Integer
from torch import Tensor

from oasis_utils.config import TrainingConfig, VQVAEConfig
from oasis_utils.data.batches import Batches
from oasis_utils.metrics import image_quality as metrics
from oasis_utils.models.vqvae import VQVAE
from oasis_utils.training.history import Record
from oasis_utils.training.trainer import Trainer


def textbook(config: VQVAEConfig) -> VQVAEConfig:
    """The same architecture with the loss and the codebook of the textbook.

    Args:
        config: of any VQ-VAE.

    Returns:
        The configuration with squared error alone, and the codebook of `gradient_codebook`.

    Reference:
        Neural Discrete Representation Learning (van den Oord 2017, arXiv 1711.00937), eq. 3.
    """
    return dataclasses.replace(gradient_codebook(config), pixel_loss="mse", ssim_weight=0.0)


def gradient_codebook(config: VQVAEConfig) -> VQVAEConfig:
    """The same architecture and loss with the codebook of the textbook: codes start at small random
    numbers, learn by gradient and are compared by distance; no k-means start, no moving averages,
    no revival.

    Args:
        config: of any VQ-VAE.

    Returns:
        The changed configuration.
    """
    return dataclasses.replace(
        config,
        cosine=False,
        codebook="gradient",
        kmeans=False,
        revive_below=0.0,
        gradient="straight-through",
        adversarial_weight=0.0,
    )


def train_for(
    seconds: float,
    model: VQVAE,
    train: Batches,
    held_out: Batches,
    config: TrainingConfig,
    n_records: int = 6,
    clock: Callable[[], float] = time.monotonic,
    steps: int = 0,
) -> list[Record]:
    """Train for a time, or for a number of steps, for comparisons: nothing is saved, nothing is
    resumed.

    Args:
        seconds: length of the training; the learning rate falls over it. The time of the
            validations is not counted.
        model: is trained, and is in evaluation mode afterwards.
        train: batches of the training split.
        held_out: batches of the validation split.
        config: learning rate and optimiser.
        n_records: number of validations, evenly spread.
        clock: returns seconds; time.process_time for CPU seconds.
        steps: length of the training in steps, in place of `seconds`; 0: by time.

    Returns:
        A record of each validation: seconds and steps so far, slices a second, and what
        `VQVAE.validate` returns.
    """
    trainer = Trainer(model.train(), config, total_steps=max(steps, 1))
    spent, progress, epoch, history = 0.0, 0.0, 0, []
    while progress < 1:
        for batch in train.epoch(epoch):
            start = clock()
            losses = trainer.step(batch)
            float(next(iter(losses.values())))  # waits for a GPU, so that its work is counted
            spent += clock() - start
            progress = trainer.steps / steps if steps else spent / seconds
            if not steps:
                trainer.total_steps = round(trainer.steps / progress)
            if progress >= (len(history) + 1) / n_records:
                history.append(
                    {
                        "seconds": spent,
                        "steps": trainer.steps,
                        "images_per_second": trainer.steps * train.batch_size / spent,
                        **_validated(model, held_out),
                    }
                )
            if progress >= 1:
                break
        epoch += 1
    model.eval()
    return history


def train_configurations(
    configs: dict[str, VQVAEConfig],
    seconds: float,
    train: Batches,
    held_out: Batches,
    config: TrainingConfig,
    seed: int,
    device: torch.device,
    steps: int = 0,
) -> tuple[dict[str, VQVAE], dict[str, list[Record]]]:
    """Train several configurations, one after the other, for the same time on the same batches.

    On a CPU the time is the time that the calling thread computes, so that other processes do not
    shorten the training.

    Args:
        configs: configurations by name.
        seconds: length of each training.
        train: batches of the training split.
        held_out: batches of the validation split.
        config: learning rate and optimiser of all.
        seed: of the first weights and of all that is drawn, the same for each configuration.
        device: where the models are placed.
        steps: the same number of steps for each, in place of a time; 0: by time.

    Returns:
        (models, histories), both by name; a history is what `train_for` returns.
    """
    models, histories, clock = {}, {}, time.monotonic if device.type == "cuda" else time.thread_time
    for name, wanted in configs.items():
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            models[name] = VQVAE(wanted).to(device)
            histories[name] = train_for(
                seconds,
                models[name],
                train,
                held_out,
                config,
                n_records=5,
                clock=clock,
                steps=steps,
            )
    return models, histories


@torch.no_grad()
def ssim_without_rarest(
    model: VQVAE,
    images: Float[Tensor, "batch 1 height width"],
    counts: Integer[np.ndarray, " n_codes"],
    removed: list[int],
) -> dict[int, float]:
    """How well a codebook does without its least used codes, whose cells take the nearest of the
    others.

    Args:
        model: the VQ-VAE.
        images: in [0, 1].
        counts: how often each code is used.
        removed: numbers of codes to leave out, each below n_codes.

    Returns:
        Mean SSIM of the reconstructions, by the number of codes left out.
    """
    by_use = torch.from_numpy(counts).argsort(stable=True).to(images.device)
    latents, found = model.encode(images), {}
    for k in removed:
        indices = model.quantizer.nearest_among(latents, by_use[k:])
        found[k] = float(metrics.ssim(model.decode_indices(indices), images).mean())
    return found


@torch.no_grad()
def ssim_with_near_codes(
    model: VQVAE,
    images: Float[Tensor, "batch 1 height width"],
    shares: list[float],
    seed: int = 0,
    among: int = 5,
    kept: Bool[np.ndarray, " n_codes"] | None = None,
) -> dict[float, float]:
    """How well the decoder bears codes that are nearly right, as those of a prior are.

    Args:
        model: the VQ-VAE.
        images: in [0, 1].
        shares: of the cells that may change, each in [0, 1]; so many take one of the codes nearest
            to theirs.
        seed: of the choice of cells and codes.
        among: so many nearest codes, the code itself not counted.
        kept: codes whose cells never change; None: no such code.

    Returns:
        Mean SSIM of the reconstructions, by share.

    Reference:
        pFID of Robust Latent Matters (Qiu 2025, arXiv 2503.08354).
    """
    indices, codebook = model.encode_indices(images), model.quantizer.codebook
    distances = torch.cdist(codebook, codebook).fill_diagonal_(float("inf"))
    near = distances.topk(min(among, len(codebook) - 1), largest=False).indices
    random = torch.Generator().manual_seed(seed)
    chance = torch.rand(indices.shape, generator=random).to(images.device)
    pick = torch.randint(near.shape[1], indices.shape, generator=random).to(images.device)
    if kept is not None:
        chance[torch.from_numpy(kept).to(images.device)[indices]] = 1.0  # never below a share
    found = {}
    for share in shares:
        changed = torch.where(chance < share, near[indices, pick], indices)
        found[share] = float(metrics.ssim(model.decode_indices(changed), images).mean())
    return found


@torch.no_grad()
def _validated(model: VQVAE, held_out: Batches) -> Record:
    found = model.eval().validate(held_out)
    model.train()
    return found
