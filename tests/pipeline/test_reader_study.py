"""The reader study: blinded pairs, the key beside them, and, in headless Chromium, a whole reading
whose answers `evaluate` reads.
"""

import base64
import io
import json
import re
import shutil

import numpy as np
import pytest
import torch
from chromium import launched, offline_tab
from PIL import Image

from oasis_utils.cli.parser import main
from oasis_utils.config import VQVAEConfig
from oasis_utils.data.dataset import Split
from oasis_utils.models.checkpoints import CheckpointError, save_model
from oasis_utils.models.codes import decode_maps, encode_images
from oasis_utils.models.samples import Samples
from oasis_utils.models.vqvae import VQVAE
from oasis_utils.pipeline import reader_study
from oasis_utils.pipeline.reader_pairs import chosen_pairs
from oasis_utils.runtime import DataError, RunFolder, read_json
from oasis_utils.runtime.report import ReaderKey, checked

CPU = torch.device("cpu")
BOTH = ("pixelcnn", "dcgan")
LONG = 60_000  # milliseconds


# ---------------------------------------------------------------- pairs


def people(n, positions, ages=None):
    """A test split of n people with a slice at each position, and no pictures."""
    ages = np.full(n, np.nan) if ages is None else np.asarray(ages)
    return Split(
        "test",
        np.zeros((n * positions, 8, 8), np.uint8),
        np.repeat(np.arange(n) + 100, positions),
        np.tile(np.arange(positions), n),
        np.repeat(ages, positions).astype(np.float32),
    )


def drawn(positions, ages=None):
    n = len(positions)
    return Samples(
        np.zeros((n, 8, 8), np.uint8),
        np.zeros((n, 1, 1), int),
        np.asarray(positions),
        None if ages is None else np.asarray(ages, np.float32),
    )


@pytest.mark.parametrize("seed", range(5))
def test_pairs_have_one_position_each_slice_comes_once_and_people_take_turns(seed):
    test = people(7, 6)
    samples = {name: drawn(np.arange(60) % 6) for name in BOTH}
    pairs = chosen_pairs(test, samples, 10, np.random.default_rng(seed))
    for name in BOTH:
        own = [pair for pair in pairs if pair.prior == name]
        at = [samples[name].positions[pair.sample] for pair in own]
        assert at == [test.positions[pair.row] for pair in own]
        assert len({pair.sample for pair in own}) == len(own) == 10
        assert np.ptp(np.bincount(at, minlength=6)) <= 1
    assert len({pair.row for pair in pairs}) == 20
    times = np.bincount([test.subjects[pair.row] - 100 for pair in pairs], minlength=7)
    assert times.max() == 3 and times.min() == 2  # 20 pairs of 7 people


def test_the_nearest_ages_are_shown_together():
    test = people(3, 1, [20, 50, 80])
    samples = {"dcgan": drawn(np.zeros(4, int), [82, 18, np.nan, 51])}
    pairs = chosen_pairs(test, samples, 3, np.random.default_rng(0))
    known = {(pair.row, pair.sample) for pair in pairs if pair.sample != 2}
    assert known <= {(0, 1), (1, 3), (2, 0)} and len(known) >= 2


def test_a_position_without_samples_is_not_shown():
    samples = {"dcgan": drawn([0, 0, 2, 2])}
    pairs = chosen_pairs(people(4, 3), samples, 4, np.random.default_rng(0))
    assert sorted(pair.row % 3 for pair in pairs) == [0, 0, 2, 2]
    with pytest.raises(DataError, match="ask for --n 4, or fewer"):
        chosen_pairs(people(4, 3), samples, 5, np.random.default_rng(0))
    with pytest.raises(DataError, match="no slice position of the test slices"):
        chosen_pairs(people(4, 3), {"dcgan": drawn([7, 8])}, 1, np.random.default_rng(0))


# ---------------------------------------------------------------- page and key


@pytest.fixture(scope="module")
def run(brains, tmp_path_factory):
    """A run of the smoke profile's brains with an untrained VQ-VAE, whose samples are maps of
    training slices.
    """
    torch.manual_seed(0)
    run = RunFolder(tmp_path_factory.mktemp("study run"))
    shutil.copytree(brains.folder, run.data)
    vqvae = VQVAE(VQVAEConfig(image_size=64, channels=32, n_codes=16, code_dim=4)).eval()
    save_model(run.checkpoint("vqvae"), vqvae)
    train = brains.split("train")
    for number, prior in enumerate(BOTH):
        rows = np.arange(number, len(train), 2)
        maps = encode_images(vqvae, train.images[rows], CPU).astype(np.int64)
        images = decode_maps(vqvae, maps)
        Samples(images, maps, train.positions[rows], train.ages[rows]).save(run.samples(prior))
    return run


@pytest.fixture(scope="module")
def study(run, tmp_path_factory):
    """(text of the page, trials in the page, key)."""
    page = tmp_path_factory.mktemp("study") / "trials.html"
    key = checked(ReaderKey, read_json(reader_study.write_study(run, page, BOTH, 15, 3)), "a key")
    text = page.read_text(encoding="utf-8")
    shown = json.loads(re.search(r"const STUDY = (.*);\n", text)[1])
    return text, shown, key


