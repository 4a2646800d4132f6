"""The pages of the site that follow from the code. Sphinx itself checks links and headings."""

import csv
import importlib.util
import json
import re
import shutil
from pathlib import Path
from statistics import mean, median

import pytest
import yaml

from alexlab.runs.config import CONF, flatten
from alexlab.studies import publish

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def generate():
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "path",
    [p for p in sorted(CONF.glob("*/*.yaml")) if p.parent.name not in ("study", "hydra", "scale")],
    ids=lambda path: f"{path.parent.name}-{path.stem}",
)
def test_the_page_of_settings_has_each_setting_with_its_default(generate, path):
    content = yaml.safe_load(path.read_text("utf-8")) or {}
    found = {one.key: one.default for one in generate.settings_of(path)}
    expected = {
        key: value
        for key, value in flatten(content).items()
        if not key.split(".")[-1].startswith(("_", "defaults"))
    }
    assert found.keys() == expected.keys()
    values = {key: yaml.safe_load(text) for key, text in found.items()}
    assert {key: str(value) for key, value in values.items()} == {
        key: str(value) for key, value in expected.items()
    }


def test_a_comment_is_the_meaning_and_options_have_their_own_column(generate):
    page = generate.settings_page()
    assert "| `save_every_s` | `60` | a number of at least 0 | seconds of training" in page
    assert "| `model.pool` | `max` | max, avg, conv1x1, strided |  |" in page


def test_a_line_that_is_no_setting_is_named(generate, tmp_path):
    (tmp_path / "odd.yaml").write_text("a: 1\nwhat is this\n")
    with pytest.raises(ValueError, match=r"odd\.yaml:2"):
        generate.settings_of(tmp_path / "odd.yaml")


def test_the_data_sets_of_a_study_are_those_of_all_its_settings(generate):
    study = {"tuned": {"data": "pokemon"}, "recipes": {"a": {"data": "flower"}}}
    config = {"defaults": [{"override /data": "cifar10"}], "study": study}
    assert generate._data_of(config) == {"cifar10", "pokemon", "flower"}


def test_published_reports_become_pages_and_are_listed_with_their_answers(generate, tmp_path):
    new = tmp_path / "studies" / "act" / "tuned"
    new.mkdir(parents=True)
    (new / "report.md").write_text("# Does <it> train?\n\nYes.\n")
    given = ("more", "contradicted"), ("cannot tell", None), ("more", None), ("more", None)
    claims = [{"answer": a, "judgement": j, "name": n} for n, (a, j) in enumerate(given)]
    elsewhere = {"answer": "not tested", "judgement": None, "name": 4}
    claims.append({**elsewhere, "reason": "it is tested at published only"})
    facts = {"question": "Does <it> train?", "claims": claims, "setting": "tuned", "seeds": 10}
    (new / "answers.json").write_text(json.dumps(facts))
    reports = generate.write_reports(tmp_path / "studies", tmp_path / "site")
    page = (tmp_path / "site/reports/act/tuned/report.html").read_text()
    assert "<title>Does &lt;it&gt; train?</title>" in page
    link = '<a href="reports/act/tuned/report.html">Does &lt;it&gt; train?</a>'
    said = "1 contradicted, 1 cannot tell, 2 more"
    assert f"| {link} | {said} | tuned | 10 |" in generate.gallery_page(reports)


def named_tests():
    """The tests that the page of promises names; the folder of a name is that of the one before."""
    page = (ROOT / "docs" / "promises.md").read_text("utf-8")
    for line in page.splitlines():
        folder = ""
        for name in re.findall(r"(?:tests/)?((?:[\w/]+/)?test_\w+\.py)", line):
            folder = name.rpartition("/")[0] or folder
            yield f"{folder}/{name.rpartition('/')[2]}".removeprefix("/")


def test_each_promise_names_a_test_that_exists():
    names = set(named_tests())
    assert len(names) > 20
    missing = [name for name in names if not (ROOT / "tests" / name).is_file()]
    assert missing == []
    page = (ROOT / "docs" / "promises.md").read_text("utf-8")
    head = r"^\| promise \| test \|\n\|---\|---\|\n"
    tables = re.findall(head + r"((?:\|.*\n)+)", page, re.MULTILINE)
    rows = [row for table in tables for row in table.splitlines()]
    assert len(rows) > 30
    assert [row for row in rows if not re.search(r"test_\w+\.py", row.split("|")[-2])] == []


def test_links_to_reports_lead_to_the_pages_of_the_site(generate):
    page = "See [A <b> & c](studies/act/tuned/report.md) and [all](studies/README.md).\n"
    link = '<a href="reports/act/tuned/report.html">A &lt;b&gt; &amp; c</a>'
    assert generate.with_site_links(page) == f"See {link} and [all](gallery.md).\n"


