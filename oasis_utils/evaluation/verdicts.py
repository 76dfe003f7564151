"""The form of an evaluation, its verdicts in words, and the model card (Mitchell 2019, arXiv
1810.03993).

A verdict says "larger" or "lower" only where the 95 % intervals of a metric and of its reference do
not overlap, and "not shown to differ" where they do; with fewer than FEW people it says neither.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any

SCHEMA, VERSION = "oasis_utils.evaluation", 2
FEW = 10  # people below which a bootstrap's intervals are too narrow to compare


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


# ---------------------------------------------------------------- in words


def verdicts(evaluation: dict[str, Any]) -> dict[str, str]:
    """{fidelity, diversity, anatomy, privacy}: a few plain sentences each, with the numbers they
    rest on.
    """
    return {
        "fidelity": _fidelity(evaluation),
        "diversity": _diversity(evaluation),
        "anatomy": _anatomy(evaluation),
        "privacy": _privacy(evaluation),
    }


def differs(estimate: dict[str, Any], reference: dict[str, Any]) -> str:
    """ "higher" or "lower" where the two intervals do not overlap, else "not shown to differ"."""
    (low, high), (reference_low, reference_high) = estimate["interval"], reference["interval"]
    return (
        "higher"
        if low > reference_high
        else "lower"
        if high < reference_low
        else "not shown to differ"
    )


def _said(item: dict[str, Any], form: str = ".3f") -> str:
    if item["interval"] is None:
        return f"{item['value']:{form}}"
    return (
        f"{item['value']:{form}} (95 %: {item['interval'][0]:{form}} to"
        f" {item['interval'][1]:{form}})"
    )


def _against(
    e: dict[str, Any], item: dict[str, Any], reference: dict[str, Any], name: str, form: str = ".3f"
) -> str:
    people = min(e["real_subjects"], e["reference_subjects"])
    word = differs(item, reference) if people >= FEW else f"{people} people are too few to say"
    return f"{_said(item, form)}; {name} {_said(reference, form)}: {word}"


def _fidelity(e: dict[str, Any]) -> str:
    sides = e["comparisons"]
    kid, auc = (
        sides["real"][family][key]
        for family, key in (("learned", "kid"), ("two_sample", "network"))
    )
    people = sides["real_vs_real"]
    text = (
        "Kernel distance to real slices"
        f" {_against(e, kid, people['learned']['kid'], 'real vs real')}. AUC of a network that"
        " separates them from real slices"
        f" {_against(e, auc, people['two_sample']['network'], 'real vs real', '.2f')}."
    )
    if sides["decoded"] is None:
        return text
    prior, null = sides["decoded"], sides["decoded_vs_decoded"]
    name = "decoded vs decoded"
    return (
        f"{text} Against decoded real slices, which leaves the decoder's blur out: kernel distance "
        f"{_against(e, prior['learned']['kid'], null['learned']['kid'], name)}; AUC "
        f"{_against(e, prior['two_sample']['network'], null['two_sample']['network'], name, '.2f')}."
    )


def _diversity(e: dict[str, Any]) -> str:
    name, space, null, like = (
        ("real", e["comparisons"]["real"], e["comparisons"]["real_vs_real"], e["variety"]["real"])
        if e["comparisons"]["decoded"] is None
        else (
            "decoded",
            e["comparisons"]["decoded"],
            e["comparisons"]["decoded_vs_decoded"],
            e["variety"]["decoded"],
        )
    )
    shares = " ".join(
        f"{key.capitalize()}"
        f" {_against(e, space['learned'][key], null['learned'][key], f'{name} vs {name}', '.0%')}."
        for key in ("coverage", "recall", "precision")
    )
    ours, theirs = e["variety"]["generated"]["pair_ms_ssim"], like["pair_ms_ssim"]
    if ours["value"] is None or theirs["value"] is None:
        return f"No position occurs twice, so the similarity of pairs is unknown. {shares}"
    alike = _against(e, ours, theirs, f"two {name} people", ".2f")
    return f"MS-SSIM of two slices of one position {alike} (higher: less varied). {shares}"


def _anatomy(e: dict[str, Any]) -> str:
    ours, real = e["anatomy"]["generated"], e["anatomy"]["decoded"] or e["anatomy"]["real"]
    decoded = e["comparisons"]["decoded"] is not None
    name = "decoded" if decoded else "real"
    found = e["comparisons"]["decoded" if decoded else "real"]["anatomy"]
    null = e["comparisons"]["decoded_vs_decoded" if decoded else "real_vs_real"]["anatomy"]
    worst = max(
        found, key=lambda measure: found[measure]["value"] - null[measure]["value"]
    )  # they differ in bias

    def share(side: dict[str, Any], key: str) -> dict[str, Any]:
        return {"value": side[key], "interval": side[f"{key}_interval"]}

    outside = _against(
        e,
        share(ours, "outside_share"),
        share(real, "outside_share"),
        f"{name} slices of people",
        ".0%",
    )
    error = _against(
        e,
        share(ours, "position_error"),
        share(real, "position_error"),
        f"{name} slices of people",
        ".1f",
    )
    position = (
        f"Position read back, error in slices: {error}."
        if e["positions"] == "given"
        else "Positions were read from the slices and not asked for."
    )
    farthest = _against(e, found[worst], null[worst], f"{name} vs {name}", ".2f")
    return (
        f"Slices with a measure outside the real range of their position: {outside}. Farthest"
        f" beyond its reference: {worst}, in real deviations {farthest}. {position}"
    )


def _privacy(e: dict[str, Any]) -> str:
    m = e["memorisation"]
    share = (
        f"{m['suspicious']} of {e['images']} samples ({m['suspicious_share']:.1%}) are suspiciously"
        " near a training slice. Of a real person's slices, judged by the threshold of all other"
        f" people, this is said of {m['suspicious_share_real']:.1%} (95 % upper bound"
        f" {m['suspicious_share_limit']:.1%})."
    )
    if e["memorised"]:
        return (
            f"The samples contain copies of training slices: {share} Do not release them: a person"
            " in the training data may be recognisable."
        )
    listed = " Look at each listed pair before using those samples." if m["suspicious"] else ""
    return (
        f"Copying is not shown: {share}{listed} This finds whole-slice copies, also moved and,"
        " where slices have a mid-line, mirrored; it is no proof of privacy."
    )


# ---------------------------------------------------------------- tables and model card

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


def metric_rows(
    evaluations: dict[str, dict[str, Any]],
    against: str = "real",
    rows: Sequence[tuple[str, str]] = ROWS,
) -> dict[str, dict[str, str]]:
    """{metric: {column: cell}}: every set against real slices, or against decoded ones, beside the
    references of that comparison. against: "real" or "decoded".
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
    table = {}
    for family, key in rows:
        if key not in some[against][family]:
            continue  # whole heads without masks show no ventricles
        name = NAMES.get(key, key) + (f", {family}" if family in ("learned", "radiomic") else "")
        sides = {who: e["comparisons"][against] for who, e in evaluations.items()} | references
        table[name] = {"better": BETTER.get(key, "lower")} | {
            column: cell(side and side[family].get(key)) for column, side in sides.items()
        }
    return table


