"""A cache written as PNG slices and read again is the same data."""

import numpy as np
import pytest
from slice_files import make_collection, make_tree

from oasis_utils.config import SPLITS, DataConfig
from oasis_utils.data import export as exporting
from oasis_utils.data.dataset import build_cache
from oasis_utils.data.export import case_numbers, export_png
from oasis_utils.data.reading import ImportOptions
from oasis_utils.runtime import DataError

CONFIG = DataConfig(image_size=32)


def test_round_trip_keeps_pixels_masks_splits_and_ages(tmp_path):
    tree = make_tree(tmp_path / "tree", masks=True)
    (tree / "participants.tsv").write_text("participant_id\tage\tsex\ncase_005\t71.5\tF\n")
    before = build_cache(tree, tmp_path / "a", CONFIG)
    calls = []
    folder = export_png(
        before, tmp_path / "png" / "keras_png_slices_data", lambda *call: calls.append(call)
    )
    after = build_cache(folder, tmp_path / "b", CONFIG)
    for name in SPLITS:
        one, two = before.split(name), after.split(name)
        for field in ("images", "masks", "subjects", "positions", "ages"):
            assert np.array_equal(
                getattr(one, field), getattr(two, field), equal_nan=field == "ages"
            ), field
    assert calls == [(i + 1, 18) for i in range(18)]
    assert after.manifest["kind"] == "keras" and after.manifest["subjects"][4]["sex"] == "F"


def test_sessions_become_cases_and_are_one_subject_again_when_read(tmp_path):
    make_collection(tmp_path / "in", ["A1", "A2", "A3"], ("MR1", "MR2"), size=32)
    options = ImportOptions(pattern=r"(?P<subject>A\d)_(?P<session>MR\d)")
    before = build_cache(tmp_path / "in", tmp_path / "a", CONFIG, options=options)
    folder = export_png(before, tmp_path / "png")
    assert len({path.name[:8] for path in folder.glob("*/*.png")}) == 6
    after = build_cache(folder, tmp_path / "b", CONFIG)
    for name in SPLITS:
        one, two = before.split(name), after.split(name)
        assert np.array_equal(one.images, two.images) and np.array_equal(one.subjects, two.subjects)
        assert len(set(two.series.tolist())) == 2 * len(set(two.subjects.tolist())) == 2
    assert after.manifest["kind"] == "images"
    assert [entry["session"] for entry in after.manifest["subjects"]] == ["MR1", "MR2"] * 3


def test_an_export_whose_table_splits_a_person_is_refused(tmp_path):
    make_collection(tmp_path / "in", ["A1", "A2", "A3"], size=32)
    options = ImportOptions(pattern=r"(?P<subject>A\d)_(?P<session>MR\d)")
    folder = export_png(
        build_cache(tmp_path / "in", tmp_path / "a", CONFIG, options=options), tmp_path / "png"
    )
    table = (folder / "participants.tsv").read_text(encoding="utf-8")
    (folder / "participants.tsv").write_text(table.replace("A2", "A1"), encoding="utf-8")
    with pytest.raises(
        DataError, match="is a session of subject .* a subject may be in one split only"
    ):
        build_cache(folder, tmp_path / "b", CONFIG)


def test_further_sessions_get_free_numbers():
    assert case_numbers([{"subject": s} for s in (3, 3, 7, 3, 7)]) == [3, 8, 7, 9, 10]


def test_an_export_is_all_or_nothing(tmp_path, monkeypatch):
    dataset = build_cache(make_tree(tmp_path / "tree"), tmp_path / "a", CONFIG)

    def no_disk(*_args):
        raise OSError("no space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="no space"):
        patch.setattr(exporting, "write_json", no_disk)
        export_png(dataset, tmp_path / "png")
    assert {p.name for p in tmp_path.iterdir()} == {"tree", "a"}


def test_a_folder_of_the_user_beside_the_export_is_kept(tmp_path):
    dataset = build_cache(make_tree(tmp_path / "tree"), tmp_path / "a", CONFIG)
    thesis = tmp_path / "png.partial" / "my_thesis.txt"
    thesis.parent.mkdir()
    thesis.write_text("mine")
    export_png(dataset, tmp_path / "png")
    assert thesis.read_text() == "mine"
    assert {p.name for p in tmp_path.iterdir()} == {"tree", "a", "png", "png.partial"}


def test_an_export_does_not_mix_with_other_files(tmp_path):
    dataset = build_cache(make_tree(tmp_path / "tree"), tmp_path / "a", CONFIG)
    with pytest.raises(DataError, match="tree is not empty: .* choose a new folder"):
        export_png(dataset, tmp_path / "tree")
    (tmp_path / "empty").mkdir()
    assert export_png(dataset, tmp_path / "empty") == tmp_path / "empty"
