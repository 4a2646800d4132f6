"""The example package beside the wheel, as pip installs both: all verbs know its runs."""

import subprocess
import sys

import pytest

from tests.package.test_wheel import ROOT, TINY
from tests.package.test_wheel import installed as installed
from tests.package.test_wheel import wheel as wheel

EXAMPLE = ROOT / "examples" / "alexlab_example"


@pytest.fixture(scope="module")
def with_example(installed, tmp_path_factory):
    folder = tmp_path_factory.mktemp("example")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder]
    subprocess.run([*command, EXAMPLE], check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    pip = [sys.executable, "-m", "pip", "--python", installed.python, "install", "--no-index"]
    done = subprocess.run([*pip, "--quiet", path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return installed


@pytest.mark.slow
def test_all_verbs_work_on_a_model_and_a_study_of_an_installed_package(with_example):
    alexlab, place = with_example, with_example.place
    alexlab("train", "model=two_layers", *TINY, "hydra.run.dir=run")
    alexlab("train", "resume=run", "trainer.max_epochs=2")
    alexlab("evaluate", "run")
    alexlab("export", "run", "--format", "torch_export")
    alexlab("look", "run")
    assert "the same to the bit" in alexlab("rerun", "run")
    image = next(place.glob(".cache/shapes-*/star/*.png"))
    assert str(image) in alexlab("predict", "run", str(image))
    small = [*TINY[:2], "trainer.max_epochs=4", "sweep.n_jobs=2"]
    out = alexlab("train", "study=two_layers_width", *small)
    assert "claim    32 kernels test higher than 4" in out
    assert (place / "multirun/two_layers_width/report.html").exists()
    assert "report:" in alexlab("report", "multirun/two_layers_width")
    assert "nothing to do" in alexlab("train", "study=two_layers_width", *small)
