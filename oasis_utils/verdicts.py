"""What do the figures mean? The form of an evaluation, its verdicts in words, and the model card (Mitchell 2019,
arXiv 1810.03993).
"""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real
from typing import Any

SCHEMA, VERSION = "oasis_utils.evaluation", 1


def _number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and value == value


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _share(value: Any) -> bool:
    return _number(value) and 0 <= value <= 1


def _interval(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_number, value)) and value[0] <= value[1]


PAIR = {"sample": _count, "train_index": _count, "subject": _count, "position": _count, "distance": _number,
        "ratio": _number, "grey_distance": _number, "edge_distance": _number,
        "mirrored": lambda value: isinstance(value, bool)}


def _pairs(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(pair, dict) and set(PAIR) == set(pair) and all(test(pair[key]) for key, test in PAIR.items())
        for pair in value)


def _maybe(test: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or test(value)


def _section(value: Any) -> bool:
    return isinstance(value, dict) and bool(value)


FORM: dict[str, Callable[[Any], bool]] = {
    "schema": lambda value: value == SCHEMA, "version": lambda value: value == VERSION,
    "images": _count, "compared": _count, "real_subjects": _count,
    "positions": lambda value: value in ("given", "read from the slices"), "features": _section,
    "kid": _number, "kid_interval": _interval, "kid_floor": _number, "kid_floor_interval": _interval,
    "kid_ceiling": _maybe(_number), "two_sample_auc": _share, "two_sample_interval": _interval,
    "two_sample_null": _share, "memorised": lambda value: isinstance(value, bool), "suspicious_pairs": _pairs,
    "copy_gap": _number, "pair_ssim": _maybe(_number), "pair_ms_ssim": _maybe(_share),
    "pair_ssim_real": _maybe(_number), "pair_ms_ssim_real": _maybe(_share), "anatomy": _section,
    "memorisation": _section, "comparisons": _section, "verdicts": _section}


def check_form(evaluation: dict[str, Any]) -> None:
    """ValueError that names the first entry which is missing or not of its form."""
    for name, test in FORM.items():
        if name not in evaluation:
            raise ValueError(f"an evaluation needs {name!r} (form {SCHEMA}, version {VERSION}): write it with this "
                             "version of oasis_utils")
        if not test(evaluation[name]):
            raise ValueError(f"{name!r} of an evaluation is {evaluation[name]!r}, which is not its form ({SCHEMA}, "
                             f"version {VERSION}): write it with this version of oasis_utils")


# ---------------------------------------------------------------- in words


def verdicts(evaluation: dict[str, Any]) -> dict[str, str]:
    """{fidelity, diversity, anatomy, privacy}: a few plain sentences each, with the figures they rest on."""
    return {"fidelity": _fidelity(evaluation), "diversity": _diversity(evaluation), "anatomy": _anatomy(evaluation),
            "privacy": _privacy(evaluation)}


def _span(interval: list[float]) -> str:
    return f"95 %: {interval[0]:.3f} to {interval[1]:.3f}"


def _fidelity(e: dict[str, Any]) -> str:
    told = e["two_sample_auc"]
    apart = e["kid_interval"][0] > e["kid_floor_interval"][1]
    text = (f"The slices can be told from real ones: their kernel distance {e['kid']:.3f} ({_span(e['kid_interval'])}) "
            f"lies above that of two groups of real people, {e['kid_floor']:.3f} ({_span(e['kid_floor_interval'])})."
            if apart else
            f"The kernel distance {e['kid']:.3f} ({_span(e['kid_interval'])}) does not part the slices from real ones "
            f"(two groups of real people: {e['kid_floor']:.3f}, {_span(e['kid_floor_interval'])}); with "
            f"{e['real_subjects']} subjects that is weak evidence.")
    if e["kid_ceiling"] is not None:
        text += f" Real slices through the decoder already score {e['kid_ceiling']:.3f}: the rest is the prior's."
    null = e["two_sample_null"]
    text += f" A fresh network tells them from real slices with AUC {told:.2f} (real from real {null:.2f})"
    prior = e["comparisons"]["reconstructions"]
    return text + (f", from decoded real slices with {prior['two_sample']['network']['value']:.2f}." if prior else ".")


def _diversity(e: dict[str, Any]) -> str:
    ours, real = e["pair_ms_ssim"], e["pair_ms_ssim_real"]
    against = e["comparisons"]["reconstructions"] or e["comparisons"]["real"]
    name = "decoded real" if e["comparisons"]["reconstructions"] else "real"
    space = against["learned"]
    covered = (f"They reach {space['coverage']['value']:.0%} of the neighbourhoods of {name} slices (coverage), "
               f"recall {space['recall']['value']:.0%}, precision {space['precision']['value']:.0%}.")
    if ours is None or real is None:
        return f"No position occurs twice, so the likeness of pairs is unknown. {covered}"
    level = "much more alike than" if ours > real + 0.1 else "more alike than" if ours > real + 0.03 else "as varied as"
    return (f"Two slices of one position have MS-SSIM {ours:.2f}, those of two real people {real:.2f}: the samples are "
            f"{level} people. {covered}")


def _anatomy(e: dict[str, Any]) -> str:
    ours, real = e["anatomy"]["generated"], e["anatomy"]["real"]
    distances = e["comparisons"]["real"]["anatomy"]
    worst = max(distances, key=lambda name: distances[name]["value"])
    floor = e["comparisons"]["floor"]["anatomy"][worst]["value"]
    error = f"{ours['position_error']:.1f} slices off (real {real['position_error']:.1f})"
    position = (f"The position read back is {error}." if e["positions"] == "given"
                else "Positions were read from the slices and not asked for.")
    return (f"{ours['outside_share']:.0%} of the slices have a measure outside the real range of their position (real "
            f"held-out slices: {real['outside_share']:.0%}). Farthest from real: {worst}, "
            f"{distances[worst]['value']:.2f} real deviations (two groups of real people: {floor:.2f}). {position}")


def _privacy(e: dict[str, Any]) -> str:
    m = e["memorisation"]
    share = (f"{m['suspicious']} of {e['images']} samples ({m['suspicious_share']:.1%}) lie suspiciously near a "
             f"training slice; real slices of other people: {m['suspicious_share_real']:.1%} on average, up to "
             f"{m['suspicious_share_limit']:.1%}.")
    if e["memorised"]:
        return (f"The samples contain copies of training slices: {share} Do not release them: a person in the training "
                "data may be recognisable.")
    listed = " Look at each listed pair before using those samples." if m["suspicious"] else ""
    return (f"No more near-copies of training slices than chance makes: {share}{listed} This finds whole-slice copies, "
            "also mirrored or moved; it is no proof of privacy.")


# ---------------------------------------------------------------- model card


def model_card(evaluations: dict[str, dict[str, Any]], about: dict[str, str],
               pictures: list[str] | None = None) -> str:
    """One page of Markdown: what made the slices, what they are for, the verdicts, the figures and the limits.

    about: rows of the first table, such as {"data": "…"}; pictures: paths relative to the card.
    """
    names = list(evaluations)
    lines = ["# Model card: generated brain MRI slices", "", "| | |", "|---|---|",
             *(f"| **{name}** | {value} |" for name, value in about.items()), "", "## Intended use", "",
             "Teaching and research on generative models and on how to judge them. Not for diagnosis, not for training "
             "clinical software, not as evidence on anatomy: slices are drawn one at a time and belong to nobody.", "",
             "## Verdicts", ""]
    for name in names:
        lines += [f"**{name}**", "", *(f"- *{key}*: {text}" for key, text in evaluations[name]["verdicts"].items()), ""]
    lines += ["## Figures", "", *figure_table(evaluations), ""]
    lines += [f"![{path}]({path})" for path in pictures or []] + ([""] if pictures else [])
    subjects = evaluations[names[0]]["real_subjects"]
    lines += ["## Limits", "",
              f"- {subjects} held-out people a side: the intervals draw whole people and are wide for that reason.",
              "- The learned features come from photographs; kernel and Frechet distances here are no published FIDs.",
              "- A Frechet distance is biased by the number of images; all columns have the same.",
              "- The copy test compares whole slices. It cannot exclude that a part of a person is remembered.", ""]
    return "\n".join(lines)


def figure_table(evaluations: dict[str, dict[str, Any]]) -> list[str]:
    """Lines of a Markdown table: each figure of each set with its interval, next to floor and ceiling."""
    names, some = list(evaluations), next(iter(evaluations.values()))
    rows = [("kernel distance, learned", "learned", "kid"), ("Frechet distance, learned", "learned", "frechet"),
            ("coverage, learned", "learned", "coverage"), ("kernel distance, radiomic", "radiomic", "kid"),
            ("Frechet distance, radiomic", "radiomic", "frechet"), ("two-sample AUC, network", "two_sample", "network"),
            ("two-sample AUC, logistic", "two_sample", "logistic"),
            *((f"{name}, real deviations", "anatomy", name) for name in ("head area", "ventricles")
              if name in some["comparisons"]["real"]["anatomy"])]  # whole heads without masks show no ventricles
    head = ["figure", *names, "real against real", "decoded real against real"]
    lines = [f"| {' | '.join(head)} |", "|---|" + "---:|" * (len(head) - 1)]
    for label, family, key in rows:
        sides = [evaluations[name]["comparisons"]["real"] for name in names]
        sides += [some["comparisons"]["floor"], some["comparisons"]["ceiling"]]
        lines.append(f"| {label} | " + " | ".join(cell(side and side[family][key]) for side in sides) + " |")
    shared = {"MS-SSIM of pairs": ("pair_ms_ssim", "pair_ms_ssim_real", "pair_ms_ssim_decoded")}
    for label, (ours, real, decoded) in shared.items():
        values = [*(evaluations[name][ours] for name in names), some[real], some.get(decoded)]
        lines.append(f"| {label} | " + " | ".join("" if v is None else f"{v:.2f}" for v in values) + " |")
    for label, key, form in (("outside the real range", "outside_share", ".0%"),
                             ("position error, slices", "position_error", ".1f")):
        sides = [*(evaluations[n]["anatomy"]["generated"] for n in names), some["anatomy"]["real"],
                 some["anatomy"]["decoded"]]
        lines.append(f"| {label} | " + " | ".join("" if s is None else f"{s[key]:{form}}" for s in sides) + " |")
    return lines


def cell(figure: dict[str, Any] | None) -> str:
    """A figure with its interval as a table shows it; empty without one."""
    if figure is None or figure["value"] is None:
        return ""
    value, interval = figure["value"], figure["interval"]
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
    return f"{value:.{digits}f}" + (f" ({interval[0]:.{digits}f}–{interval[1]:.{digits}f})" if interval else "")
