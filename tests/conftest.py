"""Shared set-up: figures without a screen, one torch thread so that results repeat."""

import os

import pytest

os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("JUPYTER_PLATFORM_DIRS", "1")


@pytest.fixture(scope="session")
def brains(tmp_path_factory):
    """The smoke profile's sample brains at 64 pixels: two subjects of 32 slices in each split."""
    from oasis_utils import data
    from oasis_utils.config import PROFILES

    config = PROFILES["smoke"].data
    return data.build_cache(data.sample_brains(config), tmp_path_factory.mktemp("brains"), config)
