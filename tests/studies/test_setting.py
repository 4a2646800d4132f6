"""What a study runs at the settings tuned, tune, doubled and published."""

from pathlib import Path

import pandas as pd
import pytest
import yaml

from alexlab.studies import setting
from alexlab.studies.runs_table import RunsTable
from tests.studies import tuned_study

STUDY = {**tuned_study.STUDY, "claims": [{"name": "one"}]}


@pytest.fixture
def sweeps(tmp_path):
    return tmp_path / "multirun"


def write_shipped(**chosen):
    file = setting.shipped_file("acts")
    file.parent.mkdir(parents=True)
    file.write_text(yaml.safe_dump(chosen))


def write_local(sweeps, **chosen):
    (sweeps / "acts-tune").mkdir(parents=True)
    (sweeps / "acts-tune" / "tuned.yaml").write_text(yaml.safe_dump(chosen))


def test_published_is_the_study_as_it_stands(sweeps):
    write_shipped(recipes={"relu": {"optim.lr": 0.03}})
    assert setting.overrides_at("published", STUDY, "acts", sweeps) == {"seed": "range(5)"}
    assert setting.recipes_at("published", STUDY, "acts", sweeps) == STUDY["recipes"]


def test_tune_adds_the_rates_and_seeds_that_are_never_analysed(sweeps):
    found = setting.overrides_at("tune", STUDY, "acts", sweeps)
    rates = {"optim.lr": "0.01, 0.03, 0.1", "seed": "1000, 1001, 1002"}
    assert found == {"trainer.max_epochs": 60, **rates}
    assert setting.recipes_at("tune", STUDY, "acts", sweeps)["tanh"] == {"act": "tanh"}
    assert setting.stages_at("tune", STUDY, "acts", sweeps) is None
    with pytest.raises(ValueError, match="scale=tune: study=acts has nothing to tune"):
        setting.overrides_at("tune", {"tuned": {}}, "acts", sweeps)


def test_tuned_applies_the_chosen_rate_of_each_recipe(sweeps):
    write_shipped(recipes={"relu": {"optim.lr": 0.03}}, converged={"relu": 0.004})
    recipes = setting.recipes_at("tuned", STUDY, "acts", sweeps)
    assert recipes == {"relu": {"act": "relu", "optim.lr": 0.03}, "tanh": {"act": "tanh"}}
    assert setting.overrides_at("tuned", STUDY, "acts", sweeps) == {"trainer.max_epochs": 60}
    assert setting.study_at("tuned", STUDY, "acts", sweeps)["converged"] == {"relu": 0.004}
    assert "chosen" not in setting.study_at("tuned", STUDY, "another", sweeps)


def test_rates_that_were_tuned_here_win_over_those_of_the_package(sweeps):
    write_shipped(recipes={"relu": {"optim.lr": 0.03}})
    write_local(sweeps, recipes={"relu": {"optim.lr": 0.01}})
    assert setting.recipes_at("tuned", STUDY, "acts", sweeps)["relu"]["optim.lr"] == 0.01


def test_doubled_trains_twice_as_long_at_the_chosen_rates(sweeps):
    with pytest.raises(ValueError, match="study=acts has no rates; run scale=tune first"):
        setting.overrides_at("doubled", STUDY, "acts", sweeps)
    study = {**STUDY, "tuned_recipes": {"tanh": {"act": "tanh", "trainer.max_epochs": 90}}}
    write_local(sweeps, recipes={"relu": {"optim.lr": 0.01}, "tanh": {"optim.lr": 0.1}})
    found = setting.overrides_at("doubled", study, "acts", sweeps)
    assert found == {"trainer.max_epochs": 120, "seed": "1000, 1001, 1002"}
    assert setting.recipes_at("doubled", study, "acts", sweeps) == {
        "relu": {"act": "relu", "optim.lr": 0.01},
        "tanh": {"act": "tanh", "optim.lr": 0.1, "trainer.max_epochs": 180},
    }
    assert setting.stages_at("doubled", study, "acts", sweeps) is None


def test_gate_of_the_tuned_setting_may_be_another(sweeps):
    study = {**STUDY, "trained": {"chance": 0.1}, "tuned_trained": {"chance": 0.2}}
    found = {
        name: setting.study_at(name, study, "acts", sweeps)["trained"]["chance"]
        for name in ("published", "tune", "tuned")
    }
    assert found == {"published": 0.1, "tune": 0.2, "tuned": 0.2}


def test_stages_are_the_looks_of_the_study_file():
    here = Path("multirun")
    assert setting.stages_at("tuned", STUDY, "acts", here) == {
        "axis": "seed",
        "counts": [5, 10, 20, 40],
    }
    looks = {**STUDY, "looks": {"published": [3, 6]}}
    assert setting.stages_at("published", looks, "acts", here)["counts"] == [3, 6]
    assert setting.stages_at("tuned", {"axes": {"seed": "1,2"}}, "free", here) is None


def test_a_rate_that_was_chosen_wins_over_that_of_the_recipe(tmp_path):
    study = {"recipes": {"relu": {"optim.lr": 0.1, "act": "relu"}}}
    (tmp_path / "s-tune").mkdir()
    (tmp_path / "s-tune/tuned.yaml").write_text("recipes: {relu: {optim.lr: 0.02}}\n")
    chosen = {"relu": {"optim.lr": 0.02, "act": "relu"}}
    assert setting.recipes_at("tuned", study, "s", tmp_path) == chosen
    assert setting.recipes_at("published", study, "s", tmp_path) == study["recipes"]


def test_seeds_that_a_study_does_not_list_are_taken_by_their_size():
    """The looks of a free sweep take them in this order."""
    frame = pd.DataFrame({"seed": ["10", "2", "x", "0", "2"]})
    assert RunsTable(frame, []).seeds == ["0", "2", "10", "x"]