def pixels(url):
    return np.array(Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))))


def test_the_key_says_where_each_picture_is_from(run, brains, study):
    _, shown, key = study
    vqvae = reader_study.load_model(run.checkpoint("vqvae"), VQVAE, CPU)[0].eval()
    test, samples = brains.split("test"), {name: Samples.load(run.samples(name)) for name in BOTH}
    assert [t["trial"] for t in shown["trials"]] == [t.trial for t in key.trials]
    for trial, answer in zip(shown["trials"], key.trials, strict=True):
        real = "right" if answer.generated == "left" else "left"
        assert np.array_equal(
            pixels(trial[answer.generated]), samples[answer.prior].images[answer.sample]
        )
        at = (test.subjects == answer.subject) & (test.positions == answer.position)
        decoded = decode_maps(vqvae, encode_images(vqvae, test.images[at], CPU))
        assert np.array_equal(pixels(trial[real]), decoded[0])
        assert samples[answer.prior].positions[answer.sample] == answer.position


def test_nothing_in_the_page_gives_the_answers_away(study):
    text, shown, key = study
    assert set(shown) == {"study", "trials"}
    assert all(set(trial) == {"trial", "left", "right"} for trial in shown["trials"])
    rest = re.sub(r"data:image/png;base64,[\w+/=]+", "", text)
    assert not re.search(r"pixelcnn|dcgan|subject|seed|https?://|@import|url\(['\"]", rest, re.I)
    assert "{{" not in text and "{%" not in text
    for trial in shown["trials"]:
        for side in ("left", "right"):
            content = base64.b64decode(trial[side].split(",")[1])
            assert set(re.findall(rb"IHDR|IDAT|IEND|tEXt|zTXt|iTXt|tIME|pHYs|eXIf", content)) == {
                b"IHDR",
                b"IDAT",
                b"IEND",
            }
            assert Image.open(io.BytesIO(content)).mode == "L"
    assert {trial.prior for trial in key.trials} == set(BOTH)
    sides = [trial.generated for trial in key.trials]
    assert 5 < sides.count("left") < 25
    changes = sum(a.prior != b.prior for a, b in zip(key.trials, key.trials[1:], strict=False))
    assert changes > 5  # priors are mixed


def test_the_page_says_that_sample_brains_are_synthetic(study, brains):
    assert "not from scans of people" in study[0] and brains.description in study[0]


def test_the_seed_decides_the_study(run, tmp_path):
    keys = [
        read_json(reader_study.write_study(run, tmp_path / f"{i}.html", BOTH, 5, seed))
        for i, seed in enumerate([1, 1, 2])
    ]
    assert keys[0] == keys[1] != keys[2] and keys[0]["study"] != keys[2]["study"]


def test_a_key_for_which_answers_may_wait_is_not_replaced(run, tmp_path):
    page = tmp_path / "trials.html"
    key = reader_study.write_study(run, page, ("dcgan",), 4, 0)
    before = key.read_bytes(), page.read_bytes()
    reader_study.write_study(run, page, ("dcgan",), 4, 0)  # the same study
    with pytest.raises(DataError, match="is of another study"):
        reader_study.write_study(run, page, ("dcgan",), 4, 1)
    assert (key.read_bytes(), page.read_bytes()) == before


def test_unsuitable_runs_are_named(run, tmp_path):
    part = RunFolder(tmp_path / "part")
    with pytest.raises(DataError, match="no prepared data"):
        reader_study.write_study(part, tmp_path / "x.html", BOTH, 4, 0)
    shutil.copytree(run.data, part.data)
    with pytest.raises(CheckpointError, match="run the notebook that trains it"):
        reader_study.write_study(part, tmp_path / "x.html", BOTH, 4, 0)
    save_model(part.checkpoint("vqvae"), VQVAE(VQVAEConfig(image_size=64, channels=32, n_codes=16)))
    with pytest.raises(FileNotFoundError, match="run notebook 07_generation"):
        reader_study.write_study(part, tmp_path / "x.html", BOTH, 4, 0)
    shutil.copytree(run.root / "samples", part.root / "samples")
    with pytest.raises(DataError, match="does not hold slices that the VQ-VAE of this run decodes"):
        reader_study.write_study(part, tmp_path / "x.html", BOTH, 4, 0)
    with pytest.raises(DataError, match="ask for --n 32, or fewer"):
        reader_study.write_study(run, tmp_path / "x.html", BOTH, 33, 0)
    assert not list(tmp_path.glob("x*"))


def test_the_command_writes_both_and_refuses_other_places(run, tmp_path, capsys):
    words = ["readers", "--run", str(run.root), "--prior", "dcgan", "--n", "3", "--out"]
    assert main([*words, str(tmp_path / "trials.html")]) == 0
    assert "keep it from the readers" in capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} == {"trials.html", "trials.key.json"}
    for out, code, message in (
        (tmp_path / "trials", 2, "must end in .html"),
        (run.data / "trials.html", 1, "among the results of the run"),
    ):
        assert main([*words, str(out)]) == code
        assert message in capsys.readouterr().err and not out.exists()
    for wrong in ("0", "501", "x"):
        assert main(["readers", "--run", "x", "--out", "y.html", "--n", wrong]) == 2


