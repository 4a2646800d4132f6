"""A folder from a stranger is opened, and nothing in it runs: each attack, each command."""

import csv
import json
import logging
import os
import pickle
import shutil
import sys
from contextlib import suppress

import pytest
import yaml
from omegaconf import OmegaConf

from alexlab import messages
from alexlab.commands import evaluate, export, look, predict, report, rerun, sweeps, train
from alexlab.runs import config as run_config
from alexlab.runs.config import CONF, compose_config, config_folders, shipped_calls, to_plain
from alexlab.runs.locate import resolve_run_dir
from hydra_plugins.hydra_study_sweeper._space import Space
from hydra_plugins.hydra_study_sweeper.overrides import is_inert
from hydra_plugins.hydra_study_sweeper.run_folder import read_plain_yaml
from tests.tiny import in_child


class Touch:
    """A pickle that makes a folder when it is loaded."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def call(marker):
    """A config that makes the file `marker` when it is instantiated."""
    return {"_target_": "logging.FileHandler", "filename": str(marker)}


def put(key, value):
    """put("task.x", value)(run, marker) sets a key of the run's config.yaml."""

    def attack(run, marker):
        path = run / "config.yaml"
        config = yaml.safe_load(path.read_text())
        *parts, last = key.split(".")
        node = config
        for part in parts:
            node = node[part]
        node[last] = value(marker) if callable(value) else value
        path.write_text(yaml.safe_dump(config))

    return attack


def add(text):
    """add(text)(run, marker) appends to the run's config.yaml."""

    def attack(run, marker):
        with (run / "config.yaml").open("a") as file:
            file.write(text.replace("MARKER", str(marker)))

    return attack


def nested(marker):
    return f"${{oc.create:{{_target_:logging.FileHandler,filename:'{marker}'}}}}"


def unpickled(run, marker):
    (run / "notes.bin").write_bytes(pickle.dumps(Touch(marker)))
    text = f"${{oc.create:{{_target_:joblib.load,filename:'{run}/notes.bin'}}}}"
    put("task.label_smoothing", text)(run, marker)


def pipe(run, marker):
    (run / "config.yaml").unlink()
    os.mkfifo(run / "config.yaml")


def device(run, marker):
    (run / "config.yaml").unlink()
    (run / "config.yaml").symlink_to("/dev/zero")


LAUGHS = ["a0: &a0 [x, x, x]\n"]
LAUGHS += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 10)]
SGD = "torch.optim.SGD"

CALLS = {  # these leave a marker, or a secret, where config.yaml is trusted
    "oc.create": (put("task.label_smoothing", nested), r"an interpolation \$\{\.\.\.\} in line"),
    "pickle": (unpickled, "an interpolation"),
    "tag": (add('\nx: !!python/object/apply:os.mkdir ["MARKER"]\n'), "a tag in line"),
    "wrong place": (put("task.label_smoothing", call), "'task.label_smoothing._target_' must not"),
    "in a list": (put("model.head", lambda m: [call(m)]), r"'model.head.\[0\]._target_' must not"),
    "at the place": (put("sched", call), "'sched._target_' must not be 'logging.FileHandler'"),
}
OTHERS = {
    "oc.env": (put("task.label_smoothing", "${oc.env:HOME}"), "an interpolation"),
    "escaped": (put("data.name", r"\${oc.env:HOME}"), "an interpolation"),
    "in a key": (add("\n${oc.env:HOME}: 1\n"), "an interpolation"),
    "swapped": (
        put("optim._target_", "alexlab.models.alexnet.AlexNet"),
        "'optim._target_' must not",
    ),
    "shipped": (put("task.mixup", {"_target_": SGD, "params": []}), "'task.mixup._target_' must"),
    "_args_": (put("model._args_", [1]), "'model._args_' must not be"),
    "_partial_": (put("model._partial_", True), "'model._partial_' must not be True"),
    "_convert_": (put("optim._convert_", "object"), "'optim._convert_' must not"),
    "_recursive_": (put("data._recursive_", False), "'data._recursive_' must not"),
    "no name": (put("optim._target_", [SGD]), "'optim._target_' must not"),
    "storage": (put("trial", {"storage": "redis://evil"}), "made by version 0.1"),
    "laughs": (add("".join(["\n", *LAUGHS])), "an anchor or alias"),
    "merge": (add("\nx: {<<: {a: 1}}\n"), "a key that is not a string"),
    "depth": (add(f"\nx: {'[' * 100}{']' * 100}\n"), "more than 32 levels"),
    "deep": (add(f"\nx: {'[' * 10_000}{']' * 10_000}\n"), "no YAML|more than 32 levels"),
    "nodes": (add(f"\nx: [{'0,' * 60_000}]\n"), "more than 50000 values"),
    "size": (add("\n" + "# no end\n" * 1_200_000), "more than 1 MiB"),
    "long": (add(f"\nx: {':1' * 300_000}\n"), "a value of more than"),
    "number": (add(f"\nx: {'9' * 5_000}\n"), "integer string conversion|bits"),
    "again": (add("\nact: relu\n"), "a key for the second time"),
    "twice": (add("\nx: {a: 1, 'a': 2}\n"), "a key for the second time"),
    "integer key": (add("\n1: 2\n"), "a key that is not a string"),
    "mapping key": (add("\n? {a: 1}\n: 2\n"), "a key that is not a string"),
    "documents": (add("\n---\na: 1\n"), "more than one document"),
    "no YAML": (add("\n]\n"), "no YAML, in line"),
    "bytes": (lambda run, _: (run / "config.yaml").write_bytes(b"a: \xff"), "utf-8"),
    "list": (lambda run, _: (run / "config.yaml").write_text("[]"), "it has no settings"),
    "empty": (lambda run, _: (run / "config.yaml").write_text(""), "it has no settings"),
    "pipe": (pipe, "not a regular file"),
    "device": (device, "not a regular file"),
}
ATTACKS = CALLS | OTHERS


