"""The evaluation of generated slices as a report holds it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from oasis_utils.runtime.report.fields import Count, Interval, Numbers, Share, Strict


@dataclass(frozen=True)
class EstimateResults(Strict):
    """A metric.

    Attributes:
        value: The metric.
        interval: Its interval.
    """

    value: float | None
    interval: Interval | None


Estimates = dict[str, EstimateResults]


@dataclass(frozen=True)
class ComparisonResults(Strict):
    """Distances of one set of slices from another.

    Attributes:
        learned: Metrics in the features of an image network.
        radiomic: Metrics in hand-crafted features.
        two_sample: Areas under the ROC curve of classifiers that separate the sets.
        anatomy: Distances of anatomical measures, in deviations of the real set.
        anatomy_joint: Squared 2-Wasserstein distance of normal approximations of all anatomical
            measures together, less its bias, in squared deviations of the real set; None for too
            few slices.
        anatomy_effects: {measure: mean of the first set minus mean of the second, in pooled
            standard deviations (Cohen's d)}.
    """

    learned: Estimates
    radiomic: Estimates
    two_sample: Estimates
    anatomy: Estimates
    anatomy_joint: EstimateResults | None = None
    anatomy_effects: Estimates = field(default_factory=dict)


@dataclass(frozen=True)
class AnatomyResults(Strict):
    """Anatomical measures of one set of slices.

    Attributes:
        outside: {measure: share of slices outside the real range of their position}.
        outside_share: Share of slices with any measure outside.
        outside_share_interval: Its interval.
        position_error: Mean error of the position read back from a slice, in slices.
        position_error_interval: Its interval.
    """

    outside: dict[str, Share | None]
    outside_share: Share | None
    outside_share_interval: Interval | None
    position_error: float | None
    position_error_interval: Interval | None


@dataclass(frozen=True)
class SuspiciousPair(Strict):
    """A sample and the training slice it may be a copy of.

    Attributes:
        sample: Number of the sample.
        train_index: Number of the training slice.
        subject: Whose slice it is.
        position: Its position.
        distance: Distance of the two in the features of the copy test.
        ratio: That distance over the distance to the next subject.
        grey_distance: Distance of the grey levels, √(2 - 2 correlation).
        edge_distance: Distance of the edges.
        mirrored: Whether the sample is nearest to the mirrored slice.
    """

    sample: Count
    train_index: Count
    subject: Count
    position: Count
    distance: float
    ratio: float
    grey_distance: float
    edge_distance: float
    mirrored: bool


@dataclass(frozen=True)
class MemorisationResults(Strict):
    """The test for copies of training slices.

    Attributes:
        suspicious: Samples that are suspiciously near a training slice.
        suspicious_share: The same as a share of all samples.
        suspicious_share_real: That share of a real person's slices, by the threshold of the others.
        suspicious_share_limit: Upper 95 % bound of suspicious_share_real.
        p_value: Of a one-sided binomial test against that bound.
        threshold: Ratio below which a sample is suspicious.
        median_ratio: Median ratio of all samples.
        copy_gap: How much nearer samples are to training slices than to other people's; 0 without
            copies.
        rule: The test in words.
    """

    suspicious: Count
    suspicious_share: Share
    suspicious_share_real: Share
    suspicious_share_limit: Share
    p_value: Share
    threshold: float | None
    median_ratio: float | None
    copy_gap: float | None
    rule: str


@dataclass(frozen=True)
class ControlResults(MemorisationResults):
    """The test for copies on slices whose answer is known.

    Attributes:
        memorised: The test's answer.
    """

    memorised: bool


@dataclass(frozen=True)
class VerdictTexts(Strict):
    """Plain sentences with the numbers they rest on.

    Attributes:
        fidelity: How near the slices are to real ones.
        diversity: How varied they are.
        anatomy: Whether their anatomy is plausible.
        privacy: Whether copies of training slices were found.
    """

    fidelity: str
    diversity: str
    anatomy: str
    privacy: str


@dataclass(frozen=True)
class ReaderResults(Strict):
    """Answers of readers who were shown pairs of a generated and a decoded real slice.

    Attributes:
        readers: How many there are.
        trials: Pairs that each of them answered.
        people: Test people whose slices were shown.
        accuracy: Share of answers that point at the generated slice; 0.5 by guessing.
        accuracy_interval: Its interval, see `metrics.agreement`; None for too few people.
        p_value: Of a two-sided randomisation test against guessing.
        fleiss_kappa: Agreement of the readers on the side; None for one reader, and where all
            answers are the same side.
        verdict: One sentence.
    """

    readers: Count
    trials: Count
    people: Count
    accuracy: Share
    accuracy_interval: Interval | None
    p_value: Share
    fleiss_kappa: float | None
    verdict: str


@dataclass(frozen=True)
class EvaluationResults(Strict):
    """The evaluation of one set of generated slices.

    Entries that end in _real_vs_real, _decoded_vs_decoded and _decoded_vs_real are references of
    the entry before their ending; entries that end in _prior compare with decoded real slices.

    Attributes:
        schema: Always "oasis_utils.evaluation".
        version: Of this form.
        images: Slices that were given.
        compared: Slices in each compared set.
        real_subjects: Test people.
        reference_subjects: Validation people.
        positions: Whether positions were given or read from the slices.
        features: {space: description}.
        kid: Kernel distance to real slices.
        two_sample_auc: Area under the ROC curve of a network that separates the sets.
        resolution: {metric: smallest difference that the real sets resolve}.
        memorised: Whether copies of training slices are shown.
        suspicious_pairs: Samples and training slices to look at.
        copy_gap: See `MemorisationResults`.
        variety: {set: {measure: similarity of two slices of one position}}.
        anatomy: {set: anatomical measures}.
        giveaways: {radiomic number: mean of the generated minus mean of the decoded slices, in
            deviations of the decoded ones}; None without a VQ-VAE.
        memorisation: The test for copies.
        comparisons: {pair of sets: distances}.
        seconds: {part: wall time}.
        verdicts: The evaluation in words.
        valid: Share of index maps whose codes all exist; None for images alone.
        distinct_codes: Codes that occur; None for images alone.
        readers: {prior: answers of readers}; None without a reader study.
        sample_sizes: {number of slices of each set: kernel distance of as many generated to as many
            decoded real slices, to real ones without a VQ-VAE}; None in older reports.
    """

    schema: Literal["oasis_utils.evaluation"]
    version: Literal[2]
    images: Count
    compared: Count
    real_subjects: Count
    reference_subjects: Count
    positions: Literal["given", "read from the slices"]
    features: dict[str, str]
    kid: float
    kid_interval: Interval
    kid_real_vs_real: float
    kid_real_vs_real_interval: Interval
    kid_prior: float | None
    kid_prior_interval: Interval | None
    kid_decoded_vs_decoded: float | None
    kid_decoded_vs_decoded_interval: Interval | None
    kid_decoded_vs_real: float | None
    kid_decoded_vs_real_interval: Interval | None
    two_sample_auc: Share
    two_sample_auc_interval: Interval
    two_sample_auc_real_vs_real: Share
    two_sample_auc_real_vs_real_interval: Interval
    two_sample_auc_prior: Share | None
    two_sample_auc_prior_interval: Interval | None
    two_sample_auc_decoded_vs_decoded: Share | None
    two_sample_auc_decoded_vs_decoded_interval: Interval | None
    two_sample_auc_decoded_vs_real: Share | None
    two_sample_auc_decoded_vs_real_interval: Interval | None
    resolution: Numbers
    memorised: bool
    suspicious_pairs: list[SuspiciousPair]
    copy_gap: float
    variety: dict[str, Estimates | None]
    anatomy: dict[str, AnatomyResults | None]
    giveaways: dict[str, float | None] | None
    memorisation: MemorisationResults
    comparisons: dict[str, ComparisonResults | None]
    seconds: Numbers
    verdicts: VerdictTexts
    valid: Share | None = None
    distinct_codes: Count | None = None
    readers: dict[str, ReaderResults] | None = None
    sample_sizes: Estimates | None = None


@dataclass(frozen=True)
class EvaluationSummary(Strict):
    """What holds for the evaluation of every prior.

    Attributes:
        compared: Slices in each compared set.
        resolution: {metric: smallest difference that the real sets resolve}.
        sensitivity: {damage: {metric: shift in widths of the upper half of its interval}}.
        controls: {set: the test for copies on slices whose answer is known}.
        seconds: {part: wall time}.
    """

    compared: Count
    resolution: Numbers
    sensitivity: dict[str, Numbers]
    controls: dict[str, ControlResults]
    seconds: Numbers
