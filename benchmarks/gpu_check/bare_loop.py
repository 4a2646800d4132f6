"""Train in a bare loop over tensors in memory, with the fastest settings; print images/s."""

import argparse
import time

import torch
from torch import nn
from torchvision import models

from alexlab.performance.malloc import set_malloc_thresholds
from alexlab.performance.onednn_linear import use_onednn

parser = argparse.ArgumentParser()
parser.add_argument("--resolution", type=int, required=True)
parser.add_argument("--epochs", type=int, default=3)
parser.add_argument("--images", type=int, required=True)
parser.add_argument("--precision", choices=["32-true", "bf16-mixed", "bf16-true"], required=True)
args = parser.parse_args()

set_malloc_thresholds()
torch.set_float32_matmul_precision("high")
device = "cuda" if torch.cuda.is_available() else "cpu"
images = torch.randn(args.images, 3, args.resolution, args.resolution, device=device)
dtype = torch.bfloat16 if args.precision == "bf16-true" else torch.float32
images = images.to(dtype, memory_format=torch.channels_last)
targets = torch.randint(5, (args.images,), device=device)
net = models.alexnet(num_classes=5).to(device, dtype, memory_format=torch.channels_last)
use_onednn(net)
optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, fused=True)

speeds = []
for _ in range(args.epochs):
    start = time.perf_counter()
    for i in range(0, args.images, 16):
        optimizer.zero_grad()
        with torch.autocast(device, torch.bfloat16, enabled=args.precision == "bf16-mixed"):
            outputs = net(images[i : i + 16])
        nn.functional.cross_entropy(outputs.float(), targets[i : i + 16]).backward()
        optimizer.step()
    if device == "cuda":
        torch.cuda.synchronize()
    speeds.append(args.images / (time.perf_counter() - start))
print("images/s", sum(speeds[1:]) / len(speeds[1:]))
