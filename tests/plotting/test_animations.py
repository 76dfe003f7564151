import numpy as np
import pytest
from PIL import Image

from oasis_utils import plotting
from oasis_utils.plotting.animations import WIDTH


def frames(moments=3, n=10, side=32):
    return np.random.default_rng(0).integers(0, 256, (moments, n, side, side), dtype=np.uint8)


def test_a_moment_is_one_frame_of_the_file(tmp_path):
    pictures = plotting.animation(frames(), ["step 1", "step 2", "step 3"], columns=5)
    shown = plotting.save_animation(pictures, tmp_path, "04_training", "Slices through training")
    with Image.open(tmp_path / "04_training.gif") as file:
        assert file.n_frames == 3 and file.size == pictures[0].size
        assert file.info["loop"] == 0
        durations = []
        for moment in range(3):
            file.seek(moment)
            durations.append(file.info["duration"])
    assert durations == [700, 700, 2100]
    assert shown.data == (tmp_path / "04_training.gif").read_bytes()
    assert shown.alt == "Slices through training"


def test_slices_lie_in_reading_order_below_the_label():
    grey = np.zeros((1, 3, 16, 16), np.uint8)
    grey[0, :, :, :] = np.array([40, 120, 200])[:, None, None]
    (picture,) = plotting.animation(grey, ["one"], columns=2)
    values = np.asarray(picture)
    half = values.shape[1] // 2
    assert values[30, half // 2] == 40 and values[30, half + half // 2] == 120
    assert values[-10, half // 2] == 200 and values[-10, half + half // 2] == 255
    assert values[:18].min() < 100, "the label is written"


@pytest.mark.parametrize("side", [64, 128, 256])
def test_no_wider_than_a_column_unless_the_slices_are(side):
    picture = plotting.animation(frames(1, 8, side), ["x"])[0]
    assert picture.width <= max(WIDTH, 8 * (side + 2))


def test_float_slices_are_those_of_uint8():
    whole = frames(2, 4)
    same = plotting.animation(whole / 255.0, ["a", "b"])
    for one, other in zip(plotting.animation(whole, ["a", "b"]), same, strict=True):
        assert np.array_equal(np.asarray(one), np.asarray(other))


@pytest.mark.parametrize("labels", [[], ["a"], ["a", "b", "c", "d"]])
def test_a_label_for_each_moment(labels):
    with pytest.raises(ValueError, match="one label for each moment"):
        plotting.animation(frames(), labels)
