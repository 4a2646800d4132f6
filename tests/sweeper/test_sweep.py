"""Test the sweeper: grammar, identities, settings, trials, journal, pruning, searches."""

import json
import os
import re
import subprocess
import sys

import optuna
import pytest
from hydra import initialize_config_dir
from hydra._internal.callbacks import Callbacks
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.types import HydraContext, RunMode
from omegaconf import OmegaConf, open_dict
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from hydra_plugins.hydra_study_sweeper import _trials
from hydra_plugins.hydra_study_sweeper._composer import Composer, differences
from hydra_plugins.hydra_study_sweeper._display import ProgressReporter
from hydra_plugins.hydra_study_sweeper._results import CheckpointCleaner
from hydra_plugins.hydra_study_sweeper._resume import check_compatible
from hydra_plugins.hydra_study_sweeper._samplers import search_space
from hydra_plugins.hydra_study_sweeper._space import TrialParams, folder_name, read_space
from hydra_plugins.hydra_study_sweeper._storage import open_storage
from hydra_plugins.hydra_study_sweeper._trials import TrialStore, read_csv
from hydra_plugins.hydra_study_sweeper.config import StudySweeperConf
from hydra_plugins.hydra_study_sweeper.overrides import quote
from hydra_plugins.hydra_study_sweeper.pruning import TrialReporter
from hydra_plugins.hydra_study_sweeper.sweep_folder import read_trials
from tests.sweeper import toy_app
from tests.sweeper.sweeping import PATH, ROOT, printed, rows, start, states, sweep

CONF = str(ROOT / "tests/sweeper/conf")


@pytest.fixture
def composer():
    """composer("lr=1,2", ...) -> Space and Composer of the toy app."""

    def make(*arguments, axes=None, ignore=("sweep",), **study):
        with initialize_config_dir(CONF, version_base="1.3"):
            loader = GlobalHydra.instance().config_loader()
            config = loader.load_configuration("toy", list(arguments), RunMode.MULTIRUN)
            space = read_space(axes, arguments, loader, **study)
            return space, Composer(loader, config, space, ignore)

    return make


@pytest.mark.parametrize(
    "arguments",
    [
        ["lr=1,2", "seed=range(0,3)", "act=relu"],
        ["seed=3,1,2", "model=small,wide"],
        ["lr=choice(0.1,0.2)", "seed=range(5,0,-2)", "model=glob(*)"],
        ["act='a,b',c", "lr=1e-3,1"],
    ],
)
def test_grid_is_that_of_hydra_in_the_same_order(composer, arguments):
    space, made = composer(*arguments)
    parsed = OverridesParser.create(config_loader=made.loader).parse_overrides(arguments)
    (theirs,) = BasicSweeper.split_arguments(parsed, None)
    swept = [[line for line in job if line.split("=")[0] in space.choices] for job in theirs]
    fixed = len(space.fixed)
    assert [space.overrides(values)[fixed:] for values in space.grid()] == swept


def test_config_is_composed_as_hydra_does(composer):
    space, made = composer("model=small,wide", "lr=0.1,0.2", "act=relu,tanh", "+extra=[1,2],null")
    for values in space.grid():
        lines = [f"{key}={value}" for key, value in values.items()]
        theirs = made.loader.load_sweep_config(made.config, lines)
        with open_dict(theirs):
            del theirs["hydra"]
        assert made.compose(values) == OmegaConf.to_container(theirs, resolve=True)


def test_identity_depends_on_what_can_change_a_result(composer):
    def identity(*arguments, **values):
        return composer(*arguments)[1].params(values).identity

    assert identity("lr=0.5,1", lr="0.5") == identity("lr=0.5")  # on an axis or fixed
    assert identity("sweep.n_jobs=4", "lr=0.5") == identity("lr=0.5")
    assert identity("lr=0.5,1", lr="0.5") == identity("lr=0.50,1", lr="0.50")
    assert identity("lr=0.5") != identity("lr=0.6")
    assert identity("model=wide") != identity("model=small")


def test_command_line_narrows_and_extends_the_axes_of_a_study(composer):
    axes = {"act": "relu,tanh", "seed": [0, 1]}
    space, _ = composer("act=elu", "lr=1,2", axes=axes)
    assert space.choices == {"act": ["elu"], "seed": ["0", "1"], "lr": ["1", "2"]}
    assert space.fixed == []


