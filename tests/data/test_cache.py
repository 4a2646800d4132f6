import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import alexlab.data.cache
from alexlab.data.cache import ImageCache
from alexlab.data.decode import read_image
from alexlab.data.files import find_class_images

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
import alexlab.data.cache
from alexlab.data.decode import read_image
from alexlab.data.files import find_class_images

def slow(path, **kw):
    if path.name.startswith({stop!r}):
        print("stopped", flush=True)
        sys.stdin.read()
    return read_image(path, **kw)

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
