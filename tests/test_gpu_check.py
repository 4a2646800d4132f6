"""gpu-check: how checks are run and reported, how a profile is read, and a short run on the CPU."""

import json
import os
import subprocess
import sys
import tarfile
import zipfile
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from benchmarks.gpu_check import memory, overlay
from benchmarks.gpu_check.checks import CHECKS
from benchmarks.gpu_check.context import Check, Context, Report
from benchmarks.gpu_check.scheduler import run_checks

ROOT = Path(__file__).parents[1]


@pytest.fixture
def run(tmp_path, capfd):
    """run(Check(...), ...): the lines that are printed, and the report."""

    def call(*checks, budget_s=60.0, slots=1):
        report = Report(tmp_path / "report.json", {"device": "cpu"})
        context = Context("cpu", tmp_path)
        run_checks(checks, context, report, budget_s=budget_s, slots=slots)
        return capfd.readouterr().out.splitlines(), json.loads(report.path.read_text())

    return call


def toy(name, **more):
    return Check(name, f"tests.gpu_check_toys:{name}", **more)


def test_each_result_is_a_line_and_an_entry(run, tmp_path):
    lines, report = run(toy("good"))
    assert lines == ["good.first ok 1", "good.second ok 2"]
    assert report["device"] == "cpu"
    assert [entry["ok"] for entry in report["results"]] == [True, True]
    assert report["results"][1]["numbers"] == {"number": 2}
    assert "said by good" in (tmp_path / "logs/good.log").read_text()


def test_one_that_fails_does_not_stop_the_rest(run):
    lines, report = run(*map(toy, ["wrong", "raises", "exits", "nothing", "good"]))
    assert lines == [
        "wrong FAIL 3 (expected 4)",
        "raises.before ok fine",
        "raises FAIL ValueError: two lines",
        "exits FAIL the process ended with 7",
        "nothing FAIL nothing was checked",
        "good.first ok 1",
        "good.second ok 2",
    ]
    assert "in raises" in report["results"][2]["log"]  # its traceback


def test_one_that_hangs_is_killed_with_all_that_it_has_started(run, tmp_path):
    lines, _ = run(toy("hangs", limit_s=2.0), toy("good"))
    assert lines[0] == "hangs FAIL over 2 s: killed"
    assert lines[1:] == ["good.first ok 1", "good.second ok 2"]
    child = Path("/proc", (tmp_path / "child").read_text())
    assert not child.exists() or "State:\tZ" in (child / "status").read_text()


def test_what_the_budget_does_not_cover_is_skipped(run):
    lines, report = run(toy("hangs", needs_s=0.1), toy("good"), budget_s=1.0)
    assert lines == [
        "hangs FAIL over 1 s: killed",
        "good skipped 0 s of the budget are left",
    ]
    assert report["results"][1]["ok"] is None


def test_without_what_is_required_the_rest_is_skipped(run):
    lines, _ = run(toy("wrong", required=True), toy("good"))
    assert lines == ["wrong FAIL 3 (expected 4)", "good skipped wrong failed"]


def test_checks_share_the_device_or_have_it_alone(run):
    lines, _ = run(toy("meets"), toy("meets"), slots=2)
    assert lines == ["meets ok two at a time"] * 2
    lines, _ = run(*[toy("alone", alone=True)] * 3, slots=2)
    assert lines == ["alone ok 0 others"] * 3


def test_one_that_comes_after_another_lets_others_pass(run):
    after = Check("late", "tests.gpu_check_toys:wrong", after="meets")
    background = toy("meets", background=True)
    lines, _ = run(background, after, toy("meets"), slots=1)
    assert lines == ["meets ok two at a time"] * 2 + ["wrong FAIL 3 (expected 4)"]


def test_every_check_exists_and_has_a_name_of_its_own():
    assert max(Counter(check.name for check in CHECKS).values()) == 1
    assert all(callable(check.load()) for check in CHECKS)
    assert {check.after for check in CHECKS} - {None} <= {check.name for check in CHECKS}


@pytest.mark.parametrize("total_gib", [16, 80, 139])
def test_the_memory_is_limited_to_less_than_a_batch_takes_on_any_gpu(
    tmp_path, monkeypatch, total_gib
):
    """A false GPU: 400 MB for weights and images, and 4 MB for each image that is trained on."""
    gpu = SimpleNamespace(share=1.0, peak=0)

    def train(context, name, *settings):
        part = int(next(s for s in settings if s.startswith("data.batch_size=")).split("=")[1])
        while (need := (400 + 4 * part) << 20) > gpu.share * (total_gib << 30):
            if "trainer.auto_batch=true" not in settings:
                raise RuntimeError(f"out of memory with batches of {part} images: auto_batch")
            part //= 2
        gpu.peak = need
        return SimpleNamespace(metrics={"status": "finished", "micro_batch": part})

    monkeypatch.setattr(memory, "train", train)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (total_gib << 29, total_gib << 30))
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda: gpu.peak)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    limit = lambda share: setattr(gpu, "share", share)  # noqa: E731
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", limit)
    results = list(memory.too_large(Context("cuda", tmp_path)))
    assert [(r.name, r.ok) for r in results] == [
        ("memory.large", True),
        ("memory.auto_batch", True),
    ]
    assert results[1].value == "batches of 256 in parts of 64"
    assert gpu.share == 1.0


