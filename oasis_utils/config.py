"""Where every number lives: frozen configurations and the named profiles smoke, demo and full."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, get_type_hints

BRAIN_LEVEL = 0.03  # grey level above which a pixel counts as brain in a skull-stripped slice
SPLITS = ("train", "validate", "test")
VQVAE_CHOICES = {
    "pixel_loss": ("l1", "mse"),
    "codebook": ("ema", "gradient"),
    "gradient": ("straight-through", "rotation"),
}


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


def _within(config: Any, low: int | float, high: int | float, *names: str) -> None:
    """Upper ends are far beyond use: they keep a damaged file from claiming the memory of the
    machine.
    """
    for name in names:
        value = getattr(config, name)
        _require(low <= value <= high, f"{name} must be in [{low}, {high}], not {value}")


@dataclass(frozen=True)
class DataConfig:
    """What the models see: slices of `image_size`² pixels, cut to the field of view that holds the
    brains.
    """

    image_size: int = 128  # pixels, height = width, after crop and resize; a multiple of 16
    fit_crop: bool = True  # cut all slices to one square window around the training brains
    crop_margin: float = 0.02  # border kept around that window, as a fraction of its side
    train_subjects: int = 64  # sample brains to make when no data are given
    validate_subjects: int = 8
    test_subjects: int = 8

    def __post_init__(self):
        _require(
            self.image_size >= 32 and self.image_size % 16 == 0,
            f"image_size must be a multiple of 16 and at least 32, not {self.image_size}",
        )
        _within(self, 32, 4096, "image_size")
        _within(self, 1, 100_000, "train_subjects", "validate_subjects", "test_subjects")
        _require(
            0 <= self.crop_margin < 0.5,
            f"crop_margin is a fraction in [0, 0.5), not {self.crop_margin}",
        )


@dataclass(frozen=True)
class VQVAEConfig:
    """VQ-VAE (van den Oord 2017). The textbook's own is codebook="gradient", kmeans=False,
    revive_below=0, "mse".
    """

    image_size: int = 128  # pixels, height = width
    downsampling: int = 8  # pixels per code along each axis: 4, 8 or 16
    channels: int = 96  # feature maps at the code grid
    residual_blocks: int = 2  # at the code grid, in the encoder and again in the decoder
    n_codes: int = 256  # K, size of the codebook
    code_dim: int = 16  # D, dimensions of a code
    cosine: bool = False  # compare directions only: latents and codes live on the unit sphere
    commitment: float = 0.25  # beta, weight of the commitment loss (eq. 3)
    pixel_loss: str = "l1"  # reconstruction loss of single pixels: l1 or mse
    ssim_weight: float = 0.3  # weight of 1 - SSIM beside it
    codebook: str = "ema"  # how codes learn: ema (appendix A.1) or gradient (second term of eq. 3)
    codebook_decay: float = 0.99  # gamma of the moving averages (appendix A.1); 0 keeps no memory
    kmeans: bool = True  # begin at the k-means centres of the first batch
    revive_below: float = (
        0.03  # a code used less than this fraction of the mean use is dead; 0: never revive
    )
    # how it passes the arg min: straight-through or rotation (arXiv 2410.06424)
    gradient: str = "straight-through"
    adversarial_weight: float = (
        0.0  # weight of a patch discriminator's opinion in the loss; 0: none
    )
    adversarial_start: int = 1000  # steps after which the decoder listens to it

    def __post_init__(self):
        _require(
            self.downsampling in (4, 8, 16),
            f"downsampling must be 4, 8 or 16, not {self.downsampling}",
        )
        _require(
            self.image_size % self.downsampling == 0,
            f"image_size {self.image_size} is not a multiple of downsampling {self.downsampling}",
        )
        _require(self.n_codes >= 2, f"n_codes must be at least 2, not {self.n_codes}")
        _within(self, 2, 65_536, "n_codes")  # index maps are stored as uint16
        _within(self, 32, 4096, "image_size")
        _within(self, 1, 4096, "channels", "code_dim")
        _within(self, 0, 64, "residual_blocks")
        _within(self, 0, 1000, "commitment", "ssim_weight", "adversarial_weight")
        _within(self, 0, 1e9, "adversarial_start")
        _within(self, 0, 1, "revive_below")
        _require(
            0 <= self.codebook_decay < 1,
            f"codebook_decay must be in [0, 1), not {self.codebook_decay}",
        )
        for name, known in VQVAE_CHOICES.items():
            value = getattr(self, name)
            _require(value in known, f"{name} must be {' or '.join(known)}, not {value}")
        _require(
            not (self.cosine and self.codebook == "gradient"),
            "cosine codes stay on their sphere by moving averages only: use codebook=ema, or"
            " cosine=False",
        )

    @property
    def grid(self) -> int:
        """Rows = columns of an index map."""
        return self.image_size // self.downsampling


@dataclass(frozen=True)
class PixelCNNConfig:
    """Gated PixelCNN (van den Oord 2016) over index maps, told the slice position and, where known,
    the age.
    """

    grid: int = 16  # rows = columns of an index map
    n_codes: int = 256  # K
    n_positions: int = 32  # slice positions it can be asked for
    channels: int = 64  # feature maps of either stack
    blocks: int = 8  # gated blocks; the first one is masked (type A)
    first_kernel: int = 7  # width of the first block's kernels, odd
    kernel: int = 3  # width of the other kernels, odd
    hidden: int = 128  # feature maps of the output head
    dropout: float = 0.1  # on the gates' output and before the last layer, probability in [0, 1)
    age_mean: float = 0.0  # years, of the training subjects
    age_std: float = (
        0.0  # years, their spread; 0: the data have no ages and the model is not told any
    )
    age_features: int = 16  # width of the age's embedding
    age_dropout: float = (
        0.15  # share of training maps whose age is hidden, so that it need not be known
    )

    def __post_init__(self):
        _require(self.blocks >= 1, f"blocks must be at least 1, not {self.blocks}")
        _within(self, 1, 1024, "grid", "blocks")
        _within(self, 2, 65_536, "n_codes")
        _within(self, 1, 10_000, "n_positions")
        _within(self, 1, 4096, "channels", "hidden")
        _within(self, 1, 63, "first_kernel", "kernel")
        _require(self.age_std >= 0, f"age_std is a spread in years, 0 or more, not {self.age_std}")
        _require(
            0 <= self.age_dropout < 1, f"age_dropout must be in [0, 1), not {self.age_dropout}"
        )
        _require(
            self.first_kernel % 2 == 1 and self.kernel % 2 == 1,
            "kernels must be odd, such as 7 and 3",
        )
        _require(0 <= self.dropout < 1, f"dropout must be in [0, 1), not {self.dropout}")

    @property
    def knows_age(self) -> bool:
        return self.age_std > 0


@dataclass(frozen=True)
class DCGANConfig:
    """DCGAN (Radford 2015) that draws maps of code vectors; relativistic loss with R1 and R2
    (R3GAN, 2501.05441).

    space="index" with loss="bce" is the historical way, kept to be compared with: a grey picture of
    index numbers.
    """

    grid: int = 16  # rows = columns of an index map, a multiple of 4
    n_codes: int = 256  # K
    code_dim: int = 16  # D, dimensions of a code
    n_positions: int = 32  # slice positions it can be asked for
    noise_dim: int = 64  # z; also the number of directions of the linear start
    texture: int = 0  # further maps of noise, one number for each cell, for the details; 0: none
    channels: int = 64  # feature maps at the full grid; doubled at each halving
    space: str = (
        "embedding"  # what is drawn: "embedding", the codes' vectors, or "index", their numbers
    )
    # "linear": from a linear model of the training maps, or "blank", as always with "index"
    start: str = "linear"
    # "relativistic" with R1 and R2, "hinge" with spectral norms, or classical "bce"
    loss: str = "relativistic"
    gamma: float = 10.0  # weight of the gradient penalties R1 and R2 of the relativistic loss
    penalty_share: float = 0.25  # part of each batch on which these penalties are taken, in (0, 1]
    commitment: float = 0.25  # pulls drawn vectors to their nearest code
    age_mean: float = 0.0  # years, of the training subjects
    age_std: float = (
        0.0  # years, their spread; 0: the data have no ages and the model is not told any
    )

    def __post_init__(self):
        _require(self.age_std >= 0, f"age_std is a spread in years, 0 or more, not {self.age_std}")
        _require(self.grid % 4 == 0, f"grid must be a multiple of 4, not {self.grid}")
        _within(self, 4, 1024, "grid")
        _within(self, 2, 65_536, "n_codes")
        _within(self, 1, 10_000, "n_positions")
        _within(self, 1, 4096, "code_dim", "noise_dim", "channels")
        _within(self, 0, 64, "texture")
        _within(self, 0, 1e6, "gamma", "commitment")
        _require(
            0 < self.penalty_share <= 1,
            f"penalty_share must be in (0, 1], not {self.penalty_share}",
        )
        _require(
            self.space in ("embedding", "index"),
            f"space must be embedding or index, not {self.space!r}",
        )
        _require(
            self.start in ("linear", "blank"), f"start must be linear or blank, not {self.start!r}"
        )
        _require(
            self.loss in ("relativistic", "hinge", "bce"),
            f"loss must be relativistic, hinge or bce, not {self.loss!r}",
        )

    @property
    def knows_age(self) -> bool:
        return self.age_std > 0

    @property
    def linear(self) -> bool:
        """Whether there is a linear model: index numbers have no mean that would mean anything."""
        return self.start == "linear" and self.space == "embedding"

    @property
    def half_noise(self) -> int:
        """Numbers in the noise maps of half the grid."""
        return self.texture * (self.grid // 2) ** 2

    @property
    def full_noise(self) -> int:
        """Numbers in the noise maps of the full grid."""
        return self.texture * self.grid**2

    @property
    def noise_size(self) -> int:
        """Numbers that decide one drawn map."""
        return self.noise_dim + self.half_noise + self.full_noise

    @property
    def canvas_dim(self) -> int:
        """Channels of a drawn map."""
        return 1 if self.space == "index" else self.code_dim


@dataclass(frozen=True)
class TrainingConfig:
    """How long and how fast; the loop in training.py reads nothing else."""

    epochs: int = 20  # passes over the training split
    batch_size: int = 32
    learning_rate: float = 1e-3  # peak of the schedule
    final_rate: float = 0.02  # last learning rate, as a fraction of the peak (cosine in between)
    warmup_steps: int = 50
    betas: Sequence[float] = (0.9, 0.99)  # Adam
    weight_decay: float = 0.0  # decoupled (AdamW)
    clip_norm: float = 0.0  # largest gradient norm; 0: no clipping
    ema_decay: float = 0.0  # average of the weights used for validation and sampling; 0: none
    patience: int = 0  # stop after so many validations without a better figure; 0: never
    validate_every: int = 1  # epochs between validations
    validate_every_steps: int = (
        0  # also validate at step 0 and after each so many steps; 0: at the ends of epochs only
    )

    def __post_init__(self):
        object.__setattr__(self, "betas", tuple(self.betas))
        _require(self.epochs >= 1, f"epochs must be at least 1, not {self.epochs}")
        _require(self.batch_size >= 1, f"batch_size must be at least 1, not {self.batch_size}")
        _require(
            self.learning_rate > 0, f"learning_rate must be positive, not {self.learning_rate}"
        )
        _within(self, 0, 1, "final_rate", "weight_decay")
        _within(self, 0, 1e9, "warmup_steps", "clip_norm", "patience", "validate_every_steps")
        _within(self, 1, 1e9, "validate_every")
        _require(
            len(self.betas) == 2 and all(0 <= beta < 1 for beta in self.betas),
            f"betas are two numbers in [0, 1), not {self.betas}",
        )
        _require(0 <= self.ema_decay < 1, f"ema_decay must be in [0, 1), not {self.ema_decay}")


@dataclass(frozen=True)
class CodesConfig:
    """How the training split is multiplied before it is encoded for the priors."""

    variants: int = (
        6  # encodings of each training slice: plain, mirrored, then small random shifts of either
    )
    max_shift: int = 3  # pixels, largest shift along each axis

    def __post_init__(self):
        _within(self, 1, 1000, "variants")
        _within(self, 0, 1000, "max_shift")


@dataclass(frozen=True)
class EvaluationConfig:
    """Sample sizes of the judgement: intervals depend on them, so they are stated."""

    n_images: int = 256  # generated images of each prior, and real ones compared with them
    temperature: float = 1.0  # of the PixelCNN's samples that are judged
    top_p: float = 0.95  # nucleus of the PixelCNN's samples that are judged
    bootstrap: int = 200  # resamples of subjects behind every interval


@dataclass(frozen=True)
class Profile:
    """One dial for the whole series; see `PROFILES`."""

    name: str
    data: DataConfig = field(default_factory=DataConfig)
    vqvae: VQVAEConfig = field(default_factory=VQVAEConfig)
    vqvae_training: TrainingConfig = field(default_factory=TrainingConfig)
    codes: CodesConfig = field(default_factory=CodesConfig)
    pixelcnn: PixelCNNConfig = field(default_factory=PixelCNNConfig)
    pixelcnn_training: TrainingConfig = field(default_factory=TrainingConfig)
    dcgan: DCGANConfig = field(default_factory=DCGANConfig)
    dcgan_training: TrainingConfig = field(default_factory=TrainingConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)

    def __post_init__(self):
        grid, dim, codes = self.vqvae.grid, self.vqvae.code_dim, self.vqvae.n_codes
        _require(
            self.data.image_size == self.vqvae.image_size, "data and vqvae disagree on image_size"
        )
        _require(
            self.pixelcnn.grid == grid and self.dcgan.grid == grid,
            f"the priors' grid must be {grid}",
        )
        _require(self.pixelcnn.n_codes == codes, f"pixelcnn.n_codes must be {codes}, as in vqvae")
        _require(
            self.dcgan.n_codes == codes and self.dcgan.code_dim == dim,
            f"dcgan needs n_codes={codes} and code_dim={dim}, as in vqvae",
        )


def _profile(
    name: str,
    size: int,
    downsampling: int,
    n_codes: int,
    code_dim: int,
    *,
    data=None,
    vqvae=None,
    pixelcnn=None,
    dcgan=None,
    **parts,
) -> Profile:
    """A profile whose parts agree on sizes; the dictionaries add to them."""
    grid = size // downsampling
    return Profile(
        name=name,
        data=DataConfig(image_size=size, **(data or {})),
        vqvae=VQVAEConfig(
            image_size=size,
            downsampling=downsampling,
            n_codes=n_codes,
            code_dim=code_dim,
            **(vqvae or {}),
        ),
        pixelcnn=PixelCNNConfig(grid=grid, n_codes=n_codes, **(pixelcnn or {})),
        dcgan=DCGANConfig(grid=grid, n_codes=n_codes, code_dim=code_dim, **(dcgan or {})),
        **parts,
    )


PROFILES = {
    "smoke": _profile(
        "smoke",
        64,
        4,
        64,
        8,
        data=dict(train_subjects=2, validate_subjects=2, test_subjects=2),
        vqvae=dict(
            channels=32, residual_blocks=1, cosine=True, codebook_decay=0.97, ssim_weight=1.0
        ),
        vqvae_training=TrainingConfig(
            epochs=16, batch_size=8, learning_rate=2e-3, warmup_steps=5, validate_every=4
        ),
        codes=CodesConfig(variants=2, max_shift=1),
        pixelcnn=dict(channels=24, blocks=3, hidden=32),
        pixelcnn_training=TrainingConfig(
            epochs=6,
            batch_size=8,
            learning_rate=3e-3,
            warmup_steps=5,
            patience=3,
            validate_every_steps=16,
        ),
        dcgan=dict(channels=16, noise_dim=16, texture=2),
        dcgan_training=TrainingConfig(
            epochs=5,
            batch_size=16,
            learning_rate=1e-3,
            warmup_steps=5,
            betas=(0.0, 0.99),
            ema_decay=0.9,
            validate_every_steps=4,
        ),
        evaluation=EvaluationConfig(n_images=64, bootstrap=50),
    ),
    "demo": _profile(
        "demo",
        128,
        8,
        256,
        8,
        data=dict(
            validate_subjects=32, test_subjects=128
        ),  # so many that intervals of notebook 07 are narrow
        vqvae=dict(channels=64, cosine=True, codebook_decay=0.97, ssim_weight=1.0),
        vqvae_training=TrainingConfig(epochs=14, batch_size=8, learning_rate=2e-3),
        codes=CodesConfig(variants=4),
        pixelcnn=dict(blocks=6, first_kernel=5, dropout=0.0),  # too few epochs to overfit
        pixelcnn_training=TrainingConfig(
            epochs=2,
            batch_size=8,
            learning_rate=3e-3,
            weight_decay=0.01,
            patience=4,
            ema_decay=0.995,
            validate_every_steps=256,
        ),
        dcgan=dict(channels=32, noise_dim=128, texture=2),
        dcgan_training=TrainingConfig(
            epochs=2,
            batch_size=32,
            learning_rate=4e-4,
            betas=(0.0, 0.99),
            ema_decay=0.99,
            validate_every_steps=64,
        ),
        evaluation=EvaluationConfig(n_images=512),
    ),
    "full": _profile(
        "full",
        256,
        8,
        512,
        8,
        data=dict(train_subjects=302, validate_subjects=35, test_subjects=17),
        vqvae=dict(
            channels=192, residual_blocks=3, cosine=True, codebook_decay=0.98, ssim_weight=1.0
        ),
        vqvae_training=TrainingConfig(
            epochs=30, batch_size=64, learning_rate=1e-3, warmup_steps=200
        ),
        pixelcnn=dict(channels=128, blocks=12, hidden=256, dropout=0.2),
        pixelcnn_training=TrainingConfig(
            epochs=8,
            batch_size=64,
            learning_rate=1e-3,
            weight_decay=0.01,
            patience=6,
            ema_decay=0.999,
            warmup_steps=200,
            validate_every_steps=512,
        ),
        dcgan=dict(channels=96, noise_dim=256, texture=2, gamma=30.0),
        dcgan_training=TrainingConfig(
            epochs=6,
            batch_size=128,
            learning_rate=2e-4,
            betas=(0.0, 0.99),
            ema_decay=0.999,
            warmup_steps=200,
            validate_every_steps=256,
        ),
        evaluation=EvaluationConfig(n_images=512),
    ),
}


def load_profile(name: str) -> Profile:
    """The profile of that name; ValueError names the known ones."""
    if name not in PROFILES:
        raise ValueError(f"unknown profile {name!r}: choose one of {', '.join(PROFILES)}")
    return PROFILES[name]


def override(config: Any, **changes: Any) -> Any:
    """A copy of a configuration with the changes that are not None, 0 or "" (a notebook's "as in
    the profile").
    """
    return dataclasses.replace(
        config, **{k: v for k, v in changes.items() if v not in (None, 0, "")}
    )


def to_dict(config: Any) -> dict[str, Any]:
    """A configuration as plain JSON types."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def from_dict(kind: type, values: dict[str, Any]) -> Any:
    """The inverse of `to_dict`. A field this version does not know is refused: it would silently
    change the model.
    """
    unknown = set(values) - {f.name for f in dataclasses.fields(kind)}
    if unknown:
        raise ValueError(
            f"{kind.__name__} has no field {', '.join(sorted(unknown))}: "
            "the file comes from another version of oasis_utils; train again or use that version"
        )
    hints = get_type_hints(kind)
    return kind(
        **{
            name: from_dict(hints[name], value) if dataclasses.is_dataclass(hints[name]) else value
            for name, value in values.items()
        }
    )


def digest(value: Any) -> str:
    """Twelve hexadecimal digits that identify a configuration or any JSON value."""
    if dataclasses.is_dataclass(value):
        value = to_dict(value)
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]
