"""Image sets from files: what is read, and what is refused."""

import os

import numpy as np
import pytest
import torch
from PIL import Image

from oasis_utils.evaluation.image_sets import as_grey, load_images
from oasis_utils.models.samples import Samples


def blobs(n, seed, size=32):
    """Smooth random pictures, no two alike."""
    coarse = torch.rand(n, 1, 5, 5, generator=torch.Generator().manual_seed(seed))
    smooth = torch.nn.functional.interpolate(
        coarse, size=(size, size), mode="bilinear", align_corners=True
    )
    return (smooth[:, 0] * 255).to(torch.uint8).numpy()


def samples_of(images):
    n = len(images)
    return Samples(images, np.full((n, 4, 4), 3), np.arange(n) % 4)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (blobs(20, 3).astype(np.int64), "are int64: give uint8, or floats in"),
        (blobs(20, 3)[0], r"have shape \(32, 32\), expected"),
        (blobs(20, 3).astype(np.float32), "are floats from .* scale them"),
        (
            np.where(np.arange(20)[:, None, None] == 3, np.nan, blobs(20, 3) / 255),
            "1 images in x hold nan",
        ),
    ],
)
def test_images_of_another_kind_are_refused(images, message):
    with pytest.raises(ValueError, match=message):
        as_grey(images, "x")


def test_floats_become_grey_levels():
    assert np.array_equal(as_grey(blobs(20, 3) / 255.0, "x"), blobs(20, 3))


def test_images_of_a_sample_file(tmp_path):
    samples = samples_of(blobs(5, 0))
    samples.save(tmp_path / "samples.npz")
    images, positions = load_images(tmp_path / "samples.npz")
    assert np.array_equal(images, samples.images) and np.array_equal(positions, samples.positions)


def test_positions_are_optional(tmp_path):
    np.savez(tmp_path / "images.npz", images=blobs(5, 0))
    assert load_images(tmp_path / "images.npz")[1] is None


def test_file_without_images(tmp_path):
    np.savez(tmp_path / "other.npz", pictures=blobs(5, 0))
    with pytest.raises(
        ValueError, match="other.npz has no array 'images': give a file that `sample` wrote"
    ):
        load_images(tmp_path / "other.npz")


def test_missing_file(tmp_path):
    with pytest.raises(ValueError, match="cannot read .*none.npz"):
        load_images(tmp_path / "none.npz")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_truncated_file(tmp_path, share):
    samples_of(blobs(5, 0)).save(path := tmp_path / "samples.npz")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ValueError, match="cannot read .*samples.npz"):
        load_images(path)


def test_damaged_file(tmp_path):
    samples_of(blobs(5, 0)).save(path := tmp_path / "samples.npz")
    content = bytearray(path.read_bytes())
    content[200:400] = bytes(range(200))
    path.write_bytes(content)
    with pytest.raises(ValueError, match="cannot read .*samples.npz"):
        load_images(path)


def test_single_array_is_no_sample_file(tmp_path):
    np.save(tmp_path / "images.npy", blobs(5, 0))
    with pytest.raises(ValueError, match=r"images.npy.*`sample` wrote"):
        load_images(tmp_path / "images.npy")


def test_text_is_no_sample_file(tmp_path):
    (tmp_path / "images.npz").write_text("hello")
    with pytest.raises(ValueError, match="cannot read .*images.npz"):
        load_images(tmp_path / "images.npz")


class Canary:
    def __reduce__(self):
        return (os.mkdir, ("canary",))


def test_pickled_images_never_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("images.npz", images=np.array([Canary()], dtype=object))
    with pytest.raises(ValueError, match="images.npz"):
        load_images("images.npz")
    assert not (tmp_path / "canary").exists()


def write_pngs(folder, images, names):
    for image, name in zip(images, names, strict=True):
        Image.fromarray(image).save(folder / name)


def test_a_folder_of_pngs_with_positions_in_its_names(tmp_path):
    images = blobs(3, 0)
    write_pngs(tmp_path, images, [f"case_00{i}_slice_{7 + i}.nii.png" for i in range(3)])
    loaded, positions = load_images(tmp_path)
    assert np.array_equal(loaded, images) and positions.tolist() == [7, 8, 9]
    write_pngs(tmp_path, images[:1], ["other.png"])
    assert load_images(tmp_path)[1] is None


def test_a_folder_without_pngs_or_with_two_sizes(tmp_path):
    with pytest.raises(ValueError, match="no .png files in"):
        load_images(tmp_path)
    write_pngs(tmp_path, [blobs(1, 0)[0], blobs(1, 0, 64)[0]], ["a.png", "b.png"])
    with pytest.raises(ValueError, match="a.png and b.png in .* have different sizes"):
        load_images(tmp_path)


def test_positions_must_be_whole_numbers_one_for_each_image(tmp_path):
    np.savez(tmp_path / "x.npz", images=blobs(5, 0), positions=np.arange(4))
    with pytest.raises(ValueError, match=r"expected one whole number for each of 5 images"):
        load_images(tmp_path / "x.npz")
