"""Settings tuned, tune and published: the overrides and recipes of a sweep, and chosen rates."""

import pytest
import yaml

from alexlab.studies import tuning
from alexlab.studies.results import load
from alexlab.studies.write_report import write_report

STUDY = {
    "question": "?",
    "axes": {"seed": "range(40)", "recipe": "relu, tanh"},
    "recipes": {"relu": {"act": "relu"}, "tanh": {"act": "tanh", "trainer.max_epochs": 150}},
    "published": {"seed": "range(5)"},
    "tuned": {"trainer.max_epochs": 60},
    "tuned_recipes": {"tanh": {"act": "tanh"}},
    "tune": {"optim.lr": "0.01, 0.03, 0.1"},
}


@pytest.fixture
def conf(tmp_path, monkeypatch):
    monkeypatch.setattr(tuning, "CONF", tmp_path / "conf")
    return tmp_path / "conf"


def write_chosen(conf, **chosen):
    (conf / "study" / "tuned").mkdir(parents=True)
    (conf / "study" / "tuned" / "acts.yaml").write_text(yaml.safe_dump(chosen))


def test_published_is_the_study_as_it_stands(conf):
    write_chosen(conf, recipes={"relu": {"optim.lr": 0.03}})
    assert tuning.overrides_at("published", STUDY, "acts") == {"seed": "range(5)"}
    assert tuning.recipes_at("published", STUDY, "acts") == STUDY["recipes"]


def test_tune_adds_the_rates_and_seeds_that_are_never_analysed(conf):
    found = tuning.overrides_at("tune", STUDY, "acts")
    rates = {"optim.lr": "0.01, 0.03, 0.1", "seed": "1000, 1001, 1002"}
    assert found == {"trainer.max_epochs": 60, **rates}
    assert tuning.recipes_at("tune", STUDY, "acts")["tanh"] == {"act": "tanh"}
    with pytest.raises(ValueError, match="scale=tune: study=acts has nothing to tune"):
        tuning.overrides_at("tune", {"tuned": {}}, "acts")


def test_tuned_applies_the_chosen_rate_of_each_recipe(conf):
    write_chosen(conf, recipes={"relu": {"optim.lr": 0.03}}, converged={"relu": 0.004})
    recipes = tuning.recipes_at("tuned", STUDY, "acts")
    assert recipes == {"relu": {"act": "relu", "optim.lr": 0.03}, "tanh": {"act": "tanh"}}
    assert tuning.overrides_at("tuned", STUDY, "acts") == {"trainer.max_epochs": 60}
    assert tuning.study_at("tuned", STUDY, "acts")["converged"] == {"relu": 0.004}
    assert "chosen" not in tuning.study_at("tuned", STUDY, "another")


def tuning_sweep(make_sweep, score, **more):
    axes = {"recipe": ["relu", "tanh"], "optim.lr": ["0.01", "0.03", "0.1"], "seed": [1000, 1001]}
    return make_sweep(axes, score, STUDY, scale="tune", name="acts-tune", **more)


def score(values):
    """relu is best at 0.03, tanh at 0.1: the edge. At 0.1 one run of relu diverges."""
    best = {"relu": {"0.01": 0.6, "0.03": 0.8, "0.1": 0.9}, "tanh": {"0.01": 0.5, "0.03": 0.6}}
    if (values["recipe"], values["optim.lr"], values["seed"]) == ("relu", "0.1", "1001"):
        return "FloatingPointError: the training loss is nan"
    return {"val/acc": best[values["recipe"]].get(values["optim.lr"], 0.7)}


def test_the_best_mean_is_chosen_and_a_rate_that_diverges_once_is_not(make_sweep, conf, capsys):
    write_report(tuning_sweep(make_sweep, score))
    file = conf / "study" / "tuned" / "acts.yaml"
    found = yaml.safe_load(file.read_text())
    assert found == {"recipes": {"relu": {"optim.lr": 0.03}, "tanh": {"optim.lr": 0.1}}}
    assert "from 12 runs, by the mean val/acc" in file.read_text()
    printed = capsys.readouterr().out
    assert "tanh: optim.lr=0.1: the best is at the edge of the grid; widen `tune`" in printed
    assert "relu: optim.lr" not in printed


def test_an_unfinished_tuning_sweep_chooses_nothing(make_sweep, conf):
    unfinished = tuning_sweep(make_sweep, lambda v: None if v["seed"] == "1001" else score(v))
    write_report(unfinished)
    assert not (conf / "study").exists()


def test_a_recipe_that_never_finishes_is_told(make_sweep, conf):
    def never(values):
        return "FloatingPointError: nan" if values["recipe"] == "tanh" else score(values)

    with pytest.raises(ValueError, match="recipe=tanh: no rate has finished at every tuning seed"):
        tuning.chosen_rates(load(tuning_sweep(make_sweep, never)))


def test_a_study_whose_rates_were_not_tuned_is_not_tested_at_tuned(make_sweep):
    claim = {
        "statement": "relu is better",
        "kind": "greater",
        "margin": 0.02,
        "metric": "test/acc",
        "treatment": {"recipe": "relu"},
        "control": {"recipe": "tanh"},
    }
    axes = {"recipe": ["relu", "tanh"], "seed": range(5)}
    folder = make_sweep(axes, lambda v: {}, {**STUDY, "claims": [claim]}, scale="tuned")
    write_report(folder)
    assert "its rates have not been tuned (scale=tune)" in (folder / "report.md").read_text()
