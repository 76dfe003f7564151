"""The book of a run: what is refused, how sources are staged, and that the site works alone."""

import json
import re
import shutil

import pytest
from small_book import NAMES, WIDGET, make_checkout, make_run

from book import solutions
from book.__main__ import main
from book.check import faults
from book.docstrings import escaped, returned_as_list
from book.executed import executed_notebooks, last_states
from book.links import LinkRewriter
from book.site import build, repository_options
from book.stage import find_pages, stage
from oasis_utils.pipeline.series import UsageError
from oasis_utils.runtime import RunFolder, read_json, write_json

ADDRESS = "https://example.org/owner/name"


@pytest.fixture
def checkout(tmp_path):
    make_run(make_checkout(tmp_path))
    return tmp_path


@pytest.fixture
def run(checkout):
    return RunFolder(checkout / "runs" / "demo")


# ---------------------------------------------------------------- which runs


def test_a_finished_run_of_sample_brains_is_taken(run):
    assert [path.stem for path in executed_notebooks(run, NAMES)] == NAMES


def test_a_missing_run_is_refused(tmp_path):
    with pytest.raises(UsageError, match="make demo"):
        executed_notebooks(RunFolder(tmp_path / "none"), NAMES)


@pytest.mark.parametrize("lost", ["cache_keys/02_second.json", "notebooks/02_second.ipynb"])
def test_an_unfinished_run_is_refused_with_the_notebook_to_run(run, lost):
    (run.root / lost).unlink()
    with pytest.raises(UsageError, match=r"02_second has not run .* --only 02"):
        executed_notebooks(run, NAMES)


def test_a_notebook_older_than_one_before_it_is_refused(run):
    path = run.root / "cache_keys" / "01_first.json"
    write_json(path, read_json(path) | {"finished": 7})
    with pytest.raises(UsageError, match="02_second is older"):
        executed_notebooks(run, NAMES)


@pytest.mark.parametrize("kind", ["oasis", "keras", "images", "nifti", None])
def test_other_data_need_an_explicit_word(run, kind):
    write_json(run.data / "manifest.json", {"kind": kind} if kind else [])
    with pytest.raises(UsageError, match="must not be published.*--publish-pictures"):
        executed_notebooks(run, NAMES)
    assert executed_notebooks(run, NAMES, publish=True)


