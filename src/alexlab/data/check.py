"""Examine a data set: counts, broken files, duplicates, leaks between splits.

Duplicates are found by alexlab.data.duplicates; a `manifest.csv` beside the images with the columns
path and neardup_group is the truth that they are compared with.
"""

import csv
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alexlab.data.cache import ImageCache, Index
from alexlab.data.datamodule import ImageFolderData
from alexlab.data.files import ImageFiles
from alexlab.data.split import SPLITS, load_or_create_split

SUFFIXES = {"jpg": "JPEG", "tif": "TIFF", "pgm": "PPM"}


def examine(data: ImageFolderData) -> dict[str, Any]:
    """All that the report says; broken images are reported, not raised."""
    files = data.find_files()
    store = ImageCache(files, data.name, folder=data.cache_dir, fit=data.fit)
    index = store.index(data.load_size)
    sides = {
        kind: load_or_create_split(
            store.folder, index, kind == "grouped", data.split_seed, data.fractions
        )
        for kind in ("grouped", "random")
    }
    facts = {name: column[~index.broken] for name, column in index.facts.items()}
    paths = np.array(files.paths, dtype=object)
    good, broken = paths[~index.broken], paths[index.broken]
    exact = _groups(facts["sha1"].tolist(), good)
    twins = _groups(index.twins[~index.broken].tolist(), good)
    return {
        "name": data.name,
        "root": str(files.root),
        "files": len(files.paths),
        "classes": files.classes,
        "counts": {kind: _counts(files, s) for kind, s in sides.items()},
        "size": {side: _quantiles(facts[side]) for side in ("width", "height")},
        "formats": Counter(facts["format"].tolist()),
        "modes": Counter(facts["mode"].tolist()),
        "wrong_extension": [p for p, f in zip(good, facts["format"], strict=True) if _wrong(p, f)],
        "broken": dict(zip(broken, index.facts["error"][index.broken].tolist(), strict=True)),
        "passed_over": files.ignored,
        "exact_groups": exact,
        "twin_groups": twins,
        "two_labels": _two_labels(files, exact),
        "two_labels_near": _two_labels(files, twins),
        "leak": {kind: _leak(index.twins, s) for kind, s in sides.items()},
        "against_manifest": _against_manifest(files, index),
    }


def _groups(keys: Sequence[Hashable], paths: Iterable[str]) -> list[list[str]]:
    """Paths that share a key with another, largest group first."""
    groups = defaultdict(list)
    for key, path in zip(keys, paths, strict=True):
        groups[key].append(path)
    return sorted((g for g in groups.values() if len(g) > 1), key=lambda g: (-len(g), g))


def _counts(files: ImageFiles, sides: NDArray[np.str_]) -> dict[str, dict[str, int]]:
    every = files.classes or ["images"]
    names = [every[int(target)] if files.classes else "images" for target in files.targets]
    found = Counter(zip(sides.tolist(), names, strict=True))
    return {side: {name: found[side, name] for name in every} for side in SPLITS}


def _quantiles(values: NDArray[Any]) -> list[int]:
    """Least, median and largest."""
    return np.quantile(values, (0, 0.5, 1), method="nearest").tolist() if len(values) else []


def _wrong(path: str, format: str) -> bool:
    suffix = path.rpartition(".")[2].lower()
    return SUFFIXES.get(suffix, suffix.upper()) != format


def _two_labels(files: ImageFiles, groups: list[list[str]]) -> list[list[str]]:
    label = dict(zip(files.paths, files.targets, strict=True)) if files.classes else {}
    return [group for group in groups if len({label.get(path) for path in group}) > 1]


def _leak(twins: NDArray[np.int64], sides: NDArray[np.str_]) -> dict[str, int]:
    """Images of test and val, and those of them that have a twin in train."""
    leak: dict[str, int] = {}
    for side in ("test", "val"):
        with_twin = np.isin(twins[sides == side], twins[sides == "train"])
        leak |= {side: len(with_twin), f"{side}_with_twin": int(with_twin.sum())}
    return leak


