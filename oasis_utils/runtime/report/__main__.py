"""Writes the JSON schema that ships with the package: `python -m oasis_utils.runtime.report`."""

from pathlib import Path

from oasis_utils.runtime import write_json
from oasis_utils.runtime.report import json_schema

write_json(Path(__file__).parent / "assets" / "report.schema.json", json_schema())