def test_the_figures_of_the_findings_and_of_the_readme_are_those_of_the_published_answers(
    tmp_path,
):
    pages = [ROOT / "docs" / "findings.md", ROOT / "docs" / "studies" / "README.md"]
    texts = [page.read_text("utf-8") for page in [*pages, ROOT / "README.md"]]
    shutil.copytree(ROOT / "docs" / "studies", tmp_path / "docs" / "studies")
    for page in ("docs/findings.md", "README.md"):
        shutil.copy(ROOT / page, tmp_path / page)
    (tmp_path / "docs" / "studies" / "README.md").write_text("")
    published = tmp_path / "docs" / "studies"
    publish.publish([], published, tmp_path / "README.md", ROOT / "conf" / "study")
    copies = ["docs/findings.md", "docs/studies/README.md", "README.md"]
    assert [(tmp_path / name).read_text("utf-8") for name in copies] == texts
    assert texts[0].count("<!-- answer ") >= 5


def percents(values):
    """Return "44% to 50%", or "89%" if all values round to it."""
    return " to ".join(dict.fromkeys(f"{value:.0%}" for value in (min(values), max(values))))


def numbers(values):
    return f"{min(values):.0f} to {max(values):.0f}"


VAL, TEST, GAP, EPOCHS = (
    "last(val/acc)",
    "test/acc_last_3",
    "generalization_gap(acc)",
    "epochs_to(val/acc, 0.4)",
)


# each of these figures stands in the words that we wrote around the answers
@pytest.mark.parametrize(
    ("words", "report", "column", "figures"),
    [
        (
            "those with 16 classify {}, and those with 32 at most {}",
            "batch_size/published",
            VAL,
            lambda runs: (percents(runs["batch-16-plain"]), f"{max(runs['batch-32-plain']):.0%}"),
        ),
        (
            "batches of 8 classify {} of the val images in four of five runs",
            "batch_size/published",
            VAL,
            lambda runs: (percents(sorted(runs["batch-8-plain"])[1:]),),
        ),
        (
            "all three end alike, with an accuracy of {} on val",
            "batch_size/tuned",
            VAL,
            lambda runs: (percents([mean(runs[f"batch-{size}"]) for size in (8, 16, 32)]),),
        ),
        (
            "fell from 91% to {} in the last two epochs",
            "lr_schedule/published",
            VAL,
            lambda runs: (f"{sorted(runs['constant'])[2]:.0%}",),
        ),
        (
            "all images at {}); with as many updates (600 epochs) they reach {}",
            "data_size/tuned",
            TEST,
            lambda runs: [f"{mean(runs[f'pokemon-{n}']):.0%}" for n in ("all", "tenth-steps")],
        ),
        (
            "learns Pokémon images of 64 pixels in {} seconds (median)",
            "normalisation/tuned",
            "wall_s",
            lambda runs: (f"{median(runs['none']):.0f}",),
        ),
        (
            "At its own best rate each reaches about {} on test",
            "optimiser/tuned",
            TEST,
            lambda runs: (percents([mean(runs[name]) for name in ("sgd", "adam")]),),
        ),
        (
            "a training takes {} the time",
            "representation/tuned",
            "wall_s",
            lambda runs: ({2: "twice"}[round(median(runs["dct"]) / median(runs["rgb"]))],),
        ),
        (
            "half as many epochs ({} points, max pooling {})",
            "pooling/tuned",
            GAP,
            lambda runs: [f"{100 * mean(runs[name]):.0f}" for name in ("strided", "max")],
        ),
        (
            "on val is {} at the end (mean of five seeds), that of the naive CNN {}",
            "transfer/tuned",
            VAL,
            lambda runs: [f"{mean(runs[name]):.0%}" for name in ("lite0-scratch", "naive")],
        ),
        (
            "its accuracies ({}) cannot be compared",
            "resolution/tuned",
            VAL,
            lambda runs: (percents([mean(runs[f"{size}px"]) for size in (32, 64, 128)]),),
        ),
        (
            "after 60 epochs val accuracy is {} against {} (means of ten seeds)",
            "resolution/tuned",
            VAL,
            lambda runs: [f"{mean(runs[name]):.0%}" for name in ("128px-heavy", "128px")],
        ),
        (
            "40% on val after {} epochs, without it after {}",
            "resolution/tuned",
            EPOCHS,
            lambda runs: [numbers(runs[name]) for name in ("128px-heavy", "128px")],
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_figure_in_the_words_of_the_findings_follows_from_the_runs(
    words, report, column, figures
):
    runs = {}
    with (ROOT / "docs" / "studies" / report / "runs.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row[column]:
                runs.setdefault(row["recipe"], []).append(float(row[column]))
    page = " ".join((ROOT / "docs" / "findings.md").read_text("utf-8").split())
    assert words.format(*figures(runs)) in page
