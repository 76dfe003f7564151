"""Packed OASIS discs that claim, hold or hide too much."""

import gzip
import io
import tarfile

from attacks.files import disc, member, packed, zeros
from attacks.harness import attack

NAME = "disc1/OAS1_0001_MR1/PROCESSED/MPRAGE/T88_111/OAS1_0001_MR1_mpr_n4_anon_111_t88_masked_gfc"
END = bytes(1024)


@attack("archive", "disc1.tar.gz is damaged or incomplete .a name or record of 2147483647 bytes")
def pax_header_bomb(data):
    """One PAX header of 2 GiB, of zeros."""
    packed(data, gzip.compress(member("x", 2**31 - 1, tarfile.XHDTYPE)) + zeros(2**31))


@attack("archive", "a name or record of 2147483647 bytes")
def global_header_bomb(data):
    """One global PAX header of 2 GiB."""
    packed(data, gzip.compress(member("x", 2**31 - 1, tarfile.XGLTYPE)) + zeros(2**31))


@attack("archive", "a name or record of 2147483647 bytes")
def long_name_bomb(data):
    """One GNU long name of 2 GiB."""
    packed(data, gzip.compress(member("x", 2**31 - 1, tarfile.GNUTYPE_LONGNAME)) + zeros(2**31))


@attack("archive", "a name or record of 2147483647 bytes")
def long_link_bomb(data):
    """One GNU long link of 2 GiB."""
    packed(data, gzip.compress(member("x", 2**31 - 1, tarfile.GNUTYPE_LONGLINK)) + zeros(2**31))


@attack("archive", "a sparse file")
def sparse_map_bomb(data):
    """A sparse member whose map goes on for 64 MiB."""
    head = bytearray(member("x", 512, tarfile.GNUTYPE_SPARSE))
    head[482] = 1  # the map goes on in further blocks
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    block = (b"00000000000\0" * 42)[:504] + b"\1" + bytes(7)
    packed(data, gzip.compress(bytes(head) + block * 2**17, 1))


@attack("archive", "a sparse file|damaged")
def sparse_records(data):
    """PAX records that announce a sparse file of a billion parts."""
    text = b""
    for key, value in (("major", "1"), ("minor", "0"), ("name", "x"), ("realsize", "1")):
        line = f" GNU.sparse.{key}={value}\n"
        text += f"{len(line) + 2}{line}".encode()
    record = member("x", len(text), tarfile.XHDTYPE) + text.ljust(512, b"\0")
    body = b"1000000000\n".ljust(512, b"0")
    packed(data, gzip.compress(record + member("x", 2**30) + body) + zeros(2**28))


@attack("archive", "txt claims 1073741824 bytes: .*fetch it again")
def notes_bomb(data):
    """Notes of a session that claim 1 GiB, of zeros."""
    name = "disc1/OAS1_0001_MR1/OAS1_0001_MR1.txt"
    packed(data, gzip.compress(member(name, 2**30)) + zeros(2**30) + gzip.compress(END))


@attack("archive", "unpacks to")
def zeros_behind_the_end(data):
    """An archive that ends at once, and then 4 GiB of zeros."""
    packed(data, gzip.compress(END) + zeros(2**32))


@attack("archive", "unpacks to")
def large_member_that_nobody_wants(data):
    """A member of 4 GiB that is passed over."""
    packed(data, gzip.compress(member("video", 2**32)) + zeros(2**32) + gzip.compress(END))


@attack("archive", "unpacks to|claims|too many")
def four_large_images_before_their_headers(data):
    """Four images of 512 MiB, each of which would be kept until its header comes."""
    body = b""
    for i in range(1, 5):
        name = NAME.replace("OAS1_0001", f"OAS1_000{i}")
        body += gzip.compress(member(f"{name}.img", 2**29)) + zeros(2**29)
        body += gzip.compress(member(f"{name}.hdr", 348) + bytes(512))
    packed(data, body + gzip.compress(END))


@attack("archive", "too many sessions apart|unpacks to|has no")
def images_before_all_headers(data):
    """Forty images of 4 MB in front of all headers: all would be kept."""
    noise = gzip.compress(bytes(2**22), 1)
    front, back = b"", b""
    for i in range(10, 50):
        name = NAME.replace("OAS1_0001", f"OAS1_00{i}")
        front += gzip.compress(member(f"{name}.img", 2**22)) + noise
        back += gzip.compress(member(f"{name}.hdr", 348) + bytes(512))
    packed(data, front + back + gzip.compress(END))


@attack("archive", "more than 20000 members")
def very_many_members(data):
    """100,000 empty members, each of which takes memory."""
    packed(data, gzip.compress(member("a", 0) * 100_000 + END, 1))


@attack("archive", "a name or record of 48000 bytes")
def many_records(data):
    """A global header of 4,000 records, which would be repeated for every member."""
    text = "".join(f"12 k{i:05d}=v\n" for i in range(4000)).encode()
    size = len(text)
    shared = member("x", size, tarfile.XGLTYPE) + text.ljust(-(-size // 512) * 512, b"\0")
    own = member("x", 12, tarfile.XHDTYPE) + b"12 comment=\n".ljust(512, b"\0") + member("a", 0)
    packed(data, gzip.compress(shared + own * 10_000 + END, 1))


@attack("archive", "no data in")
def members_that_lead_out(data):
    """Absolute names, names with .., links, devices and FIFOs."""
    kinds = (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE)
    body = b"".join(member(f"{NAME}.hdr", 0, kind) for kind in kinds)
    for prefix in ("/etc/", "../../"):
        body += member(f"{prefix}{NAME}.hdr"[:99], 0)
    packed(data, gzip.compress(body + END))


@attack("archive", "damaged or incomplete")
def cut_off_archive(data):
    """An archive that ends in the middle."""
    disc(data)
    path = next(data.iterdir())
    path.write_bytes(path.read_bytes()[:3000])


@attack("archive", "damaged or incomplete")
def archive_of_noise(data):
    """A file that is no archive."""
    packed(data, b"hello" * 999)


@attack("archive", "damaged or incomplete")
def packed_noise(data):
    """A gzip file that is no tar."""
    packed(data, gzip.compress(b"hello" * 999))


@attack("archive", "damaged or incomplete|claims|at least 3 are needed")
def negative_size(data):
    """A member of negative size."""
    info = tarfile.TarInfo(f"{NAME}.hdr")
    head = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    head[124:136] = b"\xff" * 12
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    packed(data, gzip.compress(bytes(head) + END))


@attack("archive", "has no .*hdr beside it")
def half_a_pair(data):
    """An image whose header is missing."""
    content = bytes(2000)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for i in (1, 2, 3):
            info = tarfile.TarInfo(f"{NAME.replace('OAS1_0001', f'OAS1_000{i}')}.img")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    packed(data, gzip.compress(buffer.getvalue()))


@attack("archive")
def many_empty_gzip_members(data):
    """A sound archive behind 10,000 empty gzip members."""
    disc(data, gzip.compress(b"") * 10_000)
