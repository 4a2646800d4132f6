"""Test grids that run in stages, until a rule ends them."""

import os
import signal

import pytest

from hydra_plugins.hydra_study_sweeper._space import TrialParams, split_into_stages
from tests.sweeper.sweeping import PATH, printed, rows, start, states, sweep, wait_until

ACTS = "relu", "tanh"


def trials(folder):
    return [(row["seed"], row["act"]) for row in rows(folder, "looks")]


def test_stages_by_the_values_of_an_axis():
    params = [TrialParams({"act": a, "seed": s}, a + s) for a in "ab" for s in "5678"]
    stages = split_into_stages(params, "seed", [1, 3, 10])
    assert [[one.identity for one in stage] for stage in stages] == [
        ["a5", "b5"],
        ["a6", "a7", "b6", "b7"],
        ["a8", "b8"],
    ]
    assert split_into_stages(params, "lr", [1, 3]) == [params]


def test_sweep_ends_after_the_stage_that_the_rule_accepts(tmp_path):
    code, text = sweep(tmp_path, "study=looks", "sweep.n_jobs=2", TOY_ENOUGH="5")
    assert code == 0, text
    assert "4 trials (4 pending), 4 to run" in text
    assert "stages of at most 4, 8, 16 trials: it ends after the first that is enough" in text
    assert "stage 1 of 3: not enough, going on" in text
    assert "stage 2 of 3: enough" in text
    assert trials(tmp_path) == [(str(s), a) for s in range(4) for a in ("relu", "tanh")]
    assert states(tmp_path, "looks") == {"finished": 8}


def test_last_stage_ends_a_sweep_that_is_never_accepted(tmp_path):
    code, text = sweep(tmp_path, "study=looks", "seed=range(0,5)")
    assert code == 0, text
    assert len(trials(tmp_path)) == 10
    assert "stage 3" not in text


def test_finished_stages_continue_when_the_rule_has_changed(tmp_path):
    sweep(tmp_path, "study=looks", TOY_ENOUGH="4")
    assert len(trials(tmp_path)) == 4
    code, text = sweep(tmp_path, "study=looks", TOY_ENOUGH="4")
    assert code == 0, text
    assert "stage 1 of 3: enough" in text
    assert len(trials(tmp_path)) == 4
    code, text = sweep(tmp_path, "study=looks", "sweep.stop_when=null")
    assert code == 0, text
    assert states(tmp_path, "looks") == {"finished": 16}


def test_new_value_of_another_axis_runs_in_the_stages_that_have_begun(tmp_path):
    sweep(tmp_path, "study=looks", "act=relu", TOY_ENOUGH="4")
    assert len(trials(tmp_path)) == 4
    code, text = sweep(tmp_path, "study=looks", TOY_ENOUGH="8")
    assert code == 0, text
    found = trials(tmp_path)
    assert {seed for seed, _ in found} == set("0123")
    assert len(found) == 8


@pytest.mark.parametrize(("stage", "seeds"), [(2, 4), (3, 8)])
def test_new_value_misses_no_stage_that_began_before_it(tmp_path, stage, seeds):
    sweep(tmp_path, "study=looks", "act=relu", TOY_ENOUGH=str(seeds))
    assert len(trials(tmp_path)) == seeds
    # tanh goes on once two of its trials have finished, so not at the start
    code, text = sweep(tmp_path, "study=looks", TOY_GOES_ON="begun", TOY_ENOUGH=str(2 * seeds))
    assert code == 0, text
    assert f"stage {stage} of 3: not enough, going on\n" in text
    assert [one for one in trials(tmp_path) if one[1] == "tanh"] == [
        (str(seed), "tanh") for seed in range(seeds)
    ]


def test_only_trials_that_the_rule_lets_go_on_run_in_the_next_stages(tmp_path):
    code, text = sweep(tmp_path, "study=looks", TOY_GOES_ON="relu")
    assert code == 0, text
    assert "stage 1 of 3: not enough, going on with 2 of 4 trials" in text
    relu, tanh = ([seed for seed, act in trials(tmp_path) if act == name] for name in ACTS)
    assert relu == list("01234567")
    assert tanh == list("01")
    # the rule is asked again, and adds nothing to stages that have begun
    code, text = sweep(tmp_path, "study=looks", "sweep.dry_run=true", TOY_GOES_ON="relu")
    assert "0 to run" in text
    code, text = sweep(tmp_path, "study=looks", TOY_GOES_ON="relu")
    assert code == 0, text
    assert "nothing to do" in text
    assert len(trials(tmp_path)) == 10
    # it lets others go on now
    code, text = sweep(tmp_path, "study=looks", TOY_GOES_ON="tanh")
    assert code == 0, text
    assert states(tmp_path, "looks") == {"finished": 16}


