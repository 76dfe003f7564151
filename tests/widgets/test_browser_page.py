"""The page that draws in the browser: its files, and, in headless Chromium, its slices."""

import base64
import gzip
import hashlib
import re
import shutil

import numpy as np
import pytest
import torch
from chromium import launched, offline_tab
from small_models import small_model

from oasis_utils.cli.parser import main
from oasis_utils.config import DCGANConfig, VQVAEConfig
from oasis_utils.models.checkpoints import save_model, weights_digest
from oasis_utils.models.dcgan import DCGAN
from oasis_utils.models.sampler import load_sampler, shipped
from oasis_utils.models.samples import image_seeds
from oasis_utils.models.vqvae import VQVAE
from oasis_utils.runtime import DataError, RunFolder, project_root
from oasis_utils.widgets import browser_page
from oasis_utils.widgets.browser_page import ASSETS, COPIED, SAMPLE_BRAINS, WRITTEN

LARGEST_PAGE = 25e6  # bytes
LONG = 60_000  # milliseconds


def small_run(folder, noise_dim=16):
    """A run of small untrained models without ages."""
    run = RunFolder(folder)
    vqvae = VQVAE(VQVAEConfig(image_size=32, channels=32, n_codes=8, code_dim=4))
    dcgan = DCGAN(
        DCGANConfig(grid=4, n_codes=8, code_dim=4, n_positions=3, channels=8, noise_dim=noise_dim)
    )
    save_model(run.checkpoint("vqvae"), vqvae)
    save_model(run.checkpoint("dcgan"), dcgan, inputs={"vqvae": weights_digest(vqvae)})
    return run


@pytest.fixture(scope="module")
def small_page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return browser_page.write_page(small_run(folder), folder / "page")


# ---------------------------------------------------------------- files


def test_the_folder_is_complete_and_asks_for_nothing_else(small_page):
    assert {path.name for path in small_page.parent.iterdir()} == {*COPIED, *WRITTEN}
    text = small_page.read_text(encoding="utf-8")
    assert "://" not in text
    assert set(re.findall(r'(?:src|href)="([^"]+)"', text)) == {"data:,", "NOTICE.md"}
    assert "{{" not in text and "{%" not in text


def test_a_model_without_ages_has_no_age_control(small_page):
    text = small_page.read_text(encoding="utf-8")
    assert '"age": null' in text and 'id="age"' not in text
    assert "the run holds no data" in text


def test_only_the_page_of_a_book_leads_back_to_it(small_page, tmp_path):
    assert "Back to the book" not in small_page.read_text(encoding="utf-8")
    page = browser_page.write_page(small_run(tmp_path), tmp_path / "page", back="../draw.html")
    assert '<a href="../draw.html">Back' in page.read_text(encoding="utf-8")


def test_the_command_names_a_run_of_the_project_and_hides_other_paths(tmp_path):
    assert browser_page.name_of(shipped()) == "."
    assert browser_page.name_of(RunFolder(project_root() / "runs/demo")) == "runs/demo"
    assert browser_page.name_of(RunFolder(tmp_path)) == "RUN"


def test_every_control_has_a_label(small_page):
    text = small_page.read_text(encoding="utf-8")
    labels = set(re.findall(r'<label for="([\w-]+)"', text))
    labels |= set(re.findall(r'<label class="tick"><input id="([\w-]+)"', text))
    assert labels == set(re.findall(r'<input id="([\w-]+)"', text))


def test_a_data_script_holds_the_bytes():
    script = browser_page.data_script("model", b"\0\xff</script>")
    name, text = re.fullmatch(
        r'\(window.oasisData \?\?= \{\}\)\.(\w+) = "(.*)";\n', script
    ).groups()
    assert name == "model" and base64.b64decode(text) == b"\0\xff</script>"


def test_an_older_page_is_replaced_and_other_files_are_not_mixed_in(tmp_path):
    page = tmp_path / "page"
    browser_page.refuse_others(page)
    page.mkdir()
    (page / "model.js").write_text("old")
    browser_page.refuse_others(page)
    (page / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match="new or an empty folder"):
        browser_page.write_page(RunFolder(tmp_path), page)
    with pytest.raises(DataError, match="new or an empty folder"):
        browser_page.refuse_others(page / "notes.txt")
    assert (page / "model.js").read_text() == "old"


