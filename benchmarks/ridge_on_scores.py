"""Ask whether the scores of the photos can be learned from 280 of them.

`python -m benchmarks.ridge_on_scores` fits a ridge regression to features of torchvision's
SqueezeNet. It uses nothing of alexlab, so a mistake in our data or training cannot reach it.
"""

import csv
import os
import sys
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torchvision.models import squeezenet1_0
from torchvision.transforms.functional import normalize, resize, to_tensor

PENALTIES = (10.0, 100.0, 1000.0, 10_000.0, 100_000.0)
TRAIN, SPLITS, PIXELS = 280, 3, 128
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet


def photos(data_dir: Path) -> tuple[Tensor, Tensor]:
    """Return features, (N, 512), and scores, (N,), of all photos."""
    net = squeezenet1_0()
    net.load_state_dict(torch.load(data_dir / "weights/squeezenet1_0-deepcompression.pth"))
    net.eval()
    features, scores = [], []
    with (data_dir / "scores/labels.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            with Image.open(data_dir / "scores/images" / row["filename"]) as image:
                pixels = to_tensor(resize(image.convert("RGB"), [PIXELS, PIXELS]))
            with torch.inference_mode():
                maps = net.features(normalize(pixels, MEAN, STD)[None])
            features.append(maps.mean((2, 3))[0])
            scores.append(float(row["score"]))
    return torch.stack(features), torch.tensor(scores)


def errors(features: Tensor, scores: Tensor, seed: int) -> tuple[float, float]:
    """Return the mean absolute errors of the best penalty and of the median, on unseen photos."""
    order = torch.randperm(len(scores), generator=torch.Generator().manual_seed(seed))
    train, test = order[:TRAIN], order[TRAIN:]
    x = (features - features[train].mean(0)) / features[train].std(0).clamp_min(1e-6)
    mean = scores[train].mean()
    found = []
    for penalty in PENALTIES:
        gram = x[train].T @ x[train] + penalty * torch.eye(x.shape[1])
        weights = torch.linalg.solve(gram, x[train].T @ (scores[train] - mean))
        found.append((x[test] @ weights + mean - scores[test]).abs().mean().item())
    guess = (scores[train].median() - scores[test]).abs().mean().item()
    return min(found), guess


def main() -> None:
    """Print the errors of three splits."""
    if "DATA_DIR" not in os.environ:
        sys.exit("DATA_DIR: not set; give the folder that has scores/ and weights/")
    features, scores = photos(Path(os.environ["DATA_DIR"]))
    for seed in range(SPLITS):
        fitted, guess = errors(features, scores, seed)
        print(f"split {seed}: ridge {fitted:.2f}, the median {guess:.2f}")


if __name__ == "__main__":
    main()
