"""Trained models change with the code: losses of ten steps are recorded, under the version of each
model's code.
"""

import math
import re

import golden
import pytest
import torch
import torch.nn.functional as F

from oasis_utils.metrics import image_quality as metrics
from oasis_utils.models import layout, quantizer
from oasis_utils.models import linear_maps as linear
from oasis_utils.models.dcgan import DCGAN
from oasis_utils.models.gated_network import GatedBlock
from oasis_utils.models.neighbour_pixelcnn import NeighbourNetwork, NeighbourPixelCNN
from oasis_utils.models.pixelcnn import PixelCNN
from oasis_utils.models.quantizer import VectorQuantizer
from oasis_utils.models.vqvae import VQVAE, ResidualBlock
from oasis_utils.training import muon
from oasis_utils.training import trainer as training

KINDS = [(kind, case) for kind, cases in golden.CASES.items() for case in cases]


def recorded(kind, case):
    return golden.read()[kind.__name__].get(str(kind.version), {}).get(case)


@pytest.mark.parametrize(
    ("kind", "case"), KINDS, ids=lambda x: x if isinstance(x, str) else x.__name__
)
def test_a_training_gives_the_recorded_losses(kind, case):
    name, known = kind.__name__, recorded(kind, case)
    assert known, (
        f"{name}, version {kind.version}, {case} is not recorded: run `python -m tests.golden`,"
        " commit both"
    )
    wrong = golden.differences(golden.losses(kind, case), known)
    assert not wrong, (
        f"{name} trains differently than before, so old weights must not pass for new ones: if that"
        f" is wanted, raise {name}.version to {kind.version + 1}, run `python -m tests.golden` and"
        " commit both together\n" + "\n".join(wrong[:5])
    )


def test_the_record_holds_each_model_at_its_version_and_nothing_else():
    assert {name: list(versions) for name, versions in golden.read().items()} == {
        kind.__name__: [str(kind.version)] for kind in golden.CASES
    }


# ---------------------------------------------------------------- a changed model or loss is seen


def double_commitment(patch):
    forward = VectorQuantizer.forward

    def changed(self, latents):
        found = forward(self, latents)
        return quantizer.Quantized(found.codes, found.indices, 1.01 * found.loss)

    patch.setattr(VectorQuantizer, "forward", changed)


def other_ssim_constant(patch):
    patch.setattr(metrics, "K1", 0.011)


def no_residual_relu(patch):
    patch.setattr(ResidualBlock, "forward", lambda self, x: x + self.layers[1:](x))


def fewer_rounds_of_kmeans(patch):
    kmeans = quantizer.kmeans
    patch.setattr(quantizer, "kmeans", lambda points, n: kmeans(points, n, rounds=3))


def shorter_new_lives(patch):
    revive = VectorQuantizer._revive
    patch.setattr(
        VectorQuantizer, "_revive", lambda self, flat, mean_use: revive(self, flat, 0.8 * mean_use)
    )


def no_second_term_of_the_loss(patch):
    patch.setattr(quantizer.F, "mse_loss", lambda a, b: 0.9 * (a - b).square().mean())


def no_rotation(patch):
    patch.setattr(quantizer, "rotate", quantizer.straight_through)


def weight_of_the_discriminator(patch):
    adversarial = VQVAE._adversarial

    def changed(self, output, loss):
        found = adversarial(self, output, loss)
        return found | {"loss": loss + 0.99 * (found["loss"] - loss)}

    patch.setattr(VQVAE, "_adversarial", changed)


def another_gate(patch):
    def gate(x):
        a, b = x.chunk(2, dim=1)
        return torch.tanh(a) * F.hardsigmoid(b)

    patch.setattr(GatedBlock, "gate", staticmethod(gate))


def no_bias_of_cells(patch):
    forward = GatedBlock.forward
    patch.setattr(
        GatedBlock,
        "forward",
        lambda self, v, h, condition, bias=0.0: forward(self, v, h, condition),
    )


def no_bias_in_a_layer(patch):
    start = PixelCNN.__init__

    def changed(self, config):
        start(self, config)
        self.blocks[1].output.register_parameter("bias", None)

    patch.setattr(PixelCNN, "__init__", changed)


def more_hidden_ages(patch):
    step = PixelCNN.step

    def changed(self, batch, phase):
        hidden = torch.arange(len(batch["ages"])) == 1
        return step(self, {**batch, "ages": torch.where(hidden, math.nan, batch["ages"])}, phase)

    patch.setattr(PixelCNN, "step", changed)


def louder_neighbours(patch):
    forward = NeighbourNetwork.forward

    def changed(self, neighbours):
        gates, before_head = forward(self, neighbours)
        return gates, 1.01 * before_head

    patch.setattr(NeighbourNetwork, "forward", changed)


