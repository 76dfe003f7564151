"""Configurations of the three models: VQ-VAE, PixelCNN and DCGAN."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from oasis_utils.config.checks import require, within

VQVAE_CHOICES = {
    "pixel_loss": ("l1", "mse"),
    "codebook": ("ema", "gradient"),
    "gradient": ("straight-through", "rotation"),
}


@dataclass(frozen=True)
class VQVAEConfig:
    """VQ-VAE (van den Oord 2017).

    The published model has codebook="gradient", kmeans=False, revive_below=0, pixel_loss="mse".

    Attributes:
        image_size: Pixels, height = width; a multiple of `downsampling`.
        downsampling: Pixels per code along each axis: 4, 8 or 16.
        channels: Feature maps at the code grid.
        residual_blocks: At the code grid, in the encoder and again in the decoder.
        n_codes: K, size of the codebook.
        code_dim: D, dimensions of a code.
        cosine: Compare directions only: latents and codes have unit length.
        commitment: beta, weight of the commitment loss (eq. 3).
        pixel_loss: Reconstruction loss of single pixels: l1 or mse.
        ssim_weight: Weight of 1 - SSIM, added to the pixel loss.
        codebook: How codes learn: ema (appendix A.1) or gradient (second term of eq. 3).
        codebook_decay: Of the moving averages (gamma in appendix A.1), in [0, 1); 0: no memory.
        kmeans: Initialise the codes with the k-means centres of the first batch.
        revive_below: A code used less than this fraction of the mean use is replaced; 0: never.
        gradient: Gradient past the arg min: straight-through or rotation (arXiv 2410.06424).
        adversarial_weight: Weight of the adversarial loss of a patch discriminator; 0: none.
        adversarial_start: Steps after which the adversarial loss is added.

    Reference:
        van den Oord et al. 2017, "Neural Discrete Representation Learning", arXiv 1711.00937.
    """

    image_size: int = 128
    downsampling: int = 8
    channels: int = 96
    residual_blocks: int = 2
    n_codes: int = 256
    code_dim: int = 16
    cosine: bool = False
    commitment: float = 0.25
    pixel_loss: str = "l1"
    ssim_weight: float = 0.3
    codebook: str = "ema"
    codebook_decay: float = 0.99
    kmeans: bool = True
    revive_below: float = 0.03
    gradient: str = "straight-through"
    adversarial_weight: float = 0.0
    adversarial_start: int = 1000

    def __post_init__(self):
        require(
            self.downsampling in (4, 8, 16),
            f"downsampling must be 4, 8 or 16, not {self.downsampling}",
        )
        require(
            self.image_size % self.downsampling == 0,
            f"image_size {self.image_size} is not a multiple of downsampling {self.downsampling}",
        )
        require(self.n_codes >= 2, f"n_codes must be at least 2, not {self.n_codes}")
        within(self, 2, 65_536, "n_codes")  # index maps are stored as uint16
        within(self, 32, 4096, "image_size")
        within(self, 1, 4096, "channels", "code_dim")
        within(self, 0, 64, "residual_blocks")
        within(self, 0, 1000, "commitment", "ssim_weight", "adversarial_weight")
        within(self, 0, 1e9, "adversarial_start")
        within(self, 0, 1, "revive_below")
        require(
            0 <= self.codebook_decay < 1,
            f"codebook_decay must be in [0, 1), not {self.codebook_decay}",
        )
        for name, known in VQVAE_CHOICES.items():
            value = getattr(self, name)
            require(value in known, f"{name} must be {' or '.join(known)}, not {value}")
        require(
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
    """Gated PixelCNN (van den Oord 2016) over index maps, conditioned on the slice position
    and, where known, the age.

    Attributes:
        grid: Rows = columns of an index map.
        n_codes: K, size of the codebook.
        n_positions: Slice positions that the model is conditioned on.
        start: Initialisation: "codebook", in which codes of similar vectors have similar weights
            (models/codebook_start.py), or "random".
        layout: Numbers that describe the layout of a whole map (models/layout.py); 0: none.
        layout_noise: Standard deviation of the noise that training adds to these numbers.
        code_dim: D, dimensions of the codes.
        channels: Feature maps of either stack.
        blocks: Gated blocks; the first one is masked (type A).
        first_kernel: Width of the first block's kernels, odd.
        kernel: Width of the other kernels, odd.
        hidden: Feature maps of the output head.
        dropout: Probability in [0, 1), on the gates' output and before the last layer.
        context_noise: Largest share of the cells that the network reads which are replaced by
            random codes in training; the share is drawn for each map. In [0, 1].
        age_mean: Mean age of the training subjects, years.
        age_std: Standard deviation of their ages, years; 0: the data have no ages and the model is
            not conditioned on age.
        age_features: Width of the age's embedding.
        age_dropout: Share of training maps whose age is hidden, in [0, 1), so that sampling works
            without an age.

    Reference:
        van den Oord et al. 2016, "Conditional Image Generation with PixelCNN Decoders",
        arXiv 1606.05328.
    """

    grid: int = 16
    n_codes: int = 256
    n_positions: int = 32
    start: str = "random"
    layout: int = 0
    layout_noise: float = 0.3
    code_dim: int = 16
    channels: int = 64
    blocks: int = 8
    first_kernel: int = 7
    kernel: int = 3
    hidden: int = 128
    dropout: float = 0.1
    context_noise: float = 0.0
    age_mean: float = 0.0
    age_std: float = 0.0
    age_features: int = 16
    age_dropout: float = 0.15

    def __post_init__(self):
        require(self.blocks >= 1, f"blocks must be at least 1, not {self.blocks}")
        within(self, 1, 1024, "grid", "blocks")
        within(self, 2, 65_536, "n_codes")
        within(self, 1, 10_000, "n_positions")
        require(
            self.start in ("codebook", "random"),
            f"start must be codebook or random, not {self.start!r}",
        )
        within(self, 0, 4096, "layout", "layout_noise")
        within(self, 1, 4096, "channels", "hidden", "code_dim")
        require(self.layout_noise > 0, f"layout_noise must be positive, not {self.layout_noise}")
        within(self, 1, 63, "first_kernel", "kernel")
        require(self.age_std >= 0, f"age_std is a spread in years, 0 or more, not {self.age_std}")
        require(0 <= self.age_dropout < 1, f"age_dropout must be in [0, 1), not {self.age_dropout}")
        require(
            self.first_kernel % 2 == 1 and self.kernel % 2 == 1,
            "kernels must be odd, such as 7 and 3",
        )
        require(0 <= self.dropout < 1, f"dropout must be in [0, 1), not {self.dropout}")
        within(self, 0, 1, "context_noise")

    @property
    def knows_age(self) -> bool:
        """Whether the model is conditioned on age."""
        return self.age_std > 0


@dataclass(frozen=True)
class NeighbourConfig(PixelCNNConfig):
    """PixelCNN that is told the map of a neighbouring slice.

    Attributes:
        neighbour_noise: Largest share of the codes of the neighbour that are replaced by random
            ones in training; the share is drawn for each map. In [0, 1].
        stack_directions: Directions in which the layouts of whole stacks differ.
    """

    neighbour_noise: float = 0.2
    stack_directions: int = 128

    def __post_init__(self):
        super().__post_init__()
        within(self, 0, 1, "neighbour_noise")
        within(self, 1, 4096, "stack_directions")

    def sized_as(self, config: PixelCNNConfig) -> NeighbourConfig:
        """The same noise and directions, with all sizes of a PixelCNN."""
        sizes = {field.name: getattr(config, field.name) for field in fields(PixelCNNConfig)}
        return replace(self, **sizes)


@dataclass(frozen=True)
class DCGANConfig:
    """DCGAN (Radford 2015) that generates maps of code vectors; relativistic loss with R1 and R2.

    space="index" with loss="bce" is the baseline that generates index numbers as grey levels.

    Attributes:
        grid: Rows = columns of an index map, a multiple of 4.
        n_codes: K, size of the codebook.
        code_dim: D, dimensions of a code.
        n_positions: Slice positions that the model is conditioned on.
        noise_dim: Length of z; also the number of directions of the linear initialisation.
        spatial_noise: Maps of spatial noise, one number for each cell; 0: none.
        channels: Feature maps at the full grid; doubled at each halving.
        space: Output space: "embedding", the codes' vectors, or "index", their numbers.
        start: Initialisation: "linear", from a linear model of the training maps, or "blank".
        per_position: That linear model has a covariance for each slice position, drawn towards that
            of all positions.
        settled: A sampler decodes drawn maps and encodes them again, so that codes suit their
            neighbours. Validation measures the maps as they were drawn.
        loss: "relativistic" with R1 and R2, or the classical "bce".
        gamma: Weight of the gradient penalties R1 and R2 of the relativistic loss.
        penalty_share: Part of each batch on which these penalties are taken, in (0, 1].
        commitment: Weight of the distance of generated vectors to their nearest code.
        age_mean: Mean age of the training subjects, years.
        age_std: Standard deviation of their ages, years; 0: the data have no ages and the model is
            not conditioned on age.

    Reference:
        Radford et al. 2015, "Unsupervised Representation Learning with Deep Convolutional
        Generative Adversarial Networks", arXiv 1511.06434; Huang et al. 2024, "The GAN is dead;
        long live the GAN! A Modern Baseline GAN" (R3GAN), arXiv 2501.05441.
    """

    grid: int = 16
    n_codes: int = 256
    code_dim: int = 16
    n_positions: int = 32
    noise_dim: int = 64
    spatial_noise: int = 0
    channels: int = 64
    space: str = "embedding"
    start: str = "linear"
    per_position: bool = False
    settled: bool = False
    loss: str = "relativistic"
    gamma: float = 10.0
    penalty_share: float = 0.25
    commitment: float = 0.25
    age_mean: float = 0.0
    age_std: float = 0.0

    def __post_init__(self):
        require(self.age_std >= 0, f"age_std is a spread in years, 0 or more, not {self.age_std}")
        require(self.grid % 4 == 0, f"grid must be a multiple of 4, not {self.grid}")
        within(self, 4, 1024, "grid")
        within(self, 2, 65_536, "n_codes")
        within(self, 1, 10_000, "n_positions")
        within(self, 1, 4096, "code_dim", "noise_dim", "channels")
        within(self, 0, 64, "spatial_noise")
        within(self, 0, 1e6, "gamma", "commitment")
        require(
            0 < self.penalty_share <= 1,
            f"penalty_share must be in (0, 1], not {self.penalty_share}",
        )
        require(
            self.space in ("embedding", "index"),
            f"space must be embedding or index, not {self.space!r}",
        )
        require(
            self.start in ("linear", "blank"), f"start must be linear or blank, not {self.start!r}"
        )
        require(
            self.loss in ("relativistic", "bce"),
            f"loss must be relativistic or bce, not {self.loss!r}",
        )

    @property
    def knows_age(self) -> bool:
        """Whether the model is conditioned on age."""
        return self.age_std > 0

    @property
    def linear(self) -> bool:
        """Whether a linear model initialises the generator; there is none of index numbers."""
        return self.start == "linear" and self.space == "embedding"

    @property
    def half_noise(self) -> int:
        """Length of the spatial noise at half the grid."""
        return self.spatial_noise * (self.grid // 2) ** 2

    @property
    def full_noise(self) -> int:
        """Length of the spatial noise at the full grid."""
        return self.spatial_noise * self.grid**2

    @property
    def noise_size(self) -> int:
        """Length of the noise vector of one generated map."""
        return self.noise_dim + self.half_noise + self.full_noise

    @property
    def output_dim(self) -> int:
        """Channels of a generated map."""
        return 1 if self.space == "index" else self.code_dim
