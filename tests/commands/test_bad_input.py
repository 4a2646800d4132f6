"""Bad input through the command line: one or two lines, exit code 1, and nothing left behind."""

import re
import shutil
import sys

import pytest
from PIL import Image

from alexlab.commands.train import main
from tests.tiny import without_notices


@pytest.fixture
def command(monkeypatch, tmp_path, image_folder):
    """Runs `python -m src.train ...` in an empty folder, in this process."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a_file").touch()
    for name in ("MASTER_ADDR", "NODE_RANK", "GROUP_RANK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("DATA_DIR", raising=False)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    small = ["data=folder", f"data.root={image_folder}", "data.resolution=32", "data.batch_size=4"]
    small += ["trainer.max_epochs=1"]

    def run(*overrides):
        monkeypatch.setattr(sys, "argv", ["train", *small, *overrides])
        main()

    return run


BAD = {
    "model=alexnt": r"model=alexnt: unknown; did you mean alexnet",
    "data=pokmon": r"data=pokmon: unknown; did you mean pokemon",
    "optim=sdg": r"optim=sdg: unknown; did you mean sgd",
    "act=rleu": r"act=rleu: unknown; did you mean relu",
    "optim.lrr=3": r"optim.lrr: no such setting; did you mean optim.lr",
    "modl=alexnet": r"modl: no such setting; did you mean model",
    "data.root=nowhere": r"no folder nowhere",
    "data=pokemon data.root=null": r"data=pokemon needs data.root",
    "data=pokemon data.root=data/pokemon": r"data/pokemon; .*data fetch pokemon .*DATA_DIR",
    "data.batch_size=0": r"data.batch_size=0: must be a whole number of at least 1",
    "data.batch_size=500": r"data.batch_size=500 is more than the 12 images of train",
    "optim.lr=0": r"optim.lr=0: must be a number greater than 0",
    "optim.lr=-1": r"optim.lr=-1: must be a number greater than 0",
    "optim.lr=abc": r"optim.lr=abc: must be a number greater than 0",
    "seed=-1": r"seed=-1: must be a whole number from 0",
    "+trainer.plugins=[]": r"trainer.plugins=\[\]: cannot be set: .*; remove it",
    "+trainer.default_root_dir=X": r"trainer.default_root_dir=X: cannot be set: .*hydra.run.dir",
    "+trainer.enable_checkpointing=false": r"trainer.enable_checkpointing=False: cannot be set",
    "+trainer.barebones=true": r"trainer.barebones=True: cannot be set",
    "+trainer.check_val_every_n_epoch=2": r"check_val_every_n_epoch=2: cannot be set: .*each epoch",
    "+trainer.val_check_interval=0.5": r"val_check_interval=0.5: cannot be set: .*after each epoch",
    "+trainer.limit_val_batches=0.5": r"limit_val_batches=0.5: less than one of the 1 batches",
    "trainer.strategy=dpp": r"trainer.accelerator=auto .*trainer.strategy=dpp .*[Ii]nvalid",
    "objective=val/accuracy": r"objective=val/accuracy: unknown; did you mean .*val/acc",
    "objective=val/mae direction=minimize": r"objective=val/mae: unknown; did you mean val/acc",
    "objective=val/loss": r"objective=val/loss direction=maximize: .*set direction=minimize",
    "sweep.n_jobs=2": r"sweep.n_jobs=2: has no effect on a single run; add -m for a sweep",
    "jobs=2": r"jobs=2: this setting is now sweep.n_jobs; write sweep.n_jobs=2",
    "sweep=mine": r"sweep=mine: this setting is now sweep.name; write sweep.name=mine",
    "trainer.max_epochs=0": r"trainer.max_epochs=0: must be a whole number of at least 1",
    "trainer.max_epochs=5.0": r"trainer.max_epochs=5.0: must be a whole number of at least 1",
    "model=alexnet data.resolution=7": r"resolution=7 is too small.*smallest that works is \d+",
    "trainer.precision=3bit": r"3bit",
    "trainer.accelerator=tpu": r"torch_xla",
    "trainer.accelerator=gpuu": r"gpuu",
    "data.classes=[red]": r"only one class, 'red'",
    "data.classes=[red,blu]": r"blu.*did you mean blue",
    "data.split=foo": r"data.split=foo: unknown",
    "task=regression": r"needs one score per image, the data has 3 classes",
    "resume=nowhere": r"nowhere is not a run folder",
    "+foo.bar=1": r"\+foo.bar=1: nothing reads a setting of this name; remove it",
    "+lr=0.1": r"\+lr=0.1: nothing reads .*; did you mean optim.lr\?",
    "+modle=alexnet": r"\+modle=alexnet: nothing reads .*; did you mean model",
    "++optim@other=adam": r"nothing reads a setting of this name",
    "+study.axes=1": r"\+study.axes=1: nothing reads",
    "+sched.gamma=0.5": r"sched.gamma=0.5: the chosen sched has no settings; remove it, or choose",
    "+logger.fast=1": r"logger.fast=1: must be a class and its settings; .*logger=\[NAME\]",
    "+callbacks.fast=1": r"callbacks.fast=1: must be a class",
    "sched=warmup_cosine": r"sched.warmup_epochs=5: must be .*max_epochs=1; .* at least 6 epochs",
    "data.seed=3": r"data.seed=3: has no effect, since its value is that of seed; set seed",
    "data.cache_dir=elsewhere": r"data.cache_dir=elsewhere: has no effect.*; set cache_dir",
    "cache_dir=a_file": r"cache_dir=a_file: it is a file; name a folder",
    "cache_dir=a_file/below": r"cache_dir=a_file/below: a_file is a file; name a folder",
    "hydra.run.dir=a_file": r"a_file: a file is where a folder is needed; choose another name",
    "hydra.sweep.dir=a_file seed=0,1 -m": r"cannot write .*a_file.*Not a directory",
    "+trainer.num_nodes=2": r"trainer.num_nodes=2: no cluster found .*SLURM or torchrun",
    "seed=0,1 -m act=tanh": r"-m: between two settings; write it before all of them",
    # a sweep, before its first trial
    "+foo=1,2 -m": r"\+foo=1,2: nothing reads a setting of this name; remove it",
    "+sweep.n_job=2 seed=0,1 -m": r"\+sweep.n_job=2: nothing reads .*; did you mean sweep.n_jobs",
    "optim.lr=0.1,abc -m": r"optim.lr=abc: must be a number greater than 0",
    "data.batch_size=4,big -m": r"data.batch_size=big: must be a whole number of at least 1",
    "act=relu,rleu -m": r"act=rleu: unknown; did you mean relu",
    "seed=0,-1 -m": r"seed=-1: must be a whole number",
    "objective=val/acc,val/loss -m": r"objective=val/loss direction=maximize: .*direction=minimize",
    "+trainer.val_check_interval=0.5,1.0 -m": r"val_check_interval=0.5: cannot be set",
    "optim=sgd,adam optim.momentum=0.9 -m": r"optim=adam has no such setting",
    "sched=piecewise sched.milestones=[3]": r"1 epochs but sched.lrs has 2 rates",
}


@pytest.mark.parametrize("overrides", BAD)
def test_it_is_said_in_short_and_nothing_is_left(command, tmp_path, capfd, overrides):
    with pytest.raises(SystemExit) as exit_:
        command(*overrides.split())
    assert exit_.value.code == 1
    told = without_notices(capfd.readouterr().err)
    assert told.startswith("error: ")
    assert len(told.splitlines()) <= 2
    assert re.search(BAD[overrides], told, re.DOTALL), told
    left = [p for p in tmp_path.rglob("*") if p.is_file() and ".cache" not in p.parts]
    assert left == [tmp_path / "a_file"]
    assert not list(tmp_path.glob("multirun/*/*"))


@pytest.mark.parametrize("head", ["", "# @package _global_\n"])
def test_a_study_file_that_makes_no_sweep_is_refused(command, tmp_path, capfd, head):
    """Hydra would train one run with the default settings."""
    (tmp_path / "mine/study").mkdir(parents=True)
    text = f"{head}study: {{question: does it, axes: {{seed: 'range(3)'}}}}\n"
    (tmp_path / "mine/study/half.yaml").write_text(text)
    with pytest.raises(SystemExit) as exit_:
        command("study=half", "--config-dir", str(tmp_path / "mine"))
    assert exit_.value.code == 1
    assert "study=half: its file makes no sweep; it must begin" in capfd.readouterr().err
    assert not list(tmp_path.glob("multirun/*/*"))


@pytest.fixture
def broken(tmp_path):
    """Three classes of which one has a file cut in half, and one a file that is a bomb."""
    root = tmp_path / "images"
    for name, shade in {"a": 0, "b": 120, "c": 240}.items():
        (root / name).mkdir(parents=True)
        for i in range(12):
            Image.effect_noise((40, 40 + i), shade + 10).save(root / name / f"{i}.png")
    whole = (root / "b/3.png").read_bytes()
    (root / "b/3.png").write_bytes(whole[: len(whole) // 2])
    return root


def test_a_broken_image_is_named_or_skipped_and_counted(command, broken, capfd):
    with pytest.raises(SystemExit):
        command(f"data.root={broken}")
    assert re.search(r"broken image .*b/3\.png.*data\.on_broken=skip", capfd.readouterr().err)
    command(f"data.root={broken}", "data.on_broken=skip")
    assert re.search(r"1 broken .*skipped.*b/3.png", capfd.readouterr().out)


def test_a_decompression_bomb_is_refused_before_it_is_decoded(command, broken, capfd):
    Image.new("1", (10_000, 9_000)).save(broken / "b/3.png")
    with pytest.raises(SystemExit):
        command(f"data.root={broken}")
    assert re.search(r"b/3\.png.*(pixels|Mpx)", capfd.readouterr().err)


def test_a_class_without_readable_images_is_named(command, broken, capfd):
    (broken / "phone").mkdir()
    (broken / "phone" / "1.heic").write_bytes(b"x")
    with pytest.raises(SystemExit):
        command(f"data.root={broken}", "data.on_broken=skip")
    assert re.search("'phone' has no image that can be read.*1 .heic", capfd.readouterr().err)


def contents(run):
    """Every file but train.log, which may say more."""
    files = [path for path in run.rglob("*") if path.is_file() and path.name != "train.log"]
    return {path: path.read_bytes() for path in files}


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (shutil.rmtree, "no folder"),
        (
            lambda images: (images / "red/0.png").unlink(),
            "on other data: its fingerprint",
        ),
    ],
)
def test_a_resume_on_other_data_leaves_the_run_as_it_was(
    command, tmp_path, image_folder, monkeypatch, capfd, harm, message
):
    images, run = tmp_path / "images", tmp_path / "run"
    shutil.copytree(image_folder, images)
    command(f"data.root={images}", f"hydra.run.dir={run}")
    before = contents(run)
    harm(images)
    monkeypatch.setattr(sys, "argv", ["train", f"resume={run}", "trainer.max_epochs=2"])
    with pytest.raises(SystemExit):
        main()
    assert message in capfd.readouterr().err
    assert contents(run) == before


def test_a_run_folder_that_cannot_be_written_is_said(command, capfd):
    with pytest.raises(SystemExit) as exit_:
        command("hydra.run.dir=/proc/nowhere")
    assert exit_.value.code == 1
    assert "/proc/nowhere" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("export run --format onnx --output .", "--output .: it is a folder; name a file, as in"),
        (
            "export run --format onnx --output file/x",
            "--output file/x: it is a file; name a folder",
        ),
        ("lr-find --out .", "--out .: it is a folder; name a file, as in lr_find.png"),
        ("data check --out file", "--out file: it is a file; name a folder"),
        ("data preview --out .", "--out .: it is a folder; name a file, as in preview.png"),
    ],
)
def test_a_place_for_output_is_checked_before_the_work(
    alexlab, monkeypatch, tmp_path, capsys, words, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit, match="1"):
        alexlab(*words.split())
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