# ---------------------------------------------------------------- in Chromium


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    with launched(tmp_path_factory.mktemp("chromium")) as context:
        yield context


@pytest.fixture
def tab(chromium):
    with offline_tab(chromium) as tab:
        yield tab


def begin(tab, page, reader):
    tab.goto(page.as_uri())
    tab.get_by_label("Your name or code").fill(reader)
    tab.get_by_label("Your experience").fill("none")
    tab.keyboard.press("Enter")
    tab.get_by_text("Pair 1 of ").wait_for(timeout=LONG)


def press(tab, trials, wrong=()):
    """Answer by arrow key, correctly but for some trials."""
    for number, trial in trials:
        tab.get_by_text(re.compile(rf"^Pair {number + 1} of ")).wait_for(timeout=LONG)
        right = (trial.generated == "right") != (number in wrong)
        tab.keyboard.press("ArrowRight" if right else "ArrowLeft")


def saved(tab, folder):
    tab.get_by_text("pairs are answered").wait_for(timeout=LONG)
    with tab.expect_download() as download:
        tab.keyboard.press("Enter")
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


@pytest.mark.browser
@pytest.mark.slow
def test_a_reading_by_keyboard_is_evaluated(tab, run, tmp_path, capsys):
    page = tmp_path / "trials.html"
    key = checked(ReaderKey, read_json(reader_study.write_study(run, page, BOTH, 6, 0)), "a key")
    trials = list(enumerate(key.trials))
    begin(tab, page, "Dr. A/ä")
    press(tab, trials[:4], wrong={3})
    tab.keyboard.press("Backspace")
    press(tab, trials[3:5])  # the wrong answer is corrected
    tab.reload()
    press(tab, trials[5:], wrong={5})
    path = saved(tab, tmp_path)
    assert path.name == "answers_Dr-A-ä.json"
    found = read_json(path)
    assert (found["reader"], found["experience"]) == ("Dr. A/ä", "none")
    answers = {answer["trial"]: answer["choice"] for answer in found["answers"]}
    assert [number for number, t in trials if answers[t.trial] != t.generated] == [5]
    assert all(isinstance(a["milliseconds"], int) for a in found["answers"])
    tab.keyboard.press("Backspace")  # from the end, too
    tab.get_by_text(f"Your answer so far: {trials[-1][1].generated}").wait_for(timeout=LONG)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        words = ["evaluate", str(run.samples("dcgan")), "--against", str(run.root)]
        words += ["--answers", path.name, "--key", "trials.key.json"]
        assert main([*words, "--json", "metrics.json", "--card", "card.md"]) == 0
    results = read_json(tmp_path / "metrics.json")["readers"]
    spoilt = key.trials[5].prior
    assert {name: r["accuracy"] for name, r in results.items()} == {
        name: pytest.approx(5 / 6 if name == spoilt else 1) for name in BOTH
    }
    card = (tmp_path / "card.md").read_text(encoding="utf-8")
    printed = capsys.readouterr().out
    for name, result in results.items():
        assert (result["readers"], result["trials"], result["fleiss_kappa"]) == (1, 6, None)
        assert f"- *{name}*: {result['verdict']}" in card
        assert f"readers, {name}: {result['verdict']}" in printed


@pytest.mark.browser
@pytest.mark.slow
def test_a_reading_by_touch_on_a_phone(tab, run, tmp_path):
    page = tmp_path / "trials.html"
    key = read_json(reader_study.write_study(run, page, ("dcgan",), 3, 1))
    tab.set_viewport_size({"width": 390, "height": 844})
    begin(tab, page, "B")
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    sizes = tab.evaluate(
        "[...document.querySelectorAll('.pair img')].map(i => [i.clientWidth, i.clientHeight])"
    )
    assert sizes[0] == sizes[1] and sizes[0][0] == sizes[0][1] > 150
    left = tab.get_by_role("button", name="The left one is generated")
    right = tab.get_by_role("button", name="The right one is generated")
    left.click()
    tab.get_by_text("Pair 2 of 3").wait_for(timeout=LONG)
    tab.get_by_role("button", name="One pair back").click()
    assert left.get_attribute("aria-pressed") == "true"
    tab.keyboard.press("Tab")
    assert left.evaluate("b => b === document.activeElement")
    assert left.evaluate("b => getComputedStyle(b).outlineStyle") == "solid"
    for number in range(3):
        tab.get_by_text(f"Pair {number + 1} of 3").wait_for(timeout=LONG)
        right.click()
    found = read_json(saved(tab, tmp_path))
    assert found["study"] == key["study"]
    assert [answer["choice"] for answer in found["answers"]] == ["right"] * 3
    tab.on("dialog", lambda dialog: dialog.accept())
    tab.get_by_role("button", name="Another reader").click()
    tab.get_by_role("button", name="Begin").wait_for(timeout=LONG)
    assert tab.get_by_label("Your name or code").input_value() == ""
