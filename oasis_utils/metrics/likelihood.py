"""Likelihood baselines for priors over index maps, all fitted by counting.

The strongest is a Markov chain in two dimensions: a code given its left and upper neighbours, with
the interpolation of Jelinek and Mercer (1980; Chen and Goodman 1999, doi 10.1006/csla.1999.0128):
weights by EM on the validation split.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Integer

from oasis_utils.metrics.bootstrap import MIN_GROUPS, mean_interval

EM_ROUNDS = 30  # of EM: the weights of so few parts have long converged


def unigram_nats(
    train: Integer[np.ndarray, "n rows cols"],
    held_out: Integer[np.ndarray, "m rows cols"],
    n_codes: int,
) -> float:
    """Nats per held-out code when every cell has the code frequencies of the training maps (add-one
    smoothed).
    """
    return float(_unigram(train, held_out, n_codes).mean())


def _unigram(
    train: np.ndarray, held_out: np.ndarray, n_codes: int
) -> Float[np.ndarray, "m rows cols"]:
    counts = np.bincount(train.ravel(), minlength=n_codes) + 1.0
    return -np.log(counts / counts.sum())[held_out]


def position_unigram_nats(
    train: Integer[np.ndarray, "n rows cols"],
    held_out: Integer[np.ndarray, "m rows cols"],
    n_codes: int,
    strength: float = 16.0,
) -> float:
    """The same with frequencies of each cell of the map; `strength` imaginary maps follow the
    unigram frequencies.
    """
    return float(_cell_unigram(train, held_out, n_codes, strength).mean())


def _cell_unigram(
    train: np.ndarray, held_out: np.ndarray, n_codes: int, strength: float = 16.0
) -> Float[np.ndarray, "m rows cols"]:
    counts = np.bincount(train.ravel(), minlength=n_codes) + 1.0
    rows, cols = train.shape[1:]
    cell = np.arange(rows * cols).reshape(rows, cols)
    table = np.bincount(
        (cell * n_codes + train.astype(np.int64)).ravel(), minlength=rows * cols * n_codes
    )
    table = table.reshape(rows * cols, n_codes) + strength * counts / counts.sum()
    table /= table.sum(1, keepdims=True)
    return -np.log(table[np.broadcast_to(cell, held_out.shape), held_out])


# ---------------------------------------------------------------- Markov chain


@dataclass(frozen=True)
class Counts:
    """How often each code followed each context, as sorted keys: few of all pairs occur."""

    n_codes: int
    contexts: Integer[np.ndarray, " contexts"]
    totals: Integer[np.ndarray, " contexts"]
    pairs: Integer[np.ndarray, " pairs"]  # context * n_codes + code
    times: Integer[np.ndarray, " pairs"]

    @classmethod
    def of(
        cls, context: Integer[np.ndarray, " n"], code: Integer[np.ndarray, " n"], n_codes: int
    ) -> Counts:
        """Count the codes after each context; row i of both arrays belongs together."""
        return cls(
            n_codes,
            *np.unique(context, return_counts=True),
            *np.unique(context * n_codes + code, return_counts=True),
        )

    def seen(self, context: Integer[np.ndarray, " n"]) -> Integer[np.ndarray, " n"]:
        """How often each of these contexts occurred."""
        return _look_up(self.contexts, self.totals, context)

    def shares(
        self,
        context: Integer[np.ndarray, " n"],
        code: Integer[np.ndarray, " n"],
        base: Float[np.ndarray, " n"],
    ) -> Float[np.ndarray, " n"]:
        """p(code | context) with one imaginary follower that is distributed as `base`: sums to one
        over the codes.
        """
        return (_look_up(self.pairs, self.times, context * self.n_codes + code) + base) / (
            self.seen(context) + 1
        )


def _look_up(keys: np.ndarray, values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    row = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[row] == wanted, values[row], 0)


@dataclass(frozen=True)
class Markov:
    """p(code | left, above), interpolated: sum of weight * p(code | part) over the parts. The
    weights depend on how often the pair (left, above) was seen; outside the map stands a code of
    its own.

    Attributes:
        n_codes: Size of the codebook.
        parts: "unigram", "left", "above", "both" and, if asked for, "cell".
        unigram: Smoothed frequency of each code.
        counts: What followed each context, by part.
        weights: Of the parts, for each number of times that a pair was seen.
    """

    n_codes: int
    parts: tuple[str, ...]
    unigram: Float[np.ndarray, " n_codes"]
    counts: dict[str, Counts]
    weights: Float[np.ndarray, "buckets parts"]

    @classmethod
    def fit(
        cls,
        train: Integer[np.ndarray, "n rows cols"],
        validate: Integer[np.ndarray, "m rows cols"],
        n_codes: int,
        cell: bool = False,
    ) -> Markov:
        """Counts from the training maps, weights from the validation maps.

        Args:
            train: Maps that are counted.
            validate: Maps that set the weights.
            n_codes: Size of the codebook.
            cell: Also interpolate with the code frequencies of each cell of the map.

        Returns:
            The chain.
        """
        contexts, code = _contexts(train, n_codes), train.astype(np.int64).ravel()
        unigram = np.bincount(code, minlength=n_codes) + 1.0
        counts = {
            name: Counts.of(context, code, n_codes)
            for name, context in contexts.items()
            if cell or name != "cell"
        }
        parts = ("unigram", *counts)
        blank = np.full((_bucket(np.array([len(code)]))[0] + 1, len(parts)), 1 / len(parts))
        model = cls(n_codes, parts, unigram / unigram.sum(), counts, blank)
        held_out = _contexts(validate, n_codes), validate.astype(np.int64).ravel()
        shares, buckets = model._shares(*held_out)
        for _ in range(EM_ROUNDS):
            mixed = shares * model.weights[buckets]
            mixed /= mixed.sum(1, keepdims=True)
            sums = np.full_like(
                blank, 1e-3
            )  # a bucket that validation never meets keeps equal weights
            np.add.at(sums, buckets, mixed)
            model.weights[:] = sums / sums.sum(1, keepdims=True)
        return model

    def nats(self, maps: Integer[np.ndarray, "n rows cols"]) -> Float[np.ndarray, "n rows cols"]:
        """-log p of every cell."""
        shares, buckets = self._shares(_contexts(maps, self.n_codes), maps.astype(np.int64).ravel())
        return -np.log((shares * self.weights[buckets]).sum(1)).reshape(maps.shape)

    def _shares(
        self, contexts: dict[str, np.ndarray], code: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """(probabilities of the codes under each part (n, parts), buckets (n,))."""
        base = self.unigram[code]
        shares = [
            base,
            *(counts.shares(contexts[name], code, base) for name, counts in self.counts.items()),
        ]
        return np.stack(shares, axis=1), _bucket(self.counts["both"].seen(contexts["both"]))


def _contexts(maps: np.ndarray, n_codes: int) -> dict[str, np.ndarray]:
    framed = np.pad(maps.astype(np.int64), ((0, 0), (1, 0), (1, 0)), constant_values=n_codes)
    left, above = framed[:, 1:, :-1].ravel(), framed[:, :-1, 1:].ravel()
    cell = np.broadcast_to(np.arange(maps[0].size).reshape(maps[0].shape), maps.shape).ravel()
    return {"left": left, "above": above, "both": left * (n_codes + 1) + above, "cell": cell}


def _bucket(seen: np.ndarray) -> np.ndarray:
    """Contexts seen 0, 1, 2-3, 4-7, ... times share their weights."""
    return np.log2(seen + 1).astype(int)


# ---------------------------------------------------------------- together


def baseline_nats(
    indices: Mapping[str, Integer[np.ndarray, "_ rows cols"]], n_codes: int, split: str = "test"
) -> dict[str, Float[np.ndarray, " n"]]:
    """Likelihood of each map of a split under four baselines fitted by counting.

    None of them is conditioned on slice position or age.

    Args:
        indices: {"train", "validate", the split}: index maps. The training maps come with their
            mirrored and shifted variants, as for the prior; interpolation weights come from the
            validation maps.
        n_codes: Size of the codebook.
        split: The maps to score.

    Returns:
        {"unigram_nats", "position_unigram_nats", "markov_nats", "markov_cell_nats"}: mean nats per
        code of each map.

    Reference:
        Chen and Goodman 1999, doi 10.1006/csla.1999.0128.
    """
    train, held_out = indices["train"], indices[split]
    chains = {
        name: Markov.fit(train, indices["validate"], n_codes, cell)
        for name, cell in (("markov_nats", False), ("markov_cell_nats", True))
    }
    cells = {
        "unigram_nats": _unigram(train, held_out, n_codes),
        "position_unigram_nats": _cell_unigram(train, held_out, n_codes),
        **{name: chain.nats(held_out) for name, chain in chains.items()},
    }
    return {name: values.mean((1, 2)) for name, values in cells.items()}


def likelihood_baselines(
    indices: Mapping[str, Integer[np.ndarray, "_ rows cols"]], n_codes: int, split: str = "test"
) -> dict[str, float]:
    """`baseline_nats`, averaged over the maps."""
    return {
        name: float(values.mean())
        for name, values in baseline_nats(indices, n_codes, split).items()
    }


def interval(
    nats: Float[np.ndarray, " n"], subjects: Integer[np.ndarray, " n"], rounds: int = 1000
) -> tuple[float, float]:
    """Central 95 % of a mean over resamples of whole subjects.

    Of the difference of two priors, taken map by map, differences between subjects drop out.

    Args:
        nats: A value for each map, such as nats per code.
        subjects: Subject of each map.
        rounds: Number of resamples.

    Returns:
        Lower and upper end; (nan, nan) for fewer than MIN_GROUPS subjects.
    """
    if len(np.unique(subjects)) < MIN_GROUPS:
        return float("nan"), float("nan")
    return mean_interval(nats, subjects, rounds)