def test_the_command_refuses_in_one_line(tmp_path, capsys):
    assert main(["--run", str(tmp_path / "none"), "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.startswith("error: no run folder")
    assert not (tmp_path / "out").exists()


def test_a_foreign_folder_is_kept(checkout, run):
    out = checkout / "thesis"
    out.mkdir()
    (out / "text.txt").write_text("years of work")
    with pytest.raises(UsageError, match=r"holds text\.txt"):
        build(checkout, run, out)
    assert [path.name for path in out.iterdir()] == ["text.txt"]


def test_a_refused_run_keeps_the_earlier_book(checkout, run):
    page = checkout / "out" / "html" / "index.html"
    page.parent.mkdir(parents=True)
    page.write_text("earlier")
    write_json(run.data / "manifest.json", {"kind": "oasis"})
    with pytest.raises(UsageError):
        build(checkout, run, checkout / "out")
    assert page.read_text() == "earlier"
    assert [path.name for path in (checkout / "out").iterdir()] == ["html"]


# ---------------------------------------------------------------- sources


def test_pages_are_found_in_order(checkout):
    found = find_pages(checkout)
    assert found["Notebooks"] == [f"notebooks/{name}.ipynb" for name in NAMES]
    assert found["Solutions"] == ["exercises/README.md", "exercises/01_first.ipynb"]
    names = ["index", "data", "glossary", "added"]
    assert found["Documentation"] == [f"docs/{name}.md" for name in names]
    shutil.rmtree(checkout / "exercises")
    assert find_pages(checkout)["Solutions"] == []


@pytest.fixture
def executing(monkeypatch, run):
    """The executions of `execute_solutions`: (name, parameters). Each shows an answer."""
    calls = []

    def execute(source, output, parameters):
        calls.append((source.name, parameters))
        copy = json.loads(source.read_text(encoding="utf-8"))
        injected = {"cell_type": "code", "metadata": {"tags": ["injected-parameters"]}}
        shown = {"output_type": "stream", "name": "stdout", "text": "an answer\n"}
        copy["cells"][2] = injected | {"source": "seed = 5", "outputs": []}
        copy["cells"][-1]["outputs"] = [shown]
        output.write_text(json.dumps(copy), encoding="utf-8")

    write_json(run.report, {"profile": "smoke", "provenance": {"seed": 5}})
    monkeypatch.setattr(solutions, "execute_notebook", execute)
    return calls


def solution_shown(checkout, run):
    """The first solution, as the book would show it."""
    shutil.rmtree(checkout / "shown", ignore_errors=True)
    stage(checkout, run, checkout / "shown")
    return (checkout / "shown/exercises/01_first.ipynb").read_text(encoding="utf-8")


def test_solutions_are_executed_once_and_every_later_book_shows_their_outputs(
    checkout, run, executing
):
    assert solutions.without_outputs(checkout, run) == ["01"]
    text = solution_shown(checkout, run)
    assert "an answer" not in text and "without the outputs" in text
    for _ in range(2):
        solutions.execute_solutions(checkout, run)
        text = solution_shown(checkout, run)
        assert "an answer" in text and "without the outputs" not in text
        assert "seed = 5" not in text and solutions.OF_RUN not in json.loads(text)["metadata"]
    given = {"profile": "smoke", "run_folder": str(run.root), "seed": 5}
    assert executing == [("01_first.ipynb", given)]
    assert solutions.without_outputs(checkout, run) == []


@pytest.mark.parametrize("changed", ["solution", "run", "copy"])
def test_outdated_outputs_of_solutions_are_not_shown(checkout, run, executing, changed):
    solutions.execute_solutions(checkout, run)
    if changed == "solution":
        path = checkout / "exercises" / "01_first.ipynb"
        path.write_text(path.read_text("utf-8").replace("show()", "show(2)"), encoding="utf-8")
    elif changed == "run":
        for path in (run.root / "cache_keys").iterdir():
            record = read_json(path)
            later = {name: time + 9 for name, time in record["earlier"].items()}
            write_json(path, record | {"earlier": later, "finished": record["finished"] + 9})
    else:
        (run.root / "exercises" / "01_first.ipynb").write_text("{}")
    assert "an answer" not in solution_shown(checkout, run)
    solutions.execute_solutions(checkout, run)
    assert "an answer" in solution_shown(checkout, run) and len(executing) == 2


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [(UsageError("no run"), 2, "error: no run"), (KeyboardInterrupt(), 130, "the same command")],
)
def test_the_command_of_the_solutions_ends_in_one_line(monkeypatch, capsys, error, code, words):
    def fail(*_):
        raise error

    monkeypatch.setattr(solutions, "execute_solutions", fail)
    assert solutions.main([]) == code
    shown = capsys.readouterr()
    (line,) = (shown.out + shown.err).splitlines()
    assert words in line


def test_solutions_of_an_unfinished_run_are_not_executed(checkout, run, executing):
    (run.notebooks / "02_second.ipynb").unlink()
    with pytest.raises(UsageError, match="02_second has not run"):
        solutions.execute_solutions(checkout, run)
    assert executing == []


@pytest.fixture
def staged(checkout, run):
    stage(checkout, run, checkout / "staged")
    return checkout / "staged"


def test_staged_notebooks_show_nothing_of_the_machine(staged, run):
    for name in NAMES:
        text = (staged / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8")
        cells = json.loads(text)["cells"]
        assert str(run.root) not in text and "injected-parameters" not in text
        assert "papermill" not in text and WIDGET not in text and "image/png" in text
        assert cells[-1]["outputs"][-1]["text"] == "2 of 2\nwrote runs/demo/codes.npz\n"
        assert cells[-1]["metadata"]["mystnb"] == {"image": {"alt": "Figure: A figure"}}


def test_the_front_page_has_the_contents(staged):
    text = (staged / "index.md").read_text(encoding="utf-8")
    assert "TREE" not in text and "## Kept" in text
    pages = [
        "notebooks/02_second",
        "exercises/01_first",
        "docs/added",
        "api/models",
        "CONTRIBUTING",
    ]
    assert [page for page in pages if f"\n{page}\n" not in text] == []
    assert (staged / "results" / "x.json").exists() and (staged / "LICENSE").exists()


def test_a_run_with_models_has_a_page_that_draws(checkout, run):
    stage(checkout, run, checkout / "without")
    assert not (checkout / "without/draw.md").exists()
    run.checkpoint("vqvae").parent.mkdir(exist_ok=True)
    for name in ("vqvae", "dcgan"):
        run.checkpoint(name).touch()
    stage(checkout, run, checkout / "with")
    front = (checkout / "with/index.md").read_text("utf-8")
    assert "[draw brains in your browser](draw.md)" in front and "\ndraw\n" in front
    assert 'src="page/index.html"' in (checkout / "with/draw.md").read_text("utf-8")


def rewriter(root, repository=""):
    pages = {"README.md": "index.md", "docs/data.md": "docs/data.md"}
    return LinkRewriter(root, pages, repository)


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        ("[a](../README.md#Kept)", "[a](../index.md#kept)"),
        ("[a](#Kinds-of-data)", "[a](#kinds-of-data)"),
        ("[`a`](data.md)", "[`a`](data.md)"),
        ("[a](https://x.org/y)", "[a](https://x.org/y)"),
        ("[a](../results/x.json)", "[a](../results/x.json)"),
        ("[a](../results)", "a"),
        ("`[a](../results)`", "`[a](../results)`"),
        ("```text\n[a](../results)\n```", "```text\n[a](../results)\n```"),
        ("![a](../figures/a.png)", "![a](../figures/a.png)"),
        ("[![a](../figures/a.png)](../README.md)", "[![a](../figures/a.png)](../index.md)"),
    ],
)
def test_links_without_a_repository(checkout, link, expected):
    assert rewriter(checkout).rewrite(link, "docs/data.md") == expected


