"""How much does the cached sampler save? Ours against the textbook way, CPU time in one run on one
thread.

    OMP_NUM_THREADS=1 python benchmarks/sampling.py [--rounds 5] [--device auto]

16 maps, 12 layers of 64 channels, K = 256, grids of 32 and 64. Each round times ours, then the
textbook sampler. That one runs a whole forward pass for each cell, always of the same size, so it
is timed on a few cells and multiplied by their number: a full run at 64x64 would take hours. Before
the rounds the logits of both are compared at every cell of a drawn map: they must be equal but for
rounding. Codes are not compared, as rounding may tip a draw over.
"""

from __future__ import annotations

import argparse
import math

import torch
from measure import GEMM, Work, begin, ceilings, gflop, growth, record, seconds, spread

from oasis_utils.config import PixelCNNConfig
from oasis_utils.models.cached_sampling import RowCache
from oasis_utils.models.drawing import AS_LEARNED, draw, uniform_noise
from oasis_utils.models.pixelcnn import PixelCNN

MAPS, LAYERS, CHANNELS = 16, 12, 64
CELLS = {32: 4, 64: 2}  # textbook cells timed in a round
ROUNDING = 1e-3  # of logits; float32 leaves some 1e-5, TF32 some 1e-2


@torch.inference_mode()
def textbook_cells(model: PixelCNN, positions, noise, maps, cells: int) -> None:
    """The last cells of the textbook sampler: a forward pass and a draw each."""
    grid = maps.shape[1]
    for col in range(grid - cells, grid):
        draw(model(maps, positions)[:, :, -1, col], noise[:, -1, col], AS_LEARNED)


@torch.inference_mode()
def require_equal_logits(model: PixelCNN, positions, maps) -> float:
    """The largest difference between logits of the cached sampler, led along `maps`, and of a
    forward pass. RuntimeError if that is more than rounding: then the two do not do the same
    job.
    """
    cache, full, largest = RowCache(model, positions), model(maps, positions), 0.0
    for row in range(maps.shape[1]):
        cache.start_row(row, maps[:, row - 1] if row else None)
        found = []
        for col in range(maps.shape[2]):
            found.append(cache.logits().clone())
            cache.accept(maps[:, row, col])
        largest = max(largest, float((torch.stack(found, 2) - full[:, :, row]).abs().max()))
    if largest > ROUNDING:
        raise RuntimeError(
            f"cached and textbook logits differ by {largest:.2g}, more than rounding ({ROUNDING})"
        )
    return largest


def model_for(grid: int, device: torch.device) -> PixelCNN:
    torch.manual_seed(0)
    return PixelCNN(PixelCNNConfig(grid=grid, channels=CHANNELS, blocks=LAYERS)).to(device).eval()


def inputs(maps: int, grid: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.zeros(maps, dtype=torch.long, device=device), uniform_noise(
        list(range(maps)), grid
    ).to(device)


@torch.inference_mode()  # as `BrainSampler` calls it
def measure(grid: int, rounds: int, device: torch.device) -> dict:
    model, (positions, noise) = model_for(grid, device), inputs(MAPS, grid, device)
    drawn = model.sample(positions, noise)  # warm
    rounding = require_equal_logits(model, positions, drawn)
    ours, alone, forward = [], [], []
    for number in range(rounds):
        ours.append(seconds(lambda: model.sample(positions, noise), device))
        alone.append(seconds(lambda: model.sample(positions[:1], noise[:1]), device))
        cells = seconds(lambda: textbook_cells(model, positions, noise, drawn, CELLS[grid]), device)
        forward.append(cells / CELLS[grid])
        print(
            f"{grid}x{grid}, round {number + 1}: ours {ours[-1]:.2f} s, textbook"
            f" {forward[-1] * grid**2:.0f} s (from {CELLS[grid]} cells),"
            f" {forward[-1] * grid**2 / ours[-1]:.0f} times",
            flush=True,
        )
    ratios = spread([f * grid**2 / o for f, o in zip(forward, ours, strict=True)])
    return {
        "vs_naive": ratios["median"],
        "spread": ratios,
        "core_seconds": spread(ours)["median"],
        "core_seconds_one_map_alone": spread(alone)["median"],
        "times_a_forward_pass": spread([o / f for f, o in zip(forward, ours, strict=True)])[
            "median"
        ],
        "naive_cells_timed": CELLS[grid],
        "rounds": rounds,
        "largest_difference_of_logits": rounding,
    }


def share_of_gemm(grid: int, core_seconds: float, device: torch.device) -> dict[str, float]:
    """What a forward pass over the maps computes; how fast that is done while they are drawn, by a
    matrix product.
    """
    model, (positions, noise) = model_for(grid, device), inputs(MAPS, grid, device)
    work = gflop(lambda: model(noise.long(), positions))
    return {
        "gflop_a_forward_pass": work,
        "share_of_gemm": work / core_seconds / ceilings(device)[GEMM],
    }


def drawn(maps: int, grid: int, device: torch.device) -> Work:
    """A call that draws so many maps of that grid."""
    model, given = model_for(grid, device), inputs(maps, grid, device)
    return torch.inference_mode()(lambda: model.sample(*given))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    device = begin(options.device)
    figures = {str(grid): measure(grid, options.rounds, device) for grid in CELLS}
    for grid in CELLS:
        figures[str(grid)] |= share_of_gemm(grid, figures[str(grid)]["core_seconds"], device)
    grown = growth(
        {
            "maps": ([4, 8, 16, 32], lambda n: drawn(n, 16, device)),
            "cells": ([16**2, 24**2, 32**2, 48**2], lambda n: drawn(MAPS, math.isqrt(n), device)),
        },
        device,
        calls=2,
    )
    record(
        "sampling",
        {**figures, "maps": MAPS, "layers": LAYERS, "channels": CHANNELS, "growth": grown},
        device,
    )


if __name__ == "__main__":
    main()
