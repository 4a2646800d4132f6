"""The verbs of `alexlab`: help, errors, what they import, completion in a real bash."""

import gc
import os
import pty
import re
import select
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import pytest

from alexlab.__main__ import VERBS
from alexlab.__main__ import main as alexlab_main

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
SCRIPT = Path(sys.executable).with_name("alexlab")
# each takes seconds, or draws and tests what nobody has asked for yet
SLOW = {"torch", "torchvision", "lightning", "matplotlib", "scipy", "statsmodels", "PIL"}
MODULES = 700  # an import costs about a millisecond


def run(*words, program=(sys.executable, "-m", "alexlab"), **more):
    return subprocess.run(
        [*program, *words], env=ENVIRONMENT, capture_output=True, text=True, check=False, **more
    )


def imported_names(importtime):
    """The top-level names of what -X importtime says was imported."""
    names = re.findall(r"^import time: .*\| +(\S+)$", importtime, re.MULTILINE)
    return {name.partition(".")[0] for name in names}


def test_python_does_not_search_all_objects_for_cycles_at_the_end(monkeypatch, capsys):
    calls = []
    monkeypatch.setattr(gc, "freeze", lambda: calls.append(1))
    monkeypatch.setattr(sys, "argv", ["alexlab", "no-such-verb"])
    with pytest.raises(SystemExit):
        alexlab_main()
    assert calls == [1]


def test_help_has_a_line_for_each_verb():
    done = run("--help")
    assert done.returncode == 0
    named = re.findall(r"^  ([a-z-]+)  ", done.stdout, re.MULTILINE)
    assert named == list(VERBS)
    promised = "train evaluate predict export explain look lr-find report sweeps rerun data board"
    assert set(promised.split()) <= set(named)
    assert max(map(len, done.stdout.splitlines())) <= 80


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb_imports_nothing_slow(verb):
    done = run(verb, "--help", program=(sys.executable, "-X", "importtime", "-m", "alexlab"))
    assert done.returncode == 0
    assert re.search(rf"alexlab {verb}\b", done.stdout)
    assert SLOW & imported_names(done.stderr) == set()
    assert done.stderr.count("import time: ") < MODULES


@pytest.mark.parametrize(
    "line",
    [
        "train model=alexnt",
        "explain act=tahn modl=alexnet",
        "lr-find optim=sdg",
        "data check data=pokmon",
        "data preview augment=flop",
        "evaluate nowhere",
        "predict nowhere image.png",
        "export nowhere --format onnx",
        "look best:nowhere",
        "rerun nowhere",
        "report nowhere",
        "sweeps rm nowhere",
    ],
)
def test_a_wrong_name_is_answered_without_slow_imports(tmp_path, line):
    program = (sys.executable, "-X", "importtime", "-m", "alexlab")
    done = run(*line.split(), program=program, cwd=tmp_path)
    assert done.returncode == 1
    assert re.search("^error: ", done.stderr, re.MULTILINE)
    assert SLOW & imported_names(done.stderr) == set()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_has_one_style_of_main(verb):
    main = import_module(f"alexlab.commands.{verb.replace('-', '_')}").main
    assert main.__annotations__ == {"return": None}


@pytest.mark.parametrize("verb", VERBS)
def test_a_typing_error_ends_with_2(verb):
    arguments = ["fetch", "--wrong"] if verb == "data" else ["--wrong"]
    if verb == "board":  # other options are TensorBoard's
        arguments = ["--index-port", "six"]
    done = run(verb, *arguments)
    assert done.returncode == 2, done.stderr
    assert "error: " in done.stderr


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["trian"], "alexlab trian: no such verb; did you mean train"),
        (["model=alexnet"], "did you mean alexlab train model=alexnet?"),
        (["-m"], "did you mean alexlab train -m?"),
    ],
)
def test_a_wrong_verb_is_named_with_what_was_meant(words, hint):
    done = run(*words)
    assert done.returncode == 2
    assert hint in done.stderr


def test_a_setting_that_does_not_exist_has_near_matches():
    for words in (["explain", "optim.lrr=3"], ["data", "check", "optim.lrr=3"]):
        done = run(*words)
        assert done.returncode == 1
        assert "optim.lrr: no such setting; did you mean optim.lr" in done.stderr


