"""How much does the cached sampler save? Ours against the textbook way, CPU time in one run on one thread.

    OMP_NUM_THREADS=1 python benchmarks/sampling.py [--rounds 3]

16 maps, 12 layers of 64 channels, K = 256, grids of 32 and 64. Each round times ours, then the textbook sampler. That
one runs a whole forward pass for each cell, always of the same size, so it is timed on a few cells and multiplied by
their number: a full run at 64x64 would take hours. Every round also checks that both draw the same codes there.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from oasis_utils.config import PixelCNNConfig
from oasis_utils.incremental import AS_LEARNED, draw, uniform_noise
from oasis_utils.pixelcnn import PixelCNN
from oasis_utils.runtime import hardware, revision, write_json

MAPS, LAYERS, CHANNELS = 16, 12, 64
CELLS = {32: 4, 64: 2}  # textbook cells timed in a round
RESULT = Path(__file__).parent / "results" / "sampling_2_cpu_cores.json"


def seconds(work) -> tuple[float, object]:
    """CPU time of a call, and what it returned."""
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


@torch.inference_mode()
def textbook_cells(model: PixelCNN, positions, noise, maps, cells: int) -> None:
    """The last cells of the textbook sampler: a forward pass and a draw each; they must be those of `maps`."""
    grid = maps.shape[1]
    for col in range(grid - cells, grid):
        code = draw(model(maps, positions)[:, :, -1, col], noise[:, -1, col], AS_LEARNED)
        if not torch.equal(code, maps[:, -1, col]):
            raise RuntimeError(f"cached and textbook samples differ at the last row, column {col}")


def measure(grid: int, rounds: int) -> dict:
    torch.manual_seed(0)
    model = PixelCNN(PixelCNNConfig(grid=grid, channels=CHANNELS, blocks=LAYERS)).eval()
    positions, noise = torch.zeros(MAPS, dtype=torch.long), uniform_noise(list(range(MAPS)), grid)
    model.sample(positions[:1], noise[:1])  # warm
    with torch.inference_mode():
        model(torch.zeros_like(noise, dtype=torch.long), positions)
    ours, alone, forward = [], [], []
    for number in range(rounds):
        spent, maps = seconds(lambda: model.sample(positions, noise))
        ours.append(spent)
        alone.append(seconds(lambda: model.sample(positions[:1], noise[:1]))[0])
        cells = seconds(lambda maps=maps: textbook_cells(model, positions, noise, maps, CELLS[grid]))[0]
        forward.append(cells / CELLS[grid])
        print(f"{grid}x{grid}, round {number + 1}: ours {spent:.2f} s, textbook {cells / CELLS[grid] * grid**2:.0f} s "
              f"(from {CELLS[grid]} cells), {forward[-1] * grid**2 / spent:.0f} times")
    ratios = np.array(forward) * grid**2 / np.array(ours)
    return {"vs_naive": float(np.median(ratios)), "vs_naive_spread": [float(ratios.min()), float(ratios.max())],
            "core_seconds_per_map": float(np.median(ours)) / MAPS,
            "core_seconds_one_map_alone": float(np.median(alone)),
            "times_a_forward_pass": float(np.median(np.array(ours) / np.array(forward))),
            "naive_cells_timed": CELLS[grid], "rounds": rounds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    result = {"sampling": {str(grid): measure(grid, rounds) for grid in CELLS}, "maps": MAPS, "layers": LAYERS,
              "channels": CHANNELS, "machine": hardware(torch.device("cpu")), "torch": torch.__version__,
              "commit": revision()}
    write_json(RESULT, result)
    print(f"\n{'grid':>6} {'times faster':>13} {'spread':>15} {'core-s a map':>13} {'one map alone':>14}"
          f" {'forward passes':>15}")
    for grid, row in result["sampling"].items():
        low, high = row["vs_naive_spread"]
        print(f"{grid:>6} {row['vs_naive']:13.0f} {low:7.0f}-{high:<7.0f} {row['core_seconds_per_map']:13.3f}"
              f" {row['core_seconds_one_map_alone']:14.2f} {row['times_a_forward_pass']:15.2f}")


if __name__ == "__main__":
    main()
