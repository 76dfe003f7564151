"""The network of the learned features computes what was published, in fewer operations."""

import torch
from torch import nn

from oasis_utils.metrics.feature_network import as_published, feature_network, folded


def test_the_folded_network_computes_what_was_published():
    torch.manual_seed(0)
    images = torch.rand(2, 3, 224, 224) * 2 - 1
    with torch.inference_mode():
        published = as_published().extract_features(images)
        found = feature_network("cpu")(images)
    assert published.shape == (2, 1280, 7, 7) and published.std() > 0.1
    torch.testing.assert_close(found, published, atol=1e-4, rtol=0)


def test_no_normalisation_and_only_uneven_padding_is_left():
    left = list(folded(as_published()).modules())
    assert not any(isinstance(module, nn.BatchNorm2d) for module in left)
    sides = [module.padding for module in left if isinstance(module, nn.ZeroPad2d)]
    assert sides and all(len(set(padding)) > 1 for padding in sides)
