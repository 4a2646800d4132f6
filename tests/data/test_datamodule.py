import os
import shutil
from collections import defaultdict
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

import alexlab.data.cache
from alexlab.data.augment import Augment
from alexlab.data.datamodule import ImageFolderData
from alexlab.data.loader import copy_used_images
from tests.waits import GPU, Waits

SETTINGS = {"name": "tiny", "resolution": 16, "batch_size": 4}


@pytest.fixture
def make(image_folder, tmp_path):
    def make(root=image_folder, **settings):
        options = {**SETTINGS, "cache_dir": str(tmp_path / "cache"), **settings}
        data = ImageFolderData(str(root), **options)
        data.prepare()
        return data

    return make


def paths(data, split):
    return {data.files.paths[i] for i in data.indices[split]}


def test_what_is_known_before_the_net_is_built(make):
    data = make()
    assert data.classes == ["blue", "green", "red"]
    assert data.num_outputs == 3
    assert data.in_channels == 3
    assert data.counts == {
        "train": {"blue": 4, "green": 4, "red": 4},
        "val": {"blue": 1, "green": 1, "red": 1},
        "test": {"blue": 1, "green": 1, "red": 1},
    }
    assert make(representation="gray").in_channels == 1


def test_batches_are_the_files_with_their_class(make):
    data = make()
    seen = 0
    for images, targets in data.train_dataloader():
        assert images.dtype == torch.uint8
        assert images.shape[1:] == (3, 16, 16)
        seen += len(images)
        strongest = images.float().mean((2, 3)).argmax(1)  # red 0, green 1, blue 2
        assert [["red", "green", "blue"][c] for c in strongest] == [
            data.classes[t] for t in targets
        ]
    assert seen == 12


def test_it_sets_itself_up_where_a_trainer_gets_it_as_it_is(make, image_folder, tmp_path):
    prepared = make()
    data = ImageFolderData(str(image_folder), **SETTINGS, cache_dir=str(tmp_path / "cache"))
    data.setup("fit")
    indices = data.indices
    data.setup("test")
    assert data.indices is indices
    for one, other in zip(data.val_dataloader(), prepared.val_dataloader(), strict=True):
        assert torch.equal(one[0], other[0])


def test_train_is_shuffled_by_its_seed_and_val_is_not(make):
    def order(loader):
        return torch.cat([images.flatten(1)[:, 0] for images, _ in loader]).tolist()

    data, other = make(), make(seed=1)
    train = data.images[data.indices["train"]].flatten(1)[:, 0].tolist()
    assert sorted(order(data.train_dataloader())) == sorted(train)
    assert order(data.train_dataloader()) != train
    assert order(other.train_dataloader()) != order(data.train_dataloader())
    assert order(other.val_dataloader()) == order(data.val_dataloader())
    val = data.images[data.indices["val"]].flatten(1)[:, 0].tolist()
    assert order(data.val_dataloader()) == val


def test_a_batch_becomes_what_the_net_sees(make):
    data = make(load_size=20)
    batch = next(iter(data.val_dataloader()))
    images, targets = data.on_after_batch_transfer(batch, 0)
    assert images.shape == (3, 3, 16, 16)
    centre = batch[0][:, :, 2:18, 2:18] / 255
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    torch.testing.assert_close(images, (centre - mean.view(3, 1, 1)) / std.view(3, 1, 1))
    assert targets is batch[1]


def test_only_training_batches_are_augmented(make):
    data = make(augment=Augment(flip=1.0))
    batch = next(iter(data.train_dataloader()))
    plain, _ = data.on_after_batch_transfer(batch, 0)
    data.trainer = SimpleNamespace(training=False)
    evaluated, _ = data.on_after_batch_transfer(batch, 0)
    torch.testing.assert_close(evaluated, plain)
    data.trainer = SimpleNamespace(training=True)
    trained, _ = data.on_after_batch_transfer(batch, 0)
    torch.testing.assert_close(trained, plain.flip(3))


def test_the_split_knows_neither_seed_nor_size_nor_batch(make):
    one, two = make(), make(seed=5, resolution=8, batch_size=2, fit="squash")
    for split in ("train", "val", "test"):
        assert paths(one, split) == paths(two, split)
    assert any(paths(one, split) != paths(make(split_seed=1), split) for split in ("val", "test"))


