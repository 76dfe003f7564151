"""How much faster the network of the learned features is than as it was published.

    OMP_NUM_THREADS=1 python benchmarks/judging.py [--rounds 7]

Batches of the size that `metrics.features` uses on the device.
"""

from __future__ import annotations

import argparse

import torch
from measure import alternate, begin, ratio, record

from oasis_utils.metrics.feature_network import as_published, feature_network
from oasis_utils.metrics.features import NETWORK_BATCH


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    device = begin(options.device)
    images = torch.rand(NETWORK_BATCH.get(device.type, 32), 3, 224, 224, device=device) * 2 - 1
    images = images.contiguous(memory_format=torch.channels_last)
    published = as_published().to(device).to(memory_format=torch.channels_last).extract_features
    ours = feature_network(str(device))
    with torch.inference_mode():
        times = alternate(
            {"ours": lambda: ours(images), "published": lambda: published(images)},
            options.rounds,
            device,
        )
        error = float((ours(images) - published(images)).abs().max())
    found = ratio(times, "published")
    milliseconds = {name: 1e3 * min(values) / len(images) for name, values in times.items()}
    figures = {"vs_published": found["median"], "spread": found, "largest_difference": error}
    record("judging", figures | {"milliseconds_a_slice": milliseconds}, device)
    print(f"{found} {milliseconds}")


if __name__ == "__main__":
    main()
