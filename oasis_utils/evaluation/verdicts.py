"""Verdicts on an evaluation in words.

A verdict says "higher" or "lower" only where the 95 % interval of the difference of a metric and
its reference excludes 0, and "not shown to differ" where it contains 0. With fewer than FEW people
it says neither.
"""

from __future__ import annotations

import math
from typing import Any

FEW = 10  # people below which a bootstrap's intervals are too narrow to compare


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
    """Whether an estimate differs from a reference by more than the interval of the difference.

    The half of each interval on the side of the other is added as those of independent estimates
    are: the root of the sum of squares. Two intervals may overlap slightly and differ all the same.

    Args:
        estimate: With value and 95 % interval.
        reference: The same.

    Returns:
        "higher", "lower" or "not shown to differ".
    """
    difference = estimate["value"] - reference["value"]
    upper, lower = (estimate, reference) if difference > 0 else (reference, estimate)
    width = math.hypot(upper["value"] - upper["interval"][0], lower["interval"][1] - lower["value"])
    if abs(difference) <= width:
        return "not shown to differ"
    return "higher" if difference > 0 else "lower"


COMPARED = {
    "learned KID": ("learned", "kid", -1),
    "radiomic KID": ("radiomic", "kid", -1),
    "precision": ("learned", "precision", 1),
    "recall": ("learned", "recall", 1),
    "coverage": ("learned", "coverage", 1),
    "AUC of the network": ("two_sample", "network", -1),
    "AUC of the logistic regression": ("two_sample", "logistic", -1),
}


def compare_priors(evaluations: dict[str, dict[str, Any]]) -> str:
    """In which metrics one of two priors is better.

    Args:
        evaluations: {name: evaluation} of two priors, see `evaluate_images`.

    Returns:
        One sentence; it rests on the same rule as the verdicts.
    """
    (one, first), (two, second) = evaluations.items()
    people = min(first["real_subjects"], first["reference_subjects"])
    if people < FEW:
        return f"{people} people are too few to say."
    side = "decoded" if first["comparisons"]["decoded"] else "real"
    found: dict[str, list[str]] = {one: [], two: [], "": []}
    for text, (family, key, sign) in COMPARED.items():
        word = differs(*(e["comparisons"][side][family][key] for e in (first, second)))
        better = {"higher": (one, two), "lower": (two, one)}.get(word, ("", ""))
        found[better[0] if sign > 0 else better[1]].append(text)
    parts = [f"{name} is better in {', '.join(found[name])}" for name in (one, two) if found[name]]
    if found[""]:
        parts.append(f"no difference is shown in {', '.join(found[''])}")
    return f"Against {side} slices, {'; '.join(parts)}."


FINDINGS = {  # row of the table: family and metric, form of the numbers, which is better
    "KID": ("learned", "kid", ".3f", "lower"),
    "AUC of the network": ("two_sample", "network", ".2f", "lower"),
    "precision": ("learned", "precision", ".2f", "higher"),
    "recall": ("learned", "recall", ".2f", "higher"),
    "coverage": ("learned", "coverage", ".2f", "higher"),
}


def verdict_rows(evaluations: dict[str, dict[str, Any]]) -> dict[str, dict[str, str]]:
    """The verdicts of several sets as a table.

    Args:
        evaluations: {name: evaluation}, see `evaluate_images`.

    Returns:
        {finding: {"better": lower, higher or as the reference, "reference": its value and 95 %
        interval, name of a set: the same and the verdict}}.
    """
    some, rows = next(iter(evaluations.values())), {}
    for side in ("real", "decoded"):
        null = some["comparisons"][f"{side}_vs_{side}"]
        if some["comparisons"][side] is None or null is None:
            continue
        for text, (family, key, form, better) in FINDINGS.items():
            found = {name: e["comparisons"][side][family][key] for name, e in evaluations.items()}
            rows[f"{text}, against {side}"] = _verdict_row(
                some, found, null[family][key], form, better
            )
        joint = {
            name: e["comparisons"][side].get("anatomy_joint") for name, e in evaluations.items()
        }
        if null.get("anatomy_joint") and all(joint.values()):
            rows[f"anatomy together, against {side}"] = _verdict_row(
                some, joint, null["anatomy_joint"], ".2f", "lower"
            )
    like = "decoded" if some["comparisons"]["decoded"] else "real"
    pairs = {name: e["variety"]["generated"]["pair_ms_ssim"] for name, e in evaluations.items()}
    reference = some["variety"][like]["pair_ms_ssim"]
    if all(item["value"] is not None for item in (reference, *pairs.values())):
        rows["MS-SSIM of two slices of one position"] = _verdict_row(some, pairs, reference, ".2f")
    for text, key, form in (
        ("share outside the real range", "outside_share", ".2f"),
        ("error of the position, in slices", "position_error", ".1f"),
    ):
        found = {name: _share(e["anatomy"]["generated"], key) for name, e in evaluations.items()}
        rows[text] = _verdict_row(some, found, _share(some["anatomy"][like], key), form)
    return rows


