"""Losses, learning rates and mixing, against numbers from outside the code."""

import math
from functools import partial
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F
from torch import nn
from torch.optim import SGD
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torchmetrics import Metric

from alexlab import factory
from alexlab.runs.checkpoint import load
from alexlab.runs.folder import BEST, Stopped, read_history, read_metrics
from alexlab.training import build
from alexlab.training.module import Learner, MeanLoss
from alexlab.training.tasks import Classification, Regression
from tests.tiny import train
from tests.waits import GPU, Waits

PLAIN = ["augment=none", "data.load_size=32", "model.dropout=0"]


def cross_entropy(cfg, split, weights=None):
    """Of the whole split in one piece, in float64; of the initial weights by default."""
    data = factory.data_module(cfg)
    learner = build.learner(cfg, data)
    if weights is not None:
        learner.net.load_state_dict(weights)
    net = learner.net.double().eval()
    images, targets = zip(*getattr(data, f"{split}_dataloader")(), strict=True)
    with torch.no_grad():
        outputs = net(data.preprocess(torch.cat(images), training=False).double())
    return F.cross_entropy(outputs, torch.cat(targets)).item()


def test_the_training_loss_is_the_mean_over_images(config, tmp_path):
    """12 images in batches of 5, 5 and 2; the weights do not move."""
    cfg = config(*PLAIN, "data.batch_size=5", "optim.lr=1e-12", "trainer.max_epochs=1")
    train(cfg, tmp_path / "run")
    (row,) = read_history(tmp_path / "run")
    assert float(row["train/loss"]) == pytest.approx(cross_entropy(cfg, "train"), rel=1e-6)


def test_the_loss_of_a_resumed_epoch_is_the_mean_over_images(config, tmp_path):
    cfg = config(*PLAIN, "data.batch_size=5", "optim.lr=1e-12", "trainer.max_epochs=1")
    with pytest.raises(Stopped):
        train(cfg, tmp_path / "run", stop_after=1)
    train(cfg, tmp_path / "run")
    (row,) = read_history(tmp_path / "run")
    assert float(row["train/loss"]) == pytest.approx(cross_entropy(cfg, "train"), rel=1e-6)


def test_the_val_loss_is_that_of_its_own_epoch(config, tmp_path):
    cfg = config(*PLAIN, "trainer.max_epochs=4", "objective=val/loss", "direction=minimize")
    train(cfg, tmp_path / "run")
    best = load(tmp_path / "run" / BEST)
    rows = read_history(tmp_path / "run")
    assert best["epoch"] > 1  # otherwise the mean of all epochs so far would do
    reported = float(rows[best["epoch"] - 1]["val/loss"])
    assert reported == pytest.approx(cross_entropy(cfg, "val", best["net"]), rel=1e-5)


def test_mean_loss_by_hand():
    mean = MeanLoss()
    mean.update(torch.tensor(1.0), 16)
    mean.update(torch.tensor(5.0), 2)
    assert mean.compute().item() == pytest.approx(26 / 18)
    mean.reset()
    mean.update(torch.tensor(3.0), 7)
    assert mean.compute().item() == 3.0


def test_mean_loss_does_not_round_its_sums_to_the_nets_precision():
    """In bfloat16 a sum stops growing at 256 times its terms."""
    mean = MeanLoss().to(torch.bfloat16)  # as Lightning does for bf16-true
    for _ in range(2000):
        mean.update(torch.tensor(1.5), 16)
    assert mean.compute().item() == 1.5


