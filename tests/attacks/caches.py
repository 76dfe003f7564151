"""Prepared folders that were edited, mixed or half copied."""

import json
import os

import numpy as np
from attacks.files import tree
from attacks.harness import attack

AGAIN = "prepare the source again, into a new folder"


def cache(folder):
    """A sound cache; the package is imported here, after pytest has switched on its checks."""
    from oasis_utils.config import DataConfig
    from oasis_utils.data.dataset import build_cache

    source = tree(folder.parent / "source")
    build_cache(source, folder, DataConfig(image_size=32))


def manifest(folder):
    return json.loads((folder / "manifest.json").read_text())


def write(folder, value):
    (folder / "manifest.json").write_text(json.dumps(value))


def edited(folder, change, digests=False):
    """A cache whose manifest is changed in place, or replaced by what `change` returns.

    Without its digests it is one of an earlier version.
    """
    cache(folder)
    value = manifest(folder)
    if not digests:
        del value["digests"]
    write(folder, change(value) or value)


@attack("prepared", "in the order train, validate, test")
def reordered_entries(data):
    """Entries in another order, so that test rows would be those of training subjects."""
    edited(data, lambda m: m["subjects"].reverse())


@attack("prepared", "it was edited")
def reordered_within_a_split(data):
    """Two training subjects exchanged."""

    def change(m):
        m["subjects"][:2] = m["subjects"][1::-1]

    edited(data, change, digests=True)


@attack("prepared", "has subject 1 in two splits, test and train: metrics would be too good")
def subject_of_two_splits(data):
    """A test entry that names a training subject."""
    edited(data, lambda m: m["subjects"][-1].update(subject=1))


@attack("prepared", "in the order train, validate, test, or a split is empty")
def split_that_is_empty(data):
    """No validation subject."""
    edited(data, lambda m: m["subjects"][3].update(split="train"))


@attack("prepared", "slices.npy holds uint8 .16, 32, 32., but the manifest describes")
def fewer_slices(data):
    """An array of fewer slices than the manifest."""
    cache(data)
    np.save(data / "slices.npy", np.load(data / "slices.npy")[:16])


@attack("prepared", "slices.npy holds float32")
def float_slices(data):
    """An array of floats."""
    cache(data)
    np.save(data / "slices.npy", np.load(data / "slices.npy").astype(np.float32))


@attack("prepared", "slices.npy holds uint8 .18, 16, 16.")
def slices_of_another_size(data):
    """Slices of another size than the manifest says, as two imports at once could leave."""
    cache(data)
    np.save(data / "slices.npy", np.load(data / "slices.npy")[:, ::2, ::2])


@attack("prepared", r"slices.npy holds uint8 \(18432,\), but")
def flat_slices(data):
    """An array of one axis."""
    cache(data)
    np.save(data / "slices.npy", np.load(data / "slices.npy").reshape(-1))


@attack("prepared", f"slices.npy is damaged .*{AGAIN}")
def empty_slices(data):
    """An array file of no bytes."""
    cache(data)
    (data / "slices.npy").write_bytes(b"")


@attack("prepared", f"slices.npy is damaged .*{AGAIN}")
def cut_off_slices(data):
    """An array file of which the end is missing."""
    cache(data)
    with open(data / "slices.npy", "r+b") as file:
        file.truncate(5000)


@attack("prepared", f"slices.npy is damaged .*{AGAIN}")
def pickled_slices(data):
    """An array of Python objects."""
    cache(data)
    np.save(data / "slices.npy", np.array([{}], dtype=object), allow_pickle=True)


@attack("prepared", "are others than its manifest.json describes")
def slices_of_another_cache(data):
    """An array of the right shape with other pixels."""
    cache(data)
    np.save(data / "slices.npy", 255 - np.load(data / "slices.npy"))


@attack("prepared", "slices.npy: it is a FIFO")
def fifo_as_slices(data):
    """A FIFO in the place of the array."""
    cache(data)
    (data / "slices.npy").unlink()
    os.mkfifo(data / "slices.npy")


@attack("prepared", "masks.npy: No such file")
def masks_that_are_missing(data):
    """A manifest that promises masks."""
    edited(data, lambda m: m.update(masks=True))


@attack("prepared", "manifest.json is no manifest of prepared data")
def manifest_that_is_a_list(data):
    """A manifest that is a list."""
    edited(data, lambda m: [m])


@attack("prepared", "manifest.json is no manifest of prepared data")
def manifest_without_format(data):
    """A manifest without its format."""
    edited(data, lambda m: {"subjects": m["subjects"]})


@attack("prepared", "prepared by another version")
def manifest_of_another_version(data):
    """A manifest of another format."""
    edited(data, lambda m: m.update(format=99))


@attack("prepared", f"manifest.json is damaged .subjects.*{AGAIN}")
def manifest_without_subjects(data):
    """A manifest without subjects."""
    edited(data, lambda m: m.pop("subjects") and None)


@attack("prepared", r"manifest.json is damaged .subjects.0.split")
def entry_without_split(data):
    """An entry without its split."""
    edited(data, lambda m: m["subjects"][0].pop("split") and None)


@attack("prepared", r"manifest.json is damaged .subjects.0.positions")
def entry_without_slices(data):
    """An entry with no position."""
    edited(data, lambda m: m["subjects"][0].update(positions=[]))


@attack("prepared", r"manifest.json is damaged .subjects.0.positions")
def far_position(data):
    """A position for which a model would need a table of 10^11 rows."""
    edited(data, lambda m: m["subjects"][0].update(positions=[0, 1, 10**11]))


@attack("prepared", "positions of subject 1 are not ascending")
def positions_in_disorder(data):
    """Positions that are not ascending."""
    edited(data, lambda m: m["subjects"][0].update(positions=[2, 0, 1]))


@attack("prepared", r"manifest.json is damaged .subjects.0.age|is damaged")
def age_that_is_nan(data):
    """An age that is nan."""
    edited(data, lambda m: m["subjects"][0].update(age=float("nan")))


@attack("prepared", "image_size must be")
def size_that_reserves(data):
    """A size of a billion pixels."""
    edited(data, lambda m: m["config"].update(image_size=10**9))


@attack("prepared", "DataConfig has no field")
def unknown_setting(data):
    """A configuration with a field that does not exist."""
    edited(data, lambda m: m["config"].update(colour=3))


@attack("prepared", "manifest.json is damaged .*orient")
def unknown_turn(data):
    """A turn that does not exist."""
    edited(data, lambda m: m["orientation"].update(turned="upside down"))


@attack("prepared", "manifest.json holds no JSON")
def cut_off_manifest(data):
    """A manifest that ends in the middle."""
    cache(data)
    path = data / "manifest.json"
    path.write_text(path.read_text()[:300])


@attack("again")
def damaged_cache_that_is_prepared_again(data):
    """The same source prepared again into a folder whose array was cut off."""
    from oasis_utils.config import DataConfig
    from oasis_utils.data.dataset import build_cache

    build_cache(tree(data.parent / "source"), data, DataConfig(image_size=32))
    with open(data / "slices.npy", "r+b") as file:
        file.truncate(5000)


@attack("prepared")
def cache_of_an_earlier_version(data):
    """A sound cache without digests, as earlier versions made it."""
    edited(data, lambda m: None)
