"""What documents promise: commands and paths that exist; the first commands are run for real."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from alexlab.__main__ import VERBS
from alexlab.runs.config import CONF, compose_config, flatten
from alexlab.runs.folder import read_metrics

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / "docs").rglob("*.md")
    if not {"studies", "_build"} & {*path.parts}
)
DOCUMENTS = [
    "README.md",
    "README.zh.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "Makefile",
    "src/alexlab/commands/train_help.py",
    *(page for page in PAGES if "reference" not in page),
]
TEXT = {name: (ROOT / name).read_text("utf-8") for name in DOCUMENTS}
TRAIN = ("python -m src.train", "alexlab train")
PLACEHOLDERS = ("FOLDER", "RUN_DIR", "--", "two_layers", "...")


def commands_of(*names):
    """Return the training commands of documents: indented lines, without their comments."""
    lines = [line for name in names for line in TEXT[name].splitlines() if line[:4] == " " * 4]
    found = {re.split(r"  +|#", line.strip())[0].strip() for line in lines}
    return sorted(c for c in found if c.startswith(TRAIN))


README = commands_of("README.md")
COMMANDS = commands_of("README.md", *(name for name in DOCUMENTS if name.startswith("docs/")))
SINGLE = [
    c
    for c in COMMANDS
    if " -m " not in c.removeprefix("python -m") and not any(word in c for word in PLACEHOLDERS)
]


def overrides_of(command):
    return shlex.split(command)[3 if command.startswith("python") else 2 :]


@pytest.mark.parametrize("command", SINGLE)
def test_it_composes(compose, command):
    compose(*[o for o in overrides_of(command) if not o.startswith("--")])


@pytest.mark.parametrize("command", [c for c in COMMANDS if c not in SINGLE])
def test_its_overrides_can_be_read(command):
    words = [o for o in overrides_of(command) if not o.startswith("-") and "=" in o]
    OverridesParser.create().parse_overrides(words)


def test_the_commands_that_newcomers_are_promised_are_there():
    promised = [
        "python -m src.train model=alexnet act=tanh",
        "python -m src.train -m optim.lr=0.01,0.005 data.batch_size=8,16,32",
    ]
    assert set(promised) <= set(COMMANDS)


USES = sorted(
    {
        (found[1], found[2])
        for text in TEXT.values()
        for found in re.finditer(
            r"(?:^ +|`|bin/)alexlab ([a-z][a-z-]+)([^`#\n]*)", text, re.MULTILINE
        )
    }
)


def test_documents_use_most_verbs():
    assert len({verb for verb, _ in USES}) >= 10


@pytest.mark.parametrize(("verb", "rest"), USES)
def test_a_command_of_a_document_exists_with_its_options(alexlab, capsys, verb, rest):
    assert verb in VERBS
    if verb == "train":
        return  # its settings are composed above, and its options are Hydra's
    words = rest.split()
    below = words[:1] if verb == "data" else []
    if "|" in "".join(below):
        below = []
    with pytest.raises(SystemExit, match="0"):
        alexlab(verb, *below, "--help")
    usage = capsys.readouterr().out
    for option in re.findall(r"--[a-z-]+", rest):
        assert option in usage, f"alexlab {verb}{rest}"
    if verb == "sweeps":
        assert not words or words[0] in ("list", "rm", "rerun", "clean")


def settings_of_all_options():
    """The names of groups and settings that the root config or an option of a group has."""
    root = OmegaConf.to_container(compose_config(), resolve=False)
    found = {*root, *flatten(root), "recipe"}  # of studies that have recipes
    for path in CONF.glob("*/*.yaml"):
        group, content = path.parent.name, yaml.safe_load(path.read_text("utf-8")) or {}
        found |= {group, *(f"{group}.{key}" for key in flatten(content))}
    return found


def test_a_setting_of_the_readme_exists():
    pages = [TEXT[name] for name in DOCUMENTS if name.startswith(("README", "docs/"))]
    text = "\n".join(page for page in pages if "```{include}" not in page)
    shown = re.findall(r"^ {4}.*|`[^`\n]+`", text, re.MULTILINE)
    named = set(re.findall(r"(?<![\w./-])([a-z_]+(?:\.[a-z_]+)*)=(?!=)", "\n".join(shown)))
    assert len(named) > 40
    unknown = named - settings_of_all_options() - {"root", "top"}  # --data root=FOLDER, predict
    assert {name for name in unknown if not name.startswith("hydra.")} == set()


def test_the_chinese_readme_has_the_same_commands():
    """Only comments differ."""

    def code(name):
        indented = re.findall(r"^ {4}(\S.*)", TEXT[name], re.MULTILINE)
        (python,) = re.findall(r"^```python\n(.*?)^```", TEXT[name], re.MULTILINE | re.DOTALL)
        return [re.split(r" +#", line)[0].strip() for line in [*indented, *python.splitlines()]]

    assert len(code("README.md")) > 15
    assert code("README.zh.md") == code("README.md")


@pytest.mark.parametrize("name", ["README.md", "README.zh.md", "CONTRIBUTING.md"])
def test_a_path_of_a_document_is_there(name):
    named = re.findall(r"(?<![\w/.-])((?:src|conf|tests|docs|benchmarks)/[\w/.-]*)", TEXT[name])
    assert len(named) > 5
    missing = [path for path in named if not (ROOT / path.rstrip(".")).exists()]
    assert missing == []


def test_no_one_is_told_to_install_what_cannot_be_installed(needs_git):
    """The name is on no package index yet, and an extra of a checkout wants an editable install."""
    if not (ROOT / ".git").exists():
        pytest.skip("needs a checkout of git")
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    wrong = []
    for name in tracked.stdout.decode().split("\0"):
        path = ROOT / name
        if path.suffix not in (".py", ".md", ".yaml", ".toml", "") or not path.is_file():
            continue
        for line in path.read_text("utf-8").splitlines():
            _, found, told = line.partition("pip " + "install ")
            told = re.sub(r"(-e|--editable) '?\.(\[\S+)?", "", told)
            if found and re.search(r"(^| )['\"]?(alexlab\b|\.(\[|['\" ]|$))", told):
                wrong.append(f"{name}: {line.strip()}")
    assert wrong == []


def run(tmp_path, overrides):
    command = [sys.executable, "-m", "alexlab", "train", *overrides]
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    print(done.stdout, done.stderr)
    assert done.returncode == 0
    return done.stdout


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.parametrize("command", [c for c in SINGLE if "data=" in c or "act=" in c])
def test_it_trains_on_the_real_images(tmp_path, command):
    """Cut to an epoch, and CIFAR-10 to a twentieth of its training images."""
    if "DATA_DIR" not in os.environ and "data=" in command:
        pytest.skip("DATA_DIR is not set: no real images")
    cut = ["trainer.max_epochs=1", *["data.fraction=0.05"] * ("cifar10" in command)]
    overrides = overrides_of(command)
    run(tmp_path, [*overrides, *cut, "hydra.run.dir=run"])
    metrics = read_metrics(tmp_path / "run")
    assert metrics["status"] == "finished"
    chance = 0.1 if "cifar10" in command else 0.2
    assert metrics["metrics"]["test/acc"] >= 0.8 * chance


@pytest.mark.slow
def test_the_sweep_of_the_readme_runs_and_then_has_nothing_to_do(tmp_path):
    (command,) = [c for c in COMMANDS if c.endswith("data.batch_size=8,16,32")]
    small = ["data.num_images=200", "data.resolution=32", "trainer.max_epochs=1"]
    run(tmp_path, [*overrides_of(command), *small])
    (sweep,) = (tmp_path / "multirun").iterdir()
    states = [line.split(",")[1] for line in (sweep / "trials.csv").read_text().splitlines()[1:]]
    assert states == ["finished"] * 6
    assert "nothing to do" in run(tmp_path, [*overrides_of(command), *small])
