"""What makes the notebooks a course: objectives, prerequisites, reading time, glossary, exercises
with solutions, quiz.
"""

import re
import shlex
import subprocess

import pytest
from test_notebooks import FOLDER, NOTEBOOKS, cells, each_notebook, text
from test_readme import anchors, blocks

from oasis_utils.cli.parser import build_parser

ROOT = FOLDER.parent
GLOSSARY = (ROOT / "docs/glossary.md").read_text(encoding="utf-8")
TEACHING = (ROOT / "docs/teaching.md").read_text(encoding="utf-8")
ENTRIES = dict(re.findall(r"^## ([^\n]+)\n\n(.+?)(?=\n\n## |\n*\Z)", GLOSSARY, re.M | re.S))
WORDS_A_MINUTE, MINUTES_A_FIGURE, LONGEST = 200, 0.5, 30
SPELLED_OUT = {
    "VQ-VAE": r"vector[- ]quanti[sz]ed variational autoencoder",
    "DCGAN": r"deep convolutional (generative adversarial network|GAN)",
    "GAN": r"generative adversarial network",
    "ELBO": r"evidence lower bound",
    "EMA": r"exponential moving average",
    "KID": r"kernel inception distance",
    "MMD": r"maximum mean discrepancy",
    "MS-SSIM": r"multi-?scale (structural similarity|SSIM)",
    "SSIM": r"structural similarity",
    "PSNR": r"peak signal[- ]to[- ]noise ratio",
    "RMS": r"root[- ]mean[- ]square",
    "PCA": r"principal components? analysis",
    "UMAP": r"uniform manifold approximation",
    "AUROC": r"area under the (ROC|receiver operating characteristic)",
    "ROC": r"receiver operating characteristic",
    "AUC": r"area under the",
    "NLL": r"negative log-likelihood",
    "CDR": r"clinical dementia rating",
}


def prose(name):
    """Markdown cells as plain text: without addresses, titles of notebooks and references."""
    parts = []
    for cell in cells(name, "markdown"):
        shown = re.sub(r"\[\d\d\. [^]]+\]\([^)]*\)", "", text(cell).split("## References")[0])
        parts.append(re.sub(r"\s+", " ", re.sub(r"\]\([^)]*\)", "]", shown)))
    return parts


def section(name, title):
    """The markdown cell that begins with a heading of the second level."""
    (found,) = [c for c in cells(name, "markdown") if text(c).startswith(f"## {title}\n")]
    return text(found)


def tasks(name):
    """The numbered exercises of a notebook."""
    return re.findall(r"^\d+\. .+$", section(name, "Exercises"), re.M)


@each_notebook
def test_begins_with_objectives_and_prerequisites(name):
    first = text(cells(name)[0])
    objectives = re.search(r"\*\*You will learn\*\*(.+?)\*\*You need\*\*", first, re.S)[1]
    assert 2 <= len(re.findall(r"^[-*] ", objectives, re.M)) <= 4
    assert "(../docs/glossary.md)" in first


@each_notebook
def test_the_reading_time_is_that_of_its_words_and_figures(name):
    row = re.search(r"\| \*\*Reading\*\* \|.*?(\d+) minutes", text(cells(name)[0]))
    words = len(re.findall(r"\w+", " ".join(prose(name))))
    figures = sum("save_figure(" in text(cell) for cell in cells(name, "code"))
    expected = words / WORDS_A_MINUTE + figures * MINUTES_A_FIGURE
    assert int(row[1]) <= LONGEST
    assert expected / 1.5 <= int(row[1]) <= expected * 1.5, f"{expected:.0f} minutes"


@each_notebook
def test_exercises_have_a_size_and_solutions(name):
    found = tasks(name)
    assert 3 <= len(found) <= 5
    assert all(re.match(r"\d+\. \((one line|words|short|project)\) ", task) for task in found)
    (solutions,) = re.findall(r"\[Solutions\]\(([^)]+)\)\s*$", section(name, "Exercises"))
    assert solutions == f"../exercises/{name}.ipynb" and (FOLDER / solutions).exists()


@each_notebook
def test_the_quiz_has_three_folded_answers(name):
    folded = re.findall(
        r"<details><summary>(.+?\?)</summary>\n\n(.+?)\n\n</details>", section(name, "Quiz"), re.S
    )
    assert len(folded) == 3
    assert all(len(answer) > 20 for _, answer in folded)


