"""Utility of generated slices: models trained on them, tested on real people.

"Train on synthetic, test on real" (Esteban 2017, arXiv 1706.02633; Ravuri 2019, arXiv 1905.10887)
in two tasks (see tasks.py): the age of a person, which was asked for when the slices were
drawn, and tissues. Generated slices have no masks; a model of few real people labels them
(self-training, Scudder 1965, doi 10.1109/TIT.1965.1053799). What this labeller reaches alone, and
what real slices with its labels teach, are rows of their own: its skill is not due to the slices.

Real, decoded and generated sets have the same number of slices. Shares of the people stand alone
and together with generated slices; a prior that learned from all training people passes on what it
saw of the others. Intervals are over test people and, where people, labels or labeller were drawn
several times, over the draws. They do not cover other people behind "real", nor other generated
slices: a set of other real people may be shown to be worse as well, above all if they are fewer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Integer

from oasis_utils.data.dataset import Split, subsample
from oasis_utils.evaluation.utility.estimates import Trained, task_result
from oasis_utils.evaluation.utility.tasks import (
    NOBODY,
    AgeTask,
    Described,
    Task,
    TissueTask,
    joined,
    shuffled,
)
from oasis_utils.metrics.matching import balanced
from oasis_utils.metrics.tissue_classifier import at_lattice
from oasis_utils.models.codes import decode_maps, encode_images
from oasis_utils.models.samples import Samples
from oasis_utils.models.vqvae import VQVAE
from oasis_utils.runtime import Progress
from oasis_utils.runtime.report.utility import UtilityResults, UtilityTask

REAL, DECODED, SHUFFLED = "real", "decoded", "shuffled labels"
RELABELLED = "real, labels of the labeller"
TRAINING_SLICES = 512  # in each training set at most
TEST_SLICES = 1024  # at most, spread evenly over the test people
SEGMENTED_SLICES = 512  # of them at most
SHARES = (0.3, 0.1)  # of the real people, besides all of them
MIN_PEOPLE = 2  # in a share: one person has one age
DRAWS = 4  # of a share and of shuffled labels


def utility(
    samples: dict[str, Samples],
    vqvae: VQVAE | None,
    train: Split,
    test: Split,
    device: torch.device,
    seed: int = 0,
) -> UtilityResults:
    """What generated slices are worth as training data, beside real ones.

    Args:
        samples: {name: generated slices}; names as in a report's `priors`. The set with the fewest
            slices sets the size of all.
        vqvae: Adds real slices that it decoded; None leaves them out.
        train: Training split, from which the real slices, shares and labellers come.
        test: Test split, whose people every model is measured on.
        device: Where the VQ-VAE runs.
        seed: 0 or more, of all draws.

    Returns:
        Both tasks, None where the data lack ages or masks. Sets whose ages are unknown, or all the
        same, have no row in the task of age.

    Raises:
        ValueError: Slices of another size than those of the data, an empty set, or a set that has
            the name of a row.
    """
    _check(samples, train, test)
    few = subsample(test, TEST_SLICES, seed)
    study = _Study(samples, _Decoder(vqvae, device), train, few, seed)
    with Progress("utility of generated slices", 2) as progress:
        age = _age(study)
        progress.update(1, "age")
        segmentation = _segmentation(study)
        progress.update(2, "segmentation")
    return UtilityResults(list(samples), age, segmentation)


def share_name(share: float) -> str:
    """Row of the models trained on a share of the real people."""
    return f"{share:.0%} of people".replace("%", " %")


def added_name(base: str, prior: str) -> str:
    """Row of the models trained on the slices of a row and those of a prior."""
    return f"{base} + {prior}"


@dataclass(frozen=True)
class _Study:
    """What `utility` was asked, with fewer test slices."""

    samples: dict[str, Samples]
    decode: _Decoder
    train: Split
    test: Split
    seed: int

    @property
    def n_positions(self) -> int:
        """Number of slice positions."""
        parts = (self.train, self.test, *self.samples.values())
        return 1 + max(int(part.positions.max()) for part in parts)


class _Decoder:
    """Passes slices through a VQ-VAE; both tasks may ask for the same."""

    def __init__(self, vqvae: VQVAE | None, device: torch.device):
        self.vqvae, self.device = vqvae, device
        self.last = np.zeros(0), np.zeros(0)

    def __call__(self, images: np.ndarray) -> np.ndarray | None:
        if self.vqvae is None:
            return None
        if not np.array_equal(images, self.last[0]):
            codes = encode_images(self.vqvae, images, self.device)
            self.last = images, decode_maps(self.vqvae, codes)
        return self.last[1]


@dataclass(frozen=True)
class _Sets:
    """The training sets of a task."""

    real: Described
    decoded: Described | None
    generated: dict[str, Described]
    people: Integer[np.ndarray, " people"]  # all training people
    of_people: Callable[[np.ndarray], Described]  # slices of some of them


def _check(samples: dict[str, Samples], train: Split, test: Split) -> None:
    own = {REAL, DECODED, SHUFFLED, RELABELLED, *map(share_name, SHARES)}
    for name, drawn in samples.items():
        if name in own:
            raise ValueError(f"{name!r} is the name of a row: give the generated set another name")
        if not len(drawn.images):
            raise ValueError(f"{name} holds no slices: generate {TRAINING_SLICES} for full sets")
        for split in (train, test):
            if drawn.images.shape[1:] != split.images.shape[1:]:
                raise ValueError(
                    f"{name} has slices of shape {drawn.images.shape[1:]}, the {split.name} split"
                    f" of {split.images.shape[1:]}: generate with models of these data"
                )


# ---------------------------------------------------------------- the tasks
def _age(study: _Study) -> UtilityTask | None:
    known = np.flatnonzero(np.isfinite(study.train.ages))
    test = _taken(study.test, np.isfinite(study.test.ages))
    if len(np.unique(study.train.ages[known])) < 2 or not len(test):
        return None
    samples = {name: _of_known_age(drawn) for name, drawn in study.samples.items()}
    samples = {n: some for n, some in samples.items() if len(np.unique(_ages(some))) > 1}
    task = AgeTask(test, study.n_positions)
    rows = _measured(task, _sets(task, study, known, study.train.ages, samples), study.seed)
    return task_result(task, *rows, task.ages)


def _segmentation(study: _Study) -> UtilityTask | None:
    masks = study.train.masks
    if masks is None or study.test.masks is None:
        return None
    everyone = np.arange(len(study.train))
    seen = masks[balanced(study.train.positions, TRAINING_SLICES, study.seed)]
    tissues = np.setdiff1d(at_lattice(seen), [0]).astype(np.int64)
    if not len(tissues):
        return None
    few = subsample(study.test, SEGMENTED_SLICES, study.seed)
    task = TissueTask(few, study.n_positions, tissues, study.seed)
    if not task.test_people:
        return None
    rows = _measured(task, _sets(task, study, everyone, masks, study.samples), study.seed)
    return task_result(task, *rows, None)


def _sets(
    task: Task, study: _Study, known: np.ndarray, truth: np.ndarray, samples: dict[str, Samples]
) -> _Sets:
    """Sets of equal size, from the known rows of the training split with their ages or masks, and
    from samples.
    """
    train, seed = study.train, study.seed
    n = min(TRAINING_SLICES, len(known), *(len(some.positions) for some in samples.values()))

    def described(rows: np.ndarray, images: np.ndarray) -> Described:
        own = np.array(truth[rows])
        return task.describe(images, train.positions[rows], own, train.subjects[rows])

    def of_people(people: np.ndarray) -> Described:
        rows = known[np.isin(train.subjects[known], people)]
        rows = rows[balanced(train.positions[rows], n, seed)]
        return described(rows, np.array(train.images[rows]))

    rows = known[balanced(train.positions[known], n, seed)]
    images = np.array(train.images[rows])
    decoded = study.decode(images)
    return _Sets(
        described(rows, images),
        None if decoded is None else described(rows, decoded),
        {name: _generated(task, some, n, seed) for name, some in samples.items()},
        np.unique(train.subjects[known]),
        of_people,
    )


def _generated(task: Task, drawn: Samples, n: int, seed: int) -> Described:
    rows = balanced(drawn.positions, n, seed)
    ages = None if task.labels_generated else _ages(drawn)[rows]
    return task.describe(drawn.images[rows], drawn.positions[rows], ages, np.full(n, NOBODY))


def _taken(split: Split, rows: np.ndarray) -> Split:
    """Some rows of a split in memory, without its masks."""
    names = ("images", "subjects", "positions", "ages")
    return replace(
        split, **{name: getattr(split, name)[rows] for name in names}, masks=None, series=None
    )


def _of_known_age(drawn: Samples) -> Samples:
    rows = np.flatnonzero(np.isfinite(_ages(drawn)))
    return Samples(
        drawn.images[rows], drawn.indices[rows], drawn.positions[rows], _ages(drawn)[rows]
    )


def _ages(drawn: Samples) -> np.ndarray:
    assert drawn.ages is not None  # `Samples` sets them
    return drawn.ages


# ---------------------------------------------------------------- the models
def _measured(task: Task, sets: _Sets, seed: int) -> tuple[dict[str, Trained], str]:
    """All rows of a task, in the order of a table, and the name of the labeller's."""
    found: dict[str, Trained] = {}

    def learn(name: str, training: Described, base: str | None = None) -> Any:
        model = task.fit(training)
        found.setdefault(name, Trained(base, [], [])).add(task.outcome(model), training)
        return model

    shares, labellers = _shares(sets.people, seed), []
    for share, draws in shares.items():
        labellers = []  # those of the smallest share will be left
        for people in draws:
            some = sets.real if share == REAL else sets.of_people(people)
            labellers.append(learn(share, some))
            for prior, more in sets.generated.items():
                both = joined([some, task.label(labellers[-1], more)])
                learn(added_name(share, prior), both, share)
    if sets.decoded is not None:
        learn(DECODED, sets.decoded, REAL)
    if task.labels_generated:
        for labeller in labellers:
            learn(RELABELLED, task.label(labeller, sets.real), REAL)
    for prior, drawn in sets.generated.items():
        for labeller in labellers if task.labels_generated else labellers[:1]:
            base = RELABELLED if task.labels_generated else REAL
            learn(prior, task.label(labeller, drawn), base)
    for draw in range(DRAWS):
        learn(SHUFFLED, shuffled(sets.real, not task.labels_generated, seed + draw), REAL)
    first = [REAL, DECODED, RELABELLED, *sets.generated, SHUFFLED]
    order = [name for name in first if name in found]
    order += [name for name in found if name not in order]
    return {name: found[name] for name in order}, list(shares)[-1]


def _shares(people: np.ndarray, seed: int) -> dict[str, list[np.ndarray]]:
    """All people, and DRAWS choices of each smaller share of them."""
    result, last = {REAL: [people]}, len(people)
    for share in SHARES:
        size = max(MIN_PEOPLE, round(share * len(people)))
        if size < last:
            rngs = [np.random.default_rng([seed, size, draw]) for draw in range(DRAWS)]
            result[share_name(share)] = [rng.choice(people, size, replace=False) for rng in rngs]
            last = size
    return result
