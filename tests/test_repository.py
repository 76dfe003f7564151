"""Citation, changelog, hooks, workflows and issue forms agree with the project."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
FORMS = sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml"))


def read(path):
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


def steps(path):
    return [step for job in read(path)["jobs"].values() for step in job["steps"]]


def test_the_citation_names_this_version():
    citation = read("CITATION.cff")
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]


def test_the_changelog_begins_with_the_unreleased_and_has_this_version():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    versions = re.findall(r"^## \[([^\]]+)\]", text, re.MULTILINE)
    assert versions[0] == "Unreleased"
    assert PROJECT["version"] in versions


def test_contributing_is_short():
    lines = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 60


def test_hooks_use_the_development_tools():
    tools = {Requirement(text).name for text in PROJECT["optional-dependencies"]["dev"]}
    packages = {"lint-imports": "import-linter"}
    for repository in read(".pre-commit-config.yaml")["repos"]:
        assert repository["repo"] == "local"
        for hook in repository["hooks"]:
            tool = Path(hook["entry"].split()[0]).name
            assert hook["entry"].startswith(".venv/bin/")
            assert packages.get(tool, tool) in tools


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_run_make_targets_and_pinned_actions(path):
    for step in steps(path):
        if "uses" in step:
            assert re.fullmatch(r"[\w-]+/[\w-]+@v\d+", step["uses"])
        else:
            assert re.search(rf"^{step['run'].removeprefix('make ')}:", MAKEFILE, re.MULTILINE)


def test_workflows_cover_the_supported_pythons():
    (job,) = read(".github/workflows/checks.yml")["jobs"].values()
    pythons = job["strategy"]["matrix"]["python"]
    assert len(pythons) == 3
    assert all(SpecifierSet(PROJECT["requires-python"]).contains(version) for version in pythons)


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_issue_forms_have_the_required_keys(path):
    form = read(path)
    assert {"name", "description", "body"} <= set(form)
    ids = [field["id"] for field in form["body"] if field["type"] != "markdown"]
    assert len(ids) == len(set(ids))
    assert all(
        "label" in field["attributes"] for field in form["body"] if field["type"] != "markdown"
    )


def test_the_models_that_come_with_the_project_are_small():
    sizes = [path.stat().st_size for path in (ROOT / "checkpoints").glob("*.safetensors")]
    assert len(sizes) == 4 and max(sizes) < 16e6 and sum(sizes) < 25e6
