"""Every setting has a type and a range, and what is outside of them is named with its value."""

import inspect

import lightning as L
import pytest
import yaml

from alexlab.data.representation import REPRESENTATIONS
from alexlab.models import alexnet, blocks, pretrained
from alexlab.models.activations import ACTIVATIONS
from alexlab.models.backbones import FREEZE
from alexlab.runs.config import CONF
from alexlab.runs.settings import (
    DIRECTIONS,
    SETTINGS,
    TRAINER_OF_THE_RUN,
    check_settings,
)
from alexlab.training import build
from alexlab.training.tasks import LOSSES, Classification, Regression

NOT_OF_A_RUN = {"sweep", "hydra", "defaults", "trainer"}


def files():
    """(group or "", content) of each file in conf/ that has settings of a run."""
    for path in [CONF / "train.yaml", *CONF.glob("*/*.yaml")]:
        group = path.parent.name if path.parent != CONF else ""
        if group not in ("study", "scale", "logger", "callbacks"):  # the last two: their makers'
            yield group, yaml.safe_load(path.read_text("utf-8")) or {}


def test_every_setting_of_conf_has_a_rule():
    keys = set()
    for group, content in files():
        if "# @package" in str(content) or group == "task":
            keys |= {key for key in content if key != "task"}
            content = content["task"]
        prefix = f"{group}." if group else ""
        keys |= {f"{prefix}{key}" for key in content}
        keys |= {f"trainer.{key}" for key in content.get("trainer", {})}
    keys = {key for key in keys if key.split(".")[-1] not in ("_target_", "_partial_", "defaults")}
    assert keys - NOT_OF_A_RUN - set(SETTINGS) == set()
    assert len(keys) > 100


def test_every_argument_of_lightning_s_trainer_is_supported_or_refused():
    names = set(inspect.signature(L.Trainer.__init__).parameters) - {"self"}
    supported = {key.removeprefix("trainer.") for key in SETTINGS if key.startswith("trainer.")}
    assert names == (supported - {"auto_batch"}) | set(TRAINER_OF_THE_RUN)
    assert not supported & set(TRAINER_OF_THE_RUN)


@pytest.mark.parametrize(
    ("key", "choices"),
    [
        ("act", ACTIVATIONS),
        ("data.representation", REPRESENTATIONS),
        ("task.loss", LOSSES),
        ("compile", ["true", "false", *build.COMPILE_MODES]),
        ("model.norm", blocks.NORMS),
        ("model.pool", blocks.POOLS),
        ("model.dropout_at", blocks.DROPOUT_AT),
        ("model.dropout_kind", blocks.DROPOUTS),
        ("model.stem", ["auto", *alexnet.STEMS]),
        ("model.head", pretrained.HEADS),
        ("model.inputs", ["auto", *pretrained.INPUTS]),
    ],
)
def test_the_choices_are_those_of_the_code(key, choices):
    assert set(SETTINGS[key].options) == set(choices)


def test_every_policy_of_freezing_is_allowed():
    assert all(SETTINGS["model.freeze"].allows(policy) for policy in (*FREEZE, ["features.0"]))


def test_the_directions_are_those_of_the_metrics_of_our_tasks():
    import torch

    names = {"loss"}
    for task in (Classification(6), Regression()):  # five classes have no top-5 error
        metrics = task.metrics()
        metrics.update(torch.zeros(2, task.num_outputs), torch.zeros(2, dtype=torch.long))
        names |= set(metrics.compute())
    assert set(DIRECTIONS) == names


@pytest.mark.parametrize("study", sorted(path.stem for path in CONF.glob("study/*.yaml")))
def test_the_settings_of_every_study_pass(compose, study):
    compose(f"study={study}")


def test_the_settings_of_every_option_pass(compose):
    for path in CONF.glob("*/*.yaml"):
        if path.parent.name not in ("study", "scale"):
            compose(f"{path.parent.name}={path.stem}")


