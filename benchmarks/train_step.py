"""How fast is a training step of the VQ-VAE? Ours beside the textbook form and MONAI's model, at
256x256.

    OMP_NUM_THREADS=1 python benchmarks/train_step.py [--rounds 7] [--batch 8] [--device auto]

One architecture for all: that of van den Oord 2017 (section 4.1: 128 channels, two residual blocks
of 32, 4 pixels a code, K = 512, D = 64). `ours` is what the package does around it: quantiser,
memory format, fused optimiser, bfloat16 where the hardware multiplies it. `package` is the
package's own VQ-VAE with as many pixels a code, which folds pixels into channels instead of
convolving over one channel: the same task with fewer operations. `compiled` is `ours` under
torch.compile. bfloat16 is measured only where it is native: elsewhere it is emulated, ten times
slower.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from measure import (
    Work,
    alternate,
    begin,
    ceilings,
    gflop,
    growth,
    installed,
    peak_mib,
    ratio,
    record,
)
from quantizer import CODES, DIM, Textbook
from torch import Tensor, nn

from oasis_utils.config import VQVAEConfig
from oasis_utils.models.quantizer import VectorQuantizer
from oasis_utils.models.vqvae import VQVAE
from oasis_utils.runtime import autocast, select_dtype

SIZE, WIDTH, RATE = 256, 128, 3e-4
QUANTISER = ("aten::addmm", "aten::min", "aten::index_add_")
CONVOLUTIONS = ("aten::conv2d", "aten::conv_transpose2d", "aten::convolution_backward")


class Residual(nn.Module):
    def __init__(self, channels: int = WIDTH, narrow: int = 32):
        super().__init__()
        self.layers = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(channels, narrow, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(narrow, channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


class Model2017(nn.Module):
    """The architecture of the paper around any quantiser that returns codes and a loss."""

    def __init__(self, quantizer: nn.Module):
        super().__init__()
        half = WIDTH // 2
        self.encoder = nn.Sequential(
            nn.Conv2d(1, half, 4, 2, 1),
            nn.ReLU(),
            nn.Conv2d(half, WIDTH, 4, 2, 1),
            nn.ReLU(),
            nn.Conv2d(WIDTH, WIDTH, 3, padding=1),
            Residual(),
            Residual(),
            nn.ReLU(),
            nn.Conv2d(WIDTH, DIM, 1),
        )
        self.quantizer = quantizer
        self.decoder = nn.Sequential(
            nn.Conv2d(DIM, WIDTH, 3, padding=1),
            Residual(),
            Residual(),
            nn.ReLU(),
            nn.ConvTranspose2d(WIDTH, half, 4, 2, 1),
            nn.ReLU(),
            nn.ConvTranspose2d(half, 1, 4, 2, 1),
        )

    def forward(self, images: Tensor) -> Tensor:
        found = self.quantizer(self.encoder(images))
        codes, loss = (found.codes, found.loss) if hasattr(found, "codes") else found
        return F.mse_loss(self.decoder(codes).float(), images) + loss


class Monai(nn.Module):
    """MONAI's VQ-VAE with the same widths."""

    def __init__(self):
        super().__init__()
        from monai.networks import nets

        self.model = nets.VQVAE(
            spatial_dims=2,
            in_channels=1,
            out_channels=1,
            channels=(WIDTH // 2, WIDTH),
            num_res_layers=2,
            num_res_channels=(32, 32),
            downsample_parameters=((2, 4, 1, 1), (2, 4, 1, 1)),
            upsample_parameters=((2, 4, 1, 1, 0), (2, 4, 1, 1, 0)),
            num_embeddings=CODES,
            embedding_dim=DIM,
        )

    def forward(self, images: Tensor) -> Tensor:
        output, loss = self.model(images)
        return F.mse_loss(output.float(), images) + loss


def package_model() -> nn.Module:
    """The package's VQ-VAE with 4 pixels a code; its own losses."""
    return VQVAE(
        VQVAEConfig(
            image_size=SIZE,
            downsampling=4,
            channels=64,
            n_codes=CODES,
            code_dim=16,
            cosine=True,
            kmeans=False,
        )
    )


def step(
    model: nn.Module,
    images: Tensor,
    precision,
    fused: bool,
    loss: Callable[[Tensor], Tensor] | None = None,
) -> Work:
    """A call that makes one update of the weights."""
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE, fused=fused)
    loss = model if loss is None else loss

    def work() -> None:
        with precision():
            value = loss(images)
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        optimizer.step()

    return work


