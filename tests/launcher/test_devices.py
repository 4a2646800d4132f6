"""How GPUs are found and given to jobs, with false nvidia-smi and rocm-smi programs."""

import logging
import os
import queue
import sys
import threading
import time

import pytest

from hydra_plugins.hydra_process_launcher._devices import (
    GpuPool,
    Gpus,
    count_gpus_per_job,
    cpus,
    find_gpus,
    list_gpus,
)

TWO_CARDS = """\
GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-aa5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77)
"""
UUIDS = ["GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77", "GPU-aa5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77"]
# the first lines are NVIDIA's own example (MIG User Guide, Device Enumeration)
MIG = """\
GPU 0: A100-SXM4-40GB (UUID: GPU-e86cb44c-6756-fd30-cd4a-1e6da3caf9b0)
  MIG 3g.20gb Device 0: (UUID: MIG-c7384736-a75d-5afc-978f-d2f1294409fd)
  MIG 3g.20gb Device 1: (UUID: MIG-a28ad590-3fda-56dd-84fc-0a0b96edc58d)
GPU 1: A100-SXM4-40GB (UUID: GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77)
"""
MIG_NAMES = [
    "MIG-c7384736-a75d-5afc-978f-d2f1294409fd",
    "MIG-a28ad590-3fda-56dd-84fc-0a0b96edc58d",
    "GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77",
]
ROCM = """\
============================ ROCm System Management Interface ============================
=========================================== ID ===========================================
GPU[0]\t\t: Device Name: \t\tAMD Instinct MI250X
GPU[0]\t\t: Device ID: \t\t0x7408
GPU[1]\t\t: Device Name: \t\tAMD Instinct MI250X
GPU[1]\t\t: Device ID: \t\t0x7408
==========================================================================================
"""
MISMATCH = "Failed to initialize NVML: Driver/library version mismatch"


@pytest.fixture(autouse=True)
def machine(tmp_path, monkeypatch):
    """machine("nvidia-smi", text, code): a program on PATH that prints `text` and exits so."""
    for variable in ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))

    def make(name, text, code=0):
        program = f"#!{sys.executable}\nimport sys\nprint({text!r}, end='')\nsys.exit({code})\n"
        (tmp_path / name).write_text(program)
        (tmp_path / name).chmod(0o755)

    return make


def find_slots(accelerator, jobs_per_gpu, gpus_per_job):
    """The environments of as many jobs as may run at a time, and a warning."""
    gpus, warning = find_gpus(accelerator)
    return take_all(GpuPool(gpus, jobs_per_gpu), gpus_per_job), warning


def take_all(pool, gpus_per_job):
    return [pool.acquire(gpus_per_job) for _ in range(pool.num_jobs(gpus_per_job))]


def test_gpus_are_named_by_their_uuid(machine):
    machine("nvidia-smi", TWO_CARDS)
    assert list_gpus().names == UUIDS
    assert find_slots("auto", 1, 1) == ([{"CUDA_VISIBLE_DEVICES": uuid} for uuid in UUIDS], "")


def test_mig_slices_are_listed_instead_of_their_card(machine):
    machine("nvidia-smi", MIG)
    assert list_gpus().names == MIG_NAMES
    with pytest.raises(ValueError, match="gpus_per_job=2: a process can use one MIG slice"):
        find_slots("auto", 1, 2)


def test_a_driver_of_before_2021_names_slices_by_card_and_numbers(machine):
    machine("nvidia-smi", "GPU 0: A (UUID: GPU-1)\n  MIG 1g.5gb Device 0: (UUID: MIG-GPU-1/7/0)\n")
    assert list_gpus().names == ["MIG-GPU-1/7/0"]


def test_amd_gpus_are_numbered(machine):
    machine("rocm-smi", ROCM)
    assert find_slots("gpu", 1, 1)[0] == [
        {"HIP_VISIBLE_DEVICES": "0"},
        {"HIP_VISIBLE_DEVICES": "1"},
    ]
    machine("nvidia-smi", MISMATCH, 18)
    assert find_slots("auto", 1, 2) == ([{"HIP_VISIBLE_DEVICES": "0,1"}], "")


CUDA, HIP, ROCR = (f"{name}_VISIBLE_DEVICES" for name in ("CUDA", "HIP", "ROCR"))


