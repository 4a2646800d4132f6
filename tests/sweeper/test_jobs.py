"""Test the running jobs of a sweep: time limits, stops, and the places that launchers offer."""

import signal
from types import SimpleNamespace

import pytest

from hydra_plugins.hydra_study_sweeper import _jobs
from hydra_plugins.hydra_study_sweeper._jobs import Job, JobPool, prepare_launcher
from hydra_plugins.hydra_study_sweeper._preflight import auto_jobs
from hydra_plugins.hydra_study_sweeper._space import TrialParams
from hydra_plugins.hydra_study_sweeper.config import StudySweeperConf

TERM, KILL = signal.SIGTERM, signal.SIGKILL


@pytest.fixture
def clock(monkeypatch):
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(_jobs.time, "monotonic", lambda: clock.now)
    return clock


class Launcher:
    """Passes signals on to jobs that have a process."""

    def __init__(self):
        self.sent, self.without_process = [], set()

    def signal(self, number, which):
        if number in self.without_process:
            return False
        self.sent.append((number, which))
        return True


def make_pool(folder, clock, timeout_s=None, grace_s=10.0, jobs=2):
    launcher = Launcher()
    pool = JobPool(launcher, folder, timeout_s, grace_s)
    for number in range(jobs):
        trial = SimpleNamespace(number=number, folder=f"{number}-run")
        pool[number] = Job(trial, deadline=clock.now + pool.timeout_s, started=clock.now)
    return pool, launcher


def test_a_job_that_runs_too_long_is_asked_to_exit_and_killed_after_its_grace(tmp_path, clock):
    pool, launcher = make_pool(tmp_path, clock, timeout_s=60, jobs=1)
    sent = {}
    for clock.now in (159, 160, 169, 170, 179, 180):
        launcher.sent.clear()
        pool.check_timeouts()
        sent[clock.now - 100] = [which for _, which in launcher.sent]
    assert sent == {59: [], 60: [TERM], 69: [], 70: [KILL], 79: [], 80: [KILL]}
    assert pool[0].timed_out


def test_without_a_limit_nothing_times_out(tmp_path, clock):
    pool, launcher = make_pool(tmp_path, clock)
    clock.now = 1e12
    pool.check_timeouts()
    assert launcher.sent == []
    assert not pool[0].timed_out


def test_each_job_is_asked_to_stop_once_as_soon_as_it_has_a_process(tmp_path, clock):
    """A second SIGTERM would end a run while it saves."""
    pool, launcher = make_pool(tmp_path, clock)
    launcher.without_process = {1}
    pool.stop()
    assert pool.stopping
    assert launcher.sent == [(0, TERM)]
    pool.check_timeouts()
    assert launcher.sent == [(0, TERM)]
    launcher.without_process = set()
    pool.check_timeouts()
    pool.stop()
    assert launcher.sent == [(0, TERM), (1, TERM)]
    pool.kill()
    assert launcher.sent[2:] == [(0, KILL), (1, KILL)]


def test_a_job_of_another_launcher_is_asked_to_stop_once(tmp_path, clock, monkeypatch):
    """Such a launcher passes no signals on: they go to the process that holds the folder."""
    pool, _ = make_pool(tmp_path, clock, jobs=1)
    pool.launcher, sent = SimpleNamespace(), []
    monkeypatch.setattr(_jobs.run_folder, "holder", {tmp_path / "0-run": 4321}.get)
    monkeypatch.setattr(_jobs.os, "kill", lambda *to: sent.append(to))
    pool.stop()
    pool.check_timeouts()
    pool.stop()
    assert sent == [(4321, TERM)]


def test_a_job_is_done_when_its_launcher_has_returned_and_its_folder_is_free(
    tmp_path, clock, monkeypatch
):
    pool, _ = make_pool(tmp_path, clock)
    locked = {tmp_path / "1-run"}
    monkeypatch.setattr(_jobs.run_folder, "is_locked", lambda folder: folder in locked)
    assert pool.wait_any(0) is None
    pool._done.put((pool[1], "result"))
    assert pool.wait_any(0) is None  # it is still saving
    locked.clear()
    job = pool.wait_any(0)
    assert (job.trial.number, job.result) == (1, "result")
    assert [*pool] == [0]


@pytest.mark.parametrize(("n_jobs", "expected"), [(None, 1), (3, 3)])
def test_a_launcher_without_places_runs_as_many_jobs_as_asked(n_jobs, expected):
    from hydra._internal.core_plugins.basic_launcher import BasicLauncher  # a scan imports it anew

    assert prepare_launcher(SimpleNamespace(), n_jobs) == expected
    assert prepare_launcher(BasicLauncher(), n_jobs) == 1  # it runs in this thread
    places = SimpleNamespace(prepare=lambda wanted: 7 if wanted is None else wanted - 1)
    assert prepare_launcher(places, n_jobs) == (7 if n_jobs is None else 2)


def test_auto_asks_a_launcher_with_places_and_is_one_job_elsewhere():
    asked = []
    places = SimpleNamespace(prepare=lambda wanted, cpu_jobs: asked.append(wanted) or cpu_jobs())
    assert prepare_launcher(places, "auto", lambda: 6) == 6
    assert asked == [None]
    assert prepare_launcher(SimpleNamespace(), "auto", lambda: 6) == 1


@pytest.mark.parametrize(
    ("allowed", "trials", "expected"),
    [([4, 4], 10, 4), ([4, 2], 10, 2), ([4, 4], 3, 3), ([0, 0], 10, 1), ([], 10, 1)],
)
def test_auto_is_what_the_app_allows_and_no_more_than_the_trials(
    monkeypatch, allowed, trials, expected
):
    """A search has no trials before it begins (the last case): it runs one at a time."""
    composer = SimpleNamespace(compose=lambda values: values)
    monkeypatch.setattr(
        "hydra_plugins.hydra_study_sweeper._preflight.load", lambda _: lambda config: config["n"]
    )
    params = [TrialParams({"n": n}, str(n)) for n in allowed]
    assert auto_jobs(StudySweeperConf(), composer, params, trials) == expected


def test_joblib_has_two_jobs_at_least():
    """With one it would run them in this process."""
    for n_jobs, expected in ((None, 2), (1, 2), (5, 5)):
        launcher = SimpleNamespace(joblib={})
        prepare_launcher(launcher, n_jobs)
        assert launcher.joblib["n_jobs"] == expected
