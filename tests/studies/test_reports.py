"""Reports as files: what they say, that they are the same each time, and the lists made of them."""

import csv
import json
import os
import re
import subprocess
import sys
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace as Namespace
from urllib.request import urlopen

import pytest
import yaml
from PIL import Image

from alexlab.commands.board import serve_index
from alexlab.reporting import plotting
from alexlab.studies import plots, publish
from alexlab.studies.index import index_page
from alexlab.studies.report import data
from alexlab.studies.results import load
from alexlab.studies.write_report import (
    after_sweep,
    check_answers,
    which_go_on,
    write_report,
    write_reports,
)
from hydra_plugins.hydra_study_sweeper.sweep_folder import hold

ROOT = Path(__file__).parents[2]
ABOUT = {
    "question": "Which activation is best?",
    "source": "the Pokémon article, section 1",
    "looks": {"tuned": [3], "published": [3]},
    "claims": [
        {
            "quote": "ReLU比tanh相对较好",
            "translation": "ReLU is relatively better than tanh",
            "article": "the Pokémon article",
            "source_says": "asserts",
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
    names = ["report.md", "report.html", "summary.csv", "runs.csv", "answers.json"]
    found = {name: (folder / name).read_bytes() for name in names}
    return found | {path.name: path.read_bytes() for path in (folder / "plots").iterdir()}


def test_a_study(make_sweep):
    folder = make_sweep(AXES, results, ABOUT, scale="tuned", name="act")
    write_report(folder)
    text = (folder / "report.md").read_text()
    # t interval of 20, 19, 21: 20 -+ 4.3027 / sqrt(3)
    effect = "+20.0 points (+17.5 to +22.5), 3 seeds"
    found = f"With relu, test accuracy is higher than with tanh ({effect})."
    assert text.startswith(f"# Which activation is best?\n\n{found}\n")
    assert f"**more**: the claim is **supported**. {found}" in text
    assert "6 runs. Data: shapes (100 train, 20 val, 40 test images)." in text
    assert "Setting: tuned." in text
    # of 70, 72, 74: standard deviation 2, 72 -+ 4.3027 * 2 / sqrt(3)
    assert "| relu | 3 | 72.0 ± 2.0 (67.0 to 77.0) |" in text
    assert "> ReLU比tanh相对较好\n>\n> (ReLU is relatively better than tanh)" in text
    assert "The article asserts this. Source: the Pokémon article." in text
    # t(1 - 0.05 / 2, 2) = 4.302653; with 40 test and 100 train images sqrt(1/3 + 0.4)
    assert "The interval that covers new images too is +16.3 points to +23.7 points" in text
    assert "`data.split_seed` follows it" in text
    assert "All 6 runs finished." in text
    row = next(csv.DictReader((folder / "summary.csv").open()))
    assert (row["act"], row["finished"], row["test/acc mean"]) == ("relu", "3", "0.72")
    assert float(row["test/acc sd"]) == pytest.approx(0.02)
    for path in (folder / "plots").iterdir():
        assert path.stat().st_size < 80_000
        assert 800 < Image.open(path).width < 1000


def test_images_are_counted_where_they_are_known():
    """A run that was reused from a committed table of runs has no number for val."""
    known = [{"train": 811, "test": 237}, {"train": 817, "val": 116, "test": 234}]
    known += [{"train": 815, "val": 120, "test": 235}]
    runs = [Namespace(config={"data.name": "pokemon"}, record={"images": one}) for one in known]
    text = data(Namespace(done=runs))
    assert text == "Data: pokemon (811-817 train, 116-120 val, 234-237 test images)."


def test_layers_of_one_condition_are_drawn(make_sweep):
    def results(values):
        history = {"diag/conv1/dead": [0.1, 0.2], "diag/fc/dead": [0.0, 0.0]}
        return {"test/acc": 0.5, "val/acc": 0.5, "train/acc": 0.5, "history": history}

    folder = make_sweep({"act": ["relu"], "seed": range(3)}, results)
    write_report(folder)
    assert 800 < Image.open(folder / "plots" / "diag-dead.png").width < 1000


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
    assert "<script>alert" not in text
    kinds = re.findall(r"<script([^>]*)>", text)
    assert [kind for kind in kinds if "application/json" not in kind] == [""]  # page.js
    links = re.findall(r'(?:src|href)="([^"]+)"', text)
    elsewhere = [one for one in links if not one.startswith(("data:", "#"))]
    assert [one for one in elsewhere if not (folder / one).exists()] == []
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
    assert "2 of the 3 seeds of the first look have ended" in text
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
    assert "## Answers" not in text


def closed(folder):
    """The sections of the page that show only when asked."""
    return re.findall(r"<summary>([^<]+)", (folder / "report.html").read_text())


def test_results_are_open_where_there_is_no_answer_above_them(make_sweep):
    free = make_sweep(AXES, results, name="free")
    study = make_sweep(AXES, results, ABOUT, scale="tuned", name="act")
    for folder in (free, study):
        write_report(folder)
    assert {"Conditions", "Learning curves"} <= set(closed(study))
    assert not {"Conditions", "Learning curves"} & set(closed(free))
    assert "How it was run" in closed(free)


def test_two_seeds_have_points_and_no_interval(make_sweep):
    folder = make_sweep({"act": ["relu", "tanh"], "seed": range(2)}, results, ABOUT)
    write_report(folder)
    text = (folder / "report.md").read_text()
    assert "| relu | 2 | 71.0 ± 1.4 |" in text
    assert "**not tested**: 2 of the 3 seeds of the first look have ended." in text
    assert "1 of 1 claims not tested: 2 of the 3 seeds of the first look have ended." in text
    assert "So far: +19.5 points, 2 seeds." in text
    assert (folder / "plots" / "answers.png").is_file()


@pytest.mark.parametrize(
    ("ends", "said"),
    [  # of tanh; relu tests at 70, 72, 74%, guessing at 20%, the third run of tanh at 53%
        ([0.2, 0.2, 0.6], "So far, with failures as guessing: +41.0 points, 3 seeds."),
        ([0.2, 0.2, 0.2], None),  # every number of tanh would be that of guessing
    ],
)
def test_a_difference_from_failures_says_so(make_sweep, ends, said):
    def run(values):
        end = ends[int(values["seed"])] if values["act"] == "tanh" else 0.8
        return {**results(values), "history": {"val/acc": [0.2, end, end, end]}}

    gate = {"metric": "last(val/acc)", "chance": 0.2, "margin": 0.1}
    write_report(folder := make_sweep(AXES, run, {**ABOUT, "trained": gate}))
    text = (folder / "report.md").read_text()
    assert "**not tested**: tanh ended no better than guessing" in text
    assert (said in text) if said else ("So far" not in text)


def test_no_interval_leaves_the_range_of_its_metric(make_sweep):
    """Of 90, 99 and 100% the t interval of the mean ends at 110.1%."""

    def high(values):
        return {"test/acc": [0.90, 0.99, 1.0][int(values["seed"])]}

    folder = make_sweep({"act": ["relu"], "seed": range(3)}, high)
    write_report(folder)
    assert "96.3 ± 5.5 (82.7 to 100.0)" in (folder / "report.md").read_text()


@pytest.mark.parametrize(
    ("relu", "tanh", "low", "high"),
    [
        ([1.0, 0.98, 0.9], [0.0, 0.02, 0.5], -100, 100),  # differences 100, 96, 40: up to 161
        ([1.0, 0.9, 1.0], [0.0, 0.1, 0.0], 0, 100),  # means of 97 and 3: up to 111, down to -11
    ],
)
def test_no_axis_leaves_the_range_of_its_metric(make_sweep, monkeypatch, relu, tanh, low, high):
    drawn = {}

    @contextmanager
    def kept(path, height):
        with plotting.figure(path, height) as page:
            yield page
            drawn[path.name] = [
                *page.axes[0].get_xticks(),
                *(value for line in page.axes[0].lines for value in line.get_xdata()),
            ]

    monkeypatch.setattr(plots, "figure", kept)

    def far(values):
        return {"test/acc": (relu if values["act"] == "relu" else tanh)[int(values["seed"])]}

    folder = make_sweep(AXES, far, ABOUT)
    write_report(folder)
    name = "answers.png" if low < 0 else "conditions-test-acc.png"
    assert min(drawn[name]) >= low
    assert max(drawn[name]) == pytest.approx(high)
    text = (folder / "report.md").read_text()
    points = [float(p) for p in re.findall(r"([+-][\d.]+)(?: points| to|\))", text)]
    assert max(map(abs, points)) == 100


def test_an_accuracy_is_no_further_from_a_target_than_0_and_1(make_sweep):
    """Of 0, 50 and 100% the interval of the mean minus 41% is -115 to +133 points."""
    about = {"looks": {"tuned": [3]}, "claims": [{**ABOUT["claims"][0], "kind": "within"}]}
    about["claims"][0] |= {"target": 0.41, "control": None}
    folder = make_sweep(
        {"act": ["relu"], "seed": range(3)}, lambda v: {"test/acc": 0.5 * int(v["seed"])}, about
    )
    write_report(folder)
    assert "+9.0 points (-41.0 to +59.0)" in (folder / "report.md").read_text()


def test_settings_changed_by_hand_are_told_from_what_ran(make_sweep):
    command = "python -m src.train study=act trainer.max_epochs=4 sweep.n_jobs=2 seed=0,1,2"
    folder = make_sweep(AXES, results, ABOUT, command=command)
    write_report(folder)
    text = (folder / "report.md").read_text()
    assert "**Changed by hand**: trainer.max_epochs=4, seed=0,1,2." in text


def test_settings_changed_by_hand_have_what_the_study_asks_for(make_sweep):
    asked = {
        "tuned": {"trainer.max_epochs": 60, "optim.lr": 1e-2},
        "axes": {"act": "relu, tanh", "seed": "range(40)"},
    }
    command = "python -m src.train study=act trainer.max_epochs=4 seed=0,1,2 optim.lr=0.01"
    folder = make_sweep(AXES, results, {**ABOUT, **asked}, scale="tuned", command=command)
    write_report(folder)
    text = (folder / "report.md").read_text()
    said = "trainer.max_epochs=4 in place of 60, seed=0,1,2 in place of range(40)"
    assert f"**Changed by hand**: {said}." in text


def test_a_study_without_claims_says_so(make_sweep):
    folder = make_sweep(AXES, results, {"question": "Which activation is best?"})
    write_report(folder)
    assert "The study file has no claims, so there are no" in (folder / "report.md").read_text()
    assert json.loads((folder / "answers.json").read_text())["claims"] == []


def test_tuning_runs_are_never_analysed(make_sweep):
    folder = make_sweep(AXES, results, ABOUT, scale="tune", name="act-tune")
    write_report(folder)
    assert json.loads((folder / "answers.json").read_text())["claims"] == []
    assert "no claim is answered from them" in (folder / "report.md").read_text()


def published(make_sweep):
    folder = make_sweep(AXES, results, ABOUT)
    write_report(folder)
    return folder


def test_published_answers_follow_from_runs_csv(make_sweep, capsys):
    folder = published(make_sweep)
    assert check_answers([folder.parent]) == 0
    assert "the answers follow from runs.csv" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("runs.csv", ",0.74,", ",0.75,", "claim 1, effect: written 0.2, recomputed 0.203333333"),
        ("runs.csv", ",0.74,", ",high,", "line 4, column 'test/acc' has 'high', which is not a"),
        ("runs.csv", "trained", "learnt", "column 'trained' is missing"),
        (
            "answers.json",
            '"answer": "more"',
            '"answer": "less"',
            "'less', recomputed 'more'",
        ),
        ("answers.json", '"asked"', '"asks"', "answers.json: cannot be read"),
    ],
)
def test_answers_or_runs_that_were_edited_by_hand_are_told(
    make_sweep, capsys, file, old, new, message
):
    folder = published(make_sweep)
    text = (folder / file).read_text()
    assert old in text
    (folder / file).write_text(text.replace(old, new, 1))
    assert check_answers([folder.parent]) == 1
    assert re.search(message, capsys.readouterr().out)


def test_a_folder_without_answers_has_nothing_to_check(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no answers.json below it"):
        check_answers([tmp_path])


def test_a_sweep_needs_no_more_seeds_when_its_claims_are_decided(make_sweep):
    assert which_go_on(make_sweep(AXES, results, ABOUT, name="done")) is None
    looks = {**ABOUT, "looks": {"tuned": [3, 5]}}
    assert which_go_on(make_sweep(AXES, results, looks, name="early")) is None

    def alike(values):
        return {"test/acc": 0.5 + 0.01 * int(values["seed"]) * (-1) ** (values["act"] == "relu")}

    assert which_go_on(make_sweep(AXES, alike, looks, name="open")) is not None
    # a claim about a condition that is not in the sweep
    of_another = {**deepcopy(ABOUT["claims"][0]), "treatment": {"act": "gelu"}}
    both = {**looks, "claims": [*ABOUT["claims"], of_another]}
    assert which_go_on(make_sweep(AXES, results, both, name="part")) is None


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


def test_the_report_of_a_search_speaks_of_no_conditions_and_gives_its_intervals(make_sweep):
    def one(values):
        if values["optim.lr"] == "0.999":
            return "FloatingPointError: the training loss is nan"
        return {} if float(values["optim.lr"]) < 0.5 else {"state": "pruned"}

    axes = {"optim.lr": ["0.3", "0.1", "0.7", "0.999"], "batch": [8, 16]}
    about = {"question": "Which rate?"}
    folder = make_sweep(axes, one, about, scale="tuned", search=True)
    content = yaml.safe_load((folder / "sweep.yaml").read_text())
    content["axes"]["optim.lr"] = "interval(0.1, 1.0) ['log']"  # as the sweeper writes it
    (folder / "sweep.yaml").write_text(yaml.safe_dump(content))
    write_report(folder)
    text = (folder / "report.md").read_text()
    assert "\n\n4 of 8 runs finished. Data" in text
    assert "\n\nSetting: tuned.\n\n" in text
    assert "2 failed, 2 pruned, of 8. 2 diverged.\n" in text
    assert "| optim.lr | interval(0.1, 1.0) log |" in text
    assert "| batch | 8, 16 |" in text


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
    rows = index_rows(folder.parent)
    assert '<a href="act/report.html">Which activation is best?</a> act<' in rows["act"]
    assert ">Sweep free</a><" in rows["free"]
    assert 'more">more</span>: ReLU tests higher than tanh.' in rows["act"]
    assert "data:image/png" in rows["act"]  # a thumbnail
    assert '<a href="wrong/">wrong</a>' in rows["wrong"]  # no report: its folder


def index_rows(root):
    """Return {name of the sweep: its row} of the index."""
    page = index_page(root)
    rows = re.findall(r"<tr>.*?</tr>", page, re.DOTALL)[1:]
    return {re.search(r'href="([^/]+)/', row)[1]: row for row in rows}


def cells(row):
    return [re.sub(r"<[^>]+>", "", cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", row)]


def test_the_index_has_sweeps_that_run_stopped_or_cannot_be_read(make_sweep):
    def half(values):
        return (
            None if values["seed"] == "2" else "RuntimeError: no" if values["seed"] == "1" else {}
        )

    stopped = make_sweep(AXES, half, name="half")
    running = make_sweep(AXES, lambda values: None, name="running")
    broken = make_sweep(AXES, lambda values: {}, name="<b>x")
    (broken / "trials.csv").write_text("number,folder\n1,../../etc\n")
    for age, folder in enumerate((running, broken, stopped)):
        os.utime(folder / "trials.csv", (1e9 - age, 1e9 - age))
    with hold(running):
        rows = index_rows(running.parent)
    assert list(rows) == ["running", "%3Cb%3Ex", "half"]  # the newest first
    assert cells(rows["running"])[2:5] == ["running", "", "0 of 6"]
    assert cells(rows["%3Cb%3Ex"])[1:3] == ["&lt;b&gt;x", "cannot be read"]
    assert cells(rows["half"])[2:5] == ["stopped, 2 failed", "", "4 of 6"]
    assert cells(index_rows(running.parent)["running"])[2] == "stopped"


def test_the_board_serves_the_index_as_it_is_now(make_sweep):
    folder = make_sweep(AXES, results, ABOUT, name="act")
    server = serve_index(folder.parent, 0)
    try:
        address = f"http://127.0.0.1:{server.server_port}"
        assert "act/report.html" not in urlopen(address).read().decode()
        write_report(folder)
        assert 'href="act/report.html"' in urlopen(address).read().decode()
        page = urlopen(f"{address}/act/report.html").read()
        assert page == (folder / "report.html").read_bytes()
    finally:
        server.shutdown()
        server.server_close()


def test_a_claim_without_runs_at_one_setting_is_listed_at_the_other(make_sweep, tmp_path):
    conf, target, readme = tmp_path / "conf", tmp_path / "docs" / "studies", tmp_path / "README.md"
    conf.mkdir()
    (conf / "act.yaml").write_text(yaml.safe_dump({"study": {**ABOUT, "question": "Which?"}}))
    readme.write_text("<!-- results -->\n<!-- /results -->\n")
    claim = ABOUT["claims"][0]["statement"]
    for name, axes, expected in (
        ("act-published", {**AXES, "act": ["tanh"]}, (f"| {claim} (", "not run yet")),
        ("act", AXES, (f"[{claim}](act/tuned/report.md)", "**supported**")),
    ):
        setting = "published" if name == "act-published" else "tuned"
        sweep = make_sweep(axes, results, ABOUT, scale=setting, name=name)
        write_report(sweep)
        publish.publish([load(sweep)], target, readme, conf)
        text = (target / "README.md").read_text()
        (row,) = [row for row in text.splitlines() if claim in row and "asserted by" in row]
        assert all(part in row for part in expected), row
        (study,) = [row for row in text.splitlines() if "](act/published/report.md) |" in row]
        assert (f"**not tested**: {claim}" in study) == (name == "act-published")


def test_publish(make_sweep, tmp_path):
    folder = make_sweep(AXES, results, ABOUT, scale="published", name="act-published")
    write_report(folder)
    conf, target, readme = tmp_path / "conf", tmp_path / "docs" / "studies", tmp_path / "README.md"
    conf.mkdir()
    later = [
        {"name": name, "statement": f"{name.title()} is better", "kind": "greater", "margin": 0.1}
        | {"source_says": says, "article": "an article", "settings": ["published"]}
        | {"metric": "test/acc", "treatment": {"act": "relu"}, "control": {"act": "tanh"}}
        for name, says in (("later", "asserts"), ("ours", "ours"))
    ]
    for name, question, claims in (("act", "Which?", []), ("later", "And then?", later)):
        study = {"question": question, "claims": claims}
        if claims:
            study["not_run"] = "it needs a GPU"
        (conf / f"{name}.yaml").write_text(yaml.safe_dump({"study": study}))
    readme.write_text("before\n<!-- results -->\nold\n<!-- /results -->\nafter\n")
    for _ in range(2):  # again changes nothing
        publish.publish([load(folder)], target, readme, conf)
    text = readme.read_text()
    assert text.startswith("before\n<!-- results -->\n| claim |")
    assert text.endswith("[all claims](docs/studies/README.md)\n<!-- /results -->\nafter\n")
    said = "[ReLU tests higher than tanh](docs/studies/act/published/report.md)"
    found = "test accuracy, relu against tanh: +20.0 points (+17.5 to +22.5), 3 seeds"
    assert (
        f"| {said} (asserted by the Pokémon article) | {found} | **supported** | published |"
        in text
    )
    assert "old" not in text
    listed = (target / "README.md").read_text()
    assert "[Which activation is best?](act/published/report.md)" in listed
    reason = "not run: it needs a GPU"
    assert f"| And then? | {reason} |" in listed
    assert (
        f"| Later is better (asserted by an article) | {reason} | **not tested** | published |"
        in listed
    )
    assert "Ours is better" not in listed  # the table has the articles' claims
    assert "Which? |" not in listed
    place = target / "act" / "published"
    for link in re.findall(r"\]\(([^)]+)\)", (place / "report.md").read_text()):
        assert (place / link).is_file()
    assert json.loads((place / "answers.json").read_text())["setting"] == "published"
    assert str(tmp_path) not in "".join(p.read_text() for p in place.glob("*.*"))
    tuned = make_sweep(AXES, results, ABOUT, scale="tuned", name="act")
    write_report(tuned)
    publish.publish([load(tuned)], target, readme, conf)
    reports, listed = (target / "README.md").read_text().split("## Claims of the articles")
    assert reports.count("**supported**: ReLU tests higher than tanh.") == 2  # both settings
    assert listed.count("**supported**") == 2
    assert readme.read_text().count("**supported**") == 1  # a claim has one row
    assert check_answers([target]) == 0
    elsewhere = tmp_path.parent / f"{tmp_path.name}-elsewhere"
    publish.publish([load(folder)], elsewhere, readme, conf)
    assert f"(../{elsewhere.name}/act/published/report.md)" in readme.read_text()
    readme.write_text("no marks")
    with pytest.raises(ValueError, match="has no <!-- results -->"):
        publish.publish([load(folder)], target, readme, conf)


def written(folder, setting, claims, **more):
    """A published answers.json made by hand."""
    place = folder / setting
    place.mkdir(parents=True)
    about = {"study": folder.name, "question": "?", "setting": setting, "finished": 10}
    facts = {**about, "planned": 10, "seeds": 5, "claims": claims, **more}
    (place / "answers.json").write_text(json.dumps(facts))


def one(number, answer, setting, **more):
    made = {
        "name": f"claim-{number}",
        "claim": f"claim {number}",
        "translation": f"the article says {number}",
    }
    made |= {"source_says": "asserts", "article": "the article", "metric": "test/acc_last_3"}
    made |= {"answer": answer, "judgement": "", "reason": "it did not train", "n": 5}
    made |= {"effect": 0.052, "low": 0.021, "high": 0.083, "compared": ["relu", "tanh"]}
    made |= {"setting": setting, "target": None, "not_trained_treatment": 0}
    return {**made, "not_trained_control": 0, **more}


def test_claims_of_another_setting_are_in_no_table_of_this_one(tmp_path):
    reason = "it is tested at published only"
    claims = [one(1, "more", "tuned"), one(2, "not tested", "tuned", reason=reason)]
    written(tmp_path / "act", "tuned", claims)
    found = publish.read(tmp_path)
    for table in (publish.study_table(found, tmp_path), publish.claim_table(found, tmp_path)):
        assert "claim 1" in table
        assert "claim 2" not in table


def test_the_table_of_the_readme(tmp_path):
    target, readme = tmp_path / "docs" / "studies", tmp_path / "README.md"
    readme.write_text("before\n<!-- results -->\nnone yet\n<!-- /results -->\n")
    (target / "act").mkdir(parents=True)
    publish.publish([], target, readme, tmp_path / "conf")
    assert "none yet" in readme.read_text()  # until there are answers
    tuned = [
        one(1, "cannot tell", "tuned"),
        one(2, "more", "tuned", judgement="supported"),
        one(3, "not tested", "tuned", effect=None, low=None, high=None),
        one(4, "less", "tuned", source_says="asks"),
        one(5, "more", "tuned", metric="epoch_std(val/loss, 20)", effect=1.5, low=1.2, high=1.9),
        one(
            6, "less", "tuned", effect=-0.3, low=-0.62, high=0.1, target=0.41, compared=["32px", ""]
        ),
    ]
    published = [
        one(1, "less", "published", judgement="contradicted", not_trained_control=1),
        one(2, "cannot tell", "published", not_trained_treatment=2, not_trained_control=4),
        one(7, "more", "published"),  # the article's own setting, when both answer
    ]
    written(target / "act", "tuned", tuned)
    written(target / "act", "published", published)
    later = [one(n, "cannot tell", "tuned") for n in range(50, 70)]
    later += [one(70, "less", "tuned", source_says="ours"), one(71, "more", "tuned")]
    written(target / "later", "tuned", later)
    ours = one(80, "no difference that matters", "tuned", source_says="ours")
    written(target / "ours", "tuned", [ours])
    publish.publish([], target, readme, tmp_path / "conf")
    rows = [line.split(" | ") for line in readme.read_text().splitlines() if line[:3] == "| ["]
    # one of each study, the claims of articles first
    assert [row[0] for row in rows] == [
        "| [claim 1](docs/studies/act/published/report.md) (asserted by the article)",
        "| [claim 71](docs/studies/later/tuned/report.md) (asserted by the article)",
        "| [claim 80](docs/studies/ours/tuned/report.md) (our question)",
    ]
    found = (
        "test accuracy (mean of the last 3 epochs), relu against tanh: +5.2 points (+2.1 to +8.3)"
    )
    assert rows[0][1:] == [
        f"{found}, 5 seeds; 1 run with tanh did not train",
        "**contradicted**",
        "published |",
    ]
    every = (target / "README.md").read_text()
    rows = [line.split(" | ") for line in every.splitlines() if line[:8] == "| [claim"]
    numbers = [int(re.match(r"\| \[claim (\d+)\]", row[0])[1]) for row in rows]
    # the article asks 4, and 70 and 80 are ours: no article makes these claims
    assert numbers == [1, 7, 2, 5, 6, 71, 2, 1, *range(50, 70), 3]
    assert rows[2][1:] == [f"{found}, 5 seeds", "**supported**", "tuned |"]
    assert "relu against tanh: 1.50 times (1.20 to 1.90), 5 seeds" in rows[3][1]
    assert "32px: -30.0 points (-41.0 to +10.0), 5 seeds" in rows[4][1]
    assert "5 seeds; 2 runs with relu and 4 runs with tanh did not train" in rows[6][1]
    assert "it did not train | **not tested** | tuned |" in every


def test_a_claim_about_two_numbers_of_the_same_runs_names_both(tmp_path):
    two = {"metric": "test/acc_duplicates", "control_metric": "test/acc_unique"}
    claims = [one(1, "more", "tuned", compared=["all runs", "all runs"], **two)]
    written(tmp_path / "split", "tuned", claims)
    assert (
        "test accuracy of images with a duplicate in train minus test accuracy of images without a"
        " duplicate in train, all runs: +5.2 points"
    ) in publish.claim_table(publish.read(tmp_path), tmp_path)


def test_a_page_of_findings_is_filled_in(tmp_path):
    target, readme = tmp_path / "docs" / "studies", tmp_path / "README.md"
    readme.write_text("<!-- results -->\n<!-- /results -->\n")
    claims = [
        one(1, "more", "tuned", name="first", judgement="supported"),
        one(2, "cannot tell", "tuned", name="second", planned_seeds=66, low=-0.021),
        one(3, "cannot tell", "tuned", name="third", planned_seeds=10**7, low=-0.021),
        one(4, "cannot tell", "tuned", name="fourth", planned_seeds=66),  # more than 0, if valid
        one(5, "cannot tell", "tuned", name="fifth", planned_seeds=66, low=-0.3, high=-0.1),
        one(6, "cannot tell", "tuned", planned_seeds=66, metric="epoch_std(val/acc, 20)", low=1.2),
    ]
    written(target / "act", "tuned", claims)
    page = target.parent / "findings.md"
    text = "# Found\n<!-- answer act/tuned/first -->\nold\n<!-- /answer -->\nOur words.\n"
    page.write_text(f"{text}<!-- undecided -->\nold\n<!-- /undecided -->\nEnd.\n")
    for _ in range(2):  # again changes nothing
        publish.publish([], target, readme, tmp_path / "conf")
    found = "relu against tanh: +5.2 points (+2.1 to +8.3), 5 seeds"
    link = "[claim {}](studies/act/tuned/report.md) (asserted by the article)"
    lines = page.read_text().splitlines()
    assert lines[:5] == [
        "# Found",
        "<!-- answer act/tuned/first -->",
        f"{link.format(1)}: **supported**. Test accuracy (mean of the last 3 epochs), {found}"
        " (setting: tuned).",
        "<!-- /answer -->",
        "Our words.",
    ]
    assert [line.split(" | ")[0] for line in lines[8:13]] == [
        f"| {link.format(number)}" for number in range(2, 7)
    ]
    needed = ["about 66", "more than 1000", "-", "-", "-"]
    assert [line.split(" | ")[2] for line in lines[8:13]] == needed
    assert lines[13:] == ["<!-- /undecided -->", "End."]
    for says, said in (("asks", "asked by the article"), ("ours", "our question")):
        written(target / says, "tuned", [one(1, "more", "tuned", name="first", source_says=says)])
        page.write_text(f"<!-- answer {says}/tuned/first --><!-- /answer -->\n")
        publish.publish([], target, readme, tmp_path / "conf")
        assert f"[claim 1](studies/{says}/tuned/report.md) ({said}): " in page.read_text()
    page.write_text("<!-- answer act/tuned/no-such -->\n<!-- /answer -->\n")
    with pytest.raises(ValueError, match=r"findings.md: no published answer act/tuned/no-such"):
        publish.publish([], target, readme, tmp_path / "conf")


@pytest.mark.slow
def test_the_command_line_says_what_is_wrong(tmp_path):
    command = [sys.executable, "-X", "importtime", "-m", "alexlab", "report", str(tmp_path)]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == 1
    assert f"error: {tmp_path} is not a sweep: it has no sweep.yaml" in found.stderr
    assert "torch" not in re.findall(r"\|\s+(\w+)$", found.stderr, flags=re.MULTILINE)


def test_cells_of_the_study_that_did_not_run_are_named(make_sweep):
    about = {"question": "?", "axes": {"act": "relu,tanh,gelu", "seed": "0,1,2"}}
    folder = make_sweep({"act": ["relu", "tanh"], "seed": range(2)}, lambda v: {}, about)
    write_report(folder)
    text = (folder / "report.md").read_text()
    assert text.count("| not run |") == 1
    assert "| gelu | not run |" in text
    about["tuned"] = {"act": "relu, tanh"}  # gelu is for the published setting only
    folder = make_sweep({"act": ["relu", "tanh"]}, lambda v: {}, about, scale="tuned", name="two")
    write_report(folder)
    assert "not run" not in (folder / "report.md").read_text()


def test_the_dates_of_the_claims_and_of_the_runs(tmp_path, needs_git):
    def git(day, *arguments):
        command = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
        env = {**os.environ, "GIT_AUTHOR_DATE": day, "GIT_COMMITTER_DATE": day}
        done = subprocess.run([*command, *arguments], env=env, capture_output=True, check=True)
        return done.stdout.decode().strip()

    study, commits = tmp_path / "act.yaml", []
    for day, text in (
        ("2026-01-02T12:00:00+00:00", "claims"),
        ("2026-01-03T12:00:00+00:00", "claims"),  # a run
        *((f"2026-01-03T{hour}:00:00+00:00", "other claims") for hour in range(13, 22)),  # runs
    ):
        if not commits:
            git(day, "init", "-q")
        study.write_text(text)
        git(day, "add", "-A")
        git(day, "commit", "-q", "--allow-empty", "-m", "x")
        commits.append(git(day, "rev-parse", "HEAD"))
    text = publish.dates(study, [*commits[1:], ""])
    assert f"first committed in {commits[0][:7]} 2026-01-02" in text
    assert f"the first run is of {commits[1][:7]} 2026-01-03" in text
    assert f"changed after that: {commits[2][:7]} 2026-01-03." in text
    text = publish.dates(study, [commits[2]])
    assert f"changed between them: {commits[2][:7]} 2026-01-03." in text
    assert "has not changed since" in text
    assert publish.dates(study, []) == ""
    assert publish.dates(tmp_path / "none.yaml", commits) == ""


def test_runs_that_differ_in_what_no_axis_shows_are_refused(make_sweep):
    """Else they would count as two seeds of one condition."""
    folder = make_sweep({"act": ["relu"], "seed": [0, 1]}, lambda values: {})
    trials = (folder / "trials.csv").read_text()
    (folder / "trials.csv").write_text(trials.replace(",relu,1,", ",relu,0,"))
    config = (folder / "1-run/config.yaml").read_text()
    (folder / "1-run/config.yaml").write_text(config.replace("dropout: 0.5", "dropout: 0.1"))
    with pytest.raises(ValueError, match=r"trials 0 and 1 have the same values .* model\.dropout"):
        load(folder)


def test_the_published_answers_follow_from_their_runs():
    assert check_answers([ROOT / "docs" / "studies"]) == 0


def test_the_page_links_to_each_run_and_file_and_the_published_text_does_not(make_sweep):
    def half(values):
        return None if values["seed"] == "2" else results(values)

    folder = make_sweep(AXES, half, ABOUT)
    write_report(folder)
    page = (folder / "report.html").read_text()
    links = set(re.findall(r'href="([^#"]+)"', page))
    ended = {path.parent.name for path in folder.glob("*/metrics.json")}
    assert len(ended) == 4
    assert {f"{name}/metrics.json" for name in ended} <= links
    assert {"runs.csv", "summary.csv", "answers.json", "trials.csv", "report.md"} <= links
    assert "Runs and files" not in (folder / "report.md").read_text()


def test_settings_that_differ_stand_before_all_settings(make_sweep):
    folder = make_sweep({"optim.lr": ["0.1", "0.01"]}, lambda values: {"test/acc": 0.5})
    write_report(folder)
    text = (folder / "report.md").read_text()
    assert "| optim.lr | 0.1, 0.01 |" in text
    assert text.index("| optim.lr | 0.1, 0.01 |") < text.index("### All settings")
    assert ">All settings</summary>" in (folder / "report.html").read_text()


def test_without_a_claim_of_an_article_the_readme_has_no_empty_table(tmp_path):
    open_one = {"source_says": "asks", "answer": "cannot tell", "claim": "c"}
    found = {tmp_path / "a/tuned": {"claims": [open_one]}}
    assert publish.claim_table(found, tmp_path) == publish.NO_CLAIM
    assert publish.findings_table(found, tmp_path) == publish.NO_DECISION
