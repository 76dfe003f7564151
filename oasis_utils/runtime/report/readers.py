"""The files of a reader study: the answer key and the answers of one reader."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from oasis_utils.runtime.report.fields import Count, Strict

KEY, ANSWERS = "oasis_utils.reader_key", "oasis_utils.reader_answers"  # values of `schema`
Side = Literal["left", "right"]


@dataclass(frozen=True)
class KeyedTrial(Strict):
    """A pair of pictures and its answer.

    Attributes:
        trial: Random name of the pair.
        prior: Which prior generated one of its slices.
        generated: The side of that slice.
        subject: The test person whose decoded slice is on the other side.
        position: Slice position of both.
        age: Of the person in years; None where unknown.
        sample: Number of the generated slice in the samples of the run.
    """

    trial: str
    prior: str
    generated: Side
    subject: int
    position: Count
    age: float | None
    sample: Count


@dataclass(frozen=True)
class ReaderKey(Strict):
    """The answer key of a study, which the organiser keeps.

    Attributes:
        schema: Always "oasis_utils.reader_key".
        version: Of this form.
        study: Digest of the pictures; the page and the answers have the same.
        data: The data set in words.
        seed: Of the pairs, their order and their sides.
        trials: The pairs in the order of the page.
    """

    schema: Literal["oasis_utils.reader_key"]
    version: Literal[1]
    study: str
    data: str
    seed: Count
    trials: list[KeyedTrial]


@dataclass(frozen=True)
class TrialAnswer(Strict):
    """What a reader answered to a pair.

    Attributes:
        trial: Name of the pair.
        choice: The side that the reader takes for generated.
        milliseconds: How long the pair was shown.
    """

    trial: str
    choice: Side
    milliseconds: Count


@dataclass(frozen=True)
class ReaderAnswers(Strict):
    """The answers of one reader, as the page writes them.

    Attributes:
        schema: Always "oasis_utils.reader_answers".
        version: Of this form.
        study: As in the key.
        reader: Name or code.
        experience: The reader's own words.
        answers: One for each pair.
    """

    schema: Literal["oasis_utils.reader_answers"]
    version: Literal[1]
    study: str
    reader: str
    experience: str
    answers: list[TrialAnswer]
