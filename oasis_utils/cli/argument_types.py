"""Types of command line arguments: each converts a text or refuses it in one line."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from typing import Any

from oasis_utils.runtime import DEVICES, is_device_name

LONGEST_HEAD = 250.0  # mm


def finite(text: str) -> float:
    """A number that is neither nan nor infinite."""
    value = float(text)
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text} is not a finite number")
    return value


def fraction_above_zero(text: str) -> float:
    """A number in (0, 1]."""
    value = finite(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not in (0, 1]")
    return value


def count(text: str) -> int:
    """A whole number, 1 or more."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return value


def count_up_to(most: int) -> Callable[[str], int]:
    """A converter like `count` that refuses larger numbers."""

    def parse(text: str) -> int:
        value = count(text)
        if value > most:
            raise argparse.ArgumentTypeError(f"{text} is above {most}")
        return value

    parse.__name__ = "int"  # argparse names the type in its message
    return parse


def shares(text: str) -> tuple[float, ...]:
    """Three numbers A,B,C: shares of train, validate and test."""
    train, validate, test = map(finite, text.split(","))
    return train, validate, test


def interval(text: str) -> tuple[int, ...]:
    """Two whole numbers A:B."""
    first, end = text.split(":")
    return int(first), int(end)


def not_negative(kind: Callable[[str], Any]) -> Callable[[str], Any]:
    """A converter like `kind` that refuses negative numbers."""

    def parse(text: str) -> Any:
        value = kind(text)
        if value < 0:
            raise argparse.ArgumentTypeError(f"{text} is negative")
        return value

    parse.__name__ = kind.__name__
    return parse


def seed(text: str) -> int:
    """A seed that every library takes."""
    value = int(text)
    if not 0 <= value < 2**32:
        raise argparse.ArgumentTypeError(f"{text} is not from 0 to {2**32 - 1}")
    return value


def millimetres(text: str) -> float:
    """A length above 0 within a head."""
    value = finite(text)
    if not 0 < value <= LONGEST_HEAD:
        raise argparse.ArgumentTypeError(f"{text} mm must be above 0 and at most {LONGEST_HEAD:g}")
    return value


def device(text: str) -> str:
    """A name that `select_device` accepts."""
    if not is_device_name(text):
        raise argparse.ArgumentTypeError(f"{text} is not a device: choose {DEVICES}")
    return text


def port(text: str) -> int:
    """A number of a port that needs no privileges."""
    value = int(text)
    if not 1024 <= value <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is not a port from 1024 to 65535")
    return value


def years(text: str) -> float:
    """An age in years, 0 to 120."""
    value = finite(text)
    if not 0 <= value <= 120:
        raise argparse.ArgumentTypeError(f"{text} is not an age in years, 0 to 120")
    return value


# argparse names the type in its message
shares.__name__, interval.__name__, finite.__name__ = "A,B,C", "A:B", "float"
fraction_above_zero.__name__ = millimetres.__name__ = years.__name__ = "float"
count.__name__ = port.__name__ = seed.__name__ = "int"
