"""A step's files depend on what it declares and on nothing else, or its identity would be wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

import pytest

from hamdg.algorithms.base import Step
from hamdg.config.algorithms.ham import HamSettings
from hamdg.config.recipe import ControlsConfig, HistoryConfig, MergeConfig, Recipe, TrainConfig
from hamdg.runs.steps import StepSummary, read_step_summary
from hamdg.stages import running
from hamdg.stages.context import open_context
from hamdg.stages.discovery import algorithm_of
from hamdg.stages.step_files import StepFiles
from tests.algorithms.conftest import ALGORITHMS
from tests.algorithms.erm_pp.test_runs import SHORT

if TYPE_CHECKING:
    from tests.algorithms.conftest import Done

DMM = (
    *("--model.name=mini-resnet8-16", "--model.weights=null", "--model.image_size=32", "--model.statistics=live"),
    *("--merge.method=uniform", "--dmm.start.steps=2", "--dmm.synthesize.images=7", "--dmm.synthesize.steps=2"),
    *("--dmm.distill.steps=2", "--dmm.distill.batch_size=4", "--dmm.bounds.enabled=true"),
)
# Values that no tiny run has, each of which would change what a step leaves if it were read.
ODD: dict[str, object] = {
    "train": TrainConfig(steps=3, lr=0.3, weight_decay=0.5, warmup=0, clip_norm=0.1, check_every=1),
    "history": HistoryConfig(kind="snapshots", start=0.0, every=1, decay=0.1, beta=3.0, keep=1),
    "merge": MergeConfig(method="ties", buffers="first", examples=1),
    "controls": ControlsConfig(erm=True, erm_lr=0.9),
}
RUNS: list[tuple[str, tuple[str, ...]]] = [(name, ()) for name in ALGORITHMS]
RUNS += [(name, ("--merge.method=fisher", "--merge.examples=2")) for name in ("experts", "ham")]
RUNS += [("dmm", DMM), ("coop", ("--coop.context=2",)), ("soup", ("--soup.runs=2", "--merge.method=uniform"))]
RUNS += [("erm_pp", SHORT)]


def odd(value: object, kind: object) -> object:
    """Return another value of the same kind than the one that a field of an algorithm's own section has."""
    if is_dataclass(value) and not isinstance(value, type):
        hints = get_type_hints(type(value))
        changes = {one.name: odd(getattr(value, one.name), hints[one.name]) for one in fields(value)}
        changed: object = replace(value, **changes)
        return changed
    if get_origin(kind) is Literal:
        return next(word for word in get_args(kind) if word != value)
    if isinstance(value, bool):
        return not value
    if value is None and float in get_args(kind):  # `wise_ft.alpha`, which a number fixes
        return 0.25
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, list):
        return [odd(one, type(one)) for one in value]
    if value is None and kind == str | None:
        return "a word"
    raise NotImplementedError(f"say here what is an odd value of {kind}")


def undeclared(recipe: Recipe, step: Step) -> Recipe:
    """Return a recipe that differs in everything that a step does not declare."""
    changes: dict[str, Any] = {name: value for name, value in ODD.items() if name not in step.sections}
    own = recipe.algorithm
    if own not in step.sections:
        # Of `mtda.adapt` alone, the other parts.
        other = odd(recipe.settings, type(recipe.settings))
        parts = [section.partition(".")[2] for section in step.sections if section.startswith(f"{own}.")]
        changes["settings"] = replace(other, **{name: getattr(recipe.settings, name) for name in parts})  # type: ignore[type-var]
    return replace(recipe, **changes)


@pytest.mark.parametrize(("name", "overrides"), RUNS)
def test_a_step_leaves_the_same_files_whatever_the_sections_say_that_it_does_not_declare(
    done: Callable[..., Done], tmp_path: Path, name: str, overrides: tuple[str, ...]
) -> None:
    own = done(name, *overrides)
    for number, step in enumerate(algorithm_of(own.recipe).steps()):
        recipe, run = undeclared(own.recipe, step), own.copy(tmp_path / step.name)
        before, summary = left_by(StepFiles(run.path, step.name))
        run.step(step.name).reset()
        context = open_context(recipe, run)
        again = context.algorithm.steps()[number]
        running._work(context.narrowed(again, summary["identity"]), again)
        after, repeated = left_by(StepFiles(run.path, step.name))
        assert again[:1] + again[2:4] == step[:1] + step[2:4]
        assert after.keys() == before.keys()
        assert [file for file in before if after[file] != before[file]] == []
        assert repeated | {"seconds": 0} == summary | {"seconds": 0}


def left_by(step: StepFiles) -> tuple[dict[str, bytes], StepSummary]:
    """Return all that a step has written, by name."""
    files = {str(path.relative_to(step.folder)): path.read_bytes() for path in step.folder.rglob("*") if path.is_file()}
    return files, read_step_summary(step)


def test_odd_values_differ_in_every_field() -> None:
    settings = HamSettings()
    other = odd(settings, HamSettings)
    assert isinstance(other, HamSettings)
    for part in ("enrichment", "harmonization"):
        ours, theirs = getattr(settings, part), getattr(other, part)
        assert all(getattr(ours, one.name) != getattr(theirs, one.name) for one in fields(ours))
