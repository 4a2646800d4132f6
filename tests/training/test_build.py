"""What the settings of a device make of a training, before any data is loaded."""

from functools import partial

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounter
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.optim import SGD
from torch.utils._python_dispatch import TorchDispatchMode

from alexlab.factory import data_module, untrained_network
from alexlab.models import lrn
from alexlab.models.alexnet import AlexNet
from alexlab.runs.config import CONF
from alexlab.training import build
from alexlab.training.module import Learner
from alexlab.training.run import TrainingRun
from alexlab.training.tasks import Classification
from tests.tiny import train


@pytest.fixture
def gpu(monkeypatch):
    """As if there were a GPU, as far as these checks look."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)


def pools(before, after):
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.AdaptiveAvgPool2d(after)).to("meta")
    return build.nondeterministic_layers(net, 3, before)


def test_pooling_that_changes_the_size_is_found():
    assert pools(7, 6) == ["1 (AdaptiveAvgPool2d, 7 x 7 -> 6 x 6)"]
    assert pools(7, 1) == []  # a mean


def test_hooks_are_removed_and_nothing_is_drawn():
    net = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Dropout()).to("meta")
    state = torch.get_rng_state()
    build.nondeterministic_layers(net, 3, 8)
    assert not any(module._forward_hooks for module in net.modules())
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("alexnet", r"model\.pool_before_head=none, a data\.res"),
        ("small_cnn", r"\(AdaptiveAvgPool2d, 64 x 64 -> 6 x 6\); use a data\.resolution"),
    ],
)
def test_deterministic_names_a_way_out_before_data_is_loaded(
    compose, tmp_path, gpu, monkeypatch, model, message
):
    net, shape = nn.AdaptiveAvgPool2d(6), {"in_channels": 3, "resolution": 64}
    monkeypatch.setattr(build, "untrained_network", lambda cfg, num_outputs: (net, shape))
    cfg = compose(f"model={model}", "deterministic=true", "data=folder", "data.root=nowhere")
    with pytest.raises(ValueError, match=message) as caught:
        TrainingRun(cfg, tmp_path, {}, trial=False)
    assert str(caught.value).startswith("deterministic=true: CUDA has no deterministic backward")


@pytest.mark.parametrize(
    "overrides",
    [
        ["model=alexnet", "data.resolution=64"],  # its last map has 1 x 1
        ["model=alexnet", "data.resolution=128"],
        ["model=alexnet", "data.resolution=256"],  # 7 x 7 are averaged to 6 x 6
        ["model=alexnet_torchvision", "data.resolution=64"],  # 1 x 1 are enlarged to 6 x 6
        ["model=small_cnn"],
        ["model=alexnet", "data.resolution=128", "trainer.accelerator=cpu"],
    ],
)
def test_deterministic_nets_pass(compose, gpu, overrides):
    build.check_deterministic(compose(*overrides, "deterministic=true"))


class Operations(TorchDispatchMode):
    """While entered, note the name of each operation."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.add(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


# backward passes that raise an error on CUDA, of torch.use_deterministic_algorithms.__doc__
RAISE = {
    *("_adaptive_avg_pool2d_backward", "adaptive_max_pool2d_backward", "avg_pool3d_backward"),
    *("fractional_max_pool2d_backward", "grid_sampler_2d_backward", "max_pool3d_backward"),
    *("reflection_pad2d_backward", "replication_pad2d_backward", "max_unpool2d"),
    *("upsample_bicubic2d_backward", "upsample_bilinear2d_backward", "upsample_linear1d_backward"),
}
MODELS = [[f"model={path.stem}"] for path in sorted((CONF / "model").glob("*.yaml"))]
NETS = ["alexnet", "vgg16", "squeezenet1_0", "resnet18", "mobilenet_v2", "mobilenet_v3_small"]


SIZED = [(one, size) for one in MODELS for size in (64, 100, 128, 224)]


@pytest.mark.parametrize(
    ("model", "resolution"),
    [(one, size) for one, size in SIZED if one != ["model=pretrained"]]
    + [(["model=pretrained", "model.weights=none", f"model.name={name}"], 64) for name in NETS],
)
def test_each_net_is_deterministic_at_each_size(compose, gpu, monkeypatch, model, resolution):
    """Forward and backward use none of the operations that raise.

    The tensors have no values, and the net takes them for a GPU's.
    """
    cfg = compose(*model, f"data.resolution={resolution}", "deterministic=true")
    build.check_deterministic(cfg)
    net, shape = untrained_network(cfg, num_outputs=5)
    monkeypatch.setattr(torch.Tensor, "is_cuda", True)
    monkeypatch.setattr(lrn, "_triton", lambda: None)
    monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: True)
    with FakeTensorMode(allow_non_fake_inputs=True), Operations() as operations:
        images = torch.empty(2, shape["in_channels"], resolution, resolution)
        net.to_empty(device="cpu").train()(images).sum().backward()
    assert "convolution_backward" in operations.names
    assert operations.names & RAISE == set()


