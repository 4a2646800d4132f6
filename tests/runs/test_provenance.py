"""Where a result comes from: the commit, changed code, the command line, versions, the machine."""

import subprocess

import pytest
import torch

from alexlab import __version__
from alexlab.runs import provenance
from alexlab.runs.folder import read_metrics
from tests.tiny import train


@pytest.fixture
def run(config, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["pytest", "tests"])  # workers of pytest-xdist have others
    train(config(), tmp_path / "old")
    return tmp_path / "old"


def git(place, *arguments):
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", "-C", place, *who, *arguments], check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path, monkeypatch, needs_git):
    """A repository that stands for ours, with one committed file of code."""
    root = tmp_path / "checkout"
    (root / "src").mkdir(parents=True)
    for name in ("conf", "hydra_plugins"):
        (root / name).mkdir()
    (root / "src/a.py").write_text("one\n")
    (root / "README.md").write_text("read\n")
    (root / "pyproject.toml").write_text("[project]\n")
    git(root, "init")
    git(root, "add", ".")
    git(root, "commit", "-m", "first")
    monkeypatch.setattr(provenance, "__file__", str(root / "src/alexlab/runs/provenance.py"))
    provenance.code.cache_clear()
    yield root
    provenance.code.cache_clear()


def head(root):
    command = ["git", "-C", root, "rev-parse", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()


def test_a_clean_checkout_is_its_commit_whatever_the_readme_says(checkout):
    (checkout / "README.md").write_text("other\n")
    assert provenance.code() == (head(checkout), "")


def test_changed_and_new_code_is_kept_as_a_patch_that_applies(checkout, tmp_path):
    (checkout / "src/a.py").write_text("two\n")
    (checkout / "src/new.py").write_text("new\n")
    commit, patch = provenance.code()
    assert commit == f"{head(checkout)}-dirty"
    (tmp_path / "code.diff").write_text(patch)
    git(checkout, "checkout", "src/a.py")
    (checkout / "src/new.py").unlink()
    git(checkout, "apply", str(tmp_path / "code.diff"))
    assert (checkout / "src/a.py").read_text() == "two\n"
    assert (checkout / "src/new.py").read_text() == "new\n"


@pytest.fixture
def installed(checkout, monkeypatch):
    """The package in an environment that lies in somebody's repository."""
    site = checkout / ".venv/lib/python3/site-packages"
    monkeypatch.setattr(provenance, "__file__", str(site / "alexlab/runs/provenance.py"))
    provenance.code.cache_clear()


def test_an_installation_is_its_version_whatever_repository_is_around_it(installed):
    assert provenance.code() == (None, "")
    assert provenance.git_commit() == f"alexlab {__version__}"
    assert __version__[0].isdigit()


def test_the_command_line_is_kept_without_the_storage(monkeypatch):
    secret = ["sweep.storage=pg://u:secret@h", "hydra.sweeper.trial={storage:'pg://u:secret@h'}"]
    monkeypatch.setattr("sys.argv", ["train.py", "act=tanh", "data.root=my data", *secret])
    assert provenance.command().endswith("act=tanh 'data.root=my data'")


def test_the_record_says_where_it_was_made(run):
    metrics = read_metrics(run)
    assert metrics["versions"]["torch"] in torch.__version__  # which may end in +cu130
    assert metrics["hardware"].endswith(", 1 thread")
    assert "pytest" in metrics["command"]
