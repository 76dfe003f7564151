"""Regression of a measure of slices on age, with intervals over people.

A correlation is free of scale: it cannot show that an effect is too small or a level too low. A
line can, so generated and real slices are compared by theirs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Integer, UInt8

from oasis_utils.metrics import image_quality as metrics
from oasis_utils.metrics.bootstrap import MIN_GROUPS
from oasis_utils.metrics.bootstrap import central as central_95
from oasis_utils.metrics.dark_area import DarkArea
from oasis_utils.metrics.features import as_floats
from oasis_utils.metrics.slices import LabelledSlices

MIDDLE_AGE = 60.0  # years, where levels are compared: within the ages of most data sets
RESAMPLES = 1000  # resamples of people behind an interval
MAX_SLICES = 128  # real slices at most that generated ones are compared with


@dataclass(frozen=True)
class AgeTrend:
    """A least squares line of a measure against age, and the same of resamples of whole people.

    Attributes:
        slope: Change of the measure per year.
        level: Value of the line at MIDDLE_AGE years.
        slopes: Slopes of the resamples; empty where there are too few people.
        levels: Levels of the resamples.
    """

    slope: float
    level: float
    slopes: Float[np.ndarray, " rounds"]
    levels: Float[np.ndarray, " rounds"]

    @classmethod
    def fit(
        cls,
        values: Float[np.ndarray, " n"],
        ages: Float[np.ndarray, " n"],
        people: Integer[np.ndarray, " n"],
        seed: int = 0,
    ) -> AgeTrend | None:
        """From one value and age (years, nan where unknown) for each slice; slices of one of
        `people` are resampled together. None where fewer than two different ages are known.
        """
        known = np.isfinite(ages) & np.isfinite(values)
        y, x = values[known].astype(np.float64), ages[known].astype(np.float64) - MIDDLE_AGE
        if len(x) < 2 or np.ptp(x) == 0:
            return None
        owner = np.unique(people[known], return_inverse=True)[1]
        n = int(owner.max()) + 1
        slope, level = _lines(x, y, np.ones((1, len(x))))
        draws = np.random.default_rng(seed).multinomial(
            n, np.full(n, 1 / n), size=RESAMPLES if n >= MIN_GROUPS else 0
        )
        slopes, levels = _lines(x, y, draws[:, owner].astype(np.float64))
        return cls(float(slope[0]), float(level[0]), slopes, levels)

    def at(self, ages: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """The line at these ages in years."""
        return self.level + self.slope * (ages - MIDDLE_AGE)

    def __sub__(self, other: AgeTrend) -> AgeTrend:
        """The difference of two lines whose people are independent."""
        n = min(len(self.slopes), len(other.slopes))
        return AgeTrend(
            self.slope - other.slope,
            self.level - other.level,
            self.slopes[:n] - other.slopes[:n],
            self.levels[:n] - other.levels[:n],
        )

    def differs_from_zero(self) -> dict[str, bool | None]:
        """{"slope", "level"}: whether the 95 % interval leaves out 0; None without an interval."""
        ends = {"slope": central(self.slopes), "level": central(self.levels)}
        return {
            name: None if found is None else found[0] > 0 or found[1] < 0
            for name, found in ends.items()
        }

    def as_text(self, digits: int = 1) -> dict[str, str]:
        """{"change in 10 years", "at 60 years"} with their 95 % intervals."""
        return {
            "change in 10 years": interval_text(10 * self.slope, 10 * self.slopes, digits),
            f"at {MIDDLE_AGE:.0f} years": interval_text(self.level, self.levels, digits),
        }


def _lines(
    x: np.ndarray, y: np.ndarray, weights: Float[np.ndarray, "rounds n"]
) -> tuple[np.ndarray, np.ndarray]:
    """(slopes, values at x = 0) of weighted least squares lines; nan where all weight lies on one
    x.
    """
    total = weights.sum(1)
    mean_x, mean_y = weights @ x / total, weights @ y / total
    spread = weights @ (x * x) / total - mean_x**2
    together = weights @ (x * y) / total - mean_x * mean_y
    slopes = np.divide(together, spread, out=np.full_like(total, np.nan), where=spread > 1e-9)
    return slopes, mean_y - slopes * mean_x


@dataclass(frozen=True)
class DarkAreaTrends:
    """The dark central area (`DarkArea`) of generated and real slices of the same ages.

    Attributes:
        ages: Years of each slice, nan where unknown.
        dark: {"generated", "real"}: dark central area of each slice in per cent.
        lines: {"generated", "real"}: regression on age, None where fewer than two ages are known.
        correlation: {"generated", "real"}: correlation of the dark central area with age.
    """

    ages: Float[np.ndarray, " n"]
    dark: dict[str, Float[np.ndarray, " n"]]  # {"generated", "real"}
    lines: dict[str, AgeTrend | None]
    correlation: dict[str, float]

    @classmethod
    def of(
        cls,
        generated: UInt8[np.ndarray, "n height width"],
        split: LabelledSlices,
        rows: Integer[np.ndarray, " n"],
    ) -> DarkAreaTrends:
        """generated: one slice, each of noise of its own, for each of these rows of the split, at
        its age.
        """
        images, ages = (
            {"generated": generated, "real": split.images[rows]},
            split.ages[rows].astype(np.float64),
        )
        owners = {"generated": np.arange(len(rows)), "real": split.subjects[rows]}
        middle, positions = DarkArea.fit(split), split.positions[rows]
        dark = {name: 100.0 * middle.share(x, positions) for name, x in images.items()}
        lines = {
            name: AgeTrend.fit(dark[name], ages, owners[name], seed)
            for seed, name in enumerate(dark)
        }
        return cls(
            ages,
            dark,
            lines,
            {name: middle.age_correlation(x, positions, ages) for name, x in images.items()},
        )

    def line_of(
        self,
        changed: UInt8[np.ndarray, "n height width"],
        split: LabelledSlices,
        rows: Integer[np.ndarray, " n"],
    ) -> AgeTrend | None:
        """Regression on age of the dark central area of the real slices after a change.

        Args:
            changed: The real slices, changed; such as decoded after encoding.
            split: That of the real slices.
            rows: The real slices in it, as given to `of`.

        Returns:
            The line, None as from `AgeTrend.fit`. Resamples are of the same people as those of the
            real line.
        """
        after = 100.0 * DarkArea.fit(split).share(changed, split.positions[rows])
        return AgeTrend.fit(after, self.ages, split.subjects[rows], seed=1)

    def curves(self) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """{name: (ages, dark central area, value of the line)} for a figure; slices of unknown age
        are left out.
        """
        known = np.isfinite(self.ages)
        return {
            name: (self.ages[known], self.dark[name][known], line.at(self.ages[known]))
            for name, line in self.lines.items()
            if line
        }


def darkest_rows(split: LabelledSlices) -> tuple[int, Integer[np.ndarray, " n"]]:
    """Rows of the slice position where ageing shows best.

    Args:
        split: Slices with positions.

    Returns:
        The position with the darkest middle, and at most MAX_SLICES rows of the split at it,
        evenly.
    """
    level = DarkArea.fit(split).darkest_position(split.images, split.positions)
    rows = np.flatnonzero(split.positions == level)
    return level, rows[np.linspace(0, len(rows) - 1, min(len(rows), MAX_SLICES)).astype(int)]


def compared(
    generated: AgeTrend | None,
    real: AgeTrend | None,
    decoded: AgeTrend | None = None,
    digits: int = 1,
) -> dict[str, dict[str, str]]:
    """Rows of a table: the lines and, where they exist, the differences from the generated one.

    Args:
        generated: Line of the generated slices, None where there is none.
        real: Line of the real slices, None where there is none.
        decoded: Line of the real slices after encoding and decoding; None: no such rows.
        digits: After the point; two show the sign of an end near 0.

    Returns:
        {"generated", "real", "real, decoded", "generated - real", "generated - real, decoded"}:
        values and intervals of `AgeTrend.as_text`.
    """
    lines = {"generated": generated, "real": real, "real, decoded": decoded}
    rows = {name: line.as_text(digits) for name, line in lines.items() if line}
    for name in ("real", "real, decoded"):
        if generated and (line := lines[name]):
            rows[f"generated - {name}"] = (generated - line).as_text(digits)
    return rows


def verdict(generated: AgeTrend | None, real: AgeTrend | None, name: str = "real") -> str:
    """One sentence on level and slope: which of them differ from the real ones by more than chance.

    Args:
        generated: Line of the generated slices, None where there is none.
        real: Line of the real slices, as they are or decoded; None where there is none.
        name: Of those slices.

    Returns:
        The sentence; it also covers missing lines and too few people.
    """
    if not generated or not real:
        return "No two ages are known, so there is no line to compare."
    difference = generated - real
    beyond = difference.differs_from_zero()
    if None in beyond.values():
        return "Too few people for an interval, so no difference can be claimed."
    found = {
        "level": "lower" if difference.level < 0 else "higher",
        "slope": "flatter" if abs(generated.slope) < abs(real.slope) else "steeper",
    }
    names = {"level": f"level at {MIDDLE_AGE:.0f} years", "slope": "slope"}
    parts = [
        f"the {name} is {found[key]}" if beyond[key] else f"no difference in {name} is shown"
        for key, name in names.items()
    ]
    return f"Generated against {name}, by the 95 % interval of each difference: {'; '.join(parts)}."


def noise_similarity(
    young: UInt8[np.ndarray, "n height width"], old: UInt8[np.ndarray, "n height width"]
) -> dict[str, Float[np.ndarray, " n"]]:
    """Similarity of slices that were generated at two ages, with the same and with different noise.

    Args:
        young: uint8 (n, height, width), slices of one age.
        old: Slices of the other age; row i has the noise of row i of `young`.

    Returns:
        SSIM of each pair: {"same noise": rows paired as they are, "different noise": each row with
        the next row of the other age}.

    Raises:
        ValueError: For fewer than two rows.
    """
    if len(young) < 2:
        raise ValueError("noise_similarity needs slices of at least two noises at each age")
    pairs = {"same noise": old, "different noise": np.roll(old, 1, axis=0)}
    return {
        name: metrics.ssim(as_floats(young), as_floats(other)).numpy()
        for name, other in pairs.items()
    }


def central(resamples: Float[np.ndarray, " rounds"]) -> tuple[float, float] | None:
    """The central 95 % of the finite resamples; None where there are none."""
    finite = resamples[np.isfinite(resamples)]
    return central_95(finite) if len(finite) else None


def interval_text(value: float, resamples: Float[np.ndarray, " rounds"], digits: int = 1) -> str:
    """ "2.1 (1.7 to 2.6)"; the value alone where there is no interval."""
    ends = central(resamples)
    return f"{value:.{digits}f}" + (
        "" if ends is None else f" ({ends[0]:.{digits}f} to {ends[1]:.{digits}f})"
    )