def test_an_operation_that_raises_is_seen():
    with Operations() as operations:
        nn.AdaptiveAvgPool2d(2)(torch.rand(1, 1, 3, 3, requires_grad=True)).sum().backward()
    assert "_adaptive_avg_pool2d_backward" in operations.names & RAISE


def test_it_is_not_checked_where_it_is_not_asked_for(compose, gpu):
    build.check_deterministic(compose("model=alexnet", "data.resolution=128"))


@pytest.mark.parametrize(
    ("setting", "mode"),
    [
        ("false", None),
        ("true", "default"),
        ("default", "default"),
        ("reduce-overhead", "reduce-overhead"),
        ("max-autotune", "max-autotune"),
    ],
)
def test_compile_takes_torchs_modes(compose, monkeypatch, setting, mode):
    modes = []
    monkeypatch.setattr(nn.Module, "compile", lambda self, mode: modes.append(mode))
    learner = Learner(nn.Linear(2, 2), Classification(2), optim=partial(SGD, lr=0.1))
    build.optimize_for_device(compose(f"compile={setting}"), learner)
    assert modes == ([] if mode is None else [mode])


def test_one_graph_trains_and_one_evaluates(config, tmp_path, monkeypatch):
    """By a backend of torch's that counts graphs; batches have 22, 18, 20 and 40 images.

    (On a CPU torch compiles another graph for batches of less than 16.)
    """
    counter, original = CompileCounter(), nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda net, mode: original(net, backend=counter))
    data = ["data=shapes", "data.num_images=210", "data.load_size=32", "data.batch_size=22"]
    data += [f"data.root={tmp_path}/shapes"]
    cfg = config("compile=true", *data, "augment=none")
    training = train(cfg, tmp_path / "run")
    torch._dynamo.reset()
    sizes = {
        split: {len(batch) for batch in getattr(training.data, f"{split}_dataloader")().batches()}
        for split in ("train", "val", "test")
    }
    assert sizes == {"train": {22, 18}, "val": {20}, "test": {40}}
    assert counter.frame_count == 2


@pytest.mark.parametrize("deterministic", ["true", "false"])
def test_cudnn_measures_its_algorithms_unless_a_run_must_repeat(
    compose, tmp_path, monkeypatch, deterministic
):
    """Only the setting: no GPU measures anything here."""
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", deterministic == "true")
    cfg = compose(f"deterministic={deterministic}", "trainer.accelerator=cpu")
    build.trainer(cfg, default_root_dir=tmp_path)
    assert torch.backends.cudnn.benchmark == (deterministic == "false")


def test_the_choice_can_be_made_by_hand(compose):
    options = build.trainer_options(compose("+trainer.benchmark=false"))
    assert options["benchmark"] is False


def test_an_unknown_mode_lists_the_known_ones(compose):
    with pytest.raises(ValueError, match=r"compile=fast: unknown.*reduce-overhead"):
        build.compile_mode(compose("compile=fast"))


def test_other_precisions_keep_lightnings_plugin(compose, tmp_path):
    cfg = compose("trainer.precision=64-true", "trainer.accelerator=cpu")
    plugin = build.trainer(cfg, default_root_dir=tmp_path).precision_plugin
    assert type(plugin).__name__ == "DoublePrecision"


@pytest.mark.parametrize(("task", "mode"), [("classification", "max"), ("regression", "min")])
def test_patience_waits_for_a_better_objective(compose, task, mode):
    (stopping,) = build.optional_callbacks(compose(f"task={task}", "patience=3"), None)
    assert (stopping.mode, stopping.patience) == (mode, 3)


def test_the_initial_weights_are_those_that_torch_draws_after_the_seed(config):
    cfg = config("seed=3")
    learner = build.learner(cfg, data_module(cfg))
    torch.manual_seed(3)
    expected = AlexNet(3, resolution=32, head=[16, 16], width=0.1).state_dict()
    found = learner.net.state_dict()
    assert found.keys() == expected.keys()
    assert all(found[name].equal(expected[name]) for name in expected)
