"""Types of what `alexlab` imports when it is asked for."""

from alexlab.api import evaluate as evaluate
from alexlab.api import load_run as load_run
from alexlab.api import load_sweep as load_sweep
from alexlab.api import report as report
from alexlab.api import train as train

__version__: str