def test_command_line_overrides_scale_which_overrides_study(composer):
    axes = {"act": "relu,tanh", "seed": [0, 1]}
    scaled = {"seed": 5, "epochs": 2, "lr": 0.3}
    space, _ = composer("lr=0.4", axes=axes, scaled=scaled)
    assert space.choices == {"act": ["relu", "tanh"], "seed": ["5"]}
    assert sorted(space.fixed) == ["epochs=2", "lr=0.4"]


def test_recipe_is_a_set_of_overrides_below_the_command_line(composer):
    recipes = {"slow": {"lr": 0.01, "model": "wide"}, "fast": {"lr": 1.0, "epochs": 7}}
    axes = {"recipe": "slow,fast"}
    space, made = composer("epochs=4", axes=axes, recipes=recipes)
    slow, fast = (made.compose(values) for values in space.grid())
    assert [slow["recipe"], slow["lr"], slow["model"]["bias"]] == ["slow", 0.01, 0.5]
    assert [fast["recipe"], fast["lr"], fast["model"]["bias"]] == ["fast", 1.0, 0.0]
    assert slow["epochs"] == fast["epochs"] == 4
    recipes["same"] = recipes["fast"]  # its name cannot change a result
    _, made = composer(axes={"recipe": "fast,same"}, recipes=recipes)
    fast, same = (made.params({"recipe": name}) for name in ("fast", "same"))
    assert fast.identity == same.identity
    with pytest.raises(ValueError, match="recipe=quick: unknown; choose from slow, fast"):
        composer("recipe=quick", axes=axes, recipes=recipes)


@pytest.mark.parametrize(
    ("sweep", "one"),
    [
        ("lr=interval(0.1,1)", FloatDistribution(0.1, 1.0)),
        ("lr=tag(log,interval(1e-4,1e-1))", FloatDistribution(1e-4, 1e-1, log=True)),
        ("lr=int(interval(1,8))", IntDistribution(1, 8)),
        ("lr=tag(int,log,interval(1.0,8.0))", IntDistribution(1, 8, log=True)),
        ("lr=interval(1,8)", FloatDistribution(1.0, 8.0)),
    ],
)
def test_interval_gives_a_search_space(composer, sweep, one):
    space, _ = composer(sweep, "act=relu,tanh")
    assert search_space(space) == {"act": CategoricalDistribution(["relu", "tanh"]), "lr": one}


@pytest.mark.parametrize("sweep", ["lr=interval(1,0.5)", "lr=tag(log,interval(-1,1))"])
def test_impossible_interval_is_refused_by_its_key(composer, sweep):
    space, _ = composer(sweep)
    with pytest.raises(ValueError, match=r"^lr"):
        search_space(space)


@pytest.mark.parametrize(
    ("number", "values", "name"),
    [
        (3, {"act": "tanh", "seed": "1"}, "3-act-tanh-seed-1"),
        (0, {"optim.lr": "0.01", "data.batch_size": "8"}, "0-lr-0.01-batch-size-8"),
        (7, {"a.x": "1", "b.x": "2"}, "7-a.x-1-b.x-2"),
        (1, {"+path": "'/a b/c=d,e'"}, "1-path-a-b-c-d-e"),
        (2, {}, "2"),
    ],
)
def test_folder_names_need_no_quoting(number, values, name):
    assert folder_name(number, values) == name


def test_long_folder_names_are_shortened_and_stay_distinct():
    names = {folder_name(1, {"a": "x" * 200 + end}) for end in "ab"}
    assert len(names) == 2
    assert max(map(len, names)) < 90


@pytest.mark.parametrize("value", ["/a b/c", "it's", "a=b,c", "\\'", "{x}", "${y}", "a\\"])
def test_quoted_value_is_read_back(value):
    assert OverridesParser.create().parse_override(f"key={quote(value)}").value() == value