@pytest.mark.parametrize(
    ("variable", "value", "slots"),
    [
        (CUDA, "5,7", [{CUDA: "5"}, {CUDA: "7"}]),
        (CUDA, "GPU-5d5, GPU-1", [{CUDA: "GPU-5d5"}, {CUDA: "GPU-1"}]),
        (CUDA, "3,-1,4", [{CUDA: "3"}]),
        (CUDA, "", []),
        (CUDA, "-1", []),
        (HIP, "2,3", [{HIP: "2"}, {HIP: "3"}]),
        (ROCR, "2,3", [{HIP: "0"}, {HIP: "1"}]),
    ],
)
def test_the_environment_decides(monkeypatch, variable, value, slots):
    monkeypatch.setenv(variable, value)
    assert find_slots("auto", 1, 1) == (slots, "")
    if not slots:
        with pytest.raises(ValueError, match=f"accelerator=gpu: no GPU .*{variable}='{value}'"):
            find_slots("gpu", 1, 1)


@pytest.mark.parametrize("value", ["0,2", "GPU-0000", "GPU-5d5,MIG-1"])
@pytest.mark.parametrize("accelerator", ["auto", "gpu"])
def test_a_gpu_that_is_named_and_not_there_is_an_error(machine, monkeypatch, value, accelerator):
    machine("nvidia-smi", TWO_CARDS)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    wrong = value.split(",")[-1]
    with pytest.raises(ValueError, match=f"CUDA_VISIBLE_DEVICES names {wrong}, and nvidia-smi -L"):
        find_slots(accelerator, 1, 1)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,GPU-5d5")
    assert len(find_slots(accelerator, 1, 1)[0]) == 2


@pytest.mark.parametrize("accelerator", ["gpu", "cuda"])
def test_a_gpu_that_is_asked_for_and_not_there_is_an_error(machine, accelerator):
    text = f"accelerator={accelerator}: no GPU \\(neither nvidia-smi nor rocm-smi is installed\\)"
    with pytest.raises(ValueError, match=text):
        find_slots(accelerator, 1, 1)
    machine("nvidia-smi", f"{MISMATCH}\nNVML library version: 580.65\n", 18)
    with pytest.raises(ValueError, match=rf"no GPU \(nvidia-smi -L failed: {MISMATCH}\)"):
        find_slots(accelerator, 1, 1)


def test_a_failing_nvidia_smi_is_no_silent_cpu_run(machine):
    machine("nvidia-smi", MISMATCH, 18)
    assert find_slots("auto", 1, 1) == (
        [],
        f"nvidia-smi -L failed: {MISMATCH}; jobs run on the CPU",
    )


@pytest.mark.parametrize("accelerator", ["cpu", "mps", "tpu"])
def test_other_accelerators_count_no_gpu(machine, accelerator):
    machine("nvidia-smi", TWO_CARDS)
    assert find_slots(accelerator, 1, [0, 5]) == ([], "")


@pytest.mark.parametrize(
    ("devices", "number"),
    [(1, 1), ("2", 2), ("auto", 1), (-1, None), ("-1", None), ([0, 1], 2), ("0,1", 2), ("0,", 1)],
)
def test_lightnings_devices_are_a_number_of_gpus(devices, number):
    assert count_gpus_per_job(devices) == number


@pytest.mark.parametrize("devices", [0, "0", -2, [], [1], "2,3", [0, 2], "two", None, 1.5])
def test_other_devices_are_refused(devices):
    with pytest.raises(ValueError, match="gpus_per_job="):
        count_gpus_per_job(devices)


def test_gpus_are_assigned():
    def assigned(names, jobs_per_gpu, gpus_per_job):
        given = take_all(GpuPool(Gpus(names), jobs_per_gpu), gpus_per_job)
        return [environment["CUDA_VISIBLE_DEVICES"] for environment in given]

    assert assigned(["0", "1", "2"], 1, 1) == ["0", "1", "2"]
    assert assigned(["0", "1"], 2, 1) == ["0", "1", "0", "1"]
    assert assigned(["0", "1", "2", "3", "4"], 1, 2) == ["0,1", "2,3"]
    assert assigned(["0", "1", "2", "3"], 2, 2) == ["0,1", "2,3", "0,1", "2,3"]
    assert assigned(["0", "1", "2"], 1, -1) == ["0,1,2"]
    assert assigned([], 3, 1) == []
    with pytest.raises(ValueError, match="gpus_per_job=2: the number of GPUs is 1"):
        assigned(["0"], 1, 2)
    with pytest.raises(ValueError, match="jobs_per_gpu=0"):
        assigned(["0"], 0, 1)


