import hashlib
import io
import re
import shutil
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from torchvision.datasets import CIFAR10

from alexlab.commands.data import NAMES
from alexlab.data import download
from alexlab.data.download import SOURCES, Source, fetch
from alexlab.runs.folder import lock

FLOWERS = ["daisy", "dandelion", "roses", "sunflowers", "tulips"]
POKEMON = ["bulbasaur", "charmander", "mewtwo", "pikachu", "squirtle"]


def picture(i):
    file = io.BytesIO()
    pixels = np.random.default_rng(i).integers(0, 256, (8, 8, 3), np.uint8)
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def archive_of(path, classes, prefix=""):
    with zipfile.ZipFile(path, "w") as zipped:
        for i, name in enumerate(classes):
            zipped.writestr(f"{prefix}{name}/{i}.png", picture(i))
    return path


def tgz_of(names):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        for i, name in enumerate(names):
            info = tarfile.TarInfo(f"flower_photos/{name}/{i}.png")
            info.size = len(picture(i))
            tar.addfile(info, io.BytesIO(picture(i)))
    return file.getvalue()


@pytest.fixture
def data_dir(tmp_path):
    """Where data sets go; whatever happens, only whole data sets may be there, or a download."""
    folder = tmp_path / "data"
    yield folder
    if folder.exists():
        assert {p.name for p in folder.iterdir()} <= {
            *(source.folder for source in SOURCES.values()),
            ".flower.download",
        }


