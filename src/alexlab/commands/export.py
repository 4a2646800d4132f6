"""A trained net for other programs: `alexlab export RUN_DIR --format onnx|torch_export`.

What is written takes `images`, float32 [N, 3, S, S], RGB in [0, 1], any N, S the run's
data.resolution; it standardises them itself, and gives `probabilities` [N, classes], or `scores`
[N, 1]. Its metadata has the classes, the task, S, and how training made images square. It is read
back, by ONNX Runtime or torch, and must give what the run's own net gives for real test images.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alexlab.errors import user_errors
from alexlab.runs import locate

if TYPE_CHECKING:  # torch is imported when there is something to do
    from torch import Tensor
    from torch.export import ExportedProgram

    from alexlab.evaluation.loading import LoadedRun

    Net = Callable[[Tensor], Tensor]

TOLERANCE = 1e-4  # largest difference of a probability or a score
IMAGES = 64  # on which the two are compared
METADATA = "alexlab.json"  # in a .pt2


def export(
    run: Path, format: str, *, output: Path | None = None, settings: Sequence[str] = ()
) -> tuple[Path, float]:
    """Write the net of `run`; the file, and the largest difference to the run's own outputs.

    Raises:
        ValueError: They differ by more than `TOLERANCE`; nothing is written.
        RuntimeError: ONNX is asked for and not installed.
    """
    import torch

    from alexlab.evaluation import loading

    suffix, write_and_read = FORMATS[format]
    net = loading.load_run(run, torch.device("cpu"))
    data = net.data(settings)
    pixels = torch.from_numpy(data.store.read(data.rows["test"][:IMAGES], data.load_size))
    images, expected = net.view.pixels(pixels, training=False), net.predict(pixels)
    path = output or net.folder / f"model{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp{suffix}")
    try:
        again = write_and_read(program(net), about(net), temporary)
        found = torch.cat([again(images[:1]), again(images[1:])])  # batches of any size
        difference = (found - expected).abs().max().item()
        if not difference <= TOLERANCE:
            raise ValueError(
                f"the exported net's outputs differ from the run's by {difference:.2g}, more than"
                f" {TOLERANCE:g}: {path} is not written"
            )
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path, difference


def program(net: "LoadedRun") -> "ExportedProgram":
    """From pixels to probabilities or scores, as one graph for batches of any size."""
    import torch

    class Whole(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.represent, self.net = net.view.represent, net.net

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return net.task.predict(self.net(self.represent(images)))

    whole = Whole().eval().to(memory_format=torch.contiguous_format)
    example = torch.rand(2, 3, net.resolution, net.resolution)
    shapes = {"images": {0: torch.export.Dim("N")}}
    with torch.no_grad():
        return torch.export.export(whole, (example,), dynamic_shapes=shapes)


def about(net: "LoadedRun") -> dict[str, str]:
    """What a user of the file has to know, as texts."""
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


def _onnx(graph: "ExportedProgram", facts: dict[str, str], path: Path) -> "Net":
    try:
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise RuntimeError(f"{error.name} is not installed: pip install 'alexlab[onnx]'") from None
    import torch

    name = facts["output"].partition(":")[0]
    exported: Any = torch.onnx.export(
        graph, input_names=["images"], output_names=[name], dynamo=True, verbose=False
    )
    exported.model.metadata_props.update(facts)
    exported.save(path)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(None, {"images": images.numpy()})[0])


def _torch(graph: "ExportedProgram", facts: dict[str, str], path: Path) -> "Net":
    from torch.export import load, save

    save(graph, path, extra_files={METADATA: json.dumps(facts, ensure_ascii=False)})
    module: Net = load(path).module()
    return module


FORMATS: "dict[str, tuple[str, Callable[[ExportedProgram, dict[str, str], Path], Net]]]" = {
    "onnx": (".onnx", _onnx),
    "torch_export": (".pt2", _torch),
}


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = locate.parser("export", __doc__)
    parser.add_argument("--format", choices=FORMATS, required=True)
    parser.add_argument("--output", type=Path, metavar="FILE", help="RUN_DIR/model.onnx or .pt2")
    parser.add_argument("--data", nargs="+", default=[], metavar="KEY=VALUE", help="root=FOLDER")
    options = parser.parse_args(arguments)
    with user_errors():
        run = locate.resolve_run_dir(options.run)
        path, difference = export(run, options.format, output=options.output, settings=options.data)
        print(f"{path} ({path.stat().st_size / 1e6:.1f} MB)")
        print(f"largest difference on {IMAGES} test images: {difference:.2g}")


if __name__ == "__main__":
    main()
