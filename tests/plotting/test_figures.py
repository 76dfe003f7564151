"""Figures from small arrays: what is drawn, on which scale, and with which labels."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox
from PIL import Image

from oasis_utils import plotting
from oasis_utils.plotting.slice_figures import LARGEST_ERROR

pytestmark = pytest.mark.usefixtures("shared_style")

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (5, 16, 16), dtype=np.uint8)
FLOATS = GREY / 255.0
INDICES = RNG.integers(0, 8, (5, 4, 4))
HISTORY = [
    {"epoch": 1, "steps": 8, "loss": 3.0, "ssim": 0.2},
    {"epoch": 2, "steps": 16, "loss": 2.0},
    {"epoch": 3, "steps": 24, "loss": 1.0, "ssim": 0.6},
]
CODEBOOK_HISTORY = [
    {"steps": 1, "used_fraction": 0.5, "ssim": 0.2, "validation_loss": 4.0},
    {"steps": 2, "used_fraction": 1.0, "ssim": 0.4, "validation_loss": 1.0},
]
CLOUD = RNG.standard_normal((8, 2))
TONES = np.array([0.6, 0.01, np.nan, 0.4])  # of four codes, the third unused
FOREST = {
    "network": {"ours": {"value": 0.7, "interval": (0.6, 0.8)}, "theirs": None},
    "logistic": {
        "ours": {"value": 0.9, "interval": None},
        "theirs": {"value": 0.5, "interval": (0.4, 0.6)},
    },
}
TITLES = [f"slice {i}" for i in range(5)]


def texts(figure):
    """Every visible text of a figure."""
    figure.draw_without_rendering()
    return {text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text"))}


def images_of(figure):
    """The pictures of a figure, without those of colour bars."""
    return [image for ax in figure.axes for image in ax.images]


HEADS = np.arange(2 * 5 * 12 * 12).reshape(2, 5, 12, 12).astype(np.uint8)
EVERY_FIGURE = {
    "slices": lambda: plotting.slices(GREY, TITLES, row_labels=["row"], title="title"),
    "reconstructions": lambda: plotting.reconstructions(FLOATS, FLOATS[::-1], TITLES, "title"),
    "orthogonal_views": lambda: plotting.orthogonal_views(HEADS, ["a", "b"], title="title"),
    "stack_rows": lambda: plotting.stack_rows(HEADS, ["a", "b"], [0, 2, 4], title="title"),
    "index_maps": lambda: plotting.index_maps(
        FLOATS, INDICES, FLOATS, np.arange(8), TITLES, "title"
    ),
    "curves": lambda: plotting.curves(HISTORY, {"loss in nats": ["loss"]}, title="title"),
    "usage": lambda: plotting.usage(np.array([5, 3, 0, 1]), "title"),
    "compare_usage": lambda: plotting.compare_usage(
        np.array([5, 3, 0, 90]), {"drawn": np.array([9, 0, 1, 90])}, "held-out", "drawn", "title"
    ),
    "code_pairs": lambda: plotting.code_pairs(
        np.arange(16.0).reshape(4, 4), TONES, 0.03, "nats", 9.0, "title"
    ),
    "reconstructions_over_training": lambda: plotting.reconstructions_over_training(
        GREY[:2], {"epoch 1": GREY[2:4], "epoch 4": GREY[:2]}, "title"
    ),
    "forest": lambda: plotting.forest(FOREST, "KID", 0.5, "title"),
    "compare_codebooks": lambda: plotting.compare_codebooks(
        FLOATS, {"ours": (INDICES, np.arange(8), FLOATS)}, {"ours": CODEBOOK_HISTORY}, "title"
    ),
    "scatter": lambda: plotting.scatter([("PCA", CLOUD)], [("use", np.arange(8))], "title"),
    "heat": lambda: plotting.heat(FLOATS, TITLES, "nats", title="title"),
    "matrix": lambda: plotting.matrix({"blur": {"kid": 12.0, "auc": 0.4}}, "widths", 20.0, "title"),
    "bars": lambda: plotting.bars({"ours": 1.0, "baseline": 2.0}, "SSIM", ["ours"], "title"),
    "lines": lambda: plotting.lines(np.arange(3), {"a": np.arange(3)}, "pixels", "share", "title"),
    "trends": lambda: plotting.trends(
        {"real": (np.arange(3), np.arange(3), np.arange(3))}, "age", "share", "title"
    ),
    "histograms": lambda: plotting.histograms(
        np.arange(4), {"a": np.arange(3)}, "age", "subjects", "title"
    ),
    "code_cells": lambda: plotting.code_cells(
        GREY,
        INDICES,
        [2, 4],
        {"mean picture": FLOATS, "decodes to": GREY},
        np.arange(8),
        TITLES,
        "title",
    ),
    "code_patches": lambda: plotting.code_patches(FLOATS, [4, 2, 0, 1, 3], "title"),
    "nearest_regions": lambda: plotting.nearest_regions(CLOUD, {"two": CLOUD[:2]}, "title"),
    "code_probabilities": lambda: plotting.code_probabilities(
        {"before": np.arange(8) / 28, "after": np.eye(8)[7]}, GREY[[0] * 8], 4, "title"
    ),
    "overlay": lambda: plotting.overlay(GREY, GREY % 3, {"fluid": 1, "white": 2}, TITLES, "title"),
}


@pytest.mark.parametrize("name", EVERY_FIGURE)
def test_every_function_gives_a_titled_figure_that_can_be_saved(name, tmp_path):
    figure = EVERY_FIGURE[name]()
    assert isinstance(figure, Figure)
    assert "title" in texts(figure)
    path = plotting.save_figure(figure, tmp_path / "new" / "figures", name)
    assert path == tmp_path / "new" / "figures" / f"{name}.png"
    with Image.open(path) as picture:
        picture.load()
        assert picture.format == "PNG" and len(np.unique(np.asarray(picture))) > 2


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("curves", {"training steps", "loss in nats"}),
        ("usage", {"code, most used first", "share of all cells"}),
        ("scatter", {"PCA 1", "PCA 2", "use"}),
        ("code_pairs", {"mean grey of the code, dark to bright", "nats", "0.03", "0.5"}),
        ("reconstructions_over_training", {"original", "epoch 1", "epoch 4", "|error|"}),
        (
            "compare_codebooks",
            {
                "original",
                "ours:\nindex map",
                "training steps",
                "codes used, held-out",
                "held-out SSIM",
                "held-out loss\n(its first value = 1)",
            },
        ),
        ("trends", {"age", "share", "real"}),
        ("heat", {"nats"}),
        ("bars", {"SSIM", "ours", "baseline"}),
        ("forest", {"KID", "network", "logistic", "ours", "theirs"}),
        ("lines", {"pixels", "share"}),
        ("histograms", {"age", "subjects", "a"}),
        ("code_cells", {"mean picture", "decodes to", "code 2\n7.14% of cells", *TITLES}),
        ("code_patches", {"code 4", "code 0"}),
        ("nearest_regions", {"two", "codes", "codes that are never the nearest"}),
        ("code_probabilities", {"probability", "before", "after", "7", "6", "5", "4"}),
        ("overlay", {"slice", "with mask", "fluid", "white", *TITLES}),
        ("slices", {"row", *TITLES}),
        (
            "reconstructions",
            {"original", "reconstruction", "|error|", "error (grey from 0 to 1)", *TITLES},
        ),
        (
            "index_maps",
            {
                "original",
                "index map",
                "decode(indices)",
                "rank of the code,\ndark to bright",
                *TITLES,
            },
        ),
    ],
)
def test_axes_are_labelled(name, labels):
    assert labels <= texts(EVERY_FIGURE[name]())


def test_every_public_function_is_covered():
    public = {
        name
        for name, thing in vars(plotting).items()
        if callable(thing)
        and getattr(thing, "__module__", "").startswith(plotting.__name__)
        and name[0] != "_"
    }
    no_figures = {"use_style", "save_figure", "legend_below", "mark_sides", "point_out"}
    no_figures |= {"orthogonal_cuts"}
    no_figures |= {"table", "settings", "span", "outcome", "source"}
    assert public - no_figures - {"animation", "save_animation"} == set(EVERY_FIGURE)


def test_sides_and_scale_are_marked_as_far_as_they_are_known():
    def marks(*known):
        figure = plotting.slices(np.zeros((1, 32, 32), np.uint8), columns=1)
        plotting.mark_sides(figure.axes[0], *known)
        (bar,) = figure.axes[0].lines or [None]
        return {text.get_text() for text in figure.axes[0].texts}, bar

    assert marks(False, False, None) == (set(), None)
    words, bar = marks(True, True, 5.0)
    assert words == {"front", "left", "50 mm"}
    assert np.ptp(bar.get_xdata()) == pytest.approx(10)  # pixels of 5 mm


def test_names_stand_apart_and_point_to_their_places():
    figure = plotting.slices(GREY[:1], TITLES[:1], columns=1)
    places = {"left": (5, 3), "far left": (6, 1), "right": (4, 12), "below": (12, 11)}
    plotting.point_out(figure.axes[0], places)
    names = {note.get_text(): note for note in figure.axes[0].texts}
    assert {name: note.xy[::-1] for name, note in names.items()} == places
    corners = {note.get_position() for note in names.values()}
    assert len(corners) == len(places)
    assert names["left"].get_position()[0] < 8 < names["right"].get_position()[0]
    assert names["right"].get_position()[1] < 8 < names["below"].get_position()[1]


def test_shared_style_is_set():
    plt.rcdefaults()
    plotting.use_style()
    assert not plt.rcParams["axes.spines.top"] and plt.rcParams["figure.constrained_layout.use"]


# ---------------------------------------------------------------- slices


@pytest.mark.parametrize(("images", "white"), [(GREY, 255), (FLOATS, 1)])
def test_slices_keep_one_fixed_grey_range(images, white):
    shown = images_of(plotting.slices(images, columns=3))
    assert len(shown) == 5
    assert all(
        image.get_clim() == (0, white) and image.get_cmap().name == "gray" for image in shown
    )
    assert np.array_equal([image.get_array() for image in shown], images)


def test_sheet_has_enough_rows_and_empty_places_stay_blank():
    figure = plotting.slices(GREY, columns=3)
    assert len(figure.axes) == 6
    assert not figure.axes[5].images and not figure.axes[5].get_xticks().size


def test_titles_may_name_the_first_row_only():
    figure = plotting.slices(GREY, TITLES[:2], columns=2)
    assert [ax.get_title() for ax in figure.axes] == [*TITLES[:2], "", "", "", ""]


def test_histograms_are_outlines_of_the_counts():
    figure = plotting.histograms(
        np.array([0, 1, 5]), {"a": np.array([3, 4]), "b": np.array([1, 0])}, "x", "y"
    )
    drawn = [patch.get_data() for patch in figure.axes[0].patches]
    assert [data.values.tolist() for data in drawn] == [[3, 4], [1, 0]]
    assert all(data.edges.tolist() == [0, 1, 5] for data in drawn)


def test_each_value_of_a_histogram_is_a_tick_below_it():
    values = {"a": np.array([0.2, 4.0]), "b": np.array([2.0])}
    counts = {"a": np.array([3, 4]), "b": np.array([1, 0])}
    (ax,) = plotting.histograms(np.array([0, 1, 5]), counts, "x", "y", values=values).axes
    assert [line.get_xdata().tolist() for line in ax.lines] == [[0.2, 4.0], [2.0]]
    first, second = (line.get_ydata().max() for line in ax.lines)
    assert second < first < 0 and min(ax.get_yticks()) >= 0
    assert [line.get_color() for line in ax.lines] == list(plotting.COLOURS[:2])


def test_overlay_tints_the_pixels_of_each_label():
    labels = np.zeros_like(GREY[:1])
    labels[0, 2:5] = 85
    labels[0, 9] = 170
    above, below = plotting.overlay(GREY[:1], labels, {"fluid": 85, "grey": 170}, ["a"]).axes
    assert len(above.images) == 1
    fluid, grey = (~np.ma.getmaskarray(image.get_array()) for image in below.images[1:])
    assert np.array_equal(fluid, labels[0] == 85) and np.array_equal(grey, labels[0] == 170)
    assert below.images[1].cmap(0.5) != below.images[2].cmap(0.5)


def test_error_is_the_absolute_difference_in_grey_levels():
    figure = plotting.reconstructions(GREY, GREY[::-1], TITLES)
    errors = [image.get_array() for ax in figure.axes[10:15] for image in ax.images]
    expected = np.abs(GREY.astype(float) - GREY[::-1]) / 255
    assert len(errors) == 5 and np.array(errors) == pytest.approx(expected)


def test_all_maps_of_errors_share_one_scale_whose_bar_says_that_larger_ones_exist():
    figures = [
        plotting.reconstructions(GREY, GREY[::-1], TITLES),
        plotting.reconstructions_over_training(GREY[:2], {"epoch 1": GREY[2:4]}, "title"),
    ]
    for figure in figures:
        errors = [image for image in images_of(figure) if image.get_cmap().name == "magma"]
        assert {image.get_clim() for image in errors} == {(0, LARGEST_ERROR)}
        (bar,) = [image.colorbar for image in errors if image.colorbar]
        assert bar.extend == "max"
    wide = images_of(plotting.reconstructions(GREY, GREY[::-1], TITLES, largest=0.5))
    assert wide[-1].get_clim() == (0, 0.5)


def test_slices_of_a_training_stand_above_their_errors():
    figure = plotting.reconstructions_over_training(GREY[:2], {"epoch 1": GREY[2:4]}, "title")
    original, output, error = (image.get_array() for image in images_of(figure)[:3])
    np.testing.assert_allclose(original, FLOATS[0])
    np.testing.assert_allclose(output, FLOATS[2])
    np.testing.assert_allclose(error, np.abs(FLOATS[0] - FLOATS[2]))


def test_compared_codebooks_show_numbers_of_codes_and_maps_by_rank():
    figure = plotting.compare_codebooks(
        FLOATS, {"ours": (INDICES, np.arange(8)[::-1], FLOATS)}, {"ours": CODEBOOK_HISTORY}
    )
    used, loss, ssim = (ax.lines[0].get_ydata() for ax in figure.axes if ax.lines)
    assert list(used) == [4, 8] and list(loss) == [1, 0.25] and list(ssim) == [0.2, 0.4]
    assert [text.get_text() for ax in figure.axes for text in ax.texts] == ["4", "8"]
    assert (images_of(figure)[5].get_array() == 7 - INDICES[0]).all()


def test_index_maps_are_coloured_by_rank():
    order = np.array([7, 0, 1, 2, 3, 4, 5, 6])  # code 7 is the darkest
    figure = plotting.index_maps(FLOATS, INDICES, FLOATS, order, TITLES)
    shown = figure.axes[5].images[0]
    assert np.array_equal(shown.get_array(), (INDICES[0] + 1) % 8)
    assert shown.get_clim() == (0, 7)


# ---------------------------------------------------------------- curves and charts


def test_curves_show_the_records_that_have_a_metric_over_steps():
    figure = plotting.curves(HISTORY, {"nats": ["loss"], "SSIM": ["ssim"]})
    loss, ssim = (ax.lines[0] for ax in figure.axes)
    assert loss.get_xydata().tolist() == [[8, 3], [16, 2], [24, 1]]
    assert ssim.get_xydata().tolist() == [[8, 0.2], [24, 0.6]]
    assert all(tick == int(tick) for tick in figure.axes[0].get_xticks())


def test_marks_are_level_lines_with_their_names():
    figure = plotting.curves(HISTORY, {"nats": ["loss"]}, {"nats": {"uniform": 2.5}})
    mark = figure.axes[0].lines[1]
    assert set(mark.get_ydata()) == {2.5} and {"uniform", "loss"} <= texts(figure)


def test_an_axis_of_curves_may_be_cut_from_below():
    figure = plotting.curves(HISTORY, {"nats": ["loss"], "SSIM": ["ssim"]}, lowest={"SSIM": 0.5})
    assert figure.axes[1].get_ylim()[0] == 0.5
    assert figure.axes[0].get_ylim()[0] < 1.0


def test_legends_of_curves_hide_nothing():
    figure = plotting.curves(HISTORY, {"nats": ["loss"]}, {"nats": {"uniform": 3.0, "black": 2.9}})
    figure.draw_without_rendering()
    ax = figure.axes[0]
    assert ax.get_legend().get_window_extent().y0 >= ax.get_window_extent().y1


def test_usage_is_sorted_and_marks_unused_codes():
    figure = plotting.usage(np.array([1, 6, 0, 3, 0]))
    assert [bar.get_height() for bar in figure.axes[0].containers[0]] == pytest.approx(
        [0.6, 0.3, 0.1]
    )
    assert "2 never used" in texts(figure)
    assert figure.axes[0].get_yscale() == "log"


@pytest.mark.parametrize("counts", [[500, 300, 200, 100, 90], [10**6, 10**4, 300, 1]])
def test_shares_of_codes_have_a_few_readable_ticks(counts):
    figure = plotting.usage(np.array(counts))
    figure.draw_without_rendering()
    (low, high), ticks = figure.axes[0].get_ylim(), figure.axes[0].get_yticklabels(which="both")
    shown = [
        tick.get_text()
        for tick in ticks
        if low <= tick.get_position()[1] <= high and tick.get_text()
    ]
    assert 2 <= len(shown) <= 8 and "10 %" in shown


def test_full_use_marks_nothing():
    assert not any("never used" in text for text in texts(plotting.usage(np.array([1, 6]))))


def test_pairs_of_codes_are_sorted_from_dark_to_bright_and_parted_at_black():
    ax = EVERY_FIGURE["code_pairs"]().axes[0]
    order = [1, 3, 0, 2]  # the unused code last
    values = np.arange(16).reshape(4, 4)
    assert np.array_equal(ax.images[0].get_array(), values[order][:, order])
    assert ax.images[0].get_clim() == (-9, 9) and ax.get_ylim()[0] < ax.get_ylim()[1]
    vertical, horizontal = ax.lines
    assert set(vertical.get_xdata()) == set(horizontal.get_ydata()) == {0.5}
    assert list(ax.get_xticks()) == list(ax.get_yticks()) == [1.5, 0.5]
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["0.5", "0.03"]  # 0.3 has no room


def test_points_of_lines_are_marked_on_demand():
    plain = plotting.lines(np.arange(3), {"a": np.arange(3)}, "x", "y")
    marked = plotting.lines(np.arange(3), {"a": np.arange(3)}, "x", "y", marker="o")
    assert [figure.axes[0].lines[0].get_marker() for figure in (plain, marked)] == ["", "o"]


def test_uses_are_drawn_as_shares_on_equal_axes():
    figure = plotting.compare_usage(
        np.array([49, 49, 2]), {"drawn": np.array([90, 10, 0])}, "held-out", "drawn"
    )
    (ax,) = figure.axes
    assert ax.get_xlim() == ax.get_ylim() and ax.get_xscale() == ax.get_yscale() == "log"
    drawn = np.asarray(ax.collections[0].get_offsets())
    edge = 0.05 / 3  # a twentieth of an even use; rarer codes stand there
    assert ax.get_ylim()[0] == edge
    np.testing.assert_allclose(drawn, [[0.495, 0.905], [0.495, 0.105], [0.025, edge]])


def test_the_bar_of_a_heat_map_shows_that_values_lie_beyond_it():
    maps = np.array([[[0.0, 5.0]]])
    for limits, extend in (
        ((0.0, 5.0), "neither"),
        ((0.0, 4.0), "max"),
        ((1.0, 5.0), "min"),
        ((1.0, 4.0), "both"),
    ):
        figure = plotting.heat(maps, [""], "score", limits=limits)
        assert figure.axes[0].images[0].colorbar.extend == extend


def test_pictures_of_a_scatter_plot_lie_on_points_that_have_one_and_are_far_apart():
    cloud = np.array([[0.0, 0.0], [0.01, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    pictures = np.linspace(0, 1, 5)[:, None, None] * np.ones((5, 4, 4))
    pictures[4] = np.nan
    figure = plotting.scatter([("PCA", cloud)], [("use", np.arange(5))], pictures=pictures)
    boxes = [artist for artist in figure.axes[0].artists if isinstance(artist, AnnotationBbox)]
    shown = {box.xy: box.offsetbox.get_data()[0, 0] for box in boxes}
    assert shown == {(0.0, 0.0): 0.0, (1.0, 0.0): 0.5, (0.0, 1.0): 0.75}


def test_scatter_is_a_grid_of_coordinates_and_colours():
    colours = [("use", np.arange(8)), ("grey", np.arange(8.0))]
    figure = plotting.scatter([("PCA", CLOUD), ("UMAP", -CLOUD)], colours)
    panels = [ax for ax in figure.axes if ax.get_label() != "<colorbar>"]
    assert [ax.get_xlabel() for ax in panels] == ["PCA 1", "PCA 1", "UMAP 1", "UMAP 1"]
    assert np.array_equal(panels[2].collections[0].get_offsets(), -CLOUD)


@pytest.mark.parametrize(
    ("limits", "expected"), [(None, (FLOATS.min(), FLOATS.max())), ((0.0, 2.0), (0, 2))]
)
def test_maps_share_one_scale(limits, expected):
    shown = images_of(plotting.heat(FLOATS, TITLES, "nats", columns=3, limits=limits))
    assert len(shown) == 5
    assert {image.get_clim() for image in shown} == {expected}


def test_maps_of_classes_have_a_named_field_for_each_in_the_bar():
    figure = plotting.heat(
        np.array([[[0, 1], [1, 2]]]), ["a"], "", levels=("unseen", "seen", "the cell")
    )
    (shown,) = images_of(figure)
    assert {"unseen", "seen", "the cell"} <= texts(figure)
    assert shown.get_clim() == (-0.5, 2.5) and shown.get_cmap().N == 3


def test_bars_show_their_numbers_and_highlight_ours():
    figure = plotting.bars({"ours": 0.91234, "other_subject": 0.5}, "SSIM", ["ours"])
    assert {"0.912", "0.500", "other\nsubject"} <= texts(figure)
    ours, baseline = figure.axes[0].patches
    assert ours.get_facecolor() != baseline.get_facecolor()


def test_trends_draw_each_line_from_end_to_end():
    x = np.array([3.0, 1.0, 2.0])
    ax = plotting.trends({"real": (x, x + 1, 2 * x), "drawn": (x, x, x)}, "age", "share").axes[0]
    assert ax.lines[0].get_xydata().tolist() == [[1, 2], [2, 4], [3, 6]]
    assert ax.collections[0].get_offsets().tolist() == [[3, 4], [1, 2], [2, 3]]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["real", "drawn"]


def test_lines_have_a_legend_only_if_there_are_several():
    x = np.array([1.0, 2.0])
    one, two = (
        plotting.lines(x, dict.fromkeys(names, x), "x", "y", log=True) for names in ("a", "ab")
    )
    assert one.axes[0].get_legend() is None
    assert {text.get_text() for text in two.axes[0].get_legend().get_texts()} == {"a", "b"}
    assert one.axes[0].get_yscale() == "log"


@pytest.mark.parametrize(
    "draw",
    [
        lambda ax: plotting.usage(np.array([2, 1]), ax=ax),
        lambda ax: plotting.bars({"a": 1.0}, "y", ax=ax),
        lambda ax: plotting.lines(np.arange(2), {"a": np.arange(2)}, "x", "y", ax=ax),
    ],
)
def test_a_given_axis_is_drawn_on(draw):
    figure, axes = plt.subplots(1, 2)
    assert draw(axes[1]) is figure
    assert axes[1].get_ylabel() and not axes[0].get_ylabel()


def test_axes_of_a_subfigure_are_refused():
    part = plt.figure().subfigures(1, 2)[0]
    with pytest.raises(TypeError, match="not in a subfigure"):
        plotting.usage(np.array([2, 1]), ax=part.subplots())


def test_the_frame_of_a_picture_encloses_the_cell_of_its_code():
    figure = plotting.code_patches(np.zeros((2, 8, 8)), [3, 5])  # two cells of 4 pixels wide
    assert len(figure.axes) == 2  # no empty columns
    for ax in figure.axes:
        (frame,) = ax.patches
        assert frame.get_bbox().bounds == (1.5, 1.5, 4, 4)  # pixels 2 to 5


def test_regions_are_those_of_the_nearest_code_and_unused_codes_are_crosses():
    vectors = np.array([[0.0, 0.0], [0.1, 1.0], [2.0, 0.0]])
    codes = np.array([[0.0, 0.0], [2.0, 0.0], [9.0, 0.0]])
    figure = plotting.nearest_regions(vectors, {"far": codes, "revived": codes[:2]})
    far, revived = figure.axes
    (regions,) = images_of(figure)[:1]
    assert set(np.unique(regions.get_array())) == {0, 1, 2}
    row = regions.get_array()[0]
    x = np.linspace(*regions.get_extent()[:2], len(row))
    assert (row == np.digitize(x, [1.0, 5.5])).all()
    used, unused = far.collections[1:]
    assert used.get_offsets().tolist() == codes[:2].tolist()
    assert unused.get_offsets().tolist() == codes[2:].tolist()
    assert not len(revived.collections[2].get_offsets())


def test_only_the_cells_of_a_code_are_tinted():
    figure = EVERY_FIGURE["code_cells"]()
    mean, decoded, shown, *_ = (np.asarray(image.get_array()) for image in images_of(figure))
    assert np.array_equal(mean, FLOATS[2]) and np.array_equal(decoded, GREY[2])
    tinted = (shown != GREY[0][..., None]).any(2).reshape(4, 4, 4, 4).any((1, 3))
    assert np.array_equal(tinted, INDICES[0] == 2)


def test_a_forest_shows_each_value_in_its_row_and_skips_what_was_not_measured():
    ax = EVERY_FIGURE["forest"]().axes[0]
    markers = {
        line.get_label(): line.get_xydata() for line in ax.lines if line.get_label()[0] != "_"
    }
    ours, theirs = markers["ours"], markers["theirs"]
    assert ours[:, 0].tolist() == [0.7, 0.9]
    assert theirs[:, 0].tolist() == [0.5]
    assert np.round(ours[:, 1]).tolist() == [0, 1]
    assert np.round(theirs[:, 1]).tolist() == [1]
    assert ours[1, 1] != theirs[0, 1]  # beside one another, not on one another
    spans = [segment[:, 0].tolist() for lines in ax.collections for segment in lines.get_segments()]
    assert sorted(spans) == [[0.4, 0.6], [0.6, 0.8]]
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # the first row on top


def test_a_set_without_values_takes_no_room_in_a_forest():
    rows = {who: {"a": None, "b": {"value": 0.5, "interval": None}} for who in ("young", "old")}
    (ax,) = plotting.forest(rows, "KID").axes
    (markers,) = (line for line in ax.lines if len(line.get_xydata()))
    assert markers.get_xydata()[:, 1].tolist() == [0, 1]  # on the ticks
    assert markers.get_color() != plotting.COLOURS[0]  # that of a


def test_panels_of_a_forest_share_one_legend():
    figure, axes = plt.subplots(1, 2)
    for ax in axes:
        plotting.forest(FOREST, "KID", ax=ax)
    assert not figure.legends
    plotting.legend_below(figure)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["ours", "theirs"]


def test_a_matrix_leaves_white_what_is_no_response():
    figure = EVERY_FIGURE["matrix"]()
    assert {"12", "<1"} <= texts(figure) and "0.4" not in texts(figure)
    (image,) = figure.axes[0].images
    assert image.cmap(image.norm(0.4))[:3] == (1, 1, 1) and image.norm(20.0) == 1


def test_the_references_of_a_forest_are_bands():
    (ax,) = plotting.forest(FOREST, "KID", bands=["theirs"]).axes
    assert [(box.get_x(), round(box.get_width(), 3)) for box in ax.patches] == [(0.4, 0.2)]
    assert [line.get_label() for line in ax.lines] == ["ours"]
    drawn = [lines.get_segments()[0][:, 0].tolist() for lines in ax.collections]
    assert [0.5, 0.5] in drawn  # the tick at the estimate


def test_the_tick_of_a_dashed_band_is_dashed():
    (ax,) = plotting.forest(FOREST, "KID", bands=["ours", "theirs"]).axes
    dashes = [lines.get_linestyle()[0][1] is not None for lines in ax.collections]
    assert dashes == [False, False, True]


def test_bars_of_codes_are_ordered_by_the_first_setting():
    bars = EVERY_FIGURE["code_probabilities"]().axes[0].containers
    heights = [[bar.get_height() for bar in group] for group in bars]
    assert heights[0] == [7 / 28, 6 / 28, 5 / 28, 4 / 28] and heights[1] == [1, 0, 0, 0]


@pytest.mark.parametrize(("there", "marks"), [(5, 1), (0, 0), (None, 0)])
def test_the_code_of_the_cell_is_marked_where_it_is_shown(there, marks):
    shares, pictures = {"predicted": np.arange(8) / 28}, GREY[[0] * 8]
    bars = plotting.code_probabilities(shares, pictures, 4, there=there).axes[0]
    assert len(bars.lines) == len(bars.texts) == marks
    if marks:
        assert bars.lines[0].get_xdata() == [2] and bars.lines[0].get_ydata() == [5 / 28]
        assert bars.texts[0].get_text() == "-ln 0.179 = 1.72 nats"
