"""One file, one slice: every kind of file that is no 8-bit grey slice is read rightly or refused by
name.
"""

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image
from slice_files import disc, write

from oasis_utils.data import image_files as images
from oasis_utils.data.image_files import quiet, read_picture, read_slice
from oasis_utils.runtime import DataError

NOISE = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)


def save(path, picture, **options):
    """`picture` is an array or a Pillow image."""
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    image.save(path, **options)
    return path


def stacked(*channels):
    return np.stack(channels, axis=-1)


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_grey_is_read_exactly(tmp_path, name):
    read = read_slice(write(tmp_path / name, NOISE))
    assert read.dtype == np.uint8 and np.array_equal(read, NOISE)
    assert read_picture(tmp_path / name).notes == ()


def test_grey_jpeg_is_read_nearly(tmp_path):
    picture = disc()
    read = read_slice(write(tmp_path / "a.jpg", picture, quality=95))
    assert np.abs(read.astype(int) - picture).mean() < 1


WHITE = np.full_like(NOISE, 255)
LIKE_GREY = {
    "three equal channels": (stacked(NOISE, NOISE, NOISE), images.EQUAL_CHANNELS),
    "opaque alpha": (stacked(NOISE, WHITE), images.OPAQUE),
    "opaque colour": (stacked(NOISE, NOISE, NOISE, WHITE), images.OPAQUE),
    "grey palette": (Image.fromarray(stacked(NOISE, NOISE, NOISE)).quantize(256), images.PALETTE),
}


@pytest.mark.parametrize("kind", LIKE_GREY)
def test_what_carries_one_grey_channel_is_read_with_a_note(tmp_path, kind):
    content, note = LIKE_GREY[kind]
    picture = read_picture(save(tmp_path / "a.png", content))
    assert np.array_equal(picture.pixels, NOISE)
    assert note in picture.notes


COLOUR = stacked(NOISE, NOISE, NOISE // 2)
HALF = np.where(np.arange(64) < 32, 255, 128).astype(np.uint8)[None].repeat(64, 0)
REFUSED = {
    "colour": (COLOUR, "png", "is a colour picture"),
    "colour palette": (Image.fromarray(COLOUR).quantize(64), "png", "is a colour picture"),
    "alpha": (stacked(NOISE, HALF), "png", "is partly transparent"),
    "colour and alpha": (stacked(NOISE, NOISE, NOISE, HALF), "png", "is partly transparent"),
    "16 bits": (NOISE.astype(np.uint16) * 200, "png", "has more than 8 bits"),
    "16-bit TIFF": (NOISE.astype(np.uint16) * 200, "tif", "has more than 8 bits"),
    "32-bit float": (NOISE.astype(np.float32), "tif", "has more than 8 bits"),
    "1 bit": (Image.fromarray(NOISE > 9), "png", "has 1 bit a pixel"),
    "CMYK": (Image.fromarray(COLOUR).convert("CMYK"), "jpg", r"has channels C\+M\+Y\+K"),
    "constant": (np.full_like(NOISE, 7), "png", "every pixel of .* is 7"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_slice_is_refused_by_name(tmp_path, kind):
    content, suffix, message = REFUSED[kind]
    path = save(tmp_path / f"case_1.{suffix}", content)
    with pytest.raises(DataError, match=message) as caught:
        read_slice(path)
    assert str(path) in str(caught.value)


def png_of(width, height, depth, colour, rows):
    """A PNG that Pillow cannot write."""

    def chunk(kind, content):
        return (
            struct.pack(">I", len(content))
            + kind
            + content
            + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        images.PNG_SIGNATURE
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def test_16_bit_colour_is_not_shortened_in_silence(tmp_path):
    (path := tmp_path / "a.png").write_bytes(png_of(4, 4, 16, 2, (b"\0" + bytes(range(24))) * 4))
    with Image.open(path) as file:
        assert file.mode == "RGB"  # Pillow's idea of it
    with pytest.raises(DataError, match="has more than 8 bits"):
        read_slice(path)


def test_few_bits_are_scaled_with_a_note(tmp_path):
    (path := tmp_path / "a.png").write_bytes(
        png_of(4, 2, 2, 0, b"\0\x1b\0\xe4")
    )  # 0 1 2 3 and 3 2 1 0
    picture = read_picture(path)
    assert picture.pixels.tolist() == [[0, 85, 170, 255], [255, 170, 85, 0]] and picture.notes == (
        images.FEW_BITS,
    )


def test_a_transparent_grey_level_counts_only_where_it_occurs(tmp_path):
    path = save(tmp_path / "a.png", disc(), transparency=77)
    assert np.array_equal(read_slice(path), disc())
    with pytest.raises(DataError, match="is partly transparent"):
        read_slice(save(path, disc(), transparency=150))


def test_black_is_a_slice(tmp_path):
    assert not read_slice(save(tmp_path / "a.png", np.zeros_like(NOISE))).any()


def test_a_mask_may_be_constant_or_of_one_bit(tmp_path):
    assert (
        read_picture(save(tmp_path / "a.png", np.full_like(NOISE, 85)), mask=True).pixels == 85
    ).all()
    bits = read_picture(save(tmp_path / "b.png", Image.fromarray(NOISE > 9)), mask=True).pixels
    assert np.array_equal(bits, np.where(NOISE > 9, 255, 0))


def test_camera_orientation_is_followed(tmp_path):
    exif = Image.Exif()
    exif[images.ORIENTATION] = 6
    path = save(tmp_path / "a.jpg", NOISE[:, :32], exif=exif, quality=100)
    picture = read_picture(path)
    assert picture.pixels.shape == (32, 64) and images.ROTATED in picture.notes
    with Image.open(path) as file:
        assert np.array_equal(picture.pixels, np.rot90(np.asarray(file), -1))


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_several_pictures_are_refused(tmp_path, suffix):
    frames = [Image.fromarray(disc(grey=grey)) for grey in (50, 100)]
    path = save(tmp_path / f"a.{suffix}", frames[0], save_all=True, append_images=frames[1:])
    with pytest.raises(DataError, match="holds 2 pictures"):
        read_slice(path)


@pytest.mark.parametrize(
    ("suffix", "keep"),
    [("png", 0.999), ("tif", 0.999)]
    + [  # a JPEG decodes without its last bytes
        (suffix, keep) for suffix in ("png", "jpg", "tif") for keep in (0, 5, 20, 0.5, 0.9)
    ],
)
def test_truncated_file_is_named(tmp_path, keep, suffix):
    path = write(tmp_path / f"a.{suffix}", NOISE)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole)) if keep < 1 else keep])
    with pytest.raises(DataError, match=rf"cannot read .*a.{suffix}: .*replace the file"):
        read_slice(path)


