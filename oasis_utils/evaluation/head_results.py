"""The evaluation of whole heads as a report holds it, and its tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from oasis_utils.evaluation.model_card import cell
from oasis_utils.metrics.coherence import PLANES
from oasis_utils.runtime.report import (
    HeadComparisonResults,
    HeadResults,
    HeadSetResults,
    plain,
)
from oasis_utils.runtime.report.heads import WHOLE, Estimates

# ---------------------------------------------------------------- tables
_OF_SETS: dict[str, Callable[[HeadSetResults], Estimates]] = {
    "neighbour SSIM": lambda x: x.coherence["neighbour SSIM"],
    "same code": lambda x: x.coherence.get("same code", {}),
    "planes": lambda x: {f"{p} SSIM": x.coherence[f"{p} SSIM"][WHOLE] for p in PLANES},
    "roughness": lambda x: x.roughness,
    "position error": lambda x: x.position_error,
    "odd and even": lambda x: x.odd_even,
    "broken": lambda x: x.broken,
}
_OF_COMPARISONS: dict[str, Callable[[HeadComparisonResults], Estimates]] = {
    "roughness ratio": lambda x: x.roughness_ratio,
    "KID": lambda x: x.kid,
    "network AUC": lambda x: x.network,
    "AUC of whole heads": lambda x: x.whole_heads,
}
HEAD_TABLES = (*_OF_SETS, *_OF_COMPARISONS)


def head_rows(results: Mapping[str, HeadResults], table: str) -> dict[str, dict[str, str]]:
    """One measure of several sets of heads, as `plotting.table` takes it.

    Args:
        results: {name of a prior: its heads beside the same decoded ones}.
        table: One of HEAD_TABLES.

    Returns:
        {name: {part or measure: value with its interval}}; the first row is the reference.

    Raises:
        ValueError: For another table.
    """
    if table not in HEAD_TABLES:
        raise ValueError(f"unknown table {table!r}: choose one of {', '.join(HEAD_TABLES)}")
    first = next(iter(results.values()), None)
    if first is None:
        return {}
    if table in _OF_SETS:
        pick, rows = _OF_SETS[table], {"decoded": first.decoded}
        found = {
            name: pick(x) for name, x in (rows | {n: r.drawn for n, r in results.items()}).items()
        }
    else:
        pick = _OF_COMPARISONS[table]
        rows = {"decoded vs decoded": first.decoded_vs_decoded}
        rows |= {f"{name} vs decoded": x.drawn_vs_decoded for name, x in results.items()}
        found = {name: pick(x) for name, x in rows.items()}
    return {name: {key: cell(plain(x)) for key, x in row.items()} for name, row in found.items()}
