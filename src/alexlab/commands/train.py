"""Train one network: `python -m src.train model=alexnet act=tanh`; with -m, several.

torch is imported only when a training starts, so that `--help`, a wrong setting and a finished
sweep respond at once.
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
    """Return the run folder: that of the run to `resume`, or `new` followed by a name."""
    if resume:
        return str(run_dir_of(resume, LAST))
    choices, overrides = _root_.hydra.runtime.choices, _root_.hydra.overrides.task
    return f"{new}-{run_name(str(choices.model), str(choices.data), overrides)}"


def run_name(model: str, data: str, overrides: Iterable[str]) -> str:
    """Name a run after its network, data and overrides: alexnet-shapes-tanh-lr-0.1.

    The name has only letters, digits, `.` and `-`, and no setting of a logger (maybe a secret).
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


MAX_NAME = 48  # characters after the date in the name of a run folder


OmegaConf.register_new_resolver("run_dir", _run_dir, replace=True)


def _study_at(part: str, *, _root_: DictConfig) -> Any:
    """Return a part of the chosen study at the chosen scale; None without a study."""
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
    """Train in Hydra's run folder and return the objective.

    A trial raises its errors to the launcher. A single run prints them itself, because Hydra would
    print the overrides above them.
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
                if is_rank_0 and cfg.get("study") is not None:
                    raise ValueError(_not_a_sweep(str(own.runtime.choices["study"])))
            if cfg.resume:
                cfg = run_config.read_to_resume(folder, own.overrides.task)
            else:
                run_config.checked(cfg)
                run_config.refuse_other_run(cfg, folder)
            return in_folder(cfg, folder, trial=is_trial, write=is_rank_0, signals=signals)
        finally:
            if folder.is_dir() and not any(folder.iterdir()):  # Hydra created it
                folder.rmdir()


def compose_run(overrides: Iterable[str]) -> tuple[DictConfig, Path]:
    """Compose the config and the folder of a single run, as the command line does.

    Raises:
        ValueError: The settings ask for a sweep or are not valid, or the folder has another run.
    """
    words = list(overrides)
    cfg = run_config.compose_config(words, check=False, with_hydra=True)
    if cfg.get("study") is not None:
        study = cfg.hydra.runtime.choices.study
        raise ValueError(f"study={study}: a sweep of runs; use alexlab train study={study}")
    if "MULTIRUN" in str(cfg.hydra.mode):
        raise ValueError(f"hydra.mode={cfg.hydra.mode.name}: a sweep of runs; use alexlab train -m")
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
    """Raise ValueError if a single run has a setting of sweeps."""
    for override in overrides:
        if override.lstrip("+~").startswith("sweep."):
            raise ValueError(f"{override}: has no effect on a single run; add -m for a sweep")


def _not_a_sweep(study: str) -> str:
    """Say what a study file lacks that was read as the config of a single run."""
    return (
        f"study={study}: its file makes no sweep; it must begin with `# @package _global_` and have"
        f" `hydra: {{mode: MULTIRUN}}`, as the file that `alexlab new study {study}` writes"
    )


def _check_words(words: Sequence[str]) -> None:
    """Check the words of the command line before Hydra reads them.

    Raises:
        ValueError: Nothing reads a setting, or -m stands between settings.
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
    """Train in `folder`: lock it, write the run's files, and return the objective.

    Ranks of DDP with `write=False` only compute. `signals` may be entered already.
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
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises errors, and `user_errors` prints them
    extensions.register()
    with user_errors(explain_setting):
        refuse_old_settings(sys.argv[1:])
        for folder in extra_folders(sys.argv):
            run_config.add_config_dir(str(folder))
        _check_words(sys.argv[1:])
        typed = [*program(), *verbs()]  # before `task` puts the verb back into sys.argv
        typed += [f"--config-dir={folder}" for folder in extra_folders(sys.argv)]
        try:
            task()
        except Stopped:
            run = Path(os.path.relpath(os.environ[RANK_0_FOLDER]))
            if (run / CONFIG).exists():  # it had started
                print(f"stopped; to go on: {shlex.join([*typed, f'resume={run}'])}")
            raise
