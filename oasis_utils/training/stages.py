"""The trainings of the series: model, batches, schedule and pictures as notebooks 02, 04 and 05
make them, for a run folder that holds what they read.

The command `train` and a notebook so train the same: whichever comes second loads the model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, get_type_hints

import numpy as np
import torch

from oasis_utils.config import Profile, TrainingConfig, override
from oasis_utils.data.batches import Batches, TrainingBatches
from oasis_utils.data.dataset import Dataset, subsample
from oasis_utils.data.grey_levels import to_float, with_channel
from oasis_utils.data.shards_of_slices import training_batches
from oasis_utils.models.checkpoints import load_model
from oasis_utils.models.codes import CodeMaps, load_codes, to_uint8
from oasis_utils.models.dcgan import DCGAN
from oasis_utils.models.drawing import SamplingOptions
from oasis_utils.models.pixelcnn import PixelCNN
from oasis_utils.models.sampler import BrainSampler
from oasis_utils.models.samples import image_seeds, spread_positions
from oasis_utils.models.trainable import SizedBatches, Trainable
from oasis_utils.models.vqvae import VQVAE
from oasis_utils.runtime import RunFolder
from oasis_utils.training.history import Record, Snapshots
from oasis_utils.training.loop import fit

SCORED = 512  # most held-out slices or maps of a validation
MAPS_AT_ONCE = 64  # of a validation of the PixelCNN
# parameters of the notebooks, beside those of the schedule and those that all have
SCHEDULE = ("epochs", "batch_size", "learning_rate")
MODEL_PARAMETERS = {
    "vqvae": ("downsampling", "n_codes", "code_dim", "commitment", "gradient", "revive_below"),
    "dcgan": ("start", "loss", "gamma"),
    "pixelcnn": ("start", "blocks", "channels", "dropout", "layout"),
}


@dataclass(frozen=True)
class Inputs:
    """What a training reads.

    Attributes:
        settings: the profile.
        run: the run folder.
        device: where the model is placed.
        dataset: the prepared slices of the run.
        seed: of all that is drawn.
        changes: values of parameters of the notebook, by name; others are those of the profile.
    """

    settings: Profile
    run: RunFolder
    device: torch.device
    dataset: Dataset
    seed: int = 0
    changes: dict[str, Any] = field(default_factory=dict)

    def schedule(self, name: str, samples: int) -> TrainingConfig:
        """The schedule of a model on so many training slices or maps, with the changes."""
        return self.settings.schedule(name, samples, **self._changed(SCHEDULE))

    def config(self, name: str, **sizes: Any) -> Any:
        """The configuration of a model with sizes that depend on the data, and with the changes."""
        base = override(getattr(self.settings, name), **sizes)
        return override(base, **self._changed(MODEL_PARAMETERS[name]))

    def _changed(self, names: tuple[str, ...]) -> dict[str, Any]:
        return {name: self.changes[name] for name in names if name in self.changes}


@dataclass(frozen=True)
class Stage:
    """One training of the series, as `fit` takes it.

    Attributes:
        name: vqvae, dcgan or pixelcnn.
        model: untrained, on the device.
        train: batches of the training split.
        held_out: batches of the validation split.
        schedule: epochs, learning rate and so on.
        inputs: identities of what the batches come from.
        observers: callbacks of `fit` that keep pictures for the notebook.
    """

    name: str
    model: Trainable
    train: TrainingBatches
    held_out: SizedBatches
    schedule: TrainingConfig
    inputs: dict[str, str]
    observers: dict[str, Callable[..., None]]

    def fit(self, run: RunFolder, seed: int) -> tuple[Trainable, list[Record]]:
        """Load or train the model, see `fit`."""
        return fit(
            self.model,
            self.train,
            self.held_out,
            self.schedule,
            run,
            self.name,
            seed,
            self.inputs,
            **self.observers,
        )


def parameter_types(name: str) -> dict[str, type]:
    """The parameters that `Inputs.changes` may hold for a model, with their types."""
    config = {"vqvae": VQVAE.Config, "dcgan": DCGAN.Config, "pixelcnn": PixelCNN.Config}[name]
    of_model, of_schedule = get_type_hints(config), get_type_hints(TrainingConfig)
    return {key: of_model[key] for key in MODEL_PARAMETERS[name]} | {
        key: of_schedule[key] for key in SCHEDULE
    }


def require_inputs(name: str, run: RunFolder) -> None:
    """FileNotFoundError for a run folder without what a training reads; it names the notebook that
    writes it.
    """
    run.require(run.data / "manifest.json", "01_data_exploration")
    if name != "vqvae":
        run.require(run.checkpoint("vqvae"), "02_train_vqvae")
        run.require(run.codes, "03_codebook_analysis")


def build(name: str, given: Inputs) -> Stage:
    """The training of that name: vqvae, dcgan or pixelcnn.

    Raises:
        FileNotFoundError: the run folder lacks what the training reads.
    """
    require_inputs(name, given.run)
    return {"vqvae": _vqvae, "dcgan": _dcgan, "pixelcnn": _pixelcnn}[name](given)


def _vqvae(given: Inputs) -> Stage:
    """As in notebook 02."""
    dataset, device = given.dataset, given.device
    train, held_out = dataset.split("train"), dataset.split("validate")
    schedule = given.schedule("vqvae", len(train))
    tracked = (np.array([0.3, 0.8]) * len(held_out)).astype(int)
    tracked_images = to_float(with_channel(held_out.images[tracked])).to(device)
    snapshots = Snapshots(
        given.run.snapshots("vqvae"), lambda now: to_uint8(now.reconstruct(tracked_images)[:, 0])
    )
    scored = subsample(held_out, SCORED).to(device)
    return Stage(
        "vqvae",
        VQVAE(given.config("vqvae")).to(device),
        training_batches(dataset, device, schedule.batch_size, given.seed),
        Batches(scored, schedule.batch_size),
        schedule,
        {"data": dataset.identity},
        {"on_epoch": lambda now, record: snapshots.keep(now, record["steps"])},
    )


def _dcgan(given: Inputs) -> Stage:
    """As in notebook 04, the main model."""
    vqvae, maps = _read_codes(given)
    model = DCGAN(given.config("dcgan", **_sizes(given, vqvae, maps))).to(given.device)
    train = maps.to("train", given.device)
    uses = torch.bincount(train["indices"].flatten(), minlength=maps.n_codes)
    model.use_codebook(vqvae.quantizer.codebook, uses)
    model.use_maps(train["indices"], train["positions"], train["ages"], maps.n_plain)
    return _prior_stage("dcgan", given, model, (vqvae, maps), train, None)


def _pixelcnn(given: Inputs) -> Stage:
    """As in notebook 05."""
    vqvae, maps = _read_codes(given)
    model = PixelCNN(given.config("pixelcnn", **_sizes(given, vqvae, maps))).to(given.device).eval()
    train = maps.to("train", given.device)
    model.use_maps(
        vqvae.quantizer.codebook,
        train["indices"],
        train["positions"],
        train["ages"],
        maps.n_plain,
    )
    options = SamplingOptions(top_p=given.settings.evaluation.top_p)
    return _prior_stage("pixelcnn", given, model, (vqvae, maps), train, options)


def _read_codes(given: Inputs) -> tuple[VQVAE, CodeMaps]:
    vqvae, _ = load_model(given.run.checkpoint("vqvae"), VQVAE, given.device)
    return vqvae, load_codes(given.run.codes)


def _sizes(given: Inputs, vqvae: VQVAE, maps: CodeMaps) -> dict[str, Any]:
    """Sizes of a prior, and mean and spread of the ages."""
    return {
        "n_codes": maps.n_codes,
        "n_positions": given.dataset.n_positions,
        "grid": vqvae.config.grid,
        "code_dim": vqvae.config.code_dim,
        **maps.age_scale(),
    }


def _prior_stage(
    name: str,
    given: Inputs,
    model: DCGAN | PixelCNN,
    codes: tuple[VQVAE, CodeMaps],
    train: dict[str, torch.Tensor],
    options: SamplingOptions | None,
) -> Stage:
    """What the trainings of both priors have in common; `options` are those of their pictures."""
    (vqvae, maps), schedule = codes, given.schedule(name, len(train["indices"]))
    fixed, seeds = spread_positions(8, given.dataset.n_positions), image_seeds(given.seed, 8)
    snapshots = Snapshots(
        given.run.snapshots(name), lambda now: BrainSampler(vqvae, now).draw(fixed, seeds, options)
    )
    held_out = maps.some("validate", given.device, SCORED, given.seed)
    return Stage(
        name,
        model,
        Batches(train, schedule.batch_size, shuffle=True, seed=given.seed),
        Batches(held_out, MAPS_AT_ONCE if name == "pixelcnn" else schedule.batch_size),
        schedule,
        {"vqvae": maps.about["vqvae"], "codes": maps.identity},
        {"on_milestone": snapshots.keep},
    )
