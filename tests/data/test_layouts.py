"""Folders as people have them: every image is used as it should be, or named as passed over."""

import os
import re
import shutil
from collections import Counter

import pytest

from alexlab.data.datamodule import ImageFolderData
from alexlab.data.files import check_usable, find_class_images, split_name
from tests.pictures import class_folders, pixels


def data_of(root, cache, **more):
    """The prepared data set of a folder."""
    settings = {"name": "x", "resolution": 16, "batch_size": 4, "cache_dir": str(cache), **more}
    data = ImageFolderData(str(root), **settings)
    data.prepare()
    return data


def by_split(data):
    """{split: {first folder of the paths}} of what is used."""
    return {
        split: {data.files.paths[i].split("/")[0] for i in indices}
        for split, indices in data.indices.items()
    }


def totals(data):
    return {split: sum(counts.values()) for split, counts in data.counts.items()}


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("Training", "Testing"),
        ("TRAIN", "TEST"),
        ("train_set", "test-set"),
        ("TrainData", "TestData"),
        ("training images", "testing images"),
        ("train2017", "test2017"),
        ("seg_train", "seg_test"),
        ("flowers-train", "flowers-test"),
    ],
)
def test_train_and_test_in_any_spelling_are_splits(tmp_path, train, test):
    class_folders(tmp_path / "in" / train)
    class_folders(tmp_path / "in" / test, start=50_000)
    data = data_of(tmp_path / "in", tmp_path / "cache")
    assert data.classes == ["cat", "dog", "owl"]
    assert by_split(data) == {"train": {train}, "val": {train}, "test": {test}}
    assert totals(data)["test"] == 30


@pytest.mark.parametrize("val", ["val", "Valid", "validation", "VAL_SET", "dev"])
def test_val_is_val_beside_train_and_test(tmp_path, val):
    class_folders(tmp_path / "in" / "train")
    class_folders(tmp_path / "in" / val, each=6, start=50_000)
    class_folders(tmp_path / "in" / "test", each=5, start=90_000)
    data = data_of(tmp_path / "in", tmp_path / "cache")
    assert by_split(data) == {"train": {"train"}, "val": {val}, "test": {"test"}}
    assert totals(data) == {"train": 30, "val": 18, "test": 15}
    assert data.notes == []


def test_without_test_it_is_cut_out_of_train_and_that_is_said(tmp_path):
    """As ImageNet and torchvision have it."""
    class_folders(tmp_path / "in" / "train")
    class_folders(tmp_path / "in" / "val", each=5, start=50_000)
    data = data_of(tmp_path / "in", tmp_path / "cache")
    assert by_split(data) == {"train": {"train"}, "val": {"val"}, "test": {"train"}}
    assert totals(data) == {"train": 21, "val": 15, "test": 9}  # 0.2 x 15 images of each class
    assert data.notes == ["there is no test/: test is taken from train; val is used as it is"]


def test_duplicates_of_val_images_are_left_out_of_train(tmp_path):
    class_folders(tmp_path / "in" / "train")
    class_folders(tmp_path / "in" / "val", each=5, start=50_000)
    shutil.copy(tmp_path / "in/val/cat/0000.png", tmp_path / "in/train/cat/copy.png")
    data = data_of(tmp_path / "in", tmp_path / "cache")
    used = {data.files.paths[i] for indices in data.indices.values() for i in indices}
    assert "train/cat/copy.png" not in used
    assert "val/cat/0000.png" in used
    assert "1 duplicates of test or val images left out of train and val" in data.notes


def test_train_alone_gives_all_splits_and_a_test_without_classes_is_passed_over(tmp_path):
    """As competitions have it: the images of test/ are to be predicted."""
    class_folders(tmp_path / "in" / "train", each=12)
    class_folders(tmp_path / "other", ["test"], each=8, start=77_000)
    shutil.move(tmp_path / "other" / "test", tmp_path / "in" / "test")
    data = data_of(tmp_path / "in", tmp_path / "cache")
    assert data.classes == ["cat", "dog", "owl"]
    assert sum(totals(data).values()) == 36
    assert data.notes[0] == "there is only train/: val and test are taken from its images"
    assert data.notes[1].startswith("8 images skipped (hidden, or not in a class folder): 'test/")


def test_splits_below_the_classes_are_splits(tmp_path):
    for name in ("cat", "dog"):
        class_folders(tmp_path / "in" / name, ["Train", "Test"], start=len(name) * 7000)
    shutil.rmtree(tmp_path / "in" / "dog" / "Train")
    class_folders(tmp_path / "in" / "dog", ["Train"], start=3000)
    data = data_of(tmp_path / "in", tmp_path / "cache")
    assert data.classes == ["cat", "dog"]
    assert {data.files.paths[i].split("/")[1] for i in data.indices["test"]} == {"Test"}
    assert {data.files.paths[i].split("/")[1] for i in data.indices["train"]} == {"Train"}


