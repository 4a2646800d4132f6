"""Check a data set: classes, sizes, broken files, duplicates, leaks.

A file `manifest.csv` in the root folder (columns path and neardup_group) lists the true duplicates;
the duplicates found by alexlab.data.duplicates are compared with them.
"""

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alexlab.data.cache import ImageCache, Index
from alexlab.data.datamodule import ImageFolderData
from alexlab.data.files import ImageFiles, tally
from alexlab.data.labels_csv import readable_table
from alexlab.data.split import SPLITS, grey_notes, load_or_create_split, one_colour
from alexlab.reporting.markdown import code, escape, markdown

SUFFIXES = {"jpg": "JPEG", "tif": "TIFF", "pgm": "PPM"}


def examine(data: ImageFolderData) -> dict[str, Any]:
    """Collect the facts for the report; broken images are listed and raise no error."""
    files = data.find_files()
    cache = ImageCache(files, data.name, folder=data.cache_dir, fit=data.fit)
    index = cache.index(data.load_size)
    splits = {
        kind: load_or_create_split(
            cache.folder, index, kind == "grouped", data.split_seed, data.fractions
        )
        for kind in ("grouped", "random")
    }
    facts = {name: column[~index.broken] for name, column in index.facts.items()}
    paths = np.array(files.paths, dtype=object)
    good, broken = paths[~index.broken], paths[index.broken]
    exact = _groups(facts["sha1"].tolist(), good)
    duplicates = _groups(index.duplicates[~index.broken].tolist(), good)
    return {
        "name": data.name,
        "root": str(files.root),
        "files": len(files.paths),
        "classes": files.classes,
        "counts": {kind: _counts(files, names) for kind, names in splits.items()},
        "size": {name: _quantiles(facts[name]) for name in ("width", "height")},
        "formats": Counter(facts["format"].tolist()),
        "modes": Counter(facts["mode"].tolist()),
        "wrong_extension": [
            path
            for path, format in zip(good, facts["format"], strict=True)
            if _has_wrong_extension(path, format)
        ],
        "broken": dict(zip(broken, index.facts["error"][index.broken].tolist(), strict=True)),
        "ignored": files.ignored,
        "notes": [*files.unusable.values(), *files.notes, *grey_notes(index)],
        "one_colour": paths[one_colour(index)].tolist(),
        "exact_duplicates": exact,
        "duplicates": duplicates,
        "exact_duplicates_of_two_classes": _of_two_classes(files, exact),
        "duplicates_of_two_classes": _of_two_classes(files, duplicates),
        "leak": {kind: _leak(index.duplicates, names) for kind, names in splits.items()},
        "against_manifest": _against_manifest(files, index),
    }


def _groups(keys: Sequence[Hashable], paths: Iterable[str]) -> list[list[str]]:
    """List the groups of paths that share a key, largest group first."""
    groups = defaultdict(list)
    for key, path in zip(keys, paths, strict=True):
        groups[key].append(path)
    return sorted((g for g in groups.values() if len(g) > 1), key=lambda g: (-len(g), g))


def _counts(files: ImageFiles, split_names: NDArray[np.str_]) -> dict[str, dict[str, int]]:
    every = files.classes or ["images"]
    names = [every[int(target)] if files.classes else "images" for target in files.targets]
    counts = Counter(zip(split_names.tolist(), names, strict=True))
    return {split: {name: counts[split, name] for name in every} for split in SPLITS}


def _quantiles(values: NDArray[Any]) -> list[int]:
    """Return minimum, median and maximum."""
    return np.quantile(values, (0, 0.5, 1), method="nearest").tolist() if len(values) else []


def _has_wrong_extension(path: str, format: str) -> bool:
    suffix = path.rpartition(".")[2].lower()
    return SUFFIXES.get(suffix, suffix.upper()) != format


def _of_two_classes(files: ImageFiles, groups: list[list[str]]) -> list[list[str]]:
    label = dict(zip(files.paths, files.targets, strict=True)) if files.classes else {}
    return [group for group in groups if len({label.get(path) for path in group}) > 1]


def _leak(duplicates: NDArray[np.int64], split_names: NDArray[np.str_]) -> dict[str, int]:
    """Count the images of test and val, and how many of them have a duplicate in train."""
    leak: dict[str, int] = {}
    for split in ("test", "val"):
        in_train = np.isin(duplicates[split_names == split], duplicates[split_names == "train"])
        leak |= {split: len(in_train), f"{split}_duplicated_in_train": int(in_train.sum())}
    return leak


