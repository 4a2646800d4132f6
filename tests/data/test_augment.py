import pytest
import torch
from hydra.utils import instantiate

from alexlab.data import transforms
from alexlab.data.augment import Augment, RandAugment
from alexlab.data.transforms import PCA_VALUES, PCA_VECTORS, centre_crop
from alexlab.runs.config import CONF

NAMES = sorted(path.stem for path in (CONF / "augment").glob("*.yaml"))


def one_image_many_times(size):
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 3, 8, 8, generator=generator)
    image = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bilinear")
    return (255 * image).to(torch.uint8).expand(16, -1, -1, -1)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "none"])
def test_each_image_gets_its_own_draw_and_a_seed_repeats_it(name, compose):
    images = one_image_many_times(40)
    augment = instantiate(compose(f"augment={name}").augment)
    torch.manual_seed(3)
    first = augment(images, 32)
    torch.manual_seed(3)
    assert torch.equal(augment(images, 32), first)
    assert not torch.equal(augment(images, 32), first)
    assert first.shape == (16, 3, 32, 32)
    assert first.dtype == torch.float32
    distinct = len({image.numpy().tobytes() for image in first})
    assert distinct == 2 if name == "flip" else distinct > 8


def test_none_is_the_centre_crop(compose):
    images = one_image_many_times(40)
    none = instantiate(compose("augment=none").augment)
    torch.testing.assert_close(none(images, 32), centre_crop(images, 32) / 255)


def test_a_setting_may_be_added_to_any_of_them(compose):
    augment = instantiate(compose("augment=flip", "augment.rotate=15").augment)
    assert augment.flip == 0.5
    assert augment.warp["rotate"] == 15


def test_crops_come_from_everywhere_and_are_pieces_of_the_image():
    index = torch.arange(36, dtype=torch.uint8).view(1, 1, 6, 6).expand(400, 3, 6, 6)
    corners = (255 * Augment(crop=True)(index, 4)[:, 0, 0, 0]).round().long()
    assert set(corners.tolist()) == {6 * top + left for top in range(3) for left in range(3)}


def test_flip_mirrors_about_its_share_left_to_right():
    image = torch.zeros(1000, 3, 2, 2, dtype=torch.uint8)
    image[:, :, 0, 0] = 255
    flipped = Augment(flip=0.3)(image, 2)
    assert 0.2 < flipped[:, 0, 0, 1].mean() < 0.4
    assert flipped[:, :, 1].sum() == 0


def test_warps_stay_within_their_settings():
    # the centre of mass of a white dot at 3/4 of the width, after shifts of 0.1 at most
    image = torch.zeros(200, 3, 40, 40, dtype=torch.uint8)
    image[:, :, 18:22, 28:32] = 255
    moved = Augment(shift=0.1)(image, 40)[:, 0]
    columns = (moved.sum(1) * torch.arange(40)).sum(1) / moved.sum((1, 2)) - 29.5
    assert 3 < columns.max() <= 4.01
    assert -4.01 <= columns.min() < -3


def reaching_the_warp(images, **settings):
    """The parameters that the warp gets for so many images, {name: Tensor [images, ...]}."""
    torch.manual_seed(0)
    drawn = {}

    def warp(images, **parameters):
        drawn.update(parameters)
        return images

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transforms, "warp", warp)
        Augment(**settings)(torch.zeros(images, 3, 8, 8, dtype=torch.uint8), 8)
    return drawn


@pytest.mark.parametrize(
    ("setting", "value"), [("shift", 0.1), ("stretch", 0.2), ("shear", 0.2)], ids=str
)
def test_the_two_axes_are_drawn_independently(setting, value):
    """Of the parameters that reach the warp, among 400 images."""
    drawn = reaching_the_warp(400, **{setting: value})
    amounts = drawn[setting] - (1.0 if setting == "stretch" else 0.0)
    assert amounts.shape == (400, 2)
    assert abs(torch.corrcoef(amounts.T)[0, 1]) < 0.2  # 4 standard deviations
    assert (amounts.abs() <= value).all()
    assert (amounts.std(0) / value - 3**-0.5).abs().max() < 0.1  # uniform on both sides of 0


def test_shifts_go_right_and_down_independently():
    """Where the middle of a white dot has moved to, in 400 images."""
    torch.manual_seed(0)
    image = torch.zeros(400, 3, 40, 40, dtype=torch.uint8)
    image[:, :, 18:22, 18:22] = 255
    moved = Augment(shift=0.2)(image, 40)[:, 0]
    place = torch.arange(40.0)
    right, down = (moved.sum(axis) @ place / moved.sum((1, 2)) - 19.5 for axis in (1, 2))
    assert abs(torch.corrcoef(torch.stack([right, down]))[0, 1]) < 0.2
    assert right.abs().max() > 6
    assert down.abs().max() > 6


