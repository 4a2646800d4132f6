"""What a job's task finds in its process, and what the launcher gets back from it."""

import atexit
import logging
import os
import signal
import sys
import threading
import time
import traceback

import pytest
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobStatus


def read(path):
    """The text of a file that a job writes, once it is there."""
    for _ in range(3000):
        if path.exists():
            return path.read_text()
        time.sleep(0.01)
    raise TimeoutError(path)


def test_the_task_sees_what_hydra_promises(launch, tmp_path):
    def task(cfg):
        job = HydraConfig.get().job
        return [cfg.bar, job.num, job.id, job.override_dirname, HydraConfig.get().run.dir]

    result = launch(task)
    assert result.status is JobStatus.COMPLETED
    assert result.overrides == ["+a=1", "bar=7"]
    folder = str(tmp_path / "0")
    assert result.return_value == [7, 0, "a_module_0", "+a=1,bar=7", folder]
    assert result.hydra_cfg.hydra.runtime.output_dir == folder


def test_sys_argv_is_the_command_of_a_single_run(launch, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["pytest"])  # workers of pytest-xdist have others
    monkeypatch.setattr(sys, "orig_argv", ["python", "pytest"])

    def task(cfg):
        return sys.argv[1:], getattr(sys.modules["__main__"].__spec__, "name", None)

    words, main = launch(task, "hydra.verbose=true").return_value
    spec = sys.modules["__main__"].__spec__  # None in such a worker
    assert main == getattr(spec, "name", None)
    assert words == [
        "--config-name=compose",
        "hydra/launcher=process",
        f"hydra.sweep.dir={tmp_path}",
        "hydra.verbose=true",
        "+a=1",
        "bar=7",
        "hydra.mode=RUN",
        f"hydra.run.dir={tmp_path}/0",
        "hydra.job.num=0",
        "hydra.job.id=a_module_0",
    ]


def test_all_output_goes_to_the_folder(launch, tmp_path, capfd):
    def task(cfg):
        print("from Python")
        os.system("echo from a program")
        logging.getLogger("app").info("from a logger")

    launch(task)
    log = (tmp_path / "0/train.log").read_text()
    for text in ("from Python", "from a program", "from a logger"):
        assert log.count(text) == 1
    assert "from a logger" in (tmp_path / "0/a_module.log").read_text()
    assert capfd.readouterr().out == ""


def test_an_exception_comes_back_with_its_traceback(launch, tmp_path):
    def task(cfg):
        raise KeyError("no such thing")

    result = launch(task)
    assert result.status is JobStatus.FAILED
    with pytest.raises(KeyError, match="no such thing") as raised:
        _ = result.return_value
    assert "in task\n" in "".join(traceback.format_exception(raised.value))
    log = (tmp_path / "0/train.log").read_text()
    assert log.count("Traceback") == 1
    assert log.endswith("KeyError: 'no such thing'\n")


def test_an_exception_that_the_task_has_logged_is_not_printed_again(launch, tmp_path):
    def task(cfg):
        print("Traceback of the task's own\nValueError: logged")
        raise ValueError("logged")

    launch(task)
    text = "Traceback of the task's own\nValueError: logged\n"
    assert (tmp_path / "0/train.log").read_text() == text


class Unreadable(Exception):
    """Pickled, and then not read back."""

    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


def test_what_cannot_be_pickled_is_left_out(launch, tmp_path):
    class Closed(Exception):
        def __reduce__(self):
            raise TypeError("not me")

    def value(cfg):
        return threading.Lock()

    def closed(cfg):
        raise Closed("why it failed")

    def unreadable(cfg):
        raise Unreadable("this", "that")

    result = launch(value)
    assert result.status is JobStatus.COMPLETED
    assert result.return_value is None
    assert "cannot pickle '_thread.lock' object" in (tmp_path / "0/train.log").read_text()
    for task, text in ((closed, "Closed: why it failed"), (unreadable, "this and that")):
        result = launch(task)
        assert result.status is JobStatus.FAILED
        with pytest.raises(RuntimeError, match=text):
            _ = result.return_value


