"""Create an environment that runs the source tree, without an installation or a network.

It is a virtual environment in a temporary folder. It has the packages of the running Python, the
wheels that are missing there, and the tree's `src`. Child processes with another PYTHONPATH have
the same packages.
"""

import os
import site
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from benchmarks.gpu_check.context import ROOT


def missing(wheels: Iterable[Path]) -> list[Path]:
    """Return the wheels whose distribution is not installed here."""
    return [wheel for wheel in wheels if not _installed(wheel.name.split("-")[0])]


def _installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


def make(place: Path, wheels: Path | None) -> str:
    """Return the Python to use: this one if nothing is missing, else a new one below `place`.

    Raises:
        FileNotFoundError: If there is no wheel in the folder `wheels`.
        subprocess.CalledProcessError: If pip cannot unpack a wheel.
    """
    found = sorted(wheels.glob("*.whl")) if wheels else []
    if wheels and not found:
        raise FileNotFoundError(f"--wheels={wheels}: no *.whl there; give the folder that has them")
    needed = missing(found)
    spec = find_spec("alexlab")
    ours = spec is not None and spec.origin == str(ROOT / "src/alexlab/__init__.py")
    if not needed and ours and "PYTHONPATH" not in os.environ:
        return sys.executable
    packages = place / "site"
    packages.mkdir(parents=True)
    if needed:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
        pip += ["--no-compile", "--no-cache-dir", "--target", str(packages), *map(str, needed)]
        subprocess.run(pip, check=True)
    try:
        venv.create(place / "env", symlinks=True)
    except (OSError, subprocess.SubprocessError) as error:
        print(f"no environment of its own ({error}): PYTHONPATH instead", flush=True)
        os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT / "src"), str(packages)])
        return sys.executable
    own = sysconfig.get_path("purelib", "venv", {"base": str(place / "env")})
    folders = [p for p in [*site.getsitepackages(), site.getusersitepackages()] if Path(p).is_dir()]
    lines = [str(ROOT / "src"), str(packages)]
    lines += [f"import site; site.addsitedir({folder!r})" for folder in folders]
    Path(own, "gpu_check.pth").write_text("\n".join(lines) + "\n")
    return str(place / "env/bin/python")
