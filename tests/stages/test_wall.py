"""The wall around a step: domains, labels and sections that it does not declare raise, whatever code asks for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import pytest

from hamdg.algorithms.base import Entry, Step, StepResult
from hamdg.cohort.learner import Learner, Loss
from hamdg.data.batches import Batch
from hamdg.data.domain import WallError, open_domain
from hamdg.errors import ConfigError
from hamdg.runs.directory import RunDirectory
from hamdg.runs.identity import run_directory
from hamdg.runs.record import Reads
from hamdg.runs.steps import read_step_summary
from hamdg.stages import pipeline, running
from hamdg.stages.context import Context, open_context
from hamdg.stages.exporting import validate
from hamdg.stages.fit import fit
from hamdg.stages.narrowing import UndeclaredSectionError
from hamdg.tracking.rows import read_rows

if TYPE_CHECKING:
    from tests.stages.conftest import Tiny

NOTHING: frozenset[Reads] = frozenset()
SOURCES: frozenset[Reads] = frozenset({"sources"})
TARGETS: frozenset[Reads] = frozenset({"targets"})
BOTH = SOURCES | TARGETS


@pytest.fixture
def do(tiny: Tiny) -> Callable[..., RunDirectory]:
    """Return a function that does one made-up step of a run that holds sketch out and excludes photo."""
    recipe = tiny("--held_out=sketch", "--excluded=[photo]", tower="vit")

    def work(
        run: Callable[[Context], object], reads: frozenset[Reads] = SOURCES, sections: tuple[str, ...] = ()
    ) -> RunDirectory:
        def summarized(context: Context) -> StepResult:
            run(context)
            return StepResult({"found": 1})

        step = Step("made-up", summarized, reads, frozenset(sections))
        directory = RunDirectory(run_directory(recipe))
        running._work(open_context(recipe, directory).narrowed(step, "1"), step)
        return directory

    return work


@pytest.mark.parametrize(
    ("reads", "name"),
    [
        (NOTHING, "cartoon"),
        (SOURCES, "sketch"),
        (TARGETS, "cartoon"),
        (BOTH, "photo"),
        (NOTHING, "sketch"),
    ],
)
def test_a_domain_that_a_step_does_not_declare_raises_and_the_step_is_not_done(
    do: Callable[..., RunDirectory], tiny: Tiny, reads: frozenset[Reads], name: str
) -> None:
    ways: list[Callable[[Context], object]] = [
        lambda context: context.data([name]),
        # Code that goes past its context meets the same wall.
        lambda context: open_domain(tiny(), name, 32),
    ]
    for way in ways:
        with pytest.raises(
            WallError, match=rf"^The domain `{name}` must not be opened here: the step does not declare"
        ):
            do(way, reads)
    run = RunDirectory(run_directory(tiny("--held_out=sketch", "--excluded=[photo]", tower="vit")))
    assert not run.step("made-up").is_done


def test_what_a_step_declares_it_can_read_and_its_summary_says_what_it_opened(do: Callable[..., RunDirectory]) -> None:
    def read(context: Context) -> None:
        (cartoon,) = context.data(["cartoon"]).values()
        assert len(cartoon.labels) == len(cartoon)
        (sketch,) = context.data(["sketch"]).values()
        assert len(sketch) == 42
        assert len(sketch.evaluation.read(np.zeros(2, np.int64))) == 2

    summary = read_step_summary(do(read, BOTH).step("made-up"))
    assert (summary["reads"], summary["opened"]) == (["sources", "targets"], ["cartoon", "sketch"])
    assert summary["facts"] == {"found": 1}


@pytest.mark.parametrize("labels", ["labels", "clean_labels"])
def test_targets_come_without_labels(do: Callable[..., RunDirectory], labels: str) -> None:
    with pytest.raises(WallError, match=r"^The labels of `sketch` are not for this step"):
        do(lambda context: getattr(context.data(["sketch"])["sketch"], labels), TARGETS)


class Sure(Learner):
    """Learns to be sure of whatever it sees, and notes what labels its batches had."""

    def loss(self, batches: Mapping[str, Batch], step: int) -> Loss:
        self.given = [batch.given for batch in batches.values()]
        shares = self(batches["sketch"].images).softmax(dim=1)
        return Loss(-(shares * shares.log()).sum(dim=1).mean())


def test_a_step_can_train_on_a_target_whose_batches_have_no_labels(do: Callable[..., RunDirectory]) -> None:
    learners: list[Learner] = []

    def adapt(context: Context) -> None:
        learners.append(Sure(context.network(), ("sketch",), context.recipe.train))
        fit(context, {"sketch": learners[0]}, domains=context.data(["sketch"]))

    step = do(adapt, TARGETS, ("train", "history")).step("made-up")
    assert read_step_summary(step)["opened"] == ["sketch"]
    assert learners[0].given == [None]
    rows = {row.name for row in read_rows(step.metrics)}
    assert "loss" in rows
    assert not any(name.startswith("validation") for name in rows)


def test_a_loss_that_wants_the_labels_of_a_target_is_refused(do: Callable[..., RunDirectory]) -> None:
    def adapt(context: Context) -> None:
        learner = Learner(context.network(), ("sketch",), context.recipe.train)
        fit(context, {"sketch": learner}, domains=context.data(["sketch"]))

    with pytest.raises(ConfigError, match=r"^This batch has no labels: the step reads its domain without them"):
        do(adapt, TARGETS, ("train", "history"))


@pytest.mark.parametrize(
    ("way", "named"),
    [
        (lambda recipe: recipe.merge.method, "merge.method"),
        (lambda recipe: recipe.train.lr, "train.lr"),
        (lambda recipe: recipe.settings.enrichment, "ham.enrichment"),
    ],
)
def test_a_section_that_a_step_does_not_declare_raises(
    do: Callable[..., RunDirectory], way: Callable[[object], object], named: str
) -> None:
    with pytest.raises(UndeclaredSectionError, match=rf"^The step `made-up` read `{named}` of the recipe without"):
        do(lambda context: way(context.recipe), SOURCES, ("history",))


def test_the_entries_of_an_algorithm_are_made_and_validated_without_the_held_out_domain(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny("--algorithm=erm", tower="vit")
    pipeline.run(recipe, until="train")
    pipeline.run(recipe, until="merge")
    run = RunDirectory(run_directory(recipe))
    run.validation.unlink()
    context = open_context(recipe, run)
    entries = type(context.algorithm).entries

    def peeking(self: object, context: Context) -> list[Entry]:
        context.data(["sketch"])
        return list(entries(context.algorithm, context))

    monkeypatch.setattr(type(context.algorithm), "entries", peeking)
    with pytest.raises(WallError, match=r"^The domain `sketch` must not be opened here"):
        validate(context)
    assert not run.validation.exists()
