"""Tables of results in README.md and docs/, made from the reports of runs of `demo` and `large`.

python benchmarks/demo_tables.py
python benchmarks/demo_tables.py --report runs/demo/report.json   # of another run: it is copied
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from oasis_utils.models.checkpoints import read_about
from oasis_utils.runtime import project_root, read_json
from oasis_utils.runtime.files import json_text, write_texts

RECORD = project_root() / "benchmarks/results/demo_2_cpu_cores.json"
# two trainings on 64 people, with other starting weights, of demo as it was
FEWER = (
    RECORD.with_name("demo_64_people.json"),
    RECORD.with_name("demo_64_people_other_start.json"),
)
LARGE = RECORD.with_name("large_2_cpu_cores.json")
README, STUDIES = project_root() / "README.md", project_root() / "docs/studies.md"
REAL_SIZE = project_root() / "docs/real_size.md"
BEGIN, END = "<!-- results: made by benchmarks/demo_tables.py -->", "<!-- end of results -->"
PRIORS = ("pixelcnn", "dcgan")
AWAY = 4  # numbers that give each prior away
Report = dict[str, Any]
Row = tuple[str, str, str]


def span(value: float, interval: list[float], digits: int = 3) -> str:
    """A number with its interval, such as 0.97 (0.96 to 0.98)."""
    low, high = interval
    return f"{value:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def of_priors(report: Report, cell: Callable[[Report], str]) -> str:
    """What a function finds for the PixelCNN and for the DCGAN."""
    return ", ".join(cell(report["priors"][name]) for name in PRIORS)


def reference(report: Report, key: str, names: tuple[str, ...], digits: int = 3) -> str:
    """Comparisons of real slices beside a metric, with their names."""
    prior = report["priors"]["pixelcnn"]
    return " · ".join(
        f"{name.replace('_', ' ')} "
        + span(prior[f"{key}_{name}"], prior[f"{key}_{name}_interval"], digits)
        for name in names
    )


def compared(report: Report, pair: str, *path: str) -> str:
    """A value with its interval of one of the comparisons of every prior."""
    found = report["priors"]["pixelcnn"]["comparisons"][pair]
    for key in path:
        found = found[key]
    return span(found["value"], found["interval"], 2)


def reconstruction(report: Report) -> list[Row]:
    """Rows of SSIM and PSNR."""
    part, rows = report["reconstruction"], []
    names = {"black": "black image", "mean": "mean image", "other_subject": "another person"}
    for key, label, digits in (
        ("ssim", "reconstruction SSIM, full frame, data range 1", 3),
        ("brain_ssim", "reconstruction SSIM in the brain", 3),
        ("psnr", "reconstruction PSNR (dB)", 1),
    ):
        trivial = part["trivial_baselines"][key]
        floors = " · ".join(
            f"{text} {trivial[name]:.{1 if key == 'psnr' else 2}f}" for name, text in names.items()
        )
        rows.append((label, span(part[key], part["intervals"][key], digits), floors))
    return rows


def codes(report: Report) -> list[Row]:
    """Rows of the codebook."""
    book = report["codebook"]
    used = {
        name: round(run["used_fraction"] * book["n_codes"])
        for name, run in book["collapse"].items()
    }
    near = book["ssim_with_near_codes"]
    return [
        (
            "codes used, perplexity, validation split",
            f"{book['used']} of {book['n_codes']}, {book['perplexity']:.0f}",
            f"used after {book['collapse_steps']} steps: textbook"
            f" {used['textbook']}, EMA codebook {used['EMA codebook']}",
        ),
        (
            "SSIM when 10 % of the cells take one of the five nearest codes",
            f"{near['0.1']:.3f}",
            f"unchanged {near['0.0']:.3f}",
        ),
    ]


def likelihood(report: Report) -> list[Row]:
    """Rows of nats and anomalies."""
    part, found = report["pixelcnn"], report["anomalies"]
    auroc = ", ".join(
        f"{kind} {span(value, found['intervals'][kind], 2)}" if value < 0.995 else f"{kind} 1.00"
        for kind, value in found["auroc"].items()
    )
    return [
        (
            "PixelCNN, nats per code (a bound)",
            span(part["nats_per_code"], part["intervals"]["PixelCNN"], 2),
            f"Markov chain with the cell {part['markov_cell_nats']:.2f} · unigram of the cell"
            f" {part['position_unigram_nats']:.2f} · unigram {part['unigram_nats']:.2f} · ln K"
            f" {part['uniform_nats']:.2f}",
        ),
        (
            "planted anomalies, AUROC",
            auroc,
            "chance 0.50",
        ),
    ]


def ageing(report: Report) -> list[Row]:
    """Rows of the dark central area."""
    rows = []
    for label, key in (
        (
            "ageing: change of the dark central area in 10 years, % of its pixels",
            "change in 10 years",
        ),
        ("the dark central area at 60 years", "at 60 years"),
    ):
        found = ", ".join(report[name]["age_trend"]["generated"][key] for name in PRIORS)
        rows.append((label, found, f"real {report['pixelcnn']['age_trend']['real'][key]}"))
    return rows


def likeness(report: Report) -> list[Row]:
    """Rows that compare generated slices with real and with decoded ones."""

    def interval(key: str, digits: int) -> str:
        return of_priors(report, lambda p: span(p[key], p[f"{key}_interval"], digits))

    def found(*path: str) -> str:
        def cell(prior: Report) -> str:
            part: Any = prior["comparisons"]["decoded"]
            for key in path:
                part = part[key]
            return span(part["value"], part["interval"], 2)

        return of_priors(report, cell)

    logistic = compared(report, "decoded_vs_decoded", "two_sample", "logistic")
    coverage = compared(report, "decoded_vs_decoded", "learned", "coverage")
    return [
        (
            "KID to real slices",
            interval("kid", 3),
            reference(report, "kid", ("real_vs_real", "decoded_vs_real")),
        ),
        (
            "KID to decoded real slices",
            interval("kid_prior", 3),
            reference(report, "kid", ("decoded_vs_decoded",)),
        ),
        (
            "two-sample AUC of a newly trained network, generated vs real slices",
            interval("two_sample_auc", 2),
            reference(report, "two_sample_auc", ("real_vs_real", "decoded_vs_real"), 2),
        ),
        (
            "two-sample AUC to decoded real slices",
            interval("two_sample_auc_prior", 2),
            reference(report, "two_sample_auc", ("decoded_vs_decoded",), 2),
        ),
        (
            "the same of a logistic regression on radiomic numbers",
            found("two_sample", "logistic"),
            f"decoded vs decoded {logistic}",
        ),
        (
            "coverage of decoded real slices",
            found("learned", "coverage"),
            f"decoded vs decoded {coverage}",
        ),
    ]


def variety(report: Report) -> list[Row]:
    """Rows of variety, positions and copies."""

    def pairs(prior: Report, kind: str) -> str:
        part = prior["variety"][kind]["pair_ms_ssim"]
        return span(part["value"], part["interval"], 2)

    def errors(prior: Report, kind: str) -> str:
        part = prior["anatomy"][kind]
        return span(part["position_error"], part["position_error_interval"], 1)

    first = report["priors"]["pixelcnn"]
    return [
        (
            "MS-SSIM of two slices of one position",
            of_priors(report, lambda p: pairs(p, "generated")),
            f"decoded slices of two people {pairs(first, 'decoded')}",
        ),
        (
            "slice position predicted from the slice, mean error in slices",
            of_priors(report, lambda p: errors(p, "generated")),
            f"decoded slices {errors(first, 'decoded')}",
        ),
        copies(report),
        (
            "valid maps, distinct codes",
            of_priors(report, lambda p: f"{100 * p['valid']:.0f} % and {p['distinct_codes']}"),
            f"K {report['codebook']['n_codes']}",
        ),
    ]


def copies(report: Report) -> Row:
    """The row of the copy test."""
    planted = report["evaluation"]["controls"]["planted copies, decoded"]
    return (
        "samples very close to a training slice",
        of_priors(report, lambda p: f"{p['memorisation']['suspicious']} of {p['images']}"),
        f"other real people {100 * planted['suspicious_share_real']:.1f} % · planted copies"
        f" {100 * planted['suspicious_share']:.0f} %",
    )


def markdown(head: Row, rows: list[Row]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(head) + " |", "|---|---:|---|"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def all_results(report: Report) -> str:
    """The table of docs/studies.md, and what gives the generated slices away."""
    parts = (reconstruction, codes, likelihood, ageing, likeness, variety)
    rows = [row for part in parts for row in part(report)]
    count, people = (report["priors"]["pixelcnn"][key] for key in ("images", "real_subjects"))
    away = "; ".join(
        f"{label}: "
        + ", ".join(f"{name} {value:+.1f}" for name, value in list(found.items())[:AWAY])
        for label, found in (
            ("PixelCNN", report["priors"]["pixelcnn"]["giveaways"]),
            ("DCGAN", report["priors"]["dcgan"]["giveaways"]),
        )
    )
    return (
        markdown(("held-out sample brains", "value", "reference"), rows)
        + "\n\nWhat gives the generated slices away (largest differences of means from decoded real"
        f" slices, in standard deviations of these, of one run; {count} slices of {people} people):"
        f" {away}.\n\n{with_fewer_people()}"
    )


def with_fewer_people() -> str:
    """What two trainings on fewer people found, in one sentence."""
    trainings = [
        {row[0]: row[1] for part in (reconstruction, likelihood, likeness) for row in part(report)}
        for report in map(read_json, FEWER)
    ]
    names = (
        "reconstruction SSIM in the brain",
        "PixelCNN, nats per code (a bound)",
        "KID to real slices",
        "two-sample AUC to decoded real slices",
    )
    links = " and ".join(f"[report](../benchmarks/results/{path.name})" for path in FEWER)
    return (
        "The intervals are over people, not over trainings. Two trainings on 64 people, in as many"
        f" steps on other processors and with other starting weights ({links}), found: "
        + "; ".join(f"{name} {' and '.join(found[name] for found in trainings)}" for name in names)
        + "."
    )


def some_results(report: Report) -> str:
    """The table of README, and where it is from."""
    kept = {
        row[0]: row
        for part in (reconstruction, likelihood, likeness, variety)
        for row in part(report)
    }
    names = (
        "reconstruction SSIM in the brain",
        "PixelCNN, nats per code (a bound)",
        "KID to real slices",
        "planted anomalies, AUROC",
        "samples very close to a training slice",
    )
    origin = report["provenance"]
    return (
        markdown(("metric", "value", "reference"), [kept[name] for name in names])
        + f"\n\n{origin['hardware']}, [report](benchmarks/results/{RECORD.name}) of revision"
        f" {revisions(origin['revision'])}. [All results](docs/studies.md)."
    )


def revisions(first: str) -> str:
    """Of the first notebook, and of the shipped PixelCNN if it was trained again later."""
    path = project_root() / "checkpoints/pixelcnn.safetensors"
    later = read_about(path)["provenance"]["revision"][:7]
    return first[:7] if later == first[:7] else f"{first[:7]} (PixelCNN: {later})"


def real_size(report: Report) -> str:
    """The table of docs/real_size.md, and where it is from."""
    parts = (reconstruction, codes, likelihood, ageing, likeness, variety)
    rows = [row for part in parts for row in part(report)]
    seconds, origin = report["seconds"], report["provenance"]
    minutes = ", ".join(
        f"{name[:2]} {seconds[name] / 60:.0f}" for name in sorted(seconds) if name != "total"
    )
    return (
        markdown(("held-out sample brains, 256 pixels", "value", "reference"), rows)
        + f"\n\nNotebooks {minutes[:2]} to {minutes.split(', ')[-1][:2]} took"
        f" {seconds['total'] / 60:.0f} minutes, beside other work"
        f" ({minutes}), on {origin['hardware']}"
        f" ([report](../benchmarks/results/{LARGE.name}), revision {origin['revision'][:7]})."
        f"\n\n{beside_demo(report, read_json(RECORD))}"
    )


def beside_demo(large: Report, demo: Report) -> str:
    """Some metrics of both profiles, in one sentence."""
    sides = {row[0]: row[1] for row in (*likeness(large), *variety(large))}
    others = {row[0]: row[1] for row in (*likeness(demo), *variety(demo))}
    names = (
        "coverage of decoded real slices",
        "two-sample AUC to decoded real slices",
        "the same of a logistic regression on radiomic numbers",
    )
    return (
        "Beside `demo` (PixelCNN, DCGAN): "
        + "; ".join(f"{name} {sides[name]}, there {others[name]}" for name in names)
        + "."
    )


TABLES: dict[Path, tuple[Path, Callable[[Report], str]]] = {
    README: (RECORD, some_results),
    STUDIES: (RECORD, all_results),
    REAL_SIZE: (LARGE, real_size),
}


def made(path: Path) -> str:
    """The page with the table of its record."""
    record, table = TABLES[path]
    return with_table(path.read_text(encoding="utf-8"), table(read_json(record)))


def with_table(page: str, table: str) -> str:
    """The page with this between its markers."""
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}\n{table}\n{END}{rest.split(END)[1]}"


def main() -> None:
    """Write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--report", help="report.json of a run, which becomes the record")
    given = parser.parse_args().report
    if given:
        report = read_json(given)
        record = {"demo": RECORD, "large": LARGE}[report["profile"]]
        write_texts({record: json_text(report)})
    write_texts({path: made(path) for path in TABLES})


if __name__ == "__main__":
    main()
