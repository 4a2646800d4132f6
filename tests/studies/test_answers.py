"""Each answer and each reason for "not tested", on sweeps where it is plain to see."""

import html
import math
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from omegaconf import OmegaConf

from alexlab.studies.answers import answer_claims, looks_of, needs_seeds, table_of
from alexlab.studies.claims import Claim, read_claims
from alexlab.studies.comparisons import Comparison, count_comparisons, is_compared, mean_rise
from alexlab.studies.results import axis_values, load
from alexlab.studies.validity import Gate, read_gate
from alexlab.studies.wording import failures

ROOT = Path(__file__).parents[2]
STUDIES = sorted((ROOT / "conf" / "study").glob("*.yaml"))
FAR = [0.30, 0.32, 0.31, 0.33, 0.30]  # well above a margin of 0.02
NONE = [0.001, -0.002, 0.002, 0.0, -0.001]  # well within it
NOISE = [0.10, -0.06, 0.12, -0.05, 0.04]  # can be anything
SMALL = [0.018, 0.022, 0.017, 0.021, 0.019]  # above 0, on both sides of the margin
MINUS = [-d for d in FAR]
GATE = {"metric": "last(val/acc)", "chance": 0.2, "margin": 0.1}


def claim(kind="greater", margin=0.02, **more):
    control = {} if kind in ("within", "extreme") else {"control": {"act": "tanh"}}
    base = {"statement": "it is so", "kind": kind, "margin": margin, "metric": "test/acc"}
    base |= {"source_says": "asserts", "treatment": {"act": "relu"}}
    return {**base, **control, **more}


def answers(make_sweep, claims, results, *, acts=("relu", "tanh"), seeds=range(5), **study):
    place = {key: study.pop(key) for key in ("scale", "name") if key in study}
    study = {"question": "?", "claims": claims, "looks": {"tuned": [5]}, **study}
    sweep = load(make_sweep({"act": acts, "seed": seeds}, results, study, **place))
    return answer_claims(table_of(sweep), sweep.about, sweep.setting)


def shifted(d, metric="test/acc"):
    """relu is ahead of tanh by d[seed], on top of what a seed does to both."""

    def results(values):
        seed = int(values["seed"])
        return {metric: 0.5 + 0.03 * seed + (d[seed] if values["act"] == "relu" else 0.0)}

    return results


@pytest.mark.parametrize(
    ("kind", "d", "answer", "judgement"),
    [
        ("greater", FAR, "more", "supported"),
        ("greater", MINUS, "less", "contradicted"),
        ("greater", NONE, "no difference that matters", "not supported"),
        ("greater", NOISE, "cannot tell", ""),
        ("greater", SMALL, "more", "supported"),  # its size is uncertain, its sign is not
        ("equivalent", NONE, "no difference that matters", "supported"),
        ("equivalent", FAR, "more", "contradicted"),
        ("equivalent", MINUS, "less", "contradicted"),
        ("equivalent", NOISE, "cannot tell", ""),
        ("equivalent", SMALL, "more", "not supported"),  # not wholly outside
    ],
)
def test_answers_and_judgements(make_sweep, kind, d, answer, judgement):
    (one,) = answers(make_sweep, [claim(kind)], shifted(d))
    assert (one.answer, one.judgement) == (answer, judgement)
    assert one.effect == pytest.approx(sum(d) / 5)
    assert (one.n, one.look, one.looks) == (5, 1, [5])
    assert (one.planned_seeds is not None) == (answer == "cannot tell")
    # t(0.975, 4) = 2.776445
    half = 2.776445 * np.std(d, ddof=1) / math.sqrt(5)
    assert (one.low, one.high) == pytest.approx((one.effect - half, one.effect + half), abs=1e-6)


@pytest.mark.parametrize("source", ["asserts", "suggests"])
def test_what_an_article_says_is_judged(make_sweep, source):
    (one,) = answers(make_sweep, [claim(source_says=source)], shifted(MINUS))
    assert (one.answer, one.judgement) == ("less", "contradicted")


@pytest.mark.parametrize("source", ["asks", "ours"])
def test_a_question_gets_an_answer_and_no_judgement(make_sweep, source):
    (one,) = answers(make_sweep, [claim(source_says=source)], shifted(MINUS))
    assert (one.answer, one.judgement) == ("less", "")


def test_less_may_be_claimed(make_sweep):
    (one,) = answers(make_sweep, [claim(direction="less")], shifted(MINUS))
    assert (one.answer, one.judgement) == ("less", "supported")


@pytest.mark.parametrize(
    ("d", "answer", "judgement"),
    [
        (NONE, "no difference that matters", "supported"),
        (FAR, "more", "contradicted"),
        (NOISE, "cannot tell", ""),
    ],
)
def test_within_a_margin_of_a_target(make_sweep, d, answer, judgement):
    def results(values):
        return {"test/acc": 0.41 + d[int(values["seed"])]}

    (one,) = answers(make_sweep, [claim("within", target=0.41)], results, acts=["relu"])
    assert (one.answer, one.judgement) == (answer, judgement)
    assert one.effect == pytest.approx(sum(d) / 5)


