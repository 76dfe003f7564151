"""Scores of models on test people, with intervals over whole people and over draws."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from oasis_utils.evaluation.utility.tasks import NOBODY, Described, Task
from oasis_utils.metrics.bootstrap import MIN_GROUPS, bootstrap
from oasis_utils.runtime.report.utility import UtilityRow, UtilityTask

ROUNDS = 1000  # resamples behind an interval
Statistic = Callable[[np.ndarray, np.ndarray], float]  # weights of people and of draws -> value


@dataclass
class Trained:
    """One row: what its models find in each test person, and the sizes of their training sets.

    Attributes:
        base: Row that it is compared with; None for none.
        outcomes: Of each model, by `Task.outcome`.
        sizes: Real slices, generated slices and real people behind each model.
    """

    base: str | None
    outcomes: list[Float[np.ndarray, " people"]]
    sizes: list[tuple[int, int, int]]

    def add(self, outcome: np.ndarray, training: Described) -> None:
        """Append a model.

        Args:
            outcome: What it finds in each test person.
            training: Its training set.
        """
        real = training.people != NOBODY
        people = len(np.unique(training.people[real]))
        self.outcomes.append(outcome)
        self.sizes.append((int(real.sum()), int((~real).sum()), people))


def task_result(
    task: Task,
    found: dict[str, Trained],
    labeller: str,
    ages: Float[np.ndarray, " people"] | None,
) -> UtilityTask:
    """The rows of a task as a report holds them.

    Args:
        task: The task.
        found: {training set: its models}.
        labeller: Row whose models label generated slices, where the task needs that.
        ages: Of the test people, where the outcomes are ages.

    Returns:
        Means over test people and draws, with intervals.
    """
    return UtilityTask(
        task.measure,
        task.better,
        task.test_people,
        task.test_slices,
        labeller if task.labels_generated else None,
        {name: _row(task, found, name, ages) for name in found},
    )


def _row(task: Task, found: dict[str, Trained], name: str, ages: np.ndarray | None) -> UtilityRow:
    mine = found[name]
    outcomes = np.array(mine.outcomes)
    scores = task.scores(outcomes)
    value, interval = _estimate(_mean_of(scores), scores)
    r2, r2_interval, gain, gain_interval = None, None, None, None
    if ages is not None and np.ptp(ages) > 0:
        r2, r2_interval = _estimate(_explained(outcomes, ages), outcomes)
    if mine.base is not None:
        gains = scores - task.scores(np.array(found[mine.base].outcomes))
        gains = -gains if task.better == "lower" else gains
        gain, gain_interval = _estimate(_mean_of(gains), gains)
    sizes = [round(size) for size in np.mean(mine.sizes, axis=0)]
    return UtilityRow(
        value,
        interval,
        r2,
        r2_interval,
        *sizes,
        draws=len(mine.outcomes),
        base=mine.base,
        gain=gain,
        gain_interval=gain_interval,
    )


def _estimate(
    statistic: Statistic, values: Float[np.ndarray, "draws people"]
) -> tuple[float, tuple[float, float] | None]:
    """A statistic and its interval over test people and draws."""
    draws, people = values.shape
    value = statistic(np.ones(people), np.ones(draws))
    if people < MIN_GROUPS:
        return value, None
    return value, bootstrap(statistic, people, draws, ROUNDS)


def _mean_of(values: Float[np.ndarray, "draws people"]) -> Statistic:
    return lambda people, draws: float(draws @ values @ people / (draws.sum() * people.sum()))


def _explained(
    predicted: Float[np.ndarray, "draws people"], ages: Float[np.ndarray, " people"]
) -> Statistic:
    """R²: 1 less the mean square error over the variance of age."""
    squares = np.square(predicted - ages)

    def r2(people: np.ndarray, draws: np.ndarray) -> float:
        spread = np.average(np.square(ages - np.average(ages, weights=people)), weights=people)
        return 1 - _mean_of(squares)(people, draws) / spread if spread > 0 else float("nan")

    return r2
