"""What stands for a run: its folder, a file in it, or the best of a sweep."""

import json

import pytest

from alexlab.runs.locate import resolve_run_dir
from hydra_plugins.hydra_study_sweeper.sweep_folder import VERSION


@pytest.fixture
def sweep(tmp_path):
    """Three finished trials; the best, 0-a, is a result of another sweep, without weights."""
    (tmp_path / "sweep.yaml").write_text(f"version: {VERSION}\ndirections: [maximize]\n")
    rows = ["state,folder,objective", "finished,0-a,0.9", "finished,1-b,0.8", "finished,2-c,0.7"]
    (tmp_path / "trials.csv").write_text("\n".join(rows) + "\n")
    for name in ("0-a", "1-b", "2-c"):
        (tmp_path / name / "checkpoints").mkdir(parents=True)
        (tmp_path / name / "config.yaml").write_text("seed: 0\n")
        (tmp_path / name / "metrics.json").write_text('{"status": "finished"}')
    known = {"status": "finished", "reused_from": "docs/studies/acts/tuned/runs.csv"}
    (tmp_path / "0-a/metrics.json").write_text(json.dumps(known))
    return tmp_path


def test_the_best_run_with_weights_is_taken_and_better_ones_are_counted(sweep, caplog):
    (sweep / "1-b/checkpoints/best.ckpt").touch()
    with caplog.at_level("INFO"):
        assert resolve_run_dir(f"best:{sweep}") == sweep / "1-b"
    assert "1-b, 0.8; 1 better without weights" in caplog.text


def test_a_sweep_without_any_weights_names_what_trains_its_best_run_again(sweep):
    again = rf"alexlab sweeps rerun {sweep} --trials 0 trains it again"
    with pytest.raises(FileNotFoundError, match=rf"no finished run with .*best.ckpt.*{again}"):
        resolve_run_dir(f"best:{sweep}")


def test_a_reused_run_without_weights_names_where_its_result_is_from(sweep):
    again = rf"alexlab sweeps rerun {sweep} --trials 0 trains it again"
    with pytest.raises(FileNotFoundError, match=rf"copied from docs/.*runs.csv, without .*{again}"):
        resolve_run_dir(sweep / "0-a")
    with pytest.raises(FileNotFoundError, match="kept the weights of its best runs only"):
        resolve_run_dir(sweep / "1-b")


def test_a_file_in_a_run_stands_for_the_run(sweep, tmp_path):
    run = sweep / "1-b"
    (run / "checkpoints/best.ckpt").touch()
    for path in (run, run / "config.yaml", run / "checkpoints", run / "checkpoints/best.ckpt"):
        assert resolve_run_dir(path) == run
    (run / "checkpoints/last.ckpt").touch()
    with pytest.raises(ValueError, match=rf"this command uses best.ckpt; give {run}"):
        resolve_run_dir(run / "checkpoints/last.ckpt")
    (tmp_path / "alone").mkdir()
    (tmp_path / "alone/best.ckpt").touch()
    with pytest.raises(ValueError, match=r"best.ckpt: not a file of a run; give RUN_DIR"):
        resolve_run_dir(tmp_path / "alone/best.ckpt")