def anatomy_rows(evaluations: dict[str, dict[str, Any]]) -> dict[str, dict[str, str]]:
    """The anatomy of several sets in short, for `plotting.table`.

    Args:
        evaluations: {name: evaluation}, see `evaluate_images`.

    Returns:
        {name of a set: {"farthest, against real" and "decoded": the measure that lies farthest
        beyond its reference, in real deviations; "all together" and its reference: squared distance
        of all measures to decoded slices; "largest effect size"}}; what was not measured is left
        out.
    """
    rows: dict[str, dict[str, str]] = {}
    for name, e in evaluations.items():
        sides, row = e["comparisons"], {}
        for side in ("real", "decoded"):
            if sides[side] is not None:
                measure, beyond = _farthest(sides[side], sides[f"{side}_vs_{side}"])
                row[f"farthest, against {side}"] = f"{measure} ({beyond:+.2f})"
        found, null = sides["decoded"] or {}, sides["decoded_vs_decoded"] or {}
        if found.get("anatomy_joint") and null.get("anatomy_joint"):
            row["all together"] = _brief(found["anatomy_joint"], ".2f")
            row["decoded vs decoded"] = _brief(null["anatomy_joint"], ".2f")
        if effects := found.get("anatomy_effects"):
            measure, effect = max(effects.items(), key=lambda item: abs(item[1]["value"]))
            row["largest effect size"] = f"{measure} {_brief(effect, '+.2f')}"
        rows[name] = row
    return rows


def _farthest(found: dict[str, Any], null: dict[str, Any]) -> tuple[str, float]:
    """The anatomical measure that lies farthest beyond its reference, and by how much: the measures
    differ in bias.
    """
    beyond = {
        measure: item["value"] - null["anatomy"][measure]["value"]
        for measure, item in found["anatomy"].items()
    }
    measure = max(beyond, key=beyond.__getitem__)
    return measure, beyond[measure]


def _verdict_row(
    some: dict[str, Any],
    found: dict[str, dict[str, Any]],
    reference: dict[str, Any],
    form: str,
    better: str = "as reference",
) -> dict[str, str]:
    people = min(some["real_subjects"], some["reference_subjects"])

    def word(item: dict[str, Any]) -> str:
        return differs(item, reference) if people >= FEW else "too few people to say"

    return {"better": better, "reference": _brief(reference, form)} | {
        name: f"{_brief(item, form)}: {word(item)}" for name, item in found.items()
    }


def _brief(item: dict[str, Any], form: str) -> str:
    ends = item["interval"]
    return f"{item['value']:{form}}" + (f" ({ends[0]:{form}} to {ends[1]:{form}})" if ends else "")


def _share(side: dict[str, Any], key: str) -> dict[str, Any]:
    return {"value": side[key], "interval": side[f"{key}_interval"]}


def _text(item: dict[str, Any], form: str = ".3f") -> str:
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
    return f"{_text(item, form)}; {name} {_text(reference, form)}: {word}"


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
    auc = _against(e, prior["two_sample"]["network"], null["two_sample"]["network"], name, ".2f")
    learned, own = prior["learned"], null["learned"]
    return (
        f"{text} Against decoded real slices, which leaves the decoder's blur out: kernel distance "
        f"{_against(e, learned['kid'], own['kid'], name)}; AUC {auc}; precision "
        f"{_against(e, learned['precision'], own['precision'], name, '.0%')}."
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
        for key in ("coverage", "recall")
    )
    generated, reference = e["variety"]["generated"]["pair_ms_ssim"], like["pair_ms_ssim"]
    if generated["value"] is None or reference["value"] is None:
        return f"No position occurs twice, so the similarity of pairs is unknown. {shares}"
    alike = _against(e, generated, reference, f"two {name} people", ".2f")
    return f"MS-SSIM of two slices of one position {alike} (higher: less varied). {shares}"


def _anatomy(e: dict[str, Any]) -> str:
    generated, real = e["anatomy"]["generated"], e["anatomy"]["decoded"] or e["anatomy"]["real"]
    decoded = e["comparisons"]["decoded"] is not None
    name = "decoded" if decoded else "real"
    found = e["comparisons"]["decoded" if decoded else "real"]["anatomy"]
    null = e["comparisons"]["decoded_vs_decoded" if decoded else "real_vs_real"]["anatomy"]
    worst, _ = _farthest({"anatomy": found}, {"anatomy": null})
    outside = _against(
        e,
        _share(generated, "outside_share"),
        _share(real, "outside_share"),
        f"{name} slices of people",
        ".0%",
    )
    error = _against(
        e,
        _share(generated, "position_error"),
        _share(real, "position_error"),
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
        " near a training slice. Of slices of real people who are in neither set,"
        f" {m['suspicious_share_real']:.1%} (95 % upper bound {m['suspicious_share_limit']:.1%})"
        " are."
    )
    if e["memorised"]:
        return (
            f"The samples contain copies of training slices: {share} Do not release them: a person"
            " in the training data may be recognisable."
        )
    listed = " See `suspicious_pairs` in report.json before using them." if m["suspicious"] else ""
    return f"Copying is not shown: {share}{listed} Whole-slice copies only: no proof of privacy."
