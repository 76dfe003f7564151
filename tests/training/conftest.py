"""The folder of a training, and seeded random numbers."""

import contextlib

import pytest

from oasis_utils.training import trainer


@pytest.fixture
def in_float32(monkeypatch):
    """Trainings compute in float32, also on a CPU that has bfloat16."""
    monkeypatch.setattr(trainer, "autocast", lambda device: contextlib.nullcontext())


@pytest.fixture
def run(tmp_path):
    from oasis_utils.runtime import RunFolder, seed_everything

    seed_everything(0)
    return RunFolder(tmp_path)
