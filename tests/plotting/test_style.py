"""The shared style: texts are shown as they are, and logarithmic axes have plain numbers."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from oasis_utils import plotting
from oasis_utils.plotting import style


@pytest.fixture(autouse=True)
def shared_style():
    with plt.rc_context():
        plotting.use_style()
        yield
    plt.close("all")


@pytest.mark.parametrize(
    "name", ["pay$5_and_$6", "$x", r"$\frac{$", "a{b}", "{", "a:b", "two\nlines", "100 %", "a_b^c"]
)
def test_names_of_folders_are_shown_as_they_are(name, tmp_path):
    figure, ax = plt.subplots()
    ax.plot([0, 1], label=name)
    ax.set(title=name, xlabel=name)
    ax.legend()
    figure.suptitle(f"slices of {name}")
    plotting.save_figure(figure, tmp_path, "figure")
    assert (tmp_path / "figure.png").stat().st_size
    for text in (ax.title, ax.xaxis.label, *ax.get_legend().get_texts()):
        assert text.get_text() == name and not text.get_parse_math()


@pytest.mark.parametrize(("width", "title"), [(3.0, "What is shown\nthe data"), (9.0, None)])
def test_a_title_wider_than_the_figure_is_broken(width, title, tmp_path):
    words = "What is shown · the data"
    figure = plt.figure(figsize=(width, 2.0))
    figure.suptitle(words, fontsize=20)
    plotting.save_figure(figure, tmp_path, "figure")
    assert figure.get_suptitle() == (title or words)
    (text,) = figure.texts
    assert text.get_window_extent().width <= figure.bbox.width


@pytest.mark.parametrize("backend", ["inline", "module://ipympl.backend_nbagg", "agg"])
def test_a_notebook_shows_a_saved_figure_once_and_at_once(backend, tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(style, "in_notebook", lambda: backend != "agg")
    monkeypatch.setattr(plt, "get_backend", lambda: backend)
    monkeypatch.setattr("IPython.display.display", shown.append)
    figure = plt.figure()
    plotting.save_figure(figure, tmp_path, "figure")
    assert shown == [figure] * (backend == "inline")
    assert plt.fignum_exists(figure.number) == (backend != "inline")


def test_logarithmic_axes_have_plain_numbers():
    x = np.array([1.0, 2.0, 3.0])
    figure = plotting.lines(x, {"a": np.array([0.003, 0.2, 40])}, "x", "y", log=True)
    figure.draw_without_rendering()
    labels = {text.get_text() for text in figure.axes[0].get_yticklabels(which="both")}
    assert {"0.01", "0.1", "1", "10"} <= labels and not any("$" in label for label in labels)
