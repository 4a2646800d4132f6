"""Each kind of claim on sweeps whose verdict is plain to see."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from alexlab.studies.claims import read_claims
from alexlab.studies.results import load
from alexlab.studies.verdicts import evaluate_claims

STUDIES = sorted((Path(__file__).parents[2] / "conf" / "study").glob("*.yaml"))
FAR = [0.30, 0.32, 0.31, 0.33, 0.30]  # well above a margin of 0.02
NONE = [0.001, -0.002, 0.002, 0.0, -0.001]  # well within it
NOISE = [0.10, -0.06, 0.12, -0.05, 0.04]  # says nothing
SMALL = [0.018, 0.022, 0.017, 0.021, 0.019]  # above 0, and neither above nor below the margin
MINUS = [-d for d in FAR]


def claim(kind="greater", margin=0.02, **more):
    control = {} if kind in ("within", "extreme") else {"control": {"act": "tanh"}}
    base = {"statement": "it is so", "kind": kind, "margin": margin, "metric": "test/acc"}
    return {**base, "treatment": {"act": "relu"}, **control, **more}


def judged(make_sweep, claims, results, *, acts=("relu", "tanh"), seeds=range(5), **about):
    place = {key: about.pop(key) for key in ("scale", "name") if key in about}
    about = {"question": "?", "claims": claims, **about}
    return evaluate_claims(load(make_sweep({"act": acts, "seed": seeds}, results, about, **place)))


def shifted(d, metric="test/acc"):
    """relu is ahead of tanh by d[seed], on top of what a seed does to both."""

    def results(values):
        seed = int(values["seed"])
        return {metric: 0.5 + 0.03 * seed + (d[seed] if values["act"] == "relu" else 0.0)}

    return results


@pytest.mark.parametrize(
    ("kind", "d", "expected"),
    [
        ("greater", FAR, "confirmed"),
        ("greater", MINUS, "refuted"),
        ("greater", NONE, "refuted"),
        ("greater", NOISE, "inconclusive"),
        ("greater", SMALL, "inconclusive"),
        ("equivalent", NONE, "confirmed"),
        ("equivalent", FAR, "refuted"),
        ("equivalent", MINUS, "refuted"),
        ("equivalent", NOISE, "inconclusive"),
        ("equivalent", SMALL, "inconclusive"),
    ],
)
def test_differences(make_sweep, kind, d, expected):
    (one,) = judged(make_sweep, [claim(kind)], shifted(d))
    assert one.verdict == expected
    assert one.effect == pytest.approx(sum(d) / 5)
    assert (one.seeds_needed is not None) == (expected == "inconclusive")


@pytest.mark.parametrize(
    ("d", "expected"), [(NONE, "confirmed"), (FAR, "refuted"), (NOISE, "inconclusive")]
)
def test_within_a_margin_of_a_target(make_sweep, d, expected):
    def results(values):
        return {"test/acc": 0.41 + d[int(values["seed"])]}

    (one,) = judged(make_sweep, [claim("within", target=0.41)], results, acts=["relu"])
    assert one.verdict == expected


@pytest.mark.parametrize(
    ("tanh", "sigmoid", "expected"),
    [
        (FAR, FAR, "confirmed"),
        (FAR, MINUS, "refuted"),  # one is enough
        (FAR, NOISE, "inconclusive"),
    ],
)
@pytest.mark.parametrize("direction", ["more", "less"])
def test_the_highest_of_all(make_sweep, tanh, sigmoid, expected, direction):
    ahead = {"tanh": tanh, "sigmoid": sigmoid, "relu": [0.0] * 5}
    sign = 1 if direction == "more" else -1

    def results(values):
        return {"test/acc": 0.5 - sign * ahead[values["act"]][int(values["seed"])]}

    acts = ["relu", "tanh", "sigmoid"]
    (one,) = judged(make_sweep, [claim("extreme", direction=direction)], results, acts=acts)
    assert one.verdict == expected


@pytest.mark.parametrize(
    ("factor", "expected"),
    [([2.0, 2.2, 1.9, 2.1, 2.0], "confirmed"), ([1.0, 0.99, 1.01, 1.0, 1.02], "refuted"),
     ([2.5, 0.5, 3.0, 0.6, 1.5], "inconclusive")],
)  # fmt: skip
def test_one_varies_more_between_epochs(make_sweep, factor, expected):
    def results(values):
        size = 0.01 * (factor[int(values["seed"])] if values["act"] == "relu" else 1)
        return {"history": {"train/loss": [1.0, 1.0, 1.0, 1.0 + size, 1.0 - size, 1.0 + 2 * size]}}

    kind = claim(margin=1.2, metric="epoch_std(train/loss)")
    (one,) = judged(make_sweep, [kind], results)
    assert one.verdict == expected


@pytest.mark.parametrize(
    ("d", "expected"), [(MINUS, "confirmed"), (NONE, "refuted"), (NOISE, "inconclusive")]
)
def test_one_overfits_less(make_sweep, d, expected):
    (one,) = judged(
        make_sweep,
        [claim(metric="generalization_gap(acc)", direction="less")],
        shifted(d, "train/acc"),
    )
    assert one.verdict == expected


def test_two_numbers_of_the_same_runs(make_sweep):
    gains = [0.012, 0.013, 0.011, 0.014, 0.012]

    def results(values):
        seed = int(values["seed"])
        return {"test/acc": 0.6 + 0.05 * seed, "test/acc_10_crops": 0.6 + 0.05 * seed + gains[seed]}

    crops = {"statement": "10 crops gain", "kind": "greater", "margin": 0.01,
             "treatment_metric": "test/acc_10_crops", "control_metric": "test/acc"}  # fmt: skip
    (one,) = judged(make_sweep, [crops], results, acts=["relu"])
    assert one.verdict == "confirmed"
    assert one.effect == pytest.approx(0.0124)


def test_seeds_are_paired_and_other_axes_averaged_within_them(make_sweep):
    def results(values):
        ahead = {"true": 0.1, "false": 0.2}[values["pool"]] if values["act"] == "relu" else 0.0
        return {"test/acc": 0.2 + 0.1 * int(values["seed"]) + ahead}

    about = {"claims": [claim()]}
    axes = {"act": ["relu", "tanh"], "pool": ["true", "false"], "seed": range(3)}
    (one,) = evaluate_claims(load(make_sweep(axes, results, about)))
    assert one.pairs.differences == pytest.approx([0.15] * 3)
    assert one.verdict == "confirmed"  # no spread at all must not divide by zero


def test_a_cell_that_failed_in_one_seed_leaves_the_pairs_even(make_sweep):
    def results(values):
        if values == {"act": "tanh", "pool": "avg", "seed": "2"}:
            return "FloatingPointError: train/loss is nan"
        return {"test/acc": 0.2 + 0.5 * (values["pool"] == "avg") + 0.1 * (values["act"] == "relu")}

    axes = {"act": ["relu", "tanh"], "pool": ["max", "avg"], "seed": range(3)}
    (one,) = evaluate_claims(load(make_sweep(axes, results, {"claims": [claim()]})))
    assert one.pairs.differences == pytest.approx(
        [0.1] * 3
    )  # else seed 2 would compare max+avg with max
    assert "tanh: 5 of 6 runs have a number" in one.notes


@pytest.mark.parametrize(("seeds", "expected"), [(5, "confirmed"), (2, "inconclusive")])
def test_a_loss_that_diverged_is_above_any_other(make_sweep, seeds, expected):
    """Of 5 above 5 others, Mann and Whitney's one-sided p is 1 in 252; of 2 above 2, 1 in 6."""

    def results(values):
        if values["act"] == "relu":
            return "FloatingPointError: the training loss is nan in epoch 2"
        return {"history": {"train/loss": [1.0, 0.5 + 0.1 * int(values["seed"])]}}

    loss = claim(kind="extreme", metric="last(train/loss)", margin=0.05)
    (one,) = judged(make_sweep, [loss], results, seeds=range(seeds))
    assert one.verdict == expected
    assert one.p_confirm == pytest.approx({5: 1 / 252, 2: 1 / 6}[seeds])
    assert f"relu: {seeds} of {seeds} runs diverged, so ranks are tested" in one.notes


