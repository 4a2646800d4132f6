"""Who imports whom: parts in layers, no circles, nothing private of a plugin."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

SRC = Path(__file__).parents[1] / "src"
# a part imports parts of its own layer and of those below it
LAYERS = [
    ["commands", "api", "__main__"],
    ["training"],  # run, build, console and what else is not named below
    ["training.callbacks"],
    ["evaluation", "studies"],
    ["training.module"],
    ["training.tasks", "training.schedules"],
    ["factory"],
    ["data"],
    ["models"],
    ["runs", "performance", "reporting"],
    ["errors", "messages", "library_warnings", "__init__"],
]
ALEXLAB, PLUGINS = "alexlab.", "hydra_plugins."
MAX_PARTS, MAX_ARROWS = 25, 85


def module_name(path):
    return ".".join(path.relative_to(SRC).with_suffix("").parts)


MODULES = {module_name(path): path for path in SRC.rglob("*.py")}


def known(name):
    """The module that `name`, maybe of something in a module, stands for; None if not ours."""
    while name:
        for module in (name, f"{name}.__init__"):
            if module in MODULES:
                return module
        name = name.rpartition(".")[0]
    return None


def imports(module):
    """Return the modules of alexlab and the plugins that `module` imports, in functions too."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {known(alias.name) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import"
            found |= {known(f"{node.module}.{alias.name}") for alias in node.names}
    return found - {None, module}


GRAPH = {module: imports(module) for module in MODULES}
ARROWS = [(module, target) for module in sorted(GRAPH) for target in sorted(GRAPH[module])]


def layer(module):
    """The number of the layer that names the longest prefix of `module`."""
    name = module.removeprefix(ALEXLAB)
    fits = [
        (len(part), number)
        for number, parts in enumerate(LAYERS)
        for part in parts
        if f"{name}.".startswith(f"{part}.")
    ]
    assert fits, f"{module} stands in no layer: name its part in LAYERS"
    return max(fits)[1]


def test_no_arrow_goes_up():
    up = [
        f"{module} -> {target}"
        for module, target in ARROWS
        if module.startswith(ALEXLAB)
        and target.startswith(ALEXLAB)
        and layer(target) < layer(module)
    ]
    assert up == []


def test_reporting_needs_nothing_but_errors():
    needed = {t for m, t in ARROWS if m.startswith("alexlab.reporting.")}
    assert {t for t in needed if not t.startswith("alexlab.reporting.")} <= {"alexlab.errors"}


# where a config becomes keyword arguments, as CONTRIBUTING says
CONFIG = {
    *("commands.train", "factory", "training.build", "training.run", "training.lr_find"),
    *("evaluation.loading", "runs.config"),
}


def test_few_modules_know_a_config():
    know = {
        module.removeprefix(ALEXLAB)
        for module, path in MODULES.items()
        if module.startswith(ALEXLAB) and "DictConfig" in path.read_text("utf-8")
    }
    assert know <= CONFIG


def test_the_plugins_import_nothing_of_alexlab():
    wrong = [(m, t) for m, t in ARROWS if m.startswith(PLUGINS) and t.startswith(ALEXLAB)]
    assert wrong == []


def test_alexlab_imports_only_public_modules_of_the_plugins():
    private = [
        f"{module} -> {target}"
        for module, target in ARROWS
        if module.startswith(ALEXLAB) and target.startswith(PLUGINS)
        if target.rpartition(".")[2].startswith("_")
    ]
    assert private == []


def test_alexlab_imports_only_public_names_of_the_plugins():
    private = [
        f"{module}: {alias.name}"
        for module, path in MODULES.items()
        if module.startswith(ALEXLAB)
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ImportFrom) and f"{node.module}.".startswith(PLUGINS)
        for alias in node.names
        if alias.name.startswith("_")
    ]
    assert private == []


def test_there_is_no_circle():
    tuple(TopologicalSorter(GRAPH).static_order())  # CycleError names the modules


def part(module):
    """The top-level package or module of alexlab, or the plugin, that `module` belongs to."""
    return module.split(".")[1]


def test_parts_and_arrows_stay_few():
    parts = {part(module) for module in MODULES if module.startswith(ALEXLAB)}
    arrows = {(part(m), part(t)) for m, t in ARROWS if m.startswith(ALEXLAB)}
    arrows = {(a, b) for a, b in arrows if a != b}
    assert len(parts) <= MAX_PARTS, sorted(parts)
    assert len(arrows) <= MAX_ARROWS, sorted(arrows)
