"""The membership audit: do the weights of the models tell who was in the training set?

Training people are the members. Half of the test people are the others; the other half trains the
reference, a Markov chain that says how difficult a map is for a model that knows neither side. The
null compares validation people with the others. Two controls show that the audit works: a Markov
chain counted on the training maps remembers them and must alarm; one counted on the validation maps
must not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Integer

from oasis_utils.data.batches import Batches
from oasis_utils.data.dataset import Split
from oasis_utils.evaluation.likelihood import prior_nats
from oasis_utils.metrics.features import as_floats
from oasis_utils.metrics.likelihood import Markov
from oasis_utils.metrics.membership import ScoredSlices, membership
from oasis_utils.models.adversarial import PACK_SIZE
from oasis_utils.models.codes import decode_maps, encode_images
from oasis_utils.models.dcgan import DCGAN
from oasis_utils.models.pixelcnn import PixelCNN
from oasis_utils.models.vqvae import VQVAE
from oasis_utils.runtime import Progress
from oasis_utils.runtime.report import (
    Alarm,
    AttackResults,
    EstimateResults,
    MembershipResults,
    MembershipRow,
    plain,
)

MAX_PEOPLE = 256  # of each group
EACH = 8  # slices of everybody who has as many, so that means over them scatter alike
REFERENCE_TIMES = 4  # as many slices of each person of the reference, which are only counted
MAPS_AT_ONCE = 64
ASKED = ("indices", "positions", "ages")
DETAIL = 4  # pixels a side of the squares whose inner detail makes a slice difficult
LEAST_PEOPLE = 4  # test people below which none can be spared for the reference
POSITIVE, NEGATIVE = "chain of training maps", "chain of validation maps"


@dataclass(frozen=True)
class Group:
    """Slices of one group of people and their index maps, some of each person.

    Attributes:
        images: Grey levels in [0, 255].
        maps: Index maps of these slices.
        positions: Slice positions.
        people: Number of each slice's person.
        ages: Years, nan where unknown.
    """

    images: np.ndarray
    maps: Integer[np.ndarray, "n rows cols"]
    positions: Integer[np.ndarray, " n"]
    people: Integer[np.ndarray, " n"]
    ages: Float[np.ndarray, " n"]

    @classmethod
    def of(
        cls, split: Split, people: np.ndarray, vqvae: VQVAE, device: torch.device, each: int = EACH
    ) -> Group:
        """`each` slices of each of these people of a split, evenly; all of one who has fewer."""
        owned = [np.flatnonzero(split.subjects == person) for person in people]
        rows = np.concatenate([_evenly(mine, each) for mine in owned])
        images = np.array(split.images[rows])
        maps = encode_images(vqvae, images, device)
        return cls(images, maps, split.positions[rows], split.subjects[rows], split.ages[rows])

    def batches(self, device: torch.device) -> Batches:
        """The maps with positions and ages, in order."""
        return Batches(
            {
                "indices": torch.from_numpy(self.maps.astype(np.int64)).to(device),
                "positions": torch.from_numpy(self.positions.astype(np.int64)).to(device),
                "ages": torch.from_numpy(self.ages.astype(np.float32)).to(device),
            },
            MAPS_AT_ONCE,
        )


Scorer = Callable[[Group], Float[np.ndarray, " n"]]


def scorers(
    vqvae: VQVAE, priors: Mapping[str, PixelCNN | DCGAN], device: torch.device
) -> dict[str, tuple[str, Scorer]]:
    """What each model says of a slice: the quantity that its training lowered or raised.

    Args:
        vqvae: The tokeniser.
        priors: Models by name.
        device: Where they are.

    Returns:
        {name: (the score in words, function from a group to scores)}; higher fits better.
    """
    found: dict[str, tuple[str, Scorer]] = {
        "VQ-VAE": (
            "negative mean absolute error of the reconstruction",
            lambda group: -_errors(vqvae, group),
        )
    }
    for name, prior in priors.items():
        if isinstance(prior, DCGAN):
            found[name] = "score of the discriminator", _realism(prior, device)
        else:
            found[name] = "log-likelihood of the index map", _log_likelihood(prior, device)
    return found


def _errors(vqvae: VQVAE, group: Group) -> Float[np.ndarray, " n"]:
    decoded = decode_maps(vqvae, group.maps).astype(np.float32)
    return np.abs(decoded - group.images).mean((1, 2)) / 255


def _log_likelihood(prior: PixelCNN, device: torch.device) -> Scorer:
    return lambda group: -prior_nats(prior, group.batches(device))


def _realism(prior: DCGAN, device: torch.device) -> Scorer:
    def score(group: Group) -> np.ndarray:
        parts = []
        for batch in group.batches(device):
            # a pack of equal maps, so that a score is of one slice alone
            packs = (batch[key].repeat_interleave(PACK_SIZE, 0) for key in ASKED)
            parts.append(prior.realism(*packs)[::PACK_SIZE].double().cpu().numpy())
        return np.concatenate(parts)

    return score


def _detail(group: Group) -> Float[np.ndarray, " n"]:
    """Mean absolute difference of a slice from its average over small squares, in [0, 1]."""
    parts = []
    for start in range(0, len(group.images), MAPS_AT_ONCE):
        x = as_floats(group.images[start : start + MAPS_AT_ONCE])
        coarse = F.interpolate(F.avg_pool2d(x, DETAIL), scale_factor=DETAIL)
        parts.append((x - coarse).abs().mean((1, 2, 3)).numpy())
    return np.concatenate(parts)


def _ages(group: Group) -> Float[np.ndarray, "n 3"]:
    """Age in decades about 60 years, its square, and whether it is unknown."""
    unknown = ~np.isfinite(group.ages)
    decades = np.where(unknown, 0.0, (group.ages.astype(np.float64) - 60) / 10)
    return np.column_stack([decades, decades**2, unknown])


@dataclass(frozen=True)
class Sides:
    """The groups of an audit and what makes their slices easy or difficult.

    Attributes:
        groups: Members, others and validation.
        ages: Covariates of age of each group.
        difficulty: Further covariates of each group; None without a reference.
    """

    groups: dict[str, Group]
    ages: dict[str, np.ndarray]
    difficulty: dict[str, np.ndarray] | None

    @classmethod
    def of(cls, groups: dict[str, Group], reference: Markov | None) -> Sides:
        """Covariates from a chain that was counted on people of none of the groups."""
        difficulty = None
        if reference is not None:
            difficulty = {
                name: np.column_stack([reference.nats(group.maps).mean((1, 2)), _detail(group)])
                for name, group in groups.items()
            }
        return cls(groups, {name: _ages(group) for name, group in groups.items()}, difficulty)

    def attack(
        self, scores: dict[str, np.ndarray], members: str, calibrated: bool
    ) -> AttackResults | None:
        """Tell a group from the others by its scores."""
        if calibrated and self.difficulty is None:
            return None
        sides = []
        for name in (members, "others"):
            group, known = self.groups[name], [self.ages[name]]
            if calibrated and self.difficulty is not None:
                known.append(self.difficulty[name])
            sides.append(
                ScoredSlices(scores[name], group.positions, group.people, np.column_stack(known))
            )
        return AttackResults(**{k: _estimate(v) for k, v in membership(*sides).items()})

    def row(self, words: str, scorer: Scorer, null: bool = True) -> MembershipRow:
        """The attack by one model, beside its null where validation people are strangers to it."""
        scores = {name: scorer(group) for name, group in self.groups.items()}
        direct = self.attack(scores, "members", calibrated=False)
        assert direct is not None, "only a calibrated attack needs a reference"
        attack = self.attack(scores, "members", calibrated=True)
        chance = self.attack(scores, "validation", calibrated=True) if null else None
        alarm, verdict = _verdict(attack, chance)
        return MembershipRow(words, direct, attack, chance, alarm, verdict)


def audit_membership(
    vqvae: VQVAE,
    priors: Mapping[str, PixelCNN | DCGAN],
    splits: Mapping[str, Split],
    device: torch.device,
    each: int = EACH,
) -> MembershipResults:
    """Attack all models by their scores of training and test people.

    Args:
        vqvae: The tokeniser.
        priors: Models by name.
        splits: {"train", "validate", "test"}.
        device: Where the models are.
        each: Slices of a person.

    Returns:
        The attacks, with intervals over people, and the two controls.
    """
    start = time.process_time()
    groups, reference_group = _groups(vqvae, splits, device, each)
    reference = None
    if reference_group is not None:
        reference = reference_chain(reference_group, vqvae.config.n_codes)
    sides = Sides.of(groups, reference)
    asked = scorers(vqvae, priors, device)
    controls = _controls(groups, vqvae.config.n_codes)
    rows: dict[str, MembershipRow] = {}
    with Progress("membership", len(asked) + len(controls)) as progress:
        for name, (words, scorer) in (asked | controls).items():
            rows[name] = sides.row(words, scorer, null=name != NEGATIVE)
            progress.update(len(rows), name)
    everyone = groups | ({} if reference_group is None else {"reference": reference_group})
    return MembershipResults(
        people={name: len(np.unique(group.people)) for name, group in everyone.items()},
        slices={name: len(group.people) for name, group in everyone.items()},
        models={name: rows[name] for name in asked},
        controls={name: rows[name] for name in controls},
        seconds=round(time.process_time() - start, 1),
    )


def _groups(
    vqvae: VQVAE, splits: Mapping[str, Split], device: torch.device, each: int
) -> tuple[dict[str, Group], Group | None]:
    """Members, others and validation; and the reference group, None with too few test people."""
    test = np.unique(splits["test"].subjects)
    spared, others = _halves(test) if len(test) >= LEAST_PEOPLE else (test[:0], test)
    chosen = {
        "members": (splits["train"], np.unique(splits["train"].subjects)),
        "others": (splits["test"], others),
        "validation": (splits["validate"], np.unique(splits["validate"].subjects)),
    }
    groups = {
        name: Group.of(split, _evenly(people, MAX_PEOPLE), vqvae, device, each)
        for name, (split, people) in chosen.items()
    }
    if len(spared) == 0:
        return groups, None
    spared = _evenly(spared, MAX_PEOPLE)
    return groups, Group.of(splits["test"], spared, vqvae, device, REFERENCE_TIMES * each)


def _evenly(items: np.ndarray, most: int) -> np.ndarray:
    """At most so many of the items, evenly spread over them."""
    return items[np.linspace(0, len(items) - 1, min(len(items), most)).round().astype(int)]


def _halves(people: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every other person, and the rest."""
    names = np.unique(people)
    return names[::2], names[1::2]


