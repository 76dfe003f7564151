"""Whole heads: what each slice is drawn from, seeds, ages, files, and which models fit together."""

import math

import numpy as np
import pytest
import torch
from small_neighbours import KINDS, LAYOUT, SIZES, tiny_neighbour, tiny_start

from oasis_utils.config import DCGANConfig, NeighbourConfig, PixelCNNConfig, VQVAEConfig
from oasis_utils.models import heads as heads_module
from oasis_utils.models.checkpoints import CheckpointError, save_model, weights_digest
from oasis_utils.models.dcgan import DCGAN
from oasis_utils.models.drawing import SamplingOptions
from oasis_utils.models.head_priors import (
    SEED_OF_LAYOUTS,
    DCGANHeads,
    GaussianHeads,
    PixelCNNHeads,
    seeds_of_slices,
)
from oasis_utils.models.heads import NEIGHBOUR, HeadSampler, load_head_sampler
from oasis_utils.models.neighbour_pixelcnn import ABOVE, BELOW, NeighbourPixelCNN, Neighbours
from oasis_utils.models.pixelcnn import PixelCNN
from oasis_utils.models.vqvae import VQVAE
from oasis_utils.runtime import Progress, RunFolder

CPU = torch.device("cpu")
GRID, CODES, POSITIONS = 8, 10, 4  # a VQ-VAE takes 8 x 8 maps of 32 x 32 pixels
SEEDS = [3, 0, 2**63 - 1, 17, 8]


def tiny_vqvae():
    """Its codes lie among the latents of decoded maps, so that settled maps vary."""
    torch.manual_seed(0)
    model = VQVAE(
        VQVAEConfig(
            image_size=32, downsampling=4, channels=16, residual_blocks=1, n_codes=CODES, code_dim=3
        )
    )
    maps = torch.randint(CODES, (4, GRID, GRID), generator=torch.Generator().manual_seed(1))
    model.eval()
    with torch.no_grad():
        latents = model.encode(model.decode_indices(maps)).permute(0, 2, 3, 1).flatten(0, 2)
        model.quantizer.codebook.copy_(latents[torch.linspace(0, len(latents) - 1, CODES).long()])
    return model


def tiny_dcgan(**changes):
    torch.manual_seed(0)
    sizes = dict(grid=GRID, n_codes=CODES, code_dim=3, n_positions=POSITIONS, channels=8)
    model = DCGAN(DCGANConfig(**sizes, noise_dim=4, spatial_noise=2, **changes)).eval()
    model.codebook.copy_(torch.randn(CODES, 3))
    return model


def pixelcnn_heads(first=None, **changes):
    start = tiny_start(**changes)
    return PixelCNNHeads(start, tiny_neighbour(start), first)


def ages_of(prior):
    """For each of `SEEDS`: known, unknown; None for a prior without ages."""
    known = torch.tensor([30.0, math.nan, 81.0, 55.0, math.nan])
    return known if prior.config.knows_age else None


PRIORS = {
    **{f"pixelcnn, {kind}": lambda kind=kind: pixelcnn_heads(**KINDS[kind]) for kind in KINDS},
    "dcgan": lambda: DCGANHeads(tiny_dcgan(age_mean=50.0, age_std=20.0), 0.8),
    "gaussian": lambda: GaussianHeads(tiny_neighbour(**KINDS["layouts and ages"])),
    "gaussian, no ages": lambda: GaussianHeads(tiny_neighbour(layout=LAYOUT)),
}


@pytest.fixture(params=PRIORS, scope="module")
def prior(request):
    """Of each kind in turn; the tests leave it as it is."""
    return PRIORS[request.param]()


# ------------------------------------------------------------ all priors


def test_the_same_seed_gives_the_same_head_in_any_batch(prior):
    ages = ages_of(prior)
    together = prior.draw(SEEDS, ages)
    assert together.shape[:2] == (5, POSITIONS) and together.dtype == torch.int64
    assert together.min() >= 0 and together.max() < CODES
    torch.manual_seed(9)
    for row, seed in enumerate(SEEDS):
        alone = prior.draw([seed], None if ages is None else ages[row : row + 1])
        assert torch.equal(alone[0], together[row])
    turned = prior.draw(SEEDS[::-1], None if ages is None else ages.flip(0))
    assert torch.equal(turned.flip(0), together)
    assert len({tuple(head.flatten().tolist()) for head in together}) == 5