WRONG = [
    ("trainer.max_epochs=5.0", "a whole number of at least 1"),
    ("trainer.max_epochs=0", "a whole number of at least 1"),
    ("trainer.max_epochs=true", "a whole number of at least 1"),
    ("seed=-1", "a whole number from 0 to 4294967295"),
    ("seed=1.5", "a whole number"),
    ("seed=null", "a whole number"),
    ("optim.lr=abc", "a number greater than 0"),
    ("optim.lr=0", "a number greater than 0"),
    ("optim.lr=nan", "a number greater than 0"),
    ("optim.lr=inf", "a number greater than 0"),
    ("optim.lr=[0.1]", "a number greater than 0"),
    ("optim.momentum=-0.9", "a number of at least 0"),
    ("optim.weight_decay=none", "a number of at least 0"),
    ("optim.fused=yes", "true or false"),
    ("data.batch_size=16.0", "a whole number of at least 1"),
    ("data.batch_size=big", "a whole number of at least 1"),
    ("data.resolution=64px", "a whole number of at least 1"),
    ("data.root=2024", "write ./2024 for a number"),
    ("data.val_fraction=0", "a number above 0 and below 1"),
    ("data.split_seed=x", "a whole number from 0"),
    ("data.classes=[[a]]", "a list [...] of names, or null"),
    ("data.split=grupped", "unknown; did you mean grouped"),
    ("patience=0", "a whole number of at least 1, or null"),
    ("ema_decay=1", "a number of at least 0 and below 1, or null"),
    ("save_every_s=-1", "a number of at least 0"),
    ("test_crops=10", "a list [...] of each 1, 10 or 144"),
    ("test_crops=[5]", "a list [...] of each 1, 10 or 144"),
    ("deterministic=maybe", "true or false"),
    ("diagnostics=true", "one of on, off"),
    ("compile=fast", "unknown; did you mean false"),
    ("direction=up", "unknown"),
    ("trainer.devices=0", "a number of devices"),
    ("trainer.devices=two", "a number of devices"),
    ("trainer.precision=8", "one of auto, 32-true"),
    ("trainer.accelerator=gpuu", "unknown; did you mean gpu"),
    ("trainer.gradient_clip_val=-1", "a number of at least 0, or null"),
    ("trainer.accumulate_grad_batches=0", "a whole number of at least 1"),
    ("+trainer.limit_val_batches=0", "a whole number of batches, at least 1, or a fraction"),
    ("+trainer.limit_train_batches=1.5", "a whole number of batches, at least 1, or a fraction"),
    ("+trainer.overfit_batches=0.5", "a whole number of at least 0"),
    ("+trainer.max_time=60", "a time DD:HH:MM:SS above 0, or null"),
    ("+trainer.max_time=00:00:00:00", "a time DD:HH:MM:SS above 0, or null"),
    ("trainer.devices=[]", "a list [...] of their numbers"),
    ("+trainer.max_steps=0", "a whole number of at least 1 or -1 for no limit"),
    ("+trainer.profiler=fast", "unknown; choose from simple"),
    ("augment.flip=2", "a number from 0 to 1"),
    ("task.label_smoothing=1", "a number of at least 0 and below 1"),
    ("model=alexnet model.head=4096", "a list [...] of each a whole number"),
    ("model=alexnet model.dropout=50", "a number of at least 0 and below 1"),
    ("sched=step sched.step_size=0", "a whole number of at least 1"),
    ("sched=piecewise sched.lrs=[0.1,-1]", "a list [...] of each a number greater than 0"),
    ("sched=plateau sched.factor=10", "a number above 0 and below 1"),
    ("+optim.nesterov=1", "true or false"),
    ("optim=adam +optim.betas=[0.9]", "a list [...] of 2 values, each"),
]


@pytest.mark.parametrize(("overrides", "expected"), WRONG)
def test_a_wrong_value_is_named_with_its_key(compose, overrides, expected):
    key, _, value = overrides.split()[-1].lstrip("+").partition("=")
    with pytest.raises(ValueError, match="=") as refusal:
        compose(*overrides.split())
    told = str(refusal.value).replace("'", "").replace(", ", ",")
    assert told.startswith(f"{key}={value}: "), told
    assert expected.replace("'", "").replace(", ", ",") in told
    assert "\n" not in told


