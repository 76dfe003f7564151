"""The folder of a training, and seeded random numbers."""

import pytest


@pytest.fixture
def run(tmp_path):
    from oasis_utils.runtime import RunFolder, seed_everything

    seed_everything(0)
    return RunFolder(tmp_path)
