"""Which modules of a model make a block, in the order of its forward pass."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn

from oasis_utils.models.adversarial import Discriminator, Generator
from oasis_utils.models.dcgan import DCGAN
from oasis_utils.models.gated_network import GatedBlock
from oasis_utils.models.pixelcnn import PixelCNN
from oasis_utils.models.vqvae import VQVAE, ResidualBlock


@dataclass(frozen=True)
class Step:
    """A block before its shape is known.

    Attributes:
        part: Of the model, such as encoder.
        name: Of the block.
        what: What the block does.
        modules: Of the block; the output of the last one leaves it.
        own: A parameter that is a block of its own, without modules.
    """

    part: str
    name: str
    what: str
    modules: tuple[nn.Module, ...] = ()
    own: nn.Parameter | None = None

    @property
    def parameters(self) -> int:
        """Number of trained numbers."""
        found = [p for module in self.modules for p in module.parameters()]
        return sum(p.numel() for p in ([self.own] if self.own is not None else found))


def vqvae_steps(model: VQVAE) -> list[Step]:
    """Encoder, codebook and decoder, and the patch discriminator if there is one."""
    config = model.config
    learned = "by gradient" if config.codebook == "gradient" else "by moving averages"
    size = f"{config.n_codes} codes of {config.code_dim} numbers"
    nearest = f"nearest of {size} ({config.n_codes * config.code_dim:,}), learned {learned}"
    steps = [
        *_chain("encoder", model.encoder),
        Step("codebook", "nearest code", nearest, (model.quantizer,)),
        *_chain("decoder", model.decoder),
    ]
    if "discriminator" in model.phases:
        steps += _chain("discriminator", model.discriminator)
    return steps


def dcgan_steps(model: DCGAN) -> list[Step]:
    """Generator and discriminator."""
    return [*_generator(model.generator), *_discriminator(model.discriminator)]


def pixelcnn_steps(model: PixelCNN) -> list[Step]:
    """Embedding, what the first block is told of each cell, gated blocks and head."""
    steps = [
        Step("input", "embedding", "a vector for the code of each cell", (model.embedding,)),
        Step("input", "cell bias", "learned for each cell", own=model.cell_bias),
    ]
    if model.layout is not None:
        told = f"{model.config.layout} numbers about the whole map, read by convolutions"
        steps.append(Step("input", "layout", told, (model.layout.network,)))
    if model.age_features is not None:
        steps.append(Step("input", "age", "features of the age", (model.age_features,)))
    steps += [_gated(block) for block in model.gated_blocks]
    return steps + _chain("head", model.head)


def _gated(block: GatedBlock) -> Step:
    kernels = (
        f"kernels {block.height}×{block.width} (vertical) and 1×{block.look_back} (horizontal)"
    )
    return Step("blocks", "gated block", f"{kernels}, gates, vectors of position and age", (block,))


def _generator(model: Generator) -> list[Step]:
    layers, part = list(model.layers), "generator"
    steps = [
        Step(part, "position", "a vector for each slice position", (model.condition,)),
        Step(
            part,
            "linear",
            "noise and position to a coarse map, group norm",
            (model.project, layers[0]),
        ),
        *_chain(part, layers[1:3]),
    ]
    if model.config.spatial_noise:
        steps.append(Step(part, "noise", "noise of each cell, half the grid", (model.mix_half,)))
    steps += _chain(part, layers[3:6])
    if model.config.spatial_noise:
        steps.append(Step(part, "noise", "noise of each cell, full grid", (model.mix_full,)))
    steps += _chain(part, layers[6:9])
    if model.config.linear:
        steps += [
            Step(part, "linear start", "linear model of maps, fitted", (model.linear,)),
            Step(part, "reads start", "3×3 convolution of the linear start", (model.show,)),
        ]
    return steps + _chain(part, layers[9:])


def _discriminator(model: Discriminator) -> list[Step]:
    layers, part = list(model.layers), "discriminator"
    vector = "one vector, with the variety of neighbours; leaky ReLU"
    steps = [
        *_chain(part, layers[:-1]),
        Step(part, "linear", vector, (layers[-1], model.project)),
        Step(part, "position", "a vector for each slice position", (model.condition,)),
    ]
    if model.ageing is not None:
        steps.append(Step(part, "age", "a vector for the age", (model.ageing,)))
    return [*steps, Step(part, "score", "higher is more real", (model.score,))]


def _chain(part: str, layers: Iterable[nn.Module]) -> list[Step]:
    """One block for each layer that computes. Norms and ReLU belong to the layer after them, since
    residuals and noise are added before them; other activations to the layer before them.
    """
    groups: list[list[nn.Module]] = []
    waiting: list[nn.Module] = []
    for layer in layers:
        if isinstance(layer, nn.GroupNorm | nn.ReLU | nn.Dropout):
            waiting.append(layer)
        elif isinstance(layer, nn.PixelUnshuffle | nn.Conv2d | nn.ConvTranspose2d | ResidualBlock):
            groups.append([*waiting, layer])
            waiting = []
        else:
            groups[-1].append(layer)
    return [
        Step(part, _name(group), ", ".join(filter(None, map(_what, group))), tuple(group))
        for group in groups
    ]


def _name(group: list[nn.Module]) -> str:
    if any(isinstance(layer, nn.ConvTranspose2d | nn.PixelShuffle) for layer in group):
        return "double grid"
    convolutions = [layer for layer in group if isinstance(layer, nn.Conv2d)]
    if not convolutions:
        return "residual" if isinstance(group[-1], ResidualBlock) else "fold pixels"
    return "halve grid" if convolutions[0].stride[0] == 2 else f"conv {_size(convolutions[0])}"


def _size(layer: nn.Conv2d | nn.ConvTranspose2d) -> str:
    return f"{layer.kernel_size[0]}×{layer.kernel_size[1]}"


def _what(layer: nn.Module) -> str:
    if isinstance(layer, nn.PixelUnshuffle):
        side = layer.downscale_factor
        return f"{side}×{side} pixels become {side**2} channels"
    if isinstance(layer, nn.PixelShuffle):
        side = layer.upscale_factor
        return f"{side**2} channels become {side}×{side} pixels"
    if isinstance(layer, ResidualBlock):
        first, second = (m for m in layer.layers if isinstance(m, nn.Conv2d))
        return (
            f"adds {_size(first)}, {first.in_channels} to {first.out_channels} channels, then"
            f" {_size(second)}, {second.in_channels} to {second.out_channels}"
        )
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
        kind = "transposed convolution" if isinstance(layer, nn.ConvTranspose2d) else "convolution"
        return f"{_size(layer)} {kind}" + (", stride 2" if layer.stride[0] == 2 else "")
    names = {nn.ReLU: "ReLU", nn.LeakyReLU: "leaky ReLU", nn.GroupNorm: "group norm"}
    return (names | {nn.Tanh: "tanh"}).get(type(layer), "")
