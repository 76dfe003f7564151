"""What is no plain file: FIFOs, devices, sockets, folders, links to nothing, pointers."""

import os
import socket

from attacks.files import ARCHIVE, first_slice, heads, tree
from attacks.harness import attack

FIFO = "it is a FIFO, no plain file"
ANNEX = "../../.git/annex/objects/Xk/9p/MD5E-s1--0.png/MD5E-s1--0.png"
LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n"


def replaced(path, make):
    path.unlink(missing_ok=True)
    make(path)


@attack("prepare", f"case_001_slice_0.nii.png: {FIFO}")
def fifo_as_a_slice(data):
    """A FIFO among the slices, which would wait for ever."""
    tree(data)
    replaced(first_slice(data), os.mkfifo)


@attack("skip")
def fifo_that_is_left_out(data):
    """A FIFO among the slices, with --skip-bad."""
    fifo_as_a_slice(data)


@attack("prepare", f"participants.tsv: {FIFO}")
def fifo_as_a_table(data):
    """A FIFO in the place of the table of people."""
    tree(data)
    os.mkfifo(data / "participants.tsv")


@attack("prepare", f"source.json: {FIFO}")
def fifo_as_a_record(data):
    """A FIFO in the place of the record of an export."""
    tree(data)
    os.mkfifo(data / "source.json")


@attack("archive", "no data in .*found a file of another kind|FIFO")
def fifo_as_an_archive(data):
    """A FIFO with the name of a disc."""
    data.mkdir()
    os.mkfifo(data / ARCHIVE)


@attack("volumes", f"{ARCHIVE}: {FIFO}")
def fifo_as_an_archive_in_a_folder(data):
    """A FIFO with the name of a disc, beside nothing."""
    data.mkdir()
    os.mkfifo(data / ARCHIVE)


@attack("volumes", f"sub-4_T1w.nii: {FIFO}")
def fifo_as_a_volume(data):
    """A FIFO among volumes."""
    heads(data)
    os.mkfifo(data / "sub-4_T1w.nii")


@attack("volumes", f"sub-4_T1w.nii.gz: {FIFO}")
def fifo_as_a_packed_volume(data):
    """A FIFO among volumes, with the name of a packed one."""
    heads(data)
    os.mkfifo(data / "sub-4_T1w.nii.gz")


@attack("pattern", f"p._0.png: {FIFO}")
def fifo_as_a_picture(data):
    """A FIFO in a folder of pictures."""
    data.mkdir()
    for i in (1, 2, 3):
        os.mkfifo(data / f"p{i}_0.png")


@attack("evaluate", f"images.npz: {FIFO}")
def fifo_as_samples(data):
    """A FIFO in the place of samples."""
    data.mkdir()
    os.mkfifo(data / "images.npz")


@attack("prepare", "it is a device, no plain file")
def link_to_a_device_without_end(data):
    """A slice that is a link to /dev/zero."""
    tree(data)
    replaced(first_slice(data), lambda path: path.symlink_to("/dev/zero"))


@attack("prepare", "it is a device, no plain file")
def table_without_end(data):
    """A table of people that is a link to /dev/zero."""
    tree(data)
    (data / "participants.tsv").symlink_to("/dev/zero")


@attack("prepare", "it is a socket, no plain file")
def socket_as_a_slice(data):
    """A socket among the slices."""
    tree(data)
    first_slice(data).unlink()
    place = os.getcwd()
    os.chdir(first_slice(data).parent)  # the path of a socket is short
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(first_slice(data).name)
    finally:
        os.chdir(place)


@attack("prepare", "it is a folder, no plain file")
def folder_as_a_slice(data):
    """A folder with the name of a slice."""
    tree(data)
    replaced(first_slice(data), lambda path: path.mkdir())


@attack("prepare", "is a link to nowhere.png, which is missing; repair the link")
def dangling_link(data):
    """A slice that is a link to nothing."""
    tree(data)
    replaced(first_slice(data), lambda path: path.symlink_to("nowhere.png"))


@attack("prepare", "cannot read .*case_001_slice_0.nii.png: Too many levels")
def circle_of_links(data):
    """A slice that is a link to itself."""
    tree(data)
    replaced(first_slice(data), lambda path: path.symlink_to(path.name))


@attack("prepare", "case_001_slice_0.nii.png is not fetched yet: run `datalad get`")
def datalad_slice(data):
    """A slice of a DataLad data set that is not fetched."""
    tree(data)
    replaced(first_slice(data), lambda path: path.symlink_to(ANNEX))


@attack("skip")
def datalad_slice_left_out(data):
    """A slice of a DataLad data set that is not fetched, with --skip-bad."""
    datalad_slice(data)


@attack("volumes", "sub-2_T1w.nii.gz is not fetched yet: run `datalad get`")
def datalad_volume(data):
    """A volume of a DataLad data set that is not fetched."""
    heads(data, 6)
    (data / "sub-2_T1w.nii").unlink()
    (data / "sub-2_T1w.nii.gz").symlink_to(ANNEX)


@attack("skip volumes")
def datalad_volume_left_out(data):
    """A volume of a DataLad data set that is not fetched, with --skip-bad."""
    datalad_volume(data)


@attack("prepare", "is a git-annex pointer, not the file itself: run `datalad get`")
def annex_pointer(data):
    """A slice that is the pointer of an unlocked git-annex file."""
    tree(data)
    first_slice(data).write_text("/annex/objects/MD5E-s1--0.png\n")


@attack("prepare", "is a Git LFS pointer, not the file itself: run `git lfs pull`")
def lfs_pointer(data):
    """A slice that is a pointer of Git LFS."""
    tree(data)
    first_slice(data).write_text(LFS)


@attack("prepare", "participants.tsv is a Git LFS pointer")
def lfs_pointer_as_a_table(data):
    """A table of people that is a pointer of Git LFS."""
    tree(data)
    (data / "participants.tsv").write_text(LFS)


@attack("volumes", "sub-4_T1w.nii.gz is a Git LFS pointer")
def lfs_pointer_as_a_volume(data):
    """A volume that is a pointer of Git LFS."""
    heads(data)
    (data / "sub-4_T1w.nii.gz").write_text(LFS)


@attack("prepare", r"case_001_slice_0.nii.png")
def name_that_a_terminal_obeys(data):
    """A folder whose name has an escape sequence and a line end, around a damaged slice."""
    tree(data / "a\x1b[31mb\nc")
    first_slice(data / "a\x1b[31mb\nc").write_bytes(b"hello")


@attack("prepare", "no data in .*found a circle")
def linked_folder_that_is_a_circle(data):
    """A folder that holds a link to itself is walked once."""
    data.mkdir()
    (data / "a circle").symlink_to(data)