@pytest.mark.parametrize(
    ("tanh", "sigmoid", "answer", "judgement"),
    [
        (FAR, FAR, "more", "supported"),
        (FAR, MINUS, "less", "contradicted"),  # one is enough
        (FAR, NONE, "no difference that matters", "not supported"),
        (FAR, NOISE, "cannot tell", ""),
    ],
)
def test_more_than_all_others(make_sweep, tanh, sigmoid, answer, judgement):
    ahead = {"tanh": tanh, "sigmoid": sigmoid, "relu": [0.0] * 5}

    def results(values):
        return {"test/acc": 0.5 - ahead[values["act"]][int(values["seed"])]}

    acts = ["relu", "tanh", "sigmoid"]
    (one,) = answers(make_sweep, [claim("extreme")], results, acts=acts)
    assert (one.answer, one.judgement) == (answer, judgement)
    assert one.level == pytest.approx(0.05 / 2)  # two comparisons


def test_a_spread_over_epochs_is_compared_as_a_ratio(make_sweep):
    """relu varies twice as much as tanh, times 1 +- 0.05."""

    def results(values):
        size = 2 + 0.1 * (int(values["seed"]) - 2) / 2 if values["act"] == "relu" else 1
        losses = [1.0 + 0.01 * size * sign for sign in (1, -1, 1, 1, -1, -1, 1, -1)]
        return {"history": {"val/loss": losses}}

    kind = claim(margin=1.2, metric="epoch_std(val/loss, 2)")
    (one,) = answers(make_sweep, [kind], results)
    assert one.answer == "more"
    assert math.exp(one.effect) == pytest.approx(2, abs=0.01)


def test_two_metrics_of_the_same_runs(make_sweep):
    gains = [0.012, 0.011, 0.013, 0.012, 0.014]

    def results(values):
        seed = int(values["seed"])
        return {"test/acc": 0.6 + 0.05 * seed, "test/acc_10_crops": 0.6 + 0.05 * seed + gains[seed]}

    crops = {
        "statement": "10 crops gain",
        "kind": "greater",
        "margin": 0.01,
        "treatment_metric": "test/acc_10_crops",
        "control_metric": "test/acc",
    }
    (one,) = answers(make_sweep, [crops], results, acts=["relu"])
    assert (one.answer, one.effect) == ("more", pytest.approx(0.0124))


def test_seeds_are_paired_and_other_axes_averaged_within_them(make_sweep):
    def results(values):
        ahead = {"true": 0.1, "false": 0.2}[values["pool"]] if values["act"] == "relu" else 0.0
        jitter = 0.01 * (values["act"] == "relu") * int(values["seed"])
        return {"test/acc": 0.2 + 0.1 * int(values["seed"]) + ahead + jitter}

    study = {"claims": [claim()], "looks": {"tuned": [3]}}
    axes = {"act": ["relu", "tanh"], "pool": ["true", "false"], "seed": range(3)}
    sweep = load(make_sweep(axes, results, study))
    (one,) = answer_claims(table_of(sweep), study, "tuned")
    assert one.comparison.differences(one.seeds) == pytest.approx([0.15, 0.16, 0.17])


def test_values_are_compared_as_a_command_line_reads_them(make_sweep):
    def results(values):
        return {"test/acc": 0.5 + (0.3 + 0.01 * int(values["seed"])) * (values["lr"] == "1e-2")}

    one = claim(treatment={"lr": 0.01}, control={"lr": "0.10"})
    study = {"claims": [one], "looks": {"tuned": [3]}}
    sweep = load(make_sweep({"lr": ["1e-2", "0.1"], "seed": range(3)}, results, study))
    assert answer_claims(table_of(sweep), study, "tuned")[0].answer == "more"


def curve(last, rising=0.0):
    """A val curve of ten epochs that ends at `last`, and rises by `rising` in its last two."""
    return [0.2] * 2 + [last - rising] * 7 + [last]


def gated(ends, test=0.6):
    """val ends at ends[act][seed]; test is 0.6 for tanh and 0.9 for relu, with a little spread."""

    def results(values):
        end = ends.get(values["act"], [0.8] * 10)[int(values["seed"])]
        if isinstance(end, str):
            return end
        score = test + 0.3 * (values["act"] == "relu") + 0.001 * int(values["seed"]) ** 2
        if values["act"] == "relu":
            score += 0.002 * int(values["seed"])
        return {"test/acc": score, "history": {"val/acc": curve(end)}}

    return results


NAN = "FloatingPointError: the training loss is nan in epoch 2"


@pytest.mark.parametrize(
    ("ends", "reason"),
    [
        ({"tanh": [0.8, 0.8, 0.2, 0.21, 0.29]},
         "tanh ended no better than guessing after 10 of 10 epochs in 3 of 5 runs;"
         r" a run must reach last\(val/acc\) at least 30.0%"),
        ({"tanh": [0.8, 0.8, 0.8, 0.2, NAN]},
         "tanh ended no better than guessing after 10 of 10 epochs in 1 of 5 runs and diverged in"
         " 1 of 5"),
        ({"relu": [NAN] * 5}, "relu diverged in 5 of 5 runs"),
    ],
)  # fmt: skip
def test_a_condition_that_did_not_train_is_not_tested(make_sweep, ends, reason):
    (one,) = answers(make_sweep, [claim()], gated(ends), trained=GATE)
    assert (one.answer, one.judgement) == ("not tested", "")
    assert re.search(reason, one.reason)


