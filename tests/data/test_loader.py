import threading

import lightning as L
import numpy as np
import pytest
import torch

from alexlab.data import loader as loader_module
from alexlab.data.loader import AHEAD, ArrayLoader, copy_used_images, index_select_batch

INDICES = np.arange(100, 123)


def loader(indices=INDICES, batch_size=5, shuffle=True, **options):
    def fetch(wanted):
        return wanted, wanted % 3

    return ArrayLoader(fetch, indices, batch_size=batch_size, shuffle=shuffle, **options)


def flat(lists):
    return [item for some in lists for item in some]


def seen(loader):
    return [images.tolist() for images, _ in loader]


def test_an_epoch_shows_every_image_once_in_another_order():
    batches = seen(loader())
    assert [len(batch) for batch in batches] == [5, 5, 5, 5, 3]
    assert sorted(flat(batches)) == INDICES.tolist()
    assert flat(batches) != INDICES.tolist()


def test_the_order_is_a_function_of_seed_and_epoch_alone():
    one, two = loader(), loader()
    two.set_epoch(3)
    seen(two)
    torch.rand(7)
    np.random.rand(7)
    two.set_epoch(0)
    assert seen(one) == seen(two) == seen(one)
    one.set_epoch(1)
    assert seen(one) != seen(two)
    assert seen(loader(seed=1)) != seen(two)


def test_evaluation_is_in_order():
    assert flat(seen(loader(shuffle=False))) == INDICES.tolist()


@pytest.mark.parametrize(
    ("count", "sizes"), [(10, [5, 5]), (11, [5, 5]), (12, [5, 5, 2]), (1, [1]), (5, [5])]
)
def test_a_last_training_batch_of_one_is_left_out(count, sizes):
    some = loader(INDICES[:count])
    assert [len(batch) for batch in seen(some)] == sizes
    assert len(some) == len(sizes)


def test_single_images_are_fine_when_asked_for():
    assert [len(batch) for batch in seen(loader(batch_size=1))] == [1] * 23


@pytest.mark.parametrize("world", [2, 3, 4])
@pytest.mark.parametrize("batch_size", [1, 2, 5, 8])
def test_ranks_share_an_epoch(world, batch_size):
    ranks = [loader(batch_size=batch_size, rank=r, world_size=world) for r in range(world)]
    left_out = set()
    for epoch in range(30):
        for some in ranks:
            some.set_epoch(epoch)
        batches = [seen(some) for some in ranks]
        assert len({len(b) for b in batches}) == 1
        assert all(len(b) == len(some) for b, some in zip(batches, ranks, strict=True))
        images = flat(flat(batches))
        assert len(images) == len(set(images))
        assert 23 - len(images) < world * 2
        left_out |= set(INDICES) - set(images)
    assert len(left_out) > 10 or 23 % world == 0


@pytest.mark.parametrize("world", [1, 2, 3, 4])
@pytest.mark.parametrize("batch_size", [2, 5, 8, 64])
@pytest.mark.parametrize("count", [4, 5, 9, 17, 23])
def test_ranks_evaluate_every_image_exactly_once(world, batch_size, count):
    ranks = [
        loader(INDICES[:count], batch_size, shuffle=False, rank=r, world_size=world)
        for r in range(world)
    ]
    batches = [seen(some) for some in ranks]
    assert sorted(flat(flat(batches))) == INDICES[:count].tolist()
    assert {len(b) for b in batches} == {len(ranks[0])}
    assert all(0 < len(batch) <= batch_size for b in batches for batch in b)


def test_fewer_images_than_devices():
    with pytest.raises(ValueError, match="2 images cannot be shared by 3 devices"):
        loader(INDICES[:2], shuffle=False, world_size=3)


@pytest.mark.parametrize("stop", range(6))
def test_a_resumed_loader_goes_on_with_the_next_batch(stop):
    whole, broken, resumed = loader(), loader(), loader()
    for some in (whole, broken):
        some.set_epoch(4)
    batches = iter(broken)
    before = [next(batches)[0].tolist() for _ in range(stop)] if stop else []
    resumed.load_state_dict(broken.state_dict())
    first = iter(resumed)
    resumed.set_epoch(4)  # Lightning asks for an iterator before it says the epoch
    if stop < 5:
        assert before + [images.tolist() for images, _ in first] == seen(whole)
    resumed.set_epoch(5)
    whole.set_epoch(5)
    assert seen(resumed) == seen(whole)


class Watch(L.LightningModule):
    """Keeps what it is shown; has a weight so that there is something to train."""

    def __init__(self, stop_at=None):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen, self.stop_at = [], stop_at

    def training_step(self, batch, batch_idx):
        self.seen.append((self.current_epoch, batch[0].tolist()))
        return self.weight * 1.0

    def validation_step(self, batch, batch_idx):
        pass

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class SaveAt(L.Callback):
    def __init__(self, path, step):
        self.path, self.step = path, step

    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)


def fit(module, epochs, ckpt_path=None, callbacks=()):
    trainer = L.Trainer(
        max_epochs=epochs,
        callbacks=list(callbacks),
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, loader(), loader(shuffle=False), ckpt_path=ckpt_path, weights_only=True)


