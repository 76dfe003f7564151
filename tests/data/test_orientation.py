"""Orientation of slices: sample brains and heads are turned upright, all else is left as it is."""

import functools

import numpy as np
import pytest
from slice_files import disc, write_slice

from oasis_utils.cli.parser import main
from oasis_utils.config import DataConfig
from oasis_utils.data import dataset as data
from oasis_utils.data import orientation
from oasis_utils.data.batches import Batches
from oasis_utils.data.export import export_png
from oasis_utils.data.orientation import (
    TURNS,
    correlation_with_mean,
    measure,
    oriented,
    quarter_turns,
    turned_back,
)
from oasis_utils.data.reading import ImportOptions
from oasis_utils.data.sample_brains import write_sample_brains
from oasis_utils.data.synthetic import make_subject
from oasis_utils.data.template import load_template
from oasis_utils.data.volumes import SliceOptions
from oasis_utils.runtime.symmetry import Symmetry

ALL = [turn + flip for turn in TURNS for flip in ("", ",flip")]
WHOLE = DataConfig(
    image_size=256, fit_crop=False
)  # neither cut nor resized: pixels stay what they are
UPRIGHT = {
    "as-is": "as-is",
    "rot90": "rot270",
    "rot180": "rot180",
    "rot270": "rot90",
}  # what takes each turn back


@functools.lru_cache(maxsize=2)
def sample(whole):
    """(slices, masks, whole heads or not) of four sample subjects, (4, 32, 256, 256), forehead
    up.
    """
    made = [make_subject(load_template(), number, whole_head=whole) for number in range(1, 5)]
    return np.stack([s.slices for s in made]), np.stack([s.masks for s in made]), whole


@pytest.fixture(params=[False, True], ids=["brains", "heads"])
def subjects(request):
    return sample(request.param)


def positions_of(slices):
    return np.tile(np.arange(slices.shape[1]), len(slices))


def flat(slices):
    return slices.reshape(-1, *slices.shape[2:])


# ---------------------------------------------------------------- turning


@pytest.mark.parametrize("orient", ALL)
def test_turning_back_undoes_a_turn(orient):
    image = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert np.array_equal(turned_back(oriented(image, orient), orient), image)


@pytest.mark.parametrize("orient", ["rot45", "flip", "rot90,flop", "", "auto,flip"])
def test_other_words_are_refused(orient):
    with pytest.raises(ValueError, match="orient must be auto or one of as-is, rot90"):
        quarter_turns(orient)


# ---------------------------------------------------------------- measuring


@pytest.mark.slow
@pytest.mark.parametrize("orient", ALL)
def test_turned_subjects_are_brought_upright(subjects, orient):
    slices, _, whole = subjects
    found = measure(oriented(flat(slices), orient), positions_of(slices))
    turn = orient.removesuffix(",flip")
    back = (
        turn if orient.endswith(",flip") and turn in ("rot90", "rot270") else UPRIGHT[turn]
    )  # a flip turns it round
    assert found.orient == back
    assert found.symmetry == Symmetry(-2 if turn in ("rot90", "rot270") else -1)
    assert found.symmetry_after(found.orient) == Symmetry(-1)
    assert found.content == ("head" if whole else "brain")


@pytest.mark.slow
def test_dim_brains_in_bright_scalps_are_heads_that_lie_right():
    """As the course's slices: the brain at half its grey, the scalp brighter than it."""
    slices, masks, _ = sample(whole=True)
    dim = np.clip(slices * np.where(masks > 0, 0.5, 1.5), 0, 255).astype(np.uint8)
    found = measure(oriented(flat(dim), "rot270"), positions_of(dim))
    assert (found.orient, found.content) == ("rot90", "head")


@pytest.mark.slow
def test_two_training_subjects_are_enough(subjects):
    slices, _, whole = subjects
    found = measure(oriented(flat(slices[:2]), "rot270"), positions_of(slices[:2]))
    assert (found.orient, found.symmetry.axis, found.content) == (
        "rot90",
        -2,
        "head" if whole else "brain",
    )


def halves(kind):
    """Slices that are no axial brains: (n, 64, 64)."""
    rng, stack = np.random.default_rng(0), []
    for _ in range(12):
        picture = disc(64, 24, 150)
        if kind == "lopsided":  # bright in one quarter: its own mirror image in neither direction
            picture[:32, :32] = np.where(picture[:32, :32] > 0, 250, 0)
            picture[32:, 32:] = np.where(picture[32:, 32:] > 0, 40, 0)
            picture[:32, 32:] = np.where(picture[:32, 32:] > 0, 90, 0)
        if kind == "two lobes":  # symmetric left-right, not top-bottom, and like no brain
            picture = (picture * np.linspace(1, 0.2, 64)[:, None]).astype(np.uint8)
            picture[:36, 24:40] = 0
        stack.append(
            np.clip(picture + rng.integers(0, 8, picture.shape) * (picture > 0), 0, 255).astype(
                np.uint8
            )
        )
    return np.stack(stack)