def test_unknown_ages_are_those_that_are_not_given(prior):
    drawn = prior.draw(SEEDS)
    if prior.config.knows_age:
        assert torch.equal(prior.draw(SEEDS, torch.full((5,), math.nan)), drawn)
        assert not torch.equal(prior.draw(SEEDS, torch.full((5,), 90.0)), drawn)
    else:
        with pytest.raises(ValueError, match="trained without ages"):
            prior.draw(SEEDS, torch.full((5,), 40.0))


def test_slices_so_far_are_counted_up_to_all(prior):
    counts = []
    prior.draw(SEEDS, on_slices=counts.append)
    assert counts == sorted(set(counts)) and counts[-1] == 5 * POSITIONS
    assert all(count % 5 == 0 for count in counts)


def test_options_change_what_a_pixelcnn_draws_and_others_refuse_them(prior):
    greedy = SamplingOptions(temperature=0.0)
    if isinstance(prior, PixelCNNHeads):
        assert not torch.equal(prior.draw(SEEDS, options=greedy), prior.draw(SEEDS))
    else:
        with pytest.raises(ValueError, match="need the PixelCNN"):
            prior.draw(SEEDS, options=greedy)


def test_seeds_of_slices_differ_and_are_seeds():
    seeds = [seed for at in range(50) for seed in seeds_of_slices([0, 1, 2, 2**63 - 1], at)]
    seeds += seeds_of_slices([0, 1, 2, 2**63 - 1], SEED_OF_LAYOUTS)
    assert len(set(seeds)) == 4 * 51 and all(0 <= seed < 2**63 for seed in seeds)


# ------------------------------------------------------------ PixelCNN


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("first", [None, 0, 3])
def test_a_first_slice_is_the_pixelcnns_own_and_each_next_one_is_told_that_before(kind, first):
    prior = pixelcnn_heads(first, **KINDS[kind])
    start, neighbour, ages = prior.start, prior.neighbour, ages_of(prior)
    options = SamplingOptions(0.9, top_p=0.95)
    heads = prior.draw(SEEDS, ages, options)
    first = 2 if first is None else first
    layouts = neighbour.layouts_of_heads(seeds_of_slices(SEEDS, SEED_OF_LAYOUTS), ages)

    def at(position):
        return torch.full((5,), position)

    noise = start.noise(seeds_of_slices(SEEDS, first))
    noise = start.noise_with_layouts(noise, None if layouts is None else layouts[:, first])
    assert torch.equal(heads[:, first], start.sample(at(first), noise, options, ages=ages))
    for position in range(POSITIONS):
        if position == first:
            continue
        side = ABOVE if position < first else BELOW
        told = Neighbours(
            heads[:, position + (1 if side == ABOVE else -1)],
            at(side),
            None if layouts is None else layouts[:, position],
        )
        noise = neighbour.noise(seeds_of_slices(SEEDS, position))
        drawn = neighbour.sample(at(position), noise, told, options, ages)
        assert torch.equal(heads[:, position], drawn)


@pytest.mark.parametrize("kind", ["layouts", "layouts and ages"])
def test_noise_with_layouts_draws_these_layouts_and_keeps_that_of_the_cells(kind):
    model = tiny_start(**KINDS[kind])
    noise, positions = model.noise([1, 2, 3]), torch.tensor([0, 1, 2])
    wanted = torch.randn(3, LAYOUT, generator=torch.Generator().manual_seed(0))
    made = model.noise_with_layouts(noise, wanted)
    assert made.shape == noise.shape and made.dtype == noise.dtype
    assert torch.equal(made[:, : model.config.grid], noise[:, : model.config.grid])
    found = model._drawn_layouts(made, positions, None)
    torch.testing.assert_close(found, wanted, atol=1e-3, rtol=1e-3)
    assert torch.equal(made[:, -1, LAYOUT - 6 :], noise[:, -1, LAYOUT - 6 :])  # surplus numbers
    assert torch.equal(model.noise_with_layouts(noise, None), noise)
    far = model.noise_with_layouts(noise, torch.full((3, LAYOUT), 40.0))
    assert far.max() < 1 and model._drawn_layouts(far, positions, None).isfinite().all()


# ------------------------------------------------------------ DCGAN and Gaussian distribution