@pytest.mark.filterwarnings("ignore")
def test_lightning_reshuffles_each_epoch_and_resumes_at_the_next_batch(tmp_path):
    whole = Watch()
    fit(whole, 3, callbacks=[SaveAt(tmp_path / f"{step}.ckpt", step) for step in (1, 7)])
    expected = []
    for epoch in range(3):
        some = loader()
        some.set_epoch(epoch)
        expected += [(epoch, batch) for batch in seen(some)]
    assert whole.seen == expected
    for step in (1, 7):
        resumed = Watch()
        fit(resumed, 3, ckpt_path=tmp_path / f"{step}.ckpt")
        assert resumed.seen == expected[step:]


def test_fetch_returns_the_images_of_the_indices():
    images = torch.arange(24, dtype=torch.uint8).view(6, 1, 2, 2)
    fetch = index_select_batch(images, torch.arange(6) * 10)
    some, targets = fetch(torch.tensor([4, 0, 4]))
    assert some[:, 0, 0, 0].tolist() == [16, 0, 16]
    assert some.dtype == torch.uint8
    assert targets.tolist() == [40, 0, 40]


def test_only_the_images_in_use_are_copied_to_a_device(monkeypatch):
    monkeypatch.setattr(loader_module, "CHUNK", 2)
    images = torch.arange(40, dtype=torch.uint8).view(10, 1, 2, 2)
    copied = []

    def spy(*tensors):
        copied.append(tensors)
        return index_select_batch(*tensors)

    monkeypatch.setattr(loader_module, "index_select_batch", spy)
    fetch = copy_used_images(images, torch.arange(10) * 10, np.array([1, 3, 4, 7, 9]), "cpu")
    some, targets = fetch(torch.tensor([9, 1, 4, 3, 9]))
    assert some[:, 0, 0, 0].tolist() == [36, 4, 16, 12, 36]
    assert targets.tolist() == [90, 10, 40, 30, 90]
    ((held, held_targets),) = copied
    assert held[:, 0, 0, 0].tolist() == [4, 12, 16, 28, 36]
    assert held_targets.tolist() == [10, 30, 40, 70, 90]


def test_indices_are_copied_to_the_device_once_per_epoch(monkeypatch):
    copies = []
    to_device = loader_module.to_device
    monkeypatch.setattr(loader_module, "to_device", lambda *to: copies.append(to) or to_device(*to))
    some = loader(device="cpu")
    for epoch in range(3):
        some.set_epoch(epoch)
        seen(some)
    assert [len(indices) for indices, _ in copies] == [23, 23, 23]


def prefetching(fetch, **options):
    return ArrayLoader(fetch, INDICES, batch_size=5, prefetch=True, **options)


@pytest.mark.parametrize("shuffle", [True, False])
def test_a_thread_fetches_the_same_batches_in_advance(shuffle):
    assert seen(loader(shuffle=shuffle, prefetch=True)) == seen(loader(shuffle=shuffle))
    fetched = [threading.Event() for _ in range(5)]

    def fetch(indices):
        assert threading.current_thread() is not threading.main_thread()
        next(event for event in fetched if not event.is_set()).set()
        return indices, indices

    batches = iter(prefetching(fetch, shuffle=shuffle))
    next(batches)
    assert all(event.wait(10) for event in fetched[: 1 + AHEAD])  # and no batch was asked for


def test_the_position_counts_the_batches_that_were_used():
    some = loader(prefetch=True)
    batches = iter(some)
    used = [next(batches)[0].tolist() for _ in range(2)]
    state = some.state_dict()
    assert state == {"epoch": 0, "position": 2}
    batches.close()
    resumed = loader(prefetch=True)
    resumed.load_state_dict(state)
    assert used + seen(resumed) == seen(loader())


def test_an_error_of_the_thread_is_raised():
    def fetch(indices):
        raise ValueError("broken image")

    with pytest.raises(ValueError, match="broken image"):
        next(iter(prefetching(fetch, shuffle=True)))
    assert not [t for t in threading.enumerate() if t.name.startswith("ThreadPoolExecutor")]


def test_an_evaluation_that_had_ended_starts_again():
    ended = loader(shuffle=False)
    expected = seen(ended)
    assert ended.state_dict() == {"epoch": 0, "position": len(ended)}
    resumed = loader(shuffle=False)
    resumed.load_state_dict(ended.state_dict())
    assert seen(resumed) == expected


def test_a_position_holds_for_its_own_epoch_only():
    """Saved after three batches of epoch 4; the next epoch is whole."""
    resumed, whole = loader(), loader()
    resumed.load_state_dict({"epoch": 4, "position": 3})
    for some in (resumed, whole):
        some.set_epoch(5)
    assert resumed.state_dict() == {"epoch": 5, "position": 0}
    assert seen(resumed) == seen(whole)


def test_a_resumed_loader_can_be_stopped_again():
    """After two batches, and after one more: the third stop knows of all three."""
    state, shown = {"epoch": 0, "position": 0}, []
    for count in (2, 1, 2):
        some = loader()
        some.load_state_dict(state)
        batches = iter(some)
        shown += [next(batches)[0].tolist() for _ in range(count)]
        state = some.state_dict()
    assert state == {"epoch": 0, "position": 5}
    assert shown == seen(loader())
