"""Tables of metrics and the model card (Mitchell 2019, arXiv 1810.03993), as Markdown."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from oasis_utils.evaluation.scorecard import scorecard_lines
from oasis_utils.runtime import atomic, printable

BETTER = {
    "kid": "lower",
    "frechet": "lower",
    "precision": "higher",
    "recall": "higher",
    "density": "higher",
    "coverage": "higher",
    "network": "near 0.5",
    "logistic": "near 0.5",
}

NAMES = {
    "kid": "KID",
    "frechet": "Fréchet distance",
    "network": "two-sample AUC, network",
    "logistic": "two-sample AUC, logistic",
}

ROWS = (
    ("learned", "kid"),
    ("learned", "frechet"),
    ("learned", "precision"),
    ("learned", "recall"),
    ("learned", "density"),
    ("learned", "coverage"),
    ("radiomic", "kid"),
    ("radiomic", "frechet"),
    ("radiomic", "coverage"),
    ("two_sample", "network"),
    ("two_sample", "logistic"),
)


def metric_values(
    evaluations: dict[str, dict[str, Any]],
    against: str = "real",
    rows: Sequence[tuple[str, str]] = ROWS,
) -> dict[tuple[str, str], dict[str, dict[str, Any] | None]]:
    """Every set against real slices, or against decoded ones, beside the references.

    Args:
        evaluations: {name of a set: its evaluation, see `evaluate_images`}.
        against: "real" or "decoded".
        rows: (family, metric) of each row; metrics that the data lack are left out.

    Returns:
        {(family, metric): {set or reference: {"value": v, "interval": (low, high)}, None if it was
        not measured}}.
    """
    some = next(iter(evaluations.values()))["comparisons"]
    references = (
        {
            "real vs real": some["real_vs_real"],
            "training vs real": some["training_vs_real"],
            "decoded vs real": some["decoded_vs_real"],
        }
        if against == "real"
        else {"decoded vs decoded": some["decoded_vs_decoded"]}
    )
    sides = {who: e["comparisons"][against] for who, e in evaluations.items()} | references
    return {
        (family, key): {
            who: (side or None) and side[family].get(key) for who, side in sides.items()
        }
        for family, key in rows
        if key in some[against][family]  # whole heads without masks show no ventricles
    }


def metric_rows(
    evaluations: dict[str, dict[str, Any]],
    against: str = "real",
    rows: Sequence[tuple[str, str]] = ROWS,
) -> dict[str, dict[str, str]]:
    """Table of `metric_values`.

    Args:
        evaluations: {name of a set: its evaluation, see `evaluate_images`}.
        against: "real" or "decoded".
        rows: (family, metric) of each row; metrics that the data lack are left out.

    Returns:
        {metric: {column: cell}}; the first column says which direction is better.
    """
    return {
        NAMES.get(key, key) + (f", {family}" if family in ("learned", "radiomic") else ""): {
            "better": BETTER.get(key, "lower")
        }
        | {column: cell(item) for column, item in items.items()}
        for (family, key), items in metric_values(evaluations, against, rows).items()
    }


def variety_rows(evaluations: dict[str, dict[str, Any]]) -> dict[str, dict[str, str]]:
    """Table of what is measured on each set by itself, beside real and decoded slices of people.

    Args:
        evaluations: {name of a set: its evaluation, see `evaluate_images`}.

    Returns:
        {metric: {column: cell}}.
    """
    some = next(iter(evaluations.values()))
    table = {
        "MS-SSIM of two slices of one position": (
            {"better": "as real"}
            | {
                column: cell(side and side["pair_ms_ssim"])
                for column, side in _columns(evaluations, some, "variety")
            }
        )
    }
    for name, key in (
        ("share outside the real range", "outside_share"),
        ("position error, slices", "position_error"),
    ):
        table[name] = {"better": "as real"} | {
            column: cell(side and {"value": side[key], "interval": side[f"{key}_interval"]})
            for column, side in _columns(evaluations, some, "anatomy")
        }
    return table


def _columns(
    evaluations: dict[str, dict[str, Any]], some: dict[str, Any], section: str
) -> list[tuple[str, Any]]:
    return [
        *((name, e[section]["generated"]) for name, e in evaluations.items()),
        ("real", some[section]["real"]),
        ("decoded real", some[section]["decoded"]),
    ]


def markdown(rows: dict[str, dict[str, str]], corner: str = "metric") -> list[str]:
    """The lines of a Markdown table, and an empty one."""
    columns = list(next(iter(rows.values())))
    return [
        f"| {corner} | {' | '.join(columns)} |",
        "|---|" + "---:|" * len(columns),
        *(
            f"| {name} | {' | '.join(row[column] for column in columns)} |"
            for name, row in rows.items()
        ),
        "",
    ]


def model_card(
    evaluations: dict[str, dict[str, Any]],
    about: dict[str, str],
    pictures: Sequence[str] = (),
    more: Sequence[str] = (),
) -> str:
    """One page of Markdown: origin of the slices, intended use, verdicts, metrics and limits.

    Args:
        evaluations: {name of a set: its evaluation, see `evaluate_images`}.
        about: Rows of the first table, such as {"data": "..."}.
        pictures: Paths relative to the card.
        more: Lines of Markdown before the limits, such as a scorecard.

    Returns:
        The page.

    Reference:
        Mitchell 2019, arXiv 1810.03993.
    """
    names = list(evaluations)
    some = evaluations[names[0]]
    lines = [
        "# Model card: generated brain MRI slices",
        "",
        "| | |",
        "|---|---|",
        *(f"| **{plain_text(name)}** | {plain_text(value)} |" for name, value in about.items()),
        "",
        "## Intended use",
        "",
        (
            "Teaching and research on generative models and on how to evaluate them. Not for"
            " diagnosis, not for training clinical software, not as evidence on anatomy: slices are"
            " generated one at a time and do not show a real person."
        ),
        "",
        "## Verdicts",
        "",
    ]
    for name in names:
        lines += [
            f"**{plain_text(name)}**",
            "",
            *(f"- *{key}*: {text}" for key, text in evaluations[name]["verdicts"].items()),
            "",
        ]
    lines += ["## Metrics", "", "Against real slices:", "", *markdown(metric_rows(evaluations))]
    if some["comparisons"]["decoded"]:
        lines += [
            "Against decoded real slices:",
            "",
            *markdown(metric_rows(evaluations, "decoded")),
        ]
    lines += ["Each set by itself:", "", *markdown(variety_rows(evaluations))]
    lines += _readers(evaluations)
    lines += [f"![{plain_text(path)}]({path})" for path in pictures]
    return "\n".join([*lines, *[""][: len(pictures)], *more, *_limits(some)])


def plain_text(text: str) -> str:
    """A text, such as a path, that Markdown and HTML show as it is, in one line."""
    escaped = html.escape(printable(text), quote=False)
    return re.sub(r"([\\|\[\]`*]|(?<!\w)_|_(?!\w))", r"\\\1", escaped)


def write_card(path: Path, report: dict[str, Any], pictures: Sequence[str] = ()) -> None:
    """Write the model card of a run with its scorecard, all or nothing.

    Args:
        path: The file.
        report: Of the whole run, `runtime.report.Report` as JSON holds it.
        pictures: Paths relative to the card.
    """
    evaluations, data, n_codes = report["priors"], report["data"], report["vqvae"]["n_codes"]
    compared, seed = report["evaluation"]["compared"], report["provenance"].get("seed")
    about = {
        "data": f"{data['source']}; {data['splits']['train']['subjects']} training subjects",
        "models": f"VQ-VAE with {n_codes} codes; priors {', '.join(evaluations)}",
        "evaluated": f"{compared} slices per set, seed {seed}",
    }
    text = model_card(evaluations, about, pictures, scorecard_lines(report))
    with atomic(path) as partial:
        partial.write_text(text, encoding="utf-8")


def _readers(evaluations: dict[str, dict[str, Any]]) -> list[str]:
    """The answers of readers, where a set has them."""
    found = {}
    for evaluation in evaluations.values():
        found |= evaluation.get("readers") or {}
    if not found:
        return []
    agreement = {
        name: "" if r["fleiss_kappa"] is None else f" Fleiss' κ: {r['fleiss_kappa']:.2f}."
        for name, r in found.items()
    }
    return [
        "## Readers",
        "",
        "People were shown pairs of a generated slice and a decoded real one of the same position.",
        "",
        *(f"- *{plain_text(name)}*: {r['verdict']}{agreement[name]}" for name, r in found.items()),
        "",
    ]


def _limits(some: dict[str, Any]) -> list[str]:
    finest = some["resolution"]
    return [
        "## Limits",
        "",
        (
            f"- {some['real_subjects']} test people: the intervals draw whole people. Real vs real,"
            f" KID is known to ± {finest['learned kid']:.3f}, the network's AUC to ±"
            f" {finest['two_sample network']:.2f}: smaller differences are not resolved."
        ),
        (
            "- Distances do not add up: distance to real minus distance of decoded slices is not"
            " the prior's share."
        ),
        (
            "- The learned features come from photographs; kernel and Fréchet distances here are no"
            " published FIDs."
        ),
        (
            "- The copy test compares whole slices. It cannot exclude that a part of a person is"
            " remembered."
        ),
        "",
    ]


def cell(item: dict[str, Any] | None) -> str:
    """A value with its interval as a table shows it; empty without one."""
    if item is None or item["value"] is None:
        return ""
    value, interval = item["value"], item["interval"]
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
    return f"{value:.{digits}f}" + (
        f" ({interval[0]:.{digits}f} to {interval[1]:.{digits}f})" if interval else ""
    )
