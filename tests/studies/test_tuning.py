"""Choosing rates from a tuning sweep, and whether the conditions have converged."""

import json

import pytest
import yaml

from alexlab.studies import tuning
from alexlab.studies.results import load
from alexlab.studies.setting import read_tuned, shipped_file
from alexlab.studies.write_report import write_report
from tests.studies import tuned_study

STUDY = {
    **tuned_study.STUDY,
    "trained": {"metric": "last(val/acc)", "chance": 0.2, "margin": 0.1},
}


def chosen(folder):
    return yaml.safe_load((folder / "tuned.yaml").read_text())


def tuning_sweep(make_sweep, score, **more):
    axes = {"recipe": ["relu", "tanh"], "optim.lr": ["0.01", "0.03", "0.1"], "seed": [1000, 1001]}
    return make_sweep(axes, score, STUDY, scale="tune", name="acts-tune", **more)


def score(values):
    """relu is best at 0.03, tanh at 0.1: the edge. At 0.1 one run of relu diverges."""
    best = {"relu": {"0.01": 0.6, "0.03": 0.8, "0.1": 0.9}, "tanh": {"0.01": 0.5, "0.03": 0.6}}
    if (values["recipe"], values["optim.lr"], values["seed"]) == ("relu", "0.1", "1001"):
        return "FloatingPointError: the training loss is nan"
    return {"val/acc": best[values["recipe"]].get(values["optim.lr"], 0.7)}


def test_the_best_mean_is_chosen_and_a_rate_that_diverges_once_is_not(make_sweep, capsys):
    folder = tuning_sweep(make_sweep, score)
    write_report(folder)
    file, found = folder / "tuned.yaml", chosen(folder)
    assert found == {"recipes": {"relu": {"optim.lr": 0.03}, "tanh": {"optim.lr": 0.1}}}
    assert "by the mean val/acc\n" in file.read_text()
    assert shipped_file("acts").read_text() == file.read_text()
    printed = capsys.readouterr().out
    assert "tanh: optim.lr=0.1: the best is at the edge of the grid; widen `tune`" in printed
    assert "relu: optim.lr" not in printed


def test_the_edge_is_that_of_the_rates_that_ran(make_sweep, capsys):
    """The study file lists 0.01 to 0.1; the command tried 0.003 to 0.03."""
    axes = {"recipe": ["relu"], "optim.lr": ["0.01", "0.03", "3e-3"], "seed": [1000, 1001]}
    best = {"3e-3": 0.8, "0.01": 0.9, "0.03": 0.7}
    score = lambda values: {"val/acc": best[values["optim.lr"]]}  # noqa: E731
    write_report(make_sweep(axes, score, STUDY, scale="tune", name="acts-tune"))
    assert "at the edge" not in capsys.readouterr().out
    best["3e-3"] = 0.95
    write_report(make_sweep(axes, score, STUDY, scale="tune", name="other-tune"))
    assert "relu: optim.lr=3e-3: the best is at the edge" in capsys.readouterr().out


def test_a_rate_that_is_the_only_one_of_the_command_is_chosen(make_sweep):
    """With optim.lr=0.01 on the command line the rate is no axis, but a setting of each run."""

    def run_all(scale, last):
        axes = {"recipe": ["relu", "tanh"], "seed": [1000, 1001]}
        ended = lambda values: {"val/acc": last, "history": {"val/acc": [0.1, last]}}  # noqa: E731
        return make_sweep(axes, ended, STUDY, scale=scale, name=f"acts-{scale}")

    write_report(tune := run_all("tune", 0.5))
    assert chosen(tune)["recipes"] == {"relu": {"optim.lr": 0.01}, "tanh": {"optim.lr": 0.01}}
    assert tuning.write_converged(load(run_all("doubled", 0.6))) == {"relu": 0.1, "tanh": 0.1}


