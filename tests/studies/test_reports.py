"""Reports as files: what they say, that they are the same each time, and the lists made of them."""

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from PIL import Image

from alexlab.studies import publish
from alexlab.studies.results import load
from alexlab.studies.write_report import after_sweep, write_report, write_reports

ROOT = Path(__file__).parents[2]
ABOUT = {
    "question": "Which activation is best?",
    "source": "article 002, section 1",
    "quick": {"trainer.max_epochs": 4},
    "claims": [
        {
            "quote": "ReLU比tanh相对较好",
            "statement": "ReLU tests higher than tanh",
            "kind": "greater",
            "metric": "test/acc",
            "treatment": {"act": "relu"},
            "control": {"act": "tanh"},
            "margin": 0.02,
        }
    ],
}
AXES = {"act": ["relu", "tanh"], "seed": range(3)}


def results(values):
    """relu: 70, 72, 74%; tanh: 50, 53, 53%. Differences 20, 19, 21 points."""
    relu, tanh = [0.70, 0.72, 0.74], [0.50, 0.53, 0.53]
    return {"test/acc": (relu if values["act"] == "relu" else tanh)[int(values["seed"])]}


def files(folder):
    names = ["report.md", "report.html", "summary.csv", "verdicts.json"]
    found = {name: (folder / name).read_bytes() for name in names}
    return found | {path.name: path.read_bytes() for path in (folder / "plots").iterdir()}


def test_a_study_at_quick_scale(make_sweep):
    folder = make_sweep(AXES, results, ABOUT, scale="quick", name="act-quick")
    write_report(folder)
    text = (folder / "report.md").read_text()
    assert text.startswith("# Which activation is best? (at quick scale)\n")
    assert "6 runs. Data: shapes (100 train, 20 val, 40 test images)." in text
    assert "Quick scale sets `trainer.max_epochs=4`" in text
    # t interval of 20, 19, 21: 20 -+ 4.3027 / sqrt(3)
    assert "**confirmed at quick scale** | +20.0 points (+17.5 to +22.5)" in text
    # of 70, 72, 74: standard deviation 2, 72 -+ 4.3027 * 2 / sqrt(3)
    assert "| relu | 3 | 72.0 ± 2.0 (67.0 to 77.0) |" in text
    assert "> ReLU比tanh相对较好" in text
    assert "`data.split_seed` moves with it" in text
    assert "All 6 runs finished." in text
    row = next(csv.DictReader((folder / "summary.csv").open()))
    assert (row["act"], row["finished"], row["test/acc mean"]) == ("relu", "3", "0.72")
    assert float(row["test/acc sd"]) == pytest.approx(0.02)
    for path in (folder / "plots").iterdir():
        assert path.stat().st_size < 80_000
        assert 800 < Image.open(path).width < 1000


@pytest.mark.slow
def test_the_same_bytes_each_time(make_sweep):
    folder = make_sweep(AXES, results, ABOUT)
    write_report(folder)
    before = files(folder)
    command = [
        sys.executable,
        "-m",
        "alexlab",
        "report",
        str(folder),
    ]  # another process, its own hashes
    subprocess.run(command, check=True, cwd=ROOT, capture_output=True)
    assert files(folder) == before


def test_html_needs_no_other_file_and_takes_no_html(make_sweep):
    about = {**ABOUT, "question": "<script>alert(1)</script>?"}
    folder = make_sweep(AXES, results, about)
    write_report(folder)
    text = (folder / "report.html").read_text()
    assert "<script" not in text
    assert not [link for link in re.findall(r'(?:src|href)="([^"]+)"', text) if link[:5] != "data:"]
    assert text.count("data:image/png") == len(list((folder / "plots").iterdir()))


def test_half_finished(make_sweep):
    def half(values):
        if values["act"] == "tanh":
            return None if values["seed"] == "2" else "RuntimeError: in /home/me/data/x.png"
        return results(values)

    folder = make_sweep(AXES, half, ABOUT)
    write_report(folder)
    text = (folder / "report.md").read_text()
    assert "3 of 6 runs." in text
    assert "tanh has 0 of 3 runs" in text
    assert "2 failed, 1 pending, of 6" in text
    assert "RuntimeError: in .../x.png" in text  # no folder of this machine


def test_nothing_has_finished_yet(make_sweep):
    folder = make_sweep(AXES, lambda values: None, ABOUT)
    write_report(folder)
    assert "0 of 6 runs" in (folder / "report.md").read_text()


def test_a_free_sweep_of_regression(make_sweep):
    def mae(values):
        history = {"train/mae": [2.0, 1.0], "val/mae": [2.1, 1.5], "train/loss": [2.0, 1.0]}
        return {"test/mae": 1.25, "val/mae": 1.5, "train/mae": 1.0, "history": history}

    config = {"objective": "val/mae", "direction": "minimize"}
    folder = make_sweep({"optim.lr": ["0.1", "0.01"]}, mae, config=config)
    write_report(folder)
    text = (folder / "report.md").read_text()
    assert text.startswith("# Sweep sweep\n")
    assert "| lr 0.1 | 1 | 1.25 | 1.50 | 1.00 |" in text
    assert "## Claims" not in text


