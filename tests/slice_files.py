"""Small folders of grey discs for the tests of images, sources, importing and data."""

import numpy as np
from PIL import Image

SUBJECTS = {"train": (1, 2, 3), "validate": (4,), "test": (5, 6)}


def disc(size=64, radius=20, grey=150, centre=None):
    """A grey disc on black."""
    row, col = (size / 2, size / 2) if centre is None else centre
    y, x = np.mgrid[:size, :size] + 0.5
    return np.where((y - row) ** 2 + (x - col) ** 2 < radius**2, grey, 0).astype(np.uint8)


def picture_of(subject, position, size=64):
    """Differs from that of every other subject and position: both are written into the dark
    corner.
    """
    picture = disc(size, size * (0.2 + 0.04 * (position % 5)), 60 + (13 * subject + position) % 190)
    picture[0, :4] = subject % 16, subject // 16, position % 16, position // 16
    return picture


def write(path, picture, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path, **options)
    return path


def write_slice(folder, subject, position, picture):
    return write(folder / f"case_{subject:03d}_slice_{position}.nii.png", picture)


def make_tree(root, subjects=None, positions=3, size=64, folder="keras_png_slices_{}", masks=False):
    """A keras_png_slices tree; every slice differs from every other one."""
    for split, members in (subjects or SUBJECTS).items():
        for subject in members:
            for position in range(positions):
                picture = picture_of(subject, position, size)
                write_slice(root / folder.format(split), subject, position, picture)
                if masks:
                    name = f"seg_{subject:03d}_slice_{position}.nii.png"
                    mask = np.where(picture > 16, 170, 0).astype(np.uint8)
                    write(root / f"keras_png_slices_seg_{split}" / name, mask)
    return root


def make_collection(root, names, sessions=("MR1",), positions=2, suffix="png", size=64):
    """One folder a class, subject, session and slice number in the file name, numbers from 100
    on.
    """
    for i, name in enumerate(names):
        for j, session in enumerate(sessions):
            for position in range(positions):
                file = f"{name}_{session}_mpr-1_{100 + position}.{suffix}"
                write(root / ("ill", "well")[i % 2] / file, picture_of(5 * i + j, position, size))
    return root
