"""Trains one network: `python -m src.train model=alexnet act=tanh`; with -m, several.

torch is imported only when a training starts: `--help`, a typing error and a finished sweep answer
at once.
"""

import os
import re
import shlex
import sys
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from alexlab.commands.arguments import explain_setting
from alexlab.commands.train_help import extra_folders, help_text
from alexlab.errors import TRACES, refuse_old_settings, user_errors
from alexlab.runs import config as run_config
from alexlab.runs import extensions
from alexlab.runs.folder import CONFIG, LAST, RANK_0_FOLDER, RunFolder, Stopped
from alexlab.runs.locate import run_dir_of
from alexlab.runs.stop_signals import StopSignals
from alexlab.studies.setting import PARTS
from hydra_plugins.hydra_process_launcher.program import program, restore_verbs, verbs


def _run_dir(resume: str | None, new: str, *, _root_: DictConfig) -> str:
    """Return the folder of the run: that of the run to `resume`, or `new` with a readable end."""
    if resume:
        return str(run_dir_of(resume, LAST))
    choices, overrides = _root_.hydra.runtime.choices, _root_.hydra.overrides.task
    return f"{new}-{run_name(str(choices.model), str(choices.data), overrides)}"


def run_name(model: str, data: str, overrides: Iterable[str]) -> str:
    """Name a run by its network, its data and what was set: alexnet-shapes-tanh-lr-0.1.

    Only letters, digits, `.` and `-` occur. Settings of loggers are left out: they may be secret.
    """
    words = [model, data]
    for override in overrides:
        key, _, value = override.lstrip("+").partition("=")
        last, end = key.rpartition(".")[2], value.rstrip("/").rpartition("/")[2]
        if key in ("act", "optim", "sched", "augment"):
            words.append(end)
        elif key.startswith(run_config.COMPARED) or key == "data.root":
            words.append(f"{last}-{end}")
    return re.sub(r"[^A-Za-z0-9.]+", "-", "-".join(words)).strip("-.")[:MAX_NAME].rstrip("-.")


MAX_NAME = 48  # characters that a run's name adds to its date


OmegaConf.register_new_resolver("run_dir", _run_dir, replace=True)


def _study_at(part: str, *, _root_: DictConfig) -> Any:
    """Return a part of the chosen study at the chosen scale; None for a free sweep."""
    study, choices = _root_.get("study"), _root_.hydra.runtime.choices
    if part == "suffix":  # of the sweep's name
        return "" if study is None or choices.scale == "tuned" else f"-{choices.scale}"
    if study is None:
        return None
    plain: Any = OmegaConf.to_container(study, resolve=False)
    sweeps = Path(str(_root_.hydra.sweep.dir))
    return PARTS[part](choices.scale, plain, str(choices.study), sweeps)


OmegaConf.register_new_resolver("study_at", _study_at, replace=True)


@hydra.main(config_path=str(run_config.CONF), config_name="train", version_base="1.3")
def task(cfg: DictConfig) -> float | None:
    """One training in Hydra's run folder; returns the objective.

    A trial's errors are for its launcher; Hydra would print the overrides above those of others.
    """
    restore_verbs()  # Lightning starts the other ranks of DDP with sys.argv
    own = HydraConfig.get()
    is_trial = not OmegaConf.is_missing(own.job, "num")
    is_rank_0 = int(os.environ.get("LOCAL_RANK", 0)) == 0
    folder = Path(own.runtime.output_dir if is_rank_0 else os.environ[RANK_0_FOLDER])
    if folder.is_relative_to(Path.cwd()):
        folder = folder.relative_to(Path.cwd())
    os.environ[RANK_0_FOLDER] = str(folder.absolute())
    signals = StopSignals()
    with nullcontext() if is_trial else user_errors(), signals:
        try:
            if not is_trial:
                _refuse_sweep_settings(own.overrides.task)
            if cfg.resume:
                cfg = run_config.read_to_resume(folder, own.overrides.task)
            else:
                run_config.checked(cfg)
                run_config.refuse_other_run(cfg, folder)
            return in_folder(cfg, folder, trial=is_trial, write=is_rank_0, signals=signals)
        finally:
            if folder.is_dir() and not any(folder.iterdir()):  # Hydra has made it
                folder.rmdir()


