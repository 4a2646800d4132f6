"""Pages as people see them: TensorBoard, a sweep's report, an evaluation, in headless Chromium.

Screenshots are kept below $SCREENSHOTS, where that is set.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from alexlab.runs.folder import read_metrics

selenium = pytest.importorskip("selenium", reason="the extra [browser] is not installed")
from selenium import webdriver  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver"),
]
ROOT = Path(__file__).parents[2]
FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-dev-shm-usage", "--window-size=1500,1000"),
)
# TensorBoard's elements keep their text in shadow roots, where Selenium does not look
TEXT = """
const texts = [];
const visit = node => {
  if (node.nodeType === 3 && node.textContent.trim()) texts.push(node.textContent.trim());
  if (["STYLE", "SCRIPT"].includes(node.nodeName)) return;
  if (node.shadowRoot) visit(node.shadowRoot);
  node.childNodes.forEach(visit);
};
visit(document.body);
return texts.join("\\n");
"""


def text(browser):
    return browser.execute_script(TEXT)


@pytest.fixture
def browser(tmp_path):
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path}/browser"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with webdriver.Chrome(options, webdriver.ChromeService(DRIVER)) as driver:
        yield driver


@pytest.fixture
def shown(browser, request, tmp_path):
    """shown(address, words) opens a page, waits for the words, keeps a screenshot, returns text."""
    folder = Path(os.environ.get("SCREENSHOTS", tmp_path)).absolute()
    folder.mkdir(parents=True, exist_ok=True)

    def make(address, *words, name):
        browser.get(address)
        try:
            WebDriverWait(browser, 120).until(lambda b: all(word in text(b) for word in words))
        finally:
            browser.save_screenshot(str(folder / f"{name}.png"))
        return text(browser)

    return make


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """A sweep of two runs by the real command line, one of them evaluated."""
    folder = tmp_path_factory.mktemp("sweep")
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}

    def call(*arguments):
        command = [sys.executable, "-m", *arguments]
        subprocess.run(command, cwd=folder, env=environment, check=True)

    tiny = ["data.num_images=100", "data.resolution=32", "trainer.max_epochs=1"]
    tiny += ["sweep.name=rates", "sweep.keep_best=null"]
    call("alexlab", "train", "-m", "optim.lr=0.01,0.1", "diagnostics=on", *tiny)
    call("alexlab", "evaluate", "multirun/rates/0-lr-0.01")
    return folder / "multirun/rates"


@pytest.fixture(scope="module")
def board(sweep):
    """TensorBoard on that sweep, as `make board` starts it; its address."""
    command = [Path(sys.executable).with_name("tensorboard"), "--logdir", sweep.parent]
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([*command, "--port", "0", "--host", "127.0.0.1"], **pipes) as process:
        line = next(line for line in process.stderr if "Press CTRL+C" in line)
        yield re.search(r"http://\S+?/", line)[0]
        process.terminate()


def test_hparams_shows_every_run_with_what_was_swept_and_its_metrics(shown, sweep, board):
    runs = sorted(path.parent for path in sweep.glob("*/metrics.json"))
    assert len(runs) == 2
    page = shown(f"{board}#hparams", *(f"rates/{run.name}" for run in runs), name="hparams")
    table = page[page.index("Trial ID") :].split("\n")
    head = table[: table.index(f"rates/{runs[0].name}")]
    assert "optim.lr" in head[:6]  # among those that are shown at once
    assert {"Accuracy/test", "Accuracy/val"} <= set(head)
    assert "data.num_images" not in page  # all runs have the same
    assert "hp_metric" not in page
    for run in runs:
        row = table[table.index(f"rates/{run.name}") :]
        assert f"{read_metrics(run)['metrics']['test/acc']:#.5g}" in row[: len(head)]


def test_the_first_charts_are_the_accuracies(shown, board):
    lines = shown(f"{board}#timeseries", "Accuracy", "2 cards", name="first").split("\n")
    counts = [number for number, line in enumerate(lines) if re.fullmatch(r"\d+ cards?", line)]
    assert lines[counts[0] - 1 : counts[0] + 1] == ["Accuracy", "2 cards"]


def test_train_and_val_share_a_chart_and_so_do_the_layers(shown, board):
    page = shown(f"{board}#custom_scalars", "train and val", "layers", name="custom_scalars")
    assert {"loss", "acc", "grad_norm", "dead"} <= set(page.split("\n"))
    assert "saturated" not in page


def test_filters_and_feature_maps_are_among_the_images(shown, board):
    shown(f"{board}#images", "filters", "feature_maps", "train", name="images")


def test_every_class_has_a_curve(shown, board):
    shown(f"{board}#pr_curves", "pr/circle", name="pr_curves")


def test_the_report_shows_both_runs(shown, browser, sweep):
    page = shown(f"file://{sweep}/report.html", "rates", "optim.lr", name="report")
    for run in sweep.glob("*/metrics.json"):
        assert f"{100 * read_metrics(run.parent)['metrics']['test/acc']:.1f}" in page
    assert_whole(browser)


def test_the_evaluation_shows_its_numbers_and_pictures(shown, browser, sweep):
    address = f"file://{sweep}/0-lr-0.01/evaluation/evaluation.html"
    page = shown(address, "Calibration", "circle", name="evaluation")
    accuracy = read_metrics(sweep / "0-lr-0.01")["metrics"]["test/acc"]
    assert f"{100 * accuracy:.1f}%" in page
    assert_whole(browser)


def test_curves_can_be_switched_off_and_read(shown, browser, sweep):
    shown(f"file://{sweep}/report.html", "Learning curves", name="curves")
    count = "return document.querySelectorAll('.chart')[0].querySelectorAll('path').length"
    before = browser.execute_script(count)
    browser.execute_script("document.querySelector('.chart input').click()")
    assert before >= 8  # two conditions in four panels
    assert browser.execute_script(count) == before / 2
    read = """
    const svg = document.querySelector('.chart svg'), box = svg.getBoundingClientRect();
    const at = {clientX: box.right - 1, clientY: box.top + 50};
    svg.dispatchEvent(new PointerEvent('pointermove', at));
    return document.querySelector('.chart .read').textContent;
    """
    last = read_metrics(sweep / "0-lr-0.01")["epochs"]
    shown_values = browser.execute_script(read)
    assert re.match(rf"train loss, epoch {last}: .*0\.\d+ [\d.]+$", shown_values), shown_values
    hidden = "return document.getElementById('plots/curves.png').offsetParent === null"
    assert browser.execute_script(hidden)
    assert browser.get_log("browser") == []


@pytest.mark.parametrize("page", ["report.html", "0-lr-0.01/evaluation/evaluation.html"])
def test_a_page_fits_a_phone_and_is_dark_where_that_is_asked_for(browser, sweep, page):
    size = {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    ground = {}
    for scheme in ("light", "dark"):
        wanted = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", wanted)
        browser.get(f"file://{sweep}/{page}")
        browser.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
        assert browser.execute_script("return document.documentElement.scrollWidth") == 390
        colour = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
        ground[scheme] = sum(map(int, re.findall(r"\d+", colour)))
    assert ground["light"] == 3 * 255
    assert ground["dark"] < 3 * 50


def assert_whole(browser):
    """Every picture is there, nothing is fetched from elsewhere, nothing complains."""
    sizes = browser.execute_script("return [...document.images].map(i => i.naturalWidth)")
    assert sizes
    assert min(sizes) > 0
    fetched = "return performance.getEntriesByType('resource').map(e => e.name)"
    assert [name for name in browser.execute_script(fetched) if not name.startswith("data:")] == []
    assert browser.get_log("browser") == []
