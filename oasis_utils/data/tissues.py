"""Converts segmentation labels to masks: 1 cerebrospinal fluid, 2 grey matter, 3 white matter.

Label numbers are those of FSL FAST (Zhang et al. 2001, IEEE TMI 20:45), the BIDS derivatives
(Gorgolewski et al. 2016, Sci Data 3:160044), neurite-OASIS (Hoopes et al. 2021, arXiv 2101.01035)
and FreeSurfer (Fischl 2012, NeuroImage 62:774).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int, UInt8

NAMES = ("fluid", "grey matter", "white matter")
# Grey levels of the masks in OASIS's keras_png_slices_seg folders: background and the tissues.
MASK_LEVELS = (0, 85, 170, 255)
FEW_ROWS = 16  # enough to tell masks of grey levels from masks of numbers


def mask_levels(masks: UInt8[np.ndarray, "n height width"] | None) -> dict[str, int]:
    """Which value of a mask stands for which tissue.

    Args:
        masks: of a split: 1, 2, 3 as in FSL_SEG, or grey levels as in the OASIS PNG slices. None:
            there are none, and the grey levels are given.

    Returns:
        {"fluid", "grey matter", "white matter": value}; 0 is always the background.
    """
    grey_levels = masks is None or _highest(masks) > len(NAMES)
    return dict(zip(NAMES, MASK_LEVELS[1:] if grey_levels else (1, 2, 3), strict=True))


def _highest(masks: UInt8[np.ndarray, "n height width"]) -> int:
    """The highest value in a few rows; in all, which are slow to read, only if those are empty."""
    few = masks[np.linspace(0, len(masks) - 1, FEW_ROWS).astype(int)]
    return int(few.max() or masks.max())


def tissue_shares(
    masks: UInt8[np.ndarray, "n height width"] | None, subjects: Int[np.ndarray, " n"]
) -> dict[str, Float[np.ndarray, " n_people"]]:
    """The share of each tissue in the brain of each person, over all slices of this person.

    Args:
        masks: of a split. None: there are none.
        subjects: the person of each mask.

    Returns:
        {"fluid", "grey matter", "white matter": one share in [0, 1] for each person, in the order
        of their numbers; nan for a person without brain}; empty without masks.
    """
    if masks is None:
        return {}
    levels, people = mask_levels(masks), np.unique(subjects)
    shares = np.full((len(levels), len(people)), np.nan)
    for i, person in enumerate(people):
        mask = np.asarray(masks[subjects == person])
        if (brain := np.count_nonzero(mask)) > 0:
            shares[:, i] = [np.count_nonzero(mask == level) / brain for level in levels.values()]
    return dict(zip(levels, shares, strict=True))


def _coding(fluid: str, grey: str, white: str) -> UInt8[np.ndarray, " 256"]:
    """The tissue of each label 0 to 255 by label numbers in text; labels that are not named are
    0, background.
    """
    table = np.zeros(256, np.uint8)
    for tissue, labels in ((1, fluid), (2, grey), (3, white)):
        table[[int(label) for label in labels.split()]] = tissue
    return table


# the tissue of each label, by `Scan.coding`
TISSUES = {
    "fsl": _coding("1", "2", "3"),  # FSL FAST, the FSL_SEG maps of OASIS-1
    "bids": _coding("3", "1", "2"),  # BIDS and fMRIPrep _dseg
    "neurite4": _coding("4", "1 2", "3"),  # cortex, subcortical grey matter, white matter, CSF
    "neurite35": _coding(
        "3 4 11 12 18 19 22 23 34 35",  # neurite-OASIS seg35, Learn2Reg labels
        "2 6 7 8 9 10 14 15 16 21 25 26 27 28 29 30 31 32",
        "1 5 13 17 20 24 33",
    ),
    "freesurfer": _coding(
        "4 5 14 15 24 30 31 43 44 62 63 72",  # aseg; brain stem and ventral DC as white matter
        "3 8 9 10 11 12 13 17 18 19 26 27 42 47 48 49 50 51 52 53 54 55 58 59 80",
        "2 7 16 28 41 46 60 77 78 79 85 192 251 252 253 254 255",
    ),
}