@pytest.mark.parametrize(("kind", "axis"), [("disc", None), ("lopsided", None), ("two lobes", -1)])
def test_slices_of_other_things_are_left_as_they_are(kind, axis):
    found = measure(halves(kind), np.arange(12))
    assert (found.orient, found.symmetry.axis) == ("as-is", axis)


def test_sagittal_cuts_have_no_mid_line(subjects):
    """Cuts from front to back through the stack of slices, stretched to the height of a head."""
    slices, masks, _ = subjects
    slices = np.where(masks > 0, slices, 0).astype(
        np.uint8
    )  # scalps above and below would make a symmetric frame
    sagittal = (
        slices[:, ::-1, :, 88:168:4].transpose(0, 3, 1, 2).repeat(3, axis=2)
    )  # (4, 20, 96, 256)
    sagittal = np.pad(sagittal, ((0, 0), (0, 0), (80, 80), (0, 0)))
    found = measure(flat(sagittal), positions_of(sagittal))
    assert (found.orient, found.symmetry.axis) == ("as-is", None)


def test_empty_slices_say_nothing():
    found = measure(np.zeros((5, 64, 64), np.uint8), np.arange(5))
    assert (found.orient, found.symmetry.axis) == ("as-is", None)


def test_a_speck_far_from_the_head_does_not_move_it(subjects):
    slices, _, _ = subjects
    speckled = flat(slices).copy()
    speckled[:, 3:5, 3:5] = 255
    assert measure(speckled, positions_of(slices)).orient == "as-is"
    assert (
        np.abs(orientation.framed(speckled[40]) - orientation.framed(flat(slices)[40])).mean()
        < 0.01
    )


def test_a_dark_layer_under_the_outline_is_a_skull():
    brain = disc(64, 26, 160)
    head = disc(64, 28, 200)
    head[disc(64, 25, 1) > 0] = 20
    head[disc(64, 21, 1) > 0] = 120
    assert (
        measure([brain] * 3, np.arange(3)).content == "brain"
        and measure([head] * 3, np.arange(3)).content == "head"
    )


# ---------------------------------------------------------------- through the import


def tree(folder, slices, masks, orient):
    """A keras_png_slices tree of four subjects, two to train on."""
    for subject, split in enumerate(("train", "train", "validate", "test")):
        for position in range(0, 32, 4):
            picture = oriented(slices[subject, position], orient)
            write_slice(folder / f"keras_png_slices_{split}", subject + 1, position, picture)
            mask = oriented(masks[subject, position], orient)
            path = (
                folder
                / f"keras_png_slices_seg_{split}"
                / f"seg_{subject + 1:03d}_slice_{position}.nii.png"
            )
            write_slice(path.parent, subject + 1, position, mask).rename(path)
    return folder


def prepared(tmp_path, subjects, turn, name, **options):
    slices, masks, _ = subjects
    source = tree(tmp_path / f"{name} source", slices, masks, turn)
    chosen = ImportOptions(slices=SliceOptions(**options))
    return data.build_cache(source, tmp_path / name, WHOLE, options=chosen)


def both(dataset, split="train"):
    part = dataset.split(split)
    return np.array(part.images), np.array(part.masks)


@pytest.mark.parametrize("orient", ALL[1:])
def test_every_orientation_gives_the_same_cache_or_its_mirror_image(tmp_path, subjects, orient):
    upright, turned = (
        prepared(tmp_path, subjects, o, f"cache {i}") for i, o in enumerate(("as-is", orient))
    )
    for split in ("train", "test"):
        for a, b in zip(both(upright, split), both(turned, split), strict=True):
            assert np.array_equal(a, b[:, :, ::-1] if orient.endswith("flip") else b)
    assert turned.symmetry == Symmetry(-1)
    assert turned.manifest["orientation"]["measured"]


def test_the_manifest_says_what_was_done_and_exports_turn_back(tmp_path, subjects):
    dataset = prepared(
        tmp_path, subjects, "rot270", "course"
    )  # the forehead to the right, as in the course's slices
    assert dataset.orient == "rot90" and dataset.content == ("head" if subjects[2] else "brain")
    images, _ = both(dataset)
    assert np.array_equal(oriented(dataset.as_source(images), "rot90"), images)
    again = data.build_cache(
        export_png(dataset, tmp_path / "png", as_source=True), tmp_path / "again", WHOLE
    )
    assert again.orient == "rot90" and np.array_equal(both(again)[0], images)
    assert np.array_equal(both(again)[1], both(dataset)[1])
    kept = data.build_cache(
        tmp_path / "png",
        tmp_path / "kept",
        WHOLE,
        options=ImportOptions(slices=SliceOptions(orient="as-is")),
    )
    assert np.array_equal(both(kept)[0], dataset.as_source(images))
    assert kept.symmetry == Symmetry(-2) and not kept.manifest["orientation"]["measured"]


