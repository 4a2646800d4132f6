import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import alexlab.data.cache
from alexlab.data.cache import ImageCache
from alexlab.data.datamodule import ImageFolderData
from alexlab.data.decode import read_image
from alexlab.data.files import find_class_images
from tests.pictures import class_folders, same_times

ROOT = Path(__file__).parents[2]
NOTHING = {"index.npz", "images-16-crop.npy"}


@pytest.fixture
def cache(image_folder, tmp_path):
    return ImageCache(find_class_images(image_folder), "tiny", folder=tmp_path, fit="crop")


@pytest.fixture
def nothing_is_read(monkeypatch):
    return lambda: monkeypatch.setattr(
        alexlab.data.cache, "read_image", lambda *_, **__: pytest.fail("an image was read")
    )


@pytest.mark.parametrize("chunk", [256, 4, 17, 18])
def test_images_are_the_files_in_order(cache, monkeypatch, chunk):
    monkeypatch.setattr(alexlab.data.cache, "CHUNK", chunk)
    cache.index(16)
    images = cache.images(16)
    assert images.shape == (18, 3, 16, 16)
    for i, path in enumerate(cache.files.paths):
        picture = Image.open(cache.files.root / path)
        by_hand = np.asarray(picture.resize((16, 16), Image.Resampling.BILINEAR))
        assert picture.width == picture.height
        np.testing.assert_array_equal(images[i], by_hand.transpose(2, 0, 1))


def test_a_second_start_reads_no_image(cache, image_folder, tmp_path, nothing_is_read):
    cache.index(16)
    nothing_is_read()
    again = ImageCache(find_class_images(image_folder), "tiny", folder=tmp_path, fit="crop")
    assert not again.index(16).broken.any()
    assert again.images(16).shape == (18, 3, 16, 16)


def test_one_reading_serves_index_and_array(cache, monkeypatch):
    read = []
    monkeypatch.setattr(
        alexlab.data.cache, "read_image", lambda p, **kw: read.append(p) or read_image(p, **kw)
    )
    cache.index(16)
    cache.images(16)
    assert len(read) == 18


def test_another_size_computes_no_hash(cache, monkeypatch):
    cache.index(16)
    for name in ("imagehash.phash", "alexlab.data.decode.hashlib.sha1"):
        monkeypatch.setattr(name, lambda *_, **__: pytest.fail("a hash was computed"))
    assert cache.images(8).any(axis=(1, 2, 3)).all()


def test_another_size_keeps_the_index(cache):
    before = cache.index(16).facts["phash"].tolist()
    path = cache.folder / "index.npz"
    written = path.stat().st_mtime_ns
    assert cache.images(8).shape == (18, 3, 8, 8)
    assert path.stat().st_mtime_ns == written
    assert cache.index().facts["phash"].tolist() == before


def test_a_changed_file_gets_a_new_cache(tmp_path):
    (tmp_path / "in" / "a").mkdir(parents=True)
    path = tmp_path / "in" / "a" / "1.bmp"

    def first_pixel():
        files = find_class_images(tmp_path / "in")
        return ImageCache(files, "x", folder=tmp_path, fit="crop").images(4)[0, :, 0, 0].tolist()

    Image.new("RGB", (4, 4), (1, 2, 3)).save(path)
    assert first_pixel() == [1, 2, 3]
    Image.new("RGB", (4, 4), (4, 5, 6)).save(path)  # of the same size
    assert first_pixel() == [4, 5, 6]


def test_broken_files_have_a_reason_and_are_all_zeros(cache, tmp_path):
    root = tmp_path / "in"
    (root / "a").mkdir(parents=True)
    Image.new("RGB", (4, 4), "white").save(root / "a" / "1.png")
    (root / "a" / "2.png").write_bytes(b"no image")
    Image.new("RGB", (4, 4), "white").save(root / "a" / "3.png")
    cache = ImageCache(find_class_images(root), "x", folder=tmp_path, fit="crop")
    index = cache.index(4)
    assert index.broken.tolist() == [False, True, False]
    assert "not an image" in index.facts["error"][1]
    assert cache.images(4).reshape(3, -1).max(1).tolist() == [255, 0, 255]
    assert index.duplicates[0] == index.duplicates[2] != index.duplicates[1]