def test_short_noise_is_refused(tmp_path):
    with pytest.raises(ValueError, match="noise_dim=16"):
        browser_page.write_page(small_run(tmp_path, noise_dim=8), tmp_path / "page")


def test_brighter_codes_have_brighter_colours():
    vqvae = small_model("vqvae")
    brightness = browser_page.code_pictures(vqvae).mean((1, 2))
    green = np.array(browser_page.code_colours(vqvae))[:, 1]  # rises along viridis
    assert (np.diff(green[brightness.argsort(kind="stable")]) > 0).all()


def test_the_runtime_is_the_one_that_its_notice_names():
    rows = re.findall(
        r"\| `dist/(\S+)` \| (\d+) \| `(\w{64})` \|", (ASSETS / "NOTICE.md").read_text("utf-8")
    )
    assert len(rows) == 2
    for name, size, digest in rows:
        path = ASSETS / name
        content = (
            path.read_bytes()
            if path.exists()
            else gzip.decompress((ASSETS / f"{name}.gz").read_bytes())
        )
        assert (len(content), hashlib.sha256(content).hexdigest()) == (int(size), digest)


def test_data_of_the_shipped_models_are_sample_brains(tmp_path):
    assert browser_page.data_of(shipped()) == SAMPLE_BRAINS
    assert browser_page.data_of(RunFolder(tmp_path)) != SAMPLE_BRAINS


# ---------------------------------------------------------------- in Chromium


@pytest.fixture(scope="module")
def shipped_page(tmp_path_factory):
    """The page of the shipped models, moved after it was made."""
    folder = tmp_path_factory.mktemp("shipped")
    assert main(["page", "--out", str(folder / "page")]) == 0
    return shutil.move(folder / "page", folder / "a moved page") / "index.html"


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    with launched(tmp_path_factory.mktemp("chromium")) as context:
        yield context


@pytest.fixture
def tab(chromium):
    with offline_tab(chromium) as tab:
        yield tab


def settled(tab):
    """Wait until everything is drawn."""
    status = tab.get_by_role("status")
    status.filter(has_text=re.compile(r"^\d slices? in ")).wait_for(timeout=LONG)


def opened(tab, page):
    tab.goto(page.as_uri())
    settled(tab)
    return tab


DRAW = """async ([noise, position, age]) => {
  const drawn = await drawSlice(Float32Array.from(noise), position, age);
  return [Array.from(drawn.image), Array.from(drawn.codes)];
}"""


@pytest.mark.browser
@pytest.mark.slow
def test_it_draws_the_slices_of_the_package_from_the_same_noise(tab, shipped_page):
    sampler = load_sampler(shipped(), "dcgan", torch.device("cpu"))
    opened(tab, shipped_page)
    for position, age in [(0, None), (11, 25.0), (16, 90.0), (31, None)]:
        seeds = image_seeds(position, 2)
        ages = None if age is None else np.full(2, age)
        expected = sampler.sample(np.full(2, position), seeds, ages=ages)
        for seed, image in zip(seeds, expected.images, strict=True):
            noise = sampler.prior.noise([seed])[0].tolist()
            grey, _ = tab.evaluate(DRAW, [noise, position, age])
            far = np.abs(np.reshape(grey, image.shape) - image.astype(int)) > 1
            assert far.mean() <= 0.001


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.parametrize("size", [16, 100, 2688])
def test_its_noise_is_that_of_torch(tab, small_page, size):
    opened(tab, small_page)
    for seed in (0, 3 * 1_000_003 + 2, (2**32 - 1) * 1_000_003 + 7):
        found = tab.evaluate("([seed, n]) => Array.from(normalNoise(seed, n))", [seed, size])
        expected = torch.randn(size, generator=torch.Generator().manual_seed(seed))
        assert torch.allclose(torch.tensor(found), expected, rtol=1e-5, atol=1e-5)
    last = image_seeds(2**32 - 1, 8)[-1]
    assert tab.evaluate("imageSeed(2 ** 32 - 1, 7)") == last


