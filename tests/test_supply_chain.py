"""Known-bad versions stop everything; the lock file fits what pyproject.toml asks for."""

import re
import subprocess
import sys
import time
import tomllib
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from src import deny_list

ROOT = Path(__file__).parents[1]


def installed(**versions):
    def version(name):
        if name not in versions:
            raise PackageNotFoundError(name)
        return versions[name]

    return version


@pytest.mark.parametrize("found", ["2.6.2", "2.6.3"])
@pytest.mark.parametrize("name", ["lightning", "pytorch-lightning"])
def test_malware_is_refused_in_one_line(name, found):
    with pytest.raises(SystemExit) as end:
        deny_list.refuse(installed(**{name: found}))
    assert str(end.value).startswith(f"error: {name} {found} is malware: pip install -U {name}")
    assert "\n" not in str(end.value)


def test_other_versions_and_none_pass():
    deny_list.refuse(installed(lightning="2.6.6"))
    deny_list.refuse(installed())


def test_nothing_of_the_package_is_imported_and_it_takes_no_time(tmp_path):
    """A package of that name that would leave a mark when imported."""
    (tmp_path / "lightning-2.6.3.dist-info").mkdir()
    (tmp_path / "lightning-2.6.3.dist-info/METADATA").write_text(
        "Metadata-Version: 2.1\nName: lightning\nVersion: 2.6.3\n"
    )
    (tmp_path / "lightning.py").write_text(f"open({str(tmp_path / 'mark')!r}, 'w')")
    command = [sys.executable, "-m", "src.train", "--help"]
    env = {"PYTHONPATH": f"{tmp_path}:{ROOT}", "PATH": ""}
    done = subprocess.run(command, env=env, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("error: lightning 2.6.3 is malware")
    assert not (tmp_path / "mark").exists()
    begin = time.process_time()
    deny_list.refuse()
    assert time.process_time() - begin < 0.05


# -- the lock


def locked():
    """{name: version} of the lock file."""
    text = (ROOT / "requirements.lock").read_text()
    return {m[1]: m[2] for m in re.finditer(r"^([a-z0-9][\w.-]*)==(\S+)", text, re.MULTILINE)}


def test_the_lock_has_every_dependency_in_a_version_that_fits():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = locked()
    for line in [*project["dependencies"], *project["optional-dependencies"]["dev"]]:
        wanted = Requirement(line)
        assert wanted.specifier.contains(pins[canonicalize_name(wanted.name)]), line


def test_the_lock_names_no_known_bad_version_and_no_place():
    text = (ROOT / "requirements.lock").read_text()
    assert not any(pins in deny_list.KNOWN_BAD.get(name, ()) for name, pins in locked().items())
    assert "://" not in text
    assert "--index" not in text


def test_every_pin_has_a_hash():
    text = (ROOT / "requirements.lock").read_text()
    entries = re.split(r"^(?=[a-z0-9][\w.-]*==)", text, flags=re.MULTILINE)[1:]
    assert entries
    assert all("--hash=sha256:" in entry for entry in entries)
