"""The audit of groups of people as a report holds it."""

from __future__ import annotations

from dataclasses import dataclass

from oasis_utils.runtime.report.evaluation import EstimateResults, Estimates
from oasis_utils.runtime.report.fields import Count, Strict


@dataclass(frozen=True)
class GroupRow(Strict):
    """How well the models serve one group of people.

    Attributes:
        who: The group in words, such as "18 to 34 years".
        people: Test people in it.
        slices: Their slices that were measured.
        reconstruction: Mean SSIM of the reconstructions inside the brain.
        nats_per_code: Mean over their index maps under the PixelCNN.
        coverage: {prior: share of their decoded slices whose neighbourhood holds a generated
            slice}.
        kid: {prior: kernel distance of the slices generated for the ages of the group to their
            decoded slices}; empty for groups that are not of ages.
    """

    who: str
    people: Count
    slices: Count
    reconstruction: EstimateResults
    nats_per_code: EstimateResults
    coverage: Estimates
    kid: Estimates

    def estimates(self) -> Estimates:
        """Everything that was measured, by name."""
        return {
            "reconstruction SSIM": self.reconstruction,
            "nats per code": self.nats_per_code,
            **{f"coverage, {prior}": item for prior, item in self.coverage.items()},
            **{f"KID, {prior}": item for prior, item in self.kid.items()},
        }


@dataclass(frozen=True)
class GapResults(Strict):
    """The largest difference between two groups in one metric.

    Attributes:
        higher: Group with the higher value.
        lower: Group with the lower value.
        difference: Of the two.
        shown: Whether it exceeds the interval of the difference, widened for the number of
            comparisons; None with too few people.
    """

    higher: str
    lower: str
    difference: float
    shown: bool | None


@dataclass(frozen=True)
class AttributeResults(Strict):
    """The groups that one attribute makes.

    Attributes:
        groups: {group: how well it is served}.
        gaps: {metric: the largest difference between two groups}.
        verdict: One sentence.
    """

    groups: dict[str, GroupRow]
    gaps: dict[str, GapResults]
    verdict: str


@dataclass(frozen=True)
class GroupResults(Strict):
    """Whether all groups of test people are served.

    Attributes:
        region: What the SSIM covers: "brain" or "head".
        people: Test people whose slices were measured.
        slices: Their slices.
        attributes: {"age", "sex" or "CDR": its groups}; an attribute that is unknown, or the same
            for all people, is left out.
        seconds: CPU time of the audit.
    """

    region: str
    people: Count
    slices: Count
    attributes: dict[str, AttributeResults]
    seconds: float

    def summary(self) -> str:
        """One line for the table of a run."""
        if not self.attributes:
            return "groups: age, sex and CDR are unknown or the same for all test people"
        parts = []
        for name, found in self.attributes.items():
            shown = [gap.shown for gap in found.gaps.values()]
            if None in shown:
                parts.append(f"{name}: too few people to say")
            else:
                parts.append(f"{name}: {sum(map(bool, shown))} of {len(shown)} differ")
        return f"metrics that differ between groups: {', '.join(parts)}"