def pictures(tab):
    return tab.evaluate("[...document.querySelectorAll('canvas')].map(c => c.toDataURL())")


@pytest.mark.browser
@pytest.mark.slow
def test_every_control_works_by_keyboard(tab, shipped_page):
    opened(tab, shipped_page)
    before = pictures(tab)
    assert len(before) == 8 and len(set(before)) == 8  # four slices, four index maps
    tab.get_by_label("Use the age").focus()
    for label, key in [
        ("Use the age", "Space"),
        ("Slice position (0: lowest)", "ArrowRight"),
        ("Age (years)", "End"),
        ("Seed", "ArrowUp"),
        ("New seed", "Enter"),
    ]:
        control = tab.get_by_label(label, exact=True)
        (tab.get_by_role("button", name=label) if label == "New seed" else control).press(key)
        tab.wait_for_function(
            "old => document.querySelector('canvas').toDataURL() !== old", arg=before[0]
        )
        settled(tab)
        assert pictures(tab)[0] != before[0]
        before = pictures(tab)
    tab.get_by_label("Images").press("Home")
    tab.wait_for_function("document.querySelectorAll('figure').length === 1")
    tab.get_by_label("Show the index maps").press("Space")
    assert not tab.locator("canvas.map").is_visible()
    assert "--age" in tab.locator("#command").inner_text()
    tab.get_by_label("Seed", exact=True).fill("-1")
    tab.get_by_text("whole number from 0 to").wait_for()


@pytest.mark.browser
@pytest.mark.slow
def test_it_fits_a_phone_and_a_missing_file_is_named(tab, small_page, tmp_path):
    tab.set_viewport_size({"width": 390, "height": 844})
    opened(tab, small_page)
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    part = shutil.copytree(small_page.parent, tmp_path / "part")
    (part / "model.js").rename(part / "other.js")
    other = tab.context.new_page()  # its browser logs the missing file as an error
    other.goto((part / "index.html").as_uri())
    other.get_by_text("The file model.js is missing").wait_for(timeout=LONG)
    other.close()


@pytest.mark.browser
@pytest.mark.slow
def test_what_a_browser_lacks_is_named(chromium, small_page):
    other = chromium.new_page()
    other.add_init_script("delete window.WebAssembly")
    other.goto(small_page.as_uri())
    other.get_by_text("This browser lacks WebAssembly: use one from 2023").wait_for(timeout=LONG)
    other.close()


HOST = """<!doctype html><html data-theme="light"><h1>In a book</h1>
<script>const DOCUMENTATION_OPTIONS = {};</script><script src="book.js"></script>
<iframe class="draw" src="page/index.html" style="width: 100%; height: 200px; border: 0"></iframe>
"""


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 390])
def test_in_the_frame_of_a_book_it_has_no_title_of_its_own_and_no_bars(tab, tmp_path, width):
    page = browser_page.write_page(small_run(tmp_path), tmp_path / "page", back="../host.html")
    shutil.copy(project_root() / "book/static/book.js", tmp_path)
    (tmp_path / "host.html").write_text(HOST, encoding="utf-8")
    tab.set_viewport_size({"width": width, "height": 800})
    tab.goto((tmp_path / "host.html").as_uri())
    framed = tab.frame_locator("iframe")
    settled(framed)
    assert not framed.get_by_role("heading", level=1).is_visible()
    assert not framed.get_by_text("Back to the book").is_visible()
    root = framed.locator("html")
    tab.wait_for_timeout(200)  # the frame follows the page
    assert root.evaluate("r => r.scrollHeight <= r.clientHeight && r.scrollWidth <= r.clientWidth")
    tab.evaluate("document.documentElement.dataset.theme = 'dark'")
    tab.wait_for_timeout(200)
    assert root.evaluate("r => getComputedStyle(r).colorScheme") == "dark"
    tab.goto(page.as_uri())
    assert tab.get_by_role("heading", level=1).is_visible()
    tab.get_by_text("Back to the book").click()
    tab.get_by_role("heading", name="In a book").wait_for()


@pytest.mark.browser
@pytest.mark.slow
def test_the_page_is_small(shipped_page):
    assert sum(path.stat().st_size for path in shipped_page.parent.iterdir()) <= LARGEST_PAGE