# values at both ends of a range: (allowed, refused), after the documentation of torch, Lightning,
# NumPy (seeds) and RandAugment
EDGES = {
    "seed": ([0, 2**32 - 1], [-1, 2**32, 0.0, True]),
    "effective_batch_size": ([1], [0]),
    "ema_decay": ([None, 0.0, 0.999], [1, 1.0, -0.1]),
    "test_crops": ([[1], [1, 10, 144]], [[2], [True], 10, "10"]),
    "patience": ([None, 1], [0, 1.5]),
    "save_every_s": ([0, 0.5], [-0.1, None]),
    "trainer.max_epochs": ([1], [0, None, 1.0]),
    "trainer.devices": ([1, -1, "auto", [0], [2, 3], "0,2"], [0, -2, True, [], [-1], "a", "0;1"]),
    "trainer.precision": (["auto", "16-mixed", 16, 32, 64], [8, True, None]),
    "trainer.gradient_clip_val": ([None, 0, 0.5], [-0.1, "1"]),
    "trainer.accumulate_grad_batches": ([1], [0, 1.5]),
    "trainer.num_nodes": ([1], [0]),
    "trainer.fast_dev_run": ([True, False, 1], [0, -1]),
    "trainer.min_epochs": ([None, 1], [0]),
    "trainer.max_steps": ([-1, 1], [0, -2, None]),
    "trainer.min_steps": ([None, 1], [0]),
    "trainer.max_time": ([None, "00:00:00:01"], ["00:00:00:00", "00:00:01", "1:2:3:-4"]),
    "trainer.limit_train_batches": ([None, 1, 1.0, 0.01], [0, 0.0, 1.01, -1, True]),
    "trainer.limit_val_batches": ([None, 1, 1.0, 0.01], [0, 0.0, 1.01]),
    "trainer.limit_test_batches": ([None, 1, 1.0, 0.01], [0, 0.0, 1.01]),
    "trainer.overfit_batches": ([0, 1], [-1, 0.5]),
    "trainer.num_sanity_val_steps": ([0], [-1]),
    "trainer.reload_dataloaders_every_n_epochs": ([0], [-1]),
    "trainer.gradient_clip_algorithm": ([None, "norm", "value"], ["l2"]),
    "data.resolution": ([1], [0, 32.0]),
    "data.load_size": ([None, 1], [0]),
    "data.batch_size": ([1], [0]),
    "data.split_seed": ([0, 2**32 - 1], [-1, 2**32]),
    "data.val_fraction": ([0.01, 0.99], [0, 1]),
    "data.test_fraction": ([0.01, 0.99], [0, 1]),
    "data.fraction": ([0.01, 1], [0, 1.01]),
    "data.classes": ([None, ["a"], [1, 2], "a"], [[], [["a"]], {"a": 1}]),
    "data.seed": ([0, 2**32 - 1], [-1, 2**32]),
    "data.num_images": ([1], [0]),
    "data.draw_seed": ([0, 2**32 - 1], [-1, 2**32]),
    "task.label_smoothing": ([0, 0.99], [1, -0.1]),
    "task.mixup": ([0, 2.5], [-0.1]),
    "task.cutmix": ([0, 2.5], [-0.1]),
    "task.low": ([-3, 0, 2.5], [True, "1"]),
    "task.high": ([-3, 0, 2.5], [True, "1"]),
    "optim.lr": ([1e-9, 10], [0, -0.1, float("inf"), float("nan")]),
    "optim.momentum": ([0, 0.9], [-0.1]),
    "optim.weight_decay": ([0, 0.1], [-0.1]),
    "optim.dampening": ([0, -1, 0.5], ["none"]),
    "optim.alpha": ([0, 0.99], [1, -0.1]),
    "optim.eps": ([0, 1e-8], [-1e-8]),
    "optim.betas": ([[0, 0.999]], [[0.9], [0.9, 1], [-0.1, 0.9], [0.9, 0.9, 0.9], 0.9]),
    "sched.T_max": ([1], [0]),
    "sched.eta_min": ([0, 0.1], [-0.1]),
    "sched.drop_epoch": ([1], [0]),
    "sched.drop_lr": ([1e-9], [0]),
    "sched.gamma": ([0.1, 2], [0]),
    "sched.milestones": ([[1], [1, 5]], [[0], 5, [1.5]]),
    "sched.lrs": ([[0.1]], [[0], 0.1]),
    "sched.factor": ([0.01, 0.99], [0, 1]),
    "sched.patience": ([0], [-1]),
    "sched.step_size": ([1], [0]),
    "sched.warmup_epochs": ([1], [0]),
    "sched.max_epochs": ([1], [0]),
    "augment.rotate": ([0, 180], [-1, 181]),
    "augment.stretch": ([0, 0.9], [-0.1, 0.91]),
    "augment.pca": ([0, 0.1, 3], [-0.1]),
    "augment.randaugment": ([0, 14], [-1, 15, 2.0]),
    "augment.magnitude": ([0, 30, 9.5], [-1, 31]),
    **{
        f"augment.{name}": ([0, 0.5, 1], [-0.1, 1.1])
        for name in ("flip", "shift", "shear", "brightness", "contrast", "saturation")
    },
    "model.groups": ([1, 2], [0]),
    "model.width": ([0.1, 2], [0, -1]),
    "model.dropout": ([0, 0.99, [0, 0.5]], [1, -0.1, [0.5], [0, 1], [0, 0, 0]]),
    "model.feature_dropout": ([None, 0, 0.5], [1]),
    "model.head": ([[1], [16, 16], "linear", "mlp"], [[0], 16, "deep"]),
    "model.stride": ([1], [0]),
    "model.k": ([0], [-1]),
    "model.backbone_lr_scale": ([0, 0.1, 2], [-0.1]),
}


