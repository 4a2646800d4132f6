"""What a sweep decides for its trials: precision and effective batch size, on a false machine."""

import json
import subprocess
import sys

import pytest
from hydra import initialize_config_dir
from hydra._internal.callbacks import Callbacks
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.types import HydraContext, RunMode

from alexlab.commands import train
from alexlab.performance import devices
from alexlab.runs import sweep_hooks
from alexlab.runs.config import CONF, compose_config
from alexlab.training import build, cost


@pytest.fixture
def machine(monkeypatch):
    """machine(9.0, 9.0): as if there were GPUs of these compute capabilities."""

    def make(*capabilities):
        monkeypatch.setattr(devices, "_torch_build", lambda: "cuda")
        monkeypatch.setattr(devices, "_compute_capabilities", lambda: list(capabilities))
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    return make


@pytest.fixture
def sweep(monkeypatch, tmp_path):
    """sweep("seed=0,1", ...): the overrides of its jobs, which end at once.

    `sweep.calls` has what was asked of the launcher, in order.
    """
    calls = []

    def start(*arguments):
        launched = []

        def launch(job_overrides, initial_job_idx):
            (overrides,) = job_overrides
            launched.append(list(overrides))
            folder = tmp_path / "s" / overrides[-1].partition("=")[2].strip("'")
            folder.mkdir()
            metrics = {"status": "finished", "objective": 0.5}
            (folder / "metrics.json").write_text(json.dumps(metrics))
            return [None]

        arguments = [*arguments, "data.batch_size=8", "sweep.name=s"]
        own = [f"hydra.sweep.dir={tmp_path}", "hydra.sweeper.on_end=null"]
        with initialize_config_dir(str(CONF), version_base="1.3"):
            loader = GlobalHydra.instance().config_loader()
            config = loader.load_configuration("train", [*arguments, *own], RunMode.MULTIRUN)
            context = HydraContext(config_loader=loader, callbacks=Callbacks())
            sweeper = Plugins.instance().instantiate_sweeper(
                hydra_context=context, task_function=train.task, config=config
            )
            monkeypatch.setattr(sweeper.job_launcher, "launch", launch)
            launcher = sweeper.job_launcher
            monkeypatch.setattr(launcher, "start", lambda: calls.append("start"))
            monkeypatch.setattr(launcher, "prepare", lambda *_: calls.append("prepare") or 1)
            sweeper.sweep(arguments)
        return [[o for o in job if not o.startswith("hydra.")] for job in launched]

    start.calls = calls
    return start


def test_the_fork_server_imports_while_the_sweeper_estimates(sweep, monkeypatch):
    estimate = cost.estimate
    monkeypatch.setattr(
        cost, "estimate", lambda config: sweep.calls.append("estimate") or estimate(config)
    )
    sweep("optim.lr=0.1,0.2")
    assert list(dict.fromkeys(sweep.calls)) == ["start", "prepare", "estimate"]
    sweep.calls.clear()
    sweep("optim.lr=0.1,0.2")  # nothing is left to run
    assert sweep.calls == []


def test_a_trial_is_the_same_on_a_worker_with_another_device(machine, sweep):
    """Sent from a machine with two H100, taken by one without a GPU."""
    machine(9.0, 9.0)
    jobs = sweep("optim.lr=0.1,0.2", "trainer.devices=-1")
    machine()
    for job in jobs:
        assert job[-2:] == ["trainer.precision=bf16-mixed", "effective_batch_size=16"]
        cfg = compose_config(job)
        assert cfg.trainer.precision == "bf16-mixed"
        with pytest.raises(ValueError, match="effective_batch_size=16: the other settings give 8"):
            build.with_resolved_devices(cfg)
    assert len(jobs) == 2


def test_auto_is_one_device_for_each_trial(machine, sweep):
    """The launcher gives one of the two GPUs to each."""
    machine(9.0, 9.0)
    (job,) = sweep("trainer.devices=auto", "seed=1")
    assert job[-2:] == ["trainer.devices=1", "effective_batch_size=8"]


def test_another_kind_of_device_cannot_add_to_a_sweep(machine, sweep):
    machine(9.0)
    sweep("optim.lr=0.1,0.2")
    machine(7.5)
    with pytest.raises(ValueError, match=r"trainer\.precision: bf16-mixed -> 32-true; use sweep"):
        sweep("optim.lr=0.1,0.2,0.3")


def test_an_axis_of_precisions_may_grow_on_any_machine(machine, sweep):
    machine(9.0)
    assert len(sweep("trainer.precision=32-true")) == 1
    machine()
    (job,) = sweep("trainer.precision=bf16-mixed,32-true")
    assert job[-2:] == ["trainer.precision=bf16-mixed", "effective_batch_size=8"]


def test_auto_is_no_precision_of_its_own(machine, sweep):
    machine(9.0)
    assert len(sweep("trainer.precision=bf16-mixed")) == 1
    assert sweep("trainer.precision=bf16-mixed,auto") == []  # one trial, which was run


def test_the_number_of_devices_may_be_an_axis(machine, sweep):
    machine(9.0, 9.0)
    one, two = sweep("trainer.devices=1,2")
    assert ("trainer.devices=1" in one, one[-1]) == (True, "effective_batch_size=8")
    assert ("trainer.devices=2" in two, two[-1]) == (True, "effective_batch_size=16")


@pytest.mark.parametrize(
    "axis", ["trainer.strategy=auto,ddp", "trainer.devices=2,'0,1'", "cache_dir=a,b"]
)
def test_an_axis_must_change_the_trials(machine, sweep, tmp_path, axis):
    machine(9.0, 9.0)
    with pytest.raises(ValueError, match="cannot be an axis of a sweep; give it one value"):
        sweep(axis, "seed=0,1")
    assert list(tmp_path.iterdir()) == []


def data_at(root, cache):
    return {"data": {"name": "folder", "root": str(root), "cache_dir": str(cache)}}


def test_missing_data_are_one_message_before_the_first_trial(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"data=folder: no folder .*/nowhere; set data.root"
    ):
        sweep_hooks.check_data(data_at(tmp_path / "nowhere", tmp_path / ".cache"))
    (tmp_path / "images").mkdir()
    sweep_hooks.check_data(data_at(tmp_path / "images", tmp_path / ".cache"))
    sweep_hooks.check_data(data_at(tmp_path / ".cache/shapes", tmp_path / ".cache"))  # drawn later


@pytest.mark.slow
def test_sweep_without_its_data_starts_no_trial(tmp_path, monkeypatch):
    command = [sys.executable, "-m", "alexlab", "train", "-m", "data=pokemon,shapes", "seed=0,1"]
    done = subprocess.run(
        [*command, "data_dir=nowhere"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr == (
        "error: data=pokemon: no folder nowhere/pokemon; get the images: alexlab data fetch pokemon"
        " FILE_OR_FOLDER\n(if you have them elsewhere, set DATA_DIR for a new run, or data.root)\n"
    )
    assert not list(tmp_path.glob("multirun/*/*"))


def test_how_far_a_run_is(tmp_path):
    assert sweep_hooks.progress(tmp_path) == ""  # nothing is written yet
    config = "objective: val/acc\ntrainer: {max_epochs: 20}\n"
    (tmp_path / "config.yaml").write_text(config)
    assert sweep_hooks.progress(tmp_path) == ""
    rows = "epoch,lr,val/acc\n1,0.1,0.2\n2,0.1,0.4123\n"
    (tmp_path / "history.csv").write_text(rows)
    assert sweep_hooks.progress(tmp_path) == "epoch 2/20, val/acc 41.2%"
