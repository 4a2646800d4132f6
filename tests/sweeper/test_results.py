"""Test how a trial's end is read from its folder and its launcher, and what is done with it."""

import json
import math
import signal
from types import SimpleNamespace

import optuna
import pytest
from hydra.core.utils import JobReturn, JobStatus

from hydra_plugins.hydra_study_sweeper import _scheduler
from hydra_plugins.hydra_study_sweeper._display import ProgressReporter
from hydra_plugins.hydra_study_sweeper._results import (
    CheckpointCleaner,
    DataCheck,
    resolve_status,
)
from hydra_plugins.hydra_study_sweeper._scheduler import Scheduler
from hydra_plugins.hydra_study_sweeper._space import TrialParams
from hydra_plugins.hydra_study_sweeper._trials import TrialQueue, TrialStore
from hydra_plugins.hydra_study_sweeper.config import StudySweeperConf
from hydra_plugins.hydra_study_sweeper.run_folder import BEST, LAST, previous


class ProcessExited(Exception):
    """What a launcher of processes returns for a run that did not report its own end."""

    def __init__(self, exit_code):
        super().__init__(f"exit code {exit_code}")
        self.exit_code = exit_code


def returned(value, status=JobStatus.FAILED):
    job = JobReturn()
    job.status, job.return_value = status, value
    return job


@pytest.mark.parametrize(
    ("launched", "expected"),
    [
        (ProcessLookupError("no such host"), "interrupted"),  # the launcher failed, not the run
        (returned(ValueError("wrong")), "failed"),
        (returned(ProcessExited(None)), "interrupted"),  # nobody saw the process exit
        *[(returned(ProcessExited(-n)), "interrupted") for n in (1, 2, 9, 15)],
        (returned(ProcessExited(-signal.SIGSEGV)), "failed"),
        (returned(ProcessExited(1)), "failed"),
        (returned(0.5, JobStatus.COMPLETED), "finished"),
        (returned(None, JobStatus.COMPLETED), "finished"),  # a task without an objective
        (returned(None, JobStatus.UNKNOWN), "failed"),
        (None, "failed"),
    ],
)
def test_an_end_that_the_run_did_not_report_is_that_of_its_launcher(tmp_path, launched, expected):
    assert resolve_status(tmp_path, launched)["status"] == expected


def test_a_task_that_writes_nothing_has_the_number_that_it_returns(tmp_path):
    for value, objective in ((0.5, 0.5), ([1, 2.0], [1, 2.0]), ("text", None), (math.nan, None)):
        found = resolve_status(tmp_path, returned(value, JobStatus.COMPLETED))
        assert found == {"status": "finished", "error": None, "objective": objective}


def test_the_error_of_a_run_that_exited_is_the_last_line_of_its_log(tmp_path):
    (tmp_path / "train.log").write_text("epoch 1\nRuntimeError: no more memory\n")
    found = resolve_status(tmp_path, returned(ProcessExited(1)))
    assert found["error"] == "exit code 1: RuntimeError: no more memory"
    (tmp_path / "train.log").write_text("RuntimeError: long ago\nepoch 2\n")
    assert resolve_status(tmp_path, returned(ProcessExited(1)))["error"] == "exit code 1"


@pytest.mark.parametrize(
    ("written", "objectives", "status", "objective"),
    [
        ({"status": "finished", "objective": 0.5}, 1, "finished", 0.5),
        ({"status": "finished", "objective": None}, 1, "failed", None),
        ({"status": "finished", "objective": "0.5"}, 1, "failed", None),
        ({"status": "finished", "objective": [1, 2]}, 2, "finished", [1, 2]),
        ({"status": "finished", "objective": [1, 2]}, 1, "failed", None),
        ({"status": "finished", "objective": 0.5}, 2, "failed", None),
        ({"status": "pruned", "objective": None}, 1, "pruned", None),
        ({"status": "stopped"}, 1, "stopped", None),
    ],
)
def test_a_run_that_reported_its_end_needs_a_number_per_objective(
    tmp_path, written, objectives, status, objective
):
    (tmp_path / "metrics.json").write_text(json.dumps(written))
    found = resolve_status(tmp_path, ValueError("not asked"), objectives)
    assert (found["status"], found["objective"]) == (status, objective)


@pytest.mark.parametrize(
    ("wall", "expected"), [(2, 2.0), (0, 0.0), (-1, None), ("x", None), (math.inf, None)]
)
def test_seconds_are_a_number_of_at_least_0(tmp_path, wall, expected):
    content = {"status": "finished", "objective": 1, "wall_s": wall}
    (tmp_path / "metrics.json").write_text(json.dumps(content))
    assert resolve_status(tmp_path, None)["wall_s"] == expected


def trial(number, status="pending", fingerprint=None, **values):
    result = {"data_fingerprint": fingerprint}
    return SimpleNamespace(
        **{"number": number, "folder": f"{number}-run", "status": status, "result": result},
        values={key.replace("__", "."): value for key, value in values.items()},
    )