def cases(images: Tensor, device: torch.device, compiled: bool) -> dict[str, Work]:
    """Every way of making the same step."""
    native = select_dtype(device) == torch.bfloat16
    plain, mixed = (
        torch.autocast(device.type, enabled=False),
        torch.autocast(device.type, torch.bfloat16),
    )
    last = images.contiguous(memory_format=torch.channels_last)

    def ours() -> nn.Module:
        return Model2017(VectorQuantizer(CODES, DIM, kmeans_init=False)).to(
            device, memory_format=torch.channels_last
        )

    textbook, package = Model2017(Textbook()).to(device), package_model().to(device)
    found = {
        "textbook": step(textbook, images, lambda: plain, False),
        "ours": step(ours(), last, lambda: plain, True),
        "package": step(
            package,
            last,
            lambda: autocast(device),
            True,
            lambda x: package.step({"images": x}, "autoencoder")["loss"],
        ),
    }
    if installed("monai"):
        found["monai"] = step(Monai().to(device), images, lambda: plain, False)
    if compiled:
        model = ours()
        found["compiled"] = step(model, last, lambda: autocast(device), True, torch.compile(model))
    if native:
        found |= {
            "textbook_bf16": step(Model2017(Textbook()).to(device), images, lambda: mixed, False),
            "ours_bf16": step(ours(), last, lambda: mixed, True),
        }
    return found


def profiled(work: Work, calls: int = 3) -> list:
    """What some calls spent, by operation and shapes."""
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], record_shapes=True
    ) as profile:
        for _ in range(calls):
            work()
    return list(profile.key_averages(group_by_input_shape=True))


def by_kind(events: list) -> dict[str, float]:
    """Share of a step's own time on the CPU by kind of operation: convolutions, the quantiser's
    products, the rest.
    """
    total = sum(event.self_cpu_time_total for event in events)
    convolutions, quantiser = (
        sum(event.self_cpu_time_total for event in events if wanted(event.key)) / total
        for wanted in (lambda key: "conv" in key, QUANTISER.__contains__)
    )
    return {
        "convolutions": convolutions,
        "quantiser": quantiser,
        "rest": 1 - convolutions - quantiser,
    }


def by_layer(works: dict[str, Work], calls: int = 3) -> dict[str, dict[str, float]]:
    """{convolution, and the shapes of what enters it: {way: milliseconds in a step}}."""
    found: dict[str, dict[str, float]] = {}
    for name, work in works.items():
        for event in profiled(work, calls):
            if event.key in CONVOLUTIONS:
                shapes = [shape for shape in event.input_shapes if len(shape) == 4]
                layer = f"{event.key.removeprefix('aten::')} {shapes}"
                found.setdefault(layer, {})[name] = event.cpu_time_total / 1e3 / calls
    return found


