"""Types of the fields of a report, and the settings with which they are checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from annotated_types import Ge, Le, Predicate


def ascending(ends: tuple[float, float]) -> bool:
    """Whether an interval's first end is not above its second."""
    return ends[0] <= ends[1]


Count = Annotated[int, Ge(0)]
Share = Annotated[float, Ge(0), Le(1)]
Interval = Annotated[tuple[float, float], Predicate(ascending)]
Numbers = Mapping[str, float | None]


class Strict:
    """No conversion, no unknown entry, no nan: settings that pydantic reads."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {
        "extra": "forbid",
        "strict": True,
        "allow_inf_nan": False,
    }
