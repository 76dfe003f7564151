"""A profile that loses or invents pixels names one that does not."""

import json
import shutil

import pytest

from oasis_utils.config import load_profile
from oasis_utils.data.dataset import open_cache
from oasis_utils.pipeline import size_advice


@pytest.fixture
def of_side(brains, tmp_path):
    """A data set whose manifest tells of slices of that many pixels, of a kind."""

    def make(side, kind="keras"):
        folder = tmp_path / f"{side}{kind}"
        shutil.copytree(brains.folder, folder)
        path = folder / "manifest.json"
        about = json.loads(path.read_text())
        path.write_text(json.dumps(about | {"kind": kind, "crop": {**about["crop"], "side": side}}))
        return open_cache(folder)

    return make


def test_large_slices_in_a_small_profile_name_the_larger_profiles(of_side):
    found = size_advice(load_profile("demo"), of_side(205))
    assert "205 pixels a side and are reduced to 128" in found
    assert "large (256 pixels" in found and "full (256 pixels" in found and "demo" not in found


def test_small_slices_in_a_large_profile_name_the_smaller_one(of_side):
    found = size_advice(load_profile("large"), of_side(120))
    assert "120 pixels a side and are enlarged to 256" in found
    assert "demo (128 pixels" in found and "full" not in found


@pytest.mark.parametrize(("profile", "side"), [("demo", 150), ("large", 205), ("full", 256)])
def test_a_profile_that_suits_says_nothing(of_side, profile, side):
    assert size_advice(load_profile(profile), of_side(side)) == ""


def test_sample_brains_are_small_on_purpose(of_side):
    assert size_advice(load_profile("demo"), of_side(205, "synthetic")) == ""