def reference_chain(group: Group, n_codes: int) -> Markov:
    """A Markov chain with the cell, which says how difficult maps are.

    Args:
        group: Maps of people of neither side. Half of the people are counted, the others set the
            weights.
        n_codes: Size of the codebook.

    Returns:
        The chain.
    """
    counted = np.isin(group.people, _halves(group.people)[0])
    if counted.all():  # one person
        counted = np.arange(len(counted)) % 2 == 0
    return Markov.fit(group.maps[counted], group.maps[~counted], n_codes, cell=True)


def _controls(groups: dict[str, Group], n_codes: int) -> dict[str, tuple[str, Scorer]]:
    """Two models whose answer is known: one remembers the members, one has never seen them."""
    members, validation = groups["members"], groups["validation"]
    remembers = Markov.fit(members.maps, validation.maps, n_codes, cell=True)
    stranger = reference_chain(validation, n_codes)
    words = "log-likelihood under a Markov chain"
    return {
        POSITIVE: (words, lambda group: -remembers.nats(group.maps).mean((1, 2))),
        NEGATIVE: (words, lambda group: -stranger.nats(group.maps).mean((1, 2))),
    }


def _estimate(found: tuple[float, tuple[float, float] | None]) -> EstimateResults:
    return EstimateResults(*found)


