"""`sample --heads`: a folder of generated heads, whole or not at all, that `evaluate` reads."""

import json
import sys
import types
from dataclasses import dataclass

import nibabel
import numpy as np
import pytest
from small_models import small_model

from oasis_utils.cli import sample_heads
from oasis_utils.cli.parser import main
from oasis_utils.config import DataConfig
from oasis_utils.data import open_or_build
from oasis_utils.data.head_geometry import SAMPLE_DATA
from oasis_utils.data.people import read_table
from oasis_utils.evaluation import load_images
from oasis_utils.models.checkpoints import save_model
from oasis_utils.models.samples import image_seeds
from oasis_utils.runtime import RunFolder

POSITIONS, SIDE = 5, 64


@dataclass
class DrawnHeads:
    images: np.ndarray
    ages: np.ndarray


class Sampler:
    """Heads of noise that their seeds decide; fails in a call if asked to."""

    name, n_positions = "PixelCNN", POSITIONS

    def __init__(self):
        self.calls, self.fails_in, self.knows_age = [], None, True

    def sample(self, seeds, options=None, progress=None, ages=None):
        self.calls.append((seeds, options, ages))
        if len(self.calls) == self.fails_in:
            raise ValueError("no more heads")
        images = [head_of(seed) for seed in seeds]
        if progress:
            progress.update(len(seeds) * POSITIONS)
        return DrawnHeads(np.stack(images), np.full(len(seeds), np.nan) if ages is None else ages)


def head_of(seed):
    return np.random.default_rng(seed).integers(0, 256, (POSITIONS, SIDE, SIDE), np.uint8)


@pytest.fixture
def sampler(monkeypatch):
    drawing = Sampler()
    module = types.ModuleType("oasis_utils.models.heads")
    module.load_head_sampler = lambda _run, prior, _device: (
        setattr(drawing, "prior", prior) or (drawing)
    )
    monkeypatch.setitem(sys.modules, "oasis_utils.models.heads", module)
    return drawing


@pytest.fixture
def command(tmp_path):
    (tmp_path / "run").mkdir()
    return ["sample", "--run", str(tmp_path / "run"), "--out", str(tmp_path / "heads")]


def sidecars(folder):
    return [json.loads(p.read_text()) for p in sorted(folder.glob("sub-*/anat/*_T1w.json"))]


def test_heads_of_one_age_are_written_and_read_back(tmp_path, sampler, command, capsys):
    more = ["--heads", "3", "--age", "70", "--seed", "7", "--top-p", "0.9", "--prior", "dcgan"]
    assert main([*command, *more]) == 0
    seeds, out = image_seeds(7, 3), tmp_path / "heads"
    images, positions = load_images(out)
    assert np.array_equal(images, np.concatenate([head_of(seed) for seed in seeds]))
    assert positions.tolist() == list(range(POSITIONS)) * 3
    assert sampler.prior == "dcgan" and sampler.calls[0][1].top_p == 0.9
    people = read_table(out / "participants.tsv")
    assert {name: person.age for name, person in people.items()} == {
        f"sub-00{i}": 70 for i in (1, 2, 3)
    }
    said = sidecars(out)
    assert [one["Seed"] for one in said] == seeds
    assert all(one["Synthetic"] and one["AgeAskedFor"] == 70 for one in said)
    assert said[0]["Model"]["Name"] == "PixelCNN" and said[0]["Revision"]
    assert "unknown" in said[0]["Model"]["TrainedOn"] and "SkullStripped" not in said[0]
    assert str(tmp_path) not in json.dumps(said)
    printed = capsys.readouterr()
    assert f"wrote 3 heads of {POSITIONS} slices" in printed.out
    assert "assumed, as the data do not tell: the size of a pixel" in printed.out
    assert "15/15" in printed.err


def test_without_an_age_there_is_none(tmp_path, sampler, command):
    sampler.knows_age = False
    assert main([*command, "--heads", "1"]) == 0
    assert read_table(tmp_path / "heads" / "participants.tsv")["sub-001"].age is None
    assert sidecars(tmp_path / "heads")[0]["AgeAskedFor"] is None and sampler.calls[0][2] is None


def test_heads_are_drawn_in_batches(tmp_path, sampler, command, monkeypatch, capsys):
    monkeypatch.setattr(sample_heads, "SLICES_AT_ONCE", 2 * POSITIONS)
    assert main([*command, "--heads", "5", "--age", "40"]) == 0
    assert [len(seeds) for seeds, _, _ in sampler.calls] == [2, 2, 1]
    assert [len(ages) for _, _, ages in sampler.calls] == [2, 2, 1]
    assert [s for seeds, _, _ in sampler.calls for s in seeds] == image_seeds(0, 5)
    assert len(load_images(tmp_path / "heads")[0]) == 5 * POSITIONS
    assert "25/25" in capsys.readouterr().err