def test_a_run_at_chance_that_stopped_early_has_both_numbers_of_epochs(make_sweep):
    """A batch of 32 stays at chance, and was stopped after 12 of its 24 epochs."""

    def results(values):
        stuck = values["data.batch_size"] == "32"
        curve = [0.2] * 12 if stuck else [0.2] * 4 + [0.8] * 20
        return {"max_epochs": 24, "history": {"val/acc": curve}}

    one = claim(treatment={"data.batch_size": 16}, control={"data.batch_size": 32})
    study = {"claims": [one], "looks": {"tuned": [3]}, "trained": GATE}
    sweep = load(make_sweep({"data.batch_size": [16, 32], "seed": range(3)}, results, study))
    (one,) = answer_claims(table_of(sweep), study, "tuned")
    assert one.reason.startswith(
        "batch_size 32 ended no better than guessing after 12 of 24 epochs in 3 of 3 runs"
    )


def test_one_run_in_five_at_chance_counts_as_chance_and_not_as_missing(make_sweep):
    ends = {"tanh": [0.8, 0.8, 0.8, 0.8, NAN]}
    (one,) = answers(make_sweep, [claim()], gated(ends), trained=GATE)
    # relu 0.9, 0.903, 0.908, 0.915, 0.924; tanh 0.6, 0.601, 0.604, 0.609, and chance: 0.2
    assert one.comparison.differences(one.seeds) == pytest.approx([0.3, 0.302, 0.304, 0.306, 0.724])
    assert (one.n, one.not_trained, one.n_trained) == (5, [(0, 5), (1, 5)], 4)
    # where both trained: mean 0.303, t(0.975, 3) = 3.182446, sd 0.002582
    half = 3.182446 * math.sqrt(2 / 3) * 1e-3 * math.sqrt(10) / 2
    assert one.if_trained == pytest.approx((0.303, 0.303 - half, 0.303 + half), abs=1e-6)
    assert one.answer == "more"
    said = failures(one)
    # binom.test(1, 5, alternative = "less") of R: 0.6574083
    assert "0 of 5 with relu (at most 45%), 1 of 5 with tanh (at most 66%)" in said
    assert "in the 4 pairs in which both runs trained the difference is +30.3 points" in said


def test_failures_that_have_not_happened_are_bounded(make_sweep):
    (one,) = answers(make_sweep, [claim()], gated({}), trained=GATE)
    # relu 0.91 on average is 0.71 above chance; the interval starts at 0.31 - 0.0120
    assert one.not_trained == [(0, 5), (0, 5)]
    share, name = one.undone_by
    assert (share, name) == (pytest.approx(one.low / 0.71), "relu")
    assert f"If {100 * one.low / 0.71:.1f}% of the runs with relu failed" in failures(one)


def test_an_answer_for_no_difference_is_undone_by_failures_on_either_side(make_sweep):
    """relu is ahead by 0.01: a few failures of tanh bring the difference to the margin."""
    nearer = [0.01 + d for d in NONE]

    def results(values):
        found = shifted(nearer)(values)
        return {**found, "history": {"val/acc": curve(0.8)}}

    (one,) = answers(make_sweep, [claim()], results, trained=GATE)
    assert one.answer == "no difference that matters"
    # tanh is at 0.5 to 0.62, 0.56 on average: 0.36 above chance, and its failures raise relu's lead
    assert one.undone_by == (pytest.approx((0.02 - one.high) / 0.36), "tanh")


def test_readings_that_disagree_cannot_tell(make_sweep):
    """relu is ahead by 0.3 wherever it trains, and diverges once: 0.24 on average, from -0.6 on."""
    (one,) = answers(
        make_sweep, [claim()], gated({"relu": [0.8, 0.8, NAN, 0.8, 0.8]}), trained=GATE
    )
    assert (one.answer, one.judgement, one.n) == ("cannot tell", "", 5)
    assert one.if_trained.low > 0.2
    said = "with failures as chance cannot tell, among the pairs in which both runs trained more"
    assert f"the two readings disagree: {said}" in one.notes


def test_a_crash_is_missing_and_no_failure_to_train(make_sweep):
    crash = gated({"tanh": [0.8, 0.8, 0.8, 0.8, "RuntimeError: disk full"]})
    (one,) = answers(make_sweep, [claim()], crash, trained=GATE)
    assert (one.n, one.not_trained) == (4, [(0, 5), (0, 4)])
    assert "1 of 5 seeds have no number in one of the conditions" in one.notes


def test_failures_after_the_look_are_told(make_sweep):
    ends = {"relu": [0.8] * 6 + [NAN] * 3 + [0.8]}
    (one,) = answers(
        make_sweep, [claim()], gated(ends), seeds=range(10), looks={"tuned": [5, 10]}, trained=GATE
    )
    assert (one.answer, one.n) == ("more", 5)
    said = "3 of 10 runs with relu and 0 of 10 runs with tanh did not train"
    assert one.notes == [f"with the seeds after this look, {said}"]


