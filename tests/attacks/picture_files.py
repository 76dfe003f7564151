"""Pictures that lie about their size, hold something else, or are damaged."""

import io
import struct
import zlib

import numpy as np
from attacks.files import chunk, first_slice, images, png, png_bytes, tree
from attacks.harness import attack
from PIL import Image
from slice_files import picture_of, write

LARGE = "no slice has a side of more than 2048"
SMALL = picture_of(1, 1, 32)


def other(folder, content):
    """A sound tree in which one slice has this content."""
    tree(folder)
    first_slice(folder).write_bytes(content)


@attack("pattern", LARGE)
def long_picture(data):
    """Pictures of 12000 x 16 pixels, which would be padded to squares of 144 MB."""
    images(data, png(12_000, 16))


@attack("pattern", LARGE)
def very_long_picture(data):
    """Pictures of 60000 x 16 pixels, which would be padded to squares of 3.6 GB."""
    images(data, png(60_000, 16))


@attack("pattern", LARGE)
def tall_picture(data):
    """Pictures one pixel wide and 60000 high."""
    images(data, png(1, 60_000))


@attack("pattern", "claims to be|exceeds limit")
def square_bomb(data):
    """A header that claims 60000 x 60000 pixels above a few rows."""
    images(data, png(60_000, 60_000, rows=b"\0" * 1000))


@attack("pattern", "every pixel|black")
def many_largest_pictures(data):
    """Sixty-four black pictures of the largest side that is read, 4 kB each."""
    images(data, png(2048, 2048), [f"p{i}_{j}" for i in range(8) for j in range(8)])


@attack("prepare", "p1_0|case_001_slice_0.nii.png: it is empty")
def empty_picture(data):
    """A slice of no bytes."""
    other(data, b"")


@attack("prepare", "case_001_slice_0.nii.png: it is no PNG, JPEG or TIFF")
def text_picture(data):
    """A slice that is a text."""
    other(data, b"hello" * 99)


@attack("prepare", "case_001_slice_0.nii.png.*replace the file")
def cut_off_picture(data):
    """A slice that ends in the middle."""
    other(data, png_bytes(SMALL)[:90])


@attack("prepare", "case_001_slice_0.nii.png.*replace the file")
def altered_picture(data):
    """A slice with one altered bit, which only its checksum shows."""
    content = bytearray(png_bytes(SMALL))
    content[-30] ^= 1
    other(data, bytes(content))


@attack("prepare", "case_001_slice_0.nii.png: it has more than 10000 chunks")
def picture_of_many_chunks(data):
    """A PNG of 200,000 empty chunks, each of which takes time."""
    other(data, png(32, 32, between=chunk(b"teSt", b"") * 200_000))


@attack("prepare", "case_001_slice_0.nii.png")
def picture_with_a_text_bomb(data):
    """A PNG whose compressed comment unpacks to 64 MiB."""
    text = zlib.compress(bytes(2**26), 1)
    other(data, png(32, 32, between=chunk(b"zTXt", b"Comment\0\0" + text) * 3))


@attack("prepare", "case_001_slice_0.nii.png")
def picture_with_a_profile_bomb(data):
    """A PNG whose colour profile unpacks to 64 MiB, and that is black."""
    text = zlib.compress(bytes(2**26), 1)
    other(data, png(32, 32, rows=b"\0" * 5, between=chunk(b"iCCP", b"x\0\0" + text)))


@attack("prepare", "holds 2 pictures or more")
def animated_picture(data):
    """An animated PNG."""
    tree(data)
    frames = [Image.fromarray(picture_of(1, i, 32)) for i in range(3)]
    frames[0].save(first_slice(data), "PNG", save_all=True, append_images=frames[1:])


@attack("pattern", "holds 2 pictures or more")
def tiff_of_many_pages(data):
    """A TIFF of 300 pages, which are not counted one by one."""
    buffer = io.BytesIO()
    pages = [Image.fromarray(SMALL)] * 300
    pages[0].save(buffer, "TIFF", save_all=True, append_images=pages[1:])
    images(data, buffer.getvalue(), suffix="tif")


@attack("pattern", "are the same picture")
def tiff_whose_pages_form_a_circle(data):
    """A TIFF whose directory names itself as the next one is read once."""
    buffer = io.BytesIO()
    Image.fromarray(SMALL).save(buffer, "TIFF")
    content = bytearray(buffer.getvalue())
    (start,) = struct.unpack_from("<I", content, 4)
    (n,) = struct.unpack_from("<H", content, start)
    struct.pack_into("<I", content, start + 2 + 12 * n, start)
    images(data, bytes(content), suffix="tif")


@attack("pattern", "p._0.tif")
def tiff_with_a_giant_strip(data):
    """A TIFF whose strip claims 4 GB."""
    buffer = io.BytesIO()
    Image.fromarray(SMALL).save(buffer, "TIFF")
    content = buffer.getvalue()
    claim = struct.pack("<HHII", 279, 4, 1, 32 * 32)
    assert claim in content
    images(data, content.replace(claim, struct.pack("<HHII", 279, 4, 1, 2**32 - 1)), suffix="tif")


@attack("pattern", "more than 8 bits")
def sixteen_bits(data):
    """Pictures of 16 bits a pixel, which would lose their lower half."""
    images(data, png_bytes(np.arange(1024, dtype=np.uint16).reshape(32, 32)))


@attack("pattern", "colour picture")
def colours(data):
    """Pictures whose channels differ."""
    images(data, png_bytes(np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8)))


@attack("pattern", "partly transparent")
def transparent_picture(data):
    """Pictures with a half transparent pixel."""
    images(data, png_bytes(np.dstack([SMALL, SMALL])))


@attack("pattern", "p._0.jpg: .*replace the file")
def cut_off_jpeg(data):
    """A JPEG without its second half."""
    buffer = io.BytesIO()
    Image.fromarray(SMALL).save(buffer, "JPEG")
    images(data, buffer.getvalue()[: buffer.tell() // 2], suffix="jpg")


@attack("pattern", LARGE)
def jpeg_of_a_large_claim(data):
    """A JPEG header that claims 65500 x 65500 pixels."""
    buffer = io.BytesIO()
    Image.fromarray(SMALL).save(buffer, "JPEG")
    content = bytearray(buffer.getvalue())
    place = content.index(b"\xff\xc0") + 5
    content[place : place + 4] = struct.pack(">HH", 9000, 9000)
    images(data, bytes(content), suffix="jpg")


@attack("prepare", "all slices need one size|slices must be square")
def picture_of_another_size(data):
    """One slice larger than all others."""
    other(data, png_bytes(picture_of(1, 0, 64)))


@attack("prepare", "are the same picture")
def one_picture_in_two_splits(data):
    """A training slice that is in the test split too."""
    tree(data)
    write(data / "keras_png_slices_test" / "case_005_slice_0.nii.png", picture_of(1, 0, 32))


@attack("pattern", "slices of subject .* are black")
def picture_that_unpacks_too_far(data):
    """Small black pictures whose rows unpack to 64 MiB more than they have pixels."""
    images(data, png(32, 32, rows=bytes(2**26)))


@attack("skip")
def one_bad_picture_is_left_out(data):
    """With --skip-bad, a damaged slice is left out and the others are read."""
    other(data, b"hello")


@attack("pattern", "are the same slice of subject")
def two_pictures_of_one_place(data):
    """Two files of one subject and slice."""
    images(data, png_bytes(SMALL), ["p1_0", "p1_00", "p2_0", "p3_0"])
