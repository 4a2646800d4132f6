"""Test the settings of the sweeper: names, bounds, and where an app keeps them."""

import re

import pytest
from hydra import initialize_config_dir
from hydra._internal.callbacks import Callbacks
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.types import HydraContext, RunMode

from tests.sweeper import toy_app
from tests.sweeper.sweeping import ROOT, states, sweep

CONF = str(ROOT / "tests/sweeper/conf")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        *(
            (
                f"sweep.n_jobs={wrong}",
                f"sweep.n_jobs={wrong}: must be a whole number of at least 1,",
            )
            for wrong in ("-1", "0", "many", "1.5")
        ),
        ("sweep.n_jobs=true", "sweep.n_jobs=True: must be a whole number of at least 1, auto, or"),
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
