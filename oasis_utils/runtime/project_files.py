"""Files of the project that an installed package contains: notebooks, recorded results."""

from __future__ import annotations

import shutil
from pathlib import Path

import oasis_utils
from oasis_utils.runtime.files import atomic
from oasis_utils.runtime.folders import project_root


def project_file(name: str) -> Path:
    """A file of the checkout or, in an installed copy, of the working folder or the package.

    Args:
        name: Path relative to the project root, such as notebooks/02_train_vqvae.ipynb.

    Returns:
        The file below the project root if it exists, else its path inside the package.
    """
    path = project_root() / name
    return path if path.exists() else Path(oasis_utils.__file__).parent / name


def unpacked(name: str) -> Path:
    """The file below the project root, copied there from the package if it is missing."""
    target, source = project_root() / name, project_file(name)
    if source != target:
        with atomic(target) as partial:
            shutil.copyfile(source, partial)
    return target
