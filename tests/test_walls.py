"""The rooms of the house: which module may import which, held by a walk over all imports of `src/hamdg`."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

SOURCE = Path(__file__).parents[1] / "src"


class Room(NamedTuple):
    """One room of the house.

    Args:
        name: How messages call it.
        modules: What lies in it, as dotted prefixes below `hamdg`; the longest prefix of a module decides.
        sentence: What it is for, and what it does not know.
        only: The rooms that it may import from; `None` for all rooms that stand before it.
        never: Other packages that it does not import.
    """

    name: str
    modules: tuple[str, ...]
    sentence: str
    only: tuple[str, ...] | None = None
    never: tuple[str, ...] = ()


# In their order: a room imports from those before it, never from those after it.
ROOMS = (
    Room(
        "base",
        ("errors", "text", "json_text", "files", "cores", "digests", "reachable", "plugins", "values"),
        "Errors, sentences, files, digests and types of values: what every room uses.",
        never=("torch", "lightning"),
    ),
    Room(
        "merge",
        ("merge",),
        "The merge library: tensors and files; it would run if nothing else of hamdg existed.",
        never=("lightning", "open_clip", "torchvision"),
    ),
    Room(
        "console",
        ("console", "text_table", "bars", "progress"),
        "What a terminal shows while something runs.",
        only=("base",),
        never=("torch",),
    ),
    Room(
        "config",
        ("config",),
        "The recipe's dataclasses, their keys and their YAML; a merge section knows merge methods, nothing knows data.",
        only=("base", "merge"),
        never=("torch", "lightning", "numpy"),
    ),
    Room(
        "mini",
        ("mini",),
        "Renders the embedded benchmarks from a recipe's section; knows no data set and no model.",
        only=("base", "config"),
        never=("torch", "lightning"),
    ),
    Room(
        "data",
        ("data",),
        "Benchmarks, folders, lists, the hub, caches, splits, batches; knows no model, no run and no algorithm.",
        only=("base", "console", "config", "mini"),
        never=("open_clip",),
    ),
    Room(
        "reading",
        ("config.checks", "config.reading"),
        "Reads and checks recipes; stands above data, because domains, classes and words are checked against the data.",
        never=("torch", "lightning", "numpy"),
    ),
    Room("tracking", ("tracking",), "Metrics on their way to loggers; knows no model and no algorithm."),
    Room(
        "runs",
        ("runs",),
        "A run's directory, identity, manifest and record; knows no model and no algorithm.",
        never=("lightning", "open_clip"),
    ),
    Room("tasks", ("tasks",), "A loss and metrics for a kind of label.", only=("base", "config")),
    Room(
        "models",
        ("models",),
        "Networks: how they are loaded, trained for the demo, exported; knows no Lightning and no cohort.",
        only=("base", "merge", "console", "config", "mini", "data", "tasks"),
        never=("lightning",),
    ),
    Room("cohort", ("cohort",), "Learners in lock-step, their history and validation; knows no algorithm."),
    Room(
        "report",
        ("report",),
        "Tables and the page, pure functions of records; knows no algorithm and no sweep.",
        only=("base", "console", "tracking", "runs"),
        never=("torch", "lightning"),
    ),
    Room(
        "interface",
        ("algorithms", "algorithms.base"),
        "What an algorithm is, and how it is found by its name; knows none.",
    ),
    Room("stages", ("stages",), "Builds and runs the steps of any algorithm, and evaluates; knows none by name."),
    Room("algorithms", ("algorithms.*",), "One folder or file an algorithm; none imports another."),
    Room(
        "conflicts",
        ("conflicts",),
        "What the sources disagree about before training; asks HAM's rule what enrichment would accept.",
        never=("lightning",),
    ),
    Room("sweeps", ("sweeps",), "Many runs: sweep files, queue and launchers."),
    Room("commands", ("commands", "cli", "doctor", "__main__"), "The verbs."),
    Room("tools", ("tools",), "Smoke test, matrix and measurements: they run pipelines, and nothing imports them."),
)

# What still breaks the rules, and is about to be mended: lines may only be removed.
KNOWN: frozenset[tuple[str, str]] = frozenset()
KNOWN_CIRCLES: frozenset[frozenset[str]] = frozenset()
KNOWN_NAMES: frozenset[tuple[str, str]] = frozenset()
# Imports for annotations alone that would break the rules if they ran.
TYPES_ONLY: frozenset[tuple[str, str]] = frozenset(
    {
        ("algorithms.base", "stages.context"),
        ("report.comparison", "merge.compare"),
    }
)

# The only modules outside of `algorithms/` and `config/algorithms/` that name an algorithm, and why.
NAMING = {
    "config.recipe": "the algorithm of a recipe that names none",
    "config.controls": "which runs others are compared with by default",
    "merge.methods.wise_ft": "the merge method, which is called as its paper's whole recipe is",
    "runs.format1": "records that were written when there were two algorithms",
}


# Names of algorithms that are also those of something else, and of what.
HOMONYMS = {
    "linear_probe": "a value of `model.text_head`",
    "zero_shot": "the key of the row of the model that training starts from",
}


@dataclass(frozen=True)
class Import:
    """One import: by whom, of what, and whether only type checkers see it."""

    importer: str
    imported: str
    types_only: bool


@cache
def parsed() -> dict[str, ast.Module]:
    """Return the syntax tree of every module, by its dotted name without `hamdg.`."""
    trees = {}
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE / "hamdg").with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if name:  # `hamdg` itself is the door to all rooms
            trees[name] = ast.parse(path.read_text(encoding="utf-8"))
    return trees


def imports_of(name: str, tree: ast.Module) -> Iterator[Import]:
    """Yield all imports of a module, those inside functions too."""
    pending: list[tuple[ast.AST, bool]] = [(tree, False)]
    while pending:
        node, types_only = pending.pop()
        if isinstance(node, ast.Import):
            yield from (Import(name, alias.name, types_only) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"`{name}` has a relative import"
            yield from (Import(name, f"{node.module}.{alias.name}", types_only) for alias in node.names)
        guarded = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for field, value in ast.iter_fields(node):
            children = value if isinstance(value, list) else [value]
            inside = types_only or (guarded and field == "body")
            pending += [(child, inside) for child in children if isinstance(child, ast.AST)]


class House:
    """All modules with their imports.

    Args:
        trees: The syntax tree of every module.
    """

    def __init__(self, trees: Mapping[str, ast.Module]) -> None:
        self.modules = tuple(trees)
        found = [one for name, tree in trees.items() for one in imports_of(name, tree)]
        self.edges = {
            (one.importer, target): one.types_only
            for one in sorted(found, key=lambda one: not one.types_only)
            if (target := self.own(one.imported)) and target != one.importer
        }
        self.packages = {(one.importer, one.imported.partition(".")[0]) for one in found if not one.types_only}

    def own(self, imported: str) -> str:
        """Return the module that an imported name is or lies in; empty for other packages, and for `hamdg` itself."""
        name = imported.removeprefix("hamdg.") if imported.startswith("hamdg.") else ""
        while name and name not in self.modules:
            name = name.rpartition(".")[0]
        return name

    def circles(self) -> set[frozenset[str]]:
        """Return all sets of modules that import each other at run time, directly or through others."""
        after: dict[str, set[str]] = {name: set() for name in self.modules}
        for (importer, imported), types_only in self.edges.items():
            if not types_only:
                after[importer].add(imported)
        reach = {name: _reachable(name, after) for name in self.modules}
        rings = {
            frozenset(other for other in reach[name] if name in reach[other])
            for name in self.modules
            if name in reach[name]
        }
        return {ring for ring in rings if len(ring) > 1}


def _reachable(start: str, after: Mapping[str, set[str]]) -> set[str]:
    """Return all that is imported by a module, directly or through others."""
    seen: set[str] = set()
    pending = list(after[start])
    while pending:
        name = pending.pop()
        if name not in seen:
            seen.add(name)
            pending += after[name]
    return seen


@cache
def room_of(module: str) -> Room:
    """Return the room in which a module lies: the one with the longest fitting prefix."""

    def fits(prefix: str) -> bool:
        inside = prefix.removesuffix("*")
        return module.startswith(inside) if prefix.endswith("*") else f"{module}.".startswith(f"{prefix}.")

    fitting = [(len(prefix.removesuffix("*")), room) for room in ROOMS for prefix in room.modules if fits(prefix)]
    assert fitting, f"`hamdg.{module}` lies in no room: add it to `ROOMS`"
    return max(fitting, key=lambda pair: pair[0])[1]


def algorithm_of(module: str) -> str:
    """Return to which algorithm a module belongs."""
    return module.split(".")[1] if room_of(module).name == "algorithms" else ""


def allowed(importer: str, imported: str) -> bool:
    """Return whether one module may import another."""
    inner, outer = room_of(importer), room_of(imported)
    if inner.name == outer.name:
        return algorithm_of(importer) == algorithm_of(imported)
    order = [room.name for room in ROOMS]
    before = order.index(outer.name) < order.index(inner.name)
    return before and (inner.only is None or outer.name in inner.only)


def explained(pair: tuple[str, str]) -> str:
    """Return a violation as a line, with what its room is for."""
    room = room_of(pair[0])
    return f"`{pair[0]}` imports `{pair[1]}`, but `{room.name}`: {room.sentence}"


@cache
def house() -> House:
    """Return the house as it stands."""
    return House(parsed())


def violations(types_only: bool = False) -> set[tuple[str, str]]:
    """Return all imports that are not allowed."""
    return {pair for pair, only in house().edges.items() if only == types_only and not allowed(*pair)}


def named_algorithms() -> set[tuple[str, str]]:
    """Return where a module that must know no algorithm has the name of one as a text."""
    trees = parsed()
    names = {name.split(".")[1] for name in trees if name.count(".") and room_of(name).name == "algorithms"} - {
        *HOMONYMS
    }
    return {
        (module, node.value)
        for module, tree in trees.items()
        if room_of(module).name != "algorithms" and module not in NAMING and not module.startswith("config.algorithms.")
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in names
    }


def test_no_arrow_runs_up_or_through_a_wall() -> None:
    assert not (found := violations() - KNOWN), "\n".join(map(explained, sorted(found)))


def test_a_mended_violation_leaves_the_list() -> None:
    assert KNOWN - violations() == set()


def test_imports_for_annotations_that_run_up_are_listed() -> None:
    assert violations(types_only=True) == TYPES_ONLY


def test_modules_import_each_other_in_no_circle() -> None:
    assert house().circles() - KNOWN_CIRCLES == set()


def test_a_cut_circle_leaves_the_list() -> None:
    assert KNOWN_CIRCLES - house().circles() == set()


def test_packages_stay_outside_of_rooms_that_do_without_them() -> None:
    found = {(module, package) for module, package in house().packages if package in room_of(module).never}
    assert found == set()


def test_no_algorithm_is_named_where_all_are_served() -> None:
    assert named_algorithms() - KNOWN_NAMES == set()


def test_a_name_that_is_gone_leaves_the_list() -> None:
    assert KNOWN_NAMES - named_algorithms() == set()


def test_what_may_name_an_algorithm_is_there() -> None:
    assert set(NAMING) <= set(house().modules)


def test_every_module_lies_in_a_room_and_every_room_has_a_sentence() -> None:
    assert all(room_of(module) for module in house().modules)
    assert all(room.sentence.endswith(".") for room in ROOMS)


def test_the_walk_sees_functions_guards_and_packages() -> None:
    code = """
