"""Draw filters, feature maps and Grad-CAM (Selvaraju et al. 2017) of a trained network."""

from collections.abc import Sequence
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torchvision.utils import save_image

from alexlab.errors import printable
from alexlab.evaluation import feature_maps
from alexlab.evaluation.loading import LoadedRun
from alexlab.reporting.plotting import numbered, save, style


def look(run: LoadedRun, places: list[int], settings: Sequence[str] = ()) -> list[Path]:
    """Write filters.png, feature_maps.png and gradcam.png to the run's folder `look`.

    Args:
        run: A finished run.
        places: Indices in the test set; if empty, the first image of each class (at most 8).
        settings: Data settings to change, such as `root=FOLDER`.

    Returns:
        The paths of the three pictures.

    Raises:
        ValueError: An index is out of range.
    """
    loader = run.data(settings).test_dataloader()
    indices = torch.from_numpy(loader.indices)
    places = places or _one_of_each(loader.fetch(indices)[1])
    if not all(0 <= place < len(loader.indices) for place in places):
        raise ValueError(f"--test: the test set has the images 0 to {len(loader.indices) - 1}")
    stored, targets = loader.fetch(indices[places])
    images = run.view(stored.to(run.device), training=False)
    pixels = run.view.pixels(stored, training=False)
    folder = run.folder / "look"
    folder.mkdir(exist_ok=True)
    save_image(feature_maps.filters(run.net), folder / "filters.png")
    save_image(feature_maps.feature_maps(run.net, images, pixels), folder / "feature_maps.png")
    titles = [f"test {i}\n{_name(run, t)}" for i, t in zip(places, targets, strict=True)]
    with style():
        figure = draw_grad_cam(run, images, pixels, titles)
        save(figure, folder / "gradcam.png", dpi=120)
    if numbers := numbered(figure):
        print(f"gradcam.png: {printable(numbers)}")
    return [folder / f"{name}.png" for name in ("filters", "feature_maps", "gradcam")]


def grad_cam(net: nn.Module, layer: nn.Module, images: Tensor) -> Tensor:
    """Compute Grad-CAM of `layer` for the largest output: [N, H, W] in [0, 1].

    Equations 1 and 2 of the paper, enlarged to the images [N, C, H, W]. A map of zeros stays 0.
    """
    kept: list[Tensor] = []

    def keep(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        kept.append(output)
        return output.clone()  # the next layer may work in place

    with torch.enable_grad(), layer.register_forward_hook(keep):
        outputs = net(images.detach().clone().requires_grad_())
        (gradients,) = torch.autograd.grad(outputs.amax(1).sum(), kept[0])
    weights = gradients.mean((2, 3), keepdim=True)  # [N, K, 1, 1]
    heat = (weights * kept[0].detach()).sum(1, keepdim=True).relu().float()
    heat = interpolate(heat, images.shape[2:], mode="bilinear")[:, 0]
    return heat / heat.amax((1, 2), keepdim=True).clamp(min=1e-12)


def draw_grad_cam(run: LoadedRun, images: Tensor, pixels: Tensor, titles: list[str]) -> Figure:
    """Draw each image, and below it Grad-CAM of the last convolution."""
    with torch.no_grad():
        predictions = run.task.predict(run.net(images).float())
    heat = grad_cam(run.net, feature_maps.convolutions(run.net)[-1], images).cpu().numpy()
    figure = Figure((1.6 * len(images), 3.9), layout="constrained")
    axes = figure.subplots(2, len(images), squeeze=False)
    for i, prediction in enumerate(predictions.cpu()):
        shown = pixels[i].permute(1, 2, 0).float().cpu().numpy()
        says = f"predicted {_name(run, prediction.argmax() if run.classes else prediction)}"
        certainty = f"\n{float(prediction.max()):.0%}" if run.classes else ""
        axes[0, i].imshow(shown)
        axes[0, i].set_title(titles[i], fontsize=9)
        axes[1, i].imshow(shown)
        axes[1, i].imshow(heat[i], cmap="jet", alpha=0.5, vmin=0, vmax=1)
        axes[1, i].set_title(says + certainty, fontsize=9)
        axes[0, i].axis("off"), axes[1, i].axis("off")
    return figure


def _one_of_each(targets: Tensor) -> list[int]:
    """Return the index of the first image of each class, at most 8; for scores, the first 5."""
    if targets.is_floating_point():
        return list(range(min(5, len(targets))))
    known: list[int] = targets.tolist()
    return [known.index(kind) for kind in sorted(set(known))[:8]]


def _name(run: LoadedRun, target: Tensor) -> str:
    return run.classes[int(target)] if run.classes else f"{float(target):.1f}"