def kept_mib(model: nn.Module, images: Tensor) -> float:
    """Memory of the tensors that autograd keeps for the backward pass, weights left out, in MiB."""
    weights = {value.untyped_storage().data_ptr() for value in model.parameters()}
    held: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        held[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        loss = model(images)
    del loss
    return sum(size for place, size in held.items() if place not in weights) / 2**20


def bf16_memory_ratio(device: torch.device, batch: int = 2) -> float:
    """Peak memory of ours under bfloat16 by that of the textbook in float32. A small batch: it may
    be emulated.
    """
    images = torch.rand(batch, 1, SIZE, SIZE, device=device)
    plain, mixed = (
        torch.autocast(device.type, enabled=False),
        torch.autocast(device.type, torch.bfloat16),
    )
    ours, textbook = (
        Model2017(VectorQuantizer(CODES, DIM, kmeans_init=False)),
        Model2017(Textbook()),
    )
    return peak_mib(
        step(ours.to(device, memory_format=torch.channels_last), images, lambda: mixed, True),
        device,
    ) / peak_mib(step(textbook.to(device), images, lambda: plain, False), device)


def package_step(batch: int, side: int, device: torch.device) -> Work:
    """A step of the package's VQ-VAE on so many images of so many pixels a side."""
    model = VQVAE(
        VQVAEConfig(image_size=side, downsampling=4, channels=64, n_codes=CODES, kmeans=False)
    ).to(device)
    return step(
        model,
        torch.rand(batch, 1, side, side, device=device),
        lambda: autocast(device),
        True,
        lambda x: model.step({"images": x}, "autoencoder")["loss"],
    )


def speed(times: dict[str, list[float]], batch: int, work: float) -> dict[str, Any]:
    """How many times longer the peers take, and what each way reaches; bfloat16 only where it is
    native.
    """
    pairs = {
        "fp32_vs_textbook": ("textbook", "ours"),
        "fp32_vs_monai": ("monai", "ours"),
        "bf16_vs_textbook_fp32": ("textbook", "ours_bf16"),
        "bf16_vs_textbook_bf16": ("textbook_bf16", "ours_bf16"),
        "package_vs_textbook": ("textbook", "package"),
        "package_vs_monai": ("monai", "package"),
    }
    spreads = {
        name: ratio(times, *pair) for name, pair in pairs.items() if times.keys() >= set(pair)
    }
    middle = {name: sorted(values)[len(values) // 2] for name, values in times.items()}
    return {
        **{name: spreads[name]["median"] if name in spreads else None for name in pairs},
        "spread": spreads,
        "images_per_second": {name: batch / value for name, value in middle.items()},
        "batch": batch,
        "gflop": work,
        "gflops": {name: work / middle[name] for name in middle if name != "package"},
    }


def memory(works: dict[str, Work], images: Tensor, device: torch.device) -> dict[str, Any]:
    """Peaks, ours by the textbook's, and what autograd keeps of either."""
    peaks = {name: peak_mib(work, device) for name, work in works.items()}
    forms = {"textbook": Textbook(), "ours": VectorQuantizer(CODES, DIM, kmeans_init=False)}
    return {
        "mib": peaks,
        "memory_ratio": peaks["ours"] / peaks["textbook"],
        "package_memory_ratio": peaks["package"] / peaks["textbook"],
        "bf16_memory_ratio": bf16_memory_ratio(device),
        "kept_mib": {
            name: kept_mib(Model2017(form).to(device), images) for name, form in forms.items()
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--device", default="auto")
    parser.add_argument(
        "--no-compile",
        action="store_true",
        help="leave torch.compile out (it needs a C++ compiler)",
    )
    options = parser.parse_args()
    device = begin(options.device)
    images = torch.rand(options.batch, 1, SIZE, SIZE, device=device)
    works = cases(images, device, not options.no_compile)
    model = Model2017(VectorQuantizer(CODES, DIM, kmeans_init=False)).to(device)
    work = gflop(lambda: model(images).backward())
    figures = speed(alternate(works, options.rounds, device), options.batch, work)
    figures |= memory(works, images, device) | {"ceilings": ceilings(device)}
    if device.type == "cpu":
        figures |= {
            "time": by_kind(profiled(works["ours"])),
            "layers": by_layer({name: works[name] for name in ("textbook", "ours")}),
        }
    grown = growth(
        {
            "images": ([2, 4, 8, 16], lambda n: package_step(n, SIZE, device)),
            "pixels": (
                [64**2, 128**2, 192**2, 256**2],
                lambda n: package_step(8, math.isqrt(n), device),
            ),
        },
        device,
        calls=3,
    )
    record("train_step", figures | {"growth": grown}, device)


if __name__ == "__main__":
    main()