def test_colours_stay_within_their_settings():
    image = torch.full((300, 3, 2, 2), 100, dtype=torch.uint8)
    ratio = Augment(brightness=0.3)(image, 2)[:, 0, 0, 0] * 2.55
    assert 0.7 <= ratio.min() < 0.75
    assert 1.25 < ratio.max() <= 1.3


def test_pca_shifts_have_the_covariance_of_the_article():
    image = torch.full((20000, 3, 1, 1), 128, dtype=torch.uint8)
    shifts = Augment(pca=0.1)(image, 1).flatten(1) - 128 / 255
    axes, values = torch.tensor(PCA_VECTORS), torch.tensor(PCA_VALUES)
    expected = axes @ torch.diag((0.1 * values) ** 2) @ axes.T
    torch.testing.assert_close(shifts.T.cov(), expected, atol=1e-5, rtol=0.05)


@pytest.mark.parametrize(
    ("setting", "value"), [("flip", 1.5), ("rotate", -1), ("stretch", 1.0), ("magnitude", 31)]
)
def test_settings_out_of_range_are_refused(setting, value):
    with pytest.raises(ValueError, match=rf"augment.{setting}={value} must be in \[0, "):
        Augment(**{setting: value})


@pytest.mark.parametrize("size", [8, 11])
def test_an_image_that_is_only_mirrored_is_cropped_in_the_centre(size):
    images = torch.randint(256, (3, 3, size, size), dtype=torch.uint8)
    mirrored = Augment(flip=1.0)(images, 5)
    start = (size - 5) // 2
    expected = images[:, :, start : start + 5, start : start + 5].flip(3)
    assert torch.equal((255 * mirrored).round().byte(), expected)


def drawn_kinds(number, images):
    """The operations and signs that RandAugment draws for so many images."""
    found = {}

    def operate(self, batch, kinds, signs):
        found.update(kinds=torch.from_numpy(kinds), signs=signs)
        return batch

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RandAugment, "operate", operate)
        Augment(randaugment=number)(torch.zeros(images, 3, 2, 2, dtype=torch.uint8), 2)
    return found["kinds"], found["signs"]


def test_randaugment_draws_each_of_its_14_operations_alike_for_each_image():
    """Cubuk et al. 2020, section 3: each of K = 14 with probability 1/K."""
    torch.manual_seed(0)
    kinds, signs = drawn_kinds(2, 14_000)
    assert kinds.shape == signs.shape == (2, 14_000)
    for layer in kinds:
        counts = torch.bincount(layer)
        assert len(counts) == 14
        assert (counts - 1000).abs().max() < 150  # 5 standard deviations
    assert abs((kinds[0] == kinds[1]).float().mean() - 1 / 14) < 0.012
    assert set(signs.flatten().tolist()) == {-1.0, 1.0}
    assert signs.mean(1).abs().max() < 0.05
    assert abs((signs[0] * signs[1]).mean()) < 0.05


def test_the_magnitude_is_out_of_30():
    assert Augment(randaugment=1, magnitude=15).rand_augment.level == 0.5


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
def test_each_colour_changes_by_its_own_setting(name):
    torch.manual_seed(0)
    drawn = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transforms, name, lambda images, factor: drawn.append(factor) or images)
        Augment(**{name: 0.4})(torch.zeros(2000, 3, 1, 1, dtype=torch.uint8), 1)
    (factor,) = drawn
    assert factor.shape == (2000,)
    assert 0.6 <= factor.min() < 0.61
    assert 1.39 < factor.max() <= 1.4
    assert abs(factor.mean() - 1) < 0.03


def test_images_are_turned_by_up_to_so_many_degrees_either_way():
    drawn = reaching_the_warp(2000, rotate=30)
    angle = drawn["angle"] * 180 / torch.pi
    assert -30 <= angle.min() < -29
    assert 29 < angle.max() <= 30
    assert (drawn["stretch"] == 1).all()
    assert not drawn["shift"].any()
    assert not drawn["shear"].any()


def test_crop_and_mirror_are_drawn_apart():
    """Corners of crops are as often those of mirrored images, and both axes are their own."""
    torch.manual_seed(0)
    drawn = {}

    def crop_flip(images, resolution, corner, mirror):
        drawn.update(corner=corner.float(), mirror=mirror.float())
        return images

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transforms, "crop_flip", crop_flip)
        Augment(crop=True, flip=0.5)(torch.zeros(2000, 3, 20, 20, dtype=torch.uint8), 10)
    rows = torch.cat([drawn["corner"], drawn["mirror"][None]])
    assert torch.bincount(drawn["corner"][0].long()).shape == (11,)
    assert (torch.corrcoef(rows) - torch.eye(3)).abs().max() < 0.1
