import csv

import numpy as np
import pytest

from alexlab.data.shapes import CLASSES, ShapesData, draw


@pytest.fixture
def make(tmp_path):
    def make(root="shapes", **settings):
        options = {"name": "shapes", "resolution": 16, "batch_size": 8, "targets": "class"}
        options |= {"num_images": 60, "draw_seed": 0, "cache_dir": str(tmp_path), **settings}
        data = ShapesData(str(tmp_path / root), **options)
        data.prepare()
        return data

    return make


def test_five_classes_of_equal_size_and_a_warning(make):
    data = make()
    assert data.classes == ["circle", "cross", "square", "star", "triangle"]
    assert [sum(c[name] for c in data.counts.values()) for name in data.classes] == [12] * 5
    assert data.notes[-1] == "drawn by this program: not a real data set"


def test_a_seed_draws_the_same_pictures_wherever_it_is(make, tmp_path):
    one, other = make(), make(draw_seed=1)
    again = make(root="elsewhere/shapes")
    assert one.fingerprint == again.fingerprint != other.fingerprint


def test_scores_are_those_of_the_table(make, tmp_path):
    data = make(targets="score")
    assert data.num_outputs == 1
    with (tmp_path / "shapes-60-0" / "labels.csv").open(newline="") as file:
        rows = {row["filename"]: float(row["score"]) for row in csv.DictReader(file)}
    assert len(rows) == 60
    for path, target in zip(data.files.paths, data.targets.tolist(), strict=True):
        assert target == pytest.approx(rows[path])
    assert 1 <= min(rows.values()) < 3.5
    assert 7.5 < max(rows.values()) <= 10


@pytest.mark.parametrize("name", CLASSES)
def test_the_score_grows_with_the_shape(name):
    """Pixels unlike the corner's colour, a rough measure of size, go with the score."""
    sizes, scores = [], []
    for i in range(60):
        image, score = draw(name, np.random.default_rng((7, i)))
        pixels = np.asarray(image).astype(int)
        unlike = np.abs(pixels - np.median(pixels[:4], axis=(0, 1))).sum(2) > 120
        sizes.append(unlike.mean())
        scores.append(score)
    assert np.corrcoef(sizes, scores)[0, 1] > 0.3


def test_shapes_lie_on_either_side_of_the_middle():
    """Columns and rows of the pixels unlike the corners' colour, as shares of the side."""
    centres = []
    for i in range(40):
        image, _ = draw("circle", np.random.default_rng((3, i)))
        pixels = np.asarray(image).astype(int)
        unlike = np.abs(pixels - np.median(pixels[:4], axis=(0, 1))).sum(2) > 120
        centres.append(np.argwhere(unlike).mean(0) / len(pixels))
    assert (np.min(centres, 0) < 0.45).all()
    assert (np.max(centres, 0) > 0.55).all()
    assert np.mean(centres, 0) == pytest.approx([0.5, 0.5], abs=0.05)


def test_nothing_half_drawn_is_left(make, tmp_path, monkeypatch):
    calls = []

    def draw_some(name, rng):
        calls.append(name)
        if len(calls) == 30:
            raise KeyboardInterrupt
        return draw(name, rng)

    monkeypatch.setattr("alexlab.data.shapes.draw", draw_some)
    with pytest.raises(KeyboardInterrupt):
        make()
    assert not (tmp_path / "shapes-60-0").exists()
    monkeypatch.undo()
    assert len(make().files.paths) == 60


def test_too_few_pictures(make):
    with pytest.raises(ValueError, match=r"data.num_images=10: must be at least 50"):
        make(num_images=10)


def test_without_a_place_nothing_is_drawn():
    options = {"name": "shapes", "resolution": 16, "batch_size": 8, "targets": "class"}
    with pytest.raises(ValueError, match=r"data.root=null: set a folder"):
        ShapesData(None, num_images=60, draw_seed=0, **options)