def _against_manifest(files: ImageFiles, index: Index) -> dict[str, Any] | None:
    """Pairs of twins found and true, precision and recall; None without a manifest."""
    path = files.root / "manifest.csv"
    if not path.is_file():
        return None
    with path.open(newline="", encoding="utf-8") as file:
        rows = {row.get("path"): row.get("neardup_group") for row in csv.DictReader(file)}
    known = [i for i, name in enumerate(files.paths) if rows.get(name) is not None]
    if not known:
        return None
    found, true = index.twins[known].tolist(), [rows[files.paths[i]] for i in known]
    pairs_found, pairs_true = _pairs(found), _pairs(true)
    both = _pairs(zip(found, true, strict=True))
    return {
        "images": len(known),
        "pairs_true": pairs_true,
        "pairs_found": pairs_found,
        "pairs_both": both,
        "precision": both / max(1, pairs_found),
        "recall": both / max(1, pairs_true),
    }


def _pairs(keys: Iterable[Hashable]) -> int:
    return sum(n * (n - 1) // 2 for n in Counter(keys).values())


SHOWN = 10  # examples of each finding; the JSON has all


def check_report(found: Mapping[str, Any]) -> str:
    """The report of what `alexlab.data.check.examine` found."""
    broken = [f"{path}: {why}" for path, why in found["broken"].items()]
    two_labels, near = (
        [" = ".join(group) for group in found[key]] for key in ("two_labels", "two_labels_near")
    )
    sizes = [[f"{side} (pixels)", *least] for side, least in found["size"].items() if least]
    leaks = [
        [kind, n["test"], n["test_with_twin"], f"{n['test_with_twin'] / max(1, n['test']):.1%}"]
        for kind, n in found["leak"].items()
    ]
    parts = [
        f"# Data gate: {found['name']}",
        f"{found['files']:,} images in `{found['root']}`.",
        "## Images per class and split (grouped)",
        _counts_table(found["counts"]["grouped"]),
        "## Files",
        _table(("", "least", "median", "largest"), sizes),
        f"Formats: {_tally(found['formats'])}. Modes: {_tally(found['modes'])}.",
        _finding("Files whose extension names another format", found["wrong_extension"]),
        _finding("Broken files", broken),
        _finding("Files passed over (not images by name)", found["passed_over"]),
        "## Duplicates",
        _duplicates("Exact duplicates", found["exact_groups"]),
        _duplicates("Exact or near duplicates", found["twin_groups"]),
        _finding("Exact duplicates under two labels, groups", two_labels),
        _finding("Exact or near duplicates under two labels, groups", near),
        "## What a split leaks",
        _table(("split", "test images", "with a twin in train", "share"), leaks),
    ]
    if truth := found["against_manifest"]:
        parts += [
            "## Twins against manifest.csv",
            f"{truth['images']:,} images; {truth['pairs_true']:,} true pairs of twins,"
            f" {truth['pairs_found']:,} found, {truth['pairs_both']:,} of them true:"
            f" precision {truth['precision']:.3f}, recall {truth['recall']:.3f}.",
        ]
    return "\n\n".join(parts) + "\n"


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(_cell(value) for value in line)} |" for line in lines)


def _cell(value: object) -> str:
    text = f"{value:,}" if isinstance(value, int) else str(value)
    text = text.encode(errors="backslashreplace").decode()  # a name need not be Unicode
    return text.replace("|", "\\|").replace("\n", " ")


def _counts_table(counts: Mapping[str, Mapping[str, int]]) -> str:
    rows = {name: [counts[side][name] for side in SPLITS] for name in counts["train"]}
    if len(rows) > 1:
        rows["all classes"] = [sum(counts[side].values()) for side in SPLITS]
    return _table(("class", *SPLITS, "all"), [[k, *row, sum(row)] for k, row in rows.items()])


def _tally(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {n:,}" for name, n in sorted(counts.items(), key=lambda c: -c[1]))


def _finding(what: str, items: Sequence[str]) -> str:
    shown = [f"- {item!r}"[:300] for item in items[:SHOWN]]
    more = [f"- and {len(items) - SHOWN:,} more"] if len(items) > SHOWN else []
    head = f"{what}: {len(items):,}"
    return "\n".join([head, "", *shown, *more]) if items else head


def _duplicates(kind: str, groups: Sequence[Sequence[str]]) -> str:
    images = sum(map(len, groups))
    largest = f"; the largest has {len(groups[0])}" if groups else ""
    return (
        f"{kind}: {len(groups):,} groups, {images:,} images, {images - len(groups):,} more than are"
        f" needed{largest}."
    )