def other_side(patch):
    forward = NeighbourNetwork.forward
    patch.setattr(
        NeighbourNetwork,
        "forward",
        lambda self, told: forward(self, told._replace(sides=1 - told.sides)),
    )


def another_penalty(patch):
    penalty = DCGAN.penalty
    patch.setattr(DCGAN, "penalty", lambda self, *args: 1.01 * penalty(self, *args))


def another_commitment_of_the_generator(patch):
    step = DCGAN.step

    def changed(self, batch, phase):
        found = step(self, batch, phase)
        return found | {"loss": found["loss"] + 0.01 * found.get("commitment", 0)}

    patch.setattr(DCGAN, "step", changed)


def no_regression_on_age(patch):
    fit = linear.LinearMaps.fit
    patch.setattr(
        linear.LinearMaps,
        "fit",
        lambda self, maps, positions, first=None, plain=None: fit(self, maps, positions),
    )


def stiffer_positions(patch):
    patch.setattr(linear, "PRIOR_MAPS", 40.0)


def longer_directions(patch):
    forward = linear.LinearMaps.forward
    patch.setattr(
        linear.LinearMaps,
        "forward",
        lambda self, noise, positions: forward(self, 1.01 * noise, positions),
    )


def another_learning_rate(patch):
    share = training.share_of_peak
    patch.setattr(training, "share_of_peak", lambda *args: 1.01 * share(*args))


def fewer_rounds_of_muon(patch):
    patch.setattr(muon, "ROUNDS", 4)


def louder_layouts(patch):
    drawn = torch.randn
    patch.setattr(torch, "randn", lambda *args, **options: 1.1 * drawn(*args, **options))


def layouts_of_no_residual(patch):
    fit = layout.Layout.fit

    def changed(self, *args):
        fit(self, *args)
        self.residual.fill_(1e-6)

    patch.setattr(layout.Layout, "fit", changed)


CHANGES = (
    [
        (VQVAE, "smoke", change)
        for change in (
            double_commitment,
            other_ssim_constant,
            no_residual_relu,
            fewer_rounds_of_kmeans,
            another_learning_rate,
        )
    ]
    + [
        (VQVAE, "gradient codebook, mse", no_second_term_of_the_loss),
        (VQVAE, "rotation, discriminator", no_rotation),
        (VQVAE, "fast averages, revival", shorter_new_lives),
        (VQVAE, "rotation, discriminator", weight_of_the_discriminator),
    ]
    + [
        (PixelCNN, "smoke", change)
        for change in (another_gate, no_bias_of_cells, no_bias_in_a_layer)
    ]
    + [(PixelCNN, "ages", more_hidden_ages)]
    + [(VQVAE, golden.MUON, fewer_rounds_of_muon), (PixelCNN, golden.MUON, fewer_rounds_of_muon)]
    + [
        (PixelCNN, "layouts", c)
        for c in (louder_layouts, layouts_of_no_residual, stiffer_positions)
    ]
    + [
        (NeighbourPixelCNN, "smoke", change)
        for change in (louder_neighbours, other_side, another_gate)
    ]
    + [(NeighbourPixelCNN, "layouts", louder_layouts)]
    + [(DCGAN, "per position", stiffer_positions)]
    + [
        (DCGAN, "ages", change)
        for change in (
            another_penalty,
            another_commitment_of_the_generator,
            no_regression_on_age,
            longer_directions,
        )
    ]
)

LATE = (weight_of_the_discriminator, shorter_new_lives)  # seen after some steps only


@pytest.mark.parametrize(
    ("kind", "case", "change"), CHANGES, ids=lambda x: getattr(x, "__name__", x)
)
def test_a_changed_model_or_loss_gives_other_losses(monkeypatch, kind, case, change):
    steps = golden.STEPS if change in LATE else 3
    change(monkeypatch)
    assert golden.differences(golden.losses(kind, case, steps), recorded(kind, case))


def test_a_change_must_come_with_a_version(monkeypatch, tmp_path):
    known = golden.read()
    monkeypatch.setattr(golden, "PATH", tmp_path / "golden.json")
    monkeypatch.setattr(golden, "CASES", {PixelCNN: {"smoke": golden.CASES[PixelCNN]["smoke"]}})
    monkeypatch.setattr(
        golden, "losses", lambda kind, case: known["PixelCNN"][str(PixelCNN.version)][case]
    )
    golden.record()
    changed = {"loss": [4.0] * golden.STEPS}
    monkeypatch.setattr(golden, "losses", lambda kind, case: changed)
    with pytest.raises(
        SystemExit,
        match=re.escape("PixelCNN (smoke): loss at step 0") + ".* raise PixelCNN.version",
    ):
        golden.record()
    monkeypatch.setattr(PixelCNN, "version", PixelCNN.version + 1)
    golden.record()
    assert golden.read() == {"PixelCNN": {str(PixelCNN.version): {"smoke": changed}}}
