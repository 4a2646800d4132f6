"""Run `alexlab train` from a checkout: `python -m src.train`."""

import sys

from alexlab.__main__ import main

if __name__ == "__main__":
    sys.argv.insert(1, "train")
    main()