class Server(ThreadingHTTPServer):
    """Serves `body` on this machine. Of each request it sends what `cuts` has next, if any."""

    def __init__(self, body, cuts=(), *, ranges=True):
        self.body, self.cuts, self.ranges, self.asked = body, list(cuts), ranges, []
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server, asked = self.server, self.headers["Range"]
        server.asked.append(asked)
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and server.ranges else 0
        if start and start >= len(server.body):
            self.send_error(416)
            return
        part = server.body[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        self.wfile.write(part[: server.cuts.pop(0)] if server.cuts else part)
        self.close_connection = True

    def log_message(self, *_):
        pass


@pytest.fixture
def serve(monkeypatch):
    """serve(content, ...) -> a server of flower; `sent` bytes of `content` are there."""
    monkeypatch.setenv("no_proxy", "*")
    servers = []

    def make(content, sent=None, checksum=None, **options):
        body = content[:sent] if sent is None or sent <= len(content) else content + b"x"
        server = Server(body, **options)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        checksum = checksum or f"sha256:{hashlib.sha256(content).hexdigest()}"
        url = f"http://127.0.0.1:{server.server_port}/flowers.tgz"
        source = Source("flower_photos", dict.fromkeys(FLOWERS, 0), url, len(content), checksum)
        monkeypatch.setitem(SOURCES, "flower", source)
        return server

    yield make
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_download_is_checked_and_unpacked(serve, data_dir):
    serve(tgz_of(FLOWERS))
    assert fetch("flower", None, data_dir) == data_dir / "flower_photos"
    assert sorted(p.name for p in (data_dir / "flower_photos").iterdir()) == FLOWERS
    assert (data_dir / "flower_photos" / "roses" / "2.png").read_bytes() == picture(2)


def test_a_download_that_is_cut_goes_on_where_it_was(serve, data_dir):
    """The connection is closed after 100 bytes, and after 50 more."""
    server = serve(tgz_of(FLOWERS), cuts=[100, 50])
    fetch("flower", None, data_dir)
    assert server.asked == [None, "bytes=100-", "bytes=150-"]
    assert (data_dir / "flower_photos" / "roses" / "2.png").read_bytes() == picture(2)


def test_the_next_command_completes_a_download(serve, data_dir, capsys):
    content = tgz_of(FLOWERS)
    serve(content, cuts=[100, 0])
    kept = rf"100 of {len(content):,} bytes are kept: the same command goes on"
    with pytest.raises(ValueError, match=kept):
        fetch("flower", None, data_dir)
    assert not (data_dir / "flower_photos").exists()
    server = serve(content)
    fetch("flower", None, data_dir)
    assert server.asked == ["bytes=100-"]
    assert "(0 MB, from 0 MB on)" in capsys.readouterr().out
    assert [p.name for p in data_dir.iterdir()] == ["flower_photos"]


def test_a_server_without_ranges_sends_all_again(serve, data_dir):
    server = serve(tgz_of(FLOWERS), cuts=[100], ranges=False)
    fetch("flower", None, data_dir)
    assert server.asked == [None, "bytes=100-"]


def test_a_whole_download_that_was_not_unpacked_is_not_repeated(serve, data_dir, monkeypatch):
    server = serve(tgz_of(FLOWERS))
    with monkeypatch.context() as broken:
        broken.setattr(download, "unpack", raise_no_space)
        with pytest.raises(OSError, match="no space"):
            fetch("flower", None, data_dir)
    fetch("flower", None, data_dir)
    assert server.asked == [None]


def raise_no_space(*_):
    raise OSError(28, "no space left on device")


def test_two_downloads_at_once_are_refused(serve, data_dir):
    serve(tgz_of(FLOWERS))
    folder = data_dir / ".flower.download"
    folder.mkdir(parents=True)
    held = lock(folder)
    with pytest.raises(ValueError, match="is being downloaded by another process"):
        fetch("flower", None, data_dir)
    held.close()
    shutil.rmtree(folder)


def test_a_truncated_file_is_no_data_set(serve, data_dir):
    content = tgz_of(FLOWERS)
    serve(content, sent=len(content) - 1)
    said = f"Range Not Satisfiable.*{len(content) - 1:,} of {len(content):,} bytes are kept"
    with pytest.raises(ValueError, match=said):
        fetch("flower", None, data_dir)
    assert [p.name for p in data_dir.iterdir()] == [".flower.download"]


def test_a_download_without_end_is_cut(serve, data_dir):
    content = tgz_of(FLOWERS)
    serve(content, sent=len(content) + 1)
    with pytest.raises(ValueError, match="is larger than"):
        fetch("flower", None, data_dir)
    assert not list(data_dir.glob(".flower.download/part"))


def test_another_content_is_refused(serve, data_dir):
    serve(tgz_of(FLOWERS), checksum="sha256:" + "0" * 64)
    with pytest.raises(ValueError, match="another sha256 than expected; nothing was kept"):
        fetch("flower", None, data_dir)
    assert not list(data_dir.iterdir())


def test_a_bar_shows_how_far_a_download_is(serve, data_dir, monkeypatch):
    written = io.StringIO()
    terminal = Console(file=written, force_terminal=True, width=80)
    monkeypatch.setattr(download, "Console", lambda **_: terminal)
    content = tgz_of(FLOWERS)
    serve(content)
    fetch("flower", None, data_dir)
    amount = f"{len(content) / 1000:.1f}/{len(content) / 1000:.1f} kB"
    assert amount in re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", written.getvalue())


def test_no_network(serve, data_dir):
    server = serve(tgz_of(FLOWERS))
    server.shutdown()
    server.server_close()  # its port is closed
    with pytest.raises(ValueError, match=r"cannot download .*refused.* give its path"):
        fetch("flower", None, data_dir)


def test_pokemon_is_explained(alexlab, data_dir, capsys):
    with pytest.raises(SystemExit) as stop:
        alexlab("data", "fetch", "pokemon", "--data-dir", data_dir)
    assert stop.value.code == 1
    assert "alexlab data fetch pokemon FILE_OR_FOLDER" in capsys.readouterr().err


@pytest.mark.parametrize("prefix", ["", "pokeman/", "download/pokeman/"])
def test_pokemon_from_an_archive_however_wrapped(tmp_path, data_dir, prefix):
    made = archive_of(tmp_path / "x.zip", [name.title() for name in POKEMON], prefix)
    root = fetch("pokemon", made, data_dir)
    assert sorted(p.name for p in root.iterdir()) == POKEMON


def test_pokemon_from_a_folder_which_stays(tmp_path, data_dir):
    with zipfile.ZipFile(archive_of(tmp_path / "x.zip", POKEMON)) as zipped:
        zipped.extractall(tmp_path / "mine")
    (tmp_path / "mine" / ".DS_Store").write_bytes(b"x")
    root = fetch("pokemon", tmp_path / "mine", data_dir)
    assert sorted(p.name for p in root.iterdir()) == POKEMON
    assert (tmp_path / "mine" / "pikachu" / "3.png").exists()


def test_a_class_that_is_missing_is_named(tmp_path, data_dir):
    made = archive_of(tmp_path / "x.zip", POKEMON[:4])
    with pytest.raises(ValueError, match="no images of squirtle; found the classes bulbasaur"):
        fetch("pokemon", made, data_dir)
    assert not list(data_dir.iterdir())


def test_what_is_there_is_not_touched(tmp_path, data_dir):
    (data_dir / "pokemon").mkdir(parents=True)
    (data_dir / "pokemon" / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match="exists already; remove it"):
        fetch("pokemon", archive_of(tmp_path / "x.zip", POKEMON), data_dir)
    assert (data_dir / "pokemon" / "mine.txt").read_text() == "mine"


def test_an_escaping_archive_is_refused_in_one_line(alexlab, tmp_path, data_dir, capsys):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as zipped:
        zipped.writestr("../../escaped.txt", "x")
    with pytest.raises(SystemExit) as stop:
        alexlab("data", "fetch", "pokemon", tmp_path / "x.zip", "--data-dir", data_dir)
    assert stop.value.code == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert not list(tmp_path.rglob("escaped.txt"))


def test_cifar10_keeps_the_files_that_torchvision_knows(tmp_path, data_dir):
    with tarfile.open(tmp_path / "x.tgz", "w:gz") as tar:
        info = tarfile.TarInfo(f"{CIFAR10.base_folder}/batches.meta")
        tar.addfile(info)
    root = fetch("cifar10", tmp_path / "x.tgz", data_dir)
    assert (root / CIFAR10.base_folder / "batches.meta").exists()


def test_the_known_sums():
    """Sizes and counts as published: TensorFlow Datasets (tf_flowers), cs.toronto.edu/~kriz."""
    assert SOURCES["flower"].size == 228_813_984
    assert sum(SOURCES["flower"].counts.values()) == 3_670
    assert download.SOURCES["cifar10"].checksum == "md5:c58f30108f718f92721af3b95e74349a"


def test_the_command_offers_the_data_sets_that_there_are():
    assert set(NAMES) == set(SOURCES)


def pokemon_folder(root):
    for i, name in enumerate(POKEMON):
        (root / name).mkdir(parents=True)
        (root / name / "0.png").write_bytes(picture(i))
    return root


def test_a_folder_with_links_to_itself_is_copied_once(tmp_path, data_dir):
    """Two of them are enough to fill any disk."""
    given = pokemon_folder(tmp_path / "given")
    (given / "pikachu" / "a").symlink_to(".")
    (given / "pikachu" / "b").symlink_to("..")
    (given / "mewtwo" / "self").symlink_to("self")
    target = fetch("pokemon", given, data_dir)
    copied = sorted(p.relative_to(target).as_posix() for p in target.rglob("*") if p.is_file())
    again = [f"pikachu/b/{name}/0.png" for name in POKEMON if name != "pikachu"]
    assert copied == sorted([f"{name}/0.png" for name in POKEMON] + again)
    assert not any(path.is_symlink() for path in target.rglob("*"))


def test_a_folder_that_is_too_large_is_refused(tmp_path, data_dir, monkeypatch):
    monkeypatch.setattr(download, "MAX_ENTRIES", 4)
    with pytest.raises(ValueError, match="has more than 4 files"):
        fetch("pokemon", pokemon_folder(tmp_path / "given"), data_dir)
    assert not list(data_dir.iterdir())
    monkeypatch.setattr(download, "MAX_ENTRIES", 5)  # as many as there are
    assert fetch("pokemon", tmp_path / "given", data_dir).is_dir()


def test_what_a_killed_fetch_left_is_removed_by_the_next(tmp_path, data_dir):
    (data_dir / ".pokemon-killed" / "unpacked").mkdir(parents=True)
    (data_dir / ".pokemon-killed" / "unpacked" / "half.png").write_bytes(b"half")
    working = data_dir / ".pokemon-working"
    working.mkdir()
    held = lock(working)  # as a fetch under way does
    fetch("pokemon", pokemon_folder(tmp_path / "given"), data_dir)
    assert sorted(p.name for p in data_dir.iterdir()) == [".pokemon-working", "pokemon"]
    held.close()
    shutil.rmtree(working)


def test_droppings_of_systems_do_not_come_along(tmp_path, data_dir):
    given = pokemon_folder(tmp_path / "given")
    for name in ("__MACOSX", "@eaDir"):
        (given / name).mkdir()
        (given / name / "0.png").write_bytes(b"x")
    (given / "pikachu" / "._0.png").write_bytes(b"x")
    target = fetch("pokemon", given, data_dir)
    assert sorted(p.name for p in target.iterdir()) == POKEMON
    assert [p.name for p in (target / "pikachu").iterdir()] == ["0.png"]
