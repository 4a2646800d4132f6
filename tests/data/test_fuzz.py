"""Hostile images and folders: an answer or the file's name; no crash, no hang, bounded memory."""

import io
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alexlab.data.datamodule import ImageFolderData
from alexlab.data.decode import BrokenImage, read_image, to_rgb
from alexlab.data.files import find_class_images
from tests.tiny import in_child, train

SEEDS = {"JPEG": 500, "PNG": 500}
SLOWEST_S = 5.0  # of CPU, for one image


def whole(format, seed):
    """A small image with some structure, in one of the modes that the format has."""
    rng = np.random.default_rng(seed)
    modes = {"JPEG": ["RGB", "L", "CMYK"], "PNG": ["RGB", "L", "RGBA", "P", "LA", "1", "I;16"]}
    mode = modes[format][seed % len(modes[format])]
    side = int(rng.integers(1, 48))
    if mode == "I;16":
        image = Image.fromarray(rng.integers(0, 65536, (side, side), dtype=np.uint16))
    else:
        pixels = rng.integers(0, 256, (side, side, 4), dtype=np.uint8)
        image = Image.fromarray(pixels, "RGBA").convert("RGB").convert(mode)
    file = io.BytesIO()
    options = {"progressive": seed % 2 == 0} if format == "JPEG" else {}
    image.save(file, format, **options)
    return file.getvalue()


