"""The lock file fits what pyproject.toml asks for, and known-bad versions fit neither."""

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]


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


def test_the_lock_names_no_place():
    text = (ROOT / "requirements.lock").read_text()
    assert "://" not in text
    assert "--index" not in text


def test_every_pin_has_a_hash():
    text = (ROOT / "requirements.lock").read_text()
    entries = re.split(r"^(?=[a-z0-9][\w.-]*==)", text, flags=re.MULTILINE)[1:]
    assert entries
    assert all("--hash=sha256:" in entry for entry in entries)


def test_releases_with_malware_are_excluded():
    """lightning 2.6.2 and 2.6.3 of 2026-04-30 (GHSA-w37p-236h-pfx3), under both names."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {r.name: r.specifier for r in map(Requirement, project["dependencies"])}
    for name in ("lightning", "pytorch-lightning"):
        assert not any(wanted[name].contains(version) for version in ("2.6.2", "2.6.3"))
        assert wanted[name].contains("2.6.6")
