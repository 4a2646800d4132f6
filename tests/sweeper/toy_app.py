"""Hydra app whose trials take no time and follow the run-folder protocol, for tests and timings.

It does not import torch. `fault` selects a failure. With TOY_KILL=<point> the process kills itself
once at that point, and records this in the file TOY_KILL_ONCE.
"""

import contextlib
import csv
import ctypes
import fcntl
import io
import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from hydra_plugins.hydra_study_sweeper.pruning import TrialReporter

STOP = []


def enough(folder: Path) -> Callable[[Mapping[str, str]], bool] | None:
    """End a sweep in stages when it has TOY_ENOUGH finished trials.

    If TOY_GOES_ON is set, only trials with this `act` go on, or with `begun` those whose `act` has
    two finished trials.
    """
    text = (folder / "trials.csv").read_text()
    if text.count(",finished,") >= int(os.environ.get("TOY_ENOUGH", "1000")):
        return None
    act = os.environ.get("TOY_GOES_ON")
    if act == "begun":
        ended = Counter(row["act"] for row in csv.DictReader(io.StringIO(text)) if row["objective"])
        return lambda values: ended[values["act"]] >= 2
    return lambda values: act in (None, values["act"])


def known_result(identity: str, sweep: dict) -> dict | None:
    """Return the result of an identity in the file TOY_KNOWN."""
    known = (
        json.loads(Path(os.environ["TOY_KNOWN"]).read_text()) if "TOY_KNOWN" in os.environ else {}
    )
    return known.get(identity)


def report(folder: Path) -> None:
    """Stand in for an app's report at the end of a sweep."""
    print(f"the report of {folder.name}")


def resolve(config: dict) -> dict:
    """Return the settings that depend on the machine."""
    return {"derived": "here"}


def write(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text)
    kill_at(f"before-rename-{path.name}")
    temporary.replace(path)


def kill_at(point: str) -> None:
    """Kill this process at `point`, once."""
    once = os.environ.get("TOY_KILL_ONCE", "")
    if os.environ.get("TOY_KILL") == point and once:
        with contextlib.suppress(FileExistsError):
            os.close(os.open(once, os.O_CREAT | os.O_EXCL))
            os.kill(os.getpid(), signal.SIGKILL)


def misbehave(fault: str | None, epoch: int) -> None:
    if fault == "raise" and epoch == 1:
        raise ValueError("the toy is to fail")
    if fault == "not_utf8" and epoch == 1:
        raise ValueError(f"cannot read {os.fsdecode(bytes([99, 0xE9]))}.png")
    if fault == "no_file" and epoch == 1:
        Path(os.environ["TOY_FILE"]).read_text()
    if fault == "segfault" and epoch == 1:
        ctypes.string_at(0)
    if fault == "exit0" and epoch == 1:
        os._exit(0)
    if fault == "hang" and epoch == 1:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            time.sleep(60)
    if fault == "kill" and epoch == 1:
        os.kill(os.getpid(), signal.SIGKILL)


def objective(cfg: DictConfig, epoch: int) -> float:
    if cfg.fault == "no_number" and cfg.fault_seed in (None, cfg.seed):
        return float("nan")
    return (cfg.lr - 0.01) ** 2 + 0.001 * cfg.seed + cfg.model.bias + 1 / (epoch + 1)


def train(cfg: DictConfig, folder: Path, metrics: dict) -> None:
    last = folder / "checkpoints/last.ckpt"
    saved = json.loads(last.read_text()) if last.exists() else {"epoch": -1}
    start, metrics["objective"] = saved["epoch"] + 1, saved.get("objective")
    metrics["started_at_epoch"], metrics["first_step"] = start, time.time()
    reporter = TrialReporter.from_hydra()
    for epoch in range(start, cfg.epochs):
        if cfg.fault_seed in (None, cfg.seed):
            misbehave(cfg.fault, epoch)
        time.sleep(cfg.epoch_s)
        value = objective(cfg, epoch)
        metrics.update(objective=[value, cfg.lr] if cfg.two else value, epochs=epoch + 1)
        with (folder / "steps.txt").open("a") as file:
            file.write(f"{epoch}\n")
        if cfg.padding:
            (folder / f"padding-{epoch}").write_bytes(bytes(cfg.padding))
        write(last, json.dumps({"epoch": epoch, "objective": value}))
        if STOP:
            raise KeyboardInterrupt
        if reporter is not None:
            reporter.report(value, epoch)
            if reporter.should_prune():
                metrics["status"] = "pruned"
                return
    metrics["status"] = "finished"


@hydra.main(version_base="1.3", config_path=str(Path(__file__).parent / "conf"), config_name="toy")
def main(cfg: DictConfig) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(ValueError):  # not in the main thread
            signal.signal(number, lambda number, frame: STOP.append(number))
    folder = Path(HydraConfig.get().runtime.output_dir)
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        OmegaConf.save(cfg, folder / "config.yaml", resolve=True)
        with (folder / "pids.txt").open("a") as file:
            file.write(f"{os.getpid()}\n")
        metrics = {"status": "failed", "error": None, "objective": None, "seed": cfg.seed}
        metrics |= {"data_fingerprint": cfg.data_fingerprint, "env": os.environ.get("LEAK", "")}
        metrics |= {"gpus": os.environ.get("CUDA_VISIBLE_DEVICES", "")}
        os.environ["LEAK"] = "set by the run before"
        begin = time.time()
        try:
            train(cfg, folder, metrics)
        except KeyboardInterrupt:
            metrics["status"] = "stopped"
        except Exception as error:
            metrics["error"] = f"{type(error).__name__}: {error}"
            raise
        finally:
            metrics["wall_s"], metrics["ended"] = time.time() - begin, time.time()
            write(folder / "metrics.json", json.dumps(metrics))
    if STOP:
        sys.exit(128 + STOP[0])


if __name__ == "__main__":
    main()