def test_a_command_that_fails_writes_nothing(tmp_path, sampler, command, monkeypatch, capsys):
    monkeypatch.setattr(sample_heads, "SLICES_AT_ONCE", POSITIONS)
    sampler.fails_in = 3
    assert main([*command, "--heads", "5"]) == 1
    assert "no more heads" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_folder_that_is_not_empty_stays_as_it_is(tmp_path, sampler, command, capsys):
    (tmp_path / "heads").mkdir()
    assert main([*command, "--heads", "1"]) == 0  # it was empty
    before = sorted(tmp_path.rglob("*"))
    assert main([*command, "--heads", "2"]) == 1
    assert "is not empty" in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before and len(sampler.calls) == 1


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--heads", "2", "--n", "4"], "--heads and --n are both given"),
        (["--heads", "2", "--position", "0"], "leave --position out"),
        (["--heads", "2", "--as-source"], "leave --as-source out"),
        (["--heads", "2", "--tissues"], "run notebook 01 with this run folder"),
        (["--tissues"], "--tissues is for whole heads: give --heads N"),
        (["--heads", "2", "--out", "heads.npz"], "give --out the name of a new folder"),
        (["--heads", "0"], "0 is not 1 or more"),
        (["--heads", "10001"], "10001 is above 10000"),
        (["--heads", "2", "--age", "70"], "was trained without ages"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_drawn(
    tmp_path, sampler, command, capsys, monkeypatch, more, message
):
    monkeypatch.chdir(tmp_path)
    sampler.knows_age = False
    assert main([*command, *more]) == 2
    assert message in capsys.readouterr().err
    assert not sampler.calls and [path.name for path in tmp_path.iterdir()] == ["run"]


def test_heads_do_not_enter_the_results_of_a_run(tmp_path, sampler, command, capsys):
    (tmp_path / "run" / "summaries").mkdir()
    out = tmp_path / "run" / "samples" / "heads"
    assert main([*command, "--heads", "2", "--out", str(out)]) == 1
    assert "is among the results of the run" in capsys.readouterr().err
    assert not out.parent.exists()


@pytest.fixture
def run(tmp_path, command):
    return RunFolder(tmp_path / "run")


def test_the_data_of_the_run_tell_sizes_and_tissues(tmp_path, sampler, command, run, brains):
    open_or_build(brains.folder, run.data, DataConfig(image_size=SIDE))
    assert main([*command, "--heads", "2", "--tissues"]) == 0
    out = tmp_path / "heads"
    said = sidecars(out)[0]
    assert said["Model"]["TrainedOn"] == brains.description and said["SkullStripped"] is True
    assert said["Geometry"]["MillimetresPerPixel"] == brains.manifest["crop"]["side"] / SIDE
    assert said["Geometry"]["Assumed"] == []
    label_map = out / "sub-002" / "anat" / "sub-002_desc-synthetic_dseg.nii.gz"
    labels = np.asarray(nibabel.load(label_map).dataobj)
    head = nibabel.load(str(label_map).replace("dseg", "T1w"))
    assert labels.shape == head.shape and set(np.unique(labels)) <= {0, 1, 2, 3}
    brighter = np.asarray(head.dataobj)
    means = [brighter[labels == label].mean() for label in (3, 1, 2)]  # fluid, grey, white
    assert means == sorted(means)
    assert (out / "desc-synthetic_dseg.tsv").exists()
    assert len(load_images(out)[0]) == 2 * POSITIONS  # label maps are no heads


@pytest.mark.parametrize(
    ("trained_on", "with_data", "name"),
    [
        (SAMPLE_DATA, False, "synthetic sample brains"),
        (SAMPLE_DATA, True, "synthetic sample brains"),
        ("another", False, "unknown: the run has no data"),
        ("another", True, "other data than those that the run has now"),
    ],
)
def test_what_the_models_were_trained_on_is_said(
    tmp_path, sampler, command, run, brains, trained_on, with_data, name
):
    save_model(run.checkpoint("vqvae"), small_model("vqvae"), inputs={"data": trained_on})
    if with_data:
        open_or_build(brains.folder, run.data, DataConfig(image_size=SIDE))
    assert main([*command, "--heads", "1"]) == 0
    said = sidecars(tmp_path / "heads")[0]
    assert said["Model"]["TrainedOn"].startswith(name)
    assert len(said["Model"]["Checkpoints"]["vqvae"]["Sha256"]) == 64
    known = trained_on == SAMPLE_DATA
    assert bool(said["Geometry"]["Assumed"]) != known and said.get("SkullStripped", False) == known


def test_pngs_beside_heads_are_refused(tmp_path, sampler, command):
    assert main([*command, "--heads", "1"]) == 0
    (tmp_path / "heads" / "a.png").write_bytes(b"x")
    with pytest.raises(ValueError, match="holds PNG files and heads, such as a.png and sub-001_"):
        load_images(tmp_path / "heads")
