"""Named sets of configurations for a whole run: smoke, demo, large and full."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from oasis_utils.config.checks import require
from oasis_utils.config.data import SAMPLE_SLICES, CodesConfig, DataConfig
from oasis_utils.config.models import DCGANConfig, NeighbourConfig, PixelCNNConfig, VQVAEConfig
from oasis_utils.config.serialization import override
from oasis_utils.config.training import EvaluationConfig, TrainingConfig


@dataclass(frozen=True)
class Profile:
    """The configurations of one run of the series; see `PROFILES`.

    Attributes:
        name: smoke, demo, large or full.
        data: Size of the slices, splits of the sample brains.
        vqvae: Architecture and losses of the VQ-VAE.
        vqvae_training: Schedule of the VQ-VAE.
        codes: Augmentation of the index maps that the priors are trained on.
        pixelcnn: Architecture of the PixelCNN.
        pixelcnn_training: Schedule of the PixelCNN.
        neighbour: Architecture of the PixelCNN that is told the neighbouring slice.
        neighbour_training: Schedule of its training.
        dcgan: Architecture and losses of the DCGAN.
        dcgan_training: Schedule of the DCGAN.
        evaluation: Sample sizes of the evaluation.
    """

    name: str
    data: DataConfig = field(default_factory=DataConfig)
    vqvae: VQVAEConfig = field(default_factory=VQVAEConfig)
    vqvae_training: TrainingConfig = field(default_factory=TrainingConfig)
    codes: CodesConfig = field(default_factory=CodesConfig)
    pixelcnn: PixelCNNConfig = field(default_factory=PixelCNNConfig)
    pixelcnn_training: TrainingConfig = field(default_factory=TrainingConfig)
    neighbour: NeighbourConfig = field(default_factory=NeighbourConfig)
    neighbour_training: TrainingConfig = field(default_factory=TrainingConfig)
    dcgan: DCGANConfig = field(default_factory=DCGANConfig)
    dcgan_training: TrainingConfig = field(default_factory=TrainingConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)

    def __post_init__(self):
        grid, dim, codes = self.vqvae.grid, self.vqvae.code_dim, self.vqvae.n_codes
        require(
            self.data.image_size == self.vqvae.image_size, "data and vqvae disagree on image_size"
        )
        require(
            self.pixelcnn.grid == grid and self.dcgan.grid == grid,
            f"the priors' grid must be {grid}",
        )
        require(self.pixelcnn.n_codes == codes, f"pixelcnn.n_codes must be {codes}, as in vqvae")
        require(
            self.dcgan.n_codes == codes and self.dcgan.code_dim == dim,
            f"dcgan needs n_codes={codes} and code_dim={dim}, as in vqvae",
        )

    def schedule(self, model: str, samples: int, **changes: Any) -> TrainingConfig:
        """The schedule of a model on data of any size.

        Fewer samples than the sample brains of the profile get more epochs, and validations as many
        epochs apart, so that the training has about as many steps and validations; more samples get
        the epochs of the profile.

        Args:
            model: vqvae, pixelcnn, neighbour or dcgan.
            samples: Training slices, or for a prior the training maps, which are slices times
                `codes.variants`.
            changes: New values by field name; None keeps that of the profile. Another batch size
                keeps the number of samples that are seen, not of steps.

        Returns:
            The schedule with the changes; its epochs are those given, if any.
        """
        planned = self.data.train_subjects * SAMPLE_SLICES
        if model != "vqvae":
            planned *= self.codes.variants
        schedule = override(getattr(self, f"{model}_training"), **changes)
        batches, usual = (max(n // schedule.batch_size, 1) for n in (samples, planned))
        stretch = max(usual / batches, 1)
        return override(
            schedule,
            epochs=changes.get("epochs") or round(schedule.epochs * stretch),
            validate_every=schedule.validate_every * int(stretch),
        )


def _schedule(epochs: int, batch_size: int, learning_rate: float, **fields) -> TrainingConfig:
    return TrainingConfig(
        epochs=epochs, batch_size=batch_size, learning_rate=learning_rate, **fields
    )


def _gan_schedule(epochs: int, batch_size: int, learning_rate: float, **fields) -> TrainingConfig:
    """A schedule without the first moment of Adam, as R3GAN trains."""
    return _schedule(epochs, batch_size, learning_rate, betas=(0.0, 0.99), **fields)


def _profile(
    name: str,
    size: int,
    downsampling: int,
    n_codes: int,
    code_dim: int,
    *,
    data: dict[str, Any],
    vqvae: dict[str, Any],
    pixelcnn: dict[str, Any],
    dcgan: dict[str, Any],
    **parts: Any,
) -> Profile:
    """A profile whose parts agree on sizes; the dictionaries add further fields."""
    grid = size // downsampling
    return Profile(
        name=name,
        data=DataConfig(image_size=size, **data),
        vqvae=VQVAEConfig(
            image_size=size,
            downsampling=downsampling,
            n_codes=n_codes,
            code_dim=code_dim,
            cosine=True,
            ssim_weight=1.0,
            **vqvae,
        ),
        pixelcnn=PixelCNNConfig(
            grid=grid, n_codes=n_codes, code_dim=code_dim, start="codebook", **pixelcnn
        ),
        neighbour=NeighbourConfig(
            grid=grid, n_codes=n_codes, code_dim=code_dim, start="codebook", **pixelcnn
        ),
        dcgan=DCGANConfig(
            grid=grid,
            n_codes=n_codes,
            code_dim=code_dim,
            spatial_noise=2,
            per_position=True,
            settled=True,
            **dcgan,
        ),
        **parts,
    )


_SMOKE = _profile(
    "smoke",
    size=64,
    downsampling=4,
    n_codes=64,
    code_dim=8,
    data=dict(train_subjects=2, validate_subjects=2, test_subjects=2),
    vqvae=dict(channels=32, residual_blocks=1, codebook_decay=0.97),
    vqvae_training=_schedule(16, 8, 2e-3, muon_rate=0.01, warmup_steps=5, validate_every=4),
    codes=CodesConfig(variants=2, max_shift=1),
    pixelcnn=dict(channels=24, blocks=3, hidden=32, layout=8),
    pixelcnn_training=_schedule(
        6, 8, 3e-3, muon_rate=0.02, warmup_steps=5, patience=3, validate_every_steps=16
    ),
    neighbour_training=_schedule(
        3, 8, 3e-3, muon_rate=0.015, warmup_steps=5, patience=3, validate_every_steps=16
    ),
    dcgan=dict(channels=16, noise_dim=16),
    dcgan_training=_gan_schedule(
        5, 16, 1e-3, warmup_steps=5, ema_decay=0.9, validate_every_steps=4
    ),
    evaluation=EvaluationConfig(n_images=64, bootstrap=50),
)

# what demo and large have in common: the priors of maps of 32 x 32 cells, sized for a CPU
_ON_A_CPU: dict[str, Any] = dict(
    pixelcnn=dict(blocks=6, first_kernel=5, dropout=0.0, layout=32),  # too few epochs to overfit
    dcgan=dict(channels=32, noise_dim=128, gamma=2.0),
    evaluation=EvaluationConfig(n_images=512),
)


def _pixelcnn_on_a_cpu(
    epochs: int,
    ema_decay: float,
    validate_every_steps: int,
    learning_rate: float = 1e-2,
    muon_rate: float = 0.02,
) -> TrainingConfig:
    return _schedule(
        epochs,
        8,
        learning_rate,
        muon_rate=muon_rate,
        weight_decay=0.01,
        patience=4,
        ema_decay=ema_decay,
        validate_every_steps=validate_every_steps,
    )


_DEMO = _profile(
    "demo",
    size=128,
    downsampling=4,
    n_codes=256,
    code_dim=8,
    # about as many people to train on as OASIS-1 gives; so many to test on that intervals of
    # notebook 08 are narrow
    data=dict(train_subjects=256, validate_subjects=32, test_subjects=128),
    vqvae=dict(channels=64, codebook_decay=0.99),
    vqvae_training=_schedule(4, 8, 2e-3, muon_rate=0.01, validate_every_steps=256),
    pixelcnn_training=_pixelcnn_on_a_cpu(1, ema_decay=0.995, validate_every_steps=256),
    neighbour_training=_pixelcnn_on_a_cpu(1, 0.995, 256, learning_rate=3e-3, muon_rate=0.015),
    # with 4e-4, as `large`, stripes appear in the second half
    dcgan_training=_gan_schedule(1, 32, 2e-4, ema_decay=0.99, validate_every_steps=64),
    codes=CodesConfig(variants=2),
    **_ON_A_CPU,
)

_LARGE = _profile(
    "large",
    size=256,
    downsampling=8,
    n_codes=256,
    code_dim=8,
    data=dict(train_subjects=256, validate_subjects=32, test_subjects=128),
    vqvae=dict(channels=96, codebook_decay=0.99),
    vqvae_training=_schedule(12, 8, 2e-3, muon_rate=0.01),
    pixelcnn_training=_pixelcnn_on_a_cpu(1, ema_decay=0.998, validate_every_steps=512),
    neighbour_training=_pixelcnn_on_a_cpu(1, 0.998, 512, learning_rate=3e-3, muon_rate=0.015),
    dcgan_training=_gan_schedule(2, 32, 4e-4, ema_decay=0.99, validate_every_steps=128),
    codes=CodesConfig(variants=4),
    **_ON_A_CPU,
)

_FULL = _profile(
    "full",
    size=256,
    downsampling=8,
    n_codes=512,
    code_dim=8,
    data=dict(train_subjects=302, validate_subjects=35, test_subjects=17),
    vqvae=dict(channels=192, residual_blocks=3, codebook_decay=0.98),
    vqvae_training=_schedule(30, 64, 1e-3, warmup_steps=200),
    pixelcnn=dict(channels=128, blocks=12, hidden=256, dropout=0.2, layout=32),
    pixelcnn_training=_schedule(
        8,
        64,
        1e-3,
        weight_decay=0.01,
        patience=6,
        ema_decay=0.999,
        warmup_steps=200,
        validate_every_steps=512,
    ),
    neighbour_training=_schedule(
        2,
        64,
        1e-3,
        weight_decay=0.01,
        patience=6,
        ema_decay=0.999,
        warmup_steps=200,
        validate_every_steps=512,
    ),
    dcgan=dict(channels=96, noise_dim=256, gamma=30.0),
    dcgan_training=_gan_schedule(
        6, 128, 2e-4, ema_decay=0.999, warmup_steps=200, validate_every_steps=256
    ),
    evaluation=EvaluationConfig(n_images=512),
)

PROFILES = {profile.name: profile for profile in (_SMOKE, _DEMO, _LARGE, _FULL)}


def load_profile(name: str) -> Profile:
    """The profile of that name.

    Args:
        name: smoke, demo, large or full.

    Returns:
        The entry of `PROFILES`; it is frozen, see `override` for a changed copy of a part.

    Raises:
        ValueError: The name is unknown.
    """
    if name not in PROFILES:
        raise ValueError(f"unknown profile {name!r}: choose one of {', '.join(PROFILES)}")
    return PROFILES[name]