def test_past_the_cache_a_file_that_breaks_later_is_named(tmp_path):
    """Skipping it would give the images after it the targets of others."""
    (tmp_path / "in" / "a").mkdir(parents=True)
    for name in ("1.png", "2.png"):
        Image.new("RGB", (4, 4), "white").save(tmp_path / "in" / "a" / name)
    cache = ImageCache(find_class_images(tmp_path / "in"), "x", folder=tmp_path, fit="crop")
    assert cache.read(np.array([1, 0]), 4).shape == (2, 3, 4, 4)
    (tmp_path / "in" / "a" / "1.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"broken image '.*a/1.png': not an image"):
        cache.read(np.array([1, 0]), 4)


def test_an_array_in_memory_never_changes_the_file(cache):
    cache.images(16)[:] = 0
    assert cache.images(16).max() > 0


def test_a_full_disk_is_said_and_leaves_nothing(image_folder, tmp_path):
    """A limit on the size of files stands for the disk: the array of 96 px would be 498 kB."""
    code = f"""
import resource, signal
from pathlib import Path
from alexlab.data.cache import ImageCache
from alexlab.data.files import find_class_images
from alexlab.errors import format_error

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
files = find_class_images(Path({str(image_folder)!r}))
try:
    ImageCache(files, "x", folder=Path({str(tmp_path)!r}), fit="crop").images(96)
except OSError as error:
    print(format_error(error))
"""
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert said.stdout.splitlines()[-1].endswith("images-96-crop.npy: File too large"), said
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [".lock"]


BUILDER = """
import os, sys, time
from pathlib import Path
import alexlab.data.cache, alexlab.messages
from alexlab.data.decode import read_image
from alexlab.data.files import find_class_images

def slow(path, **kw):
    if path.name.startswith({stop!r}):
        print("stopped", flush=True)
        sys.stdin.read()
    return read_image(path, **kw)

alexlab.messages.show()
alexlab.data.cache.read_image = slow
files = find_class_images(Path({root!r}))
cache = alexlab.data.cache.ImageCache(files, "x", folder=Path({folder!r}), fit="crop")
cache.index(16)
print(cache.images(16).sum(), flush=True)
"""


def build(root, folder, stop="never"):
    """A process that builds the cache, and waits for a line at the file `stop`."""
    return subprocess.Popen(
        [sys.executable, "-c", BUILDER.format(root=str(root), folder=str(folder), stop=stop)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def read_until(process, line):
    for said in process.stdout:
        if said.startswith(line):
            return
    pytest.fail(f"it never said {line!r}")


def test_a_killed_builder_leaves_nothing_that_is_believed(image_folder, tmp_path):
    killed = build(image_folder, tmp_path, stop="3.png")
    read_until(killed, "stopped")
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    files = find_class_images(image_folder)
    cache = ImageCache(files, "x", folder=tmp_path, fit="crop")
    assert cache.folder.exists()
    assert not NOTHING & {path.name for path in cache.folder.iterdir()}
    fresh = ImageCache(files, "x", folder=tmp_path / "other", fit="crop")
    np.testing.assert_array_equal(cache.images(16), fresh.images(16))
    assert not list(cache.folder.glob("*.tmp"))


def test_two_builders_build_once(image_folder, tmp_path):
    first = build(image_folder, tmp_path, stop="3.png")
    read_until(first, "stopped")
    second = build(image_folder, tmp_path)
    read_until(second, "waiting for another process")
    one, _ = first.communicate("go on")
    two, _ = second.communicate()
    assert "decoded" in one
    assert "decod" not in two.replace("that is decoding x", "")
    assert one.split()[-1] == two.split()[-1]


def swap(one, other):
    """Exchange two files, as a person who relabels them does; times and sizes stay theirs."""
    between = one.with_name("between")
    one.rename(between)
    other.rename(one)
    between.rename(other)


@pytest.fixture
def equal_files(tmp_path):
    """Files of one size and one time, as an archive of BMP files has them."""
    root = class_folders(tmp_path / "in", ["cat", "dog"], suffix="bmp")
    same_times(root)
    return root


def cached(root, folder, size=16):
    """The facts, the pixels, and what was printed, of a cache opened anew."""
    cache = ImageCache(find_class_images(root), "x", folder=folder, fit="crop")
    index = cache.index(size)
    return cache, index.facts["sha1"].tolist(), np.array(cache.images(size))


def test_exchanged_files_of_equal_size_and_time_are_noticed(equal_files, tmp_path, caplog):
    _, hashes, images = cached(equal_files, tmp_path / "cache")
    swap(equal_files / "cat/0003.bmp", equal_files / "dog/0007.bmp")
    _, now, seen = cached(equal_files, tmp_path / "cache")
    assert "'cat/0003.bmp' has changed, with equal size and time" in caplog.text
    expected = images.copy()
    expected[[3, 17]] = images[[17, 3]]
    np.testing.assert_array_equal(seen, expected)
    assert (now[3], now[17]) == (hashes[17], hashes[3])


def test_the_fingerprint_changes_with_exchanged_files(equal_files, tmp_path):
    def fingerprint():
        settings = {"name": "x", "resolution": 16, "batch_size": 4}
        data = ImageFolderData(str(equal_files), cache_dir=str(tmp_path / "cache"), **settings)
        data.prepare()
        train = [data.files.paths[i] for i in data.indices["train"]]
        return data.fingerprint, train

    before, _ = fingerprint()
    swap(equal_files / "cat/0003.bmp", equal_files / "dog/0007.bmp")
    after, train = fingerprint()
    assert after != before
    shutil.rmtree(tmp_path / "cache")
    assert fingerprint() == (after, train)  # the split is made anew too


def test_a_file_edited_in_place_with_its_old_time_is_noticed(equal_files, tmp_path):
    _, _, images = cached(equal_files, tmp_path / "cache")
    path = equal_files / "cat/0003.bmp"
    content = bytearray(path.read_bytes())
    content[-1000:] = bytes(1000)
    path.write_bytes(content)
    same_times(equal_files)
    _, _, seen = cached(equal_files, tmp_path / "cache")
    assert (seen != images).reshape(20, -1).any(1).nonzero()[0].tolist() == [3]


def test_other_inodes_with_the_same_contents_need_no_decoding(
    equal_files, tmp_path, nothing_is_read
):
    """As after a copy, and on file systems that number their files anew."""
    cached(equal_files, tmp_path / "cache")
    equal_files.rename(tmp_path / "old")
    shutil.copytree(tmp_path / "old", equal_files)  # copies the times too
    nothing_is_read()
    cache, _, _ = cached(equal_files, tmp_path / "cache")
    with np.load(cache.folder / "index.npz") as index:
        np.testing.assert_array_equal(index["identity"], cache.files.identity)


DAMAGES = {
    "cut": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "a flipped bit": lambda content: flipped(content, len(content) * 3 // 4),
    "a flipped bit in the head": lambda content: flipped(content, 1),
    "zeros": lambda content: bytes(len(content)),
    "of another program": lambda content: b"\x80\x04K\x01.",  # a pickle
}


def flipped(content, at):
    return content[:at] + bytes([content[at] ^ 0x10]) + content[at + 1 :]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["index.npz", "images-16-crop.npy", "images-16-crop.crc.npy"])
def test_a_damaged_file_is_named_and_made_again(image_folder, tmp_path, name, damage, caplog, hit):
    cache, hashes, images = cached(image_folder, tmp_path)
    path = cache.folder / name
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    _, now, seen = cached(image_folder, tmp_path)
    np.testing.assert_array_equal(seen, images)
    assert now == hashes
    said = caplog.text
    file = "images-16-crop.npy" if name.startswith("images") else name
    assert f"cache: {cache.folder / file} is damaged" in said
    caplog.clear()
    cached(image_folder, tmp_path)
    assert caplog.text == ""
    hit("a damaged file of the cache of images")


def test_every_flipped_bit_of_an_index_is_noticed_or_harmless(image_folder, tmp_path, hit):
    cache, hashes, _ = cached(image_folder, tmp_path)
    path = cache.folder / "index.npz"
    whole = path.read_bytes()
    for at in range(0, len(whole), 61):
        path.write_bytes(flipped(whole, at))
        index, problem = cache._load_index()
        if index is None:
            assert "is damaged" in problem
        else:
            assert index.facts["sha1"].tolist() == hashes
        hit("a flipped bit in index.npz")


@pytest.mark.parametrize("damage", ["cut", "empty", "zeros"])
def test_a_damaged_split_is_made_again_and_is_the_same(image_folder, tmp_path, damage, caplog):
    def split_of():
        data = ImageFolderData(
            str(image_folder), name="x", resolution=16, batch_size=4, cache_dir=str(tmp_path)
        )
        data.prepare()
        return data.cache.folder, {name: rows.tolist() for name, rows in data.indices.items()}

    folder, before = split_of()
    (path,) = folder.glob("split-*.json")
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    assert split_of()[1] == before
    assert "is damaged" in caplog.text


def test_of_a_large_array_some_images_are_checked(cache, monkeypatch):
    monkeypatch.setattr(alexlab.data.cache, "CHECKED_BYTES", 6 * 3 * 16 * 16)
    cache.index(16)
    path = cache.folder / "images-16-crop.npy"
    content = path.read_bytes()
    last = len(content) - 3 * 16 * 16  # image 17; each third is checked
    path.write_bytes(flipped(content, last))
    assert cache._load_images(16)[0] is not None
    path.write_bytes(flipped(content, last - 2 * 3 * 16 * 16))  # image 15
    assert "pixels of 'red/3.png'" in cache._load_images(16)[1]


def test_two_processes_that_find_a_damaged_cache_mend_it_once(image_folder, tmp_path):
    cache, _, images = cached(image_folder, tmp_path)
    path = cache.folder / "index.npz"
    path.write_bytes(path.read_bytes()[:100])
    both = [build(image_folder, tmp_path) for _ in range(2)]
    said = [process.communicate()[0] for process in both]
    assert [text.split()[-1] for text in said] == [str(images.sum())] * 2
    assert sum("rebuilding it" in text for text in said) == 1
