"""The numbers of interactive charts: those of history.csv, thinned, in a page of bounded size."""

import json
import math

import pytest

from alexlab.studies.chart_data import MAX_EPOCHS, MAX_NUMBERS, charts
from alexlab.studies.conditions import group_by_condition
from alexlab.studies.plots import split_into_figures
from alexlab.studies.results import load


def chart_of(make_sweep, axes, results, name="curves.png"):
    sweep = load(make_sweep(axes, results))
    found = charts(sweep, group_by_condition(sweep))
    json.dumps(found, allow_nan=False)
    return found[name]


def panel(chart, title):
    return next(one for one in chart["panels"] if one["title"] == title)


def test_a_curve_is_mean_and_range_over_seeds_and_each_seed(make_sweep):
    def results(values):
        acc = [0.2, 0.5] if values["seed"] == "0" else [0.4, 0.9]
        history = {
            "train/loss": [2.0, 1.0],
            "val/loss": [2.0, 1.5],
            "train/acc": acc,
            "val/acc": acc,
        }
        return {"test/acc": 0.5, "val/acc": 0.5, "train/acc": 0.5, "history": history}

    chart = chart_of(make_sweep, {"act": ["relu"], "seed": ["0", "1"]}, results)
    assert chart["epochs"] == [1, 2]
    (line,) = panel(chart, "val acc")["lines"]
    assert (line["mean"], line["low"], line["high"]) == ([0.3, 0.7], [0.2, 0.5], [0.4, 0.9])
    assert line["seeds"] == [[0.2, 0.5], [0.4, 0.9]]
    assert panel(chart, "val acc")["percent"]
    assert not panel(chart, "val loss")["percent"]


@pytest.mark.parametrize(("pools", "figures"), [(3, 1), (4, 2)])
def test_a_figure_has_seven_conditions_at_most(make_sweep, pools, figures):
    axes = {"act": ["relu", "tanh"], "pool": [str(n) for n in range(pools)], "seed": ["0"]}
    sweep = load(make_sweep(axes, lambda _: {"test/acc": 0.5, "val/acc": 0.5}))
    found = split_into_figures(sweep, group_by_condition(sweep))
    assert len(found) == figures
    assert sum(map(len, found.values())) == 2 * pools


def test_a_run_that_diverged_or_stopped_early_leaves_a_gap(make_sweep):
    def results(values):
        loss = [1.0, math.nan] if values["seed"] == "0" else [3.0, 5.0, 7.0]
        history = {"train/loss": loss, "val/loss": loss}
        return {"test/acc": 0.5, "val/acc": 0.5, "train/acc": 0.5, "history": history}

    chart = chart_of(make_sweep, {"act": ["relu"], "seed": ["0", "1"]}, results)
    (line,) = panel(chart, "val loss")["lines"]
    assert line["mean"] == [2.0, 5.0, 7.0]
    assert line["seeds"] == [[1.0, None, None], [3.0, 5.0, 7.0]]
    assert panel(chart, "val acc")["lines"] == []


def test_long_curves_are_thinned_and_many_seeds_are_left_out(make_sweep):
    epochs = MAX_EPOCHS * 10

    def results(values):
        history = {"val/loss": [float(i) for i in range(epochs)]}
        return {"test/acc": 0.5, "val/acc": 0.5, "train/acc": 0.5, "history": history}

    seeds = [str(i) for i in range(MAX_NUMBERS // epochs // 4 + 1)]
    chart = chart_of(make_sweep, {"act": ["relu"], "seed": seeds}, results)
    assert len(chart["epochs"]) == MAX_EPOCHS
    assert (chart["epochs"][0], chart["epochs"][-1]) == (1, epochs)
    (line,) = panel(chart, "val loss")["lines"]
    assert "seeds" not in line
    assert line["mean"][-1] == pytest.approx(epochs - 1, rel=1e-3)


def test_layers_are_the_lines_of_a_panel_per_condition(make_sweep):
    def results(values):
        size = 1e-6 if values["act"] == "sigmoid" else 1.0
        history = {"diag/conv1/grad_norm": [size, size], "diag/fc/grad_norm": [1.0, 2.0]}
        return {"test/acc": 0.5, "val/acc": 0.5, "train/acc": 0.5, "history": history}

    axes = {"act": ["sigmoid", "relu"], "seed": ["0"]}
    chart = chart_of(make_sweep, axes, results, "diag-grad_norm.png")
    assert chart["keys"] == ["conv1", "fc"]
    assert panel(chart, "sigmoid")["log"]
    assert not panel(chart, "relu")["log"]
    assert [line["mean"] for line in panel(chart, "sigmoid")["lines"]] == [[1e-6, 1e-6], [1.0, 2.0]]


def test_many_layers_and_conditions_make_no_page_of_more_than_two_megabytes(make_sweep):
    # AlexNet: 8 layers and 7 quantities; the plots of such a page take at most 0.7 MB
    quantities = ["grad_norm", "update_ratio", "act_mean", "act_std", "saturated", "sparse", "dead"]
    numbers = [0.0123456 + i for i in range(150)]
    history = {f"diag/layer{n}/{q}": numbers for n in range(8) for q in quantities}
    history |= {f"{split}/{m}": numbers for split in ("train", "val") for m in ("loss", "acc")}

    def results(values):
        return {"test/acc": 0.5, "val/acc": 0.5, "train/acc": 0.5, "history": history}

    axes = {"act": [f"act{i}" for i in range(10)], "seed": [str(i) for i in range(10)]}
    sweep = load(make_sweep(axes, results))
    found = charts(sweep, group_by_condition(sweep))
    size = len(json.dumps(found, separators=(",", ":")))
    assert 600_000 < size < 1_300_000
    layers = found["diag-dead.png"]
    assert layers["epochs"][0] == 1
    assert layers["epochs"][-1] == 150
    assert len(layers["epochs"]) >= 20
