"""The membership audit as a report holds it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from oasis_utils.runtime.report.evaluation import EstimateResults
from oasis_utils.runtime.report.fields import Count, Strict

Alarm = Literal["yes", "unclear", "no", "too few people"]


@dataclass(frozen=True)
class AttackResults(Strict):
    """How well scores tell members from others.

    Attributes:
        slice_auc: Area under the ROC curve, slice by slice.
        slice_found: Share of the members' slices found at 1 % false positives.
        person_auc: The same person by person, by the mean over a person's slices.
        person_found: Share of the members found at 1 % false positives.
    """

    slice_auc: EstimateResults
    slice_found: EstimateResults
    person_auc: EstimateResults
    person_found: EstimateResults


@dataclass(frozen=True)
class MembershipRow(Strict):
    """The attack by the scores of one model.

    Attributes:
        score: What the model says of a slice.
        plain: Training against test people, adjusted for slice position and age.
        calibrated: The same, also adjusted for how difficult a slice is; None with too few people.
        null: As calibrated, validation against test people: no model has learned from either.
        alarm: Whether members are told from others: "yes"; "unclear" where the interval leaves out
            chance, but not what people whom no model has seen give; "no"; or "too few people".
        verdict: The same in words.
    """

    score: str
    plain: AttackResults
    calibrated: AttackResults | None
    null: AttackResults | None
    alarm: Alarm
    verdict: str


@dataclass(frozen=True)
class MembershipResults(Strict):
    """Whether the weights of the models tell who was in the training set.

    Attributes:
        people: {group: number of people}: members, others, validation and reference.
        slices: {group: number of slices}.
        models: {model: the attack by its scores}.
        controls: {control: the attack by a model whose answer is known}.
        seconds: CPU time of the audit.
    """

    people: dict[str, Count]
    slices: dict[str, Count]
    models: dict[str, MembershipRow]
    controls: dict[str, MembershipRow]
    seconds: float

    def summary(self) -> str:
        """One line for the final table."""
        parts = []
        for name, row in self.models.items():
            best = row.calibrated or row.plain
            parts.append(f"{name} {best.person_auc.value:.2f}")
        return f"membership AUC by person: {', '.join(parts)} (chance 0.50)"
