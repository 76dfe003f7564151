"""The section of docs/privacy.md on membership, utility and groups, made from two records.

    python benchmarks/membership_tables.py

membership.json is written by membership.py. What notebook 09 measured is in the record of `make
demo`.
"""

from __future__ import annotations

from typing import Any

from copy_tables import markdown
from demo_tables import revisions
from measure import RESULTS

from oasis_utils.runtime import project_root, read_json

STUDY, DEMO = RESULTS / "membership.json", RESULTS / "demo_2_cpu_cores.json"
PAGE = project_root() / "docs/privacy.md"
BEGIN, END = "<!-- privacy: made by benchmarks/membership_tables.py -->", "<!-- end of privacy -->"
COLUMNS = {  # metric of a training: (heading, digits)
    "person_auc": ("AUC, people", 2),
    "slice_auc": ("AUC, slices", 2),
    "person_found": ("found at 1 %", 2),
    "plain_person_auc": ("AUC, people, plain", 2),
    "null_person_auc": ("null", 2),
    "nats_per_code": ("nats per code", 2),
    "kid_to_decoded": ("KID to decoded", 3),
}


def between(item: dict[str, Any], digits: int = 2) -> str:
    """A value with its interval."""
    ends = item["interval"]
    return f"{item['value']:.{digits}f}" + (
        f" ({ends[0]:.{digits}f} to {ends[1]:.{digits}f})" if ends else ""
    )


def attacks(membership: dict[str, Any]) -> str:
    """The audit of the models of `make demo` and its controls."""
    head = ["scores of", "AUC, slices", "AUC, people", "found at 1 %", "plain", "null", "alarm"]
    rows = []
    for name, row in (membership["models"] | membership["controls"]).items():
        best, null = row["calibrated"], row["null"]
        rows.append(
            [
                name,
                between(best["slice_auc"]),
                between(best["person_auc"]),
                between(best["person_found"]),
                between(row["plain"]["person_auc"]),
                between(null["person_auc"]) if null else "",
                row["alarm"],
            ]
        )
    return markdown(head, rows)


def copied(audit: dict[str, Any]) -> str:
    """One sentence: what the copy test finds."""
    found = "; ".join(
        f"{name} {test['suspicious']} of {test['images']}, p = {test['p_value']:.2g}"
        for name, test in audit["copies"].items()
    )
    some = next(iter(audit["copies"].values()))
    return (
        f"Samples suspiciously near a training slice ({found}): of other real people's slices"
        f" {some['suspicious_share_real']:.1%} are (95 % upper bound"
        f" {some['suspicious_share_limit']:.1%}), of planted copies"
        f" {audit['planted']['suspicious_share']:.0%}. The test compares whole slices; it is no"
        " proof of privacy."
    )


def trainings(study: dict[str, Any]) -> str:
    """What each choice changes: median and range over seeds."""
    rows = []
    for name, row in study["rows"].items():
        count = len(study["runs"][name])
        cells = [f"{name} ({count} seed{'s' if count > 1 else ''})"]
        for key, (_, digits) in COLUMNS.items():
            middle, least, most = (row[key][part] for part in ("median", "least", "most"))
            spread = f" ({least:.{digits}f} to {most:.{digits}f})" if count > 1 else ""
            cells.append(f"{middle:.{digits}f}{spread}")
        rows.append(cells)
    return markdown(["training", *(heading for heading, _ in COLUMNS.values())], rows)


def useful(utility: dict[str, Any]) -> str:
    """Errors and Dice of models of each training set."""
    age, tissue = utility["age"]["rows"], utility["segmentation"]["rows"]
    names = [name for name in tissue if name in age or name in ("real, labels of the labeller",)]
    rows = []
    for name in names:
        error, dice = age.get(name), tissue[name]
        rows.append(
            [
                name,
                between(error, 1) if error else "",
                better(error, 1) if error else "",
                between(dice, 3),
                better(dice, 4),
            ]
        )
    head = [
        "trained on",
        "error of the age, years",
        "better by",
        "mean Dice of tissues",
        "better by",
    ]
    return markdown(head, rows)


def better(row: dict[str, Any], digits: int) -> str:
    """The gain over the row that this one is compared with."""
    if row["gain"] is None:
        return ""
    ends = row["gain_interval"]
    spread = f" ({ends[0]:+.{digits}f} to {ends[1]:+.{digits}f})" if ends else ""
    return f"{row['gain']:+.{digits}f}{spread}"


def by_age(groups: dict[str, Any]) -> str:
    """Metrics by thirds of age."""
    found, rows = groups["attributes"]["age"]["groups"], []
    for name, row in found.items():
        rows.append(
            [
                f"{name}, {row['who']}",
                between(row["reconstruction"], 3),
                between(row["nats_per_code"]),
                *(between(item) for item in row["coverage"].values()),
                *(between(item, 3) for item in row["kid"].values()),
            ]
        )
    one = next(iter(found.values()))
    head = ["test people", "SSIM in the brain", "nats per code"]
    head += [f"{what}, {name}" for what in ("coverage", "KID") for name in one["coverage"]]
    return markdown(head, rows)


def origin(record: dict[str, Any], name: str) -> str:
    """Where the numbers of a record are from."""
    about = record["provenance"]
    return (
        f"[Record](../benchmarks/results/{name}), `{record['command']}`, {about['hardware']},"
        f" revision {record.get('revision', about['revision'][:7])}."
    )


def section(study: dict[str, Any], audit: dict[str, Any]) -> str:
    """All tables between the markers."""
    people = audit["membership"]["people"]
    return "\n\n".join(
        [
            attacks(audit["membership"]),
            f"{people['members']} training and {people['others']} test people; a chain of"
            f" {people['reference']} further test people says how difficult a map is; the null"
            f" compares {people['validation']} validation people. {origin(audit, DEMO.name)}",
            copied(audit),
            "## What lowers membership inference",
            trainings(study),
            f"128 pixels at 8 pixels a code; {study['steps']} steps and 64 training people where"
            " the row does not say otherwise, 64 members in the attack. Medians and ranges over"
            f" seeds. {origin(study, STUDY.name)}",
            "## Utility",
            useful(audit["utility"]),
            "## Groups",
            by_age(audit["groups"]),
        ]
    )


def with_section(page: str, text: str) -> str:
    """The page with this between its markers."""
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}\n{text}\n{END}{rest.split(END)[1]}"


def audit_of(report: dict[str, Any]) -> dict[str, Any]:
    """What a report says of privacy and utility."""
    tests = {
        name: {"images": evaluation["images"], **evaluation["memorisation"]}
        for name, evaluation in report["priors"].items()
    }
    return {
        "command": "make demo",
        "provenance": report["provenance"],
        "revision": revisions(report["provenance"]["revision"]),
        "copies": tests,
        "planted": report["evaluation"]["controls"]["planted copies, decoded"],
        **{name: report[name] for name in ("membership", "utility", "groups")},
    }


def main() -> None:
    page = PAGE.read_text(encoding="utf-8")
    text = section(read_json(STUDY), audit_of(read_json(DEMO)))
    PAGE.write_text(with_section(page, text), encoding="utf-8")


if __name__ == "__main__":
    main()