def test_jobs_of_several_sizes_wait_for_their_gpus():
    """A job of two GPUs waits for the second one, and a later job of one does not pass it."""
    pool, order = GpuPool(Gpus(["0", "1"]), 1), queue.SimpleQueue()
    first = pool.acquire(1)
    assert first == {"CUDA_VISIBLE_DEVICES": "0"}

    def acquire(name, number):
        order.put((name, environment := pool.acquire(number)))
        pool.release(environment)

    threads = [threading.Thread(target=acquire, args=("two", 2))]
    threads[0].start()
    while not pool._turn.locked():  # the thread waits for GPU 0
        assert threads[0].is_alive()
        time.sleep(0.001)
    threads.append(threading.Thread(target=acquire, args=("one", 1)))
    threads[1].start()
    threads[1].join(0.2)
    assert order.empty()
    pool.release(first)
    for thread in threads:
        thread.join()
    assert order.get() == ("two", {"CUDA_VISIBLE_DEVICES": "0,1"})
    assert order.get() == ("one", {"CUDA_VISIBLE_DEVICES": "0"})


@pytest.mark.parametrize("case", [(None, 1, 2), (1, 1, 1), (5, 1, 2), (5, 2, 4), (3, 2, 3)])
def test_no_more_jobs_run_than_the_gpus_have_slots(machine, make_launcher, caplog, case):
    n_jobs, jobs_per_gpu, jobs = case
    machine("nvidia-smi", TWO_CARDS)
    launcher = make_launcher(lambda cfg: None, f"hydra.launcher.jobs_per_gpu={jobs_per_gpu}")
    with caplog.at_level(logging.WARNING):
        assert launcher.prepare(n_jobs) == jobs
    told = f"{jobs} of 5 jobs run at a time" in caplog.text
    assert told == (n_jobs == 5)
    given = [launcher._gpus.acquire(1)["CUDA_VISIBLE_DEVICES"] for _ in range(jobs)]
    assert given == (UUIDS * jobs_per_gpu)[:jobs]


def test_the_jobs_of_cpus_are_asked_for_without_gpus_and_without_a_number_only(
    machine, make_launcher, monkeypatch
):
    machine("nvidia-smi", TWO_CARDS)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    asked = []
    cpu_jobs = lambda: asked.append(1) or 5  # noqa: E731
    assert make_launcher(lambda cfg: None).prepare(None, cpu_jobs) == 2
    on_cpu = "hydra.launcher.accelerator=cpu"
    assert make_launcher(lambda cfg: None, on_cpu).prepare(3, cpu_jobs) == 3
    assert asked == []
    launcher = make_launcher(lambda cfg: None, on_cpu)
    assert launcher.prepare(None, cpu_jobs) == 5
    assert launcher.threads == max(1, cpus() // 5)


def test_on_a_gpu_machine_the_cpu_can_be_chosen(machine, make_launcher):
    machine("nvidia-smi", TWO_CARDS)
    launcher = make_launcher(lambda cfg: None, "hydra.launcher.accelerator=cpu")
    assert launcher.prepare(5) == 5
    assert launcher._gpus.acquire(1) == {}


def test_a_job_gets_all_its_gpus(machine, launch):
    machine("nvidia-smi", TWO_CARDS)
    task = lambda cfg: os.environ["CUDA_VISIBLE_DEVICES"]  # noqa: E731
    result = launch(task, "hydra.launcher.gpus_per_job=2")
    assert result.return_value == ",".join(UUIDS)


def test_a_job_gets_the_gpus_that_its_own_value_asks_for(machine, make_launcher):
    """As in a sweep over trainer.devices=1,2; the command's own value is 1."""
    machine("nvidia-smi", TWO_CARDS)
    task = lambda cfg: os.environ["CUDA_VISIBLE_DEVICES"]  # noqa: E731
    launcher = make_launcher(task, "+devices=1", "hydra.launcher.gpus_per_job=${devices}")
    jobs = [["++devices=2"], ["++devices=[0,1]"], [], ["++devices=1"], ["++devices=3"]]
    *fine, wrong = launcher.launch(jobs, initial_job_idx=0)
    assert [result.return_value for result in fine[:2]] == [",".join(UUIDS)] * 2
    assert all(result.return_value in UUIDS for result in fine[2:])
    with pytest.raises(ValueError, match=r"^devices=3: the number of GPUs is 2; ask"):
        assert wrong.return_value