def _mean_of_rank(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/store", rank=rank, world_size=2)
    mean = MeanLoss()
    mean.update(torch.tensor([1.0, 4.0][rank]), [5, 1][rank])
    torch.save(mean.compute(), folder / f"{rank}")
    dist.destroy_process_group()


def test_mean_loss_over_two_ranks_by_hand(tmp_path):
    mp.start_processes(_mean_of_rank, (tmp_path,), nprocs=2, start_method="fork")
    for rank in ("0", "1"):
        assert torch.load(tmp_path / rank).item() == pytest.approx(9 / 6)


class Flat(nn.Module):
    """Two outputs without a bias: a black image gives 0 and 0."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3 * 4, 2, bias=False)

    def forward(self, images):
        return self.linear(images.flatten(1))


class Blackened(Classification):
    def mix(self, images, targets):
        return torch.zeros_like(images), targets


def test_the_task_mixes_training_batches_only():
    learner = Learner(Flat(), Blackened(2), optim=partial(SGD, lr=0.1))
    batch = torch.rand(6, 3, 2, 2), torch.tensor([0, 1, 0, 1, 1, 1])
    assert learner.training_step(batch, 0).item() == pytest.approx(math.log(2))
    assert learner.validation_step(batch, 0).abs().min() > 0
    assert learner.test_step(batch, 0).abs().min() > 0


def test_groups_get_their_own_learning_rates():
    class Grouped(Flat):
        def parameter_groups(self):
            head = nn.Parameter(torch.zeros(1))
            return [
                {"params": [head], "lr_scale": 1.0},
                {"params": [self.linear.weight], "lr_scale": 0.1},
            ]

    learner = Learner(Grouped(), Classification(2), optim=partial(SGD, lr=0.5))
    groups = learner.configure_optimizers().param_groups
    assert [group["lr"] for group in groups] == pytest.approx([0.5, 0.05])
    assert not any("lr_scale" in group for group in groups)


def test_a_plateau_schedule_follows_the_val_loss(monkeypatch):
    """(val, train): val improves in epoch 2 and not in epoch 3; train the other way round."""
    halve = partial(ReduceLROnPlateau, factor=0.5, patience=0)
    learner = Learner(Flat(), Classification(2), optim=partial(SGD, lr=1.0), sched=halve)
    optimizer = learner.configure_optimizers()
    monkeypatch.setattr(Learner, "_log_epoch", lambda *_: None)
    rates = []
    for val, train_loss in ((1.0, 1.0), (0.5, 2.0), (0.7, 0.1)):
        metrics = {"val/loss": torch.tensor(val), "train/loss": torch.tensor(train_loss)}
        learner.trainer = SimpleNamespace(callback_metrics=metrics)
        learner.on_train_epoch_end()
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == [1.0, 1.0, 0.5]


@pytest.mark.parametrize(
    "task",
    [Classification(7), Classification(7, mixup=0.5, cutmix=0.5), Regression()],
    ids=["classes", "mixed classes", "scores"],
)
def test_a_step_does_not_wait_for_the_gpu(task):
    """On fake tensors of a GPU: loss, means and metrics of training, val and test."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, task.num_outputs))
    learner = Learner(net, task, optim=partial(SGD, lr=0.1))
    with Waits() as waits, torch.no_grad():
        learner.to(GPU)
        targets = torch.zeros(6, dtype=torch.long, device=GPU)
        if isinstance(task, Regression):
            targets = targets.float()
        batch = torch.rand(6, 3, 2, 2, device=GPU), targets
        waits.found.clear()  # the copy of the net
        learner.training_step(batch, 0)
        learner.validation_step(batch, 0)
        learner.test_step(batch, 0)
        assert waits.found == []
        batch[0].sum() + torch.as_tensor(6, device=GPU)
        assert len(waits.found) == 1  # the count can fail


class FourNumbers(Metric):
    """Four numbers on a device, as the metrics of a task have them."""

    def __init__(self):
        super().__init__()
        self.add_state("sum", torch.zeros(4), dist_reduce_fx="sum")

    def update(self, outputs, targets):
        self.sum = self.sum + outputs.sum()

    def compute(self):
        return dict(zip("abcd", self.sum.unbind(), strict=True))


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_the_metrics_of_an_epoch_are_fetched_from_the_device_once(split):
    """History, checkpoints, progress and loggers each read all of them."""

    class Task(Classification):
        def metrics(self):
            return FourNumbers()

    learner, logged = Learner(Flat(), Task(2), optim=partial(SGD, lr=0.1)), {}
    learner.log_dict = lambda values, sync_dist: logged.update(values)
    with Waits() as waits, torch.no_grad():
        learner.to(GPU)
        batch = torch.rand(6, 3, 2, 2, device=GPU), torch.zeros(6, dtype=torch.long, device=GPU)
        learner._step(batch, split)
        waits.found.clear()
        learner._log_epoch(split)
    assert waits.found == ["aten._to_copy.default"]
    assert [*logged] == [f"{split}/{name}" for name in ("loss", *"abcd")]
    assert {value.device.type for value in logged.values()} == {"cpu"}


def test_two_ranks_keep_their_means_in_mid_epoch_only(monkeypatch):
    """Between epochs there is nothing to gather, and after the training nothing to gather with."""
    learner = Learner(Flat(), Classification(2), optim=partial(SGD, lr=0.1))
    learner.trainer = SimpleNamespace(world_size=2)
    gathered = []
    monkeypatch.setattr(learner, "all_gather", lambda means: gathered.append(means) or means)
    checkpoint = {}
    learner.on_save_checkpoint(checkpoint)
    assert gathered == []
    learner.training_step((torch.rand(6, 3, 2, 2), torch.tensor([0, 1, 0, 1, 1, 1])), 0)
    learner.on_save_checkpoint(checkpoint)
    counts = {"train_metrics.counts", "train_metrics.top5_misses"}
    assert set(checkpoint["means"]) == counts | {"train_loss.total", "train_loss.images"}
    assert checkpoint["means"]["train_loss.images"] == 6


@pytest.mark.parametrize("averaged", [False, True])
def test_a_rank_continues_with_its_own_means(averaged):
    """With averaged weights Lightning loads the training's own state from a second place."""
    learner = Learner(Flat(), Classification(2), optim=partial(SGD, lr=0.1))
    learner.trainer = SimpleNamespace(global_rank=1)
    total, images = "train_loss.total", "train_loss.images"
    first = {total: torch.tensor(7.0), images: torch.tensor(2)}  # of rank 0, as Lightning saves it
    checkpoint = {"state_dict": dict(first)}
    checkpoint |= {"current_model_state": dict(first)} if averaged else {}
    checkpoint["means"] = {total: torch.tensor([7.0, 9.0]), images: torch.tensor([2, 3])}
    learner.on_load_checkpoint(checkpoint)
    for state in checkpoint.keys() - {"means"}:
        assert (checkpoint[state][total], checkpoint[state][images]) == (9.0, 3), state


def test_the_loss_is_computed_in_float32_from_half_precision_outputs():
    """Logits 0 and -4.25 in bfloat16; the target is the second: log(1 + exp(4.25))."""

    class Half(nn.Module):
        def forward(self, images):
            return torch.tensor([[0.0, -4.25]], dtype=torch.bfloat16).expand(len(images), 2)

    learner = Learner(Half(), Classification(2), optim=partial(SGD, lr=0.1))
    loss = learner.training_step((torch.rand(3, 3, 2, 2), torch.tensor([1, 1, 1])), 0)
    assert loss.item() == pytest.approx(math.log1p(math.exp(4.25)), rel=1e-6)


@pytest.mark.parametrize("lr", [0.0, -0.1])
def test_a_rate_that_trains_nothing_is_refused(lr):
    learner = Learner(Flat(), Classification(2), optim=partial(sgd_of_any_rate, lr=lr))
    with pytest.raises(ValueError, match=f"optim.lr={lr}: must be greater than 0"):
        learner.configure_optimizers()


def sgd_of_any_rate(parameters, lr):
    """SGD itself refuses a negative rate when it is made."""
    optimizer = SGD(parameters, lr=1.0)
    optimizer.defaults["lr"] = lr
    return optimizer


def test_the_test_loss_is_that_of_the_best_weights(config, tmp_path):
    cfg = config(*PLAIN, "objective=val/loss", "direction=minimize")
    train(cfg, tmp_path / "run")
    found = read_metrics(tmp_path / "run")["metrics"]["test/loss"]
    best = load(tmp_path / "run" / BEST)["net"]
    assert found == pytest.approx(cross_entropy(cfg, "test", best), rel=1e-5)


def test_only_parameters_that_train_reach_the_optimizer():
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 3), nn.Linear(3, 2))
    net[1].requires_grad_(False)
    learner = Learner(net, Classification(2), optim=partial(SGD, lr=0.1, weight_decay=0.1))
    (group,) = learner.configure_optimizers().param_groups
    assert [*map(id, group["params"])] == [id(net[2].weight), id(net[2].bias)]


