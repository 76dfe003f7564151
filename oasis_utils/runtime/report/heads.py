"""The section of whole heads."""

from __future__ import annotations

from dataclasses import dataclass

from oasis_utils.runtime.report.evaluation import EstimateResults
from oasis_utils.runtime.report.fields import Count, Strict

Estimates = dict[str, EstimateResults]

WHOLE = "whole stack"


@dataclass(frozen=True)
class HeadSetResults(Strict):
    """What is measured on one set of heads; intervals are over people.

    Attributes:
        heads: How many there are.
        people: Whose they are.
        coherence: {"neighbour SSIM", "same code", "sagittal SSIM", "coronal SSIM": {part of the
            stack: mean over heads}}; "spread" is the standard deviation of the heads' means. High
            values alone make no good head, see `metrics.coherence`.
        roughness: {curve: mean absolute second difference along the stack}.
        position_error: {part of the stack: mean error of the position read back, in slices}.
        odd_even: What is read from the odd slices of a head against what is read from its even
            ones: mean absolute differences and the correlation over heads.
        broken: {kind: share of broken slices}; "heads": share of people with a broken slice, every
            generated head being of a person of its own.
    """

    heads: Count
    people: Count
    coherence: dict[str, Estimates]
    roughness: Estimates
    position_error: Estimates
    odd_even: Estimates
    broken: Estimates


@dataclass(frozen=True)
class HeadComparisonResults(Strict):
    """How far one set of heads is from another; None for values of too few people or slices.

    Attributes:
        roughness_ratio: {curve: mean roughness of the first set over that of the second}.
        kid: {part of the stack: kernel distance of learned features}.
        network: {part of the stack: AUC of a network that separates slices}.
        whole_heads: {"content", "changes", "content and changes": AUC of a logistic regression
            that separates whole heads by these features}.
    """

    roughness_ratio: Estimates
    kid: Estimates
    network: Estimates
    whole_heads: Estimates


@dataclass(frozen=True)
class HeadResults(Strict):
    """Whole generated heads beside decoded heads of test people.

    Attributes:
        positions: Slices of a head.
        drawn: The generated heads.
        decoded: Heads of test people through the VQ-VAE.
        drawn_vs_decoded: The comparison of the two.
        decoded_vs_decoded: The reference, one half of the test people against the other, mean of
            several random halves.
    """

    positions: Count
    drawn: HeadSetResults
    decoded: HeadSetResults
    drawn_vs_decoded: HeadComparisonResults
    decoded_vs_decoded: HeadComparisonResults

    def summary(self) -> str:
        """One line for the table of a run."""
        similar, test = "neighbour SSIM", "changes"
        parts = [
            f"{_value(some.coherence[similar][WHOLE])} {name}"
            for name, some in (("drawn", self.drawn), ("decoded", self.decoded))
        ]
        found = self.drawn_vs_decoded.whole_heads[test]
        return f"whole heads: {similar} {', '.join(parts)}; AUC of {test} {_value(found)}"


def _value(item: EstimateResults) -> str:
    return "unknown" if item.value is None else f"{item.value:.2f}"
