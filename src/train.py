"""Run `alexlab train` from a checkout: `python -m src.train`."""

from alexlab.commands.train import main

if __name__ == "__main__":
    main()
