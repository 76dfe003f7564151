"""A scorecard of generated slices under seven headings, from a whole report.

Headings: Zamzmi et al. 2024, "Scorecards for synthetic medical data evaluation and reporting",
arXiv 2406.11143 (congruence, coverage, constraint, completeness, compliance, comprehension,
consistency). What a run did not measure is said to be so.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from oasis_utils.evaluation.readers import LEVEL
from oasis_utils.evaluation.scorecard_numbers import (
    NOT_MEASURED,
    Pair,
    enough_people,
    estimate_text,
    evaluations,
    outcome,
    pairs_of,
    sides_of,
    title,
    with_interval,
)
from oasis_utils.evaluation.verdicts import FEW
from oasis_utils.models.sampler import PRIORS

HEADINGS = {
    "congruence": "Are generated slices distributed like real ones, and of use like them?",
    "coverage": "Do they show the variety of people, in every group?",
    "constraint": "Do they keep to what is known of anatomy, position and age?",
    "completeness": "Is it stated what they were made from, and how?",
    "compliance": "What do the slices and the models tell about the training people?",
    "comprehension": "Is it understood where they differ from real slices?",
    "consistency": "How stable are models and results?",
}
ATTRIBUTES = ("age", "sex", "CDR")
# of `UtilityResults`: what is measured, and digits
TASKS = {"age": ("error of the age in years", 1), "segmentation": ("Dice of tissues", 3)}
FEW_USED = 3  # a perplexity below 1 / FEW_USED of the codes means that few codes do the work
WRONG_CELLS = 0.1  # share of cells with a near code in place of their own


def scorecard(report: dict[str, Any]) -> dict[str, list[str]]:
    """What a run measured, under the seven headings.

    Args:
        report: `runtime.report.Report` as JSON holds it; sections may be missing.

    Returns:
        {heading: sentences}; NOT_MEASURED in place of sentences that a section would have given.
    """
    parts = (
        _congruence,
        _coverage,
        _constraint,
        _completeness,
        _compliance,
        _comprehension,
        _consistency,
    )
    return {
        name: list(part(report)) or [NOT_MEASURED]
        for name, part in zip(HEADINGS, parts, strict=True)
    }


def scorecard_lines(report: dict[str, Any]) -> list[str]:
    """The scorecard as lines of Markdown.

    Args:
        report: As for `scorecard`.

    Returns:
        A heading of the second level, one of the third for each part, and its sentences as a list.
    """
    lines = ["## Scorecard", ""]
    for name, sentences in scorecard(report).items():
        lines += [f"### {name.capitalize()}", "", f"*{HEADINGS[name]}*", ""]
        lines += [*(f"- {text}" for text in sentences), ""]
    return lines


def scorecard_rows(report: dict[str, Any]) -> dict[str, dict[str, str]]:
    """The scorecard in brief: the main numbers of each prior under each heading.

    Args:
        report: As for `scorecard`.

    Returns:
        {heading: {"question", each prior, "reference, or not measured": text}}, rows for
        `plotting.table`. Bold: shown to differ from the reference or among groups, or
        an alarm.
    """
    named = dict(evaluations(report))
    brief = {name: _brief(report, name, evaluation) for name, evaluation in named.items()}
    beside = _brief_references(report, next(iter(named.values()), None))
    return {
        heading: {
            "question": question,
            **{name: cells[heading] for name, cells in brief.items()},
            "reference, or not measured": beside[heading],
        }
        for heading, question in HEADINGS.items()
    }


def _beside(
    evaluation: dict[str, Any], item: dict[str, Any], reference: dict[str, Any], digits: int = 2
) -> str:
    """A value beside its reference, with the verdict on their difference."""
    word = outcome(evaluation, item, reference) or "too few people to say"
    return f"{estimate_text(item, digits)}, reference {estimate_text(reference, digits)}: {word}"


# ---------------------------------------------------------------- the headings
def _congruence(report: dict[str, Any]) -> Iterator[str]:
    for name, evaluation in evaluations(report):
        found, null, what = sides_of(evaluation)
        kid = _beside(evaluation, found["learned"]["kid"], null["learned"]["kid"], 3)
        auc = _beside(evaluation, found["two_sample"]["network"], null["two_sample"]["network"])
        yield f"{name}: KID to {what} {kid}; AUC of a classifier {auc}."
    utility = report.get("utility")
    if utility is None:
        yield f"As training data: {NOT_MEASURED}."
    else:
        yield from _utility(utility)
    read = [e["readers"] for _, e in evaluations(report) if e.get("readers")]
    if not read:
        yield f"Readers: {NOT_MEASURED} in the run (`readers` writes a study, `evaluate` reads it)."
    for found in read:
        yield from (f"Readers, {name}: {item['verdict']}" for name, item in found.items())


def _utility(utility: dict[str, Any]) -> Iterator[str]:
    for task, (what, digits) in TASKS.items():
        measured = utility.get(task)
        if measured is None:
            yield f"As training data, {task}: {NOT_MEASURED}."
            continue
        rows = measured["rows"]
        parts = [
            f"{title(n)} {rows[n]['value']:.{digits}f}" for n in utility["priors"] if n in rows
        ]
        yield (
            f"As training data, {what}: {', '.join(parts)}; as many real slices"
            f" {rows['real']['value']:.{digits}f}, shuffled labels"
            f" {rows['shuffled labels']['value']:.{digits}f}."
        )


def _coverage(report: dict[str, Any]) -> Iterator[str]:
    for name, evaluation in evaluations(report):
        found, null, what = sides_of(evaluation)
        coverage = _beside(evaluation, found["learned"]["coverage"], null["learned"]["coverage"])
        pairs = evaluation["variety"]
        like = pairs["decoded"] or pairs["real"]
        alike = _beside(evaluation, pairs["generated"]["pair_ms_ssim"], like["pair_ms_ssim"])
        yield f"{name}: coverage of {what} {coverage}; MS-SSIM of two slices {alike}."
    groups = report.get("groups")
    if groups is None:
        yield f"Groups of people: {NOT_MEASURED}."
    else:
        yield from (found["verdict"] for found in groups["attributes"].values())
        unknown = [name for name in ATTRIBUTES if name not in groups["attributes"]]
        if unknown:
            yield f"Groups by {', '.join(unknown)}: {NOT_MEASURED}, unknown or the same for all."


def _constraint(report: dict[str, Any]) -> Iterator[str]:
    for name, evaluation in evaluations(report):
        sides = evaluation["anatomy"]
        like = sides["decoded"] or sides["real"]
        drawn = sides["generated"]
        outside = _beside(
            evaluation, with_interval(drawn, "outside_share"), with_interval(like, "outside_share")
        )
        error = _beside(
            evaluation,
            with_interval(drawn, "position_error"),
            with_interval(like, "position_error"),
            1,
        )
        yield (
            f"{name}: share of slices outside the real range {outside}; error of the position in"
            f" slices {error}."
        )
        found, null, what = sides_of(evaluation)
        together, alone = found.get("anatomy_joint"), null.get("anatomy_joint")
        if together and alone:
            distance = _beside(evaluation, together, alone)
            yield f"{name}: squared distance of all measures to {what} {distance}."
        effects = found.get("anatomy_effects") or {}
        if effects and enough_people(evaluation):
            worst = max(effects, key=lambda m: abs(effects[m]["value"]))
            size = estimate_text(effects[worst])
            yield f"{name}: largest effect size, {worst} {size} deviations."
    for name, kind in PRIORS.items():
        lines = ((report.get(name) or {}).get("age_trend") or {}).get("generated - real")
        if lines and all("(" in text for text in lines.values()):  # with intervals
            parts = ", ".join(f"{what} {text}" for what, text in lines.items())
            yield f"{kind.__name__}, dark central area, generated minus real: {parts} per cent."


def _completeness(report: dict[str, Any]) -> Iterator[str]:
    data = report.get("data")
    if data is None:
        return
    people = ", ".join(f"{size['subjects']} {name}" for name, size in data["splits"].items())
    yield f"Data: {data['source']}; people: {people}; {data['image_size']} pixels."
    if data["synthetic"]:
        yield "The people are synthetic sample brains: no sentence here carries over to patients."
    made = report.get("provenance")
    if made:
        yield f"Made by version {made.get('oasis_utils')}, seed {made.get('seed')}."
    known = "are known" if (report.get("pixelcnn") or {}).get("age_trend") else "are not known"
    yield f"Ages {known} to the priors; sex, diagnosis and scanner are not."


def _compliance(report: dict[str, Any]) -> Iterator[str]:
    for name, evaluation in evaluations(report):
        found = evaluation["memorisation"]
        word = "shown" if evaluation["memorised"] else "not shown"
        yield (
            f"{name}, copies: {word}; {found['suspicious']} of {evaluation['images']} samples are"
            " suspiciously near a training slice. Of slices of real people who are in neither set,"
            f" {found['suspicious_share_real']:.1%} are (upper bound"
            f" {found['suspicious_share_limit']:.1%})."
        )
    if report.get("priors"):
        yield "The copy test finds whole slices, also moved; it is no proof of privacy."
    membership = report.get("membership")
    if membership is None:
        yield f"Membership: {NOT_MEASURED}."
        return
    for name, row in membership["models"].items():
        yield f"Membership by the scores of the {name}: {row['verdict']}."
    if any(row["alarm"] == "yes" for row in membership["models"].values()):
        yield "The weights tell members from others: share them under the same terms as the data."


def _comprehension(report: dict[str, Any]) -> Iterator[str]:
    for name, evaluation in evaluations(report):
        for number, difference in list((evaluation.get("giveaways") or {}).items())[:1]:
            yield f"{name}, largest difference: {number} ({difference:+.1f} deviations)."
    prior = report.get("pixelcnn")
    if prior:
        yield (
            f"PixelCNN: {prior['nats_per_code']:.2f} nats per code; the best Markov chain"
            f" reaches {prior['markov_cell_nats']:.2f}."
        )


def _consistency(report: dict[str, Any]) -> Iterator[str]:
    yield f"Other trainings of the same models: {NOT_MEASURED}; each was trained once."
    book = report.get("codebook")
    if book:
        yield _used(book)
        near = {float(share): value for share, value in book["ssim_with_near_codes"].items()}
        share = min(near, key=lambda s: abs(s - WRONG_CELLS))
        yield (
            f"With {share:.0%} of the codes replaced by a near one, the SSIM of reconstructions is"
            f" {near[share]:.3f}; without, {near[min(near)]:.3f}."
        )
    for name, evaluation in evaluations(report):
        sizes = evaluation.get("sample_sizes") or {}
        if sizes and enough_people(evaluation):
            parts = ", ".join(f"{n}: {estimate_text(item, 3)}" for n, item in sizes.items())
            yield f"{name}, KID by the number of slices: {parts}."


def _used(book: dict[str, Any]) -> str:
    share = book["perplexity"] / book["n_codes"]
    word = "well used" if share >= 1 / FEW_USED else "poorly used: few codes do most of the work"
    return f"Codebook {word}: perplexity {book['perplexity']:.0f} of {book['n_codes']} codes."


# ---------------------------------------------------------------- in brief
def _brief(report: dict[str, Any], name: str, evaluation: dict[str, Any]) -> dict[str, str]:
    """What each heading says of a prior."""
    cells = {
        heading: ", ".join(_compared(evaluation, pair) for pair in pairs)
        for heading, pairs in pairs_of(evaluation).items()
    }
    use = [*_brief_utility(report.get("utility") or {}, name), *_brief_readers(evaluation)]
    cells["congruence"] = "; ".join([cells["congruence"], *use])
    cells["coverage"] = "; ".join([cells["coverage"], *_brief_groups(report, name)])
    largest = next(iter((evaluation.get("giveaways") or {}).items()), None)
    sizes = list((evaluation.get("sample_sizes") or {}).items())
    stable = NOT_MEASURED
    if sizes and sizes[-1][1]["interval"]:
        stable = f"KID of {sizes[-1][0]} slices {estimate_text(sizes[-1][1], 3)}"
    return cells | {
        "completeness": f"{evaluation['images']} slices",
        "compliance": _brief_privacy(report, name, evaluation),
        "comprehension": f"{largest[0]}: {largest[1]:+.1f} deviations" if largest else NOT_MEASURED,
        "consistency": stable,
    }


def _bold(text: str, bold: bool | None) -> str:
    return f"**{text}**" if bold else text


def _compared(evaluation: dict[str, Any], pair: Pair) -> str:
    what, item, reference, digits = pair
    if item["value"] is None:
        return f"{what} {NOT_MEASURED}"
    differ = outcome(evaluation, item, reference) in ("higher", "lower")
    return f"{what} {_bold(format(item['value'], f'.{digits}f'), differ)}"


def _brief_utility(utility: dict[str, Any], name: str) -> Iterator[str]:
    """What slices of a prior are worth as training data, in each task that was measured."""
    for what, digits, measured in _measured_tasks(utility):
        row = measured["rows"].get(name)
        if row is None:
            yield f"{what}: {NOT_MEASURED}"
            continue
        low, high = row["gain_interval"] or (0, 0)
        differ = measured["test_people"] >= FEW and not low <= 0 <= high
        yield f"{what} {_bold(format(row['value'], f'.{digits}f'), differ)}"


def _utility_references(utility: dict[str, Any]) -> Iterator[str]:
    """What each task has in place of generated slices, and tasks that were not measured."""
    for what, digits, measured in _measured_tasks(utility):
        rows = measured["rows"]
        base = next((rows[name]["base"] for name in utility["priors"] if name in rows), "real")
        yield f"{what} {rows[base]['value']:.{digits}f}"
    yield from (
        f"{TASKS[task][0]}: {NOT_MEASURED}" for task in TASKS if utility and not utility.get(task)
    )


def _measured_tasks(utility: dict[str, Any]) -> Iterator[tuple[str, int, dict[str, Any]]]:
    for task, (what, digits) in TASKS.items():
        if utility.get(task):
            yield what, digits, utility[task]


def _brief_readers(evaluation: dict[str, Any]) -> Iterator[str]:
    for name, found in (evaluation.get("readers") or {}).items():
        text = _bold(f"{found['accuracy']:.0%}", found["p_value"] < LEVEL)
        yield f"readers point at {title(name)} in {text}"


def _brief_groups(report: dict[str, Any], name: str) -> Iterator[str]:
    """The largest gap of each attribute in coverage, which is the prior's own."""
    for attribute, found in ((report.get("groups") or {}).get("attributes") or {}).items():
        gap = found["gaps"].get(f"coverage, {name}")
        text = _bold(f"{gap['difference']:.2f}", gap["shown"]) if gap else NOT_MEASURED
        yield f"largest gap of coverage by {attribute}: {text}"


