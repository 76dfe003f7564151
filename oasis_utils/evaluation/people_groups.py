"""Groups of the people of a split by age, sex and clinical dementia rating (CDR)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Integer

from oasis_utils.data.dataset import Dataset

AGES = ("young", "middle", "old")
SEXES = {"F": "women", "M": "men"}


@dataclass(frozen=True)
class PeopleGroup:
    """People who have something in common.

    Attributes:
        who: They in words, such as "18 to 34 years".
        people: Their numbers.
        ages: The ages that belong to the group: above the first, up to the second; None for groups
            that are not of ages.
    """

    who: str
    people: Integer[np.ndarray, " people"]
    ages: tuple[float, float] | None = None


Attributes = dict[str, dict[str, PeopleGroup]]


def groups_of(dataset: Dataset, split: str, people: Integer[np.ndarray, " n"]) -> Attributes:
    """The groups of some people of a split.

    A person's age is the mean over the sessions, the sex that of the first session with one, the
    CDR the highest. People of whom an attribute is unknown are in none of its groups.

    Args:
        dataset: With a manifest.
        split: "train", "validate" or "test".
        people: Numbers of the subjects to group; repeated ones count once.

    Returns:
        {"age": {"young", "middle", "old": thirds of the people}, "sex": {"women", "men"}, "CDR":
        {"CDR 0", "CDR above 0"}}; an attribute with fewer than two groups is left out.
    """
    entries = [entry for entry in dataset.manifest["subjects"] if entry["split"] == split]
    known = {name: _known(entries, name, people) for name in ("age", "sex", "cdr")}
    found = {
        "age": _thirds({person: float(np.mean(ages)) for person, ages in known["age"].items()}),
        "sex": {
            name: _chosen(known["sex"], name, lambda sexes, sex=sex: sexes[0] == sex)
            for sex, name in SEXES.items()
        },
        "CDR": {
            "CDR 0": _chosen(known["cdr"], "CDR 0", lambda ratings: max(ratings) == 0),
            "CDR above 0": _chosen(known["cdr"], "CDR above 0", lambda ratings: max(ratings) > 0),
        },
    }
    filled = {
        attribute: {name: group for name, group in groups.items() if len(group.people)}
        for attribute, groups in found.items()
    }
    return {attribute: groups for attribute, groups in filled.items() if len(groups) > 1}


def _known(
    entries: Sequence[Mapping[str, Any]], name: str, people: np.ndarray
) -> dict[int, list[Any]]:
    """{person: known values of an attribute, one a session}."""
    wanted, found = set(people.tolist()), {}
    for entry in entries:
        if entry["subject"] in wanted and entry[name] is not None:
            found.setdefault(entry["subject"], []).append(entry[name])
    return found


def _chosen(
    known: dict[int, list[Any]], who: str, belongs: Callable[[list[Any]], bool]
) -> PeopleGroup:
    people = [person for person, values in known.items() if belongs(values)]
    return PeopleGroup(who, np.array(people, np.int64))


def _thirds(ages: dict[int, float]) -> dict[str, PeopleGroup]:
    """Thirds of people by age; people of one age stay together, so a third may be empty."""
    people = np.array(list(ages), np.int64)
    # as exact as the ages of slices, so that an age that was asked for falls into the same third
    years = np.array(list(ages.values()), np.float32).astype(np.float64)
    if not len(people):
        return {}
    edges = [-np.inf, *np.quantile(years, [1 / 3, 2 / 3], method="lower").tolist(), np.inf]
    found, last = {}, ""
    for name, low, high in zip(AGES, edges, edges[1:], strict=False):
        inside = (years > low) & (years <= high)
        if inside.any():
            span, last = _span(years[inside].min(), years[inside].max(), last)
            found[name] = PeopleGroup(f"{span} years", people[inside], (low, high))
    return found


def _span(least: float, most: float, last: str) -> tuple[str, str]:
    """(ages of a group in words, its end), where the group before it ends at `last`."""
    first, end = f"{least:.0f}", f"{most:.0f}"
    if first != last:
        return (first if first == end else f"{first} to {end}"), end
    if first != end:  # 29.1 and 28.9 are both 29 years
        return f"above {first} to {end}", end
    first, end = f"{least:.1f}", f"{most:.1f}"
    return (first if first == end else f"{first} to {end}"), f"{most:.0f}"