def test_differences_name_the_key():
    old, new = {"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 1, "c": 4}, "e": 5}
    assert differences(old, new) == ["a.c: 2 -> 4", "d: 3 -> absent", "e: absent -> 5"]


def test_import_without_posix_signals_and_locks():
    """As on Windows, which has no flock either."""
    code = """
import signal, sys
for name in ("SIGKILL", "SIGHUP"):
    delattr(signal, name)
sys.modules["fcntl"] = None
import hydra_plugins.hydra_study_sweeper._scheduler, hydra_plugins.hydra_process_launcher.launcher
"""
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": PATH})


PARAMS = [TrialParams({"seed": str(seed)}, f"identity-{seed}") for seed in range(3)]


@pytest.fixture
def store(tmp_path):
    """store() -> another view of one storage, as another worker has it."""

    def make(directions=("minimize",)):
        return TrialStore(str(tmp_path / "study.journal"), "s", list(directions), tmp_path)

    first = make()
    first.add(PARAMS, {"seed": ["0", "1", "2"]})
    return make


def test_one_worker_claims_a_trial(store):
    one, two = store(), store()
    assert one.claim(one.trials[0])
    assert not two.claim(two.trials[0])
    assert two.trials[0].status == "running"
    assert not one.claim(one.trials[0])


def test_trials_with_equal_params_are_added_once(store):
    one, two = store(), store()
    one.add(PARAMS, {"seed": ["0", "1", "2"]})
    two.add([*PARAMS, TrialParams({"seed": "9"}, "identity-9")], {"seed": ["0", "1", "2", "9"]})
    one.sync()
    assert list(one.by_identity) == ["identity-0", "identity-1", "identity-2", "identity-9"]
    assert len(one.trials) == 4


def test_two_machines_that_add_a_trial_at_once_share_it(store, monkeypatch):
    one, two = store(), store()
    new = [TrialParams({"seed": "9"}, "identity-9")]
    axes = {"seed": ["0", "1", "2", "9"]}
    with monkeypatch.context() as blind:  # `two` reads, then `one` writes, then `two` writes
        blind.setattr(two, "sync", lambda: None)
        one.add(new, axes)
        two.add(new, axes)
    for view in (one, two):
        view.sync()
        assert [*view.trials] == [0, 1, 2, 3]
    assert len(one.optuna_study.trials) == 5
    assert one.claim(one.trials[3])
    assert not two.claim(two.trials[3])


def test_one_worker_reclaims_a_stale_trial(store, monkeypatch):
    dead = store()
    dead.worker.name = "host|boot|3|3"
    dead.claim(dead.trials[0])
    monkeypatch.setattr(_trials, "process_start_time", lambda pid: "")  # no process is alive
    one, two = store(), store()
    one.worker.name, two.worker.name = "host|boot|1|1", "host|boot|2|2"
    stale = [view.stale_trials()[0] for view in (one, two)]
    assert one.reclaim(stale[0])
    assert not two.reclaim(stale[1])
    assert two.trials[0].status == "interrupted"
    assert [one.claim(one.trials[0]), two.claim(two.trials[0])] == [True, False]


def test_worker_of_another_machine_is_dead_without_heartbeat(store, monkeypatch):
    far, near = store(), store()
    far.worker.name = "elsewhere|boot|1|1"
    far.claim(far.trials[0])
    near.sync()
    clock = [1000.0]
    monkeypatch.setattr(_trials.time, "monotonic", lambda: clock[0])
    assert near.stale_trials() == []  # seen for the first time
    clock[0] += _trials.HEARTBEAT_TIMEOUT_S / 2
    far.worker.heartbeat()
    assert near.stale_trials() == []
    clock[0] += _trials.HEARTBEAT_TIMEOUT_S * 0.9
    assert near.stale_trials() == []
    clock[0] += _trials.HEARTBEAT_TIMEOUT_S * 0.2
    assert [trial.number for trial in near.stale_trials()] == [0]


def test_second_result_of_a_trial_is_ignored(store):
    one, two = store(), store()
    one.claim(one.trials[0])
    two.sync()
    one.finish(one.trials[0], TrialState.COMPLETE, {"status": "finished", "objective": 0.5})
    two.finish(two.trials[0], TrialState.FAIL, {"status": "failed", "error": "x"})
    assert two.trials[0].status == "finished"
    assert two.trials[0].optuna_trial.value == 0.5


def test_another_direction_is_refused(store):
    with pytest.raises(ValueError, match="direction"):
        store(["maximize"])


def test_trials_csv_has_status_and_error(store, tmp_path):
    one = store()
    reporter = ProgressReporter(tmp_path, ["seed"], ["minimize"])
    one.claim(one.trials[1])
    end = {"status": "failed", "error": 'a "quoted", reason', "wall_s": 1.5}
    one.finish(one.trials[1], TrialState.FAIL, end)
    reporter.update(one.pop_changes())
    found = read_csv(tmp_path / "trials.csv")
    assert list(found) == ["0-seed-0", "1-seed-1", "2-seed-2"]
    assert found["1-seed-1"]["state"] == "failed"
    assert found["1-seed-1"]["error"] == 'a "quoted", reason'
    assert found["2-seed-2"]["state"] == "pending"


def test_an_error_with_square_brackets_is_printed_as_it_is(store, tmp_path, capsys):
    one = store()
    reporter = ProgressReporter(tmp_path, ["seed"], ["minimize"])
    one.claim(one.trials[0])
    result = {"status": "failed", "error": "ValueError: [/x] of [red]"}
    one.finish(one.trials[0], TrialState.FAIL, result)
    reporter.update(one.pop_changes())
    reporter.print_summary()
    assert "ValueError: [/x] of [red]" in capsys.readouterr().out


@pytest.mark.parametrize(("direction", "kept"), [("minimize", 0), ("maximize", 1)])
def test_lower_number_keeps_best_checkpoint_among_equals(store, tmp_path, direction, kept):
    one = store()
    checkpoints = CheckpointCleaner(
        tmp_path, 1, ProgressReporter(tmp_path, ["seed"], [direction]).ranking
    )
    for trial in one.trials.values():
        for name in ("best", "last"):
            path = tmp_path / trial.folder / f"checkpoints/{name}.ckpt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    for number, objective in ((2, 0.5), (1, 0.75), (0, 0.5)):
        one.claim(one.trials[number])
        end = {"status": "finished", "objective": objective}
        one.finish(one.trials[number], TrialState.COMPLETE, end)
        checkpoints.clean(one.trials[number])
    left = [path.parent.parent.name for path in tmp_path.glob("*/checkpoints/*.ckpt")]
    assert left == [one.trials[kept].folder]


def test_lock_of_a_killed_process_is_free(tmp_path):
    code = (
        "import sys, time; from hydra_plugins.hydra_study_sweeper._storage import FlockLock;"
        "FlockLock(sys.argv[1]).acquire(); print('held', flush=True); time.sleep(60)"
    )
    path = str(tmp_path / "study.journal")
    open_storage(path)
    env = {**os.environ, "PYTHONPATH": PATH}
    holder = subprocess.Popen(
        [sys.executable, "-c", code, f"{path}.lock"], stdout=subprocess.PIPE, env=env
    )
    assert holder.stdout.readline() == b"held\n"
    holder.kill()
    holder.wait()
    begin = _trials.time.monotonic()
    TrialStore(path, "s", ["minimize"], tmp_path).add(PARAMS, {"seed": ["0", "1", "2"]})
    assert _trials.time.monotonic() - begin < 1


@pytest.mark.parametrize("cut", [1, 7, 40, 10_000])
def test_incomplete_line_of_a_journal_is_moved_away(tmp_path, store, cut):
    path = tmp_path / "study.journal"
    whole = path.read_bytes()
    line = b'{"op_code":4,"worker_id":"' + b"x" * 20_000
    path.write_bytes(whole + line[:cut])
    one = store()
    assert one.claim(one.trials[0])
    assert path.read_bytes().startswith(whole)
    assert all(json.loads(text) for text in path.read_text().splitlines())
    assert (tmp_path / "study.journal.cut").read_bytes() == line[:cut] + b"\n"


def test_reporter_prunes_a_poor_trial(tmp_path, store):
    one = store()
    one.add(
        [TrialParams({"seed": str(n)}, f"identity-{n}") for n in range(6)], {"seed": list("012345")}
    )
    path = str(tmp_path / "study.journal")
    pruned = []
    for number, value in enumerate((0.1, 0.2, 0.1, 0.2, 0.1, 0.9)):
        one.claim(one.trials[number])
        reporter = TrialReporter(storage=path, study="s", number=number, pruner="median")
        answers = []
        for step in range(3):
            reporter.report(value, step)
            answers.append(reporter.should_prune())
        pruned.append(answers)
        end = {"status": "finished", "objective": value}
        one.finish(one.trials[number], TrialState.COMPLETE, end)
    assert pruned == [[False] * 3] * 5 + [[True] * 3]  # the median needs five trials


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("sweep.n_jobs=-1", "sweep.n_jobs=-1: must be at least 1, or null"),
        ("sweep.n_jobs=0", "sweep.n_jobs=0: must be at least 1, or null"),
        ("sweep.n_jobs=many", "sweep.n_jobs=many: Value 'many' of type 'str' could not be"),
        ("sweep.n_trials=0", "sweep.n_trials=0: must be at least 1"),
        ("sweep.timeout_s=0", "sweep.timeout_s=0: must be more than 0, or null"),
        ("sweep.timeout_s=nan", "sweep.timeout_s=nan: must be more than 0, or null"),
        ("sweep.max_retries=-1", "sweep.max_retries=-1: must be at least 0"),
        ("+sweep.keep_best=-1", "sweep.keep_best=-1: must be at least 0, or null"),
        ("sweep.sampler=best", "sweep.sampler=best: unknown; choose from tpe, gp, random"),
        ("sweep.pruner=often", "sweep.pruner=often: unknown; choose from none, median,"),
        ("sweep.on_error=retry", "sweep.on_error=retry: unknown; choose from continue, stop"),
        ("sweep.name=../x", "sweep.name=../x: must be a plain name, without folders"),
        ("sweep.n_jobs=1,2", "sweep.n_jobs: cannot be an axis of a sweep; give it one value"),
        ("sweep=s", "sweep=s: must be a mapping; set one of its keys, as in sweep.name=NAME"),
        ("hydra.sweeper.n_jobs=2", "hydra.sweeper.n_jobs=2: write sweep.n_jobs=2 in this app"),
        ("hydra.sweeper.grace_s=-1", "hydra.sweeper.grace_s=-1.0: must be at least 0"),
        (
            "study=acts,rates",
            "study: only one per command, since each has its own axes; run study=a",
        ),
        (
            "direction=[minimize,maximize] sweep.pruner=median",
            "sweep.pruner=median: needs one objective",
        ),
        (
            "direction=[minimize,maximize] sweep.sampler=cmaes lr=interval(1,2)",
            "sweep.sampler=cmaes: takes one objective",
        ),
        ("lr=tag(logg,interval(1,2))", "lr: the tag logg is unknown; choose from log, int"),
    ],
)
def test_invalid_setting_is_refused_by_name(monkeypatch, tmp_path, arguments, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        start_sweeper("seed=0,1", *arguments.split())
    assert not (tmp_path / "multirun").exists()


def start_sweeper(*arguments):
    """Start the toy app's sweep in this process, as far as it gets before it needs a launcher."""
    with initialize_config_dir(CONF, version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        config = loader.load_configuration("toy", list(arguments), RunMode.MULTIRUN)
        context = HydraContext(config_loader=loader, callbacks=Callbacks())
        sweeper = Plugins.instance().instantiate_sweeper(
            hydra_context=context, task_function=toy_app.main, config=config
        )
        sweeper.sweep(list(arguments))


def test_settings_may_stand_in_hydra_sweeper(tmp_path):
    plain = ["hydra.sweeper.settings_from=null", "hydra.sweeper.name=s", "hydra.sweeper.n_jobs=2"]
    code, text = sweep(tmp_path, "seed=0,1", *plain)
    assert code == 0, text
    assert "2 at a time" in text
    assert states(tmp_path) == {"finished": 2}
    code, text = sweep(tmp_path, "seed=0,1", *plain, "hydra.sweeper.max_retries=-1")
    assert text.splitlines()[-1].endswith("hydra.sweeper.max_retries=-1: must be at least 0")


def test_poor_trials_are_pruned(tmp_path):
    """The median pruner compares with the five trials before; the objective grows with lr."""
    command = ["lr=0.01,5", "seed=range(0,5)", "sweep.pruner=median", "sweep.name=s"]
    code, text = sweep(tmp_path, *command)
    assert code == 0, text
    assert states(tmp_path) == {"finished": 5, "pruned": 5}
    assert all("journal" not in path.read_text() for path in tmp_path.rglob("config.yaml"))


def test_sweep_of_an_older_version_is_refused(tmp_path):
    home = tmp_path / "multirun/s"
    home.mkdir(parents=True)
    (home / "sweep.yaml").write_text("command: python -m toy\naxes: {}\nconfig: {jobs: 1}\n")
    code, text = sweep(tmp_path, "seed=0,1", "sweep.name=s")
    assert code == 1
    assert text.splitlines()[-1].endswith(
        "multirun/s was made by an older version of the sweeper, and this one reads format 1; use"
        " sweep.name=NAME for a new sweep"
    )
    assert {path.name for path in home.iterdir() if "." in path.name} <= {
        *("sweep.yaml", "study.journal", "study.journal.lock")
    }


def test_storage_of_an_older_version_is_refused(tmp_path):
    old = open_storage(str(tmp_path / "study.journal"))
    study = optuna.create_study(storage=old, study_name=tmp_path.name)
    study.set_user_attr("signature", {"axes": {}, "config": {"jobs": 1}, "search": False})
    with pytest.raises(ValueError, match="made by an older version of the sweeper"):
        check_compatible(tmp_path, {}, study.user_attrs, StudySweeperConf())


@pytest.mark.parametrize("name", ["../evil", "/etc", "a/b", "..", ".", "", "a\\b"])
def test_folder_name_from_a_file_stays_in_the_sweep(tmp_path, name):
    (tmp_path / "trials.csv").write_text(f"number,state,folder\n0,finished,{name}\n")
    with pytest.raises(ValueError, match=r"trials\.csv: .* is not the name of a folder"):
        read_trials(tmp_path)
    path = str(tmp_path / "study.journal")
    study = optuna.create_study(storage=open_storage(path), study_name="s")
    attrs = {"params": {"values": {}, "identity": "i"}, "folder": name or "/"}
    study.add_trial(optuna.trial.create_trial(state=TrialState.WAITING, user_attrs=attrs))
    with pytest.raises(ValueError, match="is not the name of a folder in this sweep"):
        TrialStore(path, "s", ["minimize"], tmp_path)


def test_grown_axis_runs_only_what_is_new(tmp_path):
    assert sweep(tmp_path, "seed=0,1", "sweep.name=s")[0] == 0
    code, text = sweep(tmp_path, "seed=0,1,2", "sweep.name=s", "sweep.n_jobs=2")
    assert code == 0
    assert "3 trials (2 finished 1 pending), 1 to run" in text
    code, text = sweep(tmp_path, "seed=0,1,2", "sweep.name=s")
    assert code == 0
    assert "nothing to do" in text
    pids = sorted(tmp_path.glob("multirun/s/*/pids.txt"))
    assert [len(path.read_text().split()) for path in pids] == [1, 1, 1]


def test_dry_run_writes_nothing(tmp_path):
    code, text = sweep(tmp_path, "seed=0,1", "lr=1,2", "sweep.dry_run=true")
    assert code == 0
    assert "4 trials" in text
    assert not (tmp_path / "multirun").exists()


def test_dry_run_of_an_existing_sweep_runs_nothing(tmp_path):
    sweep(tmp_path, "seed=0", "sweep.name=s")
    code, text = sweep(tmp_path, "seed=0,1", "sweep.name=s", "sweep.dry_run=true")
    assert code == 0
    assert "1 to run" in text
    assert len(list(tmp_path.glob("multirun/s/*/metrics.json"))) == 1


def test_study_sweeps_its_axes(tmp_path):
    code, text = sweep(tmp_path, "study=acts", "scale=quick")
    assert code == 0, text
    found = rows(tmp_path, "acts-quick")
    assert [row["folder"] for row in found] == [
        "0-act-relu-seed-0",
        "1-act-relu-seed-1",
        "2-act-tanh-seed-0",
        "3-act-tanh-seed-1",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["tpe", "gp", "random", "qmc", "cmaes", "nsgaii"])
def test_continued_search_equals_an_uninterrupted_one(tmp_path, sampler):
    if sampler == "cmaes":
        pytest.importorskip("cmaes")
    space = [
        "lr=tag(log,interval(1e-3,1))",
        "model=small,wide",
        f"sweep.sampler={sampler}",
        "sweep.name=s",
    ]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for folder, trials in ((whole, [14]), (parts, [5, 9, 14])):
        folder.mkdir()
        for n in trials:
            code, text = sweep(folder, *space, f"sweep.n_trials={n}")
            assert code == 0, text
    assert states(whole) == {"finished": 14}
    assert [row["lr"] for row in rows(parts)] == [row["lr"] for row in rows(whole)]
    assert len({row["lr"] for row in rows(whole)}) == 14
    assert len(list((whole / "multirun/s/plots").glob("*.png"))) >= 3


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["tpe", "nsgaii", "random"])
def test_several_objectives(tmp_path, sampler):
    command = [
        "lr=interval(0.01,1)",
        "sweep.n_trials=6",
        f"sweep.sampler={sampler}",
        "sweep.name=s",
    ]
    command += ["direction=[minimize,maximize]"]
    code, text = sweep(tmp_path, *command, "two=true")
    assert code == 0, text
    assert [float(row["objective_1"]) for row in rows(tmp_path)] == [
        float(row["lr"]) for row in rows(tmp_path)
    ]
    assert [path.name for path in tmp_path.glob("multirun/s/plots/*")] == ["pareto_front.png"]


def test_too_few_objectives_are_a_failure(tmp_path):
    code, _ = sweep(tmp_path, "seed=0,1", "direction=[minimize,maximize]", "sweep.name=s")
    assert code == 1
    assert "not 2 numbers" in rows(tmp_path)[0]["error"]


@pytest.mark.slow
def test_repeated_suggestion_reuses_the_result(tmp_path):
    code, text = sweep(
        tmp_path,
        "seed=int(interval(0,2))",
        "sweep.sampler=random",
        "sweep.n_trials=9",
        "sweep.name=s",
    )
    assert code == 0, text
    assert states(tmp_path) == {"finished": 9}
    assert len(list(tmp_path.glob("multirun/s/*/metrics.json"))) == 3
    value = {row["seed"]: row["objective"] for row in rows(tmp_path)}
    assert all(value[row["seed"]] == row["objective"] for row in rows(tmp_path))


@pytest.mark.slow
def test_spawn_where_a_preloaded_fork_cannot_be_had(tmp_path):
    code, text = sweep(
        tmp_path, "seed=0,1", "sweep.name=s", "hydra.launcher.start_method=spawn", "sweep.n_jobs=2"
    )
    assert code == 0, text
    assert states(tmp_path) == {"finished": 2}


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["joblib", "submitit_local", "ray"])
def test_hydras_other_launchers(tmp_path, launcher):
    pytest.importorskip(f"hydra_plugins.hydra_{launcher.partition('_')[0]}_launcher")
    command = [
        "seed=0,1,2",
        "sweep.name=s",
        "sweep.n_jobs=2",
        f"hydra/launcher={launcher}",
        "sweep.pruner=median",
    ]
    code, text = sweep(tmp_path, *command, timeout=280)
    assert code == 0, text
    assert states(tmp_path) == {"finished": 3}
    assert "nothing to do" in sweep(tmp_path, *command)[1]


