"""Accuracy of readers in forced choices between two pictures, and their agreement.

All readers answer the same trials, and one person may be shown in several: answers on one person
are kept together, in the interval and in the test.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Integer

from oasis_utils.metrics.bootstrap import MIN_GROUPS, mean_interval, number_groups

ROUNDS = 2000  # resamples behind an interval


def fleiss_kappa(counts: Integer[np.ndarray, "n categories"]) -> float:
    """Agreement of several readers beyond chance, Fleiss' kappa.

    Args:
        counts: How many readers put case i into category j; the same number of readers for each
            case, 2 or more.

    Returns:
        1 for full agreement, 0 for as much as by chance, at least -1 / (readers - 1); nan where all
        answers are of one category.

    Raises:
        ValueError: No cases, fewer than two readers, or cases with different numbers of readers.

    Reference:
        Fleiss 1971, doi 10.1037/h0031619, equations 1 to 7.
    """
    readers = counts.sum(1)
    if not len(counts) or readers.min() < 2 or np.ptp(readers):
        raise ValueError(
            "agreement needs the answers of the same two or more readers on each case: leave out"
            " the cases that some reader did not answer"
        )
    n = int(readers[0])
    observed = float(((counts**2).sum(1) - n).mean() / (n * (n - 1)))
    by_chance = float(((counts.sum(0) / counts.sum()) ** 2).sum())
    return (observed - by_chance) / (1 - by_chance) if by_chance < 1 else float("nan")


def accuracy_interval(
    correct: Bool[np.ndarray, "readers trials"], people: Integer[np.ndarray, " trials"]
) -> tuple[float, float] | None:
    """95 % interval of the share of correct answers.

    One reader and another person in each trial: Wilson's interval. Several readers, or people that
    come again: central 95 % of resamples of whole people with all answers on them. Where all
    answers are correct, or none, resamples do not vary: Wilson's interval with one trial for each
    person.

    Args:
        correct: The answers.
        people: Whose slice each trial shows.

    Returns:
        Both ends, in [0, 1]; None for too few people.

    Reference:
        Wilson 1927, doi 10.1080/01621459.1927.10502953; Davison and Hinkley 1997, section 3.8.
    """
    n_people = len(np.unique(people))
    if n_people < MIN_GROUPS:
        return None
    share = correct.mean()
    independent = len(correct) == 1 and n_people == len(people)
    if independent or share in (0, 1):
        from scipy.stats import binomtest  # slow to import

        found = binomtest(round(share * n_people), n_people).proportion_ci(method="wilson")
        return float(found.low), float(found.high)
    return mean_interval(correct.ravel().astype(float), np.tile(people, len(correct)), ROUNDS)


def guessing_p_value(
    correct: Bool[np.ndarray, "readers trials"], people: Integer[np.ndarray, " trials"]
) -> float:
    """Two-sided p-value of readers' answers against guessing between two pictures.

    A randomisation test: were the two pictures of a pair alike, correct and wrong answers could be
    exchanged. They are exchanged for all trials of a person and for all readers at once, because
    these depend on one another. For one reader and another person in each trial it is the
    binomial test.

    Args:
        correct: The answers.
        people: Whose slice each trial shows.

    Returns:
        Share of exchanges with as many correct, or as many wrong, answers as there are; exact.

    Reference:
        Fisher 1935, The Design of Experiments, section 21.
    """
    surplus = np.where(correct, 1, -1).sum(0)  # correct minus wrong answers of each trial
    by_person = np.zeros(len(np.unique(people)), np.int64)
    np.add.at(by_person, number_groups(people), surplus)
    chances = np.ones(1)  # of each total, from the lowest possible one, in steps of 1
    for size in np.abs(by_person):
        either_sign = np.zeros(2 * size + 1)
        either_sign[0] += 0.5
        either_sign[-1] += 0.5  # the same entry for size 0
        chances = np.convolve(chances, either_sign)
    totals = np.arange(len(chances)) - len(chances) // 2
    return min(1.0, float(chances[np.abs(totals) >= abs(by_person.sum())].sum()))
