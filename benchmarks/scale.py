"""What ten million slices would take: storage and arithmetic counted on the models, hours computed.

    python benchmarks/scale.py

Counted: bytes, parameters, and multiplications and additions of a training step of the `full`
profile. Assumed: how fast a GPU computes, and how fast GPUs exchange gradients. Nothing of it has
run on a GPU. The table goes into docs/scale.md.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from measure import RESULTS
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from oasis_utils.config import Profile, load_profile
from oasis_utils.models import DCGAN, VQVAE, PixelCNN
from oasis_utils.models.trainable import Trainable
from oasis_utils.runtime import project_root, provenance, read_json, write_json
from oasis_utils.runtime.files import write_texts

RECORD, PAGE = RESULTS / "scale.json", project_root() / "docs/scale.md"
BEGIN, END = "<!-- table: made by benchmarks/scale.py -->", "<!-- end of table -->"
SLICES, PER_GPU, SAMPLE = 10_000_000, 64, 8  # in all, in a step of one GPU, and counted
DEVICES, IN_ONE_MACHINE = (1, 8, 64), 8
PEAK, SHARE = 989e12, 0.3  # operations a second of an H100 in bfloat16, and the part assumed
LINKS = {True: 200e9, False: 40e9}  # bytes a second between GPUs of one machine; of several


@dataclass(frozen=True)
class Counted:
    """What one model of the `full` profile asks for.

    Attributes:
        parameters: Number of weights.
        operations: Multiplications and additions of a training step, for one sample.
    """

    parameters: int
    operations: float


class Operations(TorchDispatchMode):
    """Counts multiplications and additions. torch's FlopCounterMode does not take the gradient of
    a gradient, which the DCGAN's penalties are.
    """

    total = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        found = function(*args, **(kwargs or {}))
        count = flop_registry.get(function._overloadpacket)
        if count:
            self.total += count(*args, **(kwargs or {}), out_val=found)
        return found


def batch_of(profile: Profile, name: str) -> dict[str, torch.Tensor]:
    """A batch of noise for a model."""
    positions = torch.arange(SAMPLE) % 4
    if name == "vqvae":
        side = profile.vqvae.image_size
        return {"images": torch.rand(SAMPLE, 1, side, side), "positions": positions}
    grid = profile.vqvae.grid
    indices = torch.randint(profile.vqvae.n_codes, (SAMPLE, grid, grid))
    return {"indices": indices, "positions": positions, "ages": torch.full((SAMPLE,), 60.0)}


def models(profile: Profile) -> dict[str, Trainable]:
    """The three models, untrained."""
    return {
        "vqvae": VQVAE(profile.vqvae),
        "pixelcnn": PixelCNN(profile.pixelcnn),
        "dcgan": DCGAN(profile.dcgan),
    }


def counted(model: Trainable, batch: dict[str, torch.Tensor]) -> Counted:
    """Parameters of a model, and operations of a step for one sample."""
    groups = model.train().parameter_groups()
    with Operations() as counter:
        for phase in model.phases:
            model.step(batch, phase)["loss"].backward(inputs=groups[phase])
    return Counted(sum(p.numel() for p in model.parameters()), counter.total / SAMPLE)


def hours(found: Counted, devices: int) -> tuple[float, float]:
    """(hours for ten million slices or maps, share of them in which GPUs compute)."""
    computing = PER_GPU * found.operations / (SHARE * PEAK)
    link = LINKS[devices <= IN_ONE_MACHINE]
    talking = 2 * (devices - 1) / devices * 4 * found.parameters / link
    steps = SLICES / (PER_GPU * devices)
    return steps * (computing + talking) / 3600, computing / (computing + talking)


def table(record: dict[str, Any]) -> str:
    """The table of docs/scale.md."""
    head = "| model | parameters | operations a slice or map | " + " | ".join(
        f"{n} GPU{'s' * (n > 1)}, hours" for n in DEVICES
    )
    lines = [head + " |", "|---|---:|---:|" + "---:|" * len(DEVICES)]
    for label, values in record["models"].items():
        found = Counted(**values)
        cells = []
        for devices in DEVICES:
            needed, share = hours(found, devices)
            cells.append(f"{needed:.2g} ({share:.0%} computing)")
        lines.append(
            f"| {label} | {found.parameters / 1e6:.1f} M | {found.operations / 1e9:.0f} G | "
            + " | ".join(cells)
            + " |"
        )
    return "\n".join(lines)


def with_table(page: str, text: str) -> str:
    """The page with this between its markers."""
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}\n{text}\n{END}{rest.split(END)[1]}"


def main() -> None:
    """Count, write the record and the table."""
    profile = load_profile("full")
    torch.manual_seed(0)
    found = {
        model.__class__.__name__: asdict(counted(model, batch_of(profile, name)))
        for name, model in models(profile).items()
    }
    write_json(RECORD, {"models": found, **provenance(0, torch.device("cpu"))})
    page = PAGE.read_text(encoding="utf-8")
    text = table(read_json(RECORD))
    write_texts({PAGE: with_table(page, text)})
    print(text)


if __name__ == "__main__":
    main()