def test_the_split_is_the_same_in_another_place(make, image_folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(image_folder, copy)
    for path in copy.rglob("*.png"):
        os.utime(path, (1, 1))
    one, two = make(), make(copy)
    assert one.fingerprint == two.fingerprint
    assert one.indices["test"].tolist() == two.indices["test"].tolist()
    Image.new("RGB", (16, 16)).save(copy / "red" / "0.png")
    assert make(copy).fingerprint != one.fingerprint


def test_some_classes_keep_their_images_where_they_were(make):
    whole, some = make(), make(classes=["red", "blue"])
    assert some.classes == ["blue", "red"]
    assert some.num_outputs == 2
    for split in ("train", "val", "test"):
        assert paths(some, split) == {p for p in paths(whole, split) if not p.startswith("green")}
    for i in some.indices["train"]:
        assert some.classes[some.targets[i]] == some.files.paths[i].split("/")[0]
    assert some.fingerprint != whole.fingerprint


def test_names_that_look_like_numbers(make, image_folder, tmp_path):
    for name, digit in zip(("blue", "green", "red"), "012", strict=True):
        shutil.copytree(image_folder / name, tmp_path / "digits" / digit)
    assert make(tmp_path / "digits", classes=[0, 2]).classes == ["0", "2"]


def test_fractions_of_test_and_val_are_not_mixed_up_nor_found_again_by_others(make):
    """18 images in three classes; one cache, so that a stored split may be taken for another."""

    def sizes(test, val):
        data = make(test_fraction=test, val_fraction=val)
        return [sum(data.counts[split].values()) for split in ("train", "val", "test")]

    assert sizes(1 / 2, 1 / 6) == [6, 3, 9]
    assert sizes(1 / 3, 1 / 6) == [9, 3, 6]
    assert sizes(1 / 3, 1 / 3) == [6, 6, 6]
    assert sizes(1 / 6, 1 / 2) == [6, 9, 3]


def test_the_images_that_fraction_keeps_do_not_depend_on_the_seed(make):
    kept = [paths(make(fraction=0.5, seed=seed), "train") for seed in range(3)]
    assert kept[0] == kept[1] == kept[2]
    others = [paths(make(fraction=0.5, split_seed=seed), "train") for seed in range(3)]
    assert others[0] != others[1]


def test_fraction_cuts_train_only(make):
    whole, half = make(), make(fraction=0.5)
    assert half.counts["train"] == {"blue": 2, "green": 2, "red": 2}
    assert paths(half, "train") < paths(whole, "train")
    assert half.counts["val"] == whole.counts["val"]
    assert half.counts["test"] == whole.counts["test"]
    assert half.fingerprint == whole.fingerprint


def test_duplicates_stay_in_one_split_unless_it_is_random(make, image_folder, tmp_path):
    root = tmp_path / "duplicates"
    shutil.copytree(image_folder, root)
    for path in sorted(image_folder.rglob("*.png")):
        for i in range(2):
            shutil.copy(path, root / path.parent.name / f"copy-{i}-{path.name}")
    grouped, plain = make(root), make(root, split="random")
    assert grouped.notes == ["36 exact and 0 near duplicates kept in one split"]
    assert not plain.notes

    def straddling(data):
        splits = defaultdict(set)
        for split in data.indices:
            for path in paths(data, split):
                splits[path.replace("copy-0-", "").replace("copy-1-", "")].add(split)
        return sum(len(names) > 1 for names in splits.values())

    assert straddling(grouped) == 0
    assert straddling(plain) > 0


def test_without_the_cache_the_batches_are_the_same(make, tmp_path):
    cached, plain = make(), make(cache="off", cache_dir=str(tmp_path / "none"))
    for (a, b), (c, d) in zip(cached.train_dataloader(), plain.train_dataloader(), strict=True):
        torch.testing.assert_close(a, c, rtol=0, atol=0)
        torch.testing.assert_close(b, d, rtol=0, atol=0)
    assert not list((tmp_path / "none").rglob("images-*"))


def test_a_second_start_reads_no_image(make, monkeypatch):
    expected = make().indices["test"].tolist()
    monkeypatch.setattr(alexlab.data.cache, "read_image", lambda *_, **__: pytest.fail("read"))
    assert make().indices["test"].tolist() == expected


def test_broken_images_are_named_or_skipped(make, image_folder, tmp_path):
    root = tmp_path / "broken"
    shutil.copytree(image_folder, root)
    whole = (root / "red" / "1.png").read_bytes()
    (root / "red" / "1.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"red/1.png.*truncated.*data.on_broken=skip"):
        make(root)
    data = make(root, on_broken="skip")
    assert data.notes == ["1 broken image skipped (1 .png), 'red/1.png' first"]
    assert sum(counts["red"] for counts in data.counts.values()) == 5
    assert "red/1.png" not in set().union(*(paths(data, split) for split in data.indices))


def test_a_decompression_bomb_is_named(make, image_folder, tmp_path):
    root = tmp_path / "bomb"
    shutil.copytree(image_folder, root)
    Image.new("1", (8000, 8000)).save(root / "red" / "bomb.png")
    with pytest.raises(ValueError, match=r"red/bomb.png.*more than 50 million pixels"):
        make(root)
    skipping = make(root, on_broken="skip")
    assert skipping.counts == make().counts
    assert skipping.fingerprint == make().fingerprint


def test_files_that_are_no_images_are_mentioned(make, image_folder, tmp_path):
    root = tmp_path / "foreign"
    shutil.copytree(image_folder, root)
    (root / "red" / "Thumbs.db").write_bytes(b"x")
    assert make(root).notes == ["1 file ignored (no image file name; 1 .db): 'red/Thumbs.db'"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 0}, "data.batch_size=0: must be a whole number of at least 1"),
        ({"batch_size": 13}, "data.batch_size=13 is more than the 12 images of train"),
        ({"resolution": 0}, "data.resolution=0"),
        ({"resolution": 16.5}, "data.resolution=16.5"),
        ({"load_size": 8}, "data.load_size=8 is smaller than data.resolution=16"),
        ({"fraction": 0}, "data.fraction=0"),
        ({"fraction": 1.5}, "data.fraction=1.5"),
        ({"test_fraction": 0.95}, "data.test_fraction=0.95 and data.val_fraction=0.1"),
        ({"split": "groped"}, r"data.split=groped: .*did you mean grouped\?"),
        ({"on_broken": "skp"}, r"data.on_broken=skp: .*did you mean skip\?"),
        ({"cache": "of"}, r"data.cache=of: .*did you mean"),
        ({"fit": "corp"}, r"data.fit=corp: .*did you mean crop\?"),
        ({"classes": ["red"]}, "only one class, 'red'"),
        ({"classes": ["red", "gren"]}, r"data.classes=gren: .*did you mean green"),
        ({"classes": "red"}, "only one class, 'red'"),
        ({"representation": "rgbb"}, "data.representation=rgbb: "),
    ],
)
def test_wrong_settings_are_named(make, settings, message):
    with pytest.raises(ValueError, match=message):
        make(**settings)