def test_text_a_pointer_and_no_file_have_messages_of_their_own(tmp_path):
    path = tmp_path / "a.png"
    with pytest.raises(DataError, match="cannot read .*a.png: No such file"):
        read_slice(path)
    path.write_text("hello")
    with pytest.raises(DataError, match="cannot read .*a.png: it is no PNG, JPEG or TIFF"):
        read_slice(path)
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n")
    with pytest.raises(DataError, match="a.png is a Git LFS pointer.*run `git lfs pull`"):
        read_slice(path)


@pytest.mark.parametrize("side", [9000, 60_000])
def test_decompression_bomb_is_refused_before_it_is_unpacked(tmp_path, side):
    (path := tmp_path / "a.png").write_bytes(png_of(side, side, 8, 0, b"\0" * 1000))
    with (
        warnings.catch_warnings(),
        pytest.raises(DataError, match=r"a.png.*(claims to be|exceeds limit)"),
    ):
        warnings.simplefilter("error")
        read_slice(path)


# ---------------------------------------------------------------- random damage


def damaged(content, rng):
    """Bits flipped, an end cut off, a block zeroed, bytes appended: one to three of them."""
    content = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        offset = int(rng.integers(len(content))) if content else 0
        match rng.integers(4):
            case 0 if content:
                content[offset] ^= 1 << int(rng.integers(8))
            case 1:
                del content[offset:]
            case 2:
                content[offset : offset + 16] = bytes(len(content[offset : offset + 16]))
            case 3:
                content += rng.bytes(int(rng.integers(1, 40)))
    return bytes(content)


@pytest.mark.fuzz
@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
def test_a_damaged_file_is_the_right_slice_or_an_error(tmp_path, suffix, recwarn):
    """PNG has checksums, so nothing but the original may pass; JPEG and TIFF have none."""
    rng = np.random.default_rng(7)
    original = rng.integers(0, 256, (24, 24), dtype=np.uint8)
    passed = 0
    for number in range(500):
        buffer = io.BytesIO()
        options = {
            "png": {},
            "jpg": {"quality": 80},
            "tif": {
                "compression": (None, "tiff_lzw", "tiff_adobe_deflate", "packbits")[number % 4]
            },
        }[suffix]
        Image.fromarray(original).save(
            buffer, {"png": "PNG", "jpg": "JPEG", "tif": "TIFF"}[suffix], **options
        )
        (path := tmp_path / f"a.{suffix}").write_bytes(damaged(buffer.getvalue(), rng))
        try:
            picture = read_slice(path)
        except DataError as error:
            assert str(path) in str(error)
            continue
        passed += 1
        assert picture.dtype == np.uint8 and picture.ndim == 2 and picture.size <= images.MAX_PIXELS
        if suffix == "png":
            assert np.array_equal(picture, original)
    assert 0 < passed < 500 and not recwarn.list


def test_quiet_gives_the_filters_back():
    before = list(warnings.filters)
    with quiet():
        warnings.warn("not heard", stacklevel=1)
    assert list(warnings.filters) == before
