"""Numbers worked out by hand, and a training that is not changed by being looked at."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from alexlab import factory
from alexlab.runs.folder import Stopped
from alexlab.training import build
from alexlab.training.callbacks.diagnostics import ActivationStats, Diagnostics
from tests.tiny import rows, same, train, weights


def statistics(net, *batches):
    net.eval()
    watched = ActivationStats(net)
    for batch in batches:
        net(batch)
    watched.stop()
    assert not any(module._forward_hooks for module in net.modules())
    return watched.values()


def linear(weight, act):
    layer = nn.Linear(len(weight[0]), len(weight), bias=False)
    layer.weight.data = torch.tensor(weight)
    return nn.Sequential(layer, act)


def test_relu_units_by_hand():
    """Inputs 1, 2 | 3 (two batches) and units x, -x, x-2: outputs (1,0,0), (2,0,0), (3,0,1)."""
    net = nn.Sequential(nn.Linear(1, 3), nn.ReLU())
    net[0].weight.data = torch.tensor([[1.0], [-1.0], [1.0]])
    net[0].bias.data = torch.tensor([0.0, 0.0, -2.0])
    outputs = [1, 0, 0, 2, 0, 0, 3, 0, 1]
    found = statistics(net, torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0]]))
    assert found == pytest.approx(
        {
            "0/act_mean": 7 / 9,
            "0/act_std": float(np.std(outputs)),
            "0/sparse": 5 / 9,
            "0/dead": 1 / 3,  # the third fires for the last image only
        }
    )


def test_a_unit_that_fires_in_the_first_batch_only_is_not_dead():
    """Inputs 3 | 1, 2 and units -x, x-2: outputs (0,1), (0,0), (0,0)."""
    net = nn.Sequential(nn.Linear(1, 2), nn.ReLU())
    net[0].weight.data = torch.tensor([[-1.0], [1.0]])
    net[0].bias.data = torch.tensor([0.0, -2.0])
    found = statistics(net, torch.tensor([[3.0]]), torch.tensor([[1.0], [2.0]]))
    assert found["0/dead"] == 1 / 2


def test_a_kernel_is_dead_where_it_fires_at_no_position():
    net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.ReLU())
    net[0].weight.data[:] = 1.0
    net[0].bias.data = torch.tensor([0.0, -8.5])  # of 0..8 nothing passes 8.5; all but 0 pass 0
    found = statistics(net, torch.arange(9.0).view(1, 1, 3, 3))
    assert found["0/dead"] == 0.5
    net[0].bias.data[1] = -7.5  # one position passes
    assert statistics(net, torch.arange(9.0).view(1, 1, 3, 3))["0/dead"] == 0.0


def test_no_more_batches_than_the_asked_images_are_measured():
    """Two images are asked for: the first batch has them, the second is not looked at."""
    net = linear([[1.0]], nn.ReLU())
    watched = ActivationStats(net, 2)
    for batch in ([[1.0], [2.0]], [[9.0], [9.0]]):
        net(torch.tensor(batch))
    assert watched.values()["0/act_mean"] == 1.5
    assert not any(module._forward_hooks for module in net.modules())


@pytest.mark.parametrize(
    ("act", "edge"),
    [
        (nn.Tanh(), math.atanh(0.9)),  # 1.472
        (nn.Sigmoid(), math.log(0.95 / 0.05)),  # 2.944
    ],
)
def test_saturated_is_the_outer_twentieth_of_the_range_at_both_ends(act, edge):
    inputs = torch.tensor([[-edge - 0.01], [-edge + 0.01], [0.0], [edge - 0.01], [edge + 0.01]])
    found = statistics(linear([[1.0]], act), inputs)
    assert found["0/saturated"] == pytest.approx(2 / 5)
    assert "0/dead" not in found


def test_units_stuck_at_one_keep_their_tiny_spread():
    inputs = torch.tensor([[9.0], [9.5], [10.0], [10.5]])
    found = statistics(linear([[1.0]], nn.Sigmoid()), inputs)
    exact = np.std(1 / (1 + np.exp(-inputs.numpy().astype(np.float64))))  # 4e-5
    assert found["0/act_std"] == pytest.approx(exact, rel=1e-2)


def test_a_shared_activation_counts_for_the_layer_before_it_and_a_last_layer_has_none():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.Linear(1, 1), nn.Linear(1, 1), nn.Linear(1, 1)
            self.act = nn.ReLU()
            for layer, weight in ((self.a, 1.0), (self.b, -1.0)):
                layer.weight.data[:], layer.bias.data[:] = weight, 0.0

        def forward(self, x):
            return self.c(self.act(self.b(self.act(self.a(x)))))

    found = statistics(Shared(), torch.ones(2, 1))
    assert (found["a/act_mean"], found["b/act_mean"]) == (1.0, 0.0)
    assert not any(name.startswith("c/") for name in found)


def test_looking_changes_nothing_and_a_resume_has_the_same_rows(config, tmp_path):
    """Dropout and augmentation draw random numbers; a stop in an epoch loses none of its steps."""
    plain = weights(train(config(), tmp_path / "off"))
    looked = config("diagnostics=on")
    assert same(weights(train(looked, tmp_path / "on")), plain)
    without = [
        {k: v for k, v in row.items() if not k.startswith("diag/")} for row in rows(tmp_path / "on")
    ]
    assert without == rows(tmp_path / "off")
    columns = set(rows(tmp_path / "on")[0]) - set(without[0])
    layers = ["features.conv1", "features.conv5", "classifier.fc7"]
    for quantity in ("grad_norm", "update_ratio", "act_mean", "act_std", "dead", "sparse"):
        assert {f"diag/{layer}/{quantity}" for layer in layers} <= columns
    assert "diag/classifier.fc8/act_mean" not in columns  # the outputs have no activation
    with pytest.raises(Stopped):
        train(looked, tmp_path / "stopped", stop_after=7)
    assert same(weights(train(looked, tmp_path / "stopped")), plain)
    assert rows(tmp_path / "stopped") == rows(tmp_path / "on")


def test_gradient_and_update_are_those_of_a_step_by_hand(config, tmp_path):
    """All of train in one batch, plain SGD: the update is the rate times the gradient."""
    settings = ["data.batch_size=12", "data.load_size=32", "augment=none", "optim.momentum=0.0"]
    settings += ["model.dropout=0.0", "model.width=2.0", "trainer.max_epochs=1"]
    cfg = config(*settings, "diagnostics=on")
    data = factory.data_module(cfg)
    net = build.learner(cfg, data).net
    images, targets = next(iter(data.train_dataloader()))
    F.cross_entropy(net(data.preprocess(images, training=False)), targets).backward()
    train(cfg, tmp_path / "run")
    (row,) = rows(tmp_path / "run")
    for name, layer in net.named_modules():
        if hasattr(layer, "weight"):
            gradient = layer.weight.grad
            assert float(row[f"diag/{name}/grad_norm"]) == pytest.approx(
                float(gradient.detach().norm()), rel=1e-3
            )
            ratio = 0.05 * gradient.norm() / layer.weight.detach().norm()
            tolerance = 0.3 if layer.weight.numel() > 300_000 else 1e-2  # of a share of the units
            assert float(row[f"diag/{name}/update_ratio"]) == pytest.approx(
                float(ratio), rel=tolerance
            )


@pytest.mark.parametrize(
    ("batches", "measured"), [(8, [1, 3, 5, 7]), (100, [12, 37, 62, 87]), (3, [0, 1, 2])]
)
def test_the_measured_steps_are_the_middles_of_four_parts_of_an_epoch(batches, measured):
    diagnostics, learner = Diagnostics(None), SimpleNamespace(net=nn.Sequential(nn.Linear(2, 2)))
    learner.net(torch.ones(1, 2)).sum().backward()
    steps = []
    for batch in range(batches):
        loop = SimpleNamespace(epoch_loop=SimpleNamespace(batch_idx=batch))
        trainer = SimpleNamespace(fit_loop=loop, num_training_batches=batches)
        before = len(diagnostics.steps)
        diagnostics.on_before_optimizer_step(trainer, learner, None)
        steps += [batch] * (len(diagnostics.steps) - before)
    assert steps == measured


def test_an_update_is_measured_against_the_weights_before_it():
    """The weights 3 and 4, of norm 5, become 0 and 4: a change of 3 is 0.6 of them."""
    layer = nn.Linear(2, 1, bias=False)
    layer.weight.data = torch.tensor([[3.0, 4.0]])
    diagnostics, learner = Diagnostics(None), SimpleNamespace(net=nn.Sequential(layer))
    learner.net(torch.ones(1, 2)).sum().backward()
    loop = SimpleNamespace(epoch_loop=SimpleNamespace(batch_idx=0))
    trainer = SimpleNamespace(fit_loop=loop, num_training_batches=1)
    diagnostics.on_before_optimizer_step(trainer, learner, None)
    layer.weight.data = torch.tensor([[0.0, 4.0]])
    diagnostics.on_train_batch_end(trainer, learner)
    assert diagnostics.steps[0]["0/update_ratio"] == pytest.approx(0.6)


def test_frozen_layers_have_activations_only(compose, image_folder, tmp_path):
    cfg = compose(
        *["data=folder", f"data.root={image_folder}", "data.resolution=32", "data.batch_size=6"],
        *["model=pretrained", "model.weights=none", "model.freeze=all", "diagnostics=on"],
        *["trainer.max_epochs=1", f"cache_dir={tmp_path}/.cache"],
    )
    with pytest.warns(UserWarning, match="stay random"):
        train(cfg, tmp_path / "run")
    (row,) = rows(tmp_path / "run")
    assert row["diag/head.0/grad_norm"]
    assert row["diag/backbone.features.0/act_mean"]
    assert "diag/backbone.features.0/grad_norm" not in row


def test_a_compiled_net_is_refused(config):
    with pytest.raises(ValueError, match="fuses them; set compile=false"):
        build.optional_callbacks(config("diagnostics=on", "compile=true"), None)


def test_the_board_gets_filters_maps_a_chart_a_quantity_and_curves_a_class(config, tmp_path):
    train(config("diagnostics=on"), tmp_path / "run")
    events = EventAccumulator(str(tmp_path / "run")).Reload()
    assert {"filters", "feature_maps", "train/batch"} <= set(events.Tags()["images"])
    assert "diag/features.conv1/dead" in events.Tags()["scalars"]
    layout = events.Tensors("custom_scalars__config__")[0].tensor_proto.string_val[0]
    assert b"^diag/.*/update_ratio$" in layout
    assert b"^(train|val)/acc$" in layout
    assert b"saturated" not in layout  # ReLU has no flat end
    counts = factory.data_module(config()).counts["test"]
    for name, count in counts.items():
        curve = events.Tensors(f"pr/{name}")[0].tensor_proto
        table = np.array(curve.float_val).reshape(6, -1)  # tp fp tn fn precision recall
        assert table[:4, 0].tolist() == [count, sum(counts.values()) - count, 0, 0]  # threshold 0
        assert table[5, 0] == 1.0