def noises_of_slices(correlation, seeds, monkeypatch):
    """(heads, positions, noise) that a DCGAN draws its slices from."""
    dcgan, seen = tiny_dcgan(), []
    sample = dcgan.sample

    def watched(positions, noise, *rest):
        seen.append((positions.unique().tolist(), noise))
        return sample(positions, noise, *rest)

    monkeypatch.setattr(dcgan, "sample", watched)
    DCGANHeads(dcgan, correlation).draw(seeds)
    assert [at for at, _ in seen] == [[at] for at in range(POSITIONS)]
    return torch.stack([noise for _, noise in seen], dim=1)


def test_fully_correlated_noise_is_one_vector_for_all_slices(monkeypatch):
    noise = noises_of_slices(1.0, SEEDS, monkeypatch)
    assert torch.equal(noise, noise[:, :1].expand_as(noise))
    assert torch.equal(noise[:, 0], tiny_dcgan().noise(seeds_of_slices(SEEDS, 0)))


@pytest.mark.parametrize("correlation", [0.0, 0.6, 0.9])
def test_spatial_noise_is_autoregressive_of_order_1(monkeypatch, correlation):
    noise = noises_of_slices(correlation, list(range(40)), monkeypatch)
    shared, spatial = noise[:, :, :4], noise[:, :, 4:].double()
    assert torch.equal(shared, shared[:, :1].expand_as(shared))  # of the whole head
    if correlation == 0:
        assert torch.equal(
            noise[:, 2, 4:], tiny_dcgan().noise(seeds_of_slices(list(range(40)), 2))[:, 4:]
        )
    rows = spatial.transpose(0, 1).flatten(1)
    exponents = (torch.arange(POSITIONS)[:, None] - torch.arange(POSITIONS)).abs()
    powers = torch.tensor(correlation, dtype=torch.float64) ** exponents
    torch.testing.assert_close(rows.cov(), powers, atol=0.06, rtol=0)


def test_slices_of_a_gaussian_head_are_the_nearest_codes_of_its_linear_maps():
    model = tiny_neighbour(**KINDS["layouts and ages"])
    heads = GaussianHeads(model).draw([4, 5])
    layouts = model.layouts_of_heads(seeds_of_slices([4, 5], SEED_OF_LAYOUTS), None)
    for position in range(POSITIONS):
        maps = model.layout.linear(layouts[:, position], torch.full((2,), position))
        away = maps[:, None] - model.layout.codebook[None, :, :, None, None]
        assert torch.equal(heads[:, position], away.square().sum(2).argmin(1))


def test_the_gaussian_distribution_needs_layouts():
    with pytest.raises(ValueError, match="needs a PixelCNN with layouts"):
        GaussianHeads(tiny_neighbour()).draw([1])


# ------------------------------------------------------------ sampler


SAMPLED = {
    "PixelCNN": lambda: PixelCNNHeads(*eight()),
    "DCGAN": lambda: DCGANHeads(tiny_dcgan(settled=False)),
    "settled DCGAN": lambda: DCGANHeads(tiny_dcgan(settled=True)),
}


def eight():
    """Both PixelCNNs for 8 x 8 maps, with ages but without layouts."""
    torch.manual_seed(0)
    config = PixelCNNConfig(**SIZES | KINDS["ages"] | dict(grid=GRID))
    start = PixelCNN(config).eval()
    neighbour = NeighbourPixelCNN(NeighbourConfig().sized_as(config)).eval()
    neighbour.start_from(start)
    return start, neighbour


@pytest.fixture(params=SAMPLED)
def sampler(request):
    return HeadSampler(tiny_vqvae(), SAMPLED[request.param]())


def test_heads_are_decoded_slice_by_slice(sampler):
    heads = sampler.sample(SEEDS)
    assert heads.images.shape == (5, POSITIONS, 32, 32) and heads.images.dtype == np.uint8
    assert np.isnan(heads.ages).all() and sampler.n_positions == POSITIONS
    with torch.no_grad():
        for head, images in zip(heads.indices, heads.images, strict=True):
            decoded = sampler.vqvae.decode_indices(torch.from_numpy(head))[:, 0]
            assert np.abs(images - decoded.numpy() * 255).max() <= 0.5 + 1e-3


def test_settled_maps_are_those_of_their_pictures(sampler):
    drawn, found = sampler.prior.draw(SEEDS), torch.from_numpy(sampler.draw(SEEDS))
    if sampler.prior.settled:
        with torch.no_grad():
            images = sampler.vqvae.decode_indices(drawn.flatten(0, 1))
            drawn = sampler.vqvae.encode_indices(images).view_as(drawn)
        assert len(drawn.unique()) > 1
    assert torch.equal(found, drawn)