def test_a_profile_is_summed_per_step():
    """Two steps: kernels of 3 and 1 ms that overlap by half a millisecond, then a copy of 1 ms."""
    from benchmarks.gpu_check.speed import profiled

    def event(cat, name, ts, dur):
        return {"ph": "X", "cat": cat, "name": name, "ts": ts, "dur": dur}

    name = "void at::native::vectorized_elementwise_kernel<4, at::native::CUDAFunctor_add<float>>()"
    events = [
        event("kernel", name, 1000, 3000),
        event("kernel", "sm90_gemm", 3500, 1000),
        event("gpu_memcpy", "Memcpy HtoD (Pageable -> Device)", 8000, 1000),
        event("cuda_runtime", "cudaLaunchKernel", 0, 9000),
        {"ph": "i", "cat": "kernel", "name": "no duration", "ts": 0},
    ]
    found = profiled({"traceEvents": events}, 2)
    assert found["kernels"] == 1
    assert found["copies"] == {"Memcpy HtoD": 0.5}
    assert found["gpu_ms"] == 2.5
    assert found["step_ms"] == 4
    assert found["busy"] == pytest.approx(4.5 / 8)
    assert list(found["top"].values()) == [1.5, 0.5]
    assert next(iter(found["top"])).startswith("at::native::vectorized_elementwise_kernel")


@pytest.fixture
def wheel(tmp_path):
    """A wheel of one module, `toy_package`, that says where it is."""
    path = tmp_path / "wheels/toy_package-1.0-py3-none-any.whl"
    path.parent.mkdir()
    about = "toy_package-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("toy_package.py", "PLACE = __file__\n")
        file.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: toy-package\nVersion: 1.0")
        file.writestr(
            f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any"
        )
        file.writestr(f"{about}/RECORD", "")
    return path


@pytest.mark.slow
def test_missing_wheels_and_the_tree_are_there_for_every_child_process(wheel, tmp_path):
    python = overlay.make(tmp_path / "place", wheel.parent)
    assert python != sys.executable
    code = "import alexlab, lightning, toy_package; print(alexlab.__file__, toy_package.PLACE)"
    command = [
        python,
        "-c",
        f"import subprocess, sys; subprocess.run([sys.executable, '-c', '{code}'])",
    ]
    elsewhere = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, env=elsewhere, check=True)
    package, toy = done.stdout.split()
    assert package == str(ROOT / "src/alexlab/__init__.py")
    assert Path(toy).is_relative_to(tmp_path / "place")


def test_wheels_that_are_installed_are_left_out():
    installed = [Path("numpy-9.9-cp312-cp312-any.whl"), Path("hydra_core-1.0-py3-none-any.whl")]
    other = Path("no_such_package-1.0-py3-none-any.whl")
    assert overlay.missing([*installed, other]) == [other]


def test_a_folder_without_wheels_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no \*\.whl"):
        overlay.make(tmp_path / "place", tmp_path)


@pytest.mark.slow
def test_a_short_run_on_the_cpu(tmp_path):
    command = [sys.executable, "-m", "benchmarks.gpu_check", "--device=cpu", f"--out={tmp_path}"]
    words = ["--only", "env", "resume", "--budget=500"]
    done = subprocess.run([*command, *words], cwd=ROOT, capture_output=True, text=True)
    lines = done.stdout.splitlines()
    assert "resume.exact ok stopped in step 10, largest difference 0 (limit 0)" in lines
    assert lines[-1].endswith("0 failed, 0 skipped")
    assert done.returncode == 0
    report = json.loads((tmp_path / "gpu_check.json").read_text())
    assert report["device"] == "cpu"
    with tarfile.open(tmp_path / "gpu_check_logs.tar.gz") as tar:
        names = tar.getnames()
    assert "logs/resume.log" in names
    assert "runs/resume.exact.parts/metrics.json" in names


@pytest.mark.slow
def test_a_budget_that_is_too_small_skips_everything(tmp_path):
    command = [sys.executable, "-m", "benchmarks.gpu_check", "--device=cpu", f"--out={tmp_path}"]
    done = subprocess.run([*command, "--budget=1"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1].startswith("0 passed, 0 failed")
