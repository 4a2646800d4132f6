"""Where the 10 and the 144 views lie, from the papers, and that their predictions are averaged."""

from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image

from alexlab.data.decode import BrokenImage
from alexlab.evaluation import inference
from alexlab.evaluation.inference import Crops, predict_all, predicted, squares


def numbered(width, height):
    """An image whose red is the column, and green the row, of each pixel."""
    y, x = np.mgrid[:height, :width]
    return Image.fromarray(np.stack([x, y, 0 * x], 2).astype(np.uint8))


def corners(seen):
    """(left, top) and (right, bottom) of views of a `numbered` image that nothing has scaled."""
    return [(tuple(v[:2, 0, 0].tolist()), tuple(v[:2, -1, -1].tolist())) for v in seen]


def test_one_view_is_the_centre():
    assert corners(Crops(1, 224, 256, "crop").of(numbered(256, 256))) == [((16, 16), (239, 239))]


def test_ten_views_are_corners_and_centre_and_their_mirrors():
    """Krizhevsky et al. 2012, section 4.1: 224 of 256."""
    seen = Crops(10, 224, 256, "crop").of(numbered(256, 256))
    assert seen.shape == (10, 3, 224, 224)
    places = [(0, 0), (32, 0), (0, 32), (32, 32), (16, 16)]
    assert corners(seen[:5]) == [((x, y), (x + 223, y + 223)) for x, y in places]
    assert corners(seen[5:]) == [((x + 223, y), (x, y + 223)) for x, y in places]


def test_where_nothing_is_left_to_crop_the_square_has_the_papers_ratio():
    assert Crops(10, 224, 224, "crop").sides == [256]
    assert Crops(10, 64, 64, "crop").sides == [73]
    assert Crops(10, 64, 70, "crop").sides == [70]


@pytest.mark.parametrize(("size", "number"), [((16, 8), 144), ((8, 16), 144), ((8, 8), 48)])
def test_a_hundred_and_forty_four(size, number):
    """Szegedy et al. 2014, section 7: 4 scales x 3 squares x 6 crops x 2 mirrors."""
    crops = Crops(144, 7, 7, "crop")
    assert crops.sides == [8, 9, 10, 11]
    assert crops.of(numbered(*size)).shape == (number, 3, 7, 7)
    assert Crops(144, 224, 224, "crop").sides == [256, 288, 320, 352]


def test_the_three_squares_lie_at_both_ends_and_in_the_middle():
    wide = [np.asarray(s)[0, 0, 0] for s in squares(numbered(16, 8), 8, "crop")]
    high = [np.asarray(s)[0, 0, 1] for s in squares(numbered(8, 16), 8, "crop")]
    assert wide == high == [0, 4, 8]
    (whole,) = squares(numbered(16, 8), 8, "squash")
    assert whole.size == (8, 8)
    assert np.asarray(whole)[0, -1, 0] > 13


def test_of_each_square_the_corners_the_centre_and_the_whole_and_their_mirrors():
    seen = Crops(144, 7, 7, "crop").of(numbered(16, 8))[:36]  # of the first scale, unscaled
    first = [tuple(v[:2, 0, 0].tolist()) for v in seen]
    left = Counter([(0, 0), (1, 0), (0, 1), (1, 1), (0, 0), (0, 0)])  # the whole begins at (0, 0)
    assert Counter(first[:6]) == left
    assert Counter(first[6:12]) == Counter({(x + 4, y): n for (x, y), n in left.items()})
    whole = seen[5].float()
    assert whole[0, 0, -1] == pytest.approx(7, abs=0.6)  # all eight columns in seven
    assert torch.equal(seen[18:], seen[:18].flip(3))


@pytest.fixture
def files(tmp_path):
    for i in range(5):
        Image.fromarray(np.full((8 + i, 8, 3), 50 * i, np.uint8)).save(tmp_path / f"{i}.png")
    (tmp_path / "2.png").write_bytes(b"no image")
    with (tmp_path / "4.png").open("r+b") as file:
        file.truncate(10**11)  # it takes no room on the disk
    return [tmp_path / f"{i}.png" for i in range(5)] + [tmp_path / "none.png"]


@pytest.mark.parametrize("number", [1, 10, 144])
@pytest.mark.parametrize("batch", [1, 25, 1000])
def test_predictions_come_in_order_and_are_means_over_views(files, monkeypatch, number, batch):
    monkeypatch.setattr(inference, "BATCH", batch)

    def predict(seen):
        """Two numbers a view: its grey, and 1 for the first of its batch."""
        first = (torch.arange(len(seen)) == 0).float()
        return torch.stack([seen.float().mean((1, 2, 3)), first], 1)

    found = list(predicted(files, Crops(number, 7, 7, "crop"), predict))
    assert [path for path, _ in found] == files
    greys = [None if isinstance(p, BrokenImage) else round(p[0].item(), 3) for _, p in found]
    assert greys == [0, 50, None, 150, None, None]
    assert found[0][1][1] == pytest.approx(1 / (48 if number == 144 else number))
    assert "not an image" in str(found[2][1])
    assert "a file of 100,000 MB" in str(found[4][1])
    assert "No such file" in str(found[5][1])


def test_a_broken_file_among_those_that_must_be_whole_is_an_error(files):
    with pytest.raises(ValueError, match=r"broken image .*2\.png'.*not an image"):
        predict_all(files[:3], Crops(1, 7, 7, "crop"), lambda seen: torch.zeros(len(seen), 1))


def test_another_number_is_refused():
    with pytest.raises(ValueError, match=r"crops=7.*1, 10, 144"):
        Crops(7, 64, 64, "crop")
