"""Sampling through one interface: seeds, positions, decoding, files, and which models fit
together.
"""

import dataclasses

import numpy as np
import pytest
import torch

from oasis_utils.config import DCGANConfig, PixelCNNConfig, VQVAEConfig
from oasis_utils.models import sampler as sampling
from oasis_utils.models.checkpoints import CheckpointError, save_model, weights_digest
from oasis_utils.models.dcgan import DCGAN
from oasis_utils.models.drawing import SamplingOptions
from oasis_utils.models.pixelcnn import PixelCNN
from oasis_utils.models.prior import Prior
from oasis_utils.models.regions import REGIONS, hemisphere, region
from oasis_utils.models.sampler import BrainSampler, load_sampler, run_or_shipped
from oasis_utils.models.samples import image_seeds
from oasis_utils.models.vqvae import VQVAE
from oasis_utils.runtime import Progress, RunFolder
from oasis_utils.runtime.symmetry import Symmetry

CPU = torch.device("cpu")
POSITIONS = np.array([0, 1, 2, 0, 1])


def make_vqvae(seed=0):
    torch.manual_seed(seed)
    return VQVAE(VQVAEConfig(image_size=32, downsampling=8, channels=32, n_codes=16, code_dim=4))


def make_prior(kind, seed=0):
    torch.manual_seed(seed)
    if kind == "dcgan":
        return DCGAN(
            DCGANConfig(grid=4, n_codes=16, code_dim=4, n_positions=3, noise_dim=4, channels=8)
        )
    return PixelCNN(
        PixelCNNConfig(grid=4, n_codes=16, n_positions=3, channels=8, blocks=2, hidden=16)
    )


@pytest.fixture(params=["pixelcnn", "dcgan"])
def sampler(request):
    return BrainSampler(make_vqvae(), make_prior(request.param))


@pytest.fixture
def pixelcnn():
    return BrainSampler(make_vqvae(), make_prior("pixelcnn"))


def save_run(root, names=("vqvae", "pixelcnn", "dcgan"), trained_on=None):
    """A run folder with untrained models that say what they were trained on."""
    run, vqvae = RunFolder(root), make_vqvae()
    for name in names:
        model = vqvae if name == "vqvae" else make_prior(name)
        save_model(
            run.checkpoint(name), model, inputs={"vqvae": trained_on or weights_digest(vqvae)}
        )
    return run


# ---------------------------------------------------------------- drawing


def test_samples_have_the_right_shapes_and_codes(sampler):
    samples = sampler.sample(POSITIONS, image_seeds(0, 5))
    assert samples.images.shape == (5, 32, 32) and samples.images.dtype == np.uint8
    assert samples.indices.shape == (5, 4, 4)
    assert samples.indices.min() >= 0 and samples.indices.max() < 16
    assert np.array_equal(samples.positions, POSITIONS)


def test_images_are_the_decoded_indices(sampler):
    samples = sampler.sample(POSITIONS, image_seeds(0, 5))
    with torch.no_grad():
        images = sampler.vqvae.decode_indices(torch.from_numpy(samples.indices))[:, 0]
    assert np.abs(samples.images - images.numpy() * 255).max() <= 0.5
    assert np.array_equal(samples.images, sampler.decode(samples.indices))
    assert len(np.unique(samples.images)) > 10


