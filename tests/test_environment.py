"""environment.yml, pyproject.toml and the lock file agree; pyproject is the single source."""

import functools
import importlib.metadata
import operator
import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CONDA = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
LOCK = [
    Requirement(line)
    for line in (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
]
UNPINNED = ("bench", "book")  # peers; Sphinx
EXTRAS = {
    name: texts for name, texts in PROJECT["optional-dependencies"].items() if name not in UNPINNED
}
DECLARED = [
    Requirement(text)
    for text in PROJECT["dependencies"] + functools.reduce(operator.iadd, EXTRAS.values(), [])
]


def test_conda_brings_python_and_pip_only():
    names = [re.split(r"[ =<>!~]", item)[0] for item in CONDA if isinstance(item, str)]
    assert names == ["python", "pip"]


def test_conda_takes_the_rest_from_pyproject():
    (pip,) = [item["pip"] for item in CONDA if isinstance(item, dict)]
    (line,) = pip
    extras = re.fullmatch(r"-e \.\[([\w,]+)\]", line)[1].split(",")
    assert set(extras) <= set(PROJECT["optional-dependencies"]) and "dev" in extras


def test_the_python_ranges_agree():
    (spec,) = [
        item.removeprefix("python")
        for item in CONDA
        if isinstance(item, str) and item.startswith("python")
    ]
    assert SpecifierSet(spec) == SpecifierSet(PROJECT["requires-python"])


@pytest.mark.parametrize("requirement", DECLARED, ids=str)
def test_the_lock_pins_every_dependency_within_its_range(requirement):
    pins = [
        pin for pin in LOCK if canonicalize_name(pin.name) == canonicalize_name(requirement.name)
    ]
    assert pins
    for pin in pins:
        (version,) = [spec.version for spec in pin.specifier]
        assert requirement.specifier.contains(version, prereleases=True)


def test_torch_and_torchvision_are_a_pair():
    """A torchvision is built for one torch and says for which."""
    needed = [Requirement(text) for text in importlib.metadata.requires("torchvision")]
    (torch,) = [r for r in needed if r.name == "torch"]
    (pin,) = [spec.version for r in LOCK if r.name == "torch" for spec in r.specifier]
    assert torch.specifier.contains(pin)


def test_the_range_of_torch_is_wide():
    (torch,) = [r for r in DECLARED if r.name == "torch"]
    assert all(
        torch.specifier.contains(version) for version in ("2.11.0", "2.13.1", "2.14.1", "2.15.0")
    )