def test_symptoms_close_the_gate_but_a_converged_loss_does_not(make_sweep):
    def with_symptom(text, seeds="01234"):
        def results(values):
            has = values["act"] == "tanh" and values["seed"] in seeds
            also = ["stalled training loss"] if values["seed"] == "3" else []
            return {**gated({})(values), "symptoms": [text, *also] if has else []}

        return results

    constant = with_symptom("constant outputs", "134")
    (one,) = answers(make_sweep, [claim()], constant, trained=GATE)
    said = "in 3 of 5 runs (symptoms: constant outputs in 3, stalled training loss in 1)"
    assert said in one.reason
    stalled = with_symptom("stalled training loss")
    (one,) = answers(make_sweep, [claim()], stalled, trained=GATE, name="stalled")
    assert one.answer == "more"


def test_a_condition_listed_as_untrained_is_exempt_and_contradicts_when_it_trains(make_sweep):
    listed = claim(direction="more", untrained=[{"act": "tanh"}])
    stuck = gated({"tanh": [0.2] * 5})
    (one,) = answers(make_sweep, [listed], stuck, trained=GATE)
    assert (one.answer, one.judgement) == ("more", "supported")
    assert one.effect == pytest.approx(0.91 - 0.2)  # chance, not the 0.6 of test/acc
    (one,) = answers(make_sweep, [listed], gated({}), trained=GATE, name="trained")
    assert (one.judgement, one.reason) == ("contradicted", "tanh trained in 5 of 5 runs")


def test_a_tuned_condition_must_have_converged(make_sweep):
    """val/acc rises by 0.1 in the last of ten epochs: over the last two a slope of 0.1 twice."""

    def results(values):
        rising = 0.1 if values["act"] == "tanh" else 0.0
        return {**gated({})(values), "history": {"val/acc": curve(0.8, rising)}}

    (one,) = answers(make_sweep, [claim()], results, trained=GATE)
    assert one.answer == "not tested"
    assert (
        "tanh had not converged: over the last 20% of its epochs it gained +20.0 points"
        in one.reason
    )
    assert needs_seeds([one]) is None  # five seeds are the last look
    looks = {"tuned": [5, 10]}
    for gain, name, more_seeds in (({}, "rising", True), ({"tanh": 0.1}, "doubled", False)):
        given = {"converged": gain, "name": name, "looks": looks}
        (one,) = answers(make_sweep, [claim()], results, trained=GATE, **given)
        assert one.answer == "not tested"
        assert (needs_seeds([one]) is not None) == more_seeds  # they cannot change a doubled run
    shown = {"converged": {"tanh": 0.005}, "name": "shown"}
    (one,) = answers(make_sweep, [claim()], results, trained=GATE, **shown)
    assert (one.answer, one.notes) == ("more", [])
    worse = {"converged": {"tanh": -0.276}, "name": "worse"}
    (one,) = answers(make_sweep, [claim()], results, trained=GATE, **worse)
    assert (one.answer, one.notes) == (
        "more",
        [
            "twice the epochs cost tanh 27.6 points in val/acc: the answer is about this number"
            " of epochs"
        ],
    )
    published = {"scale": "published", "name": "p", "looks": {"published": [5]}}
    (one,) = answers(make_sweep, [claim()], results, trained=GATE, **published)
    assert one.answer == "more"
    improving = [note for note in one.notes if "still improving" in note]
    assert improving == [
        "tanh was still improving, by +20.0 points over the last 20% of the epochs: the article's"
        " number of epochs is too small"
    ]


@pytest.mark.parametrize(
    ("results", "more", "reason"),
    [
        (lambda v: "RuntimeError: no" if v["act"] == "tanh" and v["seed"] != "0" else {}, {},
         "relu and tanh: both have a number in only 1 of 5 seeds (no)"),
        (lambda v: {"test/acc": float("nan")} if v["act"] == "relu" else {}, {},
         "a number in only 0 of 5 seeds"),
        (lambda v: None if v["seed"] == "4" else {}, {}, "4 of the 5 seeds of the first look"),
        (lambda v: {}, {"seeds": [0]}, "1 of the 5 seeds of the first look have ended"),
        (lambda v: {"test/acc": 0.25}, {}, "there is no spread: all 5 differences are equal"),
        (lambda v: {}, {"claims": [claim(treatment={"pool": "max"})]}, "pool is not an axis"),
        (lambda v: {}, {"claims": [claim(control={"act": "elu"})]}, "has no run with elu"),
        (lambda v: {}, {"claims": [claim("extreme")], "acts": ["relu"]},
         "no condition besides relu"),
        (lambda v: {}, {"claims": [claim(settings=["published"])]}, "tested at published only"),
        (lambda v: {}, {"claims": [claim(metric="test/accc")]},
         "metric=test/accc: no run has this metric"),
    ],
)  # fmt: skip
def test_not_tested(make_sweep, results, more, reason):
    claims = more.pop("claims", [claim()])
    (one,) = answers(make_sweep, claims, results, **more)
    assert one.answer == "not tested"
    assert reason in one.reason
    assert (math.isnan(one.low), one.judgement) == (True, "")


def test_the_first_look_that_answers_is_kept(make_sweep):
    """At 5 seeds relu is ahead by 30 points; later seeds, by which it is behind, change nothing."""
    d = [*FAR, *[-2.0 + 0.01 * k for k in range(5)]]
    (one,) = answers(make_sweep, [claim()], shifted(d), seeds=range(10), looks={"tuned": [5, 10]})
    assert (one.answer, one.look, one.n, one.effect) == ("more", 1, 5, pytest.approx(0.312))


