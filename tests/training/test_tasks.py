from functools import partial

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F
from scipy.stats import spearmanr

from alexlab.training.tasks import (
    Classification,
    ClassificationMetrics,
    Regression,
    RegressionMetrics,
)


def one_hot_outputs(preds, num_classes):
    return F.one_hot(torch.tensor(preds), num_classes).float()


def test_accuracy_and_macro_f1_by_hand():
    # class 0: 2 hits, 1 miss, 1 false alarm: F1 = 4/6; class 1: 1 hit, 1 miss, 1 false alarm:
    # F1 = 2/4; class 2: nothing at all, left out; class 3: 1 target, never predicted: F1 = 0;
    # class 4 predicted once, never a target: F1 = 0
    metrics = ClassificationMetrics(5)
    metrics.update(one_hot_outputs([0, 0, 1], 5), torch.tensor([0, 0, 0]))
    metrics.update(one_hot_outputs([1, 0, 4], 5), torch.tensor([1, 1, 3]))
    values = {name: value.item() for name, value in metrics.compute().items()}
    assert values["acc"] == pytest.approx(3 / 6)
    assert values["top1_error"] == pytest.approx(3 / 6)
    assert values["f1"] == pytest.approx((4 / 6 + 2 / 4 + 0 + 0) / 4)
    assert "top5_error" not in values  # of five classes it would be 0


def test_top5_error_by_hand():
    # the target is the class ranked 1st, 5th, 6th and last
    outputs = torch.arange(8.0).flip(0).repeat(4, 1)  # class 0 first, class 7 last
    metrics = ClassificationMetrics(8)
    metrics.update(outputs, torch.tensor([0, 4, 5, 7]))
    values = metrics.compute()
    assert values["top5_error"] == pytest.approx(2 / 4)
    assert values["top1_error"] == pytest.approx(3 / 4)


def test_collapsed_and_diverged_outputs_are_not_taken_for_right():
    metrics = ClassificationMetrics(10)
    targets = torch.arange(10)
    metrics.update(torch.zeros(10, 10), targets)
    assert metrics.compute()["acc"] == pytest.approx(0.1)
    assert metrics.compute()["top5_error"] >= 0.4 - 1e-6  # the hit, and the five that topk picks
    same = ClassificationMetrics(10)
    same.update(torch.zeros(9, 10), torch.zeros(9, 10).argmax(1))
    assert same.compute()["acc"] == 1
    assert same.compute()["top5_error"] == 0  # whichever of the equals topk picks
    metrics.update(torch.full((10, 10), torch.nan), targets)
    assert metrics.compute()["acc"] == pytest.approx(0.1)


def test_a_softmax_of_two_and_a_sigmoid_are_one_model():
    logits, targets = torch.randn(16, 2), torch.randint(2, (16,))
    difference = logits[:, 1:] - logits[:, :1]
    for smoothing in (0.0, 0.2):
        two = Classification(2, label_smoothing=smoothing)
        one = Classification(2, sigmoid=True, label_smoothing=smoothing)
        assert (two.num_outputs, one.num_outputs) == (2, 1)
        torch.testing.assert_close(one.loss(difference, targets), two.loss(logits, targets))
    soft = torch.rand(16, 1)
    soft = torch.cat([soft, 1 - soft], 1)
    torch.testing.assert_close(one.loss(difference, soft), two.loss(logits, soft))
    values = []
    for task, outputs in ((two, logits), (one, difference)):
        metrics = task.metrics()
        metrics.update(outputs, targets)
        values.append(metrics.compute())
    assert values[0] == values[1]
    assert values[0]["acc"] == (logits.argmax(1) == targets).float().mean()