@each_notebook
def test_glossary_links_lead_to_entries(name):
    linked = re.findall(r"\]\(\.\./docs/glossary\.md#([\w-]+)\)", "\n".join(map(text, cells(name))))
    assert set(linked) <= anchors(GLOSSARY)
    assert len(set(linked)) >= 5


@each_notebook
@pytest.mark.parametrize("acronym", SPELLED_OUT)
def test_acronyms_are_spelled_out_where_they_first_occur(name, acronym):
    """After the first cell, which only announces them."""
    parts = prose(name)
    word = rf"(?<![\w-]){acronym}(?![\w-])"
    used = [i for i, part in enumerate(parts) if i and re.search(word, part)]
    if used:
        shown = re.sub(r"[*_\[\]]", "", " ".join(parts[: used[0] + 1]))
        assert re.search(SPELLED_OUT[acronym], shown, re.I)


# ---------------------------------------------------------------- glossary


def test_the_glossary_is_in_alphabetical_order():
    names = [re.sub(r"[^\w -]", "", name.lower()).replace(" ", "-") for name in ENTRIES]
    assert names == sorted(names)
    assert len(names) == len(anchors(GLOSSARY)) - 1  # the title


@pytest.mark.parametrize("term", ENTRIES)
def test_an_entry_is_short_and_says_where_the_term_is_explained(term):
    entry = " ".join(ENTRIES[term].split())
    assert len(entry.split()) <= 110
    (first,) = re.findall(r"Explained in \[notebook (\d\d)\]\(\.\./notebooks/(\w+)\.ipynb\)", entry)
    assert first[1] in NOTEBOOKS and first[1].startswith(first[0])


# ---------------------------------------------------------------- teaching


def plans():
    """{title: [(name of the notebook, minutes, what to do, sections to skip)]} of
    docs/teaching.md.
    """
    found = {}
    for title, table in re.findall(r"^### (\w+ hours)\n(.+?)(?=^##)", TEACHING, re.M | re.S):
        rows = re.findall(r"^\| (\d\d) \| (\d+) \| (.*?) \|(.*?)\|$", table, re.M)
        named = {name[:2]: name for name in NOTEBOOKS}
        found[title] = [
            (named[number], int(minutes), do, set(re.findall(r"\*(.+?)\*", skip)))
            for number, minutes, do, skip in rows
        ]
    return found


def minutes_of_sections(name):
    """{heading: minutes to read the section}, the part before the first one included."""
    found, heading = {}, ""
    for cell in cells(name):
        if cell["cell_type"] == "code":
            found[heading] += MINUTES_A_FIGURE * ("save_figure(" in text(cell))
            continue
        for part in re.split(r"^(?=## )", text(cell), flags=re.M):
            heading = next(iter(re.findall(r"^## (.+)", part)), heading)
            words = re.findall(r"\w+", re.sub(r"\]\([^)]*\)", "]", part))
            found[heading] = found.get(heading, 0) + len(words) / WORDS_A_MINUTE
    return found


def minutes_of_tasks(name, do):
    """Minutes of the tasks that a plan names, such as "all, tasks 1, 4"."""
    numbers = re.findall(r"\d", re.sub(r".*?tasks? ", "", do) if "task" in do else "")
    sizes = [re.match(r"\d+\. \((.+?)\)", tasks(name)[int(n) - 1])[1] for n in numbers]
    return sum({"short": 20, "one line": 5, "words": 5}[size] for size in sizes)


@pytest.mark.parametrize(
    ("title", "hours"), [("Two hours", 2), ("Four hours", 4), ("Eight hours", 8)]
)
def test_a_plan_fills_its_hours_as_its_sections_and_tasks_do(title, hours):
    rows = plans()[title]
    assert sum(minutes for _, minutes, _, _ in rows) == 60 * hours
    for name, minutes, do, skip in rows:
        sections = minutes_of_sections(name)
        assert skip <= set(sections)
        at_home = {"Exercises", "Quiz", "Limits", "References"}
        read = sum(time for title, time in sections.items() if title not in skip | at_home)
        expected = 1.5 * read + minutes_of_tasks(name, do)
        assert abs(minutes - expected) <= max(5, 0.2 * expected), f"{name}: {expected:.0f}"


def test_the_batch_script_is_valid_and_its_command_parses():
    (script,) = blocks(TEACHING, "sh")
    assert subprocess.run(["bash", "-n"], input=script, text=True).returncode == 0
    (line,) = [line for line in script.splitlines() if "-m oasis_utils" in line]
    words = shlex.split(line.removesuffix(" &"))
    assert build_parser().parse_args(words[words.index("oasis_utils") + 1 :]).command == "run"