def test_a_later_look_answers_and_seeds_between_looks_wait(make_sweep):
    looks = {"tuned": [5, 10]}
    d = [0.08, -0.02, 0.05, 0.0, 0.04, *[0.05, 0.06, 0.04, 0.05, 0.06]]
    (one,) = answers(make_sweep, [claim()], shifted(d), seeds=range(8), looks=looks)
    assert (one.answer, one.look, one.n) == ("cannot tell", 1, 5)
    assert "3 more seeds have ended, for the next look" in one.notes
    assert needs_seeds([one]) is not None
    (one,) = answers(make_sweep, [claim()], shifted(d), seeds=range(10), looks=looks, name="ten")
    assert (one.answer, one.look, one.n) == ("more", 2, 10)
    assert needs_seeds([one]) is None


def test_the_last_look_decides_whatever_it_finds(make_sweep):
    (one,) = answers(make_sweep, [claim()], shifted(NOISE))
    assert one.answer == "cannot tell"
    assert needs_seeds([one]) is None


def test_claims_of_another_setting_do_not_keep_a_sweep_going(make_sweep):
    """It would train all seeds of its last look for a claim that they cannot answer."""
    claims = [claim(), claim(settings=["published"])]
    found = answers(make_sweep, claims, shifted(FAR), looks={"tuned": [5, 10]})
    assert [one.answer for one in found] == ["more", "not tested"]
    assert needs_seeds(found) is None


def test_only_runs_of_open_claims_and_of_none_need_seeds(make_sweep):
    """At the first look relu against tanh is decided, relu against sigmoid is open."""
    claims = [
        claim(name="far", control={"act": "tanh"}),
        claim(name="near", control={"act": "sigmoid"}),
    ]

    def results(values):
        seed = int(values["seed"])
        return {
            "test/acc": {
                "relu": 0.8 + 0.01 * (seed % 2),
                "tanh": 0.2 + 0.002 * seed,
                "sigmoid": 0.8 + NOISE[seed % 5],
                "elu": 0.5,
            }[values["act"]]
        }

    acts = ["relu", "tanh", "sigmoid", "elu"]
    looks = {"tuned": [5, 10]}
    far, near = answers(make_sweep, claims, results, acts=acts, seeds=range(5), looks=looks)
    assert [far.answer, near.answer] == ["more", "cannot tell"]
    goes_on = needs_seeds([far, near])
    assert [goes_on({"act": act, "seed": "5"}) for act in acts] == [True, False, True, True]
    assert needs_seeds([far]) is None


@pytest.mark.parametrize(
    ("more", "compared"),
    [
        ({"control": [{"act": "tanh"}, {"act": "elu"}]}, ["relu", "tanh", "elu"]),
        ({"kind": "extreme"}, ["relu", "tanh", "elu", "gelu"]),
        ({"kind": "within", "target": 0.5}, ["relu"]),
        ({"metric": "", "treatment_metric": "a", "control_metric": "b"}, ["relu"]),
        ({"control": {"lr": 0.01}}, ["relu"]),
    ],
)
def test_the_runs_that_a_claim_compares(more, compared):
    about = {"statement": "?", "kind": "greater", "margin": 0.1, "metric": "test/acc"}
    if "kind" in more or "control" not in more:
        more = {"control": None, **more}
    one = Claim(**{**about, "treatment": {"act": "relu"}, **more})
    acts = ["relu", "tanh", "elu", "gelu"]
    assert [act for act in acts if is_compared({"act": act, "lr": "0.1"}, one)] == compared
    at_rate = is_compared({"act": "gelu", "lr": "1e-2"}, one)
    assert at_rate == ("gelu" in compared or more.get("control") == {"lr": 0.01})


def test_seeds_that_the_study_does_not_list_are_not_used(make_sweep):
    study = {"axes": {"act": "relu, tanh", "seed": "range(5)"}}
    d = [*FAR, 5.0, 6.0]
    (one,) = answers(make_sweep, [claim()], shifted(d), seeds=range(7), **study)
    assert one.n == 5
    assert one.notes == ["seeds 5, 6 are not in the study file: not used"]


def test_comparisons_share_the_level_and_a_mirrored_claim_counts_once(make_sweep):
    mirrored = claim(treatment={"act": "tanh"}, control={"act": "relu"}, direction="less")
    found = answers(make_sweep, [claim(), mirrored], shifted(FAR), name="mirrored")
    assert [one.level for one in found] == pytest.approx([0.05, 0.05])
    other = claim(metric="test/acc", treatment={"act": "sigmoid"})
    acts = ["relu", "tanh", "sigmoid"]
    found = answers(make_sweep, [claim(), other], wobbly, acts=acts, name="two")
    assert [one.level for one in found] == pytest.approx([0.025, 0.025])


def wobbly(values):
    """Differences between any two activations have some spread."""
    order = ["relu", "tanh", "sigmoid"].index(values["act"])
    return {"test/acc": 0.5 + 0.01 * order + 0.001 * int(values["seed"]) ** (1 + order)}


