"""Writes the table of whole heads into docs/studies.md; with --record RUN first keeps what notebook
10 of that run measured.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from copy_tables import markdown

from oasis_utils.evaluation import head_rows
from oasis_utils.runtime import (
    RunFolder,
    project_root,
    provenance,
    read_json,
    select_device,
    write_json,
)
from oasis_utils.runtime.files import write_texts
from oasis_utils.runtime.report import HeadResults, checked

RECORD = project_root() / "benchmarks/results/demo_heads.json"
PAGE = project_root() / "docs/studies.md"
BEGIN, END = "<!-- heads: made by benchmarks/heads_tables.py -->", "<!-- end of heads -->"
NAMES = {"pixelcnn": "PixelCNN", "dcgan": "DCGAN", "gaussian": "slice Gaussian"}
TABLES = ("neighbour SSIM", "same code", "roughness ratio", "position error", "odd and even",
          "broken", "KID", "network AUC", "AUC of whole heads")  # fmt: skip


def table(found: dict[str, HeadResults], name: str) -> str:
    """One measure of all priors beside its reference."""
    rows = head_rows(found, name)
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    lines = [[who, *(row.get(column, "") for column in columns)] for who, row in rows.items()]
    return markdown([name, *columns], lines)


def made(record: dict[str, Any], text: str) -> str:
    """The page with the tables of a record."""
    found = {
        NAMES[prior]: checked(HeadResults, part, RECORD.name)
        for prior, part in record["heads"].items()
    }
    tables = "\n\n".join(table(found, name) for name in TABLES)
    revision = record["revision"][:7] + ", with changes" * record["revision"].endswith("+")
    about = f"{record['summary']}.\n\n{record['hardware']}, revision {revision}."
    head, rest = text.split(BEGIN)
    return f"{head}{BEGIN}\n{about}\n\n{tables}\n\n{END}{rest.split(END)[1]}"


def keep(run: RunFolder) -> None:
    """Write the record of what notebook 10 of a run measured."""
    measured = read_json(run.summary("10_whole_heads"))
    about = provenance(0, select_device("cpu"))
    kept = {name: about[name] for name in ("hardware", "revision")}
    command = "python -m oasis_utils run --profile demo --only 10"
    write_json(RECORD, {"command": command, **kept, **measured})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", metavar="RUN", type=Path)
    record_of = parser.parse_args().record
    if record_of:
        keep(RunFolder(record_of.resolve()))
    write_texts({str(PAGE): made(read_json(RECORD), PAGE.read_text(encoding="utf-8"))})
