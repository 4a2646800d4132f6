"""Versions of packages that are known to be malicious: nothing starts beside one of them."""

import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version

KNOWN_BAD = {  # GHSA-w37p-236h-pfx3: they stole credentials when imported
    "lightning": ("2.6.2", "2.6.3"),
    "pytorch-lightning": ("2.6.2", "2.6.3"),
}


def refuse(installed: Callable[[str], str] = version) -> None:
    """End the program when a package on the list is installed; only its metadata is read."""
    for name, bad in KNOWN_BAD.items():
        try:
            found = installed(name)
        except PackageNotFoundError:
            continue
        if found in bad:
            sys.exit(
                f"error: {name} {found} is malware: pip install -U {name}, and change every"
                " password and key that this machine holds"
            )
