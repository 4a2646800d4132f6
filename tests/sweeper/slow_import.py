"""Import slowly, like torch: create the file $TOY_IMPORTING, then wait for the file $TOY_GO."""

import os
import time
from pathlib import Path

if "TOY_IMPORTING" in os.environ:
    Path(os.environ["TOY_IMPORTING"]).touch()
    while not Path(os.environ["TOY_GO"]).exists():
        time.sleep(0.01)
