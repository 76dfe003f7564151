"""The banner and the provenance of a result."""

import json
import random

import numpy as np
import torch

import oasis_utils
from oasis_utils import runtime
from oasis_utils.runtime import (
    banner,
    origin,
    provenance,
    seed_everything,
    sharing,
)

CPU = torch.device("cpu")


def draws():
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def test_banner_is_one_line_with_versions_and_seed_and_seeds(monkeypatch):
    monkeypatch.setattr(sharing, "load_in_words", lambda: "")
    text = banner(123, "cpu")
    first = draws()
    assert "\n" not in text
    assert f"oasis_utils {oasis_utils.__version__}" in text
    assert f"torch {torch.__version__}" in text
    assert runtime.hardware(torch.device("cpu")) in text and " thread" in text
    assert text.endswith("seed 123")
    seed_everything(123)
    assert draws() == first
    monkeypatch.setattr(sharing, "load_in_words", lambda: "others work")
    assert banner(123, "cpu") == f"{text} · others work"


def test_provenance_is_plain_json_and_names_its_origin():
    record = provenance(7, CPU)
    assert json.loads(json.dumps(record)) == record
    assert record["seed"] == 7
    assert record["torch"] == torch.__version__
    assert {
        "oasis_utils",
        "python",
        "numpy",
        "revision",
        "hardware",
        "precision",
        "platform",
    } <= set(record)


def test_revision_outside_a_checkout_is_unknown(tmp_path, monkeypatch):
    monkeypatch.setattr(origin, "project_root", lambda: tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert runtime.revision() == "unknown"
