"""A start that knows the codes: alike codes have alike weights, and each its frequency."""

import math

import pytest
import torch
import torch.nn.functional as F

from oasis_utils.config import PROFILES, PixelCNNConfig
from oasis_utils.models.pixelcnn import PixelCNN

CODES, GRID = 64, 8


def started(start="codebook", seed=0, codebook=None):
    """A model and the codebook and maps that it started from; code 0 fills half of the cells."""
    torch.manual_seed(seed)
    model = PixelCNN(
        PixelCNNConfig(
            grid=GRID, n_codes=CODES, n_positions=2, start=start, code_dim=3, channels=32, hidden=48
        )
    )
    if codebook is None:
        codebook = torch.randn(CODES, 3) * torch.tensor([1.0, 30.0, 0.2]) + 5
    indices = torch.randint(CODES, (40, GRID, GRID))
    indices[torch.rand(indices.shape) < 0.5] = 0
    model.use_maps(codebook, indices, torch.arange(40) % 2)
    return model.eval(), codebook, indices


def correlation(codebook, weights):
    """Of the distances of codes and those of their weights, over all pairs."""
    codes = (codebook - codebook.mean(0)) / codebook.std(0)
    pairs = torch.stack([F.pdist(codes), F.pdist(weights.flatten(1))])
    return float(torch.corrcoef(pairs)[0, 1])


def test_codes_of_similar_vectors_have_similar_weights():
    model, codebook, _ = started()
    first, last = model.embedding.weight.detach(), model.head[-1].weight.detach()
    assert correlation(codebook, first) > 0.8 and correlation(codebook, last) > 0.9
    assert float(first.std()) == pytest.approx(1, abs=0.15)  # as that of a new embedding
    plain, codebook, _ = started("random")
    assert abs(correlation(codebook, plain.embedding.weight.detach())) < 0.3


def test_no_two_codes_have_the_same_embedding():
    model, _, _ = started(codebook=torch.randn(CODES, 3).round())  # some vectors are equal
    assert F.pdist(model.embedding.weight).min() > 0.5


def test_the_untrained_model_is_near_the_unigram():
    nats = {}
    for start in ("codebook", "random"):
        model, _, indices = started(start)
        nats[start] = float(model.surprisal(indices, torch.arange(40) % 2).mean())
    shares = indices.flatten().bincount(minlength=CODES) / indices.numel()
    unigram = -float((shares * shares.clamp(min=1e-9).log()).sum())
    assert unigram - 0.02 < nats["codebook"] < unigram + 0.15
    assert nats["random"] == pytest.approx(math.log(CODES), abs=0.2)


def test_the_weights_follow_the_seed():
    one, again, other = (started(seed=seed)[0] for seed in (1, 1, 2))
    assert torch.equal(one.embedding.weight, again.embedding.weight)
    assert not torch.equal(one.embedding.weight, other.embedding.weight)


def test_a_codebook_without_spread_is_no_division_by_zero():
    model, _, _ = started(codebook=torch.ones(CODES, 3))
    assert model.embedding.weight.isfinite().all() and model.head[-1].weight.abs().max() == 0


def test_all_profiles_start_from_the_codebook():
    assert {profile.pixelcnn.start for profile in PROFILES.values()} == {"codebook"}


def test_an_unknown_start_is_refused():
    with pytest.raises(ValueError, match="start must be codebook or random"):
        PixelCNNConfig(start="linear")
