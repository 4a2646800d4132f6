"""Grey images of 10 to 16 bits and of floats keep what they show, or are named."""

import io

import numpy as np
import pytest
from PIL import Image

from alexlab.data.check import check_report, examine
from alexlab.data.datamodule import ImageFolderData
from alexlab.data.decode import BrokenImage, White, to_rgb, white_of
from tests.data.test_decode import encoded
from tests.pictures import class_folders, grey, grey_folders

SIDE = 24


def data_of(root, cache_dir, **settings):
    settings = {"name": "x", "resolution": SIDE, "batch_size": 4} | settings
    return ImageFolderData(str(root), cache_dir=str(cache_dir), **settings)


def prepared(root, cache_dir, **settings):
    data = data_of(root, str(cache_dir), **settings)
    data.prepare()
    return data


def bits(number):
    """Encode as whole numbers of so many bits, in files of 16."""
    return lambda values: np.rint(values * (2**number - 1)).astype(np.uint16)


ENCODINGS = {
    "10 bits": (bits(10), "png"),
    "12 bits": (bits(12), "png"),
    "12 bits in TIFF": (bits(12), "tif"),
    "12 bits in PGM": (bits(12), "pgm"),
    "14 bits": (bits(14), "png"),
    "16 bits": (bits(16), "png"),
    "floats to 1": (lambda values: values.astype(np.float32), "tif"),
    "floats to 255": (lambda values: (255 * values).astype(np.float32), "tiff"),
    "floats to 65535": (lambda values: (65535 * values).astype(np.float32), "tif"),
}


@pytest.mark.parametrize("name", ENCODINGS)
@pytest.mark.parametrize("cache", ["on", "off"])
def test_the_pixels_are_those_of_the_8_bit_picture(tmp_path, caplog, name, cache):
    """Expected: the same pictures, written with 8 bits by numpy and Pillow."""
    root = grey_folders(tmp_path / "in", *ENCODINGS[name])
    white = max(grey(1000 * t + i, t).max() for t in range(3) for i in range(12))
    assert white > 0.6  # so that the depth can be told from the values
    data = prepared(root, tmp_path / "cache", cache=cache)
    expected = np.stack([grey(1000 * t + i, t) for t in range(3) for i in range(12)])
    every = np.arange(36)
    found = data.images.numpy() if cache == "on" else data.cache.read(every, SIDE)
    np.testing.assert_allclose(found[:, 0], 255 * expected, atol=1)
    assert (found[:, 0] == found[:, 2]).all()
    assert not [note for note in data.notes if "one colour" in note]
    assert "rebuilding" not in caplog.text  # they were written to their places at once


def test_one_depth_holds_for_all_images_of_a_set(tmp_path):
    """A dark image among bright ones stays dark."""
    root = grey_folders(tmp_path / "in", bits(12))
    dark = np.full((SIDE, SIDE), 100, np.uint16)
    dark[::2] = 200
    Image.fromarray(dark).save(root / "cat" / "dark.png")
    data = prepared(root, tmp_path / "cache")
    row = data.files.paths.index("cat/dark.png")
    assert {*data.images[row].unique().tolist()} == {100 >> 4, 200 >> 4}
    assert "16-bit files use 12 bits: 4095 is white" in data.notes


def test_another_size_is_decoded_alike(tmp_path):
    root = grey_folders(tmp_path / "in", bits(12))
    first = prepared(root, tmp_path / "cache")
    second = prepared(root, tmp_path / "cache", resolution=12)
    assert second.cache.folder == first.cache.folder
    assert second.images.float().mean() == pytest.approx(first.images.float().mean(), abs=1)


def test_the_fingerprint_tells_another_decoding_and_only_that(tmp_path):
    """Sets of 8 bits keep the fingerprint that runs of earlier versions have recorded."""
    import hashlib

    root = class_folders(tmp_path / "in", each=5)
    data = prepared(root, tmp_path / "cache")
    lines = []
    for target, name in enumerate(data.classes):
        for path in sorted((root / name).iterdir()):
            sha1 = hashlib.sha1(path.read_bytes()).hexdigest()
            lines.append(f"{sha1} {name}/{path.name} {target}")
    expected = hashlib.sha1("\n".join(sorted(lines)).encode()).hexdigest()
    assert data.fingerprint == expected
    deep = prepared(grey_folders(tmp_path / "deep", bits(12)), tmp_path / "cache")
    assert deep.cache.index().white == White(4095)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (np.array([[-0.5, 1.0]], np.float32), r"floats\) from -0.5 to 1"),
        (np.array([[0.0, np.nan]], np.float32), r"floats\) from nan to nan"),
        (np.array([[0.0, np.inf]], np.float32), r"floats\) from 0 to inf"),
        (np.array([[0, 70_000]], np.int32), r"integers\) from 0 to 70000"),
        (np.array([[-1000, 3000]], np.int32), r"integers\) from -1000 to 3000"),
    ],
)
def test_ranges_without_a_known_white_are_named(values, said):
    """Computed tomography has negative values, for example."""
    with pytest.raises(BrokenImage, match=said + ".*save the image with 8 or 16 bits"):
        to_rgb(encoded(Image.fromarray(values), "TIFF"))


