"""Test the trials in a storage: claims, stale trials, results, the journal, pruning."""

import io
import json
import math
import os
import re
import subprocess
import sys

import optuna
import pytest
from optuna.trial import TrialState
from rich.console import Console

from hydra_plugins.hydra_study_sweeper import _display, _trials
from hydra_plugins.hydra_study_sweeper._display import ProgressReporter
from hydra_plugins.hydra_study_sweeper._jobs import Job
from hydra_plugins.hydra_study_sweeper._results import CheckpointCleaner
from hydra_plugins.hydra_study_sweeper._resume import check_compatible
from hydra_plugins.hydra_study_sweeper._space import TrialParams
from hydra_plugins.hydra_study_sweeper._storage import Journal, open_storage
from hydra_plugins.hydra_study_sweeper._trials import TrialQueue, TrialsCsv, TrialStore, read_csv
from hydra_plugins.hydra_study_sweeper.config import StudySweeperConf
from hydra_plugins.hydra_study_sweeper.pruning import TrialReporter
from hydra_plugins.hydra_study_sweeper.sweep_folder import VERSION, read_trials
from tests.sweeper.sweeping import PATH

PARAMS = [TrialParams({"seed": str(seed)}, f"identity-{seed}") for seed in range(3)]


@pytest.fixture
def store(tmp_path):
    """store() -> another view of one storage, as another worker has it."""

    def make(directions=("minimize",)):
        return TrialStore(str(tmp_path / "study.journal"), "s", list(directions), tmp_path)

    first = make()
    first.add(PARAMS, {"seed": ["0", "1", "2"]})
    return make


def test_one_worker_claims_a_trial(store):
    one, two = store(), store()
    assert one.claim(one.trials[0])
    assert not two.claim(two.trials[0])
    assert two.trials[0].status == "running"
    assert not one.claim(one.trials[0])


def test_a_worker_reads_each_line_of_the_journal_once_whatever_the_number_of_trials(
    tmp_path, monkeypatch
):
    read, read_logs = [], Journal.read_logs

    def count(self, log_number_from):
        found = list(read_logs(self, log_number_from))
        read.extend(found)
        return found

    store = TrialStore(str(tmp_path / "study.journal"), "s", ["minimize"], tmp_path)
    store.add([TrialParams({"seed": str(n)}, f"identity-{n}") for n in range(30)], {})
    monkeypatch.setattr(Journal, "read_logs", count)
    worker = TrialStore(str(tmp_path / "study.journal"), "s", ["minimize"], tmp_path)
    queue = TrialQueue(worker, None, 0)
    queue.update(worker.pop_changes())
    while (claimed := queue.claim_next()) is not None:
        worker.finish(claimed, TrialState.COMPLETE, {"status": "finished", "objective": 0.0})
        queue.update(worker.pop_changes())
    assert len(read) == len((tmp_path / "study.journal").read_bytes().splitlines())