def mutated(content, seed):
    """`content` with bytes changed, cut, doubled, or numbers in its header made extreme."""
    rng = random.Random(seed)
    data = bytearray(content)
    for _ in range(rng.randint(1, 8)):
        place = rng.randrange(len(data)) if data else 0
        kind = rng.choice(["flip", "byte", "cut", "insert", "double", "extreme"])
        if kind == "flip" and data:
            data[place] ^= 1 << rng.randrange(8)
        elif kind == "byte" and data:
            data[place] = rng.randrange(256)
        elif kind == "cut":
            del data[place : place + rng.randrange(1, 64)]
        elif kind == "insert":
            data[place:place] = rng.randbytes(rng.randrange(1, 64))
        elif kind == "double":
            data[place:place] = data[place : place + rng.randrange(1, 256)]
        elif len(data) > 4:  # where width and height are, among other things
            place = rng.randrange(min(len(data) - 4, 64))
            data[place : place + 4] = rng.choice([b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff"])
    return bytes(data)


@pytest.mark.parametrize("format", SEEDS)
def test_a_thousand_mutated_images_are_decoded_or_broken(format, hit):
    decoded = 0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for seed in range(SEEDS[format]):
        content = mutated(whole(format, seed), seed)
        start = time.process_time()
        try:
            image = to_rgb(content).image
        except BrokenImage as error:
            assert str(error), seed  # noqa: PT017
        else:
            decoded += 1
            assert image.mode == "RGB", seed
            assert image.width * image.height <= 50_000_000
        assert time.process_time() - start < SLOWEST_S, seed
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown < 1500, f"{grown:.0f} MB"  # an image of 50 million pixels, twice over
    assert 0 < decoded < SEEDS[format]  # else the mutations test nothing
    hit(f"{SEEDS[format]} mutated {format} files: {decoded} decoded, the rest named as broken")


def test_broken_files_of_a_folder_are_all_named(tmp_path):
    rng = random.Random(0)
    bad = set()
    for name in "ab":
        (tmp_path / "images" / name).mkdir(parents=True)
        for i in range(30):
            path = tmp_path / "images" / name / f"{i}.png"
            path.write_bytes(whole("PNG", i))
            if rng.random() < 0.3:
                path.write_bytes(path.read_bytes()[: rng.randrange(40)])
                bad.add(f"{name}/{i}.png")
    data = folder(tmp_path)
    with pytest.raises(ValueError, match="broken image") as caught:
        data.prepare()
    assert any(path in str(caught.value) for path in bad)
    skipping = folder(tmp_path, on_broken="skip")
    skipping.prepare()
    used = {skipping.files.paths[i] for indices in skipping.indices.values() for i in indices}
    assert used == set(skipping.files.paths) - bad


def folder(tmp_path, **options):
    """A data module on tmp_path/images."""
    return ImageFolderData(
        str(tmp_path / "images"),
        name="fuzz",
        resolution=16,
        batch_size=2,
        cache_dir=str(tmp_path / "cache"),
        **options,
    )


def fill(root, *names, images=12):
    """Class folders with a few good images each."""
    for n, name in enumerate(names):
        (root / name).mkdir(parents=True)
        for i in range(images):
            pixels = np.random.default_rng([n, i]).integers(0, 256, (20, 20, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{i}.png")


NAMES = [
    "new\nline",
    "a=1,b=[2]",
    "\N{GRINNING FACE}",
    "[red]b",
    "%s {0} $HOME",
    "-rf",
    "é'\"",
]


def test_odd_names_of_classes_and_files_train(compose, tmp_path, capsys, hit):
    """To the end of a run: table, history, TensorBoard, metrics, evaluation of the split file."""
    fill(tmp_path / "images", *NAMES)
    for name in NAMES:
        odd = tmp_path / "images" / name / f"{name}.png"
        odd.write_bytes((tmp_path / "images" / name / "0.png").read_bytes() + b"x")
    cfg = compose("data=folder", "model=small_cnn", "trainer.max_epochs=1", "data.batch_size=8")
    cfg.data.root, cfg.cache_dir = str(tmp_path / "images"), str(tmp_path / "cache")
    cfg.data.resolution = 32
    training = train(cfg, tmp_path / "run")
    assert training.data.classes == sorted(NAMES)
    told = capsys.readouterr().out
    assert all(name in told for name in NAMES if "\n" not in name)
    hit("class and file names with newlines, emoji, =, commas, brackets, quotes")


def test_names_that_are_no_text_are_named(tmp_path):
    """Linux allows any bytes; what cannot be written down is said, with a name to find it by."""
    fill(tmp_path / "images", "a", "b")
    os.rename(tmp_path / "images/a/0.png", os.fsencode(tmp_path / "images/a") + b"/\xff\xfe.png")
    try:
        folder(tmp_path).prepare()
    except ValueError as error:
        assert "a/" in str(error)  # noqa: PT017


def test_loops_of_links_end_and_nothing_is_counted_twice(tmp_path, hit):
    fill(tmp_path / "images", "a", "b")
    a = tmp_path / "images/a"
    for i in range(3):  # without a guard, 3 to the power of 40 folders
        (a / f"loop{i}").symlink_to(a, target_is_directory=True)
    (a / "up").symlink_to(tmp_path / "images", target_is_directory=True)
    (a / "lost.png").symlink_to(tmp_path / "nowhere.png")
    (a / "self.png").symlink_to(a / "self.png")
    files = find_class_images(tmp_path / "images")
    own = [path for path in files.paths if path.startswith("a/") and path.count("/") == 1]
    assert len(own) == 12
    assert len(files.paths) <= 12 + 12 + 12  # b once more, through `up`
    assert {"a/lost.png", "a/self.png"} <= set(files.ignored)
    hit("links in loops")


def test_folders_deeper_than_python_recurses(tmp_path, hit):
    fill(tmp_path / "images", "a", "b")
    deep = tmp_path / "images/a"
    depth = sys.getrecursionlimit() + 100
    for n in range(1, depth + 1):
        os.mkdir(f"{deep}/{'/'.join('d' * n)}")
    with open(f"{deep}/{'/'.join('d' * depth)}/1.png", "wb") as file:
        file.write(whole("PNG", 0))
    files = find_class_images(tmp_path / "images")
    subprocess.run(["rm", "-rf", deep], check=True)  # pytest would recurse
    assert sum(path.startswith("a/d/") for path in files.paths) == 1
    hit(f"{depth} folders deep")


def test_what_is_no_file_is_not_waited_for(tmp_path, hit):
    fill(tmp_path / "images", "a", "b")
    os.mkfifo(tmp_path / "images/a/pipe.png")
    (tmp_path / "images/a/zero.png").symlink_to("/dev/zero")
    assert {"a/pipe.png", "a/zero.png"} <= set(find_class_images(tmp_path / "images").ignored)
    hit("a pipe and a device in place of an image")


def test_a_huge_file_is_not_read(tmp_path, hit):
    path = tmp_path / "huge.png"
    with path.open("wb") as file:
        file.truncate(100 << 30)  # sparse: it takes no disk
    facts, pixels = read_image(path, 16, "crop")
    assert "a file of 107,374 MB" in facts.error
    assert pixels is None
    hit("a file of 100 GB")


def test_what_may_not_be_read_is_named(hit):
    """As another user, since root may read everything; outside of pytest's folder: it is ours."""
    with tempfile.TemporaryDirectory() as place, tempfile.TemporaryFile("w+") as told:
        root = Path(place)
        fill(root / "images", "a", "b")
        (root / "cache").mkdir()
        subprocess.run(["chmod", "-R", "a+rwX", root], check=True)

        def as_nobody():
            if os.getuid() == 0:
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
            try:
                folder(root).prepare()
            except OSError as error:
                told.write(f"{type(error).__name__} {error.filename}\n")
                told.flush()

        harmed = [root / "images/a/3.png", root / "images/b"]
        for path in harmed:
            mode = path.stat().st_mode
            path.chmod(0)
            assert in_child(as_nobody) == 0
            path.chmod(mode)
        told.seek(0)
        assert told.read().splitlines() == [f"PermissionError {path}" for path in harmed]
        hit("a file, then a folder, that may not be read")