def _against_manifest(files: ImageFiles, index: Index) -> dict[str, Any] | None:
    """Compare found and true pairs (precision, recall); return None without a manifest."""
    path = files.root / "manifest.csv"
    if not path.is_file():
        return None
    with readable_table(path) as reader:
        rows = {row.get("path"): row.get("neardup_group") for row in reader}
    known = [i for i, name in enumerate(files.paths) if rows.get(name) is not None]
    if not known:
        return None
    found, true = index.duplicates[known].tolist(), [rows[files.paths[i]] for i in known]
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


SHOWN = 10  # number of examples of each finding; the JSON has all


def check_report(facts: Mapping[str, Any]) -> str:
    """Format the result of `examine` as Markdown."""
    broken = [f"{path}: {reason}" for path, reason in facts["broken"].items()]
    exact, near = (
        [" = ".join(group) for group in facts[key]]
        for key in ("exact_duplicates_of_two_classes", "duplicates_of_two_classes")
    )
    sizes = [[f"{name} (pixels)", *values] for name, values in facts["size"].items() if values]
    leaks = [
        [kind, n["test"], n["test_duplicated_in_train"], _share(n)]
        for kind, n in facts["leak"].items()
    ]
    parts = [
        f"# Data check: {escape(facts['name'])}",
        f"{facts['files']:,} images in {code(facts['root'])}.",
        "\n".join(f"- {escape(note)}" for note in facts["notes"]),
        "## Images per class and split (grouped)",
        _counts_table(facts["counts"]["grouped"]),
        "## Files",
        _table(("", "minimum", "median", "maximum"), sizes),
        f"Formats: {_tally(facts['formats'])}. Modes: {_tally(facts['modes'])}.",
        _finding("Files whose extension names another format", facts["wrong_extension"]),
        _finding("Broken files", broken, facts["broken"]),
        _finding("Images of nearly one colour", facts["one_colour"]),
        _finding("Ignored files (no image file name)", facts["ignored"], facts["ignored"]),
        "## Duplicates",
        _duplicates("Exact duplicates", facts["exact_duplicates"]),
        _duplicates("Exact or near duplicates", facts["duplicates"]),
        _finding("Groups of exact duplicates in two classes", exact),
        _finding("Groups of exact or near duplicates in two classes", near),
        "## Leaks from train into test",
        _table(("split", "test images", "with a duplicate in train", "share"), leaks),
    ]
    if truth := facts["against_manifest"]:
        parts += [
            "## Duplicates against manifest.csv",
            f"{truth['images']:,} images; {truth['pairs_true']:,} true pairs of duplicates,"
            f" {truth['pairs_found']:,} found, {truth['pairs_both']:,} of them true:"
            f" precision {truth['precision']:.3f}, recall {truth['recall']:.3f}.",
        ]
    return "\n\n".join(filter(None, parts)) + "\n"


def _share(leak: Mapping[str, int]) -> str:
    return f"{leak['test_duplicated_in_train'] / max(1, leak['test']):.1%}"


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    return markdown(head, [[_cell(value) for value in row] for row in rows])


def _cell(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else escape(value)


def _counts_table(counts: Mapping[str, Mapping[str, int]]) -> str:
    rows = {name: [counts[split][name] for split in SPLITS] for name in counts["train"]}
    if len(rows) > 1:
        rows["all classes"] = [sum(counts[split].values()) for split in SPLITS]
    return _table(("class", *SPLITS, "all"), [[k, *row, sum(row)] for k, row in rows.items()])


def _tally(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {n:,}" for name, n in sorted(counts.items(), key=lambda c: -c[1]))


def _finding(title: str, items: Sequence[str], paths: Iterable[str] = ()) -> str:
    """Format the number of items, their file types if `paths` are given, and the first items."""
    shown = [f"- {escape(repr(item)[:300])}" for item in items[:SHOWN]]
    more = [f"- and {len(items) - SHOWN:,} more"] if len(items) > SHOWN else []
    kinds = tally(paths)
    head = f"{title}: {len(items):,}" + f" ({kinds})" * bool(kinds)
    return "\n".join([head, "", *shown, *more]) if items else head


def _duplicates(kind: str, groups: Sequence[Sequence[str]]) -> str:
    images = sum(map(len, groups))
    largest = f"; the largest has {len(groups[0])}" if groups else ""
    return (
        f"{kind}: {len(groups):,} groups, {images:,} images, {images - len(groups):,} of them"
        f" superfluous{largest}."
    )
