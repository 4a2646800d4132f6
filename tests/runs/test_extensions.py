"""Models and studies of other packages: the entry-point group `alexlab`, and `alexlab new`."""

import sys

import pytest
import yaml
from hydra.utils import instantiate

from alexlab.__main__ import VERBS
from alexlab.commands.new import write_new
from alexlab.runs import config as run_config
from alexlab.runs.config import CONF, compose_config
from alexlab.runs.extensions import installed_folders
from alexlab.studies.setting import shipped_file
from tests.tiny import train

EXAMPLE = CONF.parent / "examples" / "alexlab_example"
TINY = ["data.num_images=60", "data.resolution=32", "trainer.max_epochs=1"]


def install(site, folder, monkeypatch, value="alexlab_example"):
    """What pip leaves of a package that is installed: its name, version and entry points."""
    info = site / f"{value.partition('.')[0]}-0.1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Name: {value.partition('.')[0]}\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text(f"[alexlab]\none = {value}\n")
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.syspath_prepend(str(folder))


@pytest.fixture
def example(tmp_path, monkeypatch):
    install(tmp_path / "site", EXAMPLE, monkeypatch)


def test_a_model_and_a_study_of_an_installed_package_compose(example):
    assert compose_config(["model=two_layers"]).model.width == 16
    assert compose_config(["study=two_layers_width"]).study.axes["model.width"] == "4, 32"
    assert "alexlab_example" not in sys.modules  # composing runs nothing of it
    assert shipped_file("two_layers_width").is_relative_to(EXAMPLE)


def test_without_the_package_the_model_is_unknown():
    assert installed_folders() == []
    with pytest.raises(Exception, match="two_layers"):
        compose_config(["model=two_layers"])


def test_its_run_can_be_used_while_it_is_installed_only(tmp_path, monkeypatch, alexlab, capsys):
    with monkeypatch.context() as here:
        install(tmp_path / "site", EXAMPLE, here)
        cfg = compose_config(["model=two_layers", f"cache_dir={tmp_path}/cache", *TINY])
        train(cfg, tmp_path / "run")
        alexlab("evaluate", tmp_path / "run")
        alexlab("export", tmp_path / "run", "--format", "torch_export")
        image = next((tmp_path / "cache").glob("shapes-*/star/*.png"))
        with pytest.raises(SystemExit, match="0"):
            alexlab("predict", tmp_path / "run", image)
        with pytest.raises(SystemExit, match="0"):
            alexlab("rerun", tmp_path / "run", "--into", tmp_path / "again")
        assert "the same to the bit" in capsys.readouterr().out
        assert run_config.read_to_resume(tmp_path / "run", ["trainer.max_epochs=2"])
    with pytest.raises(ValueError, match=r"model\._target_.*install its package"):
        run_config.read(tmp_path / "run")


def test_an_installed_package_allows_its_own_calls_only(example, tmp_path):
    """At the place of a model its model, not another function of the package."""
    cfg = compose_config(["model=two_layers", *TINY])
    run_config.write(cfg, tmp_path)
    content = yaml.safe_load((tmp_path / "config.yaml").read_text())
    content["optim"]["_target_"] = "alexlab_example.two_layers.TwoLayers"
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(ValueError, match=r"optim\._target_"):
        run_config.read(tmp_path)


def test_new_files_work_as_they_are_written(tmp_path, monkeypatch):
    place = tmp_path / "my_nets"
    written = [*write_new("model", "wide_net", place), *write_new("study", "flip", place)]
    assert [str(path.relative_to(place)) for path in written] == [
        "pyproject.toml",
        "my_nets/__init__.py",
        "my_nets/conf/model/wide_net.yaml",
        "my_nets/wide_net.py",
        "my_nets/conf/study/flip.yaml",
    ]
    project = (place / "pyproject.toml").read_text()
    assert "[project.entry-points.alexlab]" in project
    assert 'my_nets = "my_nets"' in project
    install(tmp_path / "site", place, monkeypatch, "my_nets")
    net = instantiate(compose_config(["model=wide_net"]).model, num_outputs=3)
    assert type(net).__name__ == "WideNet"
    study = compose_config(["study=flip"])
    assert (study.study.axes["augment.flip"], str(study.data.split_seed)) == ("0.0, 0.5", "0")
    with pytest.raises(ValueError, match=r"wide_net\.yaml exists; choose another name"):
        write_new("model", "wide_net", place)
    with pytest.raises(ValueError, match="My-Net: must be a name of small letters"):
        write_new("model", "My-Net", place)


def test_help_lists_the_options_of_an_installed_package(example, alexlab, capsys):
    assert "new" in VERBS
    alexlab("train", "--help")
    assert "two_layers" in capsys.readouterr().out
