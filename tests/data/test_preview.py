import numpy as np
import pytest
from PIL import Image

from alexlab.data import preview

SIDE = 128 + preview.GAP


def cells(path):
    """The images of the picture without their frames: [rows, columns, 128, 128, 3]."""
    picture = np.array(Image.open(path))
    grid = picture.reshape(-1, SIDE, picture.shape[1] // SIDE, SIDE, 3).swapaxes(1, 2)
    return grid[:, :, :128, :128]


@pytest.fixture
def run(alexlab, image_folder, tmp_path, capsys):
    def main(*settings):
        data = ["data=folder", f"data.root={image_folder}", f"cache_dir={tmp_path}/cache"]
        data += ["data.batch_size=3", "data.resolution=16"]
        out = tmp_path / "new" / "picture.png"
        alexlab("data", "preview", *data, *settings, "--out", out)
        printed = capsys.readouterr().out.splitlines()
        return cells(printed[-1]), printed[-3].removeprefix("rows: ").split(", ")

    return main


def test_before_and_after(run):
    grid, names = run("augment=flip", "augment.flip=1.0")
    assert grid.shape[:2] == (3, 1 + preview.DRAWS)
    before, after = grid[:, 0], grid[:, 1]
    assert (after == before[:, :, ::-1]).all()
    assert (after != before).any()
    strongest = [("red", "green", "blue")[i] for i in before.mean((1, 2)).argmax(1)]
    assert names == strongest  # in the test images the class is the colour


def test_other_representations_show_their_channels(run):
    grid, _ = run("augment=none", "data.representation=ycbcr")
    assert grid.shape[1] == 1 + preview.DRAWS + 3
    luma = grid[:, 0] @ [0.299, 0.587, 0.114]
    expected = 255 * np.clip((luma / 255 - 0.46) / 0.25 / 5 + 0.5, 0, 1)
    np.testing.assert_allclose(grid[:, -3, :, :, 0], expected, atol=1.5)


def test_a_wrong_setting_is_one_line_and_nothing_is_written(run, tmp_path, capsys):
    with pytest.raises(SystemExit, match="1"):
        run("data.representation=hsb")
    assert "did you mean hsv?" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
