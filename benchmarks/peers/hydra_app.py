"""Train with plain Lightning in a Hydra app.

    python -m benchmarks.peers.hydra_app -m root=FOLDER optim.lr=0.01,0.005

With `hydra/launcher=joblib` several runs train at a time. Add `workers=0` then: under joblib's
loky, a DataLoader cannot start worker processes.
"""

from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig


@hydra.main(config_path="conf", config_name="sweep", version_base="1.3")
def main(cfg: DictConfig) -> float:
    """Train once; return the accuracy on val."""
    from benchmarks.peers.lightning_run import train

    found = train(
        cfg.root,
        Path(HydraConfig.get().runtime.output_dir),
        resolution=cfg.resolution,
        lr=cfg.optim.lr,
        batch_size=cfg.data.batch_size,
        epochs=cfg.epochs,
        images=cfg.images,
        workers=cfg.workers,
    )
    return float(found["val_acc"])


if __name__ == "__main__":
    main()
