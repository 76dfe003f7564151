"""The shape that leaves each block of a built model, and the parameters of the block."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from oasis_utils.models.block_lists import Step, dcgan_steps, pixelcnn_steps, vqvae_steps
from oasis_utils.models.dcgan import DCGAN
from oasis_utils.models.pixelcnn import PixelCNN
from oasis_utils.models.quantizer import Quantized
from oasis_utils.models.vqvae import VQVAE


@dataclass(frozen=True)
class BlockShape:
    """A block of a network.

    Attributes:
        part: Of the model, such as encoder.
        name: Of the block, two or three words; blocks of the same kind share it.
        what: What the block does, in a few words.
        shape: Of its output, without the batch axis; channels come first.
        parameters: Number of trained numbers; buffers, such as a codebook of moving averages, are
            not counted.
    """

    part: str
    name: str
    what: str
    shape: tuple[int, ...]
    parameters: int


def block_shapes(model: nn.Module) -> tuple[BlockShape, ...]:
    """The blocks of a model in the order of its forward pass, measured on one example.

    The model is as before afterwards: modes of its modules, weights, counts and random state.

    Args:
        model: A VQVAE, DCGAN or PixelCNN on any device, trained or not.

    Returns:
        One row for each block; their parameters sum to those of the model.

    Raises:
        TypeError: Another kind of model.
    """
    steps, forward = _plan(model)
    shapes: dict[nn.Module, tuple[int, ...]] = {}

    def keep(module: nn.Module, _inputs: Any, output: Any) -> None:
        shapes[module] = _shape(module, output)

    hooks = [step.modules[-1].register_forward_hook(keep) for step in steps if step.modules]
    try:
        with _evaluation(model):
            forward()
    finally:
        for hook in hooks:
            hook.remove()
    return tuple(
        BlockShape(
            step.part,
            step.name,
            step.what,
            shapes[step.modules[-1]] if step.own is None else tuple(step.own.shape),
            step.parameters,
        )
        for step in steps
    )


def shape_table(blocks: Sequence[BlockShape]) -> dict[str, dict[str, object]]:
    """Rows for `plotting.table`: what each block does, its output and its parameters.

    Args:
        blocks: As from `block_shapes`, or some of them.

    Returns:
        {block: {column: value}} with the sum of the parameters in the last row.
    """
    names = [f"{block.part}: {block.name}" for block in blocks]
    rows: dict[str, dict[str, object]] = {}
    for i, (name, block) in enumerate(zip(names, blocks, strict=True)):
        number = f" ({names[: i + 1].count(name)})" if names.count(name) > 1 else ""
        rows[name + number] = {
            "what it does": block.what,
            "output": "×".join(map(str, block.shape)),
            "parameters": f"{block.parameters:,}",
        }
    rows["**sum**"] = {"parameters": f"**{sum(block.parameters for block in blocks):,}**"}
    return rows


def _plan(model: nn.Module) -> tuple[list[Step], Callable[[], object]]:
    """The blocks of a model, and its forward pass on one example."""
    device = next(model.parameters()).device
    one = torch.zeros(1, dtype=torch.long, device=device)
    age = torch.zeros(1, device=device)
    if isinstance(model, VQVAE):
        size = model.config.image_size
        images = torch.zeros(1, 1, size, size, device=device)
        return vqvae_steps(model), lambda: _through_vqvae(model, images)
    if isinstance(model, PixelCNN):
        maps = one.expand(1, model.config.grid, model.config.grid)
        return pixelcnn_steps(model), lambda: model(maps, one, age)
    if isinstance(model, DCGAN):
        noise = torch.zeros(1, model.config.noise_size, device=device)
        return dcgan_steps(model), lambda: model.discriminator(
            model.generator(noise, one), one, age
        )
    raise TypeError(f"give a VQVAE, a PixelCNN or a DCGAN, not a {type(model).__name__}")


def _through_vqvae(model: VQVAE, images: Tensor) -> None:
    output = model.decode(model.quantize(model.encode(images)).codes)
    if "discriminator" in model.phases:
        model.discriminator(output)


def _shape(module: nn.Module, output: Any) -> tuple[int, ...]:
    if isinstance(output, Quantized):
        output = output.indices
    if isinstance(output, tuple):  # of both stacks, of one shape
        output = output[-1]
    if isinstance(module, nn.Embedding) and output.ndim == 4:  # a vector for each cell
        output = output.movedim(-1, 1)
    return tuple(output.shape[1:])


@contextmanager
def _evaluation(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients. The flags are set one by one: `train` of a quantiser would
    clear its counts.
    """
    modes = [(module, module.training) for module in model.modules()]
    devices = {parameter.device for parameter in model.parameters()}
    cuda = [device for device in devices if device.type == "cuda"]
    try:
        for module, _ in modes:
            module.training = False
        with torch.no_grad(), torch.random.fork_rng(devices=cuda):
            yield
    finally:
        for module, mode in modes:
            module.training = mode
