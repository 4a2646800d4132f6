"""Write a finished run's network for other programs, as ONNX or torch.export.

The exported network takes `images`, float32 [N, 3, S, S], RGB in [0, 1], where S is the run's
data.resolution. It standardises them itself, and returns `probabilities` [N, classes] or `scores`
[N, 1]. The metadata has the classes, the task, S, and how training made images square. Before the
file is kept, ONNX Runtime or torch reads it, and its outputs for test images are compared with
those of the run. Random images are used if the run's data set cannot be read.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.export import ExportedProgram

from alexlab.errors import missing_extra, printable
from alexlab.evaluation.loading import LoadedRun, load_run

TOLERANCE = 1e-4  # largest difference of a probability or a score
IMAGES = 64  # for the comparison
METADATA = "alexlab.json"  # name of the extra file in a .pt2
Net = Callable[[Tensor], Tensor]


def export(
    run: Path, format: str, *, output: Path | None = None, settings: Sequence[str] = ()
) -> tuple[Path, float, str]:
    """Write the network of `run` to a file, after a comparison with the run's own outputs.

    Args:
        run: The folder of a finished run.
        format: `onnx` or `torch_export`.
        output: The file; by default model.onnx or model.pt2 in `run`.
        settings: Data settings to change, such as `root=FOLDER`.

    Returns:
        The file, the largest difference on at most `IMAGES` images, and which images, in words.

    Raises:
        ValueError: The outputs differ by more than `TOLERANCE`; nothing is written.
        RuntimeError: The packages for ONNX are not installed.
    """
    suffix, write_and_read = FORMATS[format]
    net = load_run(run, torch.device("cpu"))
    pixels, which = pixels_to_compare(net, settings)
    images, expected = net.view.pixels(pixels, training=False), net.predict(pixels)
    path = output or net.folder / f"model{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp{suffix}")
    try:
        exported = write_and_read(graph(net), metadata(net), temporary)
        outputs = torch.cat([exported(images[:1]), exported(images[1:])])  # batches of any size
        difference = (outputs - expected).abs().max().item()
        if not difference <= TOLERANCE:
            raise ValueError(
                f"the exported net's outputs differ from the run's by {difference:.2g}, more than"
                f" {TOLERANCE:g}: {path} is not written"
            )
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path, difference, f"{len(pixels)} {which}"


def pixels_to_compare(net: LoadedRun, settings: Sequence[str] = ()) -> tuple[Tensor, str]:
    """Return test images uint8 [N, 3, S, S], or random images if the data cannot be read."""
    try:
        data = net.data(settings)
    except (FileNotFoundError, ValueError) as error:
        if settings:
            raise
        reason = printable(str(error).partition("\n")[0])
        coarse = torch.rand(IMAGES, 3, 4, 4, generator=torch.Generator().manual_seed(0))
        smooth = F.interpolate(coarse, net.resolution, mode="bilinear")
        noise = torch.rand(smooth.shape, generator=torch.Generator().manual_seed(1))
        drawn = (255 * (0.8 * smooth + 0.2 * noise)).to(torch.uint8)
        return drawn, f"random images ({reason})"
    rows = data.indices["test"][:IMAGES]
    return torch.from_numpy(data.cache.read(rows, data.load_size)), "test images"


def graph(net: LoadedRun) -> ExportedProgram:
    """Export the graph from pixels to probabilities or scores, for batches of any size."""

    class PixelsToOutputs(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.representation, self.net = net.view.representation, net.net

        def forward(self, images: Tensor) -> Tensor:
            return net.task.predict(self.net(self.representation(images)))

    whole = PixelsToOutputs().eval().to(memory_format=torch.contiguous_format)
    example = torch.rand(2, 3, net.resolution, net.resolution)
    shapes = {"images": {0: torch.export.Dim("N")}}
    with torch.no_grad():
        return torch.export.export(whole, (example,), dynamic_shapes=shapes)


def metadata(net: LoadedRun) -> dict[str, str]:
    """Return the metadata of the file: task, classes, input, output, preparation, run."""
    crops, side = net.crops(), net.resolution
    task, output = ("classification", "probabilities") if net.classes else ("regression", "scores")
    return {
        "task": task,
        "classes": json.dumps(net.classes, ensure_ascii=False),
        "input": f"images: float32 [N, 3, {side}, {side}], RGB in [0, 1]",
        "output": f"{output}: float32 [N, {len(net.classes) or 1}]",
        "preparation": f"{crops.fit} to {crops.load_size} pixels, bilinear with antialiasing, then"
        f" the central {side}",
        "run": str(net.folder),
    }


def _onnx(graph: ExportedProgram, facts: dict[str, str], path: Path) -> Net:
    try:
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise RuntimeError(missing_extra("onnx", "--format onnx")) from error

    name = facts["output"].partition(":")[0]
    exported: Any = torch.onnx.export(
        graph, input_names=["images"], output_names=[name], dynamo=True, verbose=False
    )
    exported.model.metadata_props.update(facts)
    exported.save(path)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(None, {"images": images.numpy()})[0])


def _torch(graph: ExportedProgram, facts: dict[str, str], path: Path) -> Net:
    from torch.export import load, save

    save(graph, path, extra_files={METADATA: json.dumps(facts, ensure_ascii=False)})
    module: Net = load(path).module()
    return module


FORMATS: dict[str, tuple[str, Callable[[ExportedProgram, dict[str, str], Path], Net]]] = {
    "onnx": (".onnx", _onnx),
    "torch_export": (".pt2", _torch),
}
