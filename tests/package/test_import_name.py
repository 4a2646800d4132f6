"""The package has one import name, `alexlab`, also where it is run from a checkout's src/."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SMALL = ["data.num_images=60", "data.resolution=32", "trainer.max_epochs=1"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}


def imported_by(*arguments):
    """Every module that `python -m src.train ...`, run in the checkout, imports."""
    command = [sys.executable, "-X", "importtime", "-m", "src.train", *arguments]
    done = subprocess.run(
        command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=True
    )
    return set(re.findall(r"^import time: .*\| +(\S+)$", done.stderr, re.MULTILINE))


def of_src(modules):
    return sorted(name for name in modules if name.startswith("src."))


def test_help_imports_no_second_copy():
    modules = imported_by("--help")
    assert "alexlab.commands.train_help" in modules
    assert of_src(modules) == []


@pytest.mark.slow
def test_a_training_imports_no_second_copy(tmp_path):
    modules = imported_by(*SMALL, f"hydra.run.dir={tmp_path}/run", f"cache_dir={tmp_path}/cache")
    assert "alexlab.training.run" in modules
    assert of_src(modules) == []


def test_no_file_imports_from_src():
    found = []
    for folder in ("src", "tests", "benchmarks"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                names = [name.name for name in node.names] if isinstance(node, ast.Import) else []
                names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                found += [f"{path}: {name}" for name in names if name.split(".")[0] == "src"]
    assert found == []


def test_no_config_names_src():
    found = [
        str(path)
        for path in (ROOT / "conf").rglob("*.yaml")
        if re.search(r"\bsrc\.(?!train\b)", path.read_text("utf-8"))
    ]
    assert found == []