def test_mixed_targets_are_shares_of_the_images_in_them():
    images = torch.eye(8).view(8, 1, 1, 8).repeat(1, 1, 8, 1)  # image i is white in column i only
    targets = torch.arange(8) % 4
    for settings in ({"mixup": 1.0}, {"cutmix": 1.0}, {"mixup": 0.4, "cutmix": 1.0}):
        torch.manual_seed(1)
        mixed, soft = Classification(4, **settings).mix(images, targets)
        torch.testing.assert_close(soft.sum(1), torch.ones(8))
        assert ((soft > 0).sum(1) == 2).all()
        torch.manual_seed(1)
        again, _ = Classification(4, **settings).mix(images, targets)
        assert torch.equal(mixed, again)
    torch.manual_seed(0)
    mixed, soft = Classification(4, mixup=1.0).mix(images, targets)
    torch.testing.assert_close(mixed[0, 0, 0, 0], soft[0, 0])  # its own share, in pixels and target


def test_images_are_mixed_by_the_alpha_that_was_set():
    """Beta(1000, 1000) has the mean 1/2 and the standard deviation 0.5 / sqrt(2001) = 0.011."""
    images, targets = torch.arange(2.0).view(2, 1, 1, 1).expand(2, 1, 8, 8), torch.arange(2)
    task = Classification(2, mixup=1000.0)
    torch.manual_seed(0)
    shares = [task.mix(images, targets)[0][1].mean().item() for _ in range(20)]
    assert shares == pytest.approx([0.5] * 20, abs=0.05)


def test_cutmix_pastes_a_box_and_the_target_is_its_area():
    images = torch.arange(8.0).view(8, 1, 1, 1).expand(8, 1, 8, 8)
    torch.manual_seed(0)
    mixed, soft = Classification(8, cutmix=1.0).mix(images, torch.arange(8))
    assert set(mixed.unique().tolist()) <= set(range(8))
    shares = torch.stack([(mixed == value).float().mean((1, 2, 3)) for value in range(8)], 1)
    torch.testing.assert_close(shares, soft)
    assert 0 < soft[0, 0] < 1


def test_with_both_on_each_is_chosen_for_half_of_the_batches():
    """CutMix keeps the pixel values 0 to 7, mixup does not."""
    images, targets = torch.arange(8.0).view(8, 1, 1, 1).expand(8, 1, 8, 8), torch.arange(8)
    task, cuts = Classification(8, mixup=1.0, cutmix=1.0), 0
    torch.manual_seed(0)
    for _ in range(100):
        cuts += set(task.mix(images, targets)[0].unique().tolist()) <= set(range(8))
    assert 30 < cuts < 70  # 4 standard deviations of 100 coins


def test_off_nothing_is_mixed():
    images, targets = torch.rand(4, 3, 8, 8), torch.arange(4)
    for task in (Classification(4), Regression()):
        mixed, same = task.mix(images, targets)
        assert mixed is images
        assert same is targets


def test_the_second_class_begins_at_a_logit_of_zero():
    """A probability of 1/2; of 0.25 and -0.25 each class has one."""
    for logit, target in ((0.25, 1), (-0.25, 0)):
        metrics = ClassificationMetrics(2)
        metrics.update(torch.tensor([[logit]]), torch.tensor([target]))
        assert metrics.compute()["acc"] == 1.0


def test_metrics_of_soft_targets_count_the_largest():
    metrics = ClassificationMetrics(3)
    metrics.update(one_hot_outputs([0, 1], 3), torch.tensor([[0.6, 0.4, 0], [0.6, 0.4, 0]]))
    assert metrics.compute()["acc"] == 0.5


@pytest.mark.parametrize(
    ("loss", "expected"), [("l1", (0.5 + 3) / 2), ("l2", (0.25 + 9) / 2), ("huber", 2.625 / 2)]
)
def test_regression_losses_by_hand(loss, expected):
    # errors 0.5 and 3; Huber with delta 1: 0.5 * 0.25 = 0.125 and 3 - 0.5 = 2.5
    value = Regression(loss=loss).loss(torch.tensor([[2.5], [13.0]]), torch.tensor([2.0, 10.0]))
    assert value.item() == pytest.approx(expected)