def test_a_split_inside_a_folder_of_its_own_name(tmp_path):
    class_folders(tmp_path / "train" / "train")
    class_folders(tmp_path / "test" / "test", start=50_000)
    files = find_class_images(tmp_path)
    assert files.classes == ["cat", "dog", "owl"]
    assert Counter(files.official) == {"train": 30, "test": 30}


def test_a_class_may_have_the_name_of_a_split(tmp_path):
    """A vehicle, say."""
    class_folders(tmp_path, ["bus", "car", "train"])
    files = find_class_images(tmp_path)
    assert files.classes == ["bus", "car", "train"]
    assert set(files.official) == {""}


@pytest.mark.parametrize("name", ["valid_2", "pretrain", "contest", "latest", "trainer", "devil"])
def test_other_words_are_no_splits(name):
    assert split_name(name) == ""


def test_two_folders_of_one_split_are_refused(tmp_path):
    class_folders(tmp_path / "train")
    class_folders(tmp_path / "Training", start=7)
    with pytest.raises(ValueError, match="'Training' and 'train' both mean train; merge"):
        find_class_images(tmp_path)


def test_a_number_with_a_dot_is_a_class(tmp_path):
    class_folders(tmp_path, [".22", ".45", "9mm", "12ga"])
    assert find_class_images(tmp_path).classes == [".22", ".45", "12ga", "9mm"]


def test_hidden_images_and_those_in_no_class_are_counted_and_named(tmp_path):
    class_folders(tmp_path)
    class_folders(tmp_path, [".old"], each=1)
    shutil.copy(tmp_path / "cat/0000.png", tmp_path / "cover.png")
    shutil.copy(tmp_path / "cat/0000.png", tmp_path / "cat" / ".draft.png")
    files = find_class_images(tmp_path)
    assert files.classes == ["cat", "dog", "owl"]
    assert len(files.paths) == 30
    (note,) = files.notes
    assert note == (
        "3 images skipped (hidden, or not in a class folder):"
        " '.old/0000.png', 'cat/.draft.png', 'cover.png'"
    )


