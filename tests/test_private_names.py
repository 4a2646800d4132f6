"""Names of libraries that begin with _: each is used in one function only, and still exists."""

import ast
import atexit
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from hydra.core.utils import JobReturn
from lightning.fabric.plugins.precision import amp
from lightning.pytorch.callbacks import EMAWeightAveraging
from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop
from omegaconf.basecontainer import BaseContainer

SRC = Path(__file__).parents[1] / "src"
DOCUMENTED = {"os._exit", "_asdict", "_fields", "_target_"}  # in spite of their names

OURS = ("alexlab", "hydra_plugins")
CALLBACKS = "alexlab.training.callbacks"
LAUNCHER = "hydra_plugins.hydra_process_launcher"
TORCH, LIGHTNING, HYDRA = "torch", "lightning", "hydra-core"
# module, function, private name: the library, and where it has that name
USED = {
    ("alexlab.performance.onednn_linear", "_product", "_linear_pointwise"): (
        TORCH,
        lambda: torch.ops.mkldnn,
    ),
    ("alexlab.training.module", "mark_dynamic_batch", "_dynamo"): (TORCH, lambda: torch),
    ("alexlab.training.mixed_precision", "is_fused", "_optimizer_handles_unscaling"): (
        LIGHTNING,
        lambda: amp,
    ),
    (f"{CALLBACKS}.graceful_stop", "skip_lightnings_exchange", "_broadcast_sigterm_tensor"): (
        LIGHTNING,
        lambda: _TrainingEpochLoop,
    ),
    (f"{CALLBACKS}.moving_average", "average_of", "_average_model"): (
        LIGHTNING,
        EMAWeightAveraging,
    ),
    (f"{CALLBACKS}.moving_average", "update_parameters", "_foreach_mul_"): (TORCH, lambda: torch),
    (f"{CALLBACKS}.moving_average", "update_parameters", "_foreach_mul"): (TORCH, lambda: torch),
    (f"{CALLBACKS}.moving_average", "update_parameters", "_foreach_add_"): (TORCH, lambda: torch),
    (f"{CALLBACKS}.nan_guard", "_largest", "_foreach_norm"): (TORCH, lambda: torch),
    (f"{LAUNCHER}._job", "run_exit_functions", "_run_exitfuncs"): ("", lambda: atexit),
    (f"{LAUNCHER}.hydra_internals", "is_basic_launcher", "_internal"): (
        HYDRA,
        lambda: import_module("hydra"),
    ),
    (f"{LAUNCHER}.hydra_internals", "value_of", "_return_value"): (HYDRA, JobReturn),
    ("hydra_plugins.hydra_study_sweeper._resolution", "_reads_only_arguments", "_resolvers"): (
        "omegaconf",
        lambda: BaseContainer,
    ),
    ("hydra_plugins.hydra_study_sweeper.run_folder", "scalar_resolvers", "_utils"): (
        "omegaconf",
        lambda: import_module("omegaconf"),
    ),
}


def private(name):
    return name.startswith("_") and not name.startswith("__") and name not in DOCUMENTED


def names_in(node):
    """The private names of others in one node of a syntax tree."""
    if isinstance(node, ast.Attribute) and ast.unparse(node) not in DOCUMENTED:
        own = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
        return [] if own else [node.attr]
    paths = []
    if isinstance(node, ast.Import):
        paths = [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        paths = [f"{node.module}.{alias.name}" for alias in node.names]
    return [name for path in paths if not path.startswith(OURS) for name in path.split(".")]


def uses(path):
    """(module, innermost function, private name) for each use in a file."""
    module = ".".join(path.relative_to(SRC).with_suffix("").parts)

    def walk(node, function):
        for name in names_in(node):
            if private(name):
                yield module, function, name
        if isinstance(node, ast.FunctionDef):
            function = node.name
        for child in ast.iter_child_nodes(node):
            yield from walk(child, function)

    return set(walk(ast.parse(path.read_text("utf-8")), ""))


def test_private_names_are_used_in_the_functions_that_are_listed_here():
    assert set().union(*map(uses, SRC.rglob("*.py"))) == USED.keys()


@pytest.mark.parametrize("use", USED, ids=lambda use: use[2])
def test_the_library_has_the_private_name(use):
    module, function, name = use
    library, owner = USED[use]
    release = f"{library} {version(library)}" if library else "Python"
    place = f"{module}.{function}".rstrip(".")
    assert hasattr(owner(), name), f"{release} has no {name}: {place} needs another way"
