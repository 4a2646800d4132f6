"""Run the checks: `python -m benchmarks.gpu_check [--device cuda|cpu] [--wheels DIR]`."""

import argparse
import os
import shutil
import sys
import tarfile
import tempfile
import time
from pathlib import Path

from benchmarks.gpu_check import names, overlay
from benchmarks.gpu_check.context import Context, Report
from benchmarks.gpu_check.scheduler import run_checks

# set for the second start, in the right Python: the work folder, and the seconds spent so far
WORK, SPENT = "GPU_CHECK_WORK", "GPU_CHECK_SPENT"
KEPT = ("*.log", "metrics.json", "history.csv", "config.yaml")
MOST_BYTES = 15 << 20  # limit of the archive's size


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="gpu-check", description=__doc__)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--wheels", type=Path, help="folder of packages that are missing here")
    parser.add_argument("--budget", type=float, default=540, metavar="SECONDS")
    parser.add_argument("--out", type=Path, default=Path(".cache/gpu_check"), metavar="DIR")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="checks; NAME is a prefix")
    parser.add_argument("--list", action="store_true", help="list the checks, and stop")
    options = parser.parse_args()
    started = time.time()
    work = os.environ.get(WORK)
    if work is None:
        place = Path(tempfile.mkdtemp(prefix="gpu_check_"))
        python = overlay.make(place, options.wheels)
        spent = time.time() - started
        environment = {**os.environ, WORK: str(place), SPENT: f"{spent:.2f}"}
        if python != sys.executable:
            environment.pop("PYTHONPATH", None)
        environment.setdefault("OMP_NUM_THREADS", "4" if options.device == "cuda" else "1")
        if options.device == "cpu":
            environment["CUDA_VISIBLE_DEVICES"] = ""
        words = [python, "-u", "-m", "benchmarks.gpu_check", *sys.argv[1:]]
        os.execve(python, words, environment)
    sys.exit(check(options, Path(work), float(os.environ[SPENT])))


def check(options: argparse.Namespace, work: Path, spent: float) -> int:
    """Run the checks in this Python; return the exit code."""
    from benchmarks.gpu_check.checks import CHECKS, MODULES

    start = time.monotonic()
    checks = [c for c in CHECKS if options.device in c.devices]
    if options.only:
        wanted = tuple(options.only)
        chosen = [c for c in checks if c.name.startswith(wanted)]
        needed = {c.after for c in chosen}
        checks = [c for c in checks if c in chosen or c.name in needed]
    if options.list:
        print("\n".join(f"{c.name} (at most {c.limit_s:.0f} s)" for c in checks))
        return 0
    data = os.environ.get("DATA_DIR")
    context = Context(options.device, work, Path(data).absolute() if data else None)
    out = options.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    report = Report(out / "gpu_check.json", {"device": options.device, "command": sys.argv[1:]})
    try:
        run_checks(
            checks,
            context,
            report,
            budget_s=options.budget - spent,
            slots=context.pick(6, 2),
            patience=context.pick(1.0, 3.0),  # a CPU may be shared with others
            preload=[*names.PRELOAD, *MODULES],
        )
        archive(work, out / "gpu_check_logs.tar.gz")
    finally:
        shutil.rmtree(work, ignore_errors=True)
    seconds = spent + time.monotonic() - start
    report.about["seconds"] = round(seconds, 1)
    report.write()
    passed = sum(entry["ok"] is True for entry in report.results)
    skipped = sum(entry["ok"] is None for entry in report.results)
    for name in report.failed:
        print(f"failed: {name}")
    print(f"gpu-check: {seconds:.0f} s, results in {report.path}")
    print(f"{passed} passed, {len(report.failed)} failed, {skipped} skipped", flush=True)
    return int(bool(report.failed))


def archive(work: Path, path: Path) -> None:
    """Pack the logs and metrics of the runs, small files first."""
    files = {file for pattern in KEPT for file in work.rglob(pattern) if file.is_file()}
    size = 0
    with tarfile.open(path, "w:gz") as tar:
        for file in sorted(files, key=lambda file: file.stat().st_size):
            size += file.stat().st_size
            if size > 8 * MOST_BYTES:  # text is compressed to less than an eighth
                break
            tar.add(file, file.relative_to(work))


if __name__ == "__main__":
    main()