def test_an_unfinished_tuning_sweep_chooses_nothing(make_sweep, capsys):
    unfinished = tuning_sweep(make_sweep, lambda v: None if v["seed"] == "1001" else score(v))
    write_report(unfinished)
    assert "tuned.yaml is not written: 6 of 12 trials have not" in capsys.readouterr().out
    assert not (unfinished / "tuned.yaml").exists()
    assert not shipped_file("acts").exists()


def test_a_recipe_that_never_finishes_is_told(make_sweep):
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


def relu_above(other):
    return {
        "name": other,
        "statement": f"relu is better than {other}",
        "kind": "greater",
        "margin": 0.02,
        "metric": "test/acc",
        "treatment": {"recipe": "relu"},
        "control": {"recipe": other},
    }


def test_a_recipe_whose_rate_was_not_tuned_is_not_tested_and_the_others_are(make_sweep):
    """relu tests 0.30 to 0.32 higher; the rate of gelu was never chosen."""
    names = ("relu", "tanh", "gelu")
    claims = [relu_above(other) for other in names[1:]]
    chosen = {"recipes": {name: {"optim.lr": 0.01} for name in names[:2]}}
    study = {**STUDY, "claims": claims, "chosen": chosen, "converged": dict.fromkeys(names, 0.0)}

    def run(values):
        shift = int(values["seed"]) % 3 * 0.01
        end = 0.8 + shift if values["recipe"] == "relu" else 0.5
        return {"test/acc": end, "history": {"val/acc": [0.1, end]}}

    folder = make_sweep({"recipe": names, "seed": range(5)}, run, study, scale="tuned")
    write_report(folder)
    found = json.loads((folder / "answers.json").read_text())["claims"]
    assert [one["answer"] for one in found] == ["more", "not tested"]
    assert found[1]["reason"] == "the rate of gelu has not been tuned (scale=tune)"


def test_the_gain_from_twice_the_epochs_decides_and_is_printed_for_a_recipe_named_none(make_sweep):
    """In text a recipe `none` is called "recipe none"; its gain stands under its own name."""
    names = ("relu", "none", "gelu")
    claims = [relu_above(other) for other in names[1:]]
    chosen = {"recipes": {name: {"optim.lr": 0.01} for name in names}}
    gains = {"relu": -0.012, "none": 0.031}
    study = {**STUDY, "claims": claims, "chosen": chosen, "converged": gains}

    def run(values):
        end = (0.8 if values["recipe"] == "relu" else 0.5) + int(values["seed"]) % 3 * 0.01
        return {"test/acc": end**2, "history": {"val/acc": [end] * 10}}  # a slope of 0

    folder = make_sweep({"recipe": names, "seed": range(5)}, run, study, scale="tuned")
    write_report(folder)
    found = {
        one["name"]: one for one in json.loads((folder / "answers.json").read_text())["claims"]
    }
    reason = "recipe none had not converged: doubling its steps gained +3.1 points in val/acc"
    assert (found["none"]["answer"], found["none"]["reason"]) == ("not tested", reason)
    assert found["gelu"]["answer"] == "more"  # it was not measured, and its curve is flat
    said = (
        "Twice as many epochs change val/acc by: relu -1.2 points, recipe none +3.1 points (means"
        " over the seeds that chose the rates). Not measured for gelu; a claim then asks for the"
        " gain over the last 20% of the epochs."
    )
    assert said in (folder / "report.md").read_text()


@pytest.mark.parametrize(
    ("axes", "gains", "said"),
    [
        ({}, {"all runs": -0.012}, "all runs -1.2 points"),
        ({"recipe": ["none"]}, {"none": 0.031}, "recipe none +3.1 points"),
        ({"act": ["relu", "tanh"]}, {"tanh": 0.031, "relu": 0.0}, "relu +0.0 points, tanh +3.1"),
        (
            {"recipe": ["a", "b"], "lr": ["1", "2"]},
            {"recipe a, lr 1": 0.05, "recipe a, lr 2": -0.05, "b": 0.01},
            "recipe a, lr 1 +5.0 points, recipe a, lr 2 -5.0 points (means over the seeds that"
            " chose the rates). Not measured for recipe b, lr 1, recipe b, lr 2; a claim",
        ),
    ],
)
def test_each_condition_has_its_own_gain(axes, gains, said, make_sweep):
    study = {**STUDY, "claims": [], "converged": gains}
    results = lambda values: {"history": {"val/acc": [0.5] * 10}}  # noqa: E731
    folder = make_sweep({**axes, "seed": range(3)}, results, study, scale="tuned")
    write_report(folder)
    assert f"Twice as many epochs change val/acc by: {said}" in (folder / "report.md").read_text()


