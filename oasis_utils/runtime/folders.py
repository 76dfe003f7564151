"""The project's root, and the paths of all files in a run folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import oasis_utils
from oasis_utils.runtime.plain_files import DataError


def project_root() -> Path:
    """The root of the project.

    Returns:
        The folder that holds pyproject.toml and notebooks/, or the working folder if the package
        is installed without them.
    """
    root = Path(oasis_utils.__file__).resolve().parent.parent
    return root if (root / "pyproject.toml").exists() else Path.cwd()


def from_project_root(path: str | Path) -> Path:
    """An absolute path; a relative one starts at the project root.

    Notebooks run in different working folders, so these cannot be the start.
    """
    path = Path(path).expanduser()
    return path if path.is_absolute() else project_root() / path


def refuse_inside(source: Path, folder: Path) -> None:
    """DataError for a folder to write to that is, or lies inside, the folder of the source."""
    if source.is_dir() and folder.resolve().is_relative_to(source.resolve()):
        raise DataError(
            f"{folder} lies inside the source {source}, which is never written to: choose another"
            " folder"
        )


@dataclass(frozen=True)
class RunFolder:
    """Paths of all files of a run. Notebooks pass results to one another only through them.

    Attributes:
        root: The folder of the run, absolute.
    """

    root: Path

    @classmethod
    def at(cls, path: str | Path) -> RunFolder:
        """The run folder at a path; nothing is created.

        Args:
            path: Absolute, or relative to the project root.

        Returns:
            The run folder.
        """
        return cls(from_project_root(path))

    @property
    def data(self) -> Path:
        """Folder of the prepared slices and their manifest."""
        return self.root / "data"

    @property
    def figures(self) -> Path:
        """Folder of the PNG figures, whose names begin with the number of their notebook."""
        return self.root / "figures"

    @property
    def notebooks(self) -> Path:
        """Folder of the executed notebooks."""
        return self.root / "notebooks"

    @property
    def codes(self) -> Path:
        """Index maps of all splits."""
        return self.root / "codes.npz"

    @property
    def lock(self) -> Path:
        """Lock that one process holds while it writes here."""
        return self.root / ".lock"

    @property
    def begun(self) -> bool:
        """Whether a notebook has begun to write here; a folder called notebooks alone is no run."""
        own = any((self.root / name).is_dir() for name in ("summaries", "cache_keys"))
        return own or (self.lock.exists() and self.notebooks.is_dir())

    def checkpoint(self, name: str) -> Path:
        """Weights and configuration of a model: vqvae, pixelcnn or dcgan."""
        return self.root / "checkpoints" / f"{name}.safetensors"

    def history(self, name: str) -> Path:
        """Training records of a model, one JSON object in each line."""
        return self.root / "history" / f"{name}.jsonl"

    def snapshots(self, name: str) -> Path:
        """Outputs for the same inputs after several epochs: reconstructions or generated maps."""
        return self.root / "history" / f"{name}_snapshots.npz"

    def samples(self, prior: str) -> Path:
        """Generated slices of a prior, with their index maps."""
        return self.root / "samples" / f"{prior}.npz"

    def summary(self, notebook: str) -> Path:
        """The contribution of a notebook to the report."""
        return self.root / "summaries" / f"{notebook}.json"

    @property
    def report(self) -> Path:
        """Metrics of the whole run."""
        return self.root / "report.json"

    @property
    def card(self) -> Path:
        """Model card in Markdown."""
        return self.root / "model_card.md"

    @property
    def products(self) -> list[Path]:
        """All that the series writes into the folder."""
        folders = ("checkpoints", "history", "samples", "summaries", "cache_keys")
        return [
            *(self.data, self.figures, self.notebooks, self.codes, self.report, self.card),
            *(self.root / name for name in folders),
        ]

    def require(self, path: Path, made_by: str) -> Path:
        """A path that must exist.

        Args:
            path: A file of this run.
            made_by: Name of the notebook that writes it.

        Returns:
            The same path.

        Raises:
            FileNotFoundError: The file is missing; the message names the notebook to run.
        """
        if not path.exists():
            raise FileNotFoundError(
                f"{path} is missing: run notebook {made_by} with the same run folder first"
            )
        return path
