"""Which images a person should look at: the most confident mistakes, the largest errors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

COLUMNS, LINES = 8, 3  # of the gallery of all mistakes
CLASSES = 20  # in a gallery, those with most mistakes

Rows = Mapping[str, Sequence[tuple[Path, str]]]
"""{name: (image file, text under it)}."""


@dataclass(frozen=True)
class Seen:
    """What was predicted of N images."""

    paths: Sequence[Path]
    targets: Tensor  # class [N] int64, or score [N] float32
    predictions: Tensor  # probabilities [N, K], or scores [N, 1]
    classes: Sequence[str]  # K names; empty for scores
    fit: str  # how an image becomes square

    def mistakes(self, of: int | None = None) -> list[int]:
        """Wrongly classified images, the most confident first; `of` one class."""
        confidence, preds = self.predictions.max(1)
        wrong = preds != self.targets
        return _largest(confidence, wrong if of is None else wrong & (self.targets == of))

    def errors(self, sign: int) -> list[int]:
        """Images whose score is too high (`sign` 1) or too low (-1), the worst first."""
        error = sign * (self.predictions[:, 0] - self.targets)
        return _largest(error, error > 0)

    def describe(self, i: int) -> dict[str, str | float]:
        """What is to be said of one image."""
        path = str(self.paths[i]).encode(errors="backslashreplace").decode()  # any bytes
        target = self.targets[i].item()
        if not self.classes:
            return {"path": path, "true": target, "predicted": self.predictions[i, 0].item()}
        confidence, pred = self.predictions[i].max(0)
        names = {"true": self.classes[int(target)], "predicted": self.classes[int(pred)]}
        return {"path": path, **names, "confidence": confidence.item()}

    def worst(self) -> list[dict[str, str | float]]:
        """The images of `galleries`, described."""
        if self.classes:
            rows = self.mistakes()[: COLUMNS * LINES]
        else:
            rows = [*self.errors(1)[:COLUMNS], *self.errors(-1)[:COLUMNS]]
        return [self.describe(i) for i in rows]

    def galleries(self) -> dict[str, Rows]:
        """{file name: its rows}."""
        if not self.classes:
            form = "{predicted:.1f}, not {true:.1f}"
            both = {"too high": self.errors(1), "too low": self.errors(-1)}
            return {"errors": {name: self._row(rows, form) for name, rows in both.items()}}
        every, form = self.mistakes(), "{predicted} {confidence:.0%}"
        lines = [every[i : i + COLUMNS] for i in range(0, len(every), COLUMNS)][:LINES]
        of = [(name, self.mistakes(k)) for k, name in enumerate(self.classes)]
        most = sorted(sorted(of, key=lambda c: -len(c[1]))[:CLASSES])
        return {
            "mistakes": {" " * i: self._row(row, "{true}\n" + form) for i, row in enumerate(lines)},
            "mistakes_by_class": {name: self._row(rows, form) for name, rows in most},
        }

    def _row(self, rows: Sequence[int], form: str) -> list[tuple[Path, str]]:
        return [(self.paths[i], form.format(**self.describe(i))) for i in rows[:COLUMNS]]


def _largest(values: Tensor, among: Tensor) -> list[int]:
    rows = torch.nonzero(among)[:, 0]
    order: list[int] = rows[values[rows].argsort(descending=True, stable=True)].tolist()
    return order