def test_planned_seeds_come_from_the_margin_and_the_upper_limit_of_the_spread(make_sweep):
    (one,) = answers(make_sweep, [claim()], shifted(NOISE))
    # sd 0.08307, times sqrt(4 / 1.063623) = 0.1611; to see 0.02 takes (2.8016 * 8.054)^2 = 509,
    # and two more for t in place of the normal distribution
    assert one.sd == pytest.approx(0.083066, abs=1e-6)
    assert one.planned_seeds == pytest.approx(511, abs=2)
    assert one.smallest_detectable > 0.1


def test_the_interval_for_new_images_is_wider(make_sweep):
    (one,) = answers(make_sweep, [claim()], shifted(FAR))
    # 40 test images, 100 train images: sqrt(1/5 + 0.4) in place of sqrt(1/5)
    assert (one.high_new - one.effect) / (one.high - one.effect) == pytest.approx(math.sqrt(3))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "better"}, "kind=better: unknown; choose from greater"),
        ({"margin": 0}, "margin=0: it must be above 0"),
        ({"margin": 1, "metric": "epoch_std(val/loss, 20)"}, "must be a ratio above 1"),
        ({"target": 0.5}, "target: kind=within needs it"),
        ({"marginn": 0.1}, "marginn is unknown"),
        ({"metric": "latest(train/loss)"}, "'latest' is unknown; write a name"),
        ({"control": None}, "control is missing; kind=greater needs it"),
        ({"direction": "up"}, "direction=up: choose from more, less"),
        ({"source_says": "claims"}, "source_says=claims: choose from asserts"),
        ({"settings": ["quick"]}, "settings=quick: choose from tuned, published"),
    ],
)
def test_claims_that_make_no_sense_are_refused(make_sweep, change, message):
    with pytest.raises(ValueError, match=message):
        answers(make_sweep, [claim(**change)], lambda values: {})


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"metric": "val/acc"}, "it needs exactly chance, margin, metric"),
        ({**GATE, "margin": 0}, "must be above 0"),
        ({**GATE, "chance": 0}, "must be above 0"),
        ({**GATE, "metric": "final(val/acc)"}, "'final' is unknown"),
    ],
)
def test_a_gate_that_makes_no_sense_is_refused(section, message):
    with pytest.raises(ValueError, match=message):
        read_gate({"trained": section})


def test_a_gate_on_a_metric_that_no_run_has_is_refused(make_sweep):
    with pytest.raises(ValueError, match=r"trained: metric=val/accc: no run has this metric"):
        answers(make_sweep, [claim()], lambda v: {}, trained={**GATE, "metric": "val/accc"})


def test_no_interval_is_shown_for_rates_that_were_not_tuned(make_sweep):
    """relu is ahead by 0.08 to 0.12, which the interval of a study with tuned rates would show."""
    ahead = shifted([0.08, 0.1, 0.12, 0.1, 0.1])
    (tuned,) = answers(make_sweep, [claim()], ahead)
    assert 0.05 < tuned.low < 0.1 < tuned.high
    (found,) = answers(make_sweep, [claim()], ahead, name="b", tune={"axis": "optim.lr"})
    assert found.answer == "not tested"
    assert math.isnan(found.low)
    assert math.isnan(found.high)


def test_a_study_without_claims_has_no_answers(make_sweep):
    assert answers(make_sweep, [], lambda values: {}) == []


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_the_claims_of_every_study_make_sense(path):
    study = OmegaConf.to_container(OmegaConf.load(path)).get("study", {})
    gate = read_gate(study)
    for one in read_claims(study):
        assert gate is not None
        recipes = [one.treatment, one.control or {}, *one.untrained]
        assert {recipe for values in recipes for recipe in values.values()} <= {
            *study.get("recipes", {})
        }
        for setting in one.settings:
            seeds = study.get(setting, {}).get("seed") or study["axes"]["seed"]
            assert looks_of(study, setting)[-1] == len(axis_values(seeds))


def articles():
    """{quote name: (sentence, translation, {claim: what the article does})} of docs/articles.md."""
    found = {}
    for entry in re.split(r"^### ", (ROOT / "docs" / "articles.md").read_text("utf-8"), flags=re.M):
        name, _, body = entry.partition("\n")
        quote = re.search(r'<blockquote lang="\w+">(.*?)</blockquote>', body, flags=re.S)
        if quote is None:
            continue
        sentence = html.unescape(quote[1].replace("<br>", " ").replace("\n", ""))
        translation = re.search(r"- Translation: (.*?)\n- The article:", body, flags=re.S)[1]
        claims = dict(re.findall(r"`(\w+/[\w-]+)`\s+\((\w+)\)", body))
        found[name] = " ".join(sentence.split()), " ".join(translation.split()), claims
    return found


def test_study_files_quote_the_articles_and_claim_no_more():
    known, claimed = articles(), set()
    for path in STUDIES:
        study = OmegaConf.to_container(OmegaConf.load(path)).get("study", {})
        for one in [claim for claim in read_claims(study) if claim.quote_name]:
            sentence, translation, claims = known[one.quote_name]
            assert (one.quote, one.translation) == (sentence, translation)
            name = f"{path.stem}/{one.name}"
            assert claims[name] == one.source_says, name
            claimed.add(name)
            assert one.article in {article["name"] for article in study["articles"]}
    assert claimed == {name for _, _, claims in known.values() for name in claims}


