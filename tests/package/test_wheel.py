"""The wheel, installed where no checkout is: what is in it, and that it trains."""

import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("hatchling", reason="the extra [dev] is not installed")
pytest.importorskip("build", reason="the extra [dev] is not installed")

ROOT = Path(__file__).parents[2]
TINY = ["data.num_images=60", "data.resolution=32", "trainer.max_epochs=1"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built of this checkout as it is."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder]
    subprocess.run([*command, ROOT], check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    return path


def test_it_has_every_config_file_and_both_plugins_and_no_test(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    configs = {path.relative_to(ROOT) for path in (ROOT / "conf").rglob("*.yaml")}
    assert configs
    assert {f"alexlab/{path.as_posix()}" for path in configs} <= names
    option = "hydra_plugins/hydra_process_launcher/conf/hydra/launcher/process.yaml"
    assert option in names
    modules = {path.relative_to(ROOT / "src") for path in (ROOT / "src").rglob("*.py")}
    assert {p.as_posix() for p in modules} - {"train.py"} == {n for n in names if n[-3:] == ".py"}
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {
        "alexlab",
        "hydra_plugins",
    }
    assert "hydra_plugins/__init__.py" not in names  # other plugins live there too
    assert any(name.endswith("/licenses/LICENSE") for name in names)


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """installed("train", ...): that command of an environment with the wheel, in an empty place.

    The environment finds the dependencies of this one, which is named in a .pth file; what such
    files say in there is not followed, so that the checkout cannot be imported. pip checks that
    the dependencies are there in versions that fit, and downloads nothing.
    """
    place = tmp_path_factory.mktemp("place")
    environment = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    python = environment / "bin/python"
    paths = {"base": str(environment), "platbase": str(environment)}
    site = Path(sysconfig.get_path("purelib", "venv", paths))
    (site / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--no-index", "--quiet"]
    done = subprocess.run([*pip, wheel], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    hidden = ("PYTHONPATH", "DATA_DIR", "VIRTUAL_ENV")
    variables = {key: value for key, value in os.environ.items() if key not in hidden}

    def run(*words):
        command = [environment / "bin/alexlab", *words] if words else [python, "-c", WHERE]
        done = subprocess.run(
            command, cwd=place, env=variables, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run.place, run.site, run.python = place, site, python
    return run


WHERE = """
import importlib, json
names = ["alexlab", "hydra_plugins.hydra_study_sweeper", "hydra_plugins.hydra_process_launcher"]
print(json.dumps([importlib.import_module(name).__file__ for name in names]))
"""


def test_it_is_imported_from_where_it_was_installed(installed):
    files = json.loads(installed())
    assert all(Path(file).is_relative_to(installed.site) for file in files), files


def test_it_says_its_version_and_composes_its_config(installed):
    assert installed("--version") == "alexlab 0.2.0\n"
    printed = installed("train", "--cfg", "job", "model=alexnet", "study=activation")
    assert "_target_: alexlab.models.alexnet.AlexNet" in printed


def test_it_trains_and_evaluates(installed, needs_git):
    installed("train", *TINY, "hydra.run.dir=run")
    metrics = json.loads((installed.place / "run/metrics.json").read_text())
    assert metrics["status"] == "finished"
    command = ["git", "-C", ROOT, "rev-parse", "HEAD"]
    head = subprocess.run(command, capture_output=True, text=True).stdout.strip()
    assert metrics["git"] == (head or "alexlab 0.2.0")  # a tree without .git has no commit
    installed("evaluate", "run")
    assert (installed.place / "run/evaluation/evaluation.html").exists()


@pytest.mark.slow
def test_it_sweeps(installed):
    installed("train", "-m", *TINY, "optim.lr=0.01,0.02", "sweep.name=rates")
    table = (installed.place / "multirun/rates/trials.csv").read_text()
    assert [line.split(",")[1] for line in table.splitlines()[1:]] == ["finished"] * 2
    assert "2 finished" in installed("sweeps", "list")
    again = installed("train", "-m", *TINY, "optim.lr=0.01,0.02", "sweep.name=rates")
    assert "nothing to do" in again