def test_each_split_has_means_of_its_own():
    """Three images of train, two of val and one of test, in turn."""
    learner = Learner(Flat(), Classification(2), optim=partial(SGD, lr=0.1))
    steps = (learner.training_step, learner.validation_step, learner.test_step)
    for step, images in zip(steps * 2, (3, 2, 1) * 2, strict=True):
        step((torch.rand(images, 3, 2, 2), torch.zeros(images, dtype=torch.long)), 0)
    for split, images in (("train", 6), ("val", 4), ("test", 2)):
        mean, metrics = learner.metrics(split)
        assert (mean.images, metrics.counts[:2].sum()) == (images, images)


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_the_metrics_of_an_epoch_are_those_of_its_own_images(split):
    """Three images of class 1: the net takes them for class 0 first, and then for class 1."""

    class Constant(nn.Module):
        def forward(self, images):
            return self.logits.expand(len(images), 2)

    net, logged = Constant(), []
    learner = Learner(net, Classification(2), optim=partial(SGD, lr=0.1))
    learner.log_dict = lambda values, sync_dist: logged.append(values)
    for net.logits in (torch.tensor([2.0, 0.0]), torch.tensor([0.0, 2.0])):
        learner._step((torch.rand(3, 3, 2, 2), torch.ones(3, dtype=torch.long)), split)
        learner._log_epoch(split)
    assert [float(values[f"{split}/acc"]) for values in logged] == [0.0, 1.0]
    losses = [float(values[f"{split}/loss"]) for values in logged]
    assert losses == pytest.approx([math.log1p(math.exp(2)), math.log1p(math.exp(-2))])


def test_a_plateau_goes_on_where_it_was():
    """Patience 1: one epoch before the stop is no better, and one after it."""
    halve = partial(ReduceLROnPlateau, factor=0.5, patience=1)

    def make():
        learner = Learner(Flat(), Classification(2), optim=partial(SGD, lr=1.0), sched=halve)
        learner.trainer = SimpleNamespace(world_size=1, global_rank=0)
        return learner

    before, after, checkpoint = make(), make(), {}
    before.configure_optimizers()
    for loss in (1.0, 2.0):
        before.plateau.step(loss)
    before.on_save_checkpoint(checkpoint)
    after.on_load_checkpoint(checkpoint)
    optimizer = after.configure_optimizers()
    after.plateau.step(3.0)
    assert optimizer.param_groups[0]["lr"] == 0.5
