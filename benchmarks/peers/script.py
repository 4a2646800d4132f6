"""Train as a script by hand does: torchvision's AlexNet, ImageFolder, DataLoader, a plain loop.

The script has good settings: two worker processes that stay between epochs, and images resized to
the size that the network needs. It prints the images/s of the epochs after the first.
"""

import argparse
import time

import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision import datasets, models, transforms

parser = argparse.ArgumentParser()
parser.add_argument("root")
parser.add_argument("--resolution", type=int, required=True)
parser.add_argument("--epochs", type=int, default=3)
parser.add_argument("--images", type=int, required=True)
args = parser.parse_args()

device = "cuda" if torch.cuda.is_available() else "cpu"
transform = transforms.Compose(
    [
        transforms.Resize((args.resolution, args.resolution)),
        transforms.ToTensor(),
        transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ]
)
dataset = datasets.ImageFolder(args.root, transform)
chosen = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(0))[: args.images]
train_loader = DataLoader(
    torch.utils.data.Subset(dataset, chosen.tolist()),
    batch_size=16,
    shuffle=True,
    num_workers=2,
    persistent_workers=True,
    pin_memory=device == "cuda",
)
net = models.alexnet(num_classes=len(dataset.classes)).to(device)
optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
criterion = nn.CrossEntropyLoss()

speeds = []
for _ in range(args.epochs):
    start = time.perf_counter()
    running_loss, correct = 0.0, 0
    for images, targets in train_loader:
        images, targets = images.to(device), targets.to(device)
        optimizer.zero_grad()
        outputs = net(images)
        loss = criterion(outputs, targets)
        loss.backward()
        optimizer.step()
        running_loss += loss.item()
        correct += (outputs.argmax(1) == targets).sum().item()
    speeds.append(args.images / (time.perf_counter() - start))
print("images/s", sum(speeds[1:]) / len(speeds[1:]))