def test_a_gain_in_an_error_is_printed_as_its_fall(make_sweep):
    gate = {"metric": "last(val/mae)", "chance": 1.48, "margin": 0.1}
    study = {**STUDY, "claims": [], "trained": gate, "converged": {"all runs": 0.05}}
    results = lambda values: {"history": {"val/mae": [1.0] * 10}}  # noqa: E731
    folder = make_sweep({"seed": range(3)}, results, study, scale="tuned")
    write_report(folder)
    said = "Twice as many epochs change val/mae by: all runs -0.0500 (means"
    assert said in (folder / "report.md").read_text()


def test_a_gain_is_not_that_of_runs_with_other_epochs(make_sweep):
    study = {**STUDY, "claims": [], "converged": {"all runs": 0.0}}
    results = lambda values: {"history": {"val/acc": [0.5] * 10}}  # noqa: E731
    command = "alexlab train study=acts trainer.max_epochs=10 seed=0,1,2"
    folder = make_sweep({"seed": range(3)}, results, study, scale="tuned", command=command)
    write_report(folder)
    assert "Not measured for all runs;" in (folder / "report.md").read_text()


def test_tuning_one_recipe_keeps_the_rates_of_the_others(make_sweep):
    """tanh is tuned again, alone; relu has the rate and the gain of the file in conf/."""
    shipped = shipped_file("acts")
    shipped.parent.mkdir(parents=True, exist_ok=True)
    rates = {"relu": {"optim.lr": 0.05}, "tanh": {"optim.lr": 0.05}}
    gains = {"relu": 0.01, "tanh": 0.02}
    shipped.write_text(yaml.safe_dump({"recipes": rates, "converged": gains}))
    axes = {"recipe": ["tanh"], "optim.lr": ["0.01", "0.03", "0.1"], "seed": [1000, 1001]}
    best = {"0.01": 0.5, "0.03": 0.9, "0.1": 0.7}
    score = lambda values: {"val/acc": best[values["optim.lr"]]}  # noqa: E731
    folder = make_sweep(axes, score, STUDY, scale="tune", name="acts-tune")
    write_report(folder)
    assert chosen(folder) == {"recipes": {"tanh": {"optim.lr": 0.03}}}
    rates["tanh"] = {"optim.lr": 0.03}
    expected = {"recipes": rates, "converged": {"relu": 0.01}}
    assert yaml.safe_load(shipped.read_text()) == expected
    shipped.write_text(yaml.safe_dump({"recipes": {"relu": {"optim.lr": 0.05}, "tanh": {}}}))
    found = read_tuned("acts", folder.parent)
    assert found == {"recipes": rates}


def test_an_installed_package_is_not_written_to(make_sweep, monkeypatch, tmp_path):
    monkeypatch.setattr(tuning, "CONF", tmp_path / "site-packages/alexlab/conf")
    write_report(folder := tuning_sweep(make_sweep, score))
    assert chosen(folder)["recipes"]["relu"] == {"optim.lr": 0.03}
    assert not shipped_file("acts").exists()