def test_rule_that_fails_at_the_start_adds_nothing(tmp_path):
    sweep(tmp_path, "study=looks", TOY_GOES_ON="relu")
    code, text = sweep(tmp_path, "study=looks", TOY_ENOUGH="many")
    assert code == 1
    assert "sweep.stop_when=enough: ValueError" in text
    assert len(trials(tmp_path)) == 10


def test_seed_that_was_typed_before_begins_no_stage(tmp_path):
    sweep(tmp_path, "study=looks", "seed=7")
    code, text = sweep(tmp_path, "study=looks", TOY_ENOUGH="6")
    assert code == 0, text
    assert "stage 1 of 3: enough" in text
    assert {seed for seed, _ in trials(tmp_path)} == set("017")


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("tests.sweeper.toy_app.enough", "ValueError: invalid literal"),
        ("os.readlink", "OSError: [Errno 22]"),
    ],
)
def test_rule_that_fails_is_named_and_loses_nothing(tmp_path, rule, message):
    options = ["study=looks", f"hydra.sweeper.stop_rules.enough={rule}"]
    code, text = sweep(tmp_path, *options, TOY_ENOUGH="many")
    assert code == 1
    assert f"sweep.stop_when=enough: {message}" in text
    assert states(tmp_path, "looks") == {"finished": 4}
    code, text = sweep(tmp_path, "study=looks", TOY_ENOUGH="4")
    assert code == 0, text
    assert len(trials(tmp_path)) == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["seed=0,1", "sweep.stop_when=enough"],
            "sweep.stop_when=enough: has no effect, because this sweep is not run in stages; leave"
            " it out",
        ),
        (
            ["study=looks", "lr=interval(0.1,1)", "sweep.stop_when=enough"],  # a search
            "sweep.stop_when=enough: has no effect, because this sweep is not run in stages; leave",
        ),
        (["seed=0,1", "sweep.stop_when=soon"], "sweep.stop_when=soon: unknown; choose from enough"),
    ],
)
def test_rule_that_cannot_work_is_refused(tmp_path, arguments, message):
    code, text = sweep(tmp_path, *arguments)
    assert code == 1
    assert message in text
    assert not (tmp_path / "multirun").exists()


def test_dry_run_prints_the_least_and_the_most(tmp_path):
    code, text = sweep(tmp_path, "study=looks", "sweep.dry_run=true")
    assert code == 0, text
    assert "multirun/looks: 4 to 16 trials, all to run; not started" in text
    code, text = sweep(tmp_path, "study=looks", "study.stages.counts=[2,8]", "sweep.dry_run=true")
    assert "multirun/looks: 4 to 16 trials, all to run; not started" in text
    code, text = sweep(tmp_path, "study=looks", "study.stages.counts=[8]", "sweep.dry_run=true")
    assert "multirun/looks: 16 trials, all to run; not started" in text


def test_failed_trial_is_not_waited_for(tmp_path):
    options = ["study=looks", "fault=raise", "fault_seed=0"]
    code, text = sweep(tmp_path, *options, TOY_ENOUGH="2")
    assert code == 1, text
    assert states(tmp_path, "looks") == {"finished": 2, "failed": 2}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_while_the_rule_is_asked_ends_it_at_once(tmp_path, number):
    """The rule of this test waits without end; asked again, it is the usual one."""
    rule = "def slow(folder):\n    Path('in_rule').touch()\n    threading.Event().wait()\n"
    (tmp_path / "rule.py").write_text(f"import threading\nfrom pathlib import Path\n{rule}")
    paths = {"PYTHONPATH": os.pathsep.join([PATH, str(tmp_path)])}
    slow = "hydra.sweeper.stop_rules.enough=rule.slow"
    process = start(tmp_path, "study=looks", slow, **paths)
    wait_until((tmp_path / "in_rule").exists)
    os.kill(process.pid, number)
    assert process.wait(30) == 130
    assert "going on" not in printed(tmp_path)
    assert states(tmp_path, "looks") == {"finished": 4}
    code, text = sweep(tmp_path, "study=looks", TOY_ENOUGH="4")
    assert code == 0, text
    assert "stage 1 of 3: enough" in text


def test_two_sweepers_at_different_stages_share_the_trials(tmp_path):
    """One has a rule that ends it later, the other runs all stages at once."""
    one = start(tmp_path, "study=looks", "epoch_s=0.1", output=tmp_path / "one.txt")
    wait_until(lambda: (tmp_path / "multirun/looks/trials.csv").exists())
    code, text = sweep(tmp_path, "study=looks", "epoch_s=0.1", "sweep.stop_when=null")
    assert code == 0, text
    assert one.wait(60) == 0
    assert states(tmp_path, "looks") == {"finished": 16}
    pids = [path.read_text().split() for path in tmp_path.glob("multirun/looks/*/pids.txt")]
    assert [len(one) for one in pids] == [1] * 16  # each was trained once