def _verdict(attack: AttackResults | None, null: AttackResults | None) -> tuple[Alarm, str]:
    """(alarm, sentence). An alarm: the interval of the attack is farther from 0.5, on either side,
    than that of the null reaches; without a null, it leaves out 0.5.
    """
    found = attack and attack.person_auc.interval
    chance = (0.5, 0.5) if null is None else null.person_auc.interval
    if attack is None or found is None or chance is None:
        return "too few people", "too few people to say"
    brief, away = _brief(attack.person_auc), max(found[0] - 0.5, 0.5 - found[1])
    reach = max(abs(end - 0.5) for end in chance)
    if away > reach:
        found_strictly = (
            f"; with at most 1 % of the others accused, {attack.person_found.value:.0%} of the"
            " members are found"
        )
        above = found[0] > 0.5  # below, an attacker would turn the sign around
        return "yes", (
            f"members are told from others with an AUC of {brief}" + found_strictly * above
        )
    if away > 0:
        return "unclear", (
            f"it is unclear whether members are told from others: the AUC {brief} leaves out 0.5,"
            f" but between people whom no model has seen it may be {0.5 - reach:.2f} to"
            f" {0.5 + reach:.2f}"
        )
    return "no", f"members are not shown to be told from others: AUC {brief}"


def _brief(item: EstimateResults) -> str:
    ends = "" if item.interval is None else " ({:.2f} to {:.2f})".format(*item.interval)
    return f"{item.value:.2f}{ends}"


def attack_values(
    rows: Mapping[str, MembershipRow],
) -> dict[str, dict[str, dict[str, Any] | None]]:
    """The AUC person by person of each model, for `plotting.forest`.

    Args:
        rows: {model: its attack}, of `MembershipResults`.

    Returns:
        {model: {"plain", "calibrated", "null": value and interval, None if not measured}}.
    """
    return {
        name: {
            kind: None if attack is None else plain(attack.person_auc)
            for kind, attack in (
                ("plain", row.plain),
                ("calibrated", row.calibrated),
                ("null", row.null),
            )
        }
        for name, row in rows.items()
    }


def attack_rows(rows: Mapping[str, MembershipRow]) -> dict[str, dict[str, str]]:
    """Rows for `plotting.table`.

    Args:
        rows: {model: its attack}, of `MembershipResults`.

    Returns:
        {model: {"score", AUC by slices and by people, share found, "alarm"}}, of the calibrated
        attack; of the plain one where there is no other.
    """
    found = {}
    for name, row in rows.items():
        best = row.calibrated or row.plain
        found[name] = {
            "score": row.score,
            "AUC, slices": _brief(best.slice_auc),
            "AUC, people": _brief(best.person_auc),
            "found at 1 %": _brief(best.person_found),
            "alarm": row.alarm,
        }
    return found