def test_a_large_result_arrives(launch):
    assert launch(lambda cfg: bytes(10_000_000)).return_value == bytes(10_000_000)


@pytest.mark.parametrize(
    ("end", "code", "text"),
    [
        (lambda: os.kill(os.getpid(), signal.SIGKILL), -9, "ended by SIGKILL"),
        (lambda: os._exit(3), 3, "exit code 3"),
        (lambda: os._exit(0), 0, "exit code 0"),
        (lambda: sys.exit(143), 143, "exit code 143"),
    ],
)
@pytest.mark.parametrize("start", ["forkserver", pytest.param("spawn", marks=pytest.mark.slow)])
def test_a_process_that_ended_is_no_exception_of_the_task(launch, end, code, text, start):
    def task(cfg):
        end()

    result = launch(task, f"hydra.launcher.start_method={start}")
    assert result.status is JobStatus.FAILED
    assert result.overrides == ["+a=1", "bar=7"]
    with pytest.raises(RuntimeError, match=text) as raised:
        _ = result.return_value
    assert raised.value.exit_code == code


def test_a_config_that_cannot_be_composed_is_the_jobs_failure(make_launcher, tmp_path):
    launcher = make_launcher(lambda cfg: None)
    folder = [f"hydra.sweep.dir={tmp_path}", "hydra.sweep.subdir=mine"]
    (result,) = launcher.launch([["boo=1", *folder]], 0)
    with pytest.raises(Exception, match="Could not override 'boo'"):
        _ = result.return_value
    assert "Could not override 'boo'" in (tmp_path / "mine/train.log").read_text()


def test_a_child_of_the_job_does_not_keep_its_result_waiting(launch):
    def task(cfg):
        if os.fork() == 0:
            time.sleep(60)
            os._exit(0)
        os._exit(4)

    begin = time.monotonic()
    with pytest.raises(RuntimeError, match="exit code 4"):
        _ = launch(task).return_value
    assert time.monotonic() - begin < 30


def test_exit_handlers_run(launch, tmp_path):
    def task(cfg):
        atexit.register((tmp_path / "exited").write_text, "yes")

    launch(task)
    assert (tmp_path / "exited").read_text() == "yes"


def test_a_job_ends_as_usual_when_its_fork_server_was_killed(make_launcher, tmp_path):
    def task(cfg):
        (tmp_path / f"server-{cfg.a}").write_text(str(os.getppid()))
        while cfg.a == 1 and not (tmp_path / "go on").exists():
            time.sleep(0.01)
        if cfg.a == 2:
            while os.getppid() == int((tmp_path / "server-2").read_text()):
                time.sleep(0.01)
            os._exit(5)
        return cfg.a

    launcher = make_launcher(task)
    launcher.prepare(2)
    results = []
    run = threading.Thread(target=lambda: results.extend(launcher.launch([["+a=1"], ["+a=2"]], 0)))
    run.start()
    server = int(read(tmp_path / "server-1"))
    read(tmp_path / "server-2")
    os.kill(server, signal.SIGKILL)
    (tmp_path / "go on").touch()
    run.join()
    assert results[0].return_value == 1
    with pytest.raises(RuntimeError, match="unobserved") as raised:
        _ = results[1].return_value
    assert raised.value.exit_code is None
    (again,) = launcher.launch([["+a=3"]], 2)
    assert again.return_value == 3


@pytest.mark.parametrize(
    ("limit", "threads"), [("", 2), ("1", 1), ("4", 2), ("1,2", 1), ("0", 2), ("many", 2)]
)
def test_jobs_share_the_cpus_that_omp_num_threads_leaves_them(
    limit, threads, make_launcher, monkeypatch
):
    """Three jobs on eight CPUs have two each. A list is for nested loops; its first counts."""
    from hydra_plugins.hydra_process_launcher import _devices

    monkeypatch.setattr(_devices, "cpus", lambda: 8)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("OMP_NUM_THREADS", limit)
    launcher = make_launcher(lambda cfg: None)
    assert launcher.prepare(3) == 3
    assert launcher.threads == threads