def run_command(command, *arguments):
    sys.argv = ["command", *map(str, arguments)]
    logging.getLogger().handlers.clear()  # pytest's; this is a process of its own
    messages.show()  # as __main__ does
    command.main()


COMMANDS = {
    "predict": lambda run, images: run_command(predict, run, images),
    "evaluate": lambda run, images: run_command(evaluate, run),
    "export": lambda run, images: run_command(export, run, "--format", "torch_export"),
    "look": lambda run, images: run_command(look, run),
    "rerun": lambda run, images: run_command(rerun, run, "--into", run.parent / "again"),
    "resume": lambda run, images: run_command(train, f"resume={run}", "trainer.max_epochs=3"),
    "report": lambda run, images: run_command(report, run.parent),
}


@pytest.fixture
def sweep(once, config, tmp_path):
    """A folder of a sweep with one finished run, 0-run, copied for each test."""
    folder = tmp_path / "sweep"
    shutil.copytree(once("plain", config()), folder / "0-run")
    row = {"number": 0, "state": "finished", "act": "relu", "objective": 0.5, "folder": "0-run"}
    with (folder / "trials.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, row)
        writer.writeheader()
        writer.writerow(row)
    about = {"version": 1, "command": "python -m src.train -m act=relu"}
    about |= {"directions": ["maximize"]}
    about |= {"axes": {"act": ["relu"]}, "search": False, "fingerprint": {}, "storage": None}
    about |= {"scale": "full", "about": None, "config": {"split_seed": "${seed}"}}
    (folder / "sweep.yaml").write_text(yaml.safe_dump(about))
    return folder


def refused(command, capfd, path):
    """Run `command` in a process of its own; its error, which is one line and names the file."""

    def flushed():
        try:
            command()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()

    code = in_child(flushed)
    told = capfd.readouterr().err
    assert code == 1, told
    assert len(told.splitlines()) == 1, told
    assert told.startswith("error: ")
    assert str(path) in told
    return told


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("attack", ["oc.create", "pickle", "tag", "wrong place"])
def test_no_command_runs_what_a_config_asks_for(sweep, image_folder, capfd, command, attack):
    run, marker = sweep / "0-run", sweep.parent / "marker"
    ATTACKS[attack][0](run, marker)
    if command == "report":  # it reads, and calls nothing: what it cannot read did not finish
        assert in_child(lambda: COMMANDS[command](run, image_folder)) == 0
    else:
        refused(lambda: COMMANDS[command](run, image_folder), capfd, run / "config.yaml")
    assert not marker.exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_hangs_on_a_pipe(sweep, image_folder, capfd, command):
    pipe(sweep / "0-run", None)
    path = sweep / "0-run/config.yaml"
    if command == "report":
        assert in_child(lambda: COMMANDS[command](path.parent, image_folder)) == 0
        assert f"warning: {path}: not a regular file" in capfd.readouterr().err
        return
    assert "not a regular file" in refused(
        lambda: COMMANDS[command](path.parent, image_folder), capfd, path
    )


@pytest.mark.parametrize("attack", ATTACKS)
def test_each_attack_is_refused_in_a_line_that_names_the_file(sweep, attack):
    make, message = ATTACKS[attack]
    make(sweep / "0-run", sweep.parent / "marker")
    with pytest.raises(ValueError, match=message) as refusal:
        run_config.read(sweep / "0-run")
    told = str(refusal.value)
    assert told.startswith(f"{sweep}/0-run/config.yaml: ")
    assert "\n" not in told
    assert len(told) < len(str(sweep)) + 300
    assert not (sweep.parent / "marker").exists()


def test_the_attacked_run_is_otherwise_fine(sweep, image_folder, capfd):
    for command in ("predict", "report", "resume"):
        code = in_child(lambda c=command: COMMANDS[c](sweep / "0-run", image_folder))
        assert code == 0, (command, capfd.readouterr())


def test_an_override_of_a_resumed_run_is_checked_too(sweep):
    for value in ("{_target_: os.mkdir, path: x}", "'${oc.create:{_target_:os.mkdir}}'"):
        with pytest.raises(ValueError, match=r"'trainer.max_epochs._target_' must not"):
            run_config.read_to_resume(sweep / "0-run", [f"trainer.max_epochs={value}"])


# -- what the project itself writes


def configs():
    yield compose_config()
    for path in sorted(CONF.glob("study/*.yaml")):
        yield compose_config([f"study={path.stem}"])


def test_every_study_s_config_is_read_as_omegaconf_reads_it(tmp_path):
    path = tmp_path / "config.yaml"
    for cfg in configs():
        run_config.write(cfg, tmp_path)
        assert OmegaConf.to_container(run_config.read(tmp_path)) == to_plain(cfg)
        unresolved = OmegaConf.to_container(cfg, resolve=False)  # as in sweep.yaml
        path.write_text(OmegaConf.to_yaml(unresolved))
        assert read_plain_yaml(path, interpolations=True) == unresolved
    path.write_text(OmegaConf.to_yaml({"a": [1e-5, "1e-5", float("inf"), "no", 1, None, "a\nb"]}))
    assert read_plain_yaml(path) == OmegaConf.to_container(OmegaConf.load(path))
    path.write_text("a: [1e-4, 1_000, 0x1f, 1:30, .5, 2020-01-01, on, ~]\n")
    assert read_plain_yaml(path) == OmegaConf.to_container(OmegaConf.load(path))


def test_what_may_be_called_is_known_by_place():
    shipped = shipped_calls(config_folders())
    parts = {"model", "data", "task", "optim", "sched", "augment", "logger", "callbacks"}
    assert {place[0] for place in shipped} == parts
    nested = ("logger", "callbacks")  # by the name of each
    assert all(len(place) == 2 + (place[0] in nested) for place in shipped)
    assert SGD in shipped["optim", "_target_"]
    assert set(shipped["task", "_target_"]) == {
        "alexlab.training.tasks.Classification",
        "alexlab.training.tasks.Regression",
    }
    assert set(shipped["sched", "_partial_"]) == {True}


# -- sweeps


@pytest.mark.parametrize("name", ["directions", "command", "storage", "config"])
def test_an_interpolation_in_sweep_yaml_stays_text(sweep, tmp_path, capfd, name):
    about = yaml.safe_load((sweep / "sweep.yaml").read_text())
    about[name] = [nested(tmp_path / "marker"), "${oc.env:SECRET}"]
    (sweep / "sweep.yaml").write_text(yaml.safe_dump(about))
    with pytest.MonkeyPatch.context() as patch, suppress(ValueError):
        patch.setenv("SECRET", "it leaked")
        in_child(lambda: COMMANDS["report"](sweep / "0-run", None))
        in_child(lambda: run_command(predict, f"best:{sweep}", "nothing"))
        sweeps.rerun(sweep, [], storage=None, dry_run=True)
    assert "it leaked" not in "".join(capfd.readouterr())
    assert not any(b"it leaked" in file.read_bytes() for file in sweep.glob("report.*"))
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("attack", ["tag", "laughs", "depth", "nodes", "size", "again", "bytes"])
def test_a_hostile_sweep_yaml_is_refused(sweep, capfd, attack):
    """`act` stands twice in what "again" adds to; here it is given once more."""
    config = (sweep / "sweep.yaml").rename(sweep / "config.yaml")
    if attack == "again":
        config.write_text("act: relu\n" + config.read_text())
    ATTACKS[attack][0](sweep, sweep / "marker")
    path = config.rename(sweep / "sweep.yaml")
    message = refused(lambda: COMMANDS["report"](sweep / "0-run", None), capfd, path)
    assert path.name in message
    for use in (
        lambda: resolve_run_dir(f"best:{sweep}"),
        lambda: sweeps.rerun(sweep, [], storage=None, dry_run=True),
    ):
        with pytest.raises(ValueError, match=ATTACKS[attack][1]):
            use()
    assert not (sweep / "marker").exists()


@pytest.mark.parametrize(
    "command",
    [
        "",
        "touch MARKER",
        'python -c \'open("MARKER", "w")\'',
        "python MARKER.py -m act=relu",
        "python -m alexlab.training.run",
        "python -m alexlab report -m act=relu",
        "alexlab rerun MARKER",
        "MARKER/alexlab train -m act=relu",
        "python -m src.train 'unclosed",
        "python -m src.train --config-dir MARKER -m act=relu",
        "python -m src.train -cd MARKER",
        "python -m src.train --config-dir=MARKER",
        "python -m src.train -cp=MARKER",
        "python -m src.train hydra.searchpath=[MARKER]",
        "python -m src.train +hydra={searchpath:[MARKER]}",
        "python -m src.train hydra/launcher=../../MARKER",
        "python -m src.train hydra/job_logging=evil",
        "python -m src.train hydra.launcher.preload=[evil]",
        "python -m src.train hydra.launcher._target_=evil",
        "python -m src.train +hydra.callbacks.x._target_=evil",
        "python -m src.train hydra.sweeper.on_end=evil",
        "python -m src.train hydra.sweeper.storage=redis://evil",
        "python -m src.train hydra.sweeper.settings_from=evil",
        "python -m src.train hydra.sweeper.trial={storage:redis://evil}",
        "python -m src.train model=../../MARKER",
        r"python -m src.train 'model=.\./MARKER'",
        "python -m src.train model._target_=logging.FileHandler +model.filename=MARKER",
        "python -m src.train '+x={_target_:logging.FileHandler,filename:MARKER}'",
        "python -m src.train '+x={\"_target_\":logging.FileHandler}'",
        "python -m src.train 'task.mixup=${oc.create:{a:1}}'",
        r"python -m src.train 'task.mixup=$\{oc.create:\{a:1\}\}'",
        "python -m src.train sweep.sampler=cmaes",
        "python -m src.train 'sweep.sampler= str(cmaes)'",
    ],
)
def test_a_command_from_a_file_that_could_run_code_is_not_run(sweep, monkeypatch, command):
    about = yaml.safe_load((sweep / "sweep.yaml").read_text())
    about["command"] = command.replace("MARKER", str(sweep / "marker"))
    (sweep / "sweep.yaml").write_text(yaml.safe_dump(about))
    monkeypatch.setattr("subprocess.call", lambda *_: pytest.fail("it was run"))
    with pytest.raises(ValueError, match=r"sweep\.yaml: its command has .*not run from a file"):
        sweeps.rerun(sweep, [], storage=None, dry_run=False)


def test_a_storage_in_a_file_is_not_opened(sweep):
    about = yaml.safe_load((sweep / "sweep.yaml").read_text())
    for change in (
        {"storage": "redis://evil"},
        {"command": f"{about['command']} ++sweep.storage=redis://evil"},
    ):
        (sweep / "sweep.yaml").write_text(yaml.safe_dump(about | change))
        with pytest.raises(ValueError, match=r"redis://evil.*add --storage URL"):
            sweeps.rerun(sweep, [0], storage=None, dry_run=False)


@pytest.mark.parametrize(
    "typed", ["python -m src.train", "python -m alexlab train", "alexlab train"]
)
def test_an_honest_command_is_run_again_where_the_sweep_is(sweep, monkeypatch, typed):
    words = ["-m", "act=relu,tanh", "optim.lr=tag(log,interval(1e-4,1e-1))", "+trainer.limit=2"]
    words += ["data.root=/my data", "trainer.gradient_clip_val=1", "~data.x", "hydra/launcher=ray"]
    path = sweep / "sweep.yaml"
    text = " ".join(map(json.dumps, words))
    command = f"{typed} {text} sweep.name=old hydra.sweep.dir=/elsewhere"
    assert sweeps.safe_words(path, command)[:-2] == words
    about = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump(about | {"command": command}))
    run = []
    monkeypatch.setattr("subprocess.call", lambda command: run.append(command) or 0)
    assert sweeps.rerun(sweep, [], storage=None, dry_run=False) == 0
    place = [
        f"sweep.name='{sweep.name}'",
        f"hydra.sweep.dir='{sweep.parent}'",
        "sweep.rerun_failed=true",
    ]
    assert run == [[sys.executable, "-m", "alexlab", "train", *words, *place]]


@pytest.mark.parametrize(
    ("values", "fine"),
    [
        ({"act": "tanh", "+trainer.x": "0.1", "recipe": "fc-0.2"}, True),
        ({"data.root": "../mine"}, True),
        ({"data.root": "../other"}, False),
        ({"model": "../../evil"}, False),
        ({"optim.lr": "{_target_:os.mkdir}"}, False),
        ({"optim._target_": "os.mkdir"}, False),
        ({"optim.lr": "${oc.create:{a:1}}"}, False),
        ({"hydra.launcher.preload": "[evil]"}, False),
    ],
)
def test_values_from_a_storage_call_nothing(values, fine):
    space = Space(choices={"data.root": ["../mine"]})
    if fine:
        space.check(values)
    else:
        with pytest.raises(ValueError, match="could run any code"):
            space.check(values)


def test_inert_is_what_has_no_special_key():
    assert is_inert("model.a_b_c=[1,2]")
    assert not is_inert("x={a:{_args_:1}}")
