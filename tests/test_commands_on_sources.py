"""Whole trees of the published layouts through the real commands: every person is one subject, in
one split.
"""

import subprocess
import sys

import numpy as np
import pytest
import volume_trees as trees

from oasis_utils.cli import parser as cli
from oasis_utils.config import SPLITS
from oasis_utils.data.dataset import open_cache
from oasis_utils.data.splits import balance
from oasis_utils.pipeline.series import PRODUCTS
from oasis_utils.runtime import read_json

pytestmark = pytest.mark.slow
IMAGES = r"(?P<subject>OAS1_\d+)_(?P<session>MR\d)_mpr-1_(?P<slice>\d+)\.jpg"
SPLIT = ("--split", "1,1,1")
# builder, options of `prepare`, sessions beside the first ones, kind, masks, what a note says
LAYOUTS = {
    "keras": (trees.keras_png, (), 0, "keras", False, ""),
    "images": (trees.image_folder, ("--pattern", IMAGES, *SPLIT), 3, "images", False, ""),
    "BIDS": (
        trees.bids,
        ("--every", "2", *SPLIT),
        3,
        "nifti",
        True,
        "further volumes of the same session",
    ),
    "NIfTI": (trees.plain_nifti, SPLIT, 0, "nifti", False, "further volumes of the same session"),
    "neurite-OASIS": (
        trees.neurite_oasis,
        SPLIT,
        0,
        "oasis",
        True,
        "heads of neurite-OASIS are aligned_norm",
    ),
    "Learn2Reg": (trees.learn2reg, SPLIT, 0, "oasis", False, "slices without a mask"),
    "FreeSurfer": (
        trees.freesurfer,
        SPLIT,
        0,
        "oasis",
        True,
        "heads of FreeSurfer subjects are mri/norm",
    ),
    "fMRIPrep": (trees.fmriprep, SPLIT, 0, "nifti", True, "further volumes of the same session"),
}


def check_people(dataset, n, further):
    """As many subjects as people, nobody in two splits, sessions beside their subject, and slices
    of brains.
    """
    splits = {name: dataset.split(name) for name in SPLITS}
    owners = [set(split.subjects.tolist()) for split in splits.values()]
    assert all(owners) and sum(map(len, owners)) == len(set.union(*owners)) == n
    names = {entry["name"] for entry in dataset.manifest["subjects"]}
    assert len(names) == n
    assert sum(len(set(split.series.tolist())) for split in splits.values()) == n + further
    for split in splits.values():
        shares = (np.asarray(split.images) > 30).mean((1, 2))
        assert shares.max() > 0.2 and (shares > 0.05).mean() > 0.8
        places = set(zip(split.series.tolist(), split.positions.tolist(), strict=True))
        assert len(places) == len(split)
    return splits


@pytest.mark.parametrize("layout", LAYOUTS)
def test_prepare_takes_every_person_once(layout, tmp_path, capsys):
    build, options, further, kind, masks, note = LAYOUTS[layout]
    n = build(tmp_path / "tree")
    before = trees.contents(tmp_path / "tree")
    done = cli.main(
        [
            "prepare",
            str(tmp_path / "tree"),
            "--out",
            str(tmp_path / "cache"),
            "--size",
            "64",
            *options,
        ]
    )
    said = capsys.readouterr()
    assert done == 0, said.err
    assert trees.contents(tmp_path / "tree") == before
    dataset = open_cache(tmp_path / "cache")
    assert (dataset.manifest["kind"], dataset.manifest["masks"]) == (kind, masks)
    assert note in said.out
    splits = check_people(dataset, n, further)
    if (
        masks
    ):  # 1 fluid, 2 grey, 3 white, whatever the numbers in the tree: white matter is the brightest
        images, labels = (
            np.concatenate([getattr(s, field) for s in splits.values()])
            for field in ("images", "masks")
        )
        fluid, grey, white = (images[labels == tissue].mean() for tissue in (1, 2, 3))
        assert fluid + 30 < grey < white - 30 and labels.max() == 3


def test_the_slices_of_neurites_second_form_are_refused_with_what_to_use(tmp_path, capsys):
    trees.neurite_slices(tmp_path / "tree", 3)
    assert cli.main(["prepare", str(tmp_path / "tree"), "--out", str(tmp_path / "cache")]) == 1
    assert "one coronal slice of neurite-OASIS's 2-D form" in (said := capsys.readouterr().err)
    assert "neurite-oasis.v1.0.tar" in said


# ---------------------------------------------------------------- all notebooks


def series(data, folder):
    """All notebooks on a source, as a user runs them; one epoch each."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "oasis_utils",
            "run",
            "--profile",
            "smoke",
            "--data",
            str(data),
            "--out",
            str(folder),
            "-p",
            "epochs=1",
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    report = read_json(folder / "report.json")
    assert all(f"{name}.ipynb" in done.stdout or name in done.stdout for name in PRODUCTS)
    return open_cache(folder / "data"), report


def test_oasis_discs_go_through_all_notebooks(tmp_path):
    """Three discs, one of them packed, the table, and second sessions of every other person."""
    n = trees.oasis_discs(tmp_path / "discs")
    dataset, report = series(tmp_path / "discs", tmp_path / "run")
    splits = check_people(dataset, n, 9)
    assert dataset.manifest["kind"] == "oasis" and dataset.manifest["masks"]
    assert [len(set(s.subjects.tolist())) for s in splits.values()] == [14, 2, 2]
    assert (
        np.ptp([found["mean age"] for found in balance(dataset.manifest["subjects"]).values()]) < 12
    )
    assert {"data", "vqvae", "codebook", "pixelcnn", "dcgan", "priors"} <= set(report)
    assert (
        cli.main(
            [
                "reconstruct",
                str(tmp_path / "run"),
                "--run",
                str(tmp_path / "run"),
                "--split",
                "train",
                "--out",
                str(tmp_path / "train.npz"),
            ]
        )
        == 0
    )
    with np.load(tmp_path / "train.npz") as file:
        assert np.array_equal(file["series"], splits["train"].series)
        assert len(set(file["series"].tolist())) > len(set(file["subjects"].tolist())) == 14


@pytest.mark.parametrize(
    ("layout", "further"), [("keras", 0), ("images", 3), ("BIDS", 3), ("NIfTI", 0)]
)
def test_other_doors_go_through_all_notebooks(layout, further, tmp_path):
    if layout == "keras":
        n, data = (
            trees.keras_png(tmp_path / "tree", middle="val", level="", masks=True),
            tmp_path / "tree",
        )
    else:
        n, data = LAYOUTS[layout][0](tmp_path / "tree"), tmp_path / "cache"
        assert (
            cli.main(
                [
                    "prepare",
                    str(tmp_path / "tree"),
                    "--out",
                    str(data),
                    "--size",
                    "64",
                    *LAYOUTS[layout][1],
                ]
            )
            == 0
        )
    dataset, report = series(data, tmp_path / "run")
    check_people(dataset, n, further)
    assert report["priors"]