@pytest.mark.skipif(not SCRIPT.exists(), reason="needs an installed alexlab")
def test_the_console_script_is_the_same():
    for words in (["--version"], ["--help"], ["sweeps", "list", "nowhere"]):
        as_script, as_module = run(*words, program=[SCRIPT]), run(*words)
        assert as_script.stdout == as_module.stdout
        assert as_script.returncode == as_module.returncode == 0
    assert re.fullmatch(r"alexlab \d+\.\d+\.\d+\n", run("--version").stdout)


def test_help_of_train_has_every_group_and_option_and_those_of_a_folder_of_yours(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model/mine.yaml").touch()
    printed = run("train", "--config-dir", str(tmp_path), "--help").stdout
    groups = dict(re.findall(r"^(\w+): (.+)$", printed, re.MULTILINE))
    for folder in (path for path in (ROOT / "conf").iterdir() if path.is_dir()):
        if folder.name != "hydra":
            assert {path.stem for path in folder.glob("*.yaml")} <= set(
                groups[folder.name].split(", ")
            )
    assert "mine" in groups["model"].split(", ")


# -- completion


@pytest.fixture(scope="module")
def bash(tmp_path_factory):
    """bash("alexlab tr"): what stands on the line of an interactive bash after a TAB."""
    if not SCRIPT.exists():
        pytest.skip("needs an installed alexlab")
    place = tmp_path_factory.mktemp("bash")
    (place / "a_run").mkdir()
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(place)
        path = f"{SCRIPT.parent}:{os.environ['PATH']}"
        environment = {**ENVIRONMENT, "PATH": path, "TERM": "dumb", "COLUMNS": "500"}
        os.execvpe("bash", ["bash", "--norc", "--noprofile", "-i"], environment)

    def complete(line):
        # Ctrl-A and Ctrl-E go to the line's start and end: echo prints it instead of its being run
        os.write(terminal, line.encode() + b"\t\x01echo '[\x05]'\n")
        return read_until(terminal, r"^\[(.*)\]\r?$")

    os.write(terminal, b'stty columns 500; eval "$(alexlab completion bash)"\n')
    yield complete
    os.write(terminal, b"exit\n")
    read_until(terminal, r"^exit")
    os.close(terminal)
    os.waitpid(child, 0)


def read_until(terminal, pattern):
    """Read what the terminal shows up to a line that matches; its first group."""
    shown, deadline = "", time.monotonic() + 60
    while not (found := re.search(pattern, shown, re.MULTILINE)):
        assert time.monotonic() < deadline, shown
        if select.select([terminal], [], [], 1)[0]:
            shown += os.read(terminal, 65536).decode(errors="replace")
    return found[found.lastindex or 0]


@pytest.mark.parametrize(
    ("line", "completed"),
    [
        ("alexlab eval", "alexlab evaluate"),
        ("alexlab train model=alexnet_", "alexlab train model=alexnet_torchvision"),
        ("alexlab train -m act=relu opti", "alexlab train -m act=relu optim"),
        ("alexlab explain data=poke", "alexlab explain data=pokemon"),
        ("alexlab explain --outp", "alexlab explain --outputs"),
        ("alexlab data prev", "alexlab data preview"),
        ("alexlab data fetch flo", "alexlab data fetch flower"),
        ("alexlab data preview augment=randa", "alexlab data preview augment=randaugment"),
        ("alexlab sweeps cl", "alexlab sweeps clean"),
        ("alexlab look a_r", "alexlab look a_run/"),
    ],
)
def test_bash_completes(bash, line, completed):
    assert bash(line).strip() == completed


def test_a_value_with_a_command_in_it_is_not_run(tmp_path):
    """Hydra's own script gives the values of settings to compgen, which runs what is in $(...)."""
    offers = f"program() {{ echo 'act=$(touch${{IFS}}{tmp_path}/marker) act=relu'; }}\n"
    asks = "COMP_LINE='program train act=' COMP_POINT=18 COMP_WORDBREAKS=' '\n_alexlab\n"
    code = run("completion", "bash").stdout + offers + asks + 'printf "%s\\n" "${COMPREPLY[@]}"'
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "act=relu"
    assert not (tmp_path / "marker").exists()


def test_hydras_own_option_prints_the_same_script():
    assert run("train", "-sc", "install=bash").stdout == run("completion", "bash").stdout
