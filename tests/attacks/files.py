"""Small files of every kind, from which the attacks are made."""

import gzip
import io
import struct
import tarfile
import zlib

import numpy as np
from PIL import Image
from slice_files import make_tree, picture_of
from volume_files import make_head, nifti, session

ZEROS = 2**24
PACKED_ZEROS = gzip.compress(bytes(ZEROS), 9)  # 16 kB; gzip files may follow one another
ARCHIVE = "oasis_cross-sectional_disc1.tar.gz"
PIECE = 32  # pixels of a slice


def zeros(n):
    """A gzip file of about n zero bytes, quickly."""
    return PACKED_ZEROS * max(1, n // ZEROS)


def tree(folder, **options):
    """A sound tree of PNG slices: six subjects in three splits."""
    return make_tree(folder, size=PIECE, **options)


def first_slice(folder):
    return folder / "keras_png_slices_train" / "case_001_slice_0.nii.png"


def png_bytes(picture):
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()


def chunk(kind, content):
    check = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + check


def png(width, height, depth=8, colour=0, rows=None, between=b""):
    """A PNG of these claims, with any rows, and chunks between header and rows."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    rows = bytes((width + 1) * height) if rows is None else rows
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + between
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def images(folder, content, names=("p1_0", "p2_0", "p3_0"), suffix="png"):
    """A folder of pictures for --pattern, each with the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / f"{name}.{suffix}").write_bytes(content)


def heads(folder, n=3, start=1):
    """Sound volumes sub-1_T1w.nii and so on."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(start, start + n):
        (folder / f"sub-{i}_T1w.nii").write_bytes(nifti(make_head(i)))


def odd_head(folder, content, name="sub-9_T1w.nii"):
    """Sound volumes and one of this content."""
    heads(folder)
    (folder / name).write_bytes(content)


def member(name, size, kind=tarfile.REGTYPE):
    """The header of a member that claims a size."""
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT)


def packed(folder, content):
    """A disc of these bytes, already packed."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ARCHIVE).write_bytes(content)


def disc(folder, *extra):
    """A sound disc of three sessions, with further tar blocks in front."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for i in (1, 2, 3):
            for name, content in session(f"OAS1_000{i}_MR1", make_head(i), labels=False).items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    packed(folder, b"".join(extra) + gzip.compress(buffer.getvalue(), 1))


def table(folder, content):
    """A sound tree with this participants.tsv."""
    tree(folder)
    data = content if isinstance(content, bytes) else content.encode()
    (folder / "participants.tsv").write_bytes(data)


def npz(folder, **arrays):
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / "images.npz", **arrays)


def pictures(n, size=PIECE):
    return np.stack([picture_of(i % 200, i // 200, size) for i in range(n)])