def variety_rows(evaluations: dict[str, dict[str, Any]]) -> dict[str, dict[str, str]]:
    """{metric: {column: cell}} of what is measured on each set by itself, beside real and decoded
    slices of people.
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
        table[name] = {"better": "lower"} | {
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
    evaluations: dict[str, dict[str, Any]], about: dict[str, str], pictures: list[str] | None = None
) -> str:
    """One page of Markdown: what made the slices, what they are for, the verdicts, the metrics and
    the limits.

    about: rows of the first table, such as {"data": "…"}; pictures: paths relative to the card.
    """
    names = list(evaluations)
    some = evaluations[names[0]]
    lines = [
        "# Model card: generated brain MRI slices",
        "",
        "| | |",
        "|---|---|",
        *(f"| **{name}** | {value} |" for name, value in about.items()),
        "",
        "## Intended use",
        "",
        (
            "Teaching and research on generative models and on how to judge them. Not for"
            " diagnosis, not for training clinical software, not as evidence on anatomy: slices are"
            " drawn one at a time and belong to nobody."
        ),
        "",
        "## Verdicts",
        "",
    ]
    for name in names:
        lines += [
            f"**{name}**",
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
    lines += [f"![{path}]({path})" for path in pictures or []] + ([""] if pictures else [])
    return "\n".join([*lines, *_limits(some)])


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