def flat_folders(root):
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True)
        for i in range(10):
            picture = np.full((SIDE, SIDE, 3), 3, np.uint8)
            picture[i, i] = 9
            Image.fromarray(picture).save(root / name / f"{i}.png")
    return root


def test_images_of_nearly_one_colour_are_counted_in_head_and_check(tmp_path):
    """12 bits in the RGB files of 16, say, of which Pillow keeps the high byte."""
    root = flat_folders(tmp_path / "in")
    data = prepared(root, tmp_path / "cache", split="random")
    (note,) = [note for note in data.notes if "one colour" in note]
    assert note.startswith("20 of 20 images decode to nearly one colour, such as 'cat/0.png'")
    text = check_report(examine(data_of(root, tmp_path / "cache2")))
    assert "Images of nearly one colour: 20" in text


def test_big_endian_files_are_like_others():
    """As ImageJ writes them."""
    values = np.rint(grey(3) * 65535).astype(">u2")
    content = encoded(Image.frombytes("I;16B", values.shape[::-1], values.tobytes()), "TIFF")
    assert Image.open(io.BytesIO(content)).mode == "I;16B"
    found = np.asarray(to_rgb(content).image)[..., 0]
    np.testing.assert_array_equal(found, values >> 8)


def test_a_broken_tiff_writes_nothing_past_python(capfd):
    """libtiff has its own way to standard error."""
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    for compression in ("tiff_lzw", "tiff_adobe_deflate"):
        content = bytearray(encoded(Image.fromarray(noise), "TIFF", compression=compression))
        content[100 : len(content) - 200 : 37] = bytes(len(range(100, len(content) - 200, 37)))
        with pytest.raises(BrokenImage):
            to_rgb(bytes(content))
    assert capfd.readouterr().err == ""


def test_an_ordinary_set_has_no_such_note(tmp_path):
    data = prepared(class_folders(tmp_path / "in"), tmp_path / "cache")
    assert data.notes == []


def test_broken_files_are_listed_by_type(tmp_path):
    root = class_folders(tmp_path / "in")
    for i in range(3):
        (root / "cat" / f"x{i}.tif").write_bytes(b"II*\0junk")
    (root / "dog" / "x.webp").write_bytes(b"RIFF")
    with pytest.raises(ValueError, match=r"4 are broken: 3 \.tif, 1 \.webp"):
        prepared(root, tmp_path / "cache")
    data = prepared(root, tmp_path / "cache", on_broken="skip")
    assert "4 broken images skipped (3 .tif, 1 .webp), 'cat/x0.tif' first" in data.notes
    assert "Broken files: 4 (3 .tif, 1 .webp)" in check_report(examine(data))


def test_floats_to_1_may_have_a_1():
    """1 is white of floats, which else is 255 or more: the picture would be black."""
    values = np.array([[0.0, 0.5, 1.0]], np.float32)
    decoded = to_rgb(encoded(Image.fromarray(values), "TIFF"))
    assert [red for red, _, _ in decoded.image.get_flattened_data()] == [0, 128, 255]
    assert white_of(["F", "F"], [0.0, 0.2], [0.9, 1.0]).floats == 1
    assert white_of(["F", "F"], [0.0, 0.2], [0.9, 1.01]).floats == 255


def test_a_value_above_white_is_white():
    """A net that was trained on 12 bits is given a file of 16."""
    values = np.array([[0, 2048, 4095, 4096, 65535]], np.uint16)
    decoded = to_rgb(encoded(Image.fromarray(values)), White(integers=4095))
    reds = [red for red, _, _ in decoded.image.get_flattened_data()]
    assert reds == [0, 128, 255, 255, 255]
