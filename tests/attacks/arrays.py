"""Sample files for `evaluate` that are damaged, foreign or too large."""

import io
import pickle
import struct
import zipfile

import numpy as np
from attacks.files import npz, pictures, png, png_bytes
from attacks.harness import attack
from slice_files import picture_of


def archive(data, kind=zipfile.ZIP_DEFLATED, **members):
    """An .npz file of these members."""
    data.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(data / "images.npz", "w", kind) as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)


def npy(shape, dtype="|u1", body=b"", version=(1, 0)):
    """An array file of these claims."""
    text = f"{{'descr': {dtype!r}, 'fortran_order': False, 'shape': {shape!r}, }}"
    text = text.encode().ljust(118) + b"\n"
    size = struct.pack("<H" if version == (1, 0) else "<I", len(text))
    return b"\x93NUMPY" + bytes(version) + size + text + body


@attack("evaluate", "unpacks to")
def a_gigabyte_of_zero_images(data):
    """A million zero images in 1 MB."""
    archive(data, images=npy((2**20, 32, 32)) + bytes(2**26))


@attack("evaluate", "has 30000 images, more than 20000")
def too_many_images(data):
    """More small images than can be compared in pairs."""
    npz(data, images=np.zeros((30_000, 32, 32), np.uint8))


@attack("evaluate", "images.npz!images.npy has .* and unpacks to 1000000000000000000")
def array_that_reserves(data):
    """An array that claims 10^18 bytes."""
    archive(data, images=npy((10**9, 10**9)))


@attack("evaluate", "cannot read .*images.npz")
def array_of_negative_size(data):
    """An array that claims a negative length."""
    archive(data, images=npy((-5, 32, 32)))


@attack("evaluate", "cannot read .*images.npz .*Python objects")
def pickled_images(data):
    """Python objects, which could run code."""
    npz(data, images=np.array([{"a": 1}], dtype=object))


@attack("evaluate", "cannot read .*images.npz")
def pickle_as_a_member(data):
    """A member that is a pickle."""
    archive(data, images=pickle.dumps([1, 2, 3]))


@attack("evaluate", "has no array 'images'")
def other_names(data):
    """A file without images."""
    npz(data, pictures=pictures(9))


@attack("evaluate", "has no array 'images'")
def member_that_is_no_array(data):
    """A member called images, without .npy."""
    data.mkdir()
    with zipfile.ZipFile(data / "images.npz", "w") as file:
        file.writestr("images", b"hello")


@attack("evaluate", "cannot read .*images.npz")
def text_as_samples(data):
    """A sample file that is a text."""
    data.mkdir()
    (data / "images.npz").write_text("hello")


@attack("evaluate", "cannot read .*images.npz")
def cut_off_samples(data):
    """A sample file that ends in the middle."""
    npz(data, images=pictures(9))
    path = data / "images.npz"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@attack("evaluate", "cannot read .*images.npz")
def short_body(data):
    """An array that holds less than its header says."""
    archive(data, images=npy((9, 32, 32)) + bytes(100))


@attack("evaluate", "cannot read .*images.npz")
def header_without_end(data):
    """An array whose header is 60,000 brackets."""
    content = b"\x93NUMPY\1\0" + struct.pack("<H", 60_000) + b"(" * 60_000
    archive(data, images=content)


@attack("evaluate", "cannot read .*images.npz .*packed in a way")
def samples_packed_by_lzma(data):
    """A compression that may ask for 4 GB of memory."""
    archive(data, zipfile.ZIP_LZMA, images=npy((9, 32, 32)) + bytes(9 * 1024))


@attack("evaluate", "cannot read .*images.npz")
def samples_with_a_password(data):
    """A member that claims to be encrypted."""
    archive(data, images=npy((9, 32, 32)) + bytes(9 * 1024))
    content = bytearray((data / "images.npz").read_bytes())
    content[6] |= 1
    content[content.index(b"PK\1\2") + 8] |= 1
    (data / "images.npz").write_bytes(content)


@attack("evaluate", "images are|have shape|are .*: give uint8")
def images_of_texts(data):
    """Images that are texts."""
    npz(data, images=np.array(["a", "b"]))


@attack("evaluate", "nan or infinite pixels")
def images_of_nan(data):
    """Images with a pixel that is nan."""
    images = pictures(9) / np.float32(255)
    images[0, 0, 0] = np.nan
    npz(data, images=images)


@attack("evaluate", "scale them to")
def images_out_of_range(data):
    """Images of floats up to 1e30."""
    npz(data, images=pictures(9) * np.float32(1e28))


@attack("evaluate", "have shape")
def image_without_axes(data):
    """One number instead of images."""
    npz(data, images=np.uint8(5))


@attack("evaluate", "expected one whole number for each")
def positions_of_another_length(data):
    """Fewer positions than images."""
    npz(data, images=pictures(9), positions=np.arange(3))


@attack("evaluate", "are not from 0 to 9999")
def positions_far_away(data):
    """A position of 2^62, for which a table would have as many rows."""
    npz(data, images=pictures(9), positions=np.full(9, 2**62))


@attack("evaluate", "are not from 0 to 9999")
def negative_positions(data):
    """Positions below 0."""
    npz(data, images=pictures(9), positions=np.full(9, -1))


@attack("evaluate folder", "unpacks to|claims")
def folder_of_bombs(data):
    """Sixty black pictures of 2048 x 2048 pixels, 4 kB each."""
    data.mkdir()
    content = png(2048, 2048)
    for i in range(60):
        (data / f"{i}.png").write_bytes(content)


@attack("evaluate folder", "have different sizes")
def folder_of_two_sizes(data):
    """Pictures of two sizes."""
    data.mkdir()
    for i, size in enumerate((32, 32, 64)):
        (data / f"{i}.png").write_bytes(png_bytes(picture_of(1, i, size)))


@attack("evaluate folder", "slice number above 9999")
def folder_of_far_positions(data):
    """A slice number of 20 digits."""
    data.mkdir()
    for i in range(9):
        path = data / f"slice_{10**20 + i}.png"
        path.write_bytes(png_bytes(picture_of(1, i, 32)))


@attack("evaluate folder", "no .png files in")
def empty_folder(data):
    """A folder without pictures."""
    data.mkdir()


@attack("evaluate", "cannot read .*images.npz|unpacks to")
def directory_of_many_members(data):
    """20,000 members of one name."""
    data.mkdir()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for i in range(20_000):
            file.writestr(f"x{i}", b"")
        file.writestr("images.npy", npy((2**40,)))
    (data / "images.npz").write_bytes(buffer.getvalue())
