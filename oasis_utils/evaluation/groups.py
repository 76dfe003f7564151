"""Audit of groups of people: do the models serve the young and the old, women and men, the healthy
and the ill alike?

Test people are grouped; the models, their training and the neighbourhoods are those of all people.
A gap counts as shown where it exceeds the interval of the difference. The intervals are widened
for the number of pairs of groups and of metrics (Bonferroni correction: Dunn 1961, doi
10.1080/01621459.1961.10482090): else the largest of so many gaps among equal groups would often be
shown. Intervals from about ten people are too narrow all the same.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Integer
from scipy.special import ndtri

from oasis_utils.data.batches import Batches
from oasis_utils.data.dataset import Dataset, Split
from oasis_utils.evaluation.image_sets import require_images
from oasis_utils.evaluation.likelihood import prior_nats
from oasis_utils.evaluation.people_groups import PeopleGroup, groups_of
from oasis_utils.evaluation.reference import reference_rows
from oasis_utils.evaluation.verdicts import FEW, differs
from oasis_utils.metrics.bootstrap import MIN_GROUPS, mean_interval
from oasis_utils.metrics.features import as_floats, learned
from oasis_utils.metrics.image_quality import brain_ssim
from oasis_utils.metrics.kernel_distance import kid, kid_interval
from oasis_utils.metrics.matching import matched
from oasis_utils.metrics.neighbourhoods import Neighbourhoods
from oasis_utils.metrics.slices import MIN_IMAGES
from oasis_utils.models.codes import decode_maps, encode_images
from oasis_utils.models.pixelcnn import PixelCNN
from oasis_utils.models.samples import Samples
from oasis_utils.models.vqvae import VQVAE
from oasis_utils.runtime.report import (
    AttributeResults,
    EstimateResults,
    GapResults,
    GroupResults,
    GroupRow,
    plain,
)

MEAN_ROUNDS, KID_ROUNDS = 1000, 200  # resamples of people behind the intervals
MAPS_AT_ONCE = 64
MAX_SLICES = 448  # real ones, and of each prior: 40 seconds on a CPU


# ---------------------------------------------------------------- measured once
@dataclass(frozen=True)
class Drawn:
    """Slices of one prior, as many as real ones.

    Attributes:
        features: Learned features.
        ages: Years that were asked for, nan for none.
        covered: Whether a real slice's neighbourhood holds a generated one.
    """

    features: Float[np.ndarray, "n features"]
    ages: Float[np.ndarray, " n"]
    covered: Bool[np.ndarray, " n"]


@dataclass(frozen=True)
class Measured:
    """What was measured on each real slice.

    Attributes:
        subjects: Its person.
        reconstruction: SSIM inside the brain; nan without any.
        nats: Per code of its map.
        features: Learned features of the decoded slice; None without samples.
        drawn: {prior: its slices}.
    """

    subjects: Integer[np.ndarray, " n"]
    reconstruction: Float[np.ndarray, " n"]
    nats: Float[np.ndarray, " n"]
    features: Float[np.ndarray, "n features"] | None
    drawn: dict[str, Drawn]

    @classmethod
    def of(
        cls,
        split: Split,
        rows: np.ndarray,
        models: tuple[VQVAE, PixelCNN],
        samples: Mapping[str, Samples],
        device: torch.device,
    ) -> Measured:
        """Pass these rows of a split through the models, and describe all slices once."""
        vqvae, pixelcnn = models
        maps = encode_images(vqvae, np.array(split.images[rows]), device)
        decoded = decode_maps(vqvae, maps)
        features = learned(decoded, device, "features of decoded slices") if samples else None
        drawn = {}
        for name, some in samples.items():
            assert features is not None, "there are samples"
            drawn[name] = _drawn(name, some, split, rows, features, device)
        ssim = _brain_ssim(split, rows, decoded)
        return cls(
            split.subjects[rows], ssim, _nats(pixelcnn, split, rows, maps, device), features, drawn
        )

    def row(self, group: PeopleGroup) -> GroupRow:
        """How well a group is served."""
        mine = np.isin(self.subjects, group.people)
        owners = self.subjects[mine]
        return GroupRow(
            who=group.who,
            people=len(np.unique(owners)),
            slices=int(mine.sum()),
            reconstruction=_mean(self.reconstruction[mine], owners),
            nats_per_code=_mean(self.nats[mine], owners),
            coverage={name: _mean(x.covered[mine], owners) for name, x in self.drawn.items()},
            kid=self._distances(group, mine),
        )

    def _distances(self, group: PeopleGroup, mine: np.ndarray) -> dict[str, EstimateResults]:
        if group.ages is None or self.features is None:
            return {}
        real, owners, (low, high) = self.features[mine], self.subjects[mine], group.ages
        return {
            name: _kernel_distance(x.features[(x.ages > low) & (x.ages <= high)], real, owners)
            for name, x in self.drawn.items()
            if np.isfinite(x.ages).any()
        }


def _drawn(
    name: str,
    samples: Samples,
    split: Split,
    rows: np.ndarray,
    features: np.ndarray,
    device: torch.device,
) -> Drawn:
    """The slices nearest in position and age to the real ones, whose decoded features are given."""
    assert samples.ages is not None, "Samples sets them"
    chosen = matched(samples.positions, samples.ages, split.positions[rows], split.ages[rows])
    mine = learned(samples.images[chosen], device, f"features of {name}")
    near = Neighbourhoods.of(mine, features, np.arange(len(mine)), split.subjects[rows])
    return Drawn(mine, samples.ages[chosen], near.covered)


def _brain_ssim(split: Split, rows: np.ndarray, decoded: np.ndarray) -> Float[np.ndarray, " n"]:
    real, other = (as_floats(x).double() for x in (split.images[rows], decoded))
    return brain_ssim(real, other, region=torch.from_numpy(split.region(rows))[:, None]).numpy()


def _nats(
    pixelcnn: PixelCNN, split: Split, rows: np.ndarray, maps: np.ndarray, device: torch.device
) -> Float[np.ndarray, " n"]:
    tensors = {
        "indices": torch.from_numpy(maps.astype(np.int64)).to(device),
        "positions": torch.from_numpy(split.positions[rows]).to(device),
        "ages": torch.from_numpy(split.ages[rows]).to(device),
    }
    return prior_nats(pixelcnn, Batches(tensors, MAPS_AT_ONCE))


def _mean(values: np.ndarray, owners: np.ndarray) -> EstimateResults:
    """Mean of the known values; its interval needs MIN_GROUPS people."""
    known = np.isfinite(values)
    if not known.any():
        return EstimateResults(None, None)
    numbers, people = values[known].astype(np.float64), owners[known]
    enough = len(np.unique(people)) >= MIN_GROUPS
    return EstimateResults(
        float(numbers.mean()), mean_interval(numbers, people, MEAN_ROUNDS) if enough else None
    )


def _kernel_distance(drawn: np.ndarray, real: np.ndarray, owners: np.ndarray) -> EstimateResults:
    people = len(np.unique(owners))
    if min(len(drawn), len(real)) < MIN_IMAGES or people < 2:
        return EstimateResults(None, None)
    sides = drawn, real, np.arange(len(drawn)), owners
    return EstimateResults(
        kid(*sides), kid_interval(*sides, KID_ROUNDS) if people >= MIN_GROUPS else None
    )


# ---------------------------------------------------------------- groups
def audit_groups(
    dataset: Dataset,
    vqvae: VQVAE,
    pixelcnn: PixelCNN,
    samples: Mapping[str, Samples],
    device: torch.device,
    n_slices: int = MAX_SLICES,
) -> GroupResults:
    """How well each group of test people is served, by age, sex and CDR where they are known.

    Args:
        dataset: The data with the ages, sexes and CDRs of people.
        vqvae: The tokeniser.
        pixelcnn: The prior whose likelihood is taken.
        samples: {prior: generated slices}, best drawn for the test slices, see `generate`.
        device: Where the models are.
        n_slices: Most slices that are measured, real ones and of each prior.

    Returns:
        The groups with intervals over people, and the largest gaps between them; an attribute that
        is unknown, or the same for all people, is left out.

    Raises:
        ValueError: Generated slices of another size than the data, or fewer than MIN_IMAGES.
    """
    start = time.process_time()
    test = dataset.split("test")
    for some in samples.values():
        require_images(some.images, test.images.shape[1:])
    rows = reference_rows(
        test, min(n_slices, *(len(x.images) for x in samples.values()), len(test))
    )
    people = np.unique(test.subjects[rows])
    attributes = {}
    if groups := groups_of(dataset, "test", people):
        measured = Measured.of(test, rows, (vqvae, pixelcnn), samples, device)
        attributes = {
            name: _attribute(name, {key: measured.row(group) for key, group in some.items()})
            for name, some in groups.items()
        }
    seconds = round(time.process_time() - start, 1)
    return GroupResults(test.region_name, len(people), len(rows), attributes, seconds)


def _attribute(name: str, groups: dict[str, GroupRow]) -> AttributeResults:
    found = {key: row.estimates() for key, row in groups.items()}
    metrics = {metric: None for items in found.values() for metric in items}
    wider = _wider(len(metrics) * math.comb(len(groups), 2))
    gaps = {}
    for metric in metrics:
        items = {key: some[metric] for key, some in found.items() if metric in some}
        gap = _gap(groups, items, wider)
        if gap is not None:
            gaps[metric] = gap
    return AttributeResults(groups, gaps, _verdict(name, gaps))


def _wider(comparisons: int) -> float:
    """How much wider than for one comparison an interval must be, by the quantiles of a normal
    distribution.
    """
    return float(ndtri(0.025 / max(comparisons, 1)) / ndtri(0.025))


def _gap(
    groups: dict[str, GroupRow], items: dict[str, EstimateResults], wider: float
) -> GapResults | None:
    """The largest gap; None where fewer than two groups have a value."""
    values = {name: item.value for name, item in items.items() if item.value is not None}
    if len(values) < 2:
        return None
    low, *_, high = sorted(values, key=values.__getitem__)
    pair = [_widened(items[name], wider) for name in (high, low)]
    few = min(groups[name].people for name in (high, low)) < FEW
    if few or any(item["interval"] is None for item in pair):
        shown = None
    else:
        shown = differs(*pair) != "not shown to differ"
    return GapResults(high, low, values[high] - values[low], shown)


def _widened(item: EstimateResults, factor: float) -> dict[str, Any]:
    value, ends = item.value, item.interval
    if value is None or ends is None:
        return {"value": value, "interval": None}
    return {"value": value, "interval": [value + factor * (end - value) for end in ends]}


WORDS = {True: "shown", False: "not shown", None: "too few people to say"}


def _verdict(attribute: str, gaps: dict[str, GapResults]) -> str:
    parts = [
        f"{metric} {gap.difference:.2g} ({gap.higher} above {gap.lower}: {WORDS[gap.shown]})"
        for metric, gap in gaps.items()
    ]
    return f"Largest gaps by {attribute}: {'; '.join(parts)}."


def gap_sentences(results: GroupResults) -> list[str]:
    """Which of the largest gaps are shown, with both values, in a sentence for each attribute.

    Args:
        results: See `audit_groups`.

    Returns:
        Sentences; none without groups.
    """
    return [_shown_gaps(name, found) for name, found in results.attributes.items()]


def _shown_gaps(attribute: str, found: AttributeResults) -> str:
    parts: dict[str, list[str]] = {words: [] for words in WORDS.values()}
    for metric, gap in found.gaps.items():
        ends = ", ".join(
            f"{who} {found.groups[who].estimates()[metric].value:.3f}"
            for who in (gap.higher, gap.lower)
        )
        parts[WORDS[gap.shown]].append(f"{metric} ({ends})")
    listed = [f"*{words}*: {'; '.join(names)}" for words, names in parts.items() if names]
    return f"Largest gaps by {attribute}. {'. '.join(listed) or 'None is known'}."


PANELS = {  # metric: the model that it judges where it is one, which direction is better
    "reconstruction SSIM": ("VQ-VAE", "higher"),
    "nats per code": ("PixelCNN", "lower"),
    "coverage": ("", "higher"),
    "KID": ("", "lower"),
}


def group_values(results: GroupResults) -> dict[str, dict[str, dict[str, dict[str, Any] | None]]]:
    """The audit for `plotting.forest`, one panel for each metric.

    Args:
        results: See `audit_groups`.

    Returns:
        {metric and which direction is better: {group with the number of its people: {model: value
        and interval, None if it is not judged by this metric}}}; empty without groups. All rows
        have the same models in one order, so that colours agree.
    """
    panels: dict[str, dict[str, dict[str, dict[str, Any] | None]]] = {}
    rows = [item for found in results.attributes.values() for item in found.groups.items()]
    models = dict.fromkeys(
        [*(prior for _, row in rows for prior in row.coverage), "PixelCNN", "VQ-VAE"]
    )
    for name, row in rows:
        who = name if name == row.who else f"{name}, {row.who}"
        for metric, item in row.estimates().items():
            text, _, prior = metric.partition(", ")
            model, better = PANELS[text]
            panel = panels.setdefault(f"{text} ({better} is better)", {})
            group = panel.setdefault(f"{who} (n = {row.people})", dict(models))
            group[prior or model] = plain(item)
    return panels