def test_seeds_repeat_and_differ(sampler):
    first, again, other = (sampler.sample(POSITIONS, image_seeds(s, 5)).indices for s in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_sampling_does_not_depend_on_the_global_random_state(sampler):
    torch.manual_seed(0)
    first = sampler.sample(POSITIONS, image_seeds(1, 5)).indices
    torch.manual_seed(1)
    assert np.array_equal(sampler.sample(POSITIONS, image_seeds(1, 5)).indices, first)


def test_an_image_is_the_same_in_any_batch(sampler, monkeypatch):
    seeds = image_seeds(3, 5)
    whole = sampler.sample(POSITIONS, seeds)
    monkeypatch.setattr(sampling, "DRAWN_AT_ONCE", 2)
    parts = sampler.sample(POSITIONS, seeds)
    alone = [sampler.sample(POSITIONS[i : i + 1], seeds[i : i + 1]) for i in range(5)]
    assert np.array_equal(parts.indices, whole.indices)
    assert np.abs(parts.images.astype(int) - whole.images).max() <= 1  # sums of floats, rounded
    assert np.array_equal(np.concatenate([one.indices for one in alone]), whole.indices)


def test_order_of_the_images_does_not_matter(sampler):
    seeds = image_seeds(3, 5)
    whole = sampler.sample(POSITIONS, seeds).indices
    assert np.array_equal(sampler.sample(POSITIONS[::-1].copy(), seeds[::-1]).indices, whole[::-1])


def test_sampler_puts_its_models_into_evaluation_mode():
    vqvae, prior = make_vqvae().train(), make_prior("pixelcnn").train()
    sampler = BrainSampler(vqvae, prior)
    assert not vqvae.training and not prior.training
    assert sampler.name == "PixelCNN" and sampler.n_positions == 3


@pytest.mark.parametrize("position", [-1, 3])
def test_position_it_was_not_trained_on(sampler, position):
    with pytest.raises(ValueError, match=r"positions must be in \[0, 3\)"):
        sampler.sample(np.array([0, position]), image_seeds(0, 2))


def test_progress_reaches_the_end(sampler, monkeypatch):
    monkeypatch.setattr(sampling, "DRAWN_AT_ONCE", 2)
    progress = Progress("sampling", 5)
    sampler.sample(POSITIONS, image_seeds(0, 5), progress=progress)
    assert progress.done == 5


def test_temperature_zero_takes_the_likeliest_codes_whatever_the_seed(pixelcnn):
    greedy = SamplingOptions(temperature=0.0)
    maps = pixelcnn.sample(np.array([1, 1]), [1, 2], greedy).indices
    assert np.array_equal(maps[0], maps[1])
    assert np.array_equal(
        pixelcnn.sample(np.array([1, 1]), [1, 2], SamplingOptions(top_k=1)).indices, maps
    )


@pytest.mark.parametrize(
    "options",
    [SamplingOptions(temperature=0.5), SamplingOptions(top_k=3), SamplingOptions(top_p=0.9)],
)
def test_dcgan_has_no_temperature(options):
    sampler = BrainSampler(make_vqvae(), make_prior("dcgan"))
    with pytest.raises(ValueError, match="top-p and completion need the PixelCNN"):
        sampler.sample(POSITIONS, image_seeds(0, 5), options)


def test_dcgan_takes_options_that_ask_for_nothing():
    sampler = BrainSampler(make_vqvae(), make_prior("dcgan"))
    assert sampler.sample(POSITIONS, image_seeds(0, 5), SamplingOptions()).images.shape == (
        5,
        32,
        32,
    )


def test_dcgan_completes_nothing():
    sampler = BrainSampler(make_vqvae(), make_prior("dcgan"))
    keep = np.zeros((5, 4, 4), bool)
    with pytest.raises(ValueError, match="completion need the PixelCNN"):
        sampler.draw(POSITIONS, image_seeds(0, 5), given=np.zeros((5, 4, 4), int), keep=keep)


def test_completion_keeps_what_is_given(pixelcnn):
    given = np.random.default_rng(0).integers(0, 16, (5, 4, 4)).astype(np.uint16)
    keep = np.zeros((5, 4, 4), bool)
    keep[:, :2] = True
    rows = []
    maps = pixelcnn.draw(
        POSITIONS,
        image_seeds(0, 5),
        given=given,
        keep=keep,
        on_row=lambda row, _maps: rows.append(row),
    )
    assert np.array_equal(maps[keep], given[keep])
    assert not np.array_equal(maps[~keep], given[~keep])
    assert rows == [0, 1, 2, 3]


def test_completion_by_particles_needs_the_pixelcnn(pixelcnn):
    given = np.random.default_rng(0).integers(0, 16, (5, 4, 4)).astype(np.uint16)
    keep = np.broadcast_to(region("right half", 4), given.shape).copy()
    maps = pixelcnn.complete(POSITIONS, image_seeds(0, 5), given, keep, particles=3)
    assert np.array_equal(maps[keep], given[keep]) and not np.array_equal(maps, given)
    with pytest.raises(ValueError, match="completion needs the PixelCNN"):
        BrainSampler(make_vqvae(), make_prior("dcgan")).complete(
            POSITIONS, image_seeds(0, 5), given, keep
        )


@pytest.mark.parametrize("grid", [4, 16, 17])
def test_regions_are_halves_and_a_hole(grid):
    upper, lower, left, right, around = (region(name, grid) for name in REGIONS)
    assert upper.shape == (grid, grid) and upper.sum() == left.sum() == grid * (grid // 2)
    assert upper[0].all() and left[:, 0].all() and (upper ^ lower).all() and (left ^ right).all()
    assert (
        around[[0, -1]].all() and around[:, [0, -1]].all() and (~around).sum() == (grid // 2) ** 2
    )


def test_a_hemisphere_is_one_side_of_the_mid_line():
    upright, lying = (region(hemisphere(Symmetry(axis)), 8) for axis in (-1, -2))
    assert np.array_equal(upright, Symmetry(-2).upright(lying))
    for symmetry, half in ((Symmetry(-1), upright), (Symmetry(-2), lying)):
        assert np.array_equal(symmetry.mirror(half), ~half)
    with pytest.raises(ValueError, match="no hemispheres"):
        hemisphere(Symmetry(None))


def knowing_pixelcnn(**ages):
    prior = PixelCNN(
        PixelCNNConfig(grid=4, n_codes=16, n_positions=3, channels=8, blocks=2, hidden=16, **ages)
    )
    torch.nn.init.normal_(prior.head[-1].weight)
    return prior


def knowing_dcgan(**ages):
    return DCGAN(
        DCGANConfig(
            grid=4,
            n_codes=16,
            code_dim=4,
            n_positions=3,
            channels=8,
            noise_dim=4,
            start="blank",
            **ages,
        )
    )


@pytest.mark.parametrize("made", [knowing_pixelcnn, knowing_dcgan])
def test_ages_reach_the_prior_that_knows_them(made):
    torch.manual_seed(0)
    prior = made(age_mean=50.0, age_std=5.0)
    sampler, same = BrainSampler(make_vqvae(), prior), np.ones(4, int)
    maps = sampler.sample(same, [1] * 4, ages=np.array([20.0, 80.0, 20.0, np.nan])).indices
    assert (
        sampler.knows_age
        and np.array_equal(maps[0], maps[2])
        and not np.array_equal(maps[0], maps[1])
    )
    assert np.array_equal(maps[3], sampler.sample(same[:1], [1]).indices[0])


@pytest.mark.parametrize("kind", ["pixelcnn", "dcgan"])
def test_ages_are_refused_by_priors_that_do_not_know_them(kind):
    sampler = BrainSampler(make_vqvae(), make_prior(kind))
    assert not sampler.knows_age
    with pytest.raises(ValueError, match="trained without ages"):
        sampler.sample(POSITIONS, image_seeds(0, 5), ages=np.full(5, 40.0))


# ---------------------------------------------------------------- files


@pytest.mark.parametrize("prior", ["pixelcnn", "dcgan"])
def test_models_of_a_run_are_loaded(tmp_path, prior):
    sampler = load_sampler(save_run(tmp_path), prior, CPU)
    expected = BrainSampler(make_vqvae(), make_prior(prior)).sample(POSITIONS, image_seeds(0, 5))
    assert np.array_equal(sampler.sample(POSITIONS, image_seeds(0, 5)).images, expected.images)


def test_unknown_prior(tmp_path):
    with pytest.raises(ValueError, match="unknown prior 'gpt': choose one of pixelcnn, dcgan"):
        load_sampler(save_run(tmp_path), "gpt", CPU)


@pytest.mark.parametrize("prior", ["pixelcnn", "dcgan"])
def test_prior_trained_on_another_vqvae_is_refused(tmp_path, prior):
    run = save_run(tmp_path, trained_on=weights_digest(make_vqvae(1)))
    with pytest.raises(
        CheckpointError, match=rf"{prior}.safetensors was trained on .* another VQ-VAE"
    ):
        load_sampler(run, prior, CPU)


def test_prior_that_does_not_say_what_it_was_trained_on_is_refused(tmp_path):
    run = save_run(tmp_path, names=("vqvae",))
    save_model(run.checkpoint("pixelcnn"), make_prior("pixelcnn"))
    with pytest.raises(CheckpointError, match="another VQ-VAE"):
        load_sampler(run, "pixelcnn", CPU)


def test_missing_model(tmp_path):
    with pytest.raises(CheckpointError, match="no checkpoint .*pixelcnn.safetensors"):
        load_sampler(save_run(tmp_path, names=("vqvae",)), "pixelcnn", CPU)


def test_whole_run_is_taken_as_it_is(tmp_path, capsys):
    run = save_run(tmp_path)
    assert run_or_shipped(run) == run
    assert capsys.readouterr().out == ""


def test_shipped_models_stand_in_and_say_so(tmp_path, monkeypatch, capsys):
    spare = save_run(tmp_path / "spare")
    monkeypatch.setattr(sampling, "shipped", lambda: spare)
    run = save_run(tmp_path / "half", names=("vqvae", "dcgan"))
    assert run_or_shipped(run) == spare
    assert "half has no pixelcnn yet: using the shipped models" in capsys.readouterr().out


def test_no_models_at_all(tmp_path, monkeypatch):
    monkeypatch.setattr(sampling, "shipped", lambda: RunFolder(tmp_path / "none"))
    with pytest.raises(
        CheckpointError, match="has no vqvae, pixelcnn, dcgan: run notebooks 02 to 05"
    ):
        run_or_shipped(RunFolder(tmp_path / "empty"))


@pytest.mark.parametrize("kind", list(sampling.PRIORS))
def test_both_priors_fulfil_the_interface(kind):
    prior = make_prior(kind)
    assert isinstance(prior, Prior)
    assert prior.supports_completion == hasattr(prior, "complete")
    ends, noise = (11, 12), prior.noise([11, 12])
    path = prior.noise_path(ends, 3)
    assert path.shape == (3, *noise.shape[1:])
    torch.testing.assert_close(path[[0, -1]], noise, atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_settled_maps_are_the_codes_of_their_decoded_slices():
    vqvae, plain = make_vqvae(), make_prior("dcgan")
    config = dataclasses.replace(plain.config, settled=True)
    settled = DCGAN(config)
    settled.load_state_dict(plain.state_dict())
    seeds = image_seeds(0, len(POSITIONS))
    raw = BrainSampler(vqvae, plain).draw(POSITIONS, seeds)
    found = BrainSampler(vqvae, settled).draw(POSITIONS, seeds)
    expected = vqvae.encode_indices(vqvae.decode_indices(torch.from_numpy(raw)))
    assert np.array_equal(found, expected.numpy())
    assert not np.array_equal(found, raw)
    walked = BrainSampler(vqvae, settled).walk(1, (0, 1), 3)
    ends = BrainSampler(vqvae, settled).draw(np.array([1, 1]), [0, 1])
    assert np.array_equal(walked[[0, -1]], ends)