def test_a_loss_that_diverged_is_near_nothing(make_sweep):
    def results(values):
        if values["act"] == "relu":
            return "FloatingPointError: the training loss is nan in epoch 2"
        return {"history": {"train/loss": [1.0, 0.5]}}

    (one,) = judged(make_sweep, [claim("equivalent", metric="last(train/loss)")], results)
    assert one.verdict == "inconclusive"
    assert one.notes[-1] == "relu: 5 of 5 runs diverged"  # no ranks are tested


@pytest.mark.parametrize(
    ("results", "more", "why"),
    [
        (lambda v: "RuntimeError: no" if v["act"] == "tanh" and v["seed"] != "0" else {}, {},
         "tanh has 1 of 5 runs"),
        (lambda v: {"test/acc": float("nan")} if v["act"] == "relu" else {}, {}, "relu has 0 of 5"),
        (lambda v: {"state": "pruned"} if v["act"] == "tanh" else {}, {}, "tanh has 0 of 5 runs"),
        (lambda v: {} if (v["act"] == "relu") == (int(v["seed"]) < 3) else None, {},
         "relu and tanh have 0 seeds in common"),
        (lambda v: {"test/acc": 0.25},
         {"positive_control": {"condition": {"act": "relu"}, "metric": "test/acc",
                              "at_least": 0.4}},
         "came to test/acc 25.0%; at least 40.0% was asked"),
        (lambda v: {}, {"claims": [claim(treatment={"pool": "max"})]}, "pool is not an axis"),
        (lambda v: {}, {"claims": [claim(min_scale="full")], "scale": "quick"},
         "it needs full scale"),
    ],
)  # fmt: skip
def test_not_tested(make_sweep, results, more, why):
    claims = more.pop("claims", [claim()])
    (one,) = judged(make_sweep, claims, results, **more)
    assert one.verdict == "not tested"
    assert why in one.why


