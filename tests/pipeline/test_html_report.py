"""The report page: self-contained, with trivial baselines beside metrics, from any report."""

import re
from html.parser import HTMLParser

import pytest

from oasis_utils.cli.parser import main
from oasis_utils.pipeline import html_report as report
from oasis_utils.pipeline.series import PRODUCTS
from oasis_utils.runtime import RunFolder, read_json, write_json

PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)
NUMBERS = {
    "reconstruction": {
        "ssim": 0.8875682,
        "images": 256,
        "trivial_baselines": {"ssim": {"black": 0.25, "mean": 0.5}},
    },
    "data": {"source": "sample <brains> & co"},
    "profile": "demo",
    "priors": {"dcgan": {"kid": 0.25, "kid_interval": [0.125, 0.5], "kid_real_vs_real": 0.0625}},
    "provenance": {"torch": "2.14"},
    "seconds": {"total": 61.0},
}


class Page(HTMLParser):
    """Tags that are open at the end, addresses, and images without a description."""

    def __init__(self, text):
        super().__init__()
        self.open, self.addresses, self.undescribed = [], [], 0
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.addresses += [given[name] for name in ("src", "href") if name in given]
        self.undescribed += tag == "img" and not given.get("alt")
        if tag not in ("meta", "img", "br", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture
def run(tmp_path):
    run = RunFolder(tmp_path / "my run")
    run.figures.mkdir(parents=True)
    for name in ("02_reconstructions", "07_dials", "07_of_my_own"):
        (run.figures / f"{name}.png").write_bytes(PNG)
    write_json(run.summary("02_train_vqvae"), {"summary": "SSIM 0.888"})
    write_json(run.report, NUMBERS)
    return run


def test_the_page_is_self_contained(run):
    text = report.report_page(run)
    page = Page(text)
    assert page.open == [] and page.undescribed == 0
    assert len(page.addresses) == 3 and all(
        a.startswith("data:image/png;base64,") for a in page.addresses
    )
    assert not re.search(r"https?://|@import|url\(", text)


def test_metrics_stand_beside_their_baselines(run):
    text = report.report_page(run)
    for row in (
        ("ssim", "0.8876", "black 0.25 · mean 0.5"),
        ("images", "256", ""),
        ("dcgan · kid", "0.25", "95 % 0.125 to 0.5 · real vs real 0.0625"),
    ):
        assert "<td>" + "</td><td>".join(row) + "</td>" in text
    assert "SSIM 0.888" in text and "1:01" in text and "2.14" in text
    assert "sample &lt;brains&gt; &amp; co" in text


def test_captions_come_from_the_notebooks(run):
    text = report.report_page(run)
    assert "<strong>Temperature and top-p.</strong> In slices. Each row is one seed" in text
    assert (
        "<strong>of my own.</strong>" in text
    )  # a figure that no notebook makes is shown all the same
    assert text.index("Temperature and top-p") < text.index("of my own")


@pytest.mark.parametrize("notebook", PRODUCTS)
def test_every_figure_of_a_notebook_has_a_caption(notebook):
    from oasis_utils.runtime import project_root

    cells = read_json(project_root() / "notebooks" / f"{notebook}.ipynb")["cells"]
    saved = re.findall(
        r'save_figure\([^)]*"(\d\d_\w+)"\)', "\n".join("".join(c["source"]) for c in cells)
    )
    found = report.captions(cells)
    assert set(found) == set(saved)
    assert all(title and len(text) > 30 for title, text in found.values()), found


def test_an_unfinished_run_is_read_from_its_summaries(run):
    run.report.unlink()
    text = report.report_page(run)
    assert "not finished" in text and "SSIM 0.888" in text
    run.summary("02_train_vqvae").unlink()
    assert "07_dials" not in report.report_page(run)


def test_any_depth_is_read():
    deep = {"a_b": {"c": {"value_at": [1, 2, 3], "d": {"e": 1e-7}}}}
    found = list(report.rows(report.grouped(deep)["a_b"]))
    assert found == [("c · value at", "1, 2, 3", ""), ("c · d · e", "1e-07", "")]
    assert list(report.rows({"a": 1, "readers": None})) == [("a", "1", "")]
    assert report.grouped({"x": 1, "g": {"y": 2}}) == {"g": {"y": 2}, "run": {"x": 1}}


def test_the_command_writes_the_page_and_refuses_an_empty_run(run, tmp_path, capsys):
    assert main(["report", str(run.root), "--out", str(tmp_path / "page.html")]) == 0
    assert main(["report", str(run.root)]) == 0
    assert (run.root / "report.html").read_bytes() == (tmp_path / "page.html").read_bytes()
    (tmp_path / "empty").mkdir()
    assert main(["report", str(tmp_path / "empty")]) == 2
    assert "holds neither results nor figures" in capsys.readouterr().err