def test_a_class_with_too_few_images(make, tmp_path):
    for name, count in (("a", 9), ("b", 2)):
        (tmp_path / "few" / name).mkdir(parents=True)
        for i in range(count):
            noise = np.random.default_rng((i, count)).integers(0, 256, (8, 8, 3), np.uint8)
            Image.fromarray(noise).save(tmp_path / "few" / name / f"{i}.png")
    with pytest.raises(ValueError, match=r"no image of 'b' for train; it has too few"):
        make(tmp_path / "few")


def test_a_missing_folder_says_how_to_get_it(make, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere; set data.root to yours"):
        make(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"data=tiny needs data.root=FOLDER"):
        ImageFolderData(None, **SETTINGS).prepare()


def test_a_wrong_setting_leaves_nothing_behind(make, tmp_path):
    with pytest.raises(ValueError, match="batch_size"):
        make(batch_size=0)
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("fits", [True, False])
def test_a_gpu_gets_the_images_in_use_if_a_quarter_of_its_memory_is_enough(make, monkeypatch, fits):
    data = make(fraction=0.5)  # 6 + 3 + 3 of 18 images, 16 x 16 pixels in three colours
    free = 4 * 12 * 3 * 16 * 16 + fits
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 10 * free))
    strategy = SimpleNamespace(root_device=GPU)
    data.trainer = SimpleNamespace(strategy=strategy, global_rank=0, world_size=1)
    sizes = []
    monkeypatch.setattr(
        "alexlab.data.datamodule.copy_used_images",
        lambda *to: sizes.append(len(to[2])) or copy_used_images(*to),
    )
    with Waits() as waits:
        train, val = data.train_dataloader(), data.val_dataloader()
        assert sizes == [12] * fits
        assert train.prefetch is val.prefetch is not fits
        assert train.device == val.device == (GPU if fits else torch.device("cpu"))
        if fits:
            waits.found.clear()
            batches = [*train, *val]
            assert [len(images) for images, _ in batches] == [4, 2, 3]
            assert all(tensor.device == GPU for batch in batches for tensor in batch)
            assert waits.found == []


