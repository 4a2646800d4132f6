"""Find the config folders of installed packages that extend alexlab.

Such a package declares an entry point in the group `alexlab`. Its folder `conf` has the structure
of this project's conf/: models, data sets, optimisers, callbacks and studies.

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
    """Find the folders of `installed_folders`; `path` is sys.path, a key of the cache."""
    found = []
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        spec = find_spec(entry.module.partition(".")[0])
        for place in (spec.submodule_search_locations or []) if spec else []:
            folder = Path(place, *entry.module.split(".")[1:], "conf")
            if folder.is_dir():
                found.append(folder.absolute())
    return list(dict.fromkeys(found))


class ExtensionsSearchPath(SearchPathPlugin):
    """Add the config folders of installed packages to Hydra's search path."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append the folders after the one of this project."""
        for folder in installed_folders():
            search_path.append("alexlab-extension", f"file://{folder}")


def register() -> None:
    """Register the search path plugin with Hydra, unless it is registered."""
    plugins = Plugins.instance()
    if ExtensionsSearchPath not in plugins.discover(SearchPathPlugin):
        plugins.register(ExtensionsSearchPath)