def test_what_doubling_gained_stands_beside_the_chosen_rates(make_sweep, capsys):
    """By hand: relu ends at .70 and .80, twice as long at .74 and .82, so it gains .03."""
    ends = {"relu": {"1000": 0.70, "1001": 0.80}, "tanh": {"1000": 0.5, "1001": 0.5}}
    long = {"relu": {"1000": 0.74, "1001": 0.82}, "tanh": {"1000": 0.4, "1001": 0.5}}

    def results(by_seed):
        def run(values):
            last = by_seed[values["recipe"]][values["seed"]]
            if values.get("optim.lr") == "0.01":
                last = 0.1  # not the chosen rate
            objective = {"0.01": 0.2, "0.03": 0.9}.get(values.get("optim.lr"), 0.5)
            return {"val/acc": objective, "history": {"val/acc": [0.1, last]}}

        return run

    tune = tuning_sweep(make_sweep, results(ends))
    write_report(tune)
    axes = {"recipe": ["relu", "tanh"], "seed": [1000, 1001]}
    half = lambda values: None if values["seed"] == "1001" else results(long)(values)  # noqa: E731
    write_report(make_sweep(axes, half, STUDY, scale="doubled", name="half"))
    said = "the gain from twice the epochs is not written: 2 of 4 trials have not finished"
    assert said in capsys.readouterr().out
    double = make_sweep(axes, results(long), STUDY, scale="doubled", name="acts-doubled")
    write_report(double)
    found = chosen(tune)
    assert found["converged"] == {"relu": 0.03, "tanh": -0.05}
    assert found["recipes"]["relu"] == {"optim.lr": 0.03}
    assert yaml.safe_load(shipped_file("acts").read_text()) == found
    assert "relu: twice the epochs gain +0.03 on val" in capsys.readouterr().out


def test_doubling_is_measured_for_each_value_of_an_axis_without_recipes(make_sweep):
    """By hand: relu goes from .7 to .8 and tanh from .5 to .4; their mean gains nothing."""
    ends = {"tune": {"relu": 0.7, "tanh": 0.5}, "doubled": {"relu": 0.8, "tanh": 0.4}}
    for scale, last in ends.items():
        axes = {"act": ["relu", "tanh"], "optim.lr": ["0.01"], "seed": [1000, 1001]}
        results = lambda v, last=last: {"history": {"val/acc": [0.1, last[v["act"]]]}}  # noqa: E731
        folder = make_sweep(axes, results, STUDY, scale=scale, name=f"acts-{scale}")
        write_report(folder)
    assert chosen(folder.parent / "acts-tune")["converged"] == {"relu": 0.1, "tanh": -0.1}


def test_what_doubling_gained_of_an_error_is_what_it_fell_by(make_sweep):
    """By hand: the error ends at .50, twice as long at .42, so it gains .08."""
    study = {**STUDY, "trained": {"metric": "last(val/mae)", "chance": 1.0, "margin": 0.1}}

    def run_ending_at(error):
        return lambda values: {"objective": error, "history": {"val/mae": [1.0, error]}}

    axes = {"recipe": ["relu"], "optim.lr": ["0.01"], "seed": [1000, 1001]}
    down = {"directions": ["minimize"]}
    tune = make_sweep(axes, run_ending_at(0.5), study, scale="tune", name="acts-tune", **down)
    tuning.write_tuned(load(tune))
    del axes["optim.lr"]
    double = make_sweep(
        axes, run_ending_at(0.42), study, scale="doubled", name="acts-doubled", **down
    )
    assert tuning.write_converged(load(double)) == {"relu": 0.08}


def test_the_lowest_error_is_chosen_and_a_rate_that_diverges_once_is_not(make_sweep):
    errors = {
        "relu": {"0.01": [0.6, 0.6], "0.03": [0.3, 0.5], "0.1": [0.5, 0.6]},
        "tanh": {"0.01": [0.8, 0.9], "0.03": [0.9, 1.0], "0.1": [0.1, None]},
    }

    def score(values):
        error = errors[values["recipe"]][values["optim.lr"]][int(values["seed"]) - 1000]
        return "FloatingPointError: nan" if error is None else {"objective": error}

    sweep = load(tuning_sweep(make_sweep, score, directions=["minimize"]))
    found = tuning.chosen_rates(sweep)
    assert found["recipes"] == {"relu": {"optim.lr": 0.03}, "tanh": {"optim.lr": 0.01}}
    assert found["at_the_edge"] == ["tanh: optim.lr=0.01"]
