"""What does a dead codebook look like? The textbook VQ-VAE, and trainings of equal time that it is compared in.

The textbook: eq. 3 of Neural Discrete Representation Learning (van den Oord 2017, arXiv 1711.00937) as written, with a
codebook that learns by gradient from small random numbers, squared error, and nothing that keeps codes alive.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable

import torch

from oasis_utils.config import TrainingConfig, VQVAEConfig
from oasis_utils.data import Batches
from oasis_utils.training import Record, Trainer
from oasis_utils.vqvae import VQVAE


def textbook(config: VQVAEConfig) -> VQVAEConfig:
    """The same architecture with the loss and the codebook of the textbook."""
    return dataclasses.replace(config, pixel_loss="mse", ssim_weight=0.0, cosine=False, codebook="gradient",
                               kmeans=False, revive_below=0.0, gradient="straight-through", adversarial_weight=0.0)


def train_for(seconds: float, model: VQVAE, train: Batches, held_out: Batches, config: TrainingConfig, looks: int = 6,
              clock: Callable[[], float] = time.monotonic) -> list[Record]:
    """Train for a time instead of a number of epochs, for comparisons: nothing is saved, nothing is resumed.

    The learning rate falls over that time. Returns `looks` records: seconds and steps so far, slices a second, and
    what `validate` found; the time of the looks is not counted. clock: time.process_time for CPU seconds.
    """
    trainer, spent, epoch, history = Trainer(model.train(), config, total_steps=1), 0.0, 0, []
    while spent < seconds:
        for batch in train.epoch(epoch):
            start = clock()
            losses = trainer.step(batch)
            float(next(iter(losses.values())))  # waits for a GPU, so that its work is counted
            spent += clock() - start
            trainer.total_steps = round(trainer.steps * seconds / spent)
            if spent >= seconds * (len(history) + 1) / looks:
                history.append({"seconds": spent, "steps": trainer.steps,
                                "images_per_second": trainer.steps * train.batch_size / spent,
                                **_look(model, held_out)})
            if spent >= seconds:
                break
        epoch += 1
    model.eval()
    return history


@torch.no_grad()
def _look(model: VQVAE, held_out: Batches) -> Record:
    found = model.eval().validate(held_out)
    model.train()
    return found
