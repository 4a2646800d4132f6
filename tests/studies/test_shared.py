"""Trials that several sweeps have in common."""

import json
import shutil

import pytest

from alexlab.studies import shared
from alexlab.studies.results import load
from alexlab.studies.write_report import write_report

MARKS = {"torch": "2", "data shapes": "0123"}
STUDY = {
    "question": "?",
    "axes": {"seed": "range(3)", "act": "relu, tanh"},
    "trained": {"metric": "last(val/acc)", "chance": 0.2, "margin": 0.1},
    "looks": {"tuned": [3]},
    "claims": [
        {
            "statement": "tanh overfits less",
            "kind": "greater",
            "direction": "less",
            "margin": 0.02,
            "metric": "generalization_gap(acc)",
            "treatment": {"act": "tanh"},
            "control": {"act": "relu"},
        }
    ],
}
AXES = {"act": ["relu", "tanh"], "seed": range(3)}


def result(values):
    """The gap is 10 points with relu, and 29, 30, 31 with tanh."""
    gap = 0.29 + int(values["seed"]) / 100 if values["act"] == "tanh" else 0.1
    return {"fit/acc": 0.9, "test/acc": 0.9 - gap, "symptoms": []}


@pytest.fixture
def committed(make_sweep, tmp_path, monkeypatch):
    """A checkout with the published answers of a sweep whose folder is gone."""
    folder = make_sweep(AXES, result, STUDY, scale="tuned", name="acts", fingerprint=MARKS)
    write_report(folder)
    place = tmp_path / "checkout/docs/studies/acts/tuned"
    place.mkdir(parents=True)
    for name in ("runs.csv", "answers.json"):
        shutil.copyfile(folder / name, place / name)
    shutil.rmtree(folder)
    shared._committed.cache_clear()
    monkeypatch.setattr(shared, "PUBLISHED", tmp_path / "checkout/docs/studies")
    return place


def sweep_of(fingerprint=MARKS, study=STUDY):
    return {"about": study, "fingerprint": fingerprint}


def test_committed_row_has_every_number_that_the_study_uses(committed, make_sweep):
    found = shared.known_result("acts-4", sweep_of())
    assert found["metrics"]["test/acc"] == pytest.approx(0.6)
    assert found["numbers"]["generalization_gap(acc)"] == pytest.approx(0.3)
    assert found["data_fingerprint"] == "f00d"
    assert found["reused_from"] == "docs/studies/acts/tuned/runs.csv"

    again = make_sweep(AXES, result, STUDY, scale="tuned", name="again")
    for number, run in enumerate(sorted(again.glob("*-run"))[:-1]):  # the last was trained here
        (run / "history.csv").unlink()
        known = shared.known_result(f"acts-{number}", sweep_of())
        (run / "metrics.json").write_text(json.dumps(known))
    write_report(again)
    written = json.loads((committed / "answers.json").read_text())["claims"][0]
    new = json.loads((again / "answers.json").read_text())["claims"][0]
    assert new["answer"] == written["answer"] == "more"
    assert new["effect"] == pytest.approx(written["effect"]) == pytest.approx(0.2)


def test_row_of_other_data_or_without_a_number_is_of_no_use(committed):
    assert shared.known_result("acts-4", sweep_of({**MARKS, "data shapes": "9"})) is None
    assert shared.known_result("acts-4", sweep_of({"torch": "2"})) is None  # no data here
    assert shared.known_result("acts-9", sweep_of()) is None
    elsewhere = {**STUDY["claims"][0], "name": "later", "metric": "epochs_to(val/acc, 0.4)"}
    for settings, is_used in ((["published"], True), (["published", "tuned"], False)):
        claims = [*STUDY["claims"], {**elsewhere, "settings": settings}]
        found = shared.known_result("acts-4", sweep_of(study={**STUDY, "claims": claims}))
        assert (found is not None) == is_used  # the committed table has no such column
    other = {**STUDY, "claims": [{**STUDY["claims"][0], "metric": "test/mae"}]}
    assert shared.known_result("acts-4", sweep_of(study=other)) is None


def test_run_that_did_not_train_is_reused_with_the_values_of_guessing(
    make_sweep, tmp_path, monkeypatch
):
    """relu stays at guessing; its row has no gain over the last epochs."""

    def run(values):
        end = 0.2 if values["act"] == "relu" else 0.9
        return {**result(values), "history": {"val/acc": [0.2, *[end] * 9]}}

    folder = make_sweep(AXES, run, STUDY, scale="tuned", name="acts", fingerprint=MARKS)
    write_report(folder)
    place = tmp_path / "checkout/docs/studies/acts/tuned"
    shutil.copytree(folder, place)
    shutil.rmtree(folder)
    shared._committed.cache_clear()
    monkeypatch.setattr(shared, "PUBLISHED", tmp_path / "checkout/docs/studies")
    known = [shared.known_result(f"acts-{number}", sweep_of()) for number in range(6)]
    assert [one is not None for one in known] == [True] * 6
    assert [one["numbers"]["last(val/acc)"] for one in known] == [0.2] * 3 + [0.9] * 3
    assert ["rise(val/acc)" in one["numbers"] for one in known] == [False] * 3 + [True] * 3


def without_column(name):
    def change(place):
        lines = [line.split(",") for line in (place / "runs.csv").read_text().splitlines()]
        at = lines[0].index(name)
        text = "\n".join(",".join(one[:at] + one[at + 1 :]) for one in lines)
        (place / "runs.csv").write_text(text + "\n")

    return change


def rewrite(name, change):
    return lambda place: (place / name).write_bytes(change((place / name).read_bytes()))


@pytest.mark.parametrize(
    ("change", "is_used"),
    [
        *((without_column(n), False) for n in ("state", "objective", "epochs", "symptoms", "data")),
        (without_column("identity"), False),
        (rewrite("runs.csv", lambda old: b"\xff\xfe" + old), False),
        (rewrite("answers.json", lambda old: b"{"), False),
        (rewrite("answers.json", lambda old: b"[]"), False),
        (rewrite("runs.csv", lambda old: old.replace(b"\n", b",more,cells\n")[:-1]), True),
    ],
)
def test_a_committed_table_with_other_columns_costs_a_sweep_nothing(committed, change, is_used):
    change(committed)
    shared._committed.cache_clear()
    assert (shared.known_result("acts-4", sweep_of()) is not None) == is_used


def test_report_names_the_studies_that_share_a_condition(make_sweep):
    one = make_sweep({"act": ["relu"], "seed": range(3)}, result, name="acts")
    two = make_sweep({"act": ["relu", "tanh"], "seed": range(3)}, result, name="rates")
    trials = (two / "trials.csv").read_text()
    for number in range(3):
        trials = trials.replace(f",rates-{number}\n", f",acts-{number}\n")
        trials = trials.replace(f",rates-{number}\r\n", f",acts-{number}\r\n")
    (two / "trials.csv").write_text(trials)
    assert shared.shared_conditions(load(two)) == {"relu": ["acts"]}
    write_report(two)
    said = "These studies use the same runs of relu: rates, acts."
    assert said in (two / "report.md").read_text()
    write_report(one)
    assert "the same runs of act relu, seed 0: acts, rates." in (one / "report.md").read_text()
