"""What the Lightning tutorial teaches: a LightningModule, an ImageFolder, a Trainer as it comes."""

import argparse
import time
import warnings

import lightning as L
import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision import datasets, models, transforms

warnings.filterwarnings("ignore")
parser = argparse.ArgumentParser()
parser.add_argument("root")
parser.add_argument("--resolution", type=int, required=True)
parser.add_argument("--epochs", type=int, default=3)
parser.add_argument("--images", type=int, required=True)


class LitAlexNet(L.LightningModule):
    """AlexNet with accuracy and loss on the progress bar."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.net = models.alexnet(num_classes=num_classes)

    def training_step(self, batch, batch_idx):
        """One step."""
        images, targets = batch
        outputs = self.net(images)
        loss = nn.functional.cross_entropy(outputs, targets)
        accuracy = (outputs.argmax(1) == targets).float().mean()
        self.log_dict({"loss": loss, "acc": accuracy}, prog_bar=True, on_step=False, on_epoch=True)
        return loss

    def configure_optimizers(self):
        """SGD."""
        return torch.optim.SGD(self.parameters(), lr=0.01, momentum=0.9)


class Clock(L.Callback):
    """Times each epoch."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_train_epoch_start(self, *_) -> None:
        """Start."""
        self.start = time.perf_counter()

    def on_train_epoch_end(self, *_) -> None:
        """Stop."""
        self.seconds.append(time.perf_counter() - self.start)


if __name__ == "__main__":
    args = parser.parse_args()
    transform = transforms.Compose(
        [
            transforms.Resize((args.resolution, args.resolution)),
            transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    dataset = datasets.ImageFolder(args.root, transform)
    chosen = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(0))
    loader = DataLoader(
        torch.utils.data.Subset(dataset, chosen[: args.images].tolist()),
        batch_size=16,
        shuffle=True,
        num_workers=2,
        persistent_workers=True,
    )
    clock = Clock()
    trainer = L.Trainer(
        max_epochs=args.epochs, callbacks=[clock], logger=False, enable_checkpointing=False
    )
    trainer.fit(LitAlexNet(len(dataset.classes)), loader)
    rest = clock.seconds[1:]
    print("images/s", args.images * len(rest) / sum(rest))
