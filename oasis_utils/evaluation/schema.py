"""The schema of an evaluation: its entries, their types, and the check of a dictionary."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real
from typing import Any

SCHEMA, VERSION = "oasis_utils.evaluation", 2


def _number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and value == value


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _share(value: Any) -> bool:
    return _number(value) and 0 <= value <= 1


def _interval(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 2
        and all(map(_number, value))
        and value[0] <= value[1]
    )


PAIR = {
    "sample": _count,
    "train_index": _count,
    "subject": _count,
    "position": _count,
    "distance": _number,
    "ratio": _number,
    "grey_distance": _number,
    "edge_distance": _number,
    "mirrored": lambda value: isinstance(value, bool),
}


def _pairs(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(pair, dict)
        and set(PAIR) == set(pair)
        and all(test(pair[key]) for key, test in PAIR.items())
        for pair in value
    )


def _maybe(test: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or test(value)


def _section(value: Any) -> bool:
    return isinstance(value, dict) and bool(value)


FORM: dict[str, Callable[[Any], bool]] = {
    "schema": lambda value: value == SCHEMA,
    "version": lambda value: value == VERSION,
    "images": _count,
    "compared": _count,
    "real_subjects": _count,
    "reference_subjects": _count,
    "positions": lambda value: value in ("given", "read from the slices"),
    "features": _section,
    "kid": _number,
    "kid_interval": _interval,
    "kid_real_vs_real": _number,
    "kid_real_vs_real_interval": _interval,
    "kid_prior": _maybe(_number),
    "kid_prior_interval": _maybe(_interval),
    "kid_decoded_vs_decoded": _maybe(_number),
    "kid_decoded_vs_decoded_interval": _maybe(_interval),
    "kid_decoded_vs_real": _maybe(_number),
    "kid_decoded_vs_real_interval": _maybe(_interval),
    "two_sample_auc": _share,
    "two_sample_auc_interval": _interval,
    "two_sample_auc_real_vs_real": _share,
    "two_sample_auc_real_vs_real_interval": _interval,
    "two_sample_auc_prior": _maybe(_share),
    "two_sample_auc_prior_interval": _maybe(_interval),
    "two_sample_auc_decoded_vs_decoded": _maybe(_share),
    "two_sample_auc_decoded_vs_decoded_interval": _maybe(_interval),
    "two_sample_auc_decoded_vs_real": _maybe(_share),
    "two_sample_auc_decoded_vs_real_interval": _maybe(_interval),
    "resolution": _section,
    "memorised": lambda value: isinstance(value, bool),
    "suspicious_pairs": _pairs,
    "copy_gap": _number,
    "variety": _section,
    "anatomy": _section,
    "memorisation": _section,
    "comparisons": _section,
    "verdicts": _section,
}


def check_form(evaluation: dict[str, Any]) -> None:
    """ValueError that names the first entry which is missing or not of its form."""
    for name, test in FORM.items():
        if name not in evaluation:
            raise ValueError(
                f"an evaluation needs {name!r} (form {SCHEMA}, version {VERSION}): write it with"
                " this version of oasis_utils"
            )
        if not test(evaluation[name]):
            raise ValueError(
                f"{name!r} of an evaluation is {evaluation[name]!r}, which is not its form"
                f" ({SCHEMA}, version {VERSION}): write it with this version of oasis_utils"
            )