def test_a_process_is_unknown_without_proc_and_gone_if_no_signal_reaches_it(monkeypatch):
    """As on macOS: there is no folder /proc."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    monkeypatch.setattr(_trials.Path, "read_text", lambda *_: (_ for _ in ()).throw(OSError()))
    monkeypatch.setattr(os.path, "isdir", lambda path: False)
    assert _trials.process_start_time(os.getpid()) == "unknown"
    assert _trials.process_start_time(ended.pid) == ""


def test_a_claim_that_fails_reads_one_trial_and_writes_nothing(store, monkeypatch, tmp_path):
    one, two = store(), store()
    two.pop_changes()
    assert one.claim(one.trials[0])
    journal = (tmp_path / "study.journal").read_bytes()
    monkeypatch.setattr(two.storage, "get_all_trials", lambda *_, **__: pytest.fail("read all"))
    assert not two.claim(two.trials[0])
    assert (tmp_path / "study.journal").read_bytes() == journal
    assert [trial.number for trial in two.pop_changes()] == [0]


def test_a_worker_that_starts_beside_many_others_finds_a_free_trial_soon(tmp_path):
    """Of 200 trials, 64 others have claimed the first 64 since it looked."""
    others = TrialStore(str(tmp_path / "study.journal"), "s", ["minimize"], tmp_path)
    others.add([TrialParams({"seed": str(n)}, f"identity-{n}") for n in range(200)], {})
    worker = TrialStore(str(tmp_path / "study.journal"), "s", ["minimize"], tmp_path)
    queue = TrialQueue(worker, None, 0)
    queue.update(worker.pop_changes())
    for number in range(64):
        others.claim(others.trials[number])
    tried, claim = [], worker.claim
    worker.claim = lambda trial: tried.append(trial.number) or claim(trial)
    assert queue.claim_next().number >= 64
    assert tried[0] == 0  # alone it takes the first
    assert len(tried) <= 30  # about 8; one after the other it would be 65


def test_results_are_on_the_disk_at_once_and_claims_are_not(store, monkeypatch):
    one, synced = store(), []
    monkeypatch.setattr(os, "fsync", synced.append)
    one.claim(one.trials[0])
    assert not synced
    one.finish(one.trials[0], TrialState.COMPLETE, {"status": "finished", "objective": 0.5})
    assert len(synced) == 1
    one.optuna_study.set_user_attr("sweep", {})
    assert len(synced) == 2


def test_suggestions_have_the_distributions_of_the_space(store):
    space = {
        "act": optuna.distributions.CategoricalDistribution(["relu", "tanh"]),
        "optim.lr": optuna.distributions.FloatDistribution(1e-4, 1e-1, log=True),
        "p": optuna.distributions.FloatDistribution(0.0, 0.5),
        "epochs": optuna.distributions.IntDistribution(1, 64, log=True),
        "depth": optuna.distributions.IntDistribution(2, 5),
    }
    trial = store().ask(optuna.samplers.RandomSampler(seed=0), space)
    assert trial.distributions == space


def test_trials_with_equal_params_are_added_once(store):
    one, two = store(), store()
    one.add(PARAMS, {"seed": ["0", "1", "2"]})
    two.add([*PARAMS, TrialParams({"seed": "9"}, "identity-9")], {"seed": ["0", "1", "2", "9"]})
    one.sync()
    assert list(one.by_identity) == ["identity-0", "identity-1", "identity-2", "identity-9"]
    assert len(one.trials) == 4


def test_two_machines_that_add_a_trial_at_once_share_it(store, monkeypatch):
    one, two = store(), store()
    new = [TrialParams({"seed": "9"}, "identity-9")]
    axes = {"seed": ["0", "1", "2", "9"]}
    with monkeypatch.context() as blind:  # `two` reads, then `one` writes, then `two` writes
        blind.setattr(two, "sync", lambda: None)
        one.add(new, axes)
        two.add(new, axes)
    for view in (one, two):
        view.sync()
        assert [*view.trials] == [0, 1, 2, 3]
    assert len(one.optuna_study.trials) == 5
    assert one.claim(one.trials[3])
    assert not two.claim(two.trials[3])


def test_two_workers_that_add_an_attempt_at_once_share_the_first(store, monkeypatch):
    one, two = store(), store()
    failed = {"status": "failed", "error": "x"}
    one.claim(one.trials[0])
    one.finish(one.trials[0], TrialState.FAIL, failed)
    two.sync()
    with monkeypatch.context() as blind:  # `two` has not seen what `one` adds
        blind.setattr(two, "sync", lambda: None)
        one.add_attempt(one.trials[0], "failed")
        two.add_attempt(two.trials[0], "failed")
    for view in (one, two, store()):
        view.sync()
        assert [view.trials[0].attempts[n].number for n in (0, 1)] == [0, 3]
        assert view.trials[0].optuna_trial.number == 3  # and not 4, which came later
    assert one.claim(one.trials[0])
    assert not two.claim(two.trials[0])


def test_a_search_may_suggest_the_same_values_twice(store):
    sweep, sampler = store(), optuna.samplers.RandomSampler(seed=0)
    same = TrialParams({"act": "relu"}, "identity-relu")
    found = [sweep.attach_params(sweep.ask(sampler, {}), same) for _ in range(2)]
    assert [trial.number for trial in found] == [3, 4]
    assert sweep.duplicate_of(found[0]) is None
    assert sweep.duplicate_of(found[1]) is found[0]


def test_one_worker_reclaims_a_stale_trial(store, monkeypatch):
    exited = store()
    exited.worker.name = "host|boot|3|3"
    exited.claim(exited.trials[0])
    monkeypatch.setattr(_trials, "process_start_time", lambda pid: "")  # no process is alive
    one, two = store(), store()
    one.worker.name, two.worker.name = "host|boot|1|1", "host|boot|2|2"
    stale = [view.stale_trials()[0] for view in (one, two)]
    assert one.reclaim(stale[0])
    assert not two.reclaim(stale[1])
    assert two.trials[0].status == "interrupted"
    assert [one.claim(one.trials[0]), two.claim(two.trials[0])] == [True, False]


def test_trial_is_stale_without_heartbeat_of_its_worker(store, monkeypatch):
    far, near = store(), store()
    far.worker.name = "elsewhere|boot|1|1"
    far.claim(far.trials[0])
    near.sync()
    clock = [1000.0]
    monkeypatch.setattr(_trials.time, "monotonic", lambda: clock[0])
    assert near.stale_trials() == []  # seen for the first time
    clock[0] += _trials.HEARTBEAT_TIMEOUT_S / 2
    far.worker.heartbeat()
    assert near.stale_trials() == []
    clock[0] += _trials.HEARTBEAT_TIMEOUT_S * 0.9
    assert near.stale_trials() == []
    clock[0] += _trials.HEARTBEAT_TIMEOUT_S * 0.2
    assert [trial.number for trial in near.stale_trials()] == [0]


def test_second_result_of_a_trial_is_ignored(store):
    one, two = store(), store()
    one.claim(one.trials[0])
    two.sync()
    one.finish(one.trials[0], TrialState.COMPLETE, {"status": "finished", "objective": 0.5})
    two.finish(two.trials[0], TrialState.FAIL, {"status": "failed", "error": "x"})
    assert two.trials[0].status == "finished"
    assert two.trials[0].optuna_trial.value == 0.5


@pytest.mark.parametrize(("direction", "worst"), [("minimize", math.inf), ("maximize", -math.inf)])
def test_a_trial_that_finished_without_an_objective_has_the_worst_one(tmp_path, direction, worst):
    store = TrialStore(str(tmp_path / "study.journal"), "s", [direction], tmp_path)
    store.add(PARAMS, {"seed": ["0", "1", "2"]})
    for number, objective in enumerate((None, 0.5)):
        store.claim(store.trials[number])
        end = {"status": "finished", "objective": objective}
        store.finish(store.trials[number], TrialState.COMPLETE, end)
    assert store.trials[0].optuna_trial.value == worst
    assert store.optuna_study.best_trial.number == 1


def test_another_direction_is_refused(store):
    with pytest.raises(ValueError, match="direction"):
        store(["maximize"])


def test_trials_csv_has_status_and_error(store, tmp_path):
    one = store()
    reporter = ProgressReporter(tmp_path, ["seed"], ["minimize"])
    one.claim(one.trials[1])
    end = {"status": "failed", "error": 'a "quoted", reason', "wall_s": 1.5}
    one.finish(one.trials[1], TrialState.FAIL, end)
    reporter.update(one.pop_changes())
    found = read_csv(tmp_path / "trials.csv")
    assert list(found) == ["0-seed-0", "1-seed-1", "2-seed-2"]
    assert found["1-seed-1"]["state"] == "failed"
    assert found["1-seed-1"]["error"] == 'a "quoted", reason'
    assert found["2-seed-2"]["state"] == "pending"


def test_an_error_with_square_brackets_is_printed_as_it_is(store, tmp_path, capsys):
    one = store()
    reporter = ProgressReporter(tmp_path, ["seed"], ["minimize"])
    one.claim(one.trials[0])
    result = {"status": "failed", "error": "ValueError: [/x] of [red]"}
    one.finish(one.trials[0], TrialState.FAIL, result)
    reporter.update(one.pop_changes())
    reporter.print_summary()
    assert "ValueError: [/x] of [red]" in capsys.readouterr().out


@pytest.fixture
def reporter_on(monkeypatch, tmp_path):
    """reporter_on(width, ...) -> a reporter on a terminal of that width, and what it writes."""

    def make(width, **options):
        written = io.StringIO()
        console = Console(file=written, force_terminal=True, color_system="standard", width=width)
        monkeypatch.setattr(_display, "_Console", lambda **_: console)
        return ProgressReporter(tmp_path, ["seed"], ["maximize"], **options), written

    return make


def test_running_trials_are_shown_with_their_epoch_and_a_link(store, tmp_path, reporter_on):
    one = store()
    reporter, written = reporter_on(80, progress=lambda folder: f"epoch 3/20 of {folder.name}")
    one.claim(one.trials[1])
    reporter.update(one.pop_changes())
    reporter.start()
    reporter.refresh(1, [Job(one.trials[1], deadline=math.inf)])
    reporter.stop()
    row = next(line for line in written.getvalue().split("\n") if "epoch 3/20" in line)
    link = re.search(r"\x1b]8;[^;]*;([^\x1b]*)\x1b\\([^\x1b]*)\x1b]8;;", row)
    assert link.groups() == (f"file://{tmp_path}/1-seed-1", "1-seed-1")
    assert "epoch 3/20 of 1-seed-1" in row


def test_objectives_have_their_name_and_the_apps_own_form(store, reporter_on):
    one = store()
    percent = lambda name, value: f"{100 * value:.1f}%"  # noqa: E731
    reporter, written = reporter_on(80, names=["val/acc"], format_value=percent)
    one.claim(one.trials[0])
    end = {"status": "finished", "objective": 0.3499999940395355, "wall_s": 2.0}
    one.finish(one.trials[0], TrialState.COMPLETE, end)
    reporter.update(one.pop_changes())
    reporter.print_summary()
    text = written.getvalue()
    assert "val/acc" in text
    assert "35.0%" in text
    assert "0.34" not in text
    assert "objective" not in text.split("\n")[0]


def test_optunas_dashboard_is_told_what_the_sweep_asks(store):
    one = store()
    about = {"question": "Which seed?", "axes": {"seed": "0, 1"}}
    one.describe(["val/acc"], "python -m toy -m seed=0,1", about)
    known = store().optuna_study
    assert known.metric_names == ["val/acc"]
    assert known.user_attrs["question"] == "Which seed?"
    assert known.user_attrs["command"] == "python -m toy -m seed=0,1"
    assert "axes" not in known.user_attrs


@pytest.mark.parametrize(("direction", "kept"), [("minimize", 0), ("maximize", 1)])
def test_lower_number_keeps_best_checkpoint_among_equals(store, tmp_path, direction, kept):
    one = store()
    checkpoints = CheckpointCleaner(
        tmp_path, 1, ProgressReporter(tmp_path, ["seed"], [direction]).ranking
    )
    for trial in one.trials.values():
        for name in ("best", "last"):
            path = tmp_path / trial.folder / f"checkpoints/{name}.ckpt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    for number, objective in ((2, 0.5), (1, 0.75), (0, 0.5)):
        one.claim(one.trials[number])
        end = {"status": "finished", "objective": objective}
        one.finish(one.trials[number], TrialState.COMPLETE, end)
        checkpoints.clean(one.trials[number])
    left = [path.parent.parent.name for path in tmp_path.glob("*/checkpoints/*.ckpt")]
    assert left == [one.trials[kept].folder]


def test_lock_of_a_killed_process_is_free(tmp_path):
    code = (
        "import sys, time; from hydra_plugins.hydra_study_sweeper._storage import FlockLock;"
        "FlockLock(sys.argv[1]).acquire(); print('held', flush=True); time.sleep(60)"
    )
    path = str(tmp_path / "study.journal")
    open_storage(path)
    env = {**os.environ, "PYTHONPATH": PATH}
    holder = subprocess.Popen(
        [sys.executable, "-c", code, f"{path}.lock"], stdout=subprocess.PIPE, env=env
    )
    assert holder.stdout.readline() == b"held\n"
    holder.kill()
    holder.wait()
    begin = _trials.time.monotonic()
    TrialStore(path, "s", ["minimize"], tmp_path).add(PARAMS, {"seed": ["0", "1", "2"]})
    assert _trials.time.monotonic() - begin < 1


@pytest.mark.parametrize("cut", [1, 7, 40, 10_000])
def test_incomplete_line_of_a_journal_is_moved_away(tmp_path, store, cut):
    path = tmp_path / "study.journal"
    whole = path.read_bytes()
    line = b'{"op_code":4,"worker_id":"' + b"x" * 20_000
    path.write_bytes(whole + line[:cut])
    one = store()
    assert one.claim(one.trials[0])
    assert path.read_bytes().startswith(whole)
    assert all(json.loads(text) for text in path.read_text().splitlines())
    assert (tmp_path / "study.journal.cut").read_bytes() == line[:cut] + b"\n"


def test_reporter_prunes_a_poor_trial(tmp_path, store):
    one = store()
    one.add(
        [TrialParams({"seed": str(n)}, f"identity-{n}") for n in range(6)], {"seed": list("012345")}
    )
    path = str(tmp_path / "study.journal")
    pruned = []
    for number, value in enumerate((0.1, 0.2, 0.1, 0.2, 0.1, 0.9)):
        one.claim(one.trials[number])
        reporter = TrialReporter(storage=path, study="s", number=number, pruner="median")
        answers = []
        for step in range(3):
            reporter.report(value, step)
            answers.append(reporter.should_prune())
        pruned.append(answers)
        end = {"status": "finished", "objective": value}
        one.finish(one.trials[number], TrialState.COMPLETE, end)
    assert pruned == [[False] * 3] * 5 + [[True] * 3]  # the median needs five trials


def test_storage_of_an_older_version_is_refused(tmp_path):
    old = open_storage(str(tmp_path / "study.journal"))
    study = optuna.create_study(storage=old, study_name=tmp_path.name)
    study.set_user_attr("signature", {"axes": {}, "config": {"jobs": 1}, "search": False})
    with pytest.raises(ValueError, match="made by an older version of the sweeper"):
        check_compatible(tmp_path, {}, study.user_attrs, StudySweeperConf())


@pytest.mark.parametrize("name", ["../evil", "/etc", "a/b", "..", ".", "", "a\\b"])
def test_folder_name_from_a_file_stays_in_the_sweep(tmp_path, name):
    (tmp_path / "trials.csv").write_text(f"number,state,folder\n0,finished,{name}\n")
    with pytest.raises(ValueError, match=r"trials\.csv: .* is not the name of a folder"):
        read_trials(tmp_path)
    path = str(tmp_path / "study.journal")
    study = optuna.create_study(storage=open_storage(path), study_name="s")
    attrs = {"params": {"values": {}, "identity": "i"}, "folder": name or "/"}
    study.add_trial(optuna.trial.create_trial(state=TrialState.WAITING, user_attrs=attrs))
    with pytest.raises(ValueError, match="is not the name of a folder in this sweep"):
        TrialStore(path, "s", ["minimize"], tmp_path)


def test_a_search_over_another_interval_is_refused_and_a_grid_may_grow(tmp_path):
    """Samplers of Optuna cannot mix two distributions of one name."""

    def sweep(axis, search):
        shared = {"fingerprint": {}, "config": {"lr": 0.1}, "search": search}
        return {"version": VERSION, "axes": {"lr": axis}, **shared}

    old, new = sweep("interval(0.01, 1)", True), sweep("interval(0.01, 2)", True)
    check_compatible(tmp_path, old, old, StudySweeperConf())
    changed = r"the axis lr: interval\(0.01, 1\) -> interval\(0.01, 2\); use"
    with pytest.raises(ValueError, match=changed):
        check_compatible(tmp_path, new, old, StudySweeperConf())
    with pytest.raises(ValueError, match="the axis lr"):
        check_compatible(tmp_path, new, sweep(["0.01", "1"], False), StudySweeperConf())
    grown = sweep(["0.01", "1", "2"], False)
    check_compatible(tmp_path, grown, sweep(["0.01", "1"], False), StudySweeperConf())


def test_a_failed_trial_that_is_asked_for_again_has_all_its_retries(store):
    one = store()
    queue = TrialQueue(one, None, 0)
    for rerun_failed, failures in ((False, 1), (False, 2), (True, 0), (False, 1)):
        one.claim(one.trials[0])
        one.finish(one.trials[0], TrialState.FAIL, {"status": "failed", "error": "ValueError: x"})
        queue.requeue_unfinished(2, rerun_failed=rerun_failed)
        assert one.trials[0].waiting
        assert one.trials[0].num_failures == failures


def test_a_worker_does_not_take_its_own_trial_for_a_stale_one(store):
    one, two = store(), store()
    one.worker.name = two.worker.name = "host|boot|1|1"  # two sweeps of one process
    one.claim(one.trials[0])
    two.sync()
    assert one.stale_trials() == []
    assert [trial.number for trial in two.stale_trials()] == [0]


def test_a_process_is_known_by_its_start_and_a_zombie_has_exited(store):
    """A number is given to another process some day."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    started, worker = _trials.process_start_time(child.pid), store().worker
    host, namespace, *_ = worker.name.split("|")
    name = f"{host}|{namespace}|{child.pid}"
    assert worker.is_alive(f"{name}|{started}")
    assert not worker.is_alive(f"{name}|{int(started) - 1}")
    assert not worker.is_alive(worker.name)  # itself: it knows what it runs
    child.stdin.close()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it has ended and nobody has asked
    assert not worker.is_alive(f"{name}|{started}")
    child.wait()
    assert _trials.process_start_time(child.pid) == ""