def test_trials_with_equal_data_settings_must_have_seen_equal_data():
    """`data` is a group, `data.fraction` a setting below it; both decide what a run sees."""
    ended = [trial(0, "finished", "red", data="a", seed="0"), trial(1, "failed", "x", data="b")]
    store = SimpleNamespace(trials={one.number: one for one in ended})
    check = DataCheck(store, ["data", "model"], "data")
    for number, expected, values in (
        (2, True, {"data": "a", "seed": "1"}),
        (3, False, {"data": "a", "seed": "1", "lr": "0.1"}),
        (4, True, {"data": "a", "data__fraction": "0.5"}),
        (5, True, {"data": "b"}),  # a failed run says nothing of its data
    ):
        one, result = trial(number, **values), {"data_fingerprint": "red" if expected else "blue"}
        assert check.fits(one, result) == expected
    assert check.check(trial(6, data="a"), {"data_fingerprint": "red"}) is None
    assert check.check(trial(6, data="b"), {"data_fingerprint": "blue"}) is None
    assert check.check(trial(7, data="b"), {"data_fingerprint": None}) is None
    assert check.problem is None
    told = check.check(trial(8, data="b"), {"data_fingerprint": "green"})
    assert told == check.problem == "the data changed: green in 8-run, blue in 6-run"


def test_the_best_of_earlier_commands_keep_their_weights(tmp_path):
    """Of four trials two keep best.ckpt: the lowest objective is best."""
    objectives = {0: 0.3, 1: 0.1, 2: 0.4, 3: 0.2}
    trials = {number: trial(number) for number in objectives}
    for one in trials.values():
        for name in (BEST, LAST):
            for path in (tmp_path / one.folder / name, previous(tmp_path / one.folder / name)):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
    cleaner = CheckpointCleaner(
        tmp_path, 2, lambda some: sorted(some, key=lambda one: objectives[one.number])
    )

    def left(name):
        return [n for n, one in trials.items() if (tmp_path / one.folder / name).exists()]

    cleaner.add_ended([trials[0], trials[1]])
    cleaner.clean(trials[2])  # worse than both
    assert (left(BEST), left(LAST)) == ([0, 1, 3], [0, 1, 3])
    cleaner.clean(trials[3])  # better than trial 0
    assert (left(BEST), left(LAST)) == ([1, 3], [0, 1])
    assert left(previous(BEST)) == [1, 3]


@pytest.mark.parametrize(("keep_best", "best", "last"), [(None, True, True), (0, False, False)])
def test_all_weights_or_none_are_kept(tmp_path, keep_best, best, last):
    one = trial(0)
    for name in (BEST, LAST):
        (tmp_path / one.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / one.folder / name).touch()
    CheckpointCleaner(tmp_path, keep_best, list).clean(one)
    assert (tmp_path / one.folder / BEST).exists() == best
    assert (tmp_path / one.folder / LAST).exists() == last


def test_disk_space_is_estimated_from_the_last_runs(tmp_path):
    """Two runs took 1000 and 3000 bytes: ten more take 20000."""
    trials = {number: trial(number, "finished") for number in (0, 1)} | {2: trial(2)}
    for number, size in ((0, 1000), (1, 3000)):
        (tmp_path / f"{number}-run").mkdir()
        (tmp_path / f"{number}-run/file").write_bytes(bytes(size))
    store = SimpleNamespace(trials=trials)
    scheduler = SimpleNamespace(store=store, folder=tmp_path)
    assert Scheduler._disk_needed(scheduler, 10) == 20_000
    assert Scheduler._disk_needed(scheduler, 0) == 0


def test_disk_space_of_a_first_run_is_estimated_by_the_app(monkeypatch):
    """Four runs under way take 500 bytes each, ten that have ended 70 each."""
    cost = SimpleNamespace(running=500.0, ended=70.0, seconds=3.0)
    monkeypatch.setattr(_scheduler, "estimate_cost", lambda *_: cost)
    scheduler = SimpleNamespace(
        **{"store": SimpleNamespace(trials={2: trial(2)}), "reporter": SimpleNamespace(n_jobs=4)},
        **{"settings": None, "composer": None, "_planned": []},
    )
    assert Scheduler._disk_needed(scheduler, 10) == 4 * 500 + 10 * 70
    assert scheduler.reporter.estimated_s == 3.0
    monkeypatch.setattr(_scheduler, "estimate_cost", lambda *_: None)
    assert Scheduler._disk_needed(scheduler, 10) is None


