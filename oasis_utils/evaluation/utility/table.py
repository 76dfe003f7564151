"""The utility of generated slices as a table and in words."""

from __future__ import annotations

from oasis_utils.evaluation.utility.study import (
    REAL,
    RELABELLED,
    SHARES,
    SHUFFLED,
    added_name,
    share_name,
)
from oasis_utils.evaluation.verdicts import FEW
from oasis_utils.models.sampler import PRIORS
from oasis_utils.runtime.report.utility import UtilityResults, UtilityRow, UtilityTask

Ends = tuple[float, float] | None


def utility_rows(task: UtilityTask) -> dict[str, dict[str, str]]:
    """Rows for `plotting.table`.

    Args:
        task: One of the two of `UtilityResults`.

    Returns:
        {training set: {"slices", measure, "R²" for ages, "better by", "than"}}; values with their
        95 % intervals.
    """
    digits, rows = _digits(task), {}
    for name, row in task.rows.items():
        gain = ""
        if row.gain is not None:
            gain = _text(row.gain, row.gain_interval, _gain_digits(task), "+")
        rows[_row_title(name, task)] = {
            "slices": _slices(row),
            task.measure: _text(row.value, row.interval, digits),
            **({} if row.r2 is None else {"R²": _text(row.r2, row.r2_interval, 2)}),
            "better by": gain,
            "than": _row_title(row.base, task) if row.base else "",
        }
    return rows


def utility_groups(task: UtilityTask) -> list[dict[str, UtilityRow]]:
    """The training sets in groups for a figure: alone, added to all people, to a share of them.

    Args:
        task: One of the two of `UtilityResults`.

    Returns:
        {training set: its row} for each group, in the order of the task; without shuffled labels,
        which would widen the axis.
    """
    shares = {share_name(share) for share in SHARES}
    groups: dict[str, dict[str, UtilityRow]] = {}
    for name, row in task.rows.items():
        base, plus, _ = name.rpartition(" + ")
        group = base if plus else name if name in shares else "alone"
        if name != SHUFFLED:
            groups.setdefault(group, {})[name] = row
    return list(groups.values())


def utility_verdicts(results: UtilityResults) -> dict[str, dict[str, str]]:
    """What the generated slices are worth, in a sentence for each prior and task.

    Args:
        results: From `utility`.

    Returns:
        {prior: {"age", "segmentation": sentence}}, without tasks that could not be measured.
    """
    found: dict[str, dict[str, str]] = {}
    for prior in results.priors:
        found[prior] = {}
        if results.age is not None and prior in results.age.rows:
            found[prior]["age"] = _age(results.age, prior)
        if results.segmentation is not None:
            found[prior]["segmentation"] = _segmentation(results.segmentation, prior)
    return found


def _age(task: UtilityTask, prior: str) -> str:
    rows, digits = task.rows, _digits(task)
    real, null = rows[REAL], rows[SHUFFLED]
    return (
        f"Age: {rows[prior].generated_slices} slices of {_source(prior)} train a model to an error"
        f" of {_own(task, prior)} years; {real.real_slices} real slices to {real.value:.{digits}f}"
        f" ({_compared(task, rows[prior])}), with shuffled ages to {null.value:.{digits}f}."
        f" {_added(task, prior)}"
    )


def _segmentation(task: UtilityTask, prior: str) -> str:
    rows, digits = task.rows, _digits(task)
    assert task.labeller is not None, "generated slices have no masks of their own"
    return (
        f"Segmentation: {rows[prior].generated_slices} slices of {_source(prior)}, labelled by a"
        f" model of {_people(rows[task.labeller])}, train a model to a Dice of"
        f" {_own(task, prior)}; as many real slices with its labels to"
        f" {rows[RELABELLED].value:.{digits}f} ({_compared(task, rows[prior])}). The labeller alone"
        f" reaches {rows[task.labeller].value:.{digits}f}, real slices with their masks"
        f" {rows[REAL].value:.{digits}f}, with masks of other slices"
        f" {rows[SHUFFLED].value:.{digits}f}. {_added(task, prior)}"
    )


def _added(task: UtilityTask, prior: str) -> str:
    """What the slices add to real ones."""
    row = task.rows[added_name(REAL, prior)]
    return (
        f"Added to {row.real_slices} real slices: {_text(row.value, row.interval, _digits(task))}"
        f" ({_compared(task, row)})."
    )


def _compared(task: UtilityTask, row: UtilityRow) -> str:
    """The gain in words."""
    if task.test_people < FEW or row.gain_interval is None or row.gain is None:
        return f"{task.test_people} test people are too few to compare"
    low, high = sorted(abs(end) for end in row.gain_interval)
    if row.gain_interval[0] <= 0 <= row.gain_interval[1]:
        return "not shown to differ"
    digits, word = _gain_digits(task), "better" if row.gain > 0 else "worse"
    return f"{word} by {abs(row.gain):.{digits}f}, {low:.{digits}f} to {high:.{digits}f}"


def _own(task: UtilityTask, name: str) -> str:
    return _text(task.rows[name].value, task.rows[name].interval, _digits(task))


def _text(value: float, ends: Ends, digits: int, sign: str = "") -> str:
    numbers = [f"{round(x, digits) + 0.0:{sign}.{digits}f}" for x in (value, *(ends or ()))]
    return numbers[0] if ends is None else f"{numbers[0]} ({numbers[1]} to {numbers[2]})"


def _digits(task: UtilityTask) -> int:
    return 1 if task.better == "lower" else 3


def _gain_digits(task: UtilityTask) -> int:
    """One more than those of the value: the scatter of people cancels in a gain."""
    return 2 if task.better == "lower" else 4


def _slices(row: UtilityRow) -> str:
    parts = []
    if row.real_slices:
        parts.append(f"{row.real_slices} of {_people(row)}")
    if row.generated_slices:
        parts.append(f"{row.generated_slices} generated")
    return " + ".join(parts)


def _people(row: UtilityRow) -> str:
    return "1 person" if row.people == 1 else f"{row.people} people"


def _title(prior: str) -> str:
    return PRIORS[prior].__name__ if prior in PRIORS else prior


def _source(prior: str) -> str:
    return f"the {_title(prior)}" if prior in PRIORS else prior


def _row_title(name: str, task: UtilityTask) -> str:
    """The name of a row with the class of its prior; the labeller is marked."""
    base, plus, prior = name.rpartition(" + ")
    title = f"{base}{plus}{_title(prior)}"
    return f"{title} (the labeller)" if name == task.labeller else title