def _brief_privacy(report: dict[str, Any], name: str, evaluation: dict[str, Any]) -> str:
    copies = _bold("shown", True) if evaluation["memorised"] else "not shown"
    row = ((report.get("membership") or {}).get("models") or {}).get(name)
    if row is None:
        return f"copies {copies}"
    auc = (row["calibrated"] or row["plain"])["person_auc"]["value"]
    alarm = _bold(row["alarm"], row["alarm"] == "yes")
    return f"copies {copies}; members told apart: {alarm}, AUC {auc:.2f}"


def _brief_references(report: dict[str, Any], evaluation: dict[str, Any] | None) -> dict[str, str]:
    """The references of the priors, and what is not measured, under each heading."""
    beside: dict[str, list[str]] = {heading: [] for heading in HEADINGS}
    if evaluation is not None:
        for heading, pairs in pairs_of(evaluation).items():
            beside[heading] += [
                f"{what} {estimate_text({**null, 'interval': None}, n)}"
                for what, _, null, n in pairs
            ]
        beside["comprehension"].append("real slices: 0 deviations")
    if report.get("data"):
        people = report["data"]["splits"]["train"]["subjects"]
        beside["completeness"].append(f"{report['data']['source']}; {people} training people")
    if report.get("membership"):
        beside["compliance"].append("AUC by chance 0.50")
    lacking = {
        "utility": ("congruence", "as training data"),
        "groups": ("coverage", "groups"),
        "membership": ("compliance", "membership"),
    }
    for section, (heading, what) in lacking.items():
        if not report.get(section):
            beside[heading].append(f"{what}: {NOT_MEASURED}")
    known = (report.get("groups") or {}).get("attributes", ATTRIBUTES)
    if unknown := [name for name in ATTRIBUTES if name not in known]:
        beside["coverage"].append(f"groups by {', '.join(unknown)}: {NOT_MEASURED}")
    beside["congruence"] += _utility_references(report.get("utility") or {})
    read = any(found.get("readers") for _, found in evaluations(report))
    beside["congruence"].append("readers by guessing: 50%" if read else f"readers: {NOT_MEASURED}")
    beside["consistency"].append(f"other trainings: {NOT_MEASURED}")
    return {heading: "; ".join(parts) or NOT_MEASURED for heading, parts in beside.items()}
