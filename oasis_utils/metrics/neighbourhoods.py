"""Precision and recall (Kynkaanniemi 2019, arXiv 1904.06991), density and coverage (Naeem 2020,
2002.09797) of a set of features against a real one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Integer

from oasis_utils.metrics.bootstrap import mean_interval, number_groups

NEAREST = 5  # k of the neighbourhoods


@dataclass(frozen=True)
class Neighbourhoods:
    """Membership of slices in the neighbourhoods of another set.

    A neighbourhood is the ball around a slice that reaches to its k-th nearest slice of its set.

    With groups, to the k-th nearest slice of *another* group: the nearest neighbours of a slice are
    its subject's next slices, and a neighbourhood that small would hold no slice of another person,
    however realistic.
    """

    precise: Bool[np.ndarray, " n"]  # a generated slice lies in some real neighbourhood
    density: Float[np.ndarray, " n"]  # in how many of them, divided by k
    recalled: Bool[np.ndarray, " m"]  # a real slice lies in some generated neighbourhood
    covered: Bool[np.ndarray, " m"]  # a real slice has a generated one in its own neighbourhood

    @classmethod
    def of(
        cls,
        fake: Float[np.ndarray, "n dim"],
        real: Float[np.ndarray, "m dim"],
        fake_groups: Integer[np.ndarray, " n"] | None = None,
        real_groups: Integer[np.ndarray, " m"] | None = None,
        k: int = NEAREST,
    ) -> Neighbourhoods:
        """Without groups, the published definitions. ValueError if a set has no k neighbours."""
        if min(len(fake), len(real)) <= k:
            raise ValueError(
                f"neighbourhoods of {k} need more than {k} images on either side, got {len(fake)}"
                f" and {len(real)}: generate more"
            )
        x, y = (torch.from_numpy(np.ascontiguousarray(rows)).double() for rows in (fake, real))
        reach_fake, reach_real = _reach(x, fake_groups, k), _reach(y, real_groups, k)
        distance = _distances(x, y)
        inside = distance < reach_real
        return cls(
            inside.any(1).numpy(),
            (inside.sum(1) / k).double().numpy(),
            (distance < reach_fake[:, None]).any(0).numpy(),
            inside.any(0).numpy(),
        )

    def means(self) -> dict[str, float]:
        """The four metrics: means of precise, recalled, density and covered."""
        return {
            "precision": float(self.precise.mean()),
            "recall": float(self.recalled.mean()),
            "density": float(self.density.mean()),
            "coverage": float(self.covered.mean()),
        }

    def intervals(
        self,
        fake_groups: Integer[np.ndarray, " n"],
        real_groups: Integer[np.ndarray, " m"],
        rounds: int,
    ) -> dict[str, tuple[float, float]]:
        """Central 95 % over whole groups of the slices that each metric averages, the other set
        held fixed.
        """
        sides = {
            "precision": (self.precise, fake_groups),
            "recall": (self.recalled, real_groups),
            "density": (self.density, fake_groups),
            "coverage": (self.covered, real_groups),
        }
        return {
            name: mean_interval(values.astype(np.float64), groups, rounds)
            for name, (values, groups) in sides.items()
        }


def _reach(x: torch.Tensor, groups: np.ndarray | None, k: int) -> torch.Tensor:
    """Distance of each row to its k-th nearest of another group."""
    owners = torch.arange(len(x)) if groups is None else torch.from_numpy(number_groups(groups))
    distance = _distances(x, x).masked_fill(owners[:, None] == owners, torch.inf)
    return distance.kthvalue(k).values


def _distances(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.cdist(
        a, b, compute_mode="donot_use_mm_for_euclid_dist"
    )  # the product form loses close pairs