@pytest.mark.parametrize("junk", ["__MACOSX", "@eaDir", ".ipynb_checkpoints", "$RECYCLE.BIN"])
def test_folders_that_systems_leave_behind_are_ignored(tmp_path, junk):
    class_folders(tmp_path)
    shutil.copytree(tmp_path / "cat", tmp_path / junk / "cat")
    shutil.copytree(tmp_path / "dog", tmp_path / "cat" / junk)
    (tmp_path / "cat" / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    (tmp_path / "cat" / "._0000.png").write_bytes(b"\0\5\x16\7" + bytes(60))
    files = find_class_images(tmp_path)
    assert (len(files.paths), files.classes) == (30, ["cat", "dog", "owl"])
    assert (files.notes, files.ignored) == ([], [])


def test_one_level_too_deep_is_explained(tmp_path):
    class_folders(tmp_path / "in" / "my_dataset")
    with pytest.raises(ValueError, match="only one class, 'my_dataset'") as caught:
        data_of(tmp_path / "in", tmp_path / "cache")
    assert str(caught.value).endswith(f"use data.root={tmp_path}/in/my_dataset")


def test_one_level_too_deep_in_each_split_is_explained(tmp_path):
    class_folders(tmp_path / "in" / "train" / "images")
    class_folders(tmp_path / "in" / "test" / "images", start=7)
    with pytest.raises(ValueError, match="only one class, 'images'") as caught:
        data_of(tmp_path / "in", tmp_path / "cache")
    assert str(caught.value).endswith("look like classes: move them up, out of 'images'")


def test_one_level_too_shallow_is_explained(tmp_path):
    class_folders(tmp_path)
    with pytest.raises(ValueError, match=r"not in .*cat itself \(10 images there\)") as caught:
        find_class_images(tmp_path / "cat")
    assert str(caught.value).endswith(f"use data.root={tmp_path}")


def test_one_split_of_several_as_root_is_pointed_out(tmp_path):
    class_folders(tmp_path / "train")
    class_folders(tmp_path / "test", start=7)
    (note,) = find_class_images(tmp_path / "train").notes
    assert f"with data.root={tmp_path} the others are used too" in note


def test_one_split_of_several_is_pointed_out_but_not_a_folder_that_has_its_name(tmp_path):
    class_folders(tmp_path / "train")
    assert find_class_images(tmp_path / "train").notes == []
    class_folders(tmp_path / "test", start=7)
    (note,) = find_class_images(tmp_path / "train").notes
    assert note.endswith(f"data.root={tmp_path} the others are used too")


def test_the_same_folders_in_every_class_are_pointed_out(tmp_path):
    class_folders(tmp_path / "2023")
    class_folders(tmp_path / "2024", start=7)
    (note,) = find_class_images(tmp_path).notes
    assert re.search("the same folders: 'cat', 'dog', 'owl'; .*one level too deep", note)


@pytest.mark.parametrize(
    ("one", "other"), [("cat", "Cat"), ("ice cream", "ice_cream"), ("cafe\u0301", "caf\u00e9")]
)
def test_nearly_equal_names_are_pointed_out(tmp_path, one, other):
    class_folders(tmp_path, [one, other, "dog"])
    notes = find_class_images(tmp_path).notes
    assert [note for note in notes if "nearly equal names" in note and repr(other) in note]


@pytest.mark.parametrize(("one", "other"), [("-5", "5"), ("12", "1-2"), ("cat", "cart")])
def test_different_names_are_not(tmp_path, one, other):
    class_folders(tmp_path, [one, other])
    assert find_class_images(tmp_path).notes == []


def test_a_class_spelt_otherwise_in_test_is_named(tmp_path):
    class_folders(tmp_path / "train", ["Cat", "dog"])
    class_folders(tmp_path / "test", ["cat", "dog"], start=7)
    files = find_class_images(tmp_path)
    with pytest.raises(ValueError, match=r"'Cat' has no image in .*test/Cat; there is 'cat'"):
        check_usable(files, range(len(files.classes)))


def test_letters_of_another_unicode_form_are_named_by_their_codes(tmp_path):
    class_folders(tmp_path / "train", ["caf\u00e9", "dog"])
    class_folders(tmp_path / "test", ["cafe\u0301", "dog"], start=7)
    files = find_class_images(tmp_path)
    with pytest.raises(ValueError, match="look the same") as caught:
        check_usable(files, range(len(files.classes)))
    assert r"('caf\xe9' there, 'cafe\u0301' elsewhere): rename one" in str(caught.value)


def test_images_that_cannot_be_read_are_listed_by_type(tmp_path):
    class_folders(tmp_path)
    (tmp_path / "phone").mkdir()
    for i in range(6):
        (tmp_path / "phone" / f"IMG_{i}.HEIC").write_bytes(b"\0\0\0\x18ftypheic" + bytes(64))
    (tmp_path / "phone" / "raw.dng").write_bytes(b"II*\0")
    with pytest.raises(ValueError, match=r"phone, but 6 \.heic, 1 \.dng; convert them to JPEG"):
        data_of(tmp_path, tmp_path.parent / "cache")
    class_folders(tmp_path / "more", ["phone"], each=1)
    shutil.move(tmp_path / "more/phone/0000.png", tmp_path / "phone")
    shutil.rmtree(tmp_path / "more")
    data = data_of_few(tmp_path)
    assert [n for n in data if "7 files ignored (no image file name; 6 .heic, 1 .dng)" in n]


def data_of_few(root):
    from alexlab.data.cache import ImageCache
    from alexlab.data.split import data_warnings, load_or_create_split

    cache = ImageCache(find_class_images(root), "x", folder=root.parent / "c", fit="crop")
    index = cache.index(8)
    names = load_or_create_split(cache.folder, index, True, 0, (0.2, 0.1))
    return data_warnings(index, names, grouped=True)


def test_avif_and_jfif_are_images(tmp_path):
    from PIL import Image

    class_folders(tmp_path, each=2)
    Image.fromarray(pixels(7)).save(tmp_path / "cat" / "x.avif")
    Image.fromarray(pixels(8)).save(tmp_path / "dog" / "y.jfif", format="JPEG")
    notes = data_of_few(tmp_path)
    assert len(find_class_images(tmp_path).paths) == 8
    assert notes == []


def test_a_root_whose_parent_may_not_be_listed(tmp_path, monkeypatch):
    """Nothing is asked of folders that are not the user's."""
    class_folders(tmp_path / "in")
    scan = os.scandir

    def refused(path):
        if os.fspath(path) == os.fspath(tmp_path):
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", refused)
    assert find_class_images(tmp_path / "in").notes == []


def test_run_head_and_data_check_name_what_is_passed_over(alexlab, tmp_path, capsys):
    from alexlab.data.check import check_report, examine

    class_folders(tmp_path / "in")
    shutil.copy(tmp_path / "in/cat/0000.png", tmp_path / "in" / "cover.png")
    (tmp_path / "in" / "zebra").mkdir()
    data = data_of(tmp_path / "in", tmp_path / "cache")
    text = check_report(examine(data))
    for said in ("1 image skipped", "1 folder without an image skipped: 'zebra'"):
        assert [note for note in data.notes if said in note]
        assert said in text


@pytest.mark.parametrize("odd", ["test", "train", "phone"])
def test_a_class_that_cannot_be_trained_on_can_be_left_out(tmp_path, odd):
    """It is in test/ or train/ only, or has only files that are not read; the disk stays as is."""
    root = tmp_path / "in"
    class_folders(root / "train", ["cat", "dog"], each=10)
    class_folders(root / "test", ["cat", "dog"], each=4, start=50_000)
    if odd == "phone":
        (root / "train/owl").mkdir()
        (root / "train/owl/1.heic").write_bytes(b"x")
    else:
        class_folders(root / odd, ["owl"], each=5, start=90_000)
    way = r"or leave it out: data\.classes=\[cat,dog\]"
    with pytest.raises(ValueError, match=rf"'owl' has no image .*{way}"):
        data_of(root, tmp_path / "cache")
    data = data_of(root, tmp_path / "cache", classes=["cat", "dog"])
    assert data.classes == ["cat", "dog"]
    assert totals(data) == {"train": 18, "val": 2, "test": 8}
    without = tmp_path / "without"
    shutil.copytree(root, without)
    for split in ("train", "test"):
        shutil.rmtree(without / split / "owl", ignore_errors=True)
    assert data.fingerprint == data_of(without, tmp_path / "cache").fingerprint


def test_data_check_names_a_class_that_a_split_lacks(tmp_path):
    from alexlab.data.check import check_report, examine

    class_folders(tmp_path / "in/train", ["cat", "dog"])
    class_folders(tmp_path / "in/test", ["cat", "dog", "owl"], start=7)
    data = ImageFolderData(
        str(tmp_path / "in"), name="x", resolution=8, batch_size=2, cache_dir=str(tmp_path / "c")
    )
    text = check_report(examine(data))
    assert "class 'owl' has no image in" in text
    assert "| owl | 0 | 0 | 10 | 10 |" in text


def test_a_picture_in_two_classes_is_named_in_a_run_s_head(tmp_path):
    class_folders(tmp_path / "in")
    for name in ("dog", "owl"):
        shutil.copy(tmp_path / "in/cat/0003.png", tmp_path / "in" / name / "same.png")
    shutil.copy(tmp_path / "in/cat/0004.png", tmp_path / "in/cat/again.png")  # of one class
    note = "1 picture in two classes (the same file), such as 'cat/0003.png' = 'dog/same.png';"
    assert [one for one in data_of(tmp_path / "in", tmp_path / "c").notes if one.startswith(note)]
    shutil.copy(tmp_path / "in/dog/0001.png", tmp_path / "in/owl/that.png")
    notes = data_of(tmp_path / "in", tmp_path / "c").notes
    assert [one for one in notes if one.startswith("2 pictures in two classes")]


@pytest.mark.parametrize(
    ("pictures", "labels"),
    [
        (["images/train", "images/val"], ["labels/train", "labels/val"]),  # Ultralytics' YOLO
        (["train/images", "valid/images"], ["train/labels", "valid/labels"]),  # Roboflow's YOLO
        (["JPEGImages"], ["Annotations"]),  # Pascal VOC
    ],
)
def test_a_data_set_for_detection_is_explained(tmp_path, pictures, labels):
    for place, below in enumerate(pictures):
        class_folders(tmp_path / f"made{place}", ["x"], each=4, start=1000 * place)
        shutil.copytree(tmp_path / f"made{place}" / "x", tmp_path / "in" / below)
    for below in labels:
        (tmp_path / "in" / below).mkdir(parents=True)
        for i in range(4):
            (tmp_path / "in" / below / f"{i:04d}.txt").write_text("0 0.5 0.5 0.1 0.1")
    name = next(word for word in labels[0].split("/") if word != "train")
    with pytest.raises(ValueError, match="only one class") as caught:
        data_of(tmp_path / "in", tmp_path / "cache")
    assert "the images of all classes" in str(caught.value)
    assert f"(the labels seem to be in {name!r}); make a folder per class" in str(caught.value)


def test_images_and_masks_are_no_classes_and_that_is_said(tmp_path):
    class_folders(tmp_path / "in", ["images", "masks"], each=10)
    data = data_of(tmp_path / "in", tmp_path / "cache")
    (note,) = (one for one in data.notes if "used as classes" in one)
    assert note.startswith("the folders 'images', 'masks' are used as classes; if they hold")
