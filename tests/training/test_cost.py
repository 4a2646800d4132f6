"""What a run will take, beside what runs took: minutes measured on one thread of an AMD EPYC."""

import os

import pytest
import torch
from omegaconf import OmegaConf

from alexlab.training import cost

EPOCHS_60 = ["model.width=0.5", "model.head=[256,256]", "trainer.max_epochs=60"]


@pytest.fixture
def estimate(compose):
    """estimate("model=alexnet", ...): that of a run with these settings."""
    return lambda *settings: cost.estimate(OmegaConf.to_container(compose(*settings), resolve=True))


@pytest.fixture
def one_thread(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0}, raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.fixture
def images(tmp_path):
    """As many files as the Pokemon set has images; 816 of them train."""
    for number in range(1167):
        (tmp_path / f"{number}.png").touch()
    return f"data.root={tmp_path}"


@pytest.mark.parametrize(
    ("settings", "minutes"),
    [
        (["data.batch_size=8", "trainer.max_epochs=150"], 16.6),
        (["data.batch_size=16", "trainer.max_epochs=150"], 11.3),
        (["data.batch_size=32", "trainer.max_epochs=150"], 8.7),
        ([*EPOCHS_60, "data.batch_size=16"], 70 / 60),
    ],
)
def test_the_time_is_right_within_a_factor_of_two(estimate, one_thread, images, settings, minutes):
    *_, seconds = estimate("model=alexnet", "data=folder", images, *settings)
    assert minutes / 2 < seconds / 60 < minutes * 2


def test_jobs_share_the_threads_and_drawn_images_need_no_files(estimate, monkeypatch, one_thread):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(4), raising=False)
    times = [estimate(f"sweep.n_jobs={jobs}")[2] for jobs in (1, 2, 4)]
    assert times == sorted(times)
    assert times[0] < times[2]
    assert estimate("data.num_images=4000")[2] > 2 * times[0]


def test_images_that_are_not_there_give_no_time(estimate, tmp_path):
    *_, seconds = estimate("data=folder", f"data.root={tmp_path}/none")
    assert seconds is None


def test_the_bytes_are_those_of_checkpoints(estimate):
    """AlexNet of torchvision has 57,044,810 weights for ten classes, of four bytes."""
    weights = 4 * 57_044_810
    net = "model=alexnet_torchvision"
    running, ended, _ = estimate(net, "optim=sgd", "optim.momentum=0.9")
    assert running == (3 * 2 + 3) * weights
    assert ended < 1e7
    running, ended, _ = estimate(net, "optim=adam", "sweep.keep_best=null")
    assert running == (3 * 3 + 3) * weights
    assert weights < ended < 1.1 * weights


@pytest.fixture
def cpu_jobs(compose, monkeypatch):
    """cpu_jobs(CPUs, free bytes, *settings): the runs at a time on such a machine."""

    def ask(cpus, free, *settings):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(cpus), raising=False)
        monkeypatch.setattr(cost, "_free_memory", lambda: free)
        return cost.cpu_jobs(OmegaConf.to_container(compose(*settings), resolve=True))

    return ask


@pytest.mark.parametrize(
    ("cpus", "gigabytes", "settings", "jobs"),
    [
        (1, 8, [], 1),
        (2, 8, [], 2),
        (64, 500, [], 64),
        (64, 8, [], 15),  # half a gigabyte each
        (2, 0.1, [], 1),
        (8, 500, ["trainer.devices=2", "trainer.accelerator=cpu"], 4),
        (8, 500, ["trainer.accelerator=mps"], 1),
        # 57,044,810 weights, their gradients, momentum and best copy: 0.91 GB beside 0.5
        (64, 8, ["model=alexnet_torchvision"], 5),
        (64, 8, ["model=alexnet_torchvision", "optim=adam"], 4),
    ],
)
def test_a_run_per_cpu_if_they_fit_into_memory(cpu_jobs, cpus, gigabytes, settings, jobs):
    assert cpu_jobs(cpus, int(gigabytes * 1e9), *settings) == jobs


def test_the_free_memory_is_no_more_than_the_machine_has():
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 0 < cost._free_memory() <= total
