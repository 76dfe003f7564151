"""Reads the answers of a reader study: how often readers point at the generated slice of a pair."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from oasis_utils.metrics.agreement import accuracy_interval, fleiss_kappa, guessing_p_value
from oasis_utils.runtime import DataError, read_json
from oasis_utils.runtime.report import (
    EvaluationResults,
    KeyedTrial,
    ReaderAnswers,
    ReaderKey,
    ReaderResults,
    checked,
    plain,
)
from oasis_utils.runtime.report.readers import ANSWERS, KEY

LEVEL = 0.05  # of the test against guessing


def read_study(
    key: str | Path, answers: Sequence[str | Path]
) -> tuple[ReaderKey, list[ReaderAnswers]]:
    """The key of a study and the answers to it.

    Args:
        key: The file that `readers` wrote beside its page.
        answers: The file of each reader, as the page saves it.

    Returns:
        Both; every reader answered every trial once.

    Raises:
        DataError: A file is damaged or of another kind, or its answers belong to another study, are
            not complete, or are those of a reader who was read already.
    """
    found = _read(key, KEY, ReaderKey)
    refuse_repeated(key, (trial.trial for trial in found.trials))
    if not found.trials:
        raise DataError(f"{key} holds no trials: write the study again with `readers`")
    given, files = [], {}
    for path in answers:
        reader = _read(path, ANSWERS, ReaderAnswers)
        refuse_other(path, reader, found)
        name = " ".join(reader.reader.split()).casefold()
        if name in files:
            raise DataError(
                f"{files[name]} and {path} are both of the reader {reader.reader!r}: give one file"
                " for each reader"
            )
        files[name] = path
        given.append(reader)
    return found, given


def _read(path: str | Path, schema: str, kind: Any) -> Any:
    value = read_json(path)
    said = value.get("schema") if isinstance(value, dict) else None
    if said != schema:
        names = {KEY: "a key: give it with --key", ANSWERS: "answers: give them with --answers"}
        wanted = {KEY: "a key as `readers` writes it", ANSWERS: "answers as its page saves them"}
        what = f"holds {names[said]}" if said in names else f"does not hold {wanted[schema]}"
        raise DataError(f"{path} {what}")
    try:
        return checked(kind, value, str(path))
    except ValueError as error:
        raise DataError(str(error)) from None


def refuse_repeated(path: str | Path, trials: Iterable[str]) -> None:
    """DataError for a trial that comes twice in a file."""
    twice = [trial for trial, n in Counter(trials).items() if n > 1]
    if twice:
        raise DataError(f"{path} has the trial {twice[0]} twice: take the file as it was saved")


def refuse_other(path: str | Path, reader: ReaderAnswers, key: ReaderKey) -> None:
    """DataError for answers that are not exactly those to the trials of a key."""
    if reader.study != key.study:
        raise DataError(
            f"{path} belongs to the study {reader.study}, the key to {key.study}: give the key that"
            " was written with the page of these answers"
        )
    refuse_repeated(path, (answer.trial for answer in reader.answers))
    known, answered = {t.trial for t in key.trials}, {a.trial for a in reader.answers}
    if answered - known:
        raise DataError(
            f"{path} answers the trial {min(answered - known)}, which the key does not have: take"
            " the file as the page saved it"
        )
    if known - answered:
        raise DataError(
            f"{path} answers {len(answered)} of {len(known)} trials: let the reader finish and save"
            " again"
        )


def reader_results(key: ReaderKey, answers: Sequence[ReaderAnswers]) -> dict[str, ReaderResults]:
    """How often readers point at the generated slice, for each prior.

    Args:
        key: Of the study.
        answers: Of one or more readers, complete.

    Returns:
        {prior: results}.
    """
    chosen = [{answer.trial: answer.choice for answer in reader.answers} for reader in answers]
    return {
        prior: _of_prior([t for t in key.trials if t.prior == prior], chosen)
        for prior in sorted({trial.prior for trial in key.trials})
    }


def _of_prior(trials: list[KeyedTrial], chosen: list[dict[str, Any]]) -> ReaderResults:
    left = np.array([[choice[t.trial] == "left" for t in trials] for choice in chosen])
    correct = left == np.array([t.generated == "left" for t in trials])
    people = np.array([t.subject for t in trials])
    on_left = left.sum(0)
    kappa = (
        fleiss_kappa(np.stack([on_left, len(chosen) - on_left], 1)) if len(chosen) > 1 else math.nan
    )
    results = ReaderResults(
        readers=len(chosen),
        trials=len(trials),
        people=len(np.unique(people)),
        accuracy=float(correct.mean()),
        accuracy_interval=accuracy_interval(correct, people),
        p_value=guessing_p_value(correct, people),
        fleiss_kappa=kappa if math.isfinite(kappa) else None,
        verdict="",
    )
    return dataclasses.replace(results, verdict=verdict(results))


def verdict(results: ReaderResults) -> str:
    """One sentence on the answers; it says that they differ from guessing where the test does."""
    if results.p_value >= LEVEL:
        word = "not shown to differ from guessing"
    elif results.accuracy > 0.5:
        word = "more often than by guessing"
    else:
        word = "less often than by guessing, so readers see a difference, but choose the real slice"
    ends = results.accuracy_interval
    between = f" (95 %: {ends[0]:.0%} to {ends[1]:.0%})" if ends else ""
    who = "One reader points" if results.readers == 1 else f"{results.readers} readers point"
    p_value = "p < 0.001" if results.p_value < 0.001 else f"p = {results.p_value:.3f}"
    return (
        f"{who} at the generated slice of a pair in {results.accuracy:.0%}{between} of"
        f" {results.trials} trials: {word} ({p_value})."
    )


def with_readers(
    evaluation: dict[str, Any], key: ReaderKey, answers: Sequence[ReaderAnswers]
) -> dict[str, Any]:
    """An evaluation with the entry `readers`.

    Args:
        evaluation: As from `evaluate_images`.
        key: Of the study.
        answers: Of one or more readers.

    Returns:
        A copy in the form of `report.EvaluationResults`.
    """
    result = evaluation | {"readers": plain(reader_results(key, answers))}
    checked(EvaluationResults, result, "an evaluation")
    return result