def compose_run(overrides: Iterable[str]) -> tuple[DictConfig, Path]:
    """Return the config of a single run and its folder, as the command line would give them.

    Raises:
        ValueError: The settings ask for a sweep, or cannot work, or the folder has another run.
    """
    words = list(overrides)
    cfg = run_config.compose_config(words, check=False, with_hydra=True)
    if "MULTIRUN" in str(cfg.hydra.mode) or cfg.get("study") is not None:
        study = cfg.hydra.runtime.choices.study
        raise ValueError(f"study={study}: a sweep of runs; use alexlab train study={study}")
    _refuse_sweep_settings(words)
    folder = Path(str(cfg.hydra.run.dir))
    OmegaConf.set_struct(cfg, False)
    del cfg["hydra"]
    OmegaConf.set_struct(cfg, True)
    if cfg.resume:
        own = [word for word in words if not word.startswith("hydra.")]
        return run_config.read_to_resume(folder, own), folder
    run_config.checked(cfg)
    run_config.refuse_other_run(cfg, folder)
    return cfg, folder


def _refuse_sweep_settings(overrides: Iterable[str]) -> None:
    """Raise ValueError if a run that belongs to no sweep has a setting of one."""
    for override in overrides:
        if override.lstrip("+~").startswith("sweep."):
            raise ValueError(f"{override}: has no effect on a single run; add -m for a sweep")


def _check_words(words: Sequence[str]) -> None:
    """Check the words of the command line before Hydra reads them.

    Raises:
        ValueError: A setting that nothing reads, or -m between settings.
    """
    run_config.refuse_unread_keys(words)
    for at, word in enumerate(words):
        around = [any("=" in one for one in part) for part in (words[:at], words[at + 1 :])]
        if word in ("-m", "--multirun") and all(around):
            raise ValueError(f"{word}: between two settings; write it before all of them")


def in_folder(
    cfg: DictConfig,
    folder: Path,
    *,
    trial: bool,
    write: bool,
    signals: StopSignals | None = None,
) -> float | None:
    """Train in `folder`, which is locked meanwhile and says afterwards how it ended.

    The ranks of DDP that do not `write` only compute. `signals` may be entered already.
    """
    from alexlab.performance.out_of_memory import friendly_oom_errors
    from alexlab.training.run import TrainingRun

    signals = signals or StopSignals()
    if not write:
        return TrainingRun(cfg, folder, {}, trial=trial, signals=signals).run()
    with (
        signals,
        RunFolder(folder, keep=trial, on_closed=signals.stop) as run,
        friendly_oom_errors(
            cfg.data.batch_size, cfg.data.resolution, auto_batch=cfg.trainer.auto_batch
        ),
    ):
        training = TrainingRun(cfg, run.path, run.record, trial=trial, signals=signals)
        run.obsolete = training.checkpoints.obsolete
        run.start()
        return training.run()
    return run.record.get("objective")  # pruned


def main() -> None:
    """Run `alexlab train`; the exit code is 1 after an error, 128 + signal after a stop."""
    if {"-h", "--help"} & set(sys.argv):
        print(help_text([*run_config.config_folders(), *extra_folders(sys.argv)]), end="")
        return
    os.environ.setdefault(TRACES, os.environ.get("HYDRA_FULL_ERROR", "0"))
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises, and we say it
    extensions.register()
    with user_errors(explain_setting):
        refuse_old_settings(sys.argv[1:])
        for folder in extra_folders(sys.argv):
            run_config.add_config_dir(str(folder))
        _check_words(sys.argv[1:])
        typed = [*program(), *verbs()]  # now: the task puts the verb back in sys.argv
        typed += [f"--config-dir={folder}" for folder in extra_folders(sys.argv)]
        try:
            task()
        except Stopped:
            run = Path(os.path.relpath(os.environ[RANK_0_FOLDER]))
            if (run / CONFIG).exists():  # it had started
                print(f"stopped; to go on: {shlex.join([*typed, f'resume={run}'])}")
            raise
