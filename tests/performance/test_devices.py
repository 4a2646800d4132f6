"""Precision and effective batch size from false programs and variables of the environment."""

import os
import subprocess
import sys

import pytest

from alexlab.performance import devices
from alexlab.performance.devices import effective_batch_size, resolve_precision


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """machine(build, capabilities): a torch build, and what nvidia-smi prints; None: no program."""

    def make(build, capabilities):
        monkeypatch.setattr(devices, "_torch_build", lambda: build)
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        devices._compute_capabilities.cache_clear()
        monkeypatch.setenv("PATH", str(tmp_path))
        if capabilities is not None:
            program = tmp_path / "nvidia-smi"
            lines = "\n".join(capabilities)
            program.write_text(
                '#!/bin/sh\n[ "$1" = --query-gpu=compute_cap ] || exit 2\n'
                f"printf '%s\\n' '{lines}'\n"
            )
            program.chmod(0o755)

    yield make
    devices._compute_capabilities.cache_clear()


@pytest.mark.parametrize(
    ("accelerator", "build", "capabilities", "precision"),
    [
        ("auto", "cuda", ["8.0"], "bf16-mixed"),  # A100
        ("auto", "cuda", ["9.0", "9.0"], "bf16-mixed"),  # H100
        ("cuda", "cuda", ["12.0"], "bf16-mixed"),
        ("gpu", "cuda", ["7.5"], "32-true"),  # T4
        ("auto", "cuda", ["8.6", "7.0"], "32-true"),  # the same on every GPU of the machine
        ("cpu", "cuda", ["9.0"], "32-true"),
        ("mps", "cpu", None, "32-true"),
        ("auto", "cpu", ["9.0"], "32-true"),  # this torch cannot use it
        ("auto", "cuda", None, "32-true"),
        ("auto", "cuda", ["[N/A]"], "32-true"),
    ],
)
def test_bf16_needs_it_on_every_gpu(machine, accelerator, build, capabilities, precision):
    machine(build, capabilities)
    assert resolve_precision(accelerator) == precision


@pytest.mark.parametrize("hidden", ["", "-1"])
def test_hidden_gpus_do_not_count(machine, monkeypatch, hidden):
    machine("cuda", ["9.0"])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert resolve_precision("auto") == "32-true"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-3f0e")
    assert resolve_precision("auto") == "bf16-mixed"


def test_rocm(machine, monkeypatch, tmp_path):
    machine("rocm", None)
    monkeypatch.setattr(devices, "ROCM_DEVICE", tmp_path / "kfd")
    assert resolve_precision("auto") == "32-true"
    (tmp_path / "kfd").touch()
    assert resolve_precision("auto") == "bf16-mixed"
    monkeypatch.setenv("HIP_VISIBLE_DEVICES", "")
    assert resolve_precision("auto") == "32-true"


@pytest.mark.parametrize(
    ("settings", "factor"),
    [
        ({"devices": 1}, 1),
        ({"devices": 2}, 2),
        ({"devices": "2"}, 2),
        ({"devices": "0,3"}, 2),
        ({"devices": [1, 2, 3]}, 3),
        ({"devices": "auto", "accelerator": "cpu"}, 1),
        ({"devices": "auto"}, 4),
        ({"devices": -1}, 4),
        ({"devices": 2, "num_nodes": 3, "accumulate_grad_batches": 5}, 30),
    ],
)
def test_effective_batch_size(machine, settings, factor):
    machine("cuda", ["9.0"] * 4)
    trainer = {"accelerator": "auto", "accumulate_grad_batches": 1} | settings
    assert effective_batch_size(16, trainer) == 16 * factor


def test_all_visible_gpus_are_counted(machine, monkeypatch):
    machine("cuda", ["9.0"] * 4)
    trainer = {"accelerator": "gpu", "accumulate_grad_batches": 1, "devices": "auto"}
    for visible, count in (("1,2", 2), ("", 1)):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        assert effective_batch_size(16, trainer) == 16 * count


def test_the_torch_build_is_read_and_torch_is_not_imported():
    """In a process of its own: this one has torch."""
    code = (
        "import sys; from alexlab.performance.devices import _torch_build, resolve_precision\n"
        "print(_torch_build(), resolve_precision('auto')); assert 'torch' not in sys.modules"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    import torch

    kind = "rocm" if torch.version.hip else "cuda" if torch.version.cuda else "cpu"
    assert result.stdout.split()[0] == kind


def test_gpus_are_hidden_from_these_tests(pytestconfig):
    if "gpu" not in pytestconfig.getoption("markexpr").replace("not gpu", ""):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == ""
