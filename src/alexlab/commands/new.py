"""Write the files of a model or a study of your own: `alexlab new model NAME`.

They go into a Python package of yours, which the command creates if it does not exist:

    alexlab new model wide_net
    alexlab new study mixup --into my_nets

The folder has the package and pyproject.toml, whose entry point tells alexlab where the config
files of the package are. After `pip install` every verb of alexlab finds the model and the study.
"""

import re
from pathlib import Path

from alexlab.commands.arguments import command_parser
from alexlab.errors import user_errors

PROJECT = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "{package}"
version = "0.1.0"
dependencies = ["torch"]

[project.entry-points.alexlab]  # conf/ of this package extends that of alexlab
{package} = "{package}"
"""
MODEL = '''\
"""A network of my own."""

from torch import Tensor, nn


class {class_name}(nn.Module):
    """Images [N, in_channels, resolution, resolution] -> outputs [N, num_outputs]."""

    def __init__(
        self, num_outputs: int, *, in_channels: int = 3, resolution: int = 64, width: int = 16
    ) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, width, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(4),
        )
        self.classifier = nn.Linear(16 * width, num_outputs)

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self.features(images).flatten(1))
'''
MODEL_CONFIG = """\
_target_: {package}.{name}.{class_name}
width: 16
"""
STUDY = """\
# @package _global_
# The claims are written down before anything runs; CONTRIBUTING.md of alexlab explains each key.
defaults:
  - override /model: small_cnn
  - override /data: shapes
hydra:
  mode: MULTIRUN
data:
  split_seed: ${{seed}}
fit_metrics: true

study:
  question: Does flipping images help a small network?
  axes:
    seed: range(5)
    augment.flip: 0.0, 0.5
  tuned:
    trainer.max_epochs: 10
  trained:  # a run that ends below chance and margin has not trained
    metric: last(val/acc)
    chance: 0.2
    margin: 0.1
  looks:  # seeds at which the claims are answered
    tuned: [5]

  claims:
    - name: flip-test-accuracy
      statement: Flipping images tests higher than none
      source_says: ours
      kind: greater
      metric: test/acc_last_3
      treatment:
        augment.flip: 0.5
      control:
        augment.flip: 0.0
      margin: 0.02  # the smallest difference that matters
      settings: [tuned]
"""


def write_new(kind: str, name: str, into: Path) -> list[Path]:
    """Write the files of a new model or study, and return their paths.

    Args:
        kind: `model` or `study`.
        name: Name of the model or study: small letters, digits and `_`.
        into: Folder of the package; it has the same name as the package.

    Raises:
        ValueError: `name` or the name of `into` is not valid, or a file exists.
    """
    for text in (name, into.name):
        if not re.fullmatch(r"[a-z][a-z0-9_]*", text):
            raise ValueError(f"{text}: must be a name of small letters, digits and _, as in my_net")
    package = into.name
    words = {"package": package, "name": name}
    words["class_name"] = "".join(part.capitalize() for part in name.split("_"))
    place = into / package
    files = {place / "conf" / kind / f"{name}.yaml": MODEL_CONFIG if kind == "model" else STUDY}
    if kind == "model":
        files[place / f"{name}.py"] = MODEL
    if found := [path for path in files if path.exists()]:
        raise ValueError(f"{found[0]} exists; choose another name")
    if not (into / "pyproject.toml").exists():
        files = {into / "pyproject.toml": PROJECT, place / "__init__.py": "", **files}
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.format(**words), "utf-8")
    return list(files)


def main() -> None:
    """Run `alexlab new`."""
    parser = command_parser("new", __doc__)
    parser.add_argument("kind", choices=("model", "study"))
    parser.add_argument("name", metavar="NAME")
    parser.add_argument(
        "--into",
        type=Path,
        default=Path("my_alexlab"),
        metavar="DIR",
        help="the folder of your package (default: my_alexlab)",
    )
    options = parser.parse_args()
    with user_errors():
        for path in write_new(options.kind, options.name, options.into):
            print(path)
        print(f"then: pip install -e ./{options.into}")
        print(f"      alexlab train {options.kind}={options.name}")
