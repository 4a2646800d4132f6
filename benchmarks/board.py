"""Measure TensorBoard with many runs in headless Chromium: `python -m benchmarks.board`.

Write runs with the metrics of a training, and open the main tabs. Print for each tab the time until
its elements are drawn, and the frames per second during scrolling (at most 60). This needs
`pip install -e '.[browser]'`, chromium and chromedriver.
"""

import argparse
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from selenium import webdriver
from selenium.webdriver.support.ui import WebDriverWait
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from alexlab.training.callbacks.tensorboard import layout

METRICS = [f"{split}/{name}" for split in ("train", "val") for name in ("loss", "acc", "f1")]
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1500,1000")
# count the elements of a name through all shadow roots
COUNT = """
const count = (node, name) => [...node.querySelectorAll("*")].reduce((n, e) =>
  n + (e.matches(name) ? 1 : 0) + (e.shadowRoot ? count(e.shadowRoot, name) : 0), 0);
return count(document, arguments[0]);
"""
# scroll the largest scrollable element up and down for two seconds; return the ms between frames
SCROLL = """
const done = arguments[0], all = [], visit = node => node.querySelectorAll("*").forEach(e => {
  all.push(e); if (e.shadowRoot) visit(e.shadowRoot); });
visit(document);
const area = e => e.scrollHeight > e.clientHeight + 200 ? e.clientHeight * e.clientWidth : 0;
const tall = all.reduce((a, b) => area(b) > area(a) ? b : a);
const times = [], begin = performance.now();
const frame = now => {
  times.push(now);
  tall.scrollTop = (tall.scrollHeight - tall.clientHeight) * (1 - Math.cos(now / 300)) / 2;
  now - begin < 2000 ? requestAnimationFrame(frame)
    : done(times.slice(1).map((t, i) => t - times[i]));
};
requestAnimationFrame(frame);
"""
TABS = {"timeseries": "card-view", "hparams": "tf-hparams-table-view"}


def write(folder: Path, runs: int, epochs: int) -> None:
    """Write the runs of a sweep, one writer per run."""
    for number in range(runs):
        draw = random.Random(number)
        with SummaryWriter(str(folder / f"sweep/{number}-optim.lr-{draw.random():.4f}")) as writer:
            writer.add_custom_scalars(layout(METRICS))
            for epoch in range(1, epochs + 1):
                for name in METRICS:
                    writer.add_scalar(name, draw.random() / epoch, epoch)
            for part in hparams({"optim.lr": draw.random(), "seed": number}, {"val/acc": 0.5}):
                assert writer.file_writer is not None
                writer.file_writer.add_summary(part)


def measure(browser: webdriver.Chrome, address: str, tab: str) -> str:
    """Measure when the tab has drawn its elements, and how fast it scrolls; return both as text."""
    browser.get("about:blank")
    begin = time.perf_counter()
    browser.get(f"{address}#{tab}")
    WebDriverWait(browser, 60, 0.02).until(lambda b: b.execute_script(COUNT, TABS[tab]))
    drawn = time.perf_counter() - begin
    time.sleep(3)
    gaps = browser.execute_async_script(SCROLL)
    rate = 1000 / median(gaps)
    return f"drawn after {drawn:.1f} s, {rate:.0f} frames/s, the longest pause {max(gaps):.0f} ms"


def main() -> None:
    """Print a line per tab."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--epochs", type=int, default=60)
    args = parser.parse_args()
    options = webdriver.ChromeOptions()
    driver = webdriver.ChromeService(shutil.which("chromedriver"))
    for flag in FLAGS:
        options.add_argument(flag)
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), args.runs, args.epochs)
        command = [Path(sys.executable).with_name("tensorboard"), "--logdir", folder, "--port", "0"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
            assert server.stderr is not None
            line = next(line for line in server.stderr if "Press CTRL+C" in line)
            address = re.search(r"http://\S+?/", line)
            assert address is not None
            print(f"{args.runs} runs of {args.epochs} epochs, {len(METRICS)} scalars each")
            with webdriver.Chrome(options, driver) as browser:
                browser.set_script_timeout(60)
                for tab in TABS:
                    print(f"{tab:<11} {measure(browser, address[0], tab)}", flush=True)
            server.terminate()


if __name__ == "__main__":
    main()