def test_parts_do_not_change_the_heads_and_progress_counts_all_slices(sampler, monkeypatch):
    whole, counts = sampler.sample(SEEDS), []
    monkeypatch.setattr(heads_module, "HEADS_AT_ONCE", 2)

    class Counting(Progress):
        def update(self, done, note=None):
            counts.append(done)
            super().update(done, note)

    progress = Counting("sampling", 5 * POSITIONS)
    parts = sampler.sample(SEEDS, progress=progress)
    assert np.array_equal(parts.indices, whole.indices)
    assert counts == sorted(counts) and progress.done == 5 * POSITIONS


def test_ages_go_with_their_heads(sampler, monkeypatch):
    monkeypatch.setattr(heads_module, "HEADS_AT_ONCE", 2)
    ages = np.array([30.0, np.nan, 81.0, 55.0, np.nan])
    if not sampler.knows_age:
        with pytest.raises(ValueError, match="trained without ages"):
            sampler.sample(SEEDS, ages=ages)
        return
    heads = sampler.sample(SEEDS, ages=ages)
    assert heads.ages.dtype == np.float32 and np.array_equal(heads.ages, ages, equal_nan=True)
    known = torch.from_numpy(ages.astype(np.float32))
    assert np.array_equal(heads.indices, sampler.prior.draw(SEEDS, known).numpy())


def test_heads_are_saved_and_read_again(sampler, tmp_path):
    heads = sampler.sample(SEEDS[:2])
    heads.save(tmp_path / "heads.npz")
    with np.load(tmp_path / "heads.npz") as file:
        assert sorted(file) == ["ages", "images", "indices"]
        for name in file:
            assert np.array_equal(file[name], getattr(heads, name), equal_nan=name == "ages")


# ------------------------------------------------------------ files


@pytest.fixture
def run(tmp_path):
    """A run folder with untrained models that say what they were made from."""
    run, vqvae, (start, neighbour) = RunFolder(tmp_path), tiny_vqvae(), eight()
    of = {"vqvae": weights_digest(vqvae)}
    save_model(run.checkpoint("vqvae"), vqvae)
    save_model(run.checkpoint("pixelcnn"), start, inputs=of)
    save_model(run.checkpoint("dcgan"), tiny_dcgan(), inputs=of)
    save_model(run.checkpoint(NEIGHBOUR), neighbour, inputs={"pixelcnn": weights_digest(start)})
    return run


@pytest.mark.parametrize(
    ("name", "kind", "title"),
    [
        ("pixelcnn", PixelCNNHeads, "PixelCNN"),
        ("dcgan", DCGANHeads, "DCGAN"),
        ("gaussian", GaussianHeads, "slice Gaussian"),
    ],
)
def test_samplers_are_loaded_by_name(run, name, kind, title):
    sampler = load_head_sampler(run, name, CPU)
    assert isinstance(sampler.prior, kind) and sampler.name == title
    if name != "gaussian":  # which needs layouts
        prior = PixelCNNHeads(*eight()) if name == "pixelcnn" else DCGANHeads(tiny_dcgan())
        assert np.array_equal(sampler.draw([1, 2]), prior.draw([1, 2]).numpy())


def test_an_unknown_prior_is_named(run):
    with pytest.raises(ValueError, match="unknown prior 'vae': choose one of pixelcnn, dcgan, gau"):
        load_head_sampler(run, "vae", CPU)


@pytest.mark.parametrize("prior", ["pixelcnn", "gaussian"])
def test_a_missing_checkpoint_names_the_notebook(run, prior):
    run.checkpoint(NEIGHBOUR).unlink()
    with pytest.raises(CheckpointError, match="is missing: run notebook 10_whole_heads"):
        load_head_sampler(run, prior, CPU)
    load_head_sampler(run, "dcgan", CPU)  # which needs no PixelCNN


@pytest.mark.parametrize("inputs", [{"pixelcnn": "0" * 12}, {}])
@pytest.mark.parametrize("prior", ["pixelcnn", "gaussian"])
def test_one_that_started_from_another_pixelcnn_is_refused(run, prior, inputs):
    save_model(run.checkpoint(NEIGHBOUR), eight()[1], inputs=inputs)
    with pytest.raises(CheckpointError, match="was trained from another PixelCNN: run notebook 10"):
        load_head_sampler(run, prior, CPU)