def test_claims_are_corrected_together(make_sweep):
    d = [0.10, -0.004, 0.07, 0.02, 0.06]  # p = 0.03 by itself
    twice = [claim(), claim(margin=0.01)]
    (alone,) = judged(make_sweep, [claim()], shifted(d), name="alone")
    found = judged(make_sweep, twice, shifted(d), name="holm")
    plain = judged(make_sweep, twice, shifted(d), name="none", correction="none")
    assert alone.verdict == "confirmed"
    assert [one.p_confirm for one in found] == pytest.approx([2 * alone.p_confirm] * 2)
    assert [one.verdict for one in found] == ["inconclusive"] * 2
    assert [one.verdict for one in plain] == ["confirmed"] * 2
    fall = shifted([-x for x in d])
    (alone,) = judged(make_sweep, [claim()], fall, name="alone-below")
    found = judged(make_sweep, [claim(), claim()], fall, name="holm-below")
    assert [one.p_refute for one in found] == pytest.approx([2 * alone.p_refute] * 2)


def test_values_are_compared_as_a_command_line_reads_them(make_sweep):
    def results(values):
        return {"test/acc": 0.5 + (0.3 if values["optim.lr"] == "1e-2" else 0.0)}

    one = claim(treatment={"optim.lr": 0.01}, control={"optim.lr": "0.10"})
    axes = {"optim.lr": ["1e-2", "0.1"], "seed": range(3)}
    assert (
        evaluate_claims(load(make_sweep(axes, results, {"claims": [one]})))[0].verdict
        == "confirmed"
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kind": "better"}, "kind=better: unknown; choose from greater"),
        ({"margin": 0}, "margin=0: it must be above 0"),
        ({"target": 0.5}, "target: `within` needs it"),
        ({"marginn": 0.1}, "marginn is unknown"),
        ({"metric": "latest(train/loss)"}, "'latest' is unknown; write a name"),
        ({"control": None}, "control: greater needs it"),
    ],
)
def test_claims_that_make_no_sense_are_refused(make_sweep, change, said):
    with pytest.raises(ValueError, match=said):
        judged(make_sweep, [claim(**change)], lambda values: {})


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_the_claims_of_every_study_make_sense(path):
    about = OmegaConf.to_container(OmegaConf.load(path)).get("study", {})
    for one in read_claims(about):
        assert one.quote, one.statement
        axes = {*about["axes"], *about.get("quick", {})}
        controls = one.control if isinstance(one.control, list) else [one.control or {}]
        assert {key for values in (one.treatment, *controls) for key in values} <= axes