def test_intervals_say_what_they_cover(make_sweep):
    folder = make_sweep(AXES, results, {**ABOUT, "level": 0.1})
    write_report(folder)
    text = (folder / "report.md").read_text()
    assert "effect (90% interval)" in text
    assert "at level 0.1." in text
    assert "95%" not in text


def test_a_search_lists_its_best_trials(make_sweep):
    def one(values):
        rate = float(values["optim.lr"])
        return {"val/acc": 1 - rate} if rate < 0.5 else {"state": "pruned"}

    axes = {"optim.lr": ["0.3", "0.1", "0.2", "0.7"]}
    folder = make_sweep(axes, one, {"question": "Which rate?"}, search=True)
    write_report(folder)
    text = (folder / "report.md").read_text()
    assert re.findall(r"^\| (\d) \|", text, flags=re.MULTILINE) == ["1", "2", "0"]
    assert "1 pruned, of 4" in text
    assert (folder / "plots" / "search.png").is_file()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"data_fingerprint": "beef"}, "fingerprint of shapes is f00d in trial 0, beef in trial 5"),
        ({"versions": {"torch": "3.0.0"}}, "torch's major version is 2 in trial 0, 3 in trial 5"),
    ],
)
def test_runs_that_do_not_compare_are_refused(make_sweep, change, said):
    def one(values):
        other = change if values == {"act": "tanh", "seed": "2"} else {}
        return {**results(values), **other}

    folder = make_sweep(AXES, one, ABOUT)
    with pytest.raises(ValueError, match=said):
        write_report(folder)


def test_after_a_sweep_nothing_is_raised(tmp_path, capsys):
    after_sweep(tmp_path)
    assert "no report" in capsys.readouterr().out


def test_index_of_all_sweeps(make_sweep):
    folder = make_sweep(AXES, results, ABOUT, name="act")
    make_sweep({"optim.lr": ["0.1"]}, lambda values: {}, name="free")
    make_sweep(AXES, results, {"claims": [{"statement": "no kind"}]}, name="wrong")
    assert write_reports([folder.parent]) == 1  # one that is wrong takes no other with it
    text = (folder.parent / "index.md").read_text()
    assert "[Which activation is best?](act/report.md)" in text
    assert "**confirmed**: ReLU tests higher than tanh." in text
    assert 'href="act/report.html"' in (folder.parent / "index.html").read_text()


def test_publish(make_sweep, tmp_path):
    folder = make_sweep(AXES, results, ABOUT, scale="quick", name="act-quick")
    write_report(folder)
    conf, target, readme = tmp_path / "conf", tmp_path / "docs" / "studies", tmp_path / "README.md"
    conf.mkdir()
    for name, question in (("act", "Which?"), ("later", "And then?")):
        (conf / f"{name}.yaml").write_text(yaml.safe_dump({"study": {"question": question}}))
    readme.write_text("before\n<!-- results -->\nold\n<!-- /results -->\nafter\n")
    for _ in range(2):  # again changes nothing
        publish.publish([load(folder)], target, readme, conf)
    text = readme.read_text()
    assert text.startswith("before\n<!-- results -->\n| question |")
    assert text.endswith("<!-- /results -->\nafter\n")
    assert "[Which activation is best?](docs/studies/act/report.md)" in text
    assert "| And then? | not run yet |" in text
    assert "Which? |" not in text
    assert "old" not in text
    assert "(act/report.md)" in (target / "README.md").read_text()
    published = target / "act"
    for link in re.findall(r"\]\(([^)]+)\)", (published / "report.md").read_text()):
        assert (published / link).is_file()
    assert json.loads((published / "verdicts.json").read_text())["scale"] == "quick"
    assert str(tmp_path) not in "".join(p.read_text() for p in published.glob("*.*"))
    elsewhere = tmp_path.parent / f"{tmp_path.name}-elsewhere"
    publish.publish([load(folder)], elsewhere, readme, conf)
    assert f"(../{elsewhere.name}/act/report.md)" in readme.read_text()
    readme.write_text("no marks")
    with pytest.raises(ValueError, match="has no <!-- results -->"):
        publish.publish([load(folder)], target, readme, conf)


@pytest.mark.slow
def test_the_command_line_says_what_is_wrong(tmp_path):
    command = [sys.executable, "-X", "importtime", "-m", "alexlab", "report", str(tmp_path)]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == 1
    assert f"error: {tmp_path}: not a sweep folder; it has no sweep.yaml" in found.stderr
    assert "torch" not in re.findall(r"\|\s+(\w+)$", found.stderr, flags=re.MULTILINE)


def test_cells_of_the_study_that_did_not_run_are_named(make_sweep):
    about = {"question": "?", "axes": {"act": "relu,tanh,gelu", "seed": "0,1,2"}}
    folder = make_sweep({"act": ["relu", "tanh"], "seed": range(2)}, lambda v: {}, about)
    write_report(folder)
    text = (folder / "report.md").read_text()
    assert text.count("| not run |") == 1
    assert "| gelu | not run |" in text
