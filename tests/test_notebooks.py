"""Both notebooks run from top to bottom, and show what their texts say."""

import json
import re
from pathlib import Path

import pytest

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"


def test_no_output_is_committed():
    for path in NOTEBOOKS.glob("*.ipynb"):
        cells = json.loads(path.read_text("utf-8"))["cells"]
        assert [c for c in cells if c.get("outputs") or c.get("execution_count")] == [], path


def executed(name, folder, **changes):
    """Run a notebook in `folder`, with `changes` of its first assignments; return all its text."""
    nbformat = pytest.importorskip("nbformat", reason="the extra [notebooks] is not installed")
    client = pytest.importorskip("nbclient").NotebookClient
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", 4)
    for key, value in changes.items():
        (cell,) = [c for c in notebook.cells if re.search(rf"^{key} = ", c.source, re.MULTILINE)]
        cell.source = re.sub(rf"^{key} = .*", f"{key} = {value}", cell.source, flags=re.MULTILINE)
    client(notebook, timeout=600, resources={"metadata": {"path": str(folder)}}).execute()
    outputs = [out for cell in notebook.cells for out in cell.get("outputs", [])]
    return outputs, "\n".join(str(out.get("text") or out.get("data")) for out in outputs)


@pytest.mark.slow
def test_sigmoid_loses_the_gradient_on_its_way_to_the_first_layer(tmp_path):
    outputs, text = executed("what_does_an_activation_do", tmp_path, EPOCHS=1)
    assert sum("image/png" in out.get("data", {}) for out in outputs) == 2
    times = {
        act: float(number.replace(",", ""))
        for act, number in re.findall(r"(\w+): the last layer's gradient is ([\d,]+) times", text)
    }
    assert times["sigmoid"] > 100 * max(1, times["relu"])


@pytest.mark.slow
def test_a_random_split_of_duplicates_leaks(tmp_path):
    _, text = executed("is_your_test_set_leaking", tmp_path)
    assert "120 files" in text
    found = re.search(r"\{'random': ([\d.]+), 'grouped': ([\d.]+)\}", text)
    assert float(found[1]) > 0.6 > 0.5 > float(found[2])
    leaks = dict(re.findall(r"(random|grouped): (\d+) of 36 test images", text))
    assert leaks["grouped"] == "0"
    assert int(leaks["random"]) > 15