def test_regression_reports_are_clipped_and_the_loss_is_not():
    outputs, targets = torch.tensor([[-3.0], [13.0]]), torch.tensor([2.0, 10.0])
    task = Regression(low=1, high=10)
    metrics = task.metrics()
    metrics.update(outputs, targets)
    assert metrics.compute()["mae"].item() == pytest.approx((1 + 0) / 2)
    assert metrics.compute()["rmse"].item() == pytest.approx((1 / 2) ** 0.5)
    assert task.loss(outputs, targets).item() == pytest.approx((5 + 3) / 2)
    assert task.predict(outputs).tolist() == [[1.0], [10.0]]


def test_spearman_is_scipys_with_ties():
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(1, 11, (50,), generator=generator).float()
    outputs = targets[:, None] + 4 * torch.randn(50, 1, generator=generator)
    metrics = RegressionMetrics(1, 10)
    for part in torch.arange(50).split(16):
        metrics.update(outputs[part].bfloat16(), targets[part])
    expected = spearmanr(outputs[:, 0].bfloat16().float().clamp(1, 10), targets).statistic
    assert metrics.compute()["spearman"].item() == pytest.approx(expected, abs=1e-5)


def test_one_score_for_all_images_has_no_rank_correlation():
    metrics = RegressionMetrics(1, 10)
    metrics.update(torch.full((9, 1), 5.0), torch.arange(1.0, 10.0))
    assert metrics.compute()["spearman"] == 0


METRICS = [partial(ClassificationMetrics, 7), partial(RegressionMetrics, 1, 10)]


@pytest.mark.parametrize("make", METRICS)
def test_saved_in_mid_epoch_they_go_on_as_if_unbroken(make, tmp_path):
    outputs, targets = torch.rand(20, 7), torch.randint(7, (20,))
    whole, first, second = make(), make(), make()
    whole.update(outputs, targets)
    first.update(outputs[:12], targets[:12])
    torch.save(first.state_dict(), tmp_path / "state")
    second.load_state_dict(torch.load(tmp_path / "state", weights_only=True))
    second.update(outputs[12:], targets[12:])
    assert second.compute() == whole.compute()


def _rank(rank, folder, make, outputs, targets):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/store", rank=rank, world_size=2)
    metrics = make()
    part = slice(0, 7) if rank == 0 else slice(7, 20)
    metrics.update(outputs[part], targets[part])
    torch.save(metrics.compute(), folder / f"{rank}")
    dist.destroy_process_group()


@pytest.mark.parametrize("make", METRICS)
def test_over_two_processes_each_image_counts_once(make, tmp_path):
    outputs, targets = torch.rand(20, 7), torch.randint(7, (20,))
    whole = make()
    whole.update(outputs, targets)
    arguments = (tmp_path, make, outputs, targets)
    mp.start_processes(_rank, arguments, nprocs=2, start_method="fork")
    for rank in ("0", "1"):
        for name, value in torch.load(tmp_path / rank).items():
            torch.testing.assert_close(value, whole.compute()[name])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Classification(1), "two classes or more"),
        (lambda: Classification(3, sigmoid=True), "sigmoid"),
        (lambda: Classification(3, label_smoothing=1.0), "label_smoothing=1.0"),
        (lambda: Classification(3, mixup=-1.0), "mixup=-1.0"),
        (lambda: Regression(5), "5 classes"),
        (lambda: Regression(loss="l3"), "did you mean"),
        (lambda: Regression(low=3, high=3), "low=3"),
    ],
)
def test_wrong_settings_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_one_output_is_the_logit_of_the_second_class():
    """sigmoid(2) = 0.8807971."""
    found = Classification(2, sigmoid=True).predict(torch.tensor([[2.0], [-2.0]]))
    expected = torch.tensor([[0.1192029, 0.8807971], [0.8807971, 0.1192029]])
    torch.testing.assert_close(found, expected)