def test_links_with_a_repository_lead_there(checkout):
    links = rewriter(checkout, f"{ADDRESS}@main")
    for path, kind in (("results", "tree"), ("results/x.json", "blob")):
        new = links.rewrite(f"[a](../{path})", "docs/data.md")
        assert new == f"[a]({ADDRESS}/{kind}/main/{path})"
    assert links.rewrite("[a](docs/data.md)", "README.md") == "[a](docs/data.md)"


def test_buttons_need_a_repository():
    assert repository_options("") == {}
    own = repository_options("https://github.com/owner/name@main")
    launch = own["html_theme_options.launch_buttons"]
    assert {"binderhub_url", "colab_url"} <= set(launch)
    other = repository_options(f"{ADDRESS}@main")
    assert "colab_url" not in other["html_theme_options.launch_buttons"]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("the `size`² of a*b and |c|", r"the ``size``\ ² of a\*b and \|c\|"),
        ("a prefix train_ and `x_`", r"a prefix train\_ and ``x_``"),
        ("``already`` code", "``already`` code"),
    ],
)
def test_docstrings_are_plain_text_with_code(line, expected):
    assert escaped(line) == expected


def test_several_named_results_become_a_list():
    lines = ["Text.", "", "Returns:", "    a: one,", "        or two.", "    b: three.", ""]
    assert "    - a: one," in returned_as_list(lines) and "    - b: three." in returned_as_list(
        lines
    )
    single = ["Returns:", "    The sum: of both."]
    assert returned_as_list(single) == single


def test_overwritten_text_is_left_out():
    assert last_states("a\rb\nc\r\nd\r") == "b\nc\nd\r"


# ---------------------------------------------------------------- the site


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('<a href="none.html">', "does not exist"),
        ('<a href="b.html#none">', "anchor does not exist"),
        ('<script src="https://x.org/a.js">', "from the network"),
        ('<link rel="stylesheet" href="//x.org/a.css">', "from the network"),
        ('<img src="http://x.org/a.png">', "from the network"),
        ("<p>/home/someone/run</p>", "shows /home/someone"),
    ],
)
def test_faults_of_a_site_are_found(tmp_path, text, fault):
    (tmp_path / "a.html").write_text(text)
    (tmp_path / "b.html").write_text(
        '<p id="here"><a href="b.html#here">x</a><a href="https://x.org">'
    )
    (found,) = faults(tmp_path, ["/home/someone"])
    assert found.startswith("a.html: ") and fault in found


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    for package in ("sphinx", "myst_nb", "sphinx_book_theme"):
        pytest.importorskip(package, reason="needs the extra book: make book installs it")
    root = tmp_path_factory.mktemp("checkout")
    run = make_run(make_checkout(root))
    return build(root, run, root / "out").parent


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # those of Sphinx's own code are its own
def test_the_site_has_every_page_and_no_fault(site):
    assert faults(site, [str(site.parents[1] / "runs")]) == []
    pages = [
        "index",
        "notebooks/01_first",
        "exercises/01_first",
        "docs/glossary",
        "api/models",
        "search",
    ]
    assert [page for page in pages if not (site / f"{page}.html").exists()] == []
    text = (site / "notebooks" / "01_first.html").read_text(encoding="utf-8")
    assert re.search(r'<img alt="Figure: A figure" src="\.\./_images/\w+\.png"', text)
    assert text.count("<table") == 2 and "math notranslate" in text
    assert "HBox" not in text and "colab" not in text and "binder" not in text
    assert 'href="../docs/data.html#kinds-of-data"' in text
    assert "licence" in text and "To cite" in text


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # those of Sphinx's own code are its own
@pytest.mark.browser
def test_the_site_works_as_files_without_a_network(site):
    from playwright.sync_api import sync_playwright

    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
    if browser is None:
        pytest.skip("no Chromium")
    complaints, pages = [], ["index", "notebooks/01_first", "api/models", "docs/glossary"]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        for width in (1400, 390):
            view = {"width": width, "height": 800}
            page = chromium.new_context(viewport=view, offline=True).new_page()
            page.on("console", lambda m: m.type == "error" and complaints.append(m.text))
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.on("request", lambda r: r.url.startswith("http") and complaints.append(r.url))
            for name in pages:
                page.goto((site / f"{name}.html").as_uri())
                if "notebooks" in name:
                    page.wait_for_selector("mjx-container svg")
                assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.goto((site / "search.html").as_uri() + "?q=glossary")
        page.wait_for_selector("#search-results li")
        chromium.close()
    assert complaints == []
