"""Find the config folders of installed packages that extend alexlab.

A package names itself in the entry-point group `alexlab`; its folder `conf` then has models, data
sets, optimisers, callbacks and studies, as conf/ of this project has:

    [project.entry-points.alexlab]
    example = "alexlab_example"
"""

import sys
from functools import cache
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin

GROUP = "alexlab"


def installed_folders() -> list[Path]:
    """List the config folders of installed packages, without importing these packages."""
    return _folders(tuple(sys.path))


@cache
def _folders(path: tuple[str, ...]) -> list[Path]:
    """See `installed_folders`; `path` is where Python looks for packages."""
    found = []
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        spec = find_spec(entry.module.partition(".")[0])
        for place in (spec.submodule_search_locations or []) if spec else []:
            folder = Path(place, *entry.module.split(".")[1:], "conf")
            if folder.is_dir():
                found.append(folder.absolute())
    return list(dict.fromkeys(found))


class ExtensionsSearchPath(SearchPathPlugin):
    """Offers Hydra the config folders of installed packages."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append them to the search path, behind the folder of this project."""
        for folder in installed_folders():
            search_path.append("alexlab-extension", f"file://{folder}")


def register() -> None:
    """Make Hydra look into these folders, from here on."""
    plugins = Plugins.instance()
    if ExtensionsSearchPath not in plugins.discover(SearchPathPlugin):
        plugins.register(ExtensionsSearchPath)
