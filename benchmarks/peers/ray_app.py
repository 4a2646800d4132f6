"""Train with plain Lightning under Ray Tune: `python -m benchmarks.peers.ray_app ROOT --cpus 1`.

Each trial gets `--cpus` CPU cores: with `--cpus 1`, two trials run at a time on two cores.
"""

import argparse
import os
from pathlib import Path
from typing import Any


def trial(config: dict[str, Any]) -> dict[str, Any]:
    """Train once; return the trial's result, as Ray Tune expects."""
    import torch

    from benchmarks.peers.lightning_run import train

    torch.set_num_threads(config["cpus"])
    found = train(
        config["root"],
        Path.cwd() / "run",
        resolution=64,
        lr=config["lr"],
        batch_size=config["batch_size"],
        epochs=config["epochs"],
        images=config["images"],
        workers=0,
    )
    return {"val_acc": float(found["val_acc"])}


def main() -> None:
    """Run the grid of six trials."""
    import ray
    from ray import tune

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root")
    parser.add_argument("--cpus", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--images", type=int)
    args = parser.parse_args()
    ray.init(num_cpus=len(os.sched_getaffinity(0)), include_dashboard=False)
    space = {
        "lr": tune.grid_search([0.01, 0.005]),
        "batch_size": tune.grid_search([8, 16, 32]),
        **{"root": args.root, "epochs": args.epochs, "images": args.images, "cpus": args.cpus},
    }
    tuner = tune.Tuner(
        tune.with_resources(trial, {"cpu": args.cpus}),
        param_space=space,
        tune_config=tune.TuneConfig(metric="val_acc", mode="max"),
        run_config=tune.RunConfig(storage_path=str(Path.cwd() / "ray")),
    )
    results = tuner.fit()
    if results.errors:
        raise SystemExit(str(results.errors[0]))
    print("trials", len(results))


if __name__ == "__main__":
    main()