def test_an_asked_for_turn_wins_over_the_measured_one(tmp_path, subjects):
    dataset = prepared(tmp_path, subjects, "as-is", "asked", orient="rot90,flip")
    assert dataset.orient == "rot90,flip" and dataset.symmetry == Symmetry(-2)
    assert dataset.identity != prepared(tmp_path, subjects, "as-is", "upright").identity
    assert dataset.split("train").symmetry == Symmetry(-2)


def test_slices_from_elsewhere_are_turned_if_that_makes_them_alike(tmp_path, subjects):
    dataset = prepared(tmp_path, subjects, "rot270", "data")
    images = both(dataset, "test")[0]
    assert np.array_equal(dataset.aligned(images), images)
    assert np.array_equal(dataset.aligned(dataset.as_source(images)), images)


def test_agreement_is_highest_for_the_data_s_own_turn(subjects):
    slices, _, _ = subjects
    mean = flat(slices[:3]).mean(0) / 255
    scores = {turn: correlation_with_mean(oriented(slices[3], turn), mean) for turn in TURNS}
    assert max(scores, key=scores.get) == "as-is"


def test_symmetry_of_a_split_reaches_its_batches(tmp_path, subjects):
    dataset = prepared(tmp_path, subjects, "as-is", "kept", orient="rot90")
    split = dataset.split("train")
    images = (
        next(iter(Batches({"images": split.floats()}, len(split), mirror=split.symmetry)))["images"]
        * 255
    )
    changed = (images != split.floats()).any((1, 2, 3))
    assert changed.any() and not changed.all()


@pytest.mark.slow
def test_sample_brains_can_be_written_in_the_orientation_of_the_png_slices(tmp_path):
    tree = write_sample_brains(tmp_path, 2, 1, 1, whole_head=True, orient="rot270", workers=1)
    dataset = data.build_cache(tree, tmp_path / "cache", WHOLE)
    assert (dataset.orient, dataset.content, dataset.symmetry.axis) == ("rot90", "head", -1)
    upright = {
        s: make_subject(load_template(), s, whole_head=True)
        for s in dataset.split("train").subjects.tolist()
    }
    images, masks = both(dataset)
    assert np.array_equal(images, np.concatenate([s.slices for s in upright.values()]))
    assert np.array_equal(masks, np.concatenate([s.masks for s in upright.values()]))
    with pytest.raises(FileExistsError, match="other settings"):
        write_sample_brains(tmp_path, 2, 1, 1, whole_head=True, workers=1)
    with pytest.raises(ValueError, match="orient must be"):
        write_sample_brains(tmp_path / "other", 2, 1, 1, orient="sideways", workers=1)


@pytest.mark.slow
def test_prepare_says_how_slices_lie_and_writes_them_either_way(tmp_path, capsys):
    source = tree(tmp_path / "in", *sample(whole=True)[:2], "rot270")
    command = [
        "prepare",
        str(source),
        "--out",
        str(tmp_path / "out"),
        "--size",
        "64",
        "--png",
        str(tmp_path / "png"),
    ]
    assert main([*command, "--as-source"]) == 0
    printed = capsys.readouterr().out
    assert (
        "orientation: turned by rot90 (as measured); mirrored left-right in training; whole heads"
        in printed
    )
    assert "prepared PNG slices of in in" in printed
    back = data.build_cache(tmp_path / "png", tmp_path / "back", DataConfig(image_size=64))
    assert back.orient == "rot90"
    assert (
        main(
            [
                "prepare",
                str(source),
                "--out",
                str(tmp_path / "kept"),
                "--size",
                "64",
                "--orient",
                "as-is",
            ]
        )
        == 0
    )
    assert "not turned (as asked); mirrored top-bottom in training" in capsys.readouterr().out
    assert main([*command[:-2], "--as-source"]) == 2
    assert "add --png DIR" in capsys.readouterr().err


def test_generated_slices_need_their_run_s_data_to_be_turned_back(tmp_path, capsys):
    assert (
        main(["sample", "--run", str(tmp_path), "--out", str(tmp_path / "x.npz"), "--as-source"])
        == 2
    )
    assert "has no data" in capsys.readouterr().err