@pytest.mark.slow
def test_runs_do_not_influence_each_other(tmp_path):
    places = {"CUDA_VISIBLE_DEVICES": "5,7"}
    process = start(tmp_path, "seed=range(0,4)", "sweep.name=s", "sweep.n_jobs=null", **places)
    assert process.wait(60) == 0, printed(tmp_path)
    found = [json.loads(p.read_text()) for p in tmp_path.glob("multirun/s/*/metrics.json")]
    assert {one["env"] for one in found} == {""}
    assert {one["gpus"] for one in found} == {"5", "7"}


@pytest.mark.slow
def test_other_sweepers_and_flags_of_hydra_work(tmp_path):
    for arguments in (
        ["seed=0,1", "hydra/sweeper=basic", "hydra/launcher=basic"],
        ["seed=0,1", "sweep.name=s", "hydra/launcher=basic"],
    ):
        assert sweep(tmp_path, *arguments)[0] == 0
    env = {**os.environ, "PYTHONPATH": PATH}
    for arguments in (["--cfg", "job"], ["--info", "config"], ["seed=3"]):
        app = [sys.executable, "-m", "tests.sweeper.toy_app", *arguments]
        subprocess.run(app, cwd=tmp_path, env=env, check=True, capture_output=True)
    assert len(list(tmp_path.glob("multirun/single/*/metrics.json"))) == 1
