"""Verdicts on an evaluation in words.

A verdict says "higher" or "lower" only where the 95 % intervals of a metric and of its reference do
not overlap, and "not shown to differ" where they do. With fewer than FEW people it says neither.
"""

from __future__ import annotations

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
    """ "higher" or "lower" where the two intervals do not overlap, else "not shown to differ"."""
    (low, high), (reference_low, reference_high) = estimate["interval"], reference["interval"]
    return (
        "higher"
        if low > reference_high
        else "lower"
        if high < reference_low
        else "not shown to differ"
    )


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
    return (
        f"{text} Against decoded real slices, which leaves the decoder's blur out: kernel distance "
        f"{_against(e, prior['learned']['kid'], null['learned']['kid'], name)}; AUC {auc}."
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
    worst = max(
        found, key=lambda measure: found[measure]["value"] - null[measure]["value"]
    )  # they differ in bias

    def share(side: dict[str, Any], key: str) -> dict[str, Any]:
        return {"value": side[key], "interval": side[f"{key}_interval"]}

    outside = _against(
        e,
        share(generated, "outside_share"),
        share(real, "outside_share"),
        f"{name} slices of people",
        ".0%",
    )
    error = _against(
        e,
        share(generated, "position_error"),
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
        " near a training slice. Of a real person's slices, with a threshold from all other"
        f" people, the share is {m['suspicious_share_real']:.1%} (95 % upper bound"
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
