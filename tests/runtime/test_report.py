"""The form of report.json: its schema ships, and values that JSON lacks become null."""

import dataclasses
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from oasis_utils.runtime import read_json, report

SCHEMA = Path(report.__file__).parent / "assets" / "report.schema.json"


def test_the_schema_that_ships_is_that_of_the_dataclasses():
    """Where this fails: python -m oasis_utils.runtime.report writes it."""
    assert read_json(SCHEMA) == report.json_schema()
    jsonschema.Draft202012Validator.check_schema(read_json(SCHEMA))


def test_the_schema_refuses_what_the_dataclasses_refuse():
    good = {"data": None, "seconds": {"total": 1.0}}
    jsonschema.validate(good, read_json(SCHEMA))
    for wrong in ({"seconds": {"total": "1"}}, {"misspelt": 1}, {"data": {"source": "x"}}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, read_json(SCHEMA))
        with pytest.raises(ValueError, match="a report: '"):
            report.checked(report.Report, wrong, "a report")


def test_metrics_that_could_not_be_taken_become_null():
    value = {"a": float("nan"), "b": [1.0, float("inf")], "c": {"d": np.float64("nan")}}
    assert report.plain(value) == {"a": None, "b": [1.0, None], "c": {"d": None}}
    assert report.plain({"interval": (0.1, float("nan")), "other": (0.1, 0.2)}) == {
        "interval": None,
        "other": [0.1, 0.2],
    }
    crop = report.Crop(0, 1, 2)
    assert report.plain({3: (crop,)}) == {"3": [{"top": 0, "left": 1, "side": 2}]}


def test_every_section_describes_each_of_its_fields():
    classes = [value for value in vars(report).values() if dataclasses.is_dataclass(value)]
    assert len(classes) > 12
    for kind in classes:
        for field in dataclasses.fields(kind):
            stem = field.name
            for ending in (
                "_interval",
                "_prior",
                "_real_vs_real",
                "_decoded_vs_decoded",
                "_decoded_vs_real",
            ):
                stem = stem.removesuffix(ending)
            inherited = "".join(base.__doc__ or "" for base in kind.__mro__)
            assert f"    {stem}: " in inherited, (kind.__name__, field.name)