@pytest.mark.parametrize(("metric", "gain"), [("val/acc", -0.2), ("val/mae", 0.2)])
def test_a_run_whose_error_falls_still_gains(metric, gain):
    runs = pd.DataFrame({f"rise({metric})": [-0.3, -0.1]})
    gate = Gate(f"last({metric})", chance=0.5, margin=0.1)
    assert mean_rise(runs, gate) == pytest.approx(gain)


def test_a_study_may_have_a_level_of_its_own(make_sweep):
    (one,) = answers(make_sweep, [claim()], shifted(NOISE), level=0.2)
    half = 1.533206 * np.std(NOISE, ddof=1) / math.sqrt(5)  # t(0.9, 4)
    assert (one.level, one.high - one.effect) == pytest.approx((0.2, half), abs=1e-6)


def test_planned_seeds_are_those_of_one_comparison_among_several(make_sweep):
    """As above with half the level: (3.083 * 8.054)^2 = 617, and some more for t."""
    others = claim(treatment={"act": "sigmoid"})
    acts = ["relu", "tanh", "sigmoid"]

    def results(values):
        seed = int(values["seed"])
        ahead = {"relu": NOISE[seed], "tanh": 0.0, "sigmoid": -0.01 * seed}[values["act"]]
        return {"test/acc": 0.5 + 0.03 * seed + ahead}

    one, _ = answers(make_sweep, [claim(), others], results, acts=acts)
    assert one.planned_seeds == pytest.approx(619, abs=3)


@pytest.mark.parametrize(("direction", "sign"), [("more", 1), ("less", -1)])
def test_more_than_all_others_has_the_number_of_the_nearest_one(make_sweep, direction, sign):
    ahead = {"relu": 0.0, "tanh": 0.3, "sigmoid": 0.2, "elu": 0.4}

    def results(values):
        seed, spread = int(values["seed"]), {"relu": 0, "tanh": 1, "sigmoid": 2, "elu": 3}
        noise = 0.001 * spread[values["act"]] * seed
        return {"test/acc": 0.5 - sign * (ahead[values["act"]] + noise)}

    kind = claim("extreme", direction=direction)
    (one,) = answers(make_sweep, [kind], results, acts=[*ahead])
    assert (one.answer, one.judgement) == (direction, "supported")
    assert one.effect == pytest.approx(sign * (0.2 + 0.004))


def test_a_comparison_that_is_not_tested_outweighs_one_that_cannot_tell(make_sweep):
    def results(values):
        seed = int(values["seed"])
        end = 0.2 if values["act"] == "tanh" else 0.8
        score = 0.5 + (NOISE[seed] if values["act"] == "sigmoid" else 0.0)
        return {"test/acc": score, "history": {"val/acc": curve(end)}}

    acts = ["relu", "tanh", "sigmoid"]
    (one,) = answers(make_sweep, [claim("extreme")], results, acts=acts, trained=GATE)
    assert one.answer == "not tested"
    assert "tanh ended no better than guessing" in one.reason


def test_a_look_that_may_not_answer_does_not_fall_back_on_an_earlier_one(make_sweep):
    """Five seeds cannot tell; of ten, tanh did not train in three."""

    def results(values):
        seed, stuck = int(values["seed"]), values["act"] == "tanh" and values["seed"] in "789"
        score = 0.5 + (NOISE[seed % 5] if values["act"] == "relu" else 0.0)
        return {"test/acc": score, "history": {"val/acc": curve(0.2 if stuck else 0.8)}}

    looks = {"looks": {"tuned": [5, 10]}, "trained": GATE}
    (one,) = answers(make_sweep, [claim()], results, seeds=range(10), **looks)
    assert (one.answer, one.look) == ("not tested", 2)
    assert "in 3 of 10 runs" in one.reason


def test_an_answer_of_less_is_undone_by_failures_of_the_control(make_sweep):
    def results(values):
        return {**shifted(MINUS)(values), "history": {"val/acc": curve(0.8)}}

    (one,) = answers(make_sweep, [claim()], results, trained=GATE)
    assert one.answer == "less"  # tanh is at 0.56 on average, 0.36 above chance
    assert one.undone_by == (pytest.approx(-one.high / 0.36), "tanh")


def test_a_claim_about_an_error_asks_for_runs_below_that_of_guessing(make_sweep):
    """Guessing the median has an error of 1.5: tanh ends at 1.45, which is no better."""
    gate = {"metric": "last(val/mae)", "chance": 1.5, "margin": 0.1}
    kind = claim(metric="test/mae", direction="less")

    def results(end_of_tanh):
        def run(values):
            seed, relu = int(values["seed"]), values["act"] == "relu"
            score = 1.0 + 0.01 * seed - (0.2 + 0.01 * seed**2 if relu else 0.0)
            end = 0.9 if relu else end_of_tanh
            return {"test/mae": score, "history": {"val/mae": [1.5] * 8 + [end] * 2}}

        return run

    (one,) = answers(make_sweep, [kind], results(1.45), trained=gate)
    assert one.answer == "not tested"
    assert "tanh ended no better than guessing" in one.reason
    assert "last(val/mae) at most 1.40" in one.reason
    (one,) = answers(make_sweep, [kind], results(1.4), trained=gate, name="below")
    assert (one.answer, one.judgement, one.effect) == ("less", "supported", pytest.approx(-0.26))


