"""What the data gate found, as Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

from src.data.split import SPLITS

SHOWN = 10  # examples of each finding; the JSON has all


def markdown(found: Mapping[str, Any]) -> str:
    """The report of what `src.data.check.examine` found."""
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
        _counts(found["counts"]["grouped"]),
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


def _counts(counts: Mapping[str, Mapping[str, int]]) -> str:
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
