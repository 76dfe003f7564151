"""What every notebook opens first: the profile, the run folder, the device and the slices."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from oasis_utils.config import Profile, load_profile
from oasis_utils.runtime import RunFolder

if TYPE_CHECKING:
    import torch

    from oasis_utils.data import Dataset


class OpenRun(NamedTuple):
    """A run whose slices are prepared.

    Attributes:
        settings: All sizes of its profile.
        run: Its folder.
        device: Where models run.
        dataset: Its slices.
    """

    settings: Profile
    run: RunFolder
    device: torch.device
    dataset: Dataset


def open_run(profile: str, run_folder: str | None, device: str) -> OpenRun:
    """Open the run that notebook 01 began.

    Args:
        profile: smoke, demo, large or full.
        run_folder: Where the run reads and writes; None: runs/<profile>.
        device: auto, cpu, cuda or cuda:N.

    Returns:
        Profile, folder, device and slices, in this order.

    Raises:
        FileNotFoundError: The run has no slices yet: run notebook 01 first.
    """
    from oasis_utils.data import open_cache  # slow to import
    from oasis_utils.runtime import select_device

    run = RunFolder.at(run_folder or f"runs/{profile}")
    manifest = run.require(run.data / "manifest.json", "01_data_exploration")
    return OpenRun(load_profile(profile), run, select_device(device), open_cache(manifest.parent))
