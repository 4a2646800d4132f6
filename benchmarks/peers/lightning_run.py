"""Train as the Lightning tutorial does: a LightningModule, an ImageFolder, a plain Trainer.

`python -m benchmarks.peers.lightning_run ROOT --resolution 64` trains torchvision's AlexNet,
validates after each epoch, keeps the weights of the best epoch, and tests them, as a run of alexlab
does. The output is the images/s of the epochs after the first.
"""

import argparse
import time
import warnings
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn
from torch.utils.data import DataLoader, random_split
from torchvision import datasets, models, transforms

warnings.filterwarnings("ignore")


class LitAlexNet(L.LightningModule):
    """Train AlexNet; show loss and accuracy on the progress bar."""

    def __init__(self, num_classes: int, lr: float) -> None:
        super().__init__()
        self.net, self.lr = models.alexnet(num_classes=num_classes), lr

    def _step(self, batch, split):
        images, targets = batch
        outputs = self.net(images)
        loss = nn.functional.cross_entropy(outputs, targets)
        accuracy = (outputs.argmax(1) == targets).float().mean()
        named = {f"{split}_loss": loss, f"{split}_acc": accuracy}
        self.log_dict(named, prog_bar=True, on_step=False, on_epoch=True)
        return loss

    def training_step(self, batch, batch_idx):
        """Return the loss of a batch."""
        return self._step(batch, "train")

    def validation_step(self, batch, batch_idx):
        """Log the metrics of a val batch."""
        self._step(batch, "val")

    def test_step(self, batch, batch_idx):
        """Log the metrics of a test batch."""
        self._step(batch, "test")

    def configure_optimizers(self):
        """Return SGD with momentum."""
        return torch.optim.SGD(self.parameters(), lr=self.lr, momentum=0.9)


class Clock(L.Callback):
    """Time the training part of each epoch."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_train_epoch_start(self, *_) -> None:
        """Record the time at which the epoch starts."""
        self.start = time.perf_counter()

    def on_validation_start(self, trainer, *_) -> None:
        """Record the seconds of training, unless this is the sanity check."""
        if trainer.sanity_checking:
            return
        self.seconds.append(time.perf_counter() - self.start)


def train(
    root: str,
    folder: Path,
    *,
    resolution: int,
    lr: float = 0.01,
    batch_size: int = 16,
    epochs: int = 3,
    seed: int = 0,
    images: int | None = None,
    workers: int = 2,
) -> dict[str, Any]:
    """Train, and test the best epoch; return `val_acc`, `test_acc` and `images_per_s`."""
    L.seed_everything(seed, verbose=False)
    transform = transforms.Compose(
        [
            transforms.Resize((resolution, resolution)),
            transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    dataset = datasets.ImageFolder(root, transform)
    parts = random_split(dataset, [0.7, 0.1, 0.2], torch.Generator().manual_seed(0))
    if images is not None:
        parts[0] = torch.utils.data.Subset(dataset, list(parts[0].indices)[:images])
    train_loader, val_loader, test_loader = (
        DataLoader(
            part,
            batch_size=batch_size,
            shuffle=part is parts[0],
            num_workers=workers,
            persistent_workers=workers > 0,
        )
        for part in parts
    )
    clock = Clock()
    best = ModelCheckpoint(folder, monitor="val_acc", mode="max", save_weights_only=True)
    trainer = L.Trainer(max_epochs=epochs, callbacks=[clock, best], default_root_dir=folder)
    trainer.fit(LitAlexNet(len(dataset.classes), lr), train_loader, val_loader)
    tested = trainer.test(dataloaders=test_loader, ckpt_path="best", verbose=False)[0]
    rest = clock.seconds[1:] or clock.seconds
    speed = len(parts[0]) * len(rest) / sum(rest)
    score = float(best.best_model_score or 0.0)
    return {"val_acc": score, "test_acc": tested["test_acc"], "images_per_s": speed}


def main() -> None:
    """Train once, in ./run, and print the images/s."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root")
    parser.add_argument("--resolution", type=int, required=True)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--images", type=int)
    args = parser.parse_args()
    found = train(
        args.root,
        Path("run"),
        resolution=args.resolution,
        epochs=args.epochs,
        images=args.images,
    )
    print("images/s", found["images_per_s"])


if __name__ == "__main__":
    main()
