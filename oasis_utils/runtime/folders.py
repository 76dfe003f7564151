"""The project's root, and the names of everything in a run folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import oasis_utils


def project_root() -> Path:
    """The folder that holds pyproject.toml and notebooks/; the working folder for an installed
    copy.
    """
    root = Path(oasis_utils.__file__).resolve().parent.parent
    return root if (root / "pyproject.toml").exists() else Path.cwd()


def anchored(path: str | Path) -> Path:
    """An absolute path; a relative one counts from the project root, because notebooks run in
    changing folders.
    """
    path = Path(path).expanduser()
    return path if path.is_absolute() else project_root() / path


@dataclass(frozen=True)
class RunFolder:
    """Everything a run writes, by name. Notebooks meet one another only here."""

    root: Path

    @classmethod
    def at(cls, path: str | Path) -> RunFolder:
        return cls(anchored(path))

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def figures(self) -> Path:
        return self.root / "figures"

    @property
    def notebooks(self) -> Path:
        return self.root / "notebooks"

    @property
    def codes(self) -> Path:
        return self.root / "codes.npz"

    @property
    def lock(self) -> Path:
        return self.root / ".lock"

    def checkpoint(self, name: str) -> Path:
        return self.root / "checkpoints" / f"{name}.safetensors"

    def history(self, name: str) -> Path:
        return self.root / "history" / f"{name}.jsonl"

    def watched(self, name: str) -> Path:
        return self.root / "history" / f"{name}_watched.npz"

    def samples(self, prior: str) -> Path:
        return self.root / "samples" / f"{prior}.npz"

    def headline(self, notebook: str) -> Path:
        return self.root / "headlines" / f"{notebook}.json"

    @property
    def report(self) -> Path:
        return self.root / "report.json"

    @property
    def card(self) -> Path:
        return self.root / "model_card.md"

    def require(self, path: Path, made_by: str) -> Path:
        """`path` if it exists, else a FileNotFoundError that names the notebook to run first."""
        if not path.exists():
            raise FileNotFoundError(
                f"{path} is missing: run notebook {made_by} with the same run folder first"
            )
        return path
