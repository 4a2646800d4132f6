"""Check the settings of a run with one table of types and ranges, for every command.

The table has every setting of conf/, and every argument of Lightning's Trainer. The settings of a
part (model, data, task, optim, sched, augment) are checked if its `_target_` is ours or torch's; a
user's own class has to check its settings itself. This module does not import torch.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from alexlab.errors import suggest

Allowed = Callable[[Any], bool]


@dataclass(frozen=True)
class Rule:
    """Describe the allowed values of a setting; `text` completes the sentence "must be ..."."""

    text: str
    allows: Allowed
    options: tuple[str, ...] = ()  # the allowed names, if any

    def problem(self, key: str, value: Any) -> str | None:
        """Return the error message for `value`; None if it is allowed."""
        if self.allows(value):
            return None
        if self.options and isinstance(value, str):
            return f"{key}={value}: unknown{suggest(value, self.options)}"
        shown = {None: "null", True: "true", False: "false"}
        text = shown[value] if value is None or isinstance(value, bool) else value
        return f"{key}={text}: must be {self.text}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def whole(least: int, most: int | None = None) -> Rule:
    """Allow integers from `least` to `most`; a float such as 5.0 is not allowed."""
    bounds = f"of at least {least}" if most is None else f"from {least} to {most}"
    high = math.inf if most is None else most
    return Rule(f"a whole number {bounds}", lambda v: _is_whole(v) and least <= v <= high)


def number(text: str, within: Allowed) -> Rule:
    """Allow finite numbers for which `within` is true; `text` describes them."""
    return Rule(f"a number {text}", lambda v: _is_number(v) and within(v))


def choice(*options: str) -> Rule:
    """Allow the names `options`."""
    text = f"one of {', '.join(options)}"
    return Rule(text, lambda v: isinstance(v, str) and v in options, options)


def either(*rules: Rule) -> Rule:
    """Allow values that one of the rules allows."""
    text = " or ".join(rule.text for rule in rules)
    options = tuple(option for rule in rules for option in rule.options)
    return Rule(text, lambda v: any(rule.allows(v) for rule in rules), options)


def each(rule: Rule, length: int | None = None) -> Rule:
    """Allow lists of values that `rule` allows, of the given length if it is not None."""
    count = "" if length is None else f"{length} values, "

    def allows(value: Any) -> bool:
        fits = isinstance(value, list) and (length is None or len(value) == length)
        return fits and all(rule.allows(one) for one in value)

    return Rule(f"a list [...] of {count}each {rule.text}", allows)


def optional(rule: Rule) -> Rule:
    """Allow null in addition to the values that `rule` allows."""
    return Rule(f"{rule.text}, or null", lambda v: v is None or rule.allows(v), rule.options)


FLAG = Rule("true or false", lambda v: isinstance(v, bool))
TEXT = Rule("a text", lambda v: isinstance(v, str) and bool(v))
FOLDER = Rule(
    "a folder's name; write ./2024 for a number", lambda v: isinstance(v, str) and bool(v)
)
NAMES = Rule(
    "a list [...] of names",
    lambda v: (
        isinstance(v, str | int | float)
        or (isinstance(v, list) and bool(v) and not any(isinstance(one, list | dict) for one in v))
    ),
)
POSITIVE = number("greater than 0", lambda v: v > 0)
NOT_NEGATIVE = number("of at least 0", lambda v: v >= 0)
SHARE = number("from 0 to 1", lambda v: 0 <= v <= 1)
PART_OF_ONE = number("above 0 and below 1", lambda v: 0 < v < 1)
DROPOUT = number("of at least 0 and below 1", lambda v: 0 <= v < 1)
# number of batches: for Lightning 1 means one batch, and 1.0 all batches
AMOUNT = Rule(
    "a whole number of batches, at least 1, or a fraction above 0 and at most 1.0",
    lambda v: v >= 1 if _is_whole(v) else _is_number(v) and 0 < v <= 1,
)
_NUMBERS = each(Rule("a number", lambda v: _is_whole(v) and v >= 0))
DEVICES = either(
    Rule("a number of devices, at least 1", lambda v: _is_whole(v) and v >= 1),
    Rule("-1 for all", lambda v: v in (-1, "-1") and not isinstance(v, bool)),
    Rule("auto", lambda v: v == "auto"),
    Rule("a list [...] of their numbers", lambda v: bool(v) and _NUMBERS.allows(v)),
    Rule(
        "their numbers, as in '0,2'",
        lambda v: isinstance(v, str) and all(n.strip().isdigit() for n in v.split(",")),
    ),
)
DURATION = Rule(
    "a time DD:HH:MM:SS above 0",
    lambda v: (
        isinstance(v, str)
        and len(v.split(":")) == 4
        and all(part.isdecimal() for part in v.split(":"))
        and any(int(part) for part in v.split(":"))
    ),
)
PRECISIONS = (
    *("auto", "32-true", "32", "bf16-mixed", "bf16", "16-mixed", "16", "bf16-true", "16-true"),
    *("64-true", "64", "transformer-engine", "transformer-engine-float16"),
)
PRECISION = either(
    choice(*PRECISIONS), Rule("16, 32 or 64", lambda v: _is_whole(v) and v in (16, 32, 64))
)

ACT = choice("sigmoid", "tanh", "relu", "leaky_relu", "elu", "gelu", "silu", "mish", "identity")

# arguments of Lightning's Trainer that a user may set, in addition to those in conf/train.yaml
TRAINER = {
    "num_nodes": whole(1),
    "fast_dev_run": either(FLAG, whole(1)),
    "min_epochs": optional(whole(1)),
    "max_steps": either(whole(1), Rule("-1 for no limit", lambda v: v == -1)),
    "min_steps": optional(whole(1)),
    "max_time": optional(DURATION),
    "limit_train_batches": optional(AMOUNT),
    "limit_val_batches": optional(AMOUNT),
    "limit_test_batches": optional(AMOUNT),
    "overfit_batches": whole(0),
    "num_sanity_val_steps": whole(0),
    "gradient_clip_algorithm": optional(choice("norm", "value")),
    "benchmark": optional(FLAG),
    "inference_mode": FLAG,
    "profiler": optional(choice("simple", "advanced", "pytorch", "xla")),
    "detect_anomaly": FLAG,
    "sync_batchnorm": FLAG,
    "reload_dataloaders_every_n_epochs": whole(0),
}
# the other arguments, with the reason why they cannot be set
TRAINER_OF_THE_RUN = {
    "logger": "set logger=NAME, without trainer.",
    "callbacks": "set callbacks=[NAME], without trainer.",
    "val_check_interval": "a run validates once, after each epoch, so that it tests the weights"
    " that it validated",
    "check_val_every_n_epoch": "a run validates after each epoch, since each may be its best",
    "limit_predict_batches": "it has no effect: a training predicts nothing",
    "log_every_n_steps": "it has no effect: a run records whole epochs",
    "enable_checkpointing": "a run saves its checkpoints itself; see save_every_s",
    "enable_progress_bar": "a run shows its progress itself",
    "enable_model_summary": "a run prints its model itself; see alexlab explain",
    "deterministic": "set deterministic=true, without trainer.",
    "use_distributed_sampler": "a run divides its images among devices itself",
    "barebones": "it switches off what a run records",
    "plugins": "a run reads and writes checkpoints with a plugin of its own",
    "default_root_dir": "a run writes into its own folder; see hydra.run.dir",
    "enable_autolog_hparams": "a run records its settings itself",
    "model_registry": "a run sends nothing elsewhere",
}

SETTINGS: dict[str, Rule] = {
    "act": ACT,
    "seed": whole(0, 2**32 - 1),  # the range of NumPy and Lightning
    "effective_batch_size": whole(1),
    "ema_decay": optional(DROPOUT),
    "test_crops": each(Rule("1, 10 or 144", lambda v: _is_whole(v) and v in (1, 10, 144))),
    "patience": optional(whole(1)),
    "compile": either(
        FLAG,
        choice(
            *("true", "false", "default", "reduce-overhead", "max-autotune"),
            "max-autotune-no-cudagraphs",
        ),
    ),
    "deterministic": FLAG,
    "fit_metrics": FLAG,
    "diagnostics": choice("on", "off"),
    "save_every_s": NOT_NEGATIVE,
    "resume": optional(FOLDER),
    "data_dir": FOLDER,
    "cache_dir": FOLDER,
    "objective": TEXT,
    "direction": choice("maximize", "minimize"),
    "trainer.max_epochs": whole(1),
    "trainer.accelerator": choice("auto", "cpu", "gpu", "cuda", "mps", "tpu"),
    "trainer.devices": DEVICES,
    "trainer.strategy": TEXT,
    "trainer.precision": PRECISION,
    "trainer.gradient_clip_val": optional(NOT_NEGATIVE),
    "trainer.accumulate_grad_batches": whole(1),
    "trainer.auto_batch": FLAG,
    **{f"trainer.{name}": rule for name, rule in TRAINER.items()},
    "data.name": TEXT,
    "data.root": optional(FOLDER),
    "data.resolution": whole(1),
    "data.load_size": optional(whole(1)),
    "data.fit": choice("crop", "squash"),
    "data.batch_size": whole(1),
    "data.split": choice("grouped", "random"),
    "data.split_seed": whole(0, 2**32 - 1),
    "data.val_fraction": PART_OF_ONE,
    "data.test_fraction": PART_OF_ONE,
    "data.fraction": number("above 0 and at most 1", lambda v: 0 < v <= 1),
    "data.classes": optional(NAMES),
    "data.on_broken": choice("error", "skip"),
    "data.cache": choice("on", "off"),
    "data.cache_dir": FOLDER,
    "data.representation": choice("rgb", "gray", "hsv", "ycbcr", "dct", "fft"),
    "data.seed": whole(0, 2**32 - 1),
    "data.targets": choice("class", "score"),
    "data.num_images": whole(1),
    "data.draw_seed": whole(0, 2**32 - 1),
    "task.sigmoid": FLAG,
    "task.label_smoothing": DROPOUT,
    "task.mixup": NOT_NEGATIVE,
    "task.cutmix": NOT_NEGATIVE,
    "task.loss": choice("l1", "l2", "huber"),
    "task.low": number("", lambda v: True),
    "task.high": number("", lambda v: True),
    "optim.lr": POSITIVE,
    "optim.momentum": NOT_NEGATIVE,
    "optim.weight_decay": NOT_NEGATIVE,
    "optim.fused": optional(FLAG),
    "optim.foreach": optional(FLAG),
    "optim.capturable": FLAG,
    "optim.differentiable": FLAG,
    "optim.maximize": FLAG,
    "optim.amsgrad": FLAG,
    "optim.nesterov": FLAG,
    "optim.centered": FLAG,
    "optim.dampening": number("", lambda v: True),
    "optim.alpha": DROPOUT,
    "optim.eps": NOT_NEGATIVE,
    "optim.betas": each(DROPOUT, 2),
    "sched.T_max": whole(1),
    "sched.eta_min": NOT_NEGATIVE,
    "sched.drop_epoch": whole(1),
    "sched.drop_lr": POSITIVE,
    "sched.gamma": POSITIVE,
    "sched.milestones": each(whole(1)),
    "sched.lrs": each(POSITIVE),
    "sched.factor": PART_OF_ONE,
    "sched.patience": whole(0),
    "sched.step_size": whole(1),
    "sched.warmup_epochs": whole(1),
    "sched.max_epochs": whole(1),
    "augment.crop": FLAG,
    **{
        f"augment.{name}": SHARE
        for name in ("flip", "shift", "shear", "brightness", "contrast", "saturation")
    },
    "augment.rotate": number("from 0 to 180", lambda v: 0 <= v <= 180),
    "augment.stretch": number("from 0 to 0.9", lambda v: 0 <= v <= 0.9),
    "augment.pca": NOT_NEGATIVE,
    "augment.randaugment": whole(0, 14),
    "augment.magnitude": number("from 0 to 30", lambda v: 0 <= v <= 30),
    "model.act": ACT,
    "model.norm": choice("none", "lrn", "batch"),
    "model.pool": choice("max", "avg", "conv1x1", "strided"),
    "model.overlap": FLAG,
    "model.groups": whole(1),
    "model.width": POSITIVE,
    "model.dropout": either(DROPOUT, each(DROPOUT, 2)),
    "model.feature_dropout": optional(DROPOUT),
    "model.dropout_at": choice("none", "fc", "features", "both"),
    "model.dropout_kind": choice("element", "channel"),
    "model.head": either(each(whole(1)), choice("linear", "gap_linear", "mlp")),
    "model.pool_before_head": choice("adaptive", "none", "gap"),
    "model.stem": choice("auto", "imagenet", "half", "cifar"),
    "model.init": choice("torch", "paper"),
    "model.stride": whole(1),
    "model.name": TEXT,
    "model.weights": TEXT,
    "model.weights_dir": TEXT,
    "model.freeze": either(TEXT, each(TEXT)),
    "model.k": whole(0),
    "model.backbone_lr_scale": NOT_NEGATIVE,
    "model.inputs": choice("auto", "imagenet", "half", "unit"),
}
PARTS = ("model", "data", "task", "optim", "sched", "augment")
OURS = ("alexlab.", "torch.")  # prefixes of the `_target_` of parts with known settings

# the better direction of each metric of our tasks
DIRECTIONS = {
    **dict.fromkeys(("acc", "f1", "spearman"), "maximize"),
    **dict.fromkeys(("loss", "top1_error", "top5_error", "mae", "rmse"), "minimize"),
}


def check_settings(config: Mapping[str, Any]) -> None:
    """Check the settings of a run before anything is written.

    Args:
        config: The composed config in plain containers. Interpolations are not checked: call this
            before and after they are resolved, since they compute with other settings.

    Raises:
        ValueError: If a setting cannot work; the message has its key and value.
    """
    for name, value in config.get("trainer", {}).items():
        if name in TRAINER_OF_THE_RUN:
            raise ValueError(
                f"trainer.{name}={value}: cannot be set: {TRAINER_OF_THE_RUN[name]}; remove it"
            )
        if f"trainer.{name}" not in SETTINGS:
            known = [key.removeprefix("trainer.") for key in SETTINGS if key.startswith("trainer.")]
            raise ValueError(
                f"trainer.{name}={value}: lightning.Trainer has no such argument"
                f"{suggest(name, known)}"
            )
    for group in ("logger", "callbacks"):
        for name, value in (config.get(group) or {}).items():
            if value is not None and not isinstance(value, Mapping):
                raise ValueError(
                    f"{group}.{name}={value}: must be a class and its settings; choose options as"
                    f" in {group}=[NAME]"
                )
    for key, value in _flat(config):
        rule = None if isinstance(value, str) and "${" in value else SETTINGS.get(key)
        if rule is not None and (problem := rule.problem(key, value)) is not None:
            raise ValueError(problem)
    trainer = config.get("trainer", {})
    if trainer.get("max_steps", -1) > 0 and (trainer.get("min_epochs") or trainer.get("min_steps")):
        raise ValueError(
            f"trainer.max_steps={trainer['max_steps']}: cannot be used with trainer.min_epochs or"
            " trainer.min_steps, which may prevent this end; remove one"
        )
    if "objective" in config:
        _check_objective(config["objective"], config["direction"])


def _flat(config: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """List the settings of the root, of the trainer, and of parts with known settings."""
    flat: list[tuple[str, Any]] = []
    for key, value in config.items():
        if key in PARTS or key == "trainer":
            node = value or {}
            if not isinstance(node, Mapping):
                raise ValueError(f"{key}={value}: must be a group with settings")
            if key != "trainer" and node and "_target_" not in node:
                name, one = next(iter(node.items()))
                raise ValueError(
                    f"{key}.{name}={one}: the chosen {key} has no settings; remove it, or choose"
                    f" another {key}"
                )
            if key == "trainer" or str(node.get("_target_", "")).startswith(OURS):
                flat += [(f"{key}.{name}", one) for name, one in node.items()]
        else:
            flat.append((key, value))
    return flat


def _check_objective(objective: str, direction: str) -> None:
    """Raise ValueError for an objective of another split, or a direction that is wrong for it."""
    split, _, metric = objective.partition("/")
    if split not in ("train", "val") or not metric:
        test = " (test is never used to select)" if split == "test" else ""
        raise ValueError(
            f"objective={objective}: must be a metric of val or train, as in val/acc{test}"
        )
    better = DIRECTIONS.get(metric, direction)
    if direction != better:
        raise ValueError(
            f"objective={objective} direction={direction}: this would select the worst epoch; set"
            f" direction={better}"
        )
