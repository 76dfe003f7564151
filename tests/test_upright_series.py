"""The whole series on slices that lie in other ways: the same metrics, and no drawn slice faces the
other way.
"""

import numpy as np
import pytest
import torch
from command_line import oasis

from oasis_utils.data.dataset import open_cache
from oasis_utils.data.sample_brains import write_sample_brains
from oasis_utils.models.checkpoints import load_model
from oasis_utils.models.codes import encode_images
from oasis_utils.models.pixelcnn import PixelCNN
from oasis_utils.models.samples import Samples
from oasis_utils.models.vqvae import VQVAE
from oasis_utils.runtime import RunFolder, read_json
from oasis_utils.runtime.symmetry import Symmetry

CASES = {  # name: how sample brains are written, and how they are prepared
    "mirrored": (dict(orient="rot90,flip"), "auto"),
    "forehead right, kept": (dict(orient="rot270"), "as-is"),
    "heads, forehead right": (dict(orient="rot270", whole_head=True), "auto"),
}
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=CASES, ids=[name.replace(" ", "_") for name in CASES])
def case(request, tmp_path_factory):
    """(name, run folder) of the series in the smoke profile on sample brains that lie in another
    way.
    """
    written, orient = CASES[request.param]
    folder = tmp_path_factory.mktemp("lying")
    source = write_sample_brains(folder, 2, 2, 2, workers=1, **written)
    for command in (
        ["prepare", source, "--out", folder / "prepared", "--size", 64, "--orient", orient],
        ["run", "--profile", "smoke", "--data", folder / "prepared", "--out", folder / "run"],
    ):
        done = oasis(*command)
        assert done.returncode == 0, done.stderr
    return request.param, RunFolder(folder / "run")


def likeness(images, means):
    """Correlation of each slice with a mean slice."""
    a, b = (
        x.reshape(len(x), -1) - x.reshape(len(x), -1).mean(1, keepdims=True)
        for x in (images, means)
    )
    return (a * b).sum(1) / np.sqrt((a * a).sum(1) * (b * b).sum(1)).clip(min=1e-9)


def wrong_way(dataset, images):
    """Mirrored across the axis that is not the mid-line."""
    return Symmetry({-1: -2, -2: -1}[dataset.symmetry.axis]).mirror(images)


def facing(images, positions, dataset):
    """Share of slices that are more like the training mean of their position than like that mean
    turned back to front; the turn that the mid-line does not allow.
    """
    train = dataset.split("train")
    means = np.stack(
        [train.images[train.positions == p].mean(0) for p in range(dataset.n_positions)]
    )[positions]
    images = images.astype(float)
    return float((likeness(images, means) > likeness(images, wrong_way(dataset, means))).mean())


def test_no_drawn_slice_faces_another_way_than_its_training_slices(case):
    """Of the DCGAN; the small PixelCNN of this profile does not draw brains yet."""
    dataset = open_cache(case[1].data)
    real, drawn = dataset.split("test"), Samples.load(case[1].samples("dcgan"))
    assert facing(real.images, real.positions, dataset) == 1
    assert facing(drawn.images, drawn.positions, dataset) == 1


def test_the_likelihood_knows_which_way_slices_face(case):
    """Turned back to front, most test slices are less likely to the PixelCNN, and by more than if
    mirrored. Trained on slices that are mirrored along the wrong axis, it would find either as
    likely as the other.
    """
    run = case[1]
    dataset = open_cache(run.data)
    vqvae, _ = load_model(run.checkpoint("vqvae"), VQVAE)
    prior, _ = load_model(run.checkpoint("pixelcnn"), PixelCNN)
    real = dataset.split("test")

    def nats(images):
        maps = encode_images(vqvae, np.ascontiguousarray(images), torch.device("cpu")).astype(
            np.int64
        )
        return (
            prior.surprisal(torch.from_numpy(maps), torch.from_numpy(real.positions))
            .mean((1, 2))
            .numpy()
        )

    plain, mirrored, turned = (
        nats(images)
        for images in (
            np.array(real.images),
            dataset.symmetry.mirror(np.array(real.images)),
            wrong_way(dataset, np.array(real.images)),
        )
    )
    assert (plain < turned).mean() > 0.7
    assert (turned - mirrored).mean() > 0


def test_mirrored_training_slices_of_the_wrong_axis_would_be_seen(case):
    """The measure itself: slices turned back to front fail it."""
    dataset = open_cache(case[1].data)
    real = dataset.split("test")
    assert facing(wrong_way(dataset, np.array(real.images)), real.positions, dataset) == 0


def test_metrics_agree_with_those_of_upright_slices(case, series):
    name, run = case
    if name.startswith("heads"):
        return  # other pictures, other metrics
    ours, upright = read_json(run.report), read_json(series[1].report)
    assert abs(ours["reconstruction"]["ssim"] - upright["reconstruction"]["ssim"]) < 0.05
    assert (
        abs(ours["reconstruction"]["brain_ssim"] - upright["reconstruction"]["brain_ssim"]) < 0.08
    )
    for prior, keys in {
        "pixelcnn": ("kid", "two_sample_auc"),
        "dcgan": ("kid", "kid_prior", "two_sample_auc"),
    }.items():
        for key in keys:
            (low, high), (other_low, other_high) = (
                report["priors"][prior][f"{key}_interval"] for report in (ours, upright)
            )
            # Where two sets are told apart without error, an interval is a point.
            assert low - 0.01 <= other_high and other_low - 0.01 <= high, (prior, key)
    # The PixelCNN of this profile draws no brains yet: how far they are from decoded ones depends
    # on the codes, which differ after so short a training. Beside the best baseline of the same
    # codes it is as good.
    relative = [
        report["pixelcnn"]["nats_per_code"] / report["pixelcnn"]["markov_cell_nats"]
        for report in (ours, upright)
    ]
    assert abs(relative[0] - relative[1]) < 0.1


def test_the_data_say_how_they_lie(case):
    name, run = case
    dataset = open_cache(run.data)
    expected = {
        "mirrored": ("rot90", -1, "brain"),
        "forehead right, kept": ("as-is", -2, "brain"),
        "heads, forehead right": ("rot90", -1, "head"),
    }
    assert (dataset.orient, dataset.symmetry.axis, dataset.content) == expected[name]
    assert dataset.description.startswith("synthetic sample brains")
