"""What each notebook contributes to a report: data, tokeniser, priors, samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from oasis_utils.runtime.report.fields import Count, Interval, Numbers, Share, Strict


@dataclass(frozen=True)
class SplitSize(Strict):
    """Size of one split.

    Attributes:
        subjects: People in it.
        slices: Slices in it.
    """

    subjects: Count
    slices: Count


@dataclass(frozen=True)
class Crop(Strict):
    """The square that is cut from every slice before resizing, in pixels of the source.

    Attributes:
        top: First row.
        left: First column.
        side: Length of a side.
    """

    top: int
    left: int
    side: Count


@dataclass(frozen=True)
class DataResults(Strict):
    """What the models learn from.

    Attributes:
        source: Where the slices come from, as figures show it.
        synthetic: Whether they are the project's sample brains.
        identity: Digest of the prepared slices.
        image_size: Side of a slice in pixels.
        crop: The square cut from each slice.
        splits: Sizes of train, validate and test.
        shared_subjects: People who are in two splits; 0 in data that can be used.
    """

    source: str
    synthetic: bool
    identity: str
    image_size: Count
    crop: Crop
    splits: Mapping[str, SplitSize]
    shared_subjects: Count

    def summary(self) -> str:
        """One line for the final table."""
        slices = sum(size.slices for size in self.splits.values())
        people = sum(size.subjects for size in self.splits.values())
        return f"{slices} slices of {people} subjects, {self.shared_subjects} in two splits"


@dataclass(frozen=True)
class ReconstructionResults(Strict):
    """Scores of reconstructed slices, beside those of trivial answers.

    Attributes:
        ssim: Mean structural similarity of the whole frame.
        brain_ssim: The same inside `region`.
        psnr: Mean peak signal-to-noise ratio in dB.
        intervals: Of these three means.
        trivial_baselines: {metric: {answer: score}} of a black image, the mean image and another
            subject's slice.
        split: The split that was reconstructed.
        region: What brain_ssim covers.
        images: Number of slices.
        subjects: Number of people.
    """

    ssim: float
    brain_ssim: float | None
    psnr: float
    intervals: Mapping[str, Interval | None]
    trivial_baselines: Mapping[str, Mapping[str, float | None]]
    split: str
    region: Literal["brain", "head"]
    images: Count
    subjects: Count

    def summary(self) -> str:
        """One line for the final table."""
        trivial = ", ".join(
            f"{name.replace('_', ' ')} {value:.2f}"
            for name, value in self.trivial_baselines["ssim"].items()
        )
        inside = "" if self.brain_ssim is None else f"in the {self.region} {self.brain_ssim:.3f} · "
        return (
            f"SSIM {self.ssim:.3f} (trivial baselines {trivial}) · {inside}PSNR {self.psnr:.1f} dB"
        )


@dataclass(frozen=True)
class VQVAEResults(Strict):
    """The tokeniser that was trained.

    Attributes:
        downsampling: Pixels per code along each axis.
        n_codes: Size of the codebook.
        bits: Upper bound on the information of one slice's codes.
        epochs: Passes over the training split.
        gradient: How gradients pass the quantiser.
        codebook: How the codebook learns.
    """

    downsampling: Count
    n_codes: Count
    bits: float
    epochs: Count
    gradient: str
    codebook: str


@dataclass(frozen=True)
class CollapseResults(Strict):
    """The end of one short training in the comparison of codebooks.

    Attributes:
        seconds: Time it had.
        steps: Steps it made.
        images_per_second: Speed.
        ssim: Of held-out slices.
        validation_loss: Of held-out slices.
        used_fraction: Codes in use on held-out slices, as a share of the codebook.
        perplexity: Of the codes' use.
    """

    seconds: float
    steps: Count
    images_per_second: float
    ssim: float
    validation_loss: float
    used_fraction: Share
    perplexity: float

    @classmethod
    def of(cls, record: dict[str, float]) -> CollapseResults:
        """The last record of a training's history, of which the rest is left out."""
        values: dict[str, Any] = {field.name: record[field.name] for field in fields(cls)}
        return cls(**values)


@dataclass(frozen=True)
class CodebookResults(Strict):
    """How the codes of held-out slices are used and what they draw.

    Attributes:
        used: Codes in use.
        n_codes: Size of the codebook.
        used_fraction: used / n_codes.
        perplexity: exp of the entropy of the codes' use.
        entropy_nats: That entropy.
        split: The split whose maps were counted.
        tone_change: Mean change of the grey level, in [0, 1], from a code to another one.
        near_black: Shares of codes and of cells that are drawn near black.
        ssim_without_rarest: {codes removed: SSIM}, the rarest first.
        ssim_with_near_codes: {share of cells that take a near code instead of their own: SSIM}.
        collapse: Short trainings with other codebooks.
        collapse_steps: Steps that each of them made.
    """

    used: Count
    n_codes: Count
    used_fraction: Share
    perplexity: float
    entropy_nats: float
    split: str
    tone_change: Numbers
    near_black: Numbers
    ssim_without_rarest: Numbers
    ssim_with_near_codes: Numbers
    collapse: Mapping[str, CollapseResults]
    collapse_steps: Count

    def summary(self) -> str:
        """One line for the final table."""
        return (
            f"{self.used} of {self.n_codes} codes used, perplexity {self.perplexity:.0f}"
            f" ({self.split} split)"
        )


