"""Which other profile suits the size of the slices in a folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oasis_utils.config import PROFILES, Profile

if TYPE_CHECKING:
    from oasis_utils.data.dataset import Dataset  # slow to import

FAR = 1.5  # times as many pixels along a side, or as few
ABOUT = {
    "demo": "two CPU cores, minutes",
    "large": "two CPU cores, more than an hour",
    "full": "one GPU; never run yet",
}


def size_advice(settings: Profile, dataset: Dataset) -> str:
    """What to run instead where a profile loses or invents many pixels.

    Args:
        settings: Of this run.
        dataset: Its slices.

    Returns:
        A sentence that names the profiles nearer to the slices' own size; empty where the profile
        suits them, and for sample brains.
    """
    own, side = dataset.manifest["crop"]["side"], settings.data.image_size
    if dataset.synthetic or side / FAR < own < side * FAR:
        return ""
    nearer = [
        f"{name} ({profile.data.image_size} pixels; {ABOUT[name]})"
        for name, profile in PROFILES.items()
        if name in ABOUT and abs(profile.data.image_size - own) < abs(side - own)
    ]
    if not nearer:
        return ""
    change = "reduced" if own > side else "enlarged"
    return (
        f"these slices have {own} pixels a side and are {change} to {side}; nearer to their own"
        f" size: profile {' or '.join(nearer)}; docs/real_size.md compares sizes"
    )