@pytest.mark.parametrize(
    ("status", "failures", "allowed", "stopping", "retried"),
    [
        ("failed", 0, 1, False, True),
        ("interrupted", 0, 1, False, True),
        ("failed", 1, 1, False, False),
        ("failed", 0, 0, False, False),
        ("failed", 0, 1, True, False),
        ("stopped", 0, 1, False, False),
        ("finished", 0, 1, False, False),
        ("pruned", 0, 1, False, False),
    ],
)
def test_a_run_is_retried_as_often_as_allowed(status, failures, allowed, stopping, retried):
    counted, lines = [], []
    scheduler = SimpleNamespace(
        settings=SimpleNamespace(max_retries=allowed),
        jobs=SimpleNamespace(stopping=stopping),
        reporter=SimpleNamespace(log=lines.append),
        store=SimpleNamespace(set_num_failures=lambda one, number: counted.append(number)),
    )
    one = SimpleNamespace(num_failures=failures, folder="0-run")
    assert Scheduler._should_retry(scheduler, one, {"status": status, "error": "x"}) == retried
    assert counted == [failures + 1] * retried
    assert lines == [f"retry {failures + 1}/{allowed}: 0-run: x"] * retried


@pytest.mark.parametrize(
    ("status", "on_error", "stopping", "stops"),
    [
        ("failed", "stop", False, True),
        ("interrupted", "stop", False, True),  # killed for its memory, say
        ("finished", "stop", False, False),
        ("pruned", "stop", False, False),
        ("stopped", "stop", False, False),
        ("failed", "continue", False, False),
        ("interrupted", "stop", True, False),  # by the stop itself
    ],
)
def test_a_sweep_that_stops_on_errors_stops_when_a_run_did_not_end(
    status, on_error, stopping, stops
):
    done, given_back, reasons = [], [], []
    scheduler = SimpleNamespace(
        **{"is_named": True, "settings": StudySweeperConf(on_error=on_error)},
        jobs=SimpleNamespace(stopping=stopping),
        stop=reasons.append,
        _resolve=lambda job: {"status": status, "error": "x"},
        _problem=lambda: None,
        _should_retry=lambda one, result: False,
        _finish_trial=lambda one, result: done.append(one.number),
        _requeue=lambda one, result: given_back.append(one.number),
    )
    assert not Scheduler.on_job_end(scheduler, SimpleNamespace(trial=trial(0)))
    assert bool(reasons) == stops
    ended = status in ("finished", "failed", "pruned")
    assert (done, given_back) == ([0] * ended, [0] * (not ended))


def test_a_run_that_is_retried_at_once_has_not_ended():
    scheduler = SimpleNamespace(
        **{"is_named": True, "settings": StudySweeperConf(on_error="stop")},
        _resolve=lambda job: {"status": "failed", "error": "x"},
        _problem=lambda: None,
        _should_retry=lambda one, result: True,
    )
    assert Scheduler.on_job_end(scheduler, SimpleNamespace(trial=trial(0)))


def test_what_repeats_a_stopped_suggestion_waits_with_it(tmp_path):
    """A sampler may suggest values again while their run is under way: one run is for both."""
    store = TrialStore(str(tmp_path / "study.journal"), "s", ["minimize"], tmp_path)
    sampler, same = optuna.samplers.RandomSampler(seed=0), TrialParams({"act": "relu"}, "relu")
    first, repeated = (store.attach_params(store.ask(sampler, {}), same) for _ in range(2))
    scheduler = SimpleNamespace(
        **{"store": store, "search": {}, "jobs": {}},
        queue=TrialQueue(store, None, 2),
        reporter=SimpleNamespace(log_end=lambda one: None),
        _update=lambda: None,
    )
    scheduler._duplicates_of = lambda one: Scheduler._duplicates_of(scheduler, one)
    Scheduler._requeue(scheduler, first, {"status": "stopped"})
    assert [first.status, repeated.status] == ["stopped", "stopped"]
    assert [first.waiting, repeated.waiting] == [True, True]
    assert scheduler.queue.interrupted == {0, 1}


@pytest.mark.parametrize(
    ("finished", "to_run", "shown"),
    [(0, 3, "30 s (a rough estimate)"), (1, 3, "30 s"), (0, 0, "0.0 s")],
)
def test_a_time_that_was_not_measured_is_called_rough(tmp_path, finished, to_run, shown):
    """The app says 20 s; the finished trial took 20 s, too."""
    reporter = ProgressReporter(tmp_path, ["seed"], ["maximize"])
    reporter.estimated_s, reporter.n_jobs = 20.0, 2
    done = trial(0)
    done.result.update(status="finished", wall_s=20.0)
    reporter.trials = dict(enumerate([done] * finished))
    line = reporter.format_plan(to_run, 2_000_000_000).splitlines()[1]
    assert line == f"time: about {shown}, disk: about 2 GB"


@pytest.mark.parametrize(("pending", "shown"), [(0, "0 trials, "), (2, "2 trials (2 pending), ")])
def test_a_plan_names_no_states_if_a_search_has_no_trials_yet(tmp_path, pending, shown):
    reporter = ProgressReporter(tmp_path, ["seed"], ["maximize"])
    reporter.n_jobs = 1
    line = reporter.format_plan(5, None, new=pending).splitlines()[0]
    assert line.endswith(f": {shown}5 to run, 1 at a time")
