"""Checks of configuration values that raise ValueError with the allowed range."""

from __future__ import annotations

from typing import Any


def require(condition: bool, message: str) -> None:
    """Raise ValueError with this message unless the condition holds."""
    if not condition:
        raise ValueError(message)


def within(config: Any, low: int | float, high: int | float, *names: str) -> None:
    """Require low <= value <= high of the named fields.

    Upper ends are far beyond use: they keep a damaged file from claiming all memory.
    """
    for name in names:
        value = getattr(config, name)
        require(low <= value <= high, f"{name} must be in [{low}, {high}], not {value}")