import torch
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    from hamdg.stages.context import Context
else:
    from hamdg.text import listed
def later():
    from hamdg.data import registry
"""
    trees = {name: ast.parse("") for name in ("stages.context", "text", "data.registry", "data")}
    seen = House({**trees, "models.clip": ast.parse(code)})
    assert seen.edges == {
        ("models.clip", "stages.context"): True,
        ("models.clip", "text"): False,
        ("models.clip", "data.registry"): False,
    }
    assert ("models.clip", "torch") in seen.packages


def test_a_circle_through_a_function_is_found() -> None:
    there = ast.parse("from hamdg.data import b")
    back = ast.parse("def late():\n    from hamdg.data import a")
    seen = House({"data.a": there, "data.b": back, "data": ast.parse("")})
    assert seen.circles() == {frozenset({"data.a", "data.b"})}


@pytest.mark.parametrize(
    ("importer", "imported", "may"),
    [
        ("data.cache.reader", "config.recipe", True),
        ("config.recipe", "data.registry", False),
        ("config.reading", "data.registry", True),
        ("merge.api", "errors", True),
        ("merge.api", "console", False),
        ("stages.pipeline", "algorithms.base", True),
        ("stages.pipeline", "algorithms.ham.algorithm", False),
        ("algorithms.coral", "stages.train", True),
        ("algorithms.coral", "algorithms.ham.harmonizer", False),
        ("algorithms.ham.algorithm", "algorithms.ham.harmonizer", True),
        ("stages.pipeline", "sweeps.queue", False),
        ("report.page", "config.shipped", False),
    ],
)
def test_rules_by_example(importer: str, imported: str, may: bool) -> None:
    assert allowed(importer, imported) is may
