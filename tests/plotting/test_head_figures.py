"""Figures of whole heads: which cut lies where, in which proportions, with which labels."""

import numpy as np
import pytest

from oasis_utils import plotting

pytestmark = pytest.mark.usefixtures("shared_style")

SHAPE = (5, 16, 12)  # positions, rows, columns
HEADS = np.random.default_rng(0).integers(0, 256, (2, *SHAPE), dtype=np.uint8)


def texts(figure):
    figure.draw_without_rendering()
    return {text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text"))}


def test_the_three_cuts_share_the_point():
    at = 1, 2, 3
    axial, coronal, sagittal = plotting.orthogonal_cuts(HEADS[0], at)
    last = SHAPE[0] - 1
    assert axial[2, 3] == coronal[last - 1, 3] == sagittal[last - 1, 2] == HEADS[0][at]
    assert (axial.shape, coronal.shape, sagittal.shape) == ((16, 12), (5, 12), (5, 16))


def test_top_front_and_left_of_a_marked_head_are_where_a_reader_expects_them():
    head = np.zeros(SHAPE, np.uint8)
    head[-1], head[:, 0], head[:, :, 0] = 100, 150, 200  # top, front, left
    axial, coronal, sagittal = plotting.orthogonal_cuts(head)
    assert (axial[0, 1:] == 150).all() and (axial[:, 0] == 200).all()
    assert (coronal[0, 1:] == 100).all() and (coronal[:, 0] == 200).all()
    assert (sagittal[0, 1:] == 100).all() and (sagittal[:, 0] == 150).all()


def test_a_row_for_each_head_with_one_grey_range():
    figure = plotting.orthogonal_views(HEADS, ["a", "b"], title="heads")
    assert len(figure.axes) == 6
    assert {ax.images[0].get_clim() for ax in figure.axes} == {(0, 255)}
    assert {"axial", "coronal", "sagittal", "a", "b", "heads"} <= texts(figure)
    assert not {"front", "left"} & texts(figure)  # nothing is said that the data do not tell


def test_known_sides_are_labelled():
    figure = plotting.orthogonal_views(HEADS, ["a", "b"], front=True, left=True)
    assert {"front", "left"} <= texts(figure)


def test_cuts_have_the_proportions_of_the_head():
    spacing = 3.0, 1.0, 2.0
    figure = plotting.orthogonal_views(HEADS[:1], ["a"], spacing)
    figure.draw_without_rendering()
    tall, deep, wide = np.array(SHAPE) * spacing
    boxes = [ax.get_window_extent() for ax in figure.axes]
    shown = [box.height / box.width for box in boxes]
    np.testing.assert_allclose(shown, [deep / wide, tall / wide, tall / deep], rtol=0.01)
    scales = [box.width / mm for box, mm in zip(boxes, (wide, wide, deep), strict=True)]
    np.testing.assert_allclose(scales, scales[0], rtol=0.05)  # a mm has one length on the page


def test_lines_show_where_the_other_cuts_lie():
    position, row, column = at = 1, 2, 3
    figure = plotting.orthogonal_views(HEADS[:1], ["a"], at=at)
    across = [ax.lines[0].get_ydata()[0] for ax in figure.axes]
    upwards = [ax.lines[1].get_xdata()[0] for ax in figure.axes]
    from_top = SHAPE[0] - 1 - position
    assert (across, upwards) == ([row, from_top, from_top], [column, column, row])


def test_a_point_outside_the_head_is_refused():
    with pytest.raises(ValueError, match="5 positions, 16 rows and 12 columns"):
        plotting.orthogonal_views(HEADS, ["a", "b"], at=(5, 0, 0))


def test_stack_rows_has_heads_as_rows_and_positions_as_columns():
    figure = plotting.stack_rows(HEADS, ["a", "b"], [0, 2, 4], "title")
    shown = np.array([ax.images[0].get_array() for ax in figure.axes])
    np.testing.assert_array_equal(shown.reshape(2, 3, 16, 12), HEADS[:, [0, 2, 4]])
    assert {"position 0", "position 4", "a", "b", "title"} <= texts(figure)