@pytest.mark.parametrize("key", EDGES)
def test_a_range_ends_where_it_is_documented(key):
    allowed, refused = EDGES[key]
    assert [SETTINGS[key].allows(value) for value in allowed] == [True] * len(allowed)
    assert [SETTINGS[key].allows(value) for value in refused] == [False] * len(refused)


def test_no_range_of_numbers_is_left_out():
    numbers = {key for key, rule in SETTINGS.items() if "number" in rule.text}
    folders = {key for key in numbers if "folder" in SETTINGS[key].text}
    assert numbers - folders <= set(EDGES)


@pytest.mark.parametrize(
    "overrides",
    [
        "optim.lr=1",
        "seed=4294967295",
        "trainer.precision=32",
        "trainer.precision=16-mixed",
        "trainer.devices=[0]",
        "trainer.devices='0,1'",
        "trainer.devices=-1",
        "trainer.devices=auto",
        "+trainer.limit_train_batches=1.0",
        "+trainer.max_time='00:12:00:00'",
        "data.classes=[1,true,null,1e5,red]",
        "data.classes=red",
        "compile=true",
        "compile=max-autotune",
        "patience=3",
        "model=naive_cnn model.dropout=[0,0.5]",
        "model=pretrained model.freeze=[features.0]",
        "task=regression data.targets=score",
        "objective=train/loss direction=minimize",
        "objective=val/my_metric direction=minimize",
    ],
)
def test_a_right_value_passes(compose, overrides):
    compose(*overrides.split())


@pytest.mark.parametrize("name", TRAINER_OF_THE_RUN)
def test_what_a_run_does_itself_is_refused_by_name(compose, name):
    with pytest.raises(ValueError, match=rf"trainer\.{name}=True: cannot be set: .+; remove it"):
        compose(f"+trainer.{name}=true")


def test_an_argument_that_lightning_does_not_have_is_refused(compose):
    expected = r"trainer\.max_step=4: .*no such argument; did you mean .*max_steps"
    with pytest.raises(ValueError, match=expected):
        compose("+trainer.max_step=4")


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ("objective=val/loss", "objective=val/loss direction=maximize: .*set direction=minimize"),
        ("direction=minimize", "objective=val/acc direction=minimize: .*set direction=maximize"),
        ("objective=train/top1_error", "set direction=minimize"),
        ("objective=test/acc", r"objective=test/acc: must be .*\(test is never used to select\)"),
        ("objective=acc", "objective=acc: must be a metric of val or train, as in val/acc"),
        ("+trainer.max_steps=4 +trainer.min_epochs=2", "trainer.max_steps=4: cannot be used with"),
        ("+trainer.max_steps=4 +trainer.min_steps=6", "trainer.max_steps=4: cannot be used with"),
    ],
)
def test_settings_that_disagree_are_refused(compose, overrides, expected):
    with pytest.raises(ValueError, match=expected):
        compose(*overrides.split())


def test_a_part_of_a_user_s_own_checks_its_own_settings():
    check_settings({"model": {"_target_": "mine.Net", "width": "wide"}, "optim": {}})
    with pytest.raises(ValueError, match=r"model\.width=wide"):
        check_settings({"model": {"_target_": "alexlab.models.alexnet.AlexNet", "width": "wide"}})
    with pytest.raises(ValueError, match=r"optim=7: must be a group"):
        check_settings({"optim": 7})