def test_a_process_of_another_boot_or_container_is_known_by_its_heartbeat(store, monkeypatch):
    """Its number is not one of this process namespace, and two containers may have one host name.

    A heartbeat that does not change for 60 s is that of a worker that has exited.
    """
    worker, clock = store().worker, [0.0]
    monkeypatch.setattr(_trials.time, "monotonic", lambda: clock[0])
    host, _, *process = worker.name.split("|")
    other = "|".join([host, "f00d-pid:[1]", *process[:-1], "1"])
    for clock[0], alive in ((0.0, True), (59.0, True), (61.0, False)):
        assert worker.is_alive(other) is alive


def test_heartbeats_are_stored_four_times_within_the_timeout(store, monkeypatch):
    worker, clock = store().worker, [0.0]
    stored = []
    monkeypatch.setattr(_trials.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(worker.optuna_study, "set_user_attr", lambda key, value: stored.append(key))
    for clock[0] in range(0, 61):
        worker.heartbeat()
    assert stored == [f"worker:{worker.name}"] * 4  # at 0, 16, 32 and 48 s


def test_an_attempt_keeps_failures_params_and_intermediate_values(store):
    """Optuna's pruners compare with the values of each trial."""
    one = store()
    one.claim(one.trials[1])
    one.set_num_failures(one.trials[1], 2)
    study = one.optuna_study
    optuna.Trial(study, one._id_of(one.trials[1].optuna_trial)).report(0.25, 0)
    one.finish(one.trials[1], TrialState.FAIL, {"status": "failed", "error": "x"})
    one.add_attempt(one.trials[1], "interrupted")
    trial = store().trials[1]
    assert (trial.status, trial.num_failures, trial.folder) == ("interrupted", 2, "1-seed-1")
    assert sorted(trial.attempts) == [0, 1]
    assert trial.optuna_trial.intermediate_values == {0: 0.25}
    assert trial.optuna_trial.params == {"seed": 1.0}
    assert trial.values == {"seed": "1"}


def test_a_trial_that_was_given_back_has_its_status_and_error(store):
    one = store()
    one.claim(one.trials[0])
    one.requeue(one.trials[0], "interrupted", "SIGKILL")
    trial = store().trials[0]
    assert trial.waiting
    assert trial.result == {"status": "interrupted", "error": "SIGKILL"}
    assert one.claim(one.trials[0])


@pytest.mark.parametrize(
    ("status", "error", "max_retries", "rerun_failed", "again"),
    [
        ("failed", "ValueError: x", 0, False, None),
        ("failed", "ValueError: x", 1, False, {"num_failures": 1, "from_scratch": False}),
        ("failed", "ValueError: x", 0, True, {"num_failures": 0, "from_scratch": True}),
        ("failed", "FileNotFoundError: no images", 0, False, {"num_failures": 0}),
        ("failed", "OSError: [Errno 28] No space left", 0, False, {"num_failures": 0}),
        ("failed", "ConnectionError: host", 0, False, {"num_failures": 0}),
        ("failed", "KeyError: 'OSError'", 0, False, None),
        ("interrupted", None, 0, False, {}),
    ],
)
def test_what_the_next_command_runs_again(store, status, error, max_retries, rerun_failed, again):
    one = store()
    queue = TrialQueue(one, {"identity-0"}, 0)
    for number in (0, 1):  # trial 1 is of another command
        one.claim(one.trials[number])
        one.finish(one.trials[number], TrialState.FAIL, {"status": status, "error": error})
    expected = again if again is None else {"status": status, **again}
    assert queue.next_attempt(one.trials[0], max_retries, rerun_failed) == expected
    assert queue.next_attempt(one.trials[1], max_retries, rerun_failed) is None
    one.claim(one.trials[2])
    one.finish(one.trials[2], TrialState.COMPLETE, {"status": "finished", "objective": 1})
    queue.identities = None
    assert queue.next_attempt(one.trials[2], 9, True) is None


def test_trials_are_claimed_in_their_order_and_a_search_asks_for_the_rest(store):
    one, other = store(), store()
    queue = TrialQueue(one, None, 5)
    queue.update([one.trials[n] for n in (2, 0, 1)])
    queue.sort()
    assert (queue.num_pending(), queue.num_to_sample()) == (5, 2)
    other.claim(other.trials[0])
    one.sync()
    assert [queue.claim_next().number for _ in range(2)] == [1, 2]
    assert queue.claim_next() is None
    assert queue.any_running()
    assert TrialQueue(one, {"identity-9"}, 5).num_to_sample() == 0
    assert not TrialQueue(one, {"identity-9"}, 5).any_running()


def test_the_axes_have_distributions_that_hold_all_their_values():
    """For Optuna's dashboard: numbers in any order, and texts."""
    numbers = _trials.axis_distribution(["0.1", "1e-3", "0.01"])
    assert numbers == optuna.distributions.FloatDistribution(0.001, 0.1)
    texts = _trials.axis_distribution(["1", "relu"])
    assert texts == optuna.distributions.CategoricalDistribution(["1", "relu"])


def test_a_table_of_two_objectives_has_a_column_for_each(tmp_path):
    store = TrialStore(str(tmp_path / "j.journal"), "s", ["minimize", "maximize"], tmp_path)
    store.add(PARAMS[:2], {"seed": ["0", "1"]})
    store.claim(store.trials[0])
    end = {"status": "finished", "objective": [0.5, 3], "wall_s": 1.23456}
    store.finish(store.trials[0], TrialState.COMPLETE, end)
    table = TrialsCsv(tmp_path, ["seed"], 2)
    assert all(table.update(trial) for trial in store.trials.values())
    assert not table.update(store.trials[1])
    table.write()
    lines = (tmp_path / "trials.csv").read_text().splitlines()
    assert lines == [
        "number,state,seed,objective_0,objective_1,wall_s,folder,error,identity",
        "0,finished,0,0.5,3.0,1.235,0-seed-0,,identity-0",
        "1,pending,1,,,,1-seed-1,,identity-1",
    ]


def test_folders_of_equal_names_are_numbered(tmp_path):
    path = str(tmp_path / "study.journal")
    store = TrialStore(path, "s", ["minimize"], tmp_path, lambda number, values: "x")
    store.add(PARAMS, {"seed": ["0", "1", "2"]})
    assert [trial.folder for trial in store.trials.values()] == ["x", "x-2", "x-3"]


def test_an_interrupted_trial_waits_for_the_next_command(store):
    """Otherwise a run that is killed each time would never let its sweep end."""
    one = store()
    queue = TrialQueue(one, None, 3)
    one.claim(one.trials[0])
    queue.interrupted.add(0)
    one.requeue(one.trials[0], "interrupted", "SIGKILL")
    queue.update(one.pop_changes())
    assert queue.num_pending() == 2
    queue = TrialQueue(store(), None, 3)  # of the next command
    queue.update(queue.store.pop_changes())
    assert queue.num_pending() == 3