def test_on_a_cpu_no_thread_fetches_in_advance(make):
    assert not make().train_dataloader().prefetch


def test_a_checkpoint_of_other_data_is_refused(make, image_folder, tmp_path):
    data, fewer = make(), make(classes=["red", "blue"])
    make(seed=1, batch_size=2).load_state_dict(data.state_dict())
    with pytest.raises(ValueError, match=r"its classes was \['blue', 'green', 'red'\].* it is \["):
        fewer.load_state_dict(data.state_dict())
    shutil.copytree(image_folder, tmp_path / "copy")
    Image.new("RGB", (16, 16)).save(tmp_path / "copy" / "red" / "0.png")
    with pytest.raises(ValueError, match=r"its fingerprint was .*restore the images of data=tiny"):
        make(tmp_path / "copy").load_state_dict(data.state_dict())


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_two_ranks_share_the_images(make, split):
    data, shown = make(), []
    for rank in range(2):
        strategy = SimpleNamespace(root_device=torch.device("cpu"))
        data.trainer = SimpleNamespace(strategy=strategy, global_rank=rank, world_size=2)
        loader = getattr(data, f"{split}_dataloader")()
        shown.append(set(np.concatenate(loader.batches()).tolist()))
    assert not shown[0] & shown[1]
    assert shown[0] | shown[1] == set(data.indices[split].tolist())


def test_val_and_test_come_in_batches_of_64_or_more(make):
    for batch_size, expected in ((4, 64), (12, 64)):
        data = make(batch_size=batch_size)
        assert data.train_dataloader().batch_size == batch_size
        assert data.val_dataloader().batch_size == expected
    data.batch_size = 100
    assert data.test_dataloader().batch_size == 100


def test_overfit_batches_are_drawn_from_all_of_train(make):
    """Two batches of four of twelve images, by the seed: not the first ones, and no class alone."""
    drawn = set()
    for seed in range(20):
        data = make(seed=seed)
        strategy = SimpleNamespace(root_device=torch.device("cpu"))
        data.trainer = SimpleNamespace(
            **{"strategy": strategy, "global_rank": 0, "world_size": 1, "overfit_batches": 2}
        )
        loader = data.train_dataloader()
        kept = [{*np.concatenate(loader.batches()).tolist()}]
        loader.set_epoch(1)
        kept.append({*np.concatenate(loader.batches()).tolist()})
        assert kept[0] == kept[1] <= set(data.indices["train"].tolist())
        assert len(kept[0]) == 8
        drawn.add(frozenset(kept[0]))
    assert len(drawn) > 10


@pytest.mark.parametrize(("fit", "bright"), [("crop", 0), ("squash", 255 / 3)])
def test_images_are_cut_or_squashed_as_asked(make, tmp_path, fit, bright):
    """White in the left third of 48 x 16, which a crop of the centre does not show."""
    picture = np.zeros((16, 48, 3), np.uint8)
    picture[:, :16] = 255
    for name in ("a", "b"):
        (tmp_path / "in" / name).mkdir(parents=True)
        for i in range(5):
            Image.fromarray(picture).save(tmp_path / "in" / name / f"{i}.png")
    data = make(tmp_path / "in", fit=fit, split="random")
    assert data.images.float().mean().item() == pytest.approx(bright, abs=2)
    images, _ = next(iter(data.val_dataloader()))
    assert images.float().mean().item() == pytest.approx(bright, abs=2)
