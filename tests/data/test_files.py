import numpy as np
import pytest
from PIL import Image

from alexlab.data.files import check_usable, find_class_images, select_classes


def put(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(root / path, format="PNG")


def test_hidden_nested_and_foreign_files(tmp_path):
    put(tmp_path, "b/2.png", "a/deep/er/1.JPG", "a/.hidden.png", ".git/x.png", "a/.dir/x.png")
    (tmp_path / "a" / "Thumbs.db").write_text("x")
    (tmp_path / "a" / "notes.txt").write_text("x")
    (tmp_path / "stray.png").write_bytes(b"not in a class folder")
    files = find_class_images(tmp_path)
    assert files.paths == ["a/deep/er/1.JPG", "b/2.png"]
    assert files.targets == [0, 1]
    assert files.classes == ["a", "b"]
    assert sorted(files.ignored) == ["a/Thumbs.db", "a/notes.txt"]


def test_odd_names_are_kept(tmp_path):
    odd = ["a=1,b/new\nline.png", "a=1,b/\N{SNOWMAN}\N{OCTOPUS}.png", "b c/x y.png", "é/ü.png"]
    put(tmp_path, *odd)
    files = find_class_images(tmp_path)
    assert set(files.paths) == set(odd)
    assert all((tmp_path / path).is_file() for path in files.paths)


def test_stats_are_those_of_the_files_in_order(tmp_path):
    put(tmp_path, "b/1.png", "a/2.png", "a/1.png")
    files = find_class_images(tmp_path)
    stats = [(tmp_path / path).stat() for path in ["a/1.png", "a/2.png", "b/1.png"]]
    expected = [[s.st_size for s in stats], [s.st_mtime_ns for s in stats]]
    np.testing.assert_array_equal(files.stats, expected)


def test_train_and_test_folders_are_an_official_split(tmp_path):
    put(tmp_path, "train/cat/1.png", "train/dog/1.png", "test/cat/1.png", "test/dog/1.png")
    files = find_class_images(tmp_path)
    assert files.classes == ["cat", "dog"]
    assert dict(zip(files.paths, files.official, strict=True)) == {
        "train/cat/1.png": "train",
        "train/dog/1.png": "train",
        "test/cat/1.png": "test",
        "test/dog/1.png": "test",
    }


def test_a_folder_without_image_is_passed_over_and_named(tmp_path):
    put(tmp_path, "cat/1.png", "owl/1.png")
    (tmp_path / "dog").mkdir()
    (tmp_path / "dog" / "readme.txt").write_text("soon")
    (tmp_path / "zebra").mkdir()
    files = find_class_images(tmp_path)
    assert files.classes == ["cat", "owl"]
    assert files.notes == ["2 folders without an image skipped: 'dog', 'zebra'"]


def test_a_class_that_test_lacks_is_named(tmp_path):
    put(tmp_path, "train/cat/1.png", "train/dog/1.png", "test/cat/1.png")
    files = find_class_images(tmp_path)
    with pytest.raises(ValueError, match=r"class 'dog' has no image in .*test/dog"):
        check_usable(files, [0, 1])
    check_usable(files, [0])


def test_a_root_without_folders(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "1.png")
    with pytest.raises(ValueError, match="no class folders in"):
        find_class_images(tmp_path)


@pytest.mark.parametrize("names", [("test", "val"), ("valid", "x"), ("test", "x")])
def test_split_folders_are_not_taken_for_classes(tmp_path, names):
    put(tmp_path, *(f"{name}/cat/1.png" for name in names))
    with pytest.raises(ValueError, match=r"give it train/<class>/ and test/<class>/"):
        find_class_images(tmp_path)


def test_wrong_class_gets_near_matches():
    with pytest.raises(ValueError, match=r"data.classes=pikachoo: .*did you mean pikachu\?"):
        select_classes(["bulbasaur", "pikachu"], ["pikachoo"])
    assert select_classes(["a", "b", "c"], ["c", "a", "c"]) == [0, 2]
    assert select_classes(["a", "b"], None) == [0, 1]
    assert select_classes([], None) == []


def test_one_class_is_not_enough():
    with pytest.raises(ValueError, match="only one class, 'a'"):
        select_classes(["a"], None)
