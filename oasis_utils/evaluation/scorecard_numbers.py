"""The numbers of a scorecard: what an evaluation holds, and how a value stands to its reference."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from oasis_utils.evaluation.verdicts import FEW, differs
from oasis_utils.models.sampler import PRIORS

NOT_MEASURED = "not measured"
Pair = tuple[str, dict[str, Any], dict[str, Any], int]  # name, value, its reference, digits


def evaluations(report: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(name of the prior's class, its evaluation)."""
    for name, evaluation in (report.get("priors") or {}).items():
        yield title(name), evaluation


def title(prior: str) -> str:
    """The name of a prior's class; other names as they are."""
    return PRIORS[prior].__name__ if prior in PRIORS else prior


def estimate_text(item: dict[str, Any], digits: int = 2) -> str:
    """A value and, where there is one, its interval."""
    if item["value"] is None:
        return NOT_MEASURED
    ends, value = item["interval"], f"{item['value']:.{digits}f}"
    return f"{value} ({ends[0]:.{digits}f} to {ends[1]:.{digits}f})" if ends else value


def outcome(
    evaluation: dict[str, Any], item: dict[str, Any], reference: dict[str, Any]
) -> str | None:
    """What `differs` says of a value and its reference; None with too few people."""
    known = item["interval"] is not None and reference["interval"] is not None
    return differs(item, reference) if known and enough_people(evaluation) else None


def enough_people(evaluation: dict[str, Any]) -> bool:
    """Whether both real sides have people enough for their intervals to be trusted."""
    return min(evaluation["real_subjects"], evaluation["reference_subjects"]) >= FEW


def sides_of(evaluation: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any], str]:
    """(comparison, its reference, with what): decoded slices where there is a VQ-VAE."""
    found = evaluation["comparisons"]
    if found["decoded"]:
        return found["decoded"], found["decoded_vs_decoded"], "decoded real slices"
    return found["real"], found["real_vs_real"], "real slices"


def with_interval(side: dict[str, Any], key: str) -> dict[str, Any]:
    """A value of the anatomy and its interval, as other metrics have them."""
    return {"value": side[key], "interval": side[f"{key}_interval"]}


def pairs_of(evaluation: dict[str, Any]) -> dict[str, list[Pair]]:
    """The numbers of the first three headings beside their references."""
    found, null, _ = sides_of(evaluation)
    anatomy, variety = evaluation["anatomy"], evaluation["variety"]
    drawn, like = anatomy["generated"], anatomy["decoded"] or anatomy["real"]
    alike = variety["decoded"] or variety["real"]
    outside, error = (
        (with_interval(drawn, key), with_interval(like, key))
        for key in ("outside_share", "position_error")
    )
    return {
        "congruence": [
            ("KID", found["learned"]["kid"], null["learned"]["kid"], 3),
            ("AUC", found["two_sample"]["network"], null["two_sample"]["network"], 2),
        ],
        "coverage": [
            ("coverage", found["learned"]["coverage"], null["learned"]["coverage"], 2),
            ("MS-SSIM", variety["generated"]["pair_ms_ssim"], alike["pair_ms_ssim"], 2),
        ],
        "constraint": [
            ("share outside", *outside, 2),
            ("position error", *error, 1),
        ],
    }
