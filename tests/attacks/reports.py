"""Run folders from others: results of another shape, links that lead out, names that are code."""

import json
import os

from attacks.harness import attack

PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)
SHAPE = "report.json is no report of this version"


def run(folder, report=None, summary=None):
    """A run folder with one figure and these results."""
    (folder / "figures").mkdir(parents=True)
    (folder / "summaries").mkdir()
    (folder / "figures" / "01_slices.png").write_bytes(PNG)
    if report is not None:
        text = report if isinstance(report, str) else json.dumps(report)
        (folder / "report.json").write_text(text)
    if summary is not None:
        (folder / "summaries" / "01_data_exploration.json").write_text(json.dumps(summary))


@attack("report", "report.json does not hold the results of a run")
def report_that_is_a_list(data):
    """A report that is a list."""
    run(data, [1, 2])


@attack("report", SHAPE)
def seconds_that_are_texts(data):
    """Times that are texts."""
    run(data, {"seconds": {"total": "long"}})


@attack("report", SHAPE)
def seconds_that_are_infinite(data):
    """A time that is infinite."""
    run(data, '{"seconds": {"total": 1e999}}')


@attack("report", SHAPE)
def seconds_that_are_a_list(data):
    """Times that are a list."""
    run(data, {"seconds": [1]})


@attack("report", SHAPE)
def provenance_that_is_a_text(data):
    """A provenance that is a text."""
    run(data, {"provenance": "here"})


@attack("report", SHAPE)
def data_that_is_a_number(data):
    """A section that is a number."""
    run(data, {"data": 5})


@attack("report", SHAPE)
def baselines_of_nothing(data):
    """A trivial baseline of a metric that is missing."""
    run(data, {"reconstruction": {"trivial_baselines": {"ssim": {"black": 1}}}})


@attack("report", SHAPE)
def baselines_that_are_a_list(data):
    """Trivial baselines that are a list."""
    run(data, {"reconstruction": {"ssim": 1, "trivial_baselines": [1]}})


@attack("report", SHAPE)
def baselines_that_are_numbers(data):
    """Trivial baselines that are numbers."""
    run(data, {"reconstruction": {"ssim": 1, "trivial_baselines": {"ssim": 3}}})


@attack("report", "holds no JSON|no report of this version")
def report_nested_without_end(data):
    """A report of 100,000 brackets."""
    run(data, "[" * 100_000 + "]" * 100_000)


@attack("report")
def report_nested_deeply(data):
    """A report of 200 levels."""
    run(data, '{"a":' * 200 + "1" + "}" * 200)


@attack("report", "holds no JSON")
def report_cut_off(data):
    """A report that ends in the middle."""
    run(data, '{"seconds": ')


@attack("report", "01_data_exploration.json does not hold the results of a run")
def summary_that_is_a_text(data):
    """A summary that is a text."""
    run(data, summary="done")


@attack("report", "01_slices.png is a link that leads out of the run folder")
def figure_that_is_a_link(data):
    """A figure that is a link to a file of the user, which a page would give away."""
    run(data, {})
    (data.parent / "secret.txt").write_text("secret")
    (data / "figures" / "01_slices.png").unlink()
    (data / "figures" / "01_slices.png").symlink_to(data.parent / "secret.txt")


@attack("report", "report.json is a link that leads out of the run folder")
def report_that_is_a_link(data):
    """A report that is a link to a file of the user."""
    run(data)
    (data.parent / "secret.json").write_text('{"secret": 1}')
    (data / "report.json").symlink_to(data.parent / "secret.json")


@attack("report", "01_data_exploration.json is a link that leads out of the run folder")
def summary_that_is_a_link(data):
    """A summary that is a link to a file of the user."""
    run(data)
    (data.parent / "secret.json").write_text('{"summary": "secret"}')
    (data / "summaries" / "01_data_exploration.json").symlink_to(data.parent / "secret.json")


@attack("report", "01_slices.png is a link that leads out of the run folder")
def folder_of_figures_that_is_a_link(data):
    """A folder of figures that is a link to pictures of the user."""
    run(data.parent / "other")
    run(data, {})
    (data / "figures" / "01_slices.png").unlink()
    (data / "figures").rmdir()
    (data / "figures").symlink_to(data.parent / "other" / "figures")


@attack("report", "01_slices.png is no PNG")
def figure_that_is_a_text(data):
    """A figure that is a text."""
    run(data, {})
    (data / "figures" / "01_slices.png").write_text("secret")


@attack("report", "01_slices.png: it is a FIFO")
def figure_that_is_a_fifo(data):
    """A figure that is a FIFO."""
    run(data, {})
    (data / "figures" / "01_slices.png").unlink()
    os.mkfifo(data / "figures" / "01_slices.png")


@attack("report", "report.json: it is a FIFO")
def report_that_is_a_fifo(data):
    """A report that is a FIFO."""
    run(data)
    os.mkfifo(data / "report.json")


@attack("report")
def names_that_are_code(data):
    """Names and values with tags and template braces are shown as they are."""
    code = "<script>alert(1)</script>{{ 7 * 7 }}{% raw %}"
    run(data, {code: {code: code}, "data": {"source": code}, "provenance": {code: code}})
    (data / "figures" / "01_<b>{{x}}.png").write_bytes(PNG)