def test_a_seed_is_alike_in_both_only_if_all_its_runs_trained(make_sweep):
    """With two pools per seed, relu of seed 1 trained in one of them only."""

    def results(values):
        stuck = (values["act"], values["pool"], values["seed"]) == ("relu", "true", "1")
        score = 0.5 + 0.1 * (values["act"] == "relu") + 0.001 * int(values["seed"]) ** 2
        score += 0.002 * (values["act"] == "relu") * int(values["seed"])
        return {"test/acc": score, "history": {"val/acc": curve(0.2 if stuck else 0.8)}}

    study = {"claims": [claim()], "looks": {"tuned": [5]}, "trained": GATE}
    axes = {"act": ["relu", "tanh"], "pool": ["true", "false"], "seed": range(5)}
    sweep = load(make_sweep(axes, results, study))
    (one,) = answer_claims(table_of(sweep), study, "tuned")
    assert (one.n, one.n_trained) == (5, 4)
    assert one.not_trained == [(1, 10), (0, 10)]


def test_listed_conditions_count_as_trained_only_from_four_runs_in_five(make_sweep):
    listed = claim(untrained=[{"act": "tanh"}])
    ends = {"tanh": [0.8, 0.8, 0.8, 0.2, 0.2]}
    (one,) = answers(make_sweep, [listed], gated(ends), trained=GATE)
    assert (one.judgement, one.reason) == ("supported", "")


def test_a_claim_without_a_number_in_one_run_of_five_is_still_tested(make_sweep):
    def results(values):
        found = shifted(FAR)(values)
        return "RuntimeError: no" if (values["act"], values["seed"]) == ("tanh", "4") else found

    (one,) = answers(make_sweep, [claim()], results)
    assert (one.answer, one.n) == ("more", 4)


def test_a_seed_has_ended_when_both_groups_have_it_and_all_its_runs_have_ended():
    relu = pd.DataFrame({"seed": ["0", "1", "2"], "state": ["finished", "failed", "running"]})
    tanh = pd.DataFrame({"seed": ["0", "1", "1"], "state": ["finished"] * 3})
    both = Comparison("", ("relu", "tanh"), pd.DataFrame(), (relu, tanh))
    seeds = [["0"], ["0", "1"], ["0", "2"], ["3"]]
    assert [both.has_ended(some) for some in seeds] == [True, True, False, False]
    alone = Comparison("", ("tanh", ""), pd.DataFrame(), (tanh,))
    assert [alone.has_ended(some) for some in (["0", "1"], ["0", "2"])] == [True, False]


def test_comparisons_are_counted_by_conditions_metric_and_target(make_sweep):
    """Two mirrored ones are one; another metric, another target and each other control is one."""
    acts = ["relu", "tanh", "sigmoid", "elu"]
    table = table_of(load(make_sweep({"act": acts, "seed": range(3)}, lambda v: {}, {})))
    plain = [claim(), claim(treatment={"act": "tanh"}, control={"act": "relu"}, direction="less")]
    other = [claim(metric="test/f1"), claim("equivalent", margin=0.01)]
    targets = [claim("within", target=0.5), claim("within", target=0.6)]
    for claims, count in ((plain, 1), (plain + other, 2), (targets, 2), ([], 1)):
        assert count_comparisons(table, read_claims({"claims": claims})) == count
    extreme = read_claims({"claims": [claim("extreme"), claim()]})
    assert count_comparisons(table, extreme) == 3  # relu against tanh is among the three


def test_costs_of_conditions_that_need_not_train_are_compared(make_sweep):
    """Both stay at chance, as the claim says; relu takes 10 s and tanh 20 s."""

    def results(values):
        wall = 20 if values["act"] == "tanh" else 10 + 0.1 * int(values["seed"])
        return {"wall_s": wall, "history": {"val/acc": curve(0.2)}}

    listed = [{"act": "relu"}, {"act": "tanh"}]
    both = claim(metric="wall_s", margin=1, untrained=listed, direction="less", source_says="ours")
    (one,) = answers(make_sweep, [both], results, trained=GATE)
    assert (one.answer, one.effect, one.n_trained) == ("less", pytest.approx(-9.8), 5)


def test_a_spread_of_nothing_has_no_ratio(make_sweep):
    """The val loss of tanh does not move in one run of five."""

    def results(values):
        seed, relu = int(values["seed"]), values["act"] == "relu"
        size = (2 if relu else 1) * (1 + 0.01 * seed * relu) * (seed < 4 or relu)
        return {"history": {"val/loss": [1 + 0.01 * size * s for s in (1, -1, 1, 1, -1, -1, 1)]}}

    (one,) = answers(make_sweep, [claim(margin=1.2, metric="epoch_std(val/loss, 1)")], results)
    assert (one.answer, one.n) == ("more", 4)
    mean = sum(math.log(2 * (1 + 0.01 * seed)) for seed in range(4)) / 4
    assert one.effect == pytest.approx(mean, abs=1e-6)
