"""SCMD: a student distilled from a frozen CLIP on the samples that are hard for it, and its running average."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from hamdg import console
from hamdg.algorithms.base import Algorithm, Entry, Step, StepResult
from hamdg.algorithms.scmd.functional import kept
from hamdg.algorithms.scmd.learner import ScmdLearner
from hamdg.algorithms.scmd.teacher import SECTION, load_teacher, unknown_to
from hamdg.cohort.learner import check_whole
from hamdg.config.algorithms.scmd import ScmdSettings
from hamdg.data.benchmark import TaskName
from hamdg.errors import WeightsError
from hamdg.runs.figures import Figure, curve, curves
from hamdg.stages.context import Context
from hamdg.stages.entries import start_entries
from hamdg.stages.fit import fit, trained
from hamdg.text import listed

DISTILL, STUDENT = "distill", "student"
_LISTED = 8


class Scmd(Algorithm):
    """One student learns from all source domains and from a frozen CLIP; the result is what `history` keeps of it."""

    name: ClassVar[str] = "scmd"
    tasks: ClassVar[tuple[TaskName, ...]] = ("classification",)

    def steps(self) -> Sequence[Step]:
        """Return the one step, which distills."""
        sections = frozenset({"train", "history", self.name})
        return [Step(DISTILL, _distill, sections=sections, check=_check, learners=[STUDENT])]

    def entries(self, context: Context) -> Sequence[Entry]:
        """Return the start, the teacher, the student after its last step, and its average.

        Raises:
            WeightsError: If the teacher is another one than when the student was distilled.
        """
        network, files = context.network(), context.step(DISTILL)
        config, found = context.settings(ScmdSettings).teacher, files.history()
        teacher = load_teacher(context, config)
        if files.read()["facts"]["teacher_sha256"] != teacher.sha256:
            raise WeightsError(
                f"The teacher `{config.name}` is not the one that `{context.run.path}` was distilled from: its weights "
                "are others now; bring them back, or repeat the run with `--force`."
            )
        note = "given the student's images as they are" if config.images == "student" else ""
        return [
            *start_entries(context, network),
            Entry("teacher", f"teacher, zero-shot: {config.name}", "control", teacher, {}, note),
            Entry(STUDENT, "student, last step", "control", network, found.last[STUDENT]),
            Entry(self.name, self.label, "merged", network, found.history[STUDENT]),
        ]

    def keys(self, sources: Sequence[str]) -> tuple[str, ...]:
        """Return the keys of these rows."""
        return (*self.start_keys, "teacher", STUDENT, self.name)


def _distill(context: Context) -> StepResult:
    learner = _learner(context)
    if unknown := unknown_to(context, learner.teacher):
        console.note(
            f"the text tower of the teacher does not know {listed(unknown, _LISTED)}, so that its feature means "
            f"nothing (`data.words` and `{SECTION}.name` are ways out)"
        )
    cohort = fit(context, {STUDENT: learner})
    own = trained(context, cohort)
    selecting = sum(map(learner.selects, range(cohort.steps)))
    batch = context.recipe.data.batch_size * len(context.sources)
    share = learner.settings.hard_share
    facts = {
        "teacher_sha256": learner.teacher_sha256,
        "hard_samples": {"steps": selecting, "kept": kept(batch, share), "of": batch},
        "scale": float(learner.log_scale.detach().exp()),
    }
    return StepResult({**own.facts, **facts}, [*own.figures, _parts()], own.images_seen)


def _parts() -> Figure:
    """Return the chart of what the loss is made of."""
    return curves(
        "Parts of the loss",
        [
            curve("part/cross_entropy", meaning="cross-entropy"),
            curve("part/logits", style="dashed", meaning="distance of the scores"),
            curve("part/cross_modal", style="faint", meaning="cross-modal distance"),
        ],
        note="Before they are weighted, on the samples that are learned from.",
    )


def _learner(context: Context) -> ScmdLearner:
    recipe, settings = context.recipe, context.settings(ScmdSettings)
    teacher = load_teacher(context, settings.teacher)
    width, seed = context.pretrained.width, recipe.seed
    return ScmdLearner(context.network(), context.sources, recipe.train, settings, teacher, width, seed)


def _check(context: Context) -> None:
    """Refuse a teacher that cannot teach, and batches that would be split.

    Raises:
        ConfigError: For these reasons.
        WeightsError: If the teacher's weights cannot be loaded.
    """
    recipe = context.recipe
    check_whole({STUDENT: _learner(context)}, recipe.train.accumulate, recipe.runtime.processes)