# ---------------------------------------------------------------- priors


@dataclass(frozen=True)
class DCGANResults(Strict):
    """The adversarial prior on index maps.

    Attributes:
        kernel_distance: Of generated to held-out maps, in the output space.
        best_epoch: Epoch of the weights that were kept.
        best_step: Step of the weights that were kept.
        maps: Maps that were compared.
        codes_used: Distinct codes in the generated ones.
        code_divergence: Jensen-Shannon divergence of the codes' use from held-out maps.
        variety: Spread at a position, as a share of that of real subjects.
        age_correlation: {side: correlation of the measure with age}.
        age_trend: {side: {what: line with interval, as a table shows it}}.
        index_kernel_distance: kernel_distance of the network that writes index numbers.
        index_code_divergence: code_divergence of that network.
    """

    kernel_distance: float
    best_epoch: Count
    best_step: Count
    maps: Count
    codes_used: Count
    code_divergence: float
    variety: float | None
    age_correlation: Mapping[str, float | None]
    age_trend: Mapping[str, Mapping[str, str]]
    index_kernel_distance: float
    index_code_divergence: float

    def summary(self) -> str:
        """One line for the final table."""
        return (
            f"{self.codes_used} distinct codes in {self.maps} maps, divergence from held-out"
            f" {self.code_divergence:.3f}"
        )


@dataclass(frozen=True)
class PixelCNNResults(Strict):
    """The autoregressive prior on index maps.

    Attributes:
        nats_per_code: Negative log-likelihood of test maps, per code.
        unigram_nats: The same of the codes' frequencies.
        position_unigram_nats: Of the frequencies in each cell.
        markov_nats: Of a Markov chain.
        markov_cell_nats: Of a Markov chain mixed with the frequencies in each cell.
        uniform_nats: Of equally likely codes, ln n_codes.
        split: The split whose maps were scored.
        bits_per_pixel: nats_per_code over the slice, in bits per pixel.
        best_epoch: Epoch of the weights that were kept.
        best_step: Step of the weights that were kept.
        intervals: {metric: interval over people}.
        age_correlation: {side: correlation of the measure with age}.
        age_trend: {side: {what: line with interval, as a table shows it}}.
    """

    nats_per_code: float
    unigram_nats: float
    position_unigram_nats: float
    markov_nats: float
    markov_cell_nats: float
    uniform_nats: float
    split: str
    bits_per_pixel: float
    best_epoch: Count
    best_step: Count
    intervals: Mapping[str, Interval | None]
    age_correlation: Mapping[str, float | None]
    age_trend: Mapping[str, Mapping[str, str]]

    def summary(self) -> str:
        """One line for the final table."""
        return (
            f"{self.nats_per_code:.3f} nats per code (Markov chain {self.markov_cell_nats:.3f},"
            f" cell unigram {self.position_unigram_nats:.3f})"
        )


@dataclass(frozen=True)
class AnomalyResults(Strict):
    """How well anomalies are found that were planted into slices.

    Attributes:
        split: The split whose slices were changed.
        auroc: {planted anomaly: area under the ROC curve of changed against unchanged cells}.
        intervals: {planted anomaly: interval over people}.
        likelihood_auroc: As auroc, of the negative log-likelihood alone.
    """

    split: str
    auroc: Mapping[str, Share | None]
    intervals: Mapping[str, Interval | None]
    likelihood_auroc: Mapping[str, Share | None]

    def summary(self) -> str:
        """One line for the final table."""
        found = (
            f"{kind} {'unknown' if value is None else format(value, '.2f')}"
            for kind, value in self.auroc.items()
        )
        return "AUROC " + ", ".join(found)


@dataclass(frozen=True)
class SamplingResults(Strict):
    """How generated slices were drawn.

    Attributes:
        temperature: Of the PixelCNN.
        top_p: Nucleus of the PixelCNN.
        n_images: Slices of each prior.
        seed: Of the noise.
        valid: {prior: share of drawn codes that exist}.
    """

    temperature: float
    top_p: float
    n_images: Count
    seed: Count
    valid: Mapping[str, Share]

    def summary(self) -> str:
        """One line for the final table."""
        return " · ".join(
            f"{name}: {self.n_images} slices, {share:.0%} valid"
            for name, share in self.valid.items()
        )
