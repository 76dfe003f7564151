"""Markdown tables, intervals and listings for notebooks."""

import numpy as np
import pytest

from oasis_utils import plotting
from oasis_utils.config import PixelCNNConfig, TrainingConfig


def test_table_as_markdown():
    rows = {"ours": {"ssim": 0.91234, "images": 5}, "black": {"ssim": 0.5, "note": "baseline"}}
    assert plotting.table(rows, "set").data.splitlines() == [
        "| set | ssim | images | note |",
        "|---|---:|---:|---|",
        "| ours | 0.912 | 5 |  |",
        "| black | 0.500 |  | baseline |",
    ]


def test_words_stand_left_and_numbers_right():
    rows = {"a": {"value": 2, "meaning": "passes", "interval": "-0.5 to 1.0", "gap": "+2"}, "b": {}}
    assert plotting.table(rows).data.splitlines()[1] == "|---|---:|---|---:|---:|"
    assert plotting.table({"sum": {"n": "**12,000**"}}).data.splitlines()[1] == "|---|---:|"


def test_table_digits():
    assert "| a | 0.9 |" in plotting.table({"a": {"x": 0.91234}}, digits=1).data


def test_table_rounds_numbers_of_numpy_too():
    assert "| a | 0.912 |" in plotting.table({"a": {"x": np.float64(0.91234)}}).data


def test_a_folded_table_stands_under_its_line():
    rows = {"a": {"x": 1}}
    assert plotting.table(rows, folded="a record").data == (
        f"<details><summary>a record</summary>\n\n{plotting.table(rows).data}\n\n</details>"
    )


def test_settings_are_the_values_in_force():
    schedule = TrainingConfig(epochs=2, learning_rate=4e-4)
    lines = plotting.settings(
        {"dropout": "share of features hidden", "learning_rate": "peak", "epochs": "passes"},
        PixelCNNConfig(dropout=0.0),
        schedule,
    ).data.splitlines()
    assert lines[2:] == [
        "| `dropout` | 0 | share of features hidden |",
        "| `learning_rate` | 0.0004 | peak |",
        "| `epochs` | 2 | passes |",
    ]
    with pytest.raises(ValueError, match="no configuration here has a field depth"):
        plotting.settings({"depth": "unknown"}, schedule)


def test_an_interval_is_two_numbers_or_a_reason():
    assert (
        plotting.span((2.0414, 2.12)) == "2.041 to 2.120"
        and plotting.span((-0.5, 1.0), 1) == "-0.5 to 1.0"
    )
    assert plotting.span((float("nan"), float("nan"))) == "too few subjects"


def test_an_interval_of_a_difference_in_words():
    intervals = (0.1, 2.0), (-2.0, -0.1), (-1.0, 1.0)
    words = [plotting.outcome(ends, "more", "less") for ends in intervals]
    assert words == ["more", "less", "not shown to differ"]
    assert plotting.outcome((0.0, 1.0), "more", "less") == "not shown to differ"
    assert plotting.outcome((float("nan"),) * 2, "more", "less") == "too few subjects to say"


class Example:
    def method(self):
        """What is shown."""
        return 1

    def documented(self):
        """What is shown,
        in two lines.

        Returns:
            One.
        """
        return 1  # pyright: ignore[reportAny]  # as expected


def test_source_is_a_listing_without_indentation():
    listing = plotting.source(Example.method).data
    assert listing.startswith('```python\ndef method(self):\n    """What is shown."""')
    assert listing.endswith("    return 1\n```")


def test_a_folded_listing_is_the_same_below_a_line_to_click():
    listing = plotting.source(Example.method).data
    assert plotting.source(Example.method, folded="as code").data == (
        f"<details><summary>as code</summary>\n\n{listing}\n\n</details>"
    )


def test_a_listing_leaves_out_what_no_reader_needs():
    assert plotting.source(Example.documented).data.splitlines()[1:-1] == [
        "def documented(self):",
        '    """What is shown,',
        '    in two lines."""',
        "    return 1",
    ]
