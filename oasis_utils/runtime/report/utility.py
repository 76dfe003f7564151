"""What generated slices are worth as training data, as a report holds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from oasis_utils.runtime.report.fields import Count, Interval, Strict


@dataclass(frozen=True)
class UtilityRow(Strict):
    """A model of one training set, measured on real test people.

    Attributes:
        value: The measure of the task, a mean over test people and draws.
        interval: Its interval; None for too few test people.
        r2: Explained share of the variance of age, at most 1; None for other tasks and where all
            test people have one age.
        r2_interval: Its interval.
        real_slices: Real training slices, those that were decoded included.
        generated_slices: Generated training slices.
        people: Real people who own the real slices.
        draws: Times that people, labels or labeller were drawn; the measure is the mean.
        base: Row that this one is compared with; None for none.
        gain: How much better than that row on the same test people; negative: worse.
        gain_interval: Its interval.
    """

    value: float
    interval: Interval | None
    r2: float | None
    r2_interval: Interval | None
    real_slices: Count
    generated_slices: Count
    people: Count
    draws: Count
    base: str | None
    gain: float | None
    gain_interval: Interval | None


@dataclass(frozen=True)
class UtilityTask(Strict):
    """A task on slices.

    Attributes:
        measure: What `UtilityRow.value` is.
        better: Whether a lower or a higher value is better.
        test_people: Test people.
        test_slices: Their slices.
        labeller: Row whose models labelled the generated slices; None where labels were asked for
            when they were drawn.
        rows: {training set: result}.
    """

    measure: Literal["mean absolute error in years", "mean Dice"]
    better: Literal["lower", "higher"]
    test_people: Count
    test_slices: Count
    labeller: str | None
    rows: Mapping[str, UtilityRow]


@dataclass(frozen=True)
class UtilityResults(Strict):
    """Whether generated slices can stand in for real training slices.

    Attributes:
        priors: Names of the generated sets.
        age: Regression of age; None without two different training ages and a known test age.
        segmentation: Segmentation of tissues; None without masks.
    """

    priors: list[str]
    age: UtilityTask | None
    segmentation: UtilityTask | None

    def summary(self) -> str:
        """One line for the final table."""
        parts = []
        for name, task, form in (
            ("age", self.age, ".1f"),
            ("segmentation", self.segmentation, ".3f"),
        ):
            if task is not None:
                shown = [
                    row for row in ("real", *self.priors, "shuffled labels") if row in task.rows
                ]
                values = ", ".join(f"{row} {task.rows[row].value:{form}}" for row in shown)
                parts.append(f"{name}, {task.measure}: {values}")
        return " · ".join(parts) or "no ages and no masks to learn from"
