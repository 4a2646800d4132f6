"""Gets data sets: `python -m src.data.fetch flower`, or from a folder or archive that you have.

flower and cifar10 are downloaded from their own addresses and checked. The pokemon images have no
public address that will last; `python -m src.data.fetch pokemon FILE_OR_FOLDER` takes them in.
"""

import argparse
import hashlib
import os
import shutil
import tempfile
import urllib.error
import urllib.request
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from torchvision.datasets import CIFAR10

from src.data.archive import unpack
from src.data.files import find_class_images
from src.errors import said_in_short


@dataclass(frozen=True)
class Source:
    """A data set; `counts` are images of each class, 0 if unknown; `checksum` "algorithm:hex"."""

    folder: str
    counts: dict[str, int]
    url: str = ""
    size: int = 0
    checksum: str = ""


SOURCES = {
    "flower": Source(
        "flower_photos",
        {"daisy": 633, "dandelion": 898, "roses": 641, "sunflowers": 699, "tulips": 799},
        "https://storage.googleapis.com/download.tensorflow.org/example_images/flower_photos.tgz",
        228_813_984,  # size and checksum as TensorFlow Datasets has them (tf_flowers)
        "sha256:4c54ace7911aaffe13a365c34f650e71dd5bf1be0a58b464e5a7183e3e595d9c",
    ),
    "cifar10": Source("cifar10", {}, CIFAR10.url, 170_498_071, f"md5:{CIFAR10.tgz_md5}"),
    "pokemon": Source(
        "pokemon", dict.fromkeys(("bulbasaur", "charmander", "mewtwo", "pikachu", "squirtle"), 0)
    ),
}


def fetch(name: str, given: Path | None, data_dir: Path) -> Path:
    """Put a data set below `data_dir`, whole or not at all; its folder.

    Args:
        name: One of `SOURCES`.
        given: An archive or a folder to take it from; None downloads it.
        data_dir: What DATA_DIR means.

    Raises:
        ValueError: It is there already; what was given or downloaded is not what it should be.
        FileNotFoundError: `given` is not there, or there is nothing to download.
    """
    source = SOURCES[name]
    target = data_dir / source.folder
    if target.exists():
        raise ValueError(f"{target} is there already; remove it to fetch it anew")
    if given is None and not source.url:
        raise FileNotFoundError(
            f"the {name} images (pyimagesearch's Pokedex) have no public address that will last;"
            f" from an archive, or a\nfolder with {'/ '.join(source.counts)}/:"
            f" python -m src.data.fetch {name} FILE_OR_FOLDER"
        )
    if given is not None and not given.exists():
        raise FileNotFoundError(f"{given} is not there")
    data_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=data_dir, prefix=f".{name}-") as made:
        inside = Path(made) / "unpacked"
        if given is not None and given.is_dir():
            shutil.copytree(given, inside, ignore=shutil.ignore_patterns(".*"))
        else:
            unpack(given or download(source, Path(made) / "download"), inside)
        root = _without_wrapping(inside)
        shutil.rmtree(root / "__MACOSX", ignore_errors=True)
        for path in list(root.iterdir()):
            if (known := path.name.lower()) in source.counts and path.name != known:
                path.rename(root / known)
        if not (root / CIFAR10.base_folder).is_dir():  # its own files are checked when read
            _check_counts(root, source.counts)
        root.rename(target)
    return target


def download(source: Source, path: Path) -> Path:
    """Write the file at `source.url` to `path`, no more than its known size, and check it."""
    print(f"downloading {source.url} ({source.size / 1e6:.0f} MB)", flush=True)
    algorithm, expected = source.checksum.split(":")
    digest, received = hashlib.new(algorithm, usedforsecurity=False), 0
    try:
        with urllib.request.urlopen(source.url, timeout=60) as answer, path.open("wb") as file:
            while block := answer.read(2**20):
                received += len(block)
                if received > source.size:
                    raise ValueError(f"{source.url} is larger than {source.size:,} bytes: refused")
                digest.update(block)
                file.write(block)
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        raise ValueError(
            f"cannot download {source.url}: {getattr(error, 'reason', error)};"
            " get the file by other means and give its path after the name"
        ) from error
    if received < source.size:
        raise ValueError(
            f"the download of {source.url} is truncated: {received:,} of {source.size:,} bytes;"
            " nothing is kept, try again"
        )
    if digest.hexdigest() != expected:
        raise ValueError(f"{source.url} has another {algorithm} than expected; nothing is kept")
    return path


def _without_wrapping(folder: Path) -> Path:
    """The folder itself, or what is inside folders that hold nothing but one folder."""
    while True:
        visible = [p for p in folder.iterdir() if p.name[0] not in "._"]
        if len(visible) != 1 or not visible[0].is_dir() or visible[0].name == CIFAR10.base_folder:
            return folder
        folder = visible[0]


def _check_counts(root: Path, expected: dict[str, int]) -> None:
    files = find_class_images(root)
    found = Counter(files.classes[int(target)] for target in files.targets)
    if missing := set(expected) - set(found):
        raise ValueError(
            f"no images of {', '.join(sorted(missing))}; found the classes {', '.join(found)}"
        )
    for name, count in found.items():
        if expected.get(name) and count != expected[name]:
            print(f"note: {count} images of {name}, not {expected[name]}")


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m src.data.fetch",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", choices=SOURCES)
    parser.add_argument("given", nargs="?", type=Path, help="an archive or folder that you have")
    default = Path(os.environ.get("DATA_DIR", "data"))
    parser.add_argument("--data-dir", type=Path, default=default, help="default: %(default)s")
    args = parser.parse_args(arguments)
    with said_in_short():
        print(fetch(args.name, args.given, args.data_dir))


if __name__ == "__main__":
    main()
