import bz2
import gzip
import io
import lzma
import random
import struct
import tarfile
import tracemalloc
import zipfile

import pytest

from alexlab.data import download
from alexlab.data.download import unpack


def tar_of(path, *members, mode="w:gz"):
    """Members are (name, content) or a TarInfo."""
    with tarfile.open(path, mode) as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                tar.addfile(info, io.BytesIO(member[1]))
    return path


def zip_of(path, *members, method=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", method) as zipped:
        for name, content in members:
            zipped.writestr(name, content)
    return path


WRITERS = {"tar": tar_of, "zip": zip_of}


@pytest.fixture
def inside(tmp_path):
    """A folder to unpack into, whose surroundings must stay as they are."""
    folder = tmp_path / "around" / "inside"
    folder.mkdir(parents=True)
    yield folder
    assert [path.name for path in folder.parent.iterdir()] == ["inside"]


@pytest.mark.parametrize("kind", WRITERS)
def test_files_come_out_as_they_went_in(tmp_path, inside, kind):
    members = [("a/1.txt", b"one"), ("a/b/2.txt", b"two" * 100_000), ("empty.txt", b"")]
    unpack(WRITERS[kind](tmp_path / "x", *members), inside)
    found = {p.relative_to(inside).as_posix(): p.read_bytes() for p in inside.rglob("*.txt")}
    assert found == dict(members)


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize(
    "name", ["../out.txt", "a/../../out.txt", "/out.txt", "C:\\out.txt", "..\\out.txt", "C:out"]
)
def test_an_entry_cannot_leave_the_folder(tmp_path, inside, kind, name):
    made = WRITERS[kind](tmp_path / "x", ("fine.txt", b"x"), (name, b"x"))
    with pytest.raises(ValueError, match="leaves its folder"):
        unpack(made, inside)
    assert not list(inside.iterdir())  # not even what was fine


def link(name, target, kind):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_links_in_a_tar_are_refused(tmp_path, inside, kind):
    made = tar_of(tmp_path / "x", link("a", "/etc", kind), ("a/passwd", b"x"))
    with pytest.raises(ValueError, match="has a link, 'a'"):
        unpack(made, inside)


@pytest.mark.parametrize("kind", [tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE])
def test_devices_are_refused(tmp_path, inside, kind):
    with pytest.raises(ValueError, match="has a special file, 'a'"):
        unpack(tar_of(tmp_path / "x", link("a", "", kind)), inside)


def test_links_in_a_zip_are_refused(tmp_path, inside):
    info = zipfile.ZipInfo("a")
    info.external_attr = 0o120777 << 16  # a symbolic link, as Info-ZIP stores it
    with pytest.raises(ValueError, match="has a link, 'a'"):
        unpack(zip_of(tmp_path / "x", (info, "/etc")), inside)


@pytest.mark.slow
def test_a_hundred_thousand_entries_are_refused(tmp_path, inside):
    entry = tarfile.TarInfo("again.txt").tobuf()
    (tmp_path / "x").write_bytes(gzip.compress(entry * 100_000))
    with pytest.raises(ValueError, match="more than 80,000 entries"):
        unpack(tmp_path / "x", inside)


@pytest.mark.parametrize("kind", WRITERS)
def test_as_many_entries_as_are_allowed(tmp_path, inside, kind, monkeypatch):
    made = WRITERS[kind](tmp_path / "x", *((f"{i}.txt", b"") for i in range(10)))
    monkeypatch.setattr(download, "MAX_ENTRIES", 10)
    unpack(made, inside)
    assert len(list(inside.iterdir())) == 10
    monkeypatch.setattr(download, "MAX_ENTRIES", 9)
    with pytest.raises(ValueError, match="more than 9 entries"):
        unpack(made, inside)


def test_a_tar_that_swells_a_thousandfold_is_refused(tmp_path, inside):
    made = tar_of(tmp_path / "x", ("zeros.bmp", bytes(200 * 2**20)))
    assert made.stat().st_size < 220_000  # 1000:1
    with pytest.raises(ValueError, match="would unpack to more than"):
        unpack(made, inside)
    assert not list(inside.iterdir())


def test_a_zip_that_swells_a_thousandfold_is_refused(tmp_path, inside):
    made = zip_of(tmp_path / "x", ("zeros.bmp", bytes(200 * 2**20)), method=zipfile.ZIP_DEFLATED)
    with pytest.raises(ValueError, match="would unpack to more than"):
        unpack(made, inside)
    assert not list(inside.iterdir())


def test_a_zip_that_lies_about_its_size(tmp_path, inside):
    made = zip_of(tmp_path / "x", ("a.bmp", bytes(50 * 2**20)), method=zipfile.ZIP_DEFLATED)
    lie = made.read_bytes().replace(struct.pack("<I", 50 * 2**20), struct.pack("<I", 1000))
    made.write_bytes(lie)
    with pytest.raises(ValueError, match="damaged"):
        unpack(made, inside)
    assert sum(path.stat().st_size for path in inside.rglob("*")) <= 1000


@pytest.mark.parametrize("kind", WRITERS)
def test_a_truncated_archive_is_damaged(tmp_path, inside, kind):
    noise = random.Random(0).randbytes(1_000_000)
    made = WRITERS[kind](tmp_path / "x", ("a.bin", noise), ("b.bin", noise[::-1]))
    whole = made.read_bytes()
    made.write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(ValueError, match="damaged"):
        unpack(made, inside)


@pytest.mark.parametrize(
    "content",
    [b"", b"plain text" * 1000, gzip.compress(b"text" * 1000)],
    ids=["empty", "text", "gzip"],  # the content would differ between processes by its time
)
def test_what_is_no_archive(tmp_path, inside, content):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(ValueError, match="no tar or zip archive"):
        unpack(tmp_path / "x", inside)


def test_a_zip_with_a_password(tmp_path, inside):
    made = zip_of(tmp_path / "x", ("a.txt", b"x"))
    content = bytearray(made.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1  # the flag in the central directory
    made.write_bytes(content)
    with pytest.raises(ValueError, match="has a file with a password"):
        unpack(made, inside)


def bomb_header(kind, size):
    """A header that announces `size` bytes of header data."""
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


def sparse_map(size):
    """A pax header for a sparse file, whose map in front of the content has `size` bytes."""
    info = tarfile.TarInfo("a.png")
    info.size = size
    info.pax_headers = {
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.name": "a.png",
        "GNU.sparse.realsize": "0",
    }
    return info.tobuf(tarfile.PAX_FORMAT) + b"%d\n" % size


SWOLLEN = 64 * 2**20
BOMBS = {
    "long name": bomb_header(tarfile.GNUTYPE_LONGNAME, SWOLLEN) + b"a" * SWOLLEN,
    "long link": bomb_header(tarfile.GNUTYPE_LONGLINK, SWOLLEN) + b"a" * SWOLLEN,
    "pax": bomb_header(tarfile.XHDTYPE, SWOLLEN) + b"9 path=ab\n" * (SWOLLEN // 10),
    "global pax": bomb_header(tarfile.XGLTYPE, SWOLLEN) + b"9 path=ab\n" * (SWOLLEN // 10),
    "sparse map": sparse_map(SWOLLEN // 4) + b"0\n" * (SWOLLEN // 8),
}
PACKERS = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "plain": bytes}


@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.parametrize("late", [False, True])
def test_headers_that_swell_are_refused_before_they_fill_the_memory(tmp_path, inside, bomb, late):
    start = tarfile.TarInfo("fine.txt").tobuf() if late else b""
    made = tmp_path / "x"
    made.write_bytes(gzip.compress(start + BOMBS[bomb] + bytes(10240), 1))
    tracemalloc.start()
    with pytest.raises(ValueError, match="an entry's headers have more than 65,536 bytes"):
        unpack(made, inside)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * 2**20  # of 64
    assert not list(inside.iterdir())


@pytest.mark.parametrize("packed", PACKERS)
def test_every_compression_is_read_and_bounded(tmp_path, inside, packed):
    name = "a" * 200 + ".txt"  # a long name needs a header of its own
    with tarfile.open(tmp_path / "plain", "w") as tar:
        info = tarfile.TarInfo(name)
        info.size = 3
        tar.addfile(info, io.BytesIO(b"abc"))
    (tmp_path / "x").write_bytes(PACKERS[packed]((tmp_path / "plain").read_bytes()))
    unpack(tmp_path / "x", inside)
    assert (inside / name).read_bytes() == b"abc"
    (tmp_path / "y").write_bytes(PACKERS[packed](BOMBS["long name"]))
    with pytest.raises(ValueError, match="an entry's headers have more than"):
        unpack(tmp_path / "y", inside)


def test_a_zip_whose_list_of_entries_is_huge_is_refused_unread(tmp_path, inside, monkeypatch):
    made = zip_of(tmp_path / "x", ("a.txt", b"x"))
    content = bytearray(made.read_bytes())
    at = content.rfind(b"PK\x05\x06")
    content[at + 12 : at + 16] = (2**26).to_bytes(4, "little")
    made.write_bytes(content)
    monkeypatch.setattr(zipfile, "ZipFile", lambda *_: pytest.fail("it was read"))
    with pytest.raises(ValueError, match="lists more than 80,000 entries: refused"):
        unpack(made, inside)


def test_a_compression_that_is_not_known_is_said(tmp_path, inside):
    made = zip_of(tmp_path / "x", ("a.txt", b"x" * 100), method=zipfile.ZIP_DEFLATED)
    content = bytearray(made.read_bytes())
    for header, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        at = content.find(header) + offset
        content[at : at + 2] = (9).to_bytes(2, "little")  # deflate64, as Windows writes large ones
    made.write_bytes(content)
    with pytest.raises(ValueError, match="is no tar or zip archive, or it is damaged"):
        unpack(made, inside)
