"""Model soups and DiWA: runs of pooled fine-tuning from one start, with drawn hyper-parameters, and their merge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, TypedDict, cast

import numpy as np

from hamdg import console
from hamdg.algorithms.base import Algorithm, Entry, Step, StepResult
from hamdg.cohort.learner import Learner
from hamdg.config.algorithms.soup import DrawConfig, SoupSettings
from hamdg.config.recipe import TrainConfig
from hamdg.data.splits import seed_hash
from hamdg.runs.figures import table
from hamdg.stages.context import Context
from hamdg.stages.entries import start_entries
from hamdg.stages.fit import check_split, fit, trained
from hamdg.stages.holdout_scores import HoldoutScores
from hamdg.stages.merging import merge_step

SCORE, BEST = "score", "best_run"


class Drawn(TypedDict):
    """What one run drew."""

    lr: float
    weight_decay: float


class Soup(Algorithm):
    """Every run learns from all source domains; the recipe's `merge` makes one model of what they contribute."""

    name: ClassVar[str] = "soup"

    @property
    def label(self) -> str:
        """How tables call the result."""
        return f"{len(self.runs)} runs, merged by {self.recipe.merge.method}"

    @property
    def runs(self) -> tuple[str, ...]:
        """The names of the runs, which are those of their steps and of their learners."""
        return tuple(f"run-{number}" for number in range(cast("SoupSettings", self.recipe.settings).runs))

    def steps(self) -> Sequence[Step]:
        """Return the runs, a step that scores what they contribute, and the merge."""
        runs = self.runs
        merge = merge_step(runs, self.recipe.merge, after=runs)
        merge = merge._replace(sections=merge.sections | {"soup.runs"})
        return [*(_run_step(name, number) for number, name in enumerate(runs)), _score_step(runs), merge]

    def entries(self, context: Context) -> Sequence[Entry]:
        """Return the start, the best run on the hold-out sets, and the merge."""
        network, facts = context.network(), context.step(SCORE).read()["facts"]
        best = cast("str", facts["best"])
        label, note = f"best of {len(self.runs)} runs", f"on the sources' hold-out sets: {best}"
        return [
            *start_entries(context, network),
            Entry(BEST, label, "control", network, context.step(best).history().history[best], note),
            Entry(self.name, self.label, "merged", network, context.step("merge").load("merged")),
        ]

    def keys(self, sources: Sequence[str]) -> tuple[str, ...]:
        """Return the keys of these rows."""
        return (*self.start_keys, BEST, self.name)


def drawn(draw: DrawConfig, train: TrainConfig, seed: int, number: int) -> TrainConfig:
    """Return how a run is trained: with one value of each list, drawn by the seed and the run's number."""
    generator = np.random.default_rng(seed_hash("soup", seed, number))
    # A number for each list, so that none depends on whether another one is empty.
    first, second = generator.random(2).tolist()
    lr, weight_decay = (
        own[int(share * len(own))] if own else default
        for own, share, default in ((draw.lr, first, train.lr), (draw.weight_decay, second, train.weight_decay))
    )
    return replace(train, lr=lr, weight_decay=weight_decay)


def _run_step(name: str, number: int) -> Step:
    def learner(context: Context) -> Learner:
        draw, recipe = context.settings(SoupSettings).draw, context.recipe
        config = drawn(draw, recipe.train, recipe.seed, number)
        return Learner(context.network(), context.sources, config, context.task)

    def run(context: Context) -> StepResult:
        own = learner(context)
        values = Drawn(lr=own.config.lr, weight_decay=own.config.weight_decay)
        console.note(f"learning rate {values['lr']:g}, weight decay {values['weight_decay']:g}")
        found = trained(context, fit(context, {name: own}, draw=number))
        return found._replace(facts={**found.facts, "drawn": values})

    def check(context: Context) -> None:
        check_split(context, lambda: {name: learner(context)})

    sections = frozenset({"train", "history", "soup.draw"})
    # All runs are alike in what the check looks at.
    return Step(name, run, sections=sections, check=check if number == 0 else None, learners=[name])


def _score_step(runs: Sequence[str]) -> Step:
    def run(context: Context) -> StepResult:
        holdouts = HoldoutScores(context)
        scores: dict[str, float] = {}
        rows: list[list[str]] = []
        for name in runs:
            # One after another, since there may be many of them.
            files = context.step(name)
            scores[name] = holdouts.mean(files.history().history[name])
            own = cast("Drawn", files.read()["facts"]["drawn"])
            rows.append([name, f"{own['lr']:g}", f"{own['weight_decay']:g}", f"{scores[name]:.1%}"])
        best = max(scores, key=lambda name: scores[name])
        console.note(f"{best} is the best on the sources' hold-out sets: {scores[best]:.1%}")
        note = "What each run contributes to the merge, on the sources' hold-out sets."
        columns = ["run", "learning rate", "weight decay", "source validation"]
        return StepResult({"validation": scores, "best": best}, [table("Runs", columns, rows, note=note)])

    return Step(SCORE, run, sections=frozenset({"soup.runs"}))
