"""Build hook: a wheel records the commit that it was built from, in alexlab/COMMIT."""

import subprocess
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CommitHook(BuildHookInterface[Any]):
    """Adds the file COMMIT to a wheel; a build outside of a git checkout has none."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Write the commit to a file, and include it.

        Args:
            version: "standard", or "editable" for an installation that git describes anyway.
            build_data: Hatchling's; it takes the file.
        """
        if version == "editable":
            return
        command = ["git", "-C", self.root, "rev-parse", "HEAD"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            return
        file = Path(tempfile.mkdtemp()) / "COMMIT"
        file.write_text(done.stdout)
        build_data["force_include"][str(file)] = "alexlab/COMMIT"
