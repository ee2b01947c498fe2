"""Trains learners in lock-step on the run's domains, from the last checkpoint on, and keeps their histories."""

from __future__ import annotations

import logging
import signal
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from lightning import Trainer
from lightning.pytorch import Callback
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.exceptions import SIGTERMException

from hamdg import console
from hamdg.algorithms.base import Step, StepResult
from hamdg.cohort.cohort import Cohort
from hamdg.cohort.coupling import Coupling
from hamdg.cohort.history import CheckpointHistory
from hamdg.cohort.learner import Learner, check_whole
from hamdg.cohort.place import Place
from hamdg.cohort.progress import TrainingProgress
from hamdg.cohort.resume import UNREADABLE, CheckpointError, ResumeCheckpoint, read_checkpoint
from hamdg.cohort.strategy import CohortStrategy
from hamdg.cohort.swad import ValleyFacts, describe_valley, too_short
from hamdg.cohort.validation import SourceValidation
from hamdg.config.recipe import HistoryConfig, RuntimeConfig
from hamdg.data.domain import Domain, only_domains
from hamdg.data.module import SourceData
from hamdg.errors import HamdgError, RunDirectoryError
from hamdg.merge.files.partial import COMPLETED_BY
from hamdg.models.learned_head import digest
from hamdg.runs import schema
from hamdg.runs.figures import Figure
from hamdg.runs.steps import read_index
from hamdg.stages.context import Context
from hamdg.stages.processes import team_of
from hamdg.stages.start import keep_base
from hamdg.text import reason_of
from hamdg.tracking.csv import CsvTracker

Learners = Callable[[Context], Mapping[str, Learner]]
Couplings = Callable[[Context], Sequence[Coupling]]


def fit(
    context: Context,
    learners: Mapping[str, Learner],
    *,
    couplings: Sequence[Coupling] = (),
    domains: Mapping[str, Domain] | None = None,
    data: SourceData | None = None,
    history: HistoryConfig | None = None,
    draw: int = 0,
) -> Cohort:
    """Train learners as their own configuration says, going on where a killed step stopped.

    The step's folder gets `metrics.csv`, the histories with their index, and `resume.ckpt` while it is not done.

    Args:
        context: The step's context.
        learners: What learns, by name.
        couplings: What the learners do to each other's gradients and weights.
        domains: The domains to draw batches from; the sources by default.
        data: What gives the batches, where these are not those of the domains; it has as many steps as the learners.
        history: Which checkpoints are kept; the recipe's by default.
        draw: Another order of batches than that of the run's seed, for runs that differ in nothing else.

    Raises:
        TrainingError: If a loss is no longer finite.
        CheckpointError: If the step cannot go on from its checkpoint.
        KeyboardInterrupt: If the user stopped it; what was trained up to the last checkpoint is kept.
    """
    recipe, files, runtime = context.recipe, context.files, context.recipe.runtime
    # Not the recipe's: a step may train otherwise than another one of the same run. Some learners may stop earlier.
    train = max((learner.config for learner in learners.values()), key=lambda one: one.steps)
    if data is None:
        opened = domains or context.data(context.sources)
        data = SourceData(
            recipe,
            context.preprocess,
            opened,
            draw=draw,
            steps=train.steps,
            layers=context.trunk,
            device=context.device,
        )
    data.setup()
    cohort = Cohort(learners, couplings, seed=recipe.seed, log_every=runtime.log_every, accumulate=train.accumulate)
    origin = _origin(context)
    done = _resumed_step(context, cohort, origin)
    kept_as = history or recipe.history
    if sentence := too_short(kept_as, train):
        console.warning(sentence)
    completed = {COMPLETED_BY: keep_base(context)}
    kept = CheckpointHistory(files.folder, kept_as, train.steps, check_every=train.check_every, metadata=completed)
    resume = ResumeCheckpoint(files.resume, runtime.checkpoint_every, runtime.checkpoint_minutes, origin)
    validation = SourceValidation(
        {name: part.first(train.check_images) for name, part in data.holdouts().items()},
        context.preprocess,
        train.check_every,
        train.steps,
        kept.note_validation,
        log_loss=kept_as.kind == "swad" or any(learner.follows_validation for learner in learners.values()),
    )
    progress = TrainingProgress(train.steps, context.progress)
    loggers = [CsvTracker(files.metrics, last_step=done), *context.loggers(last_step=done)]
    training = _Training(
        cohort,
        data,
        files.resume if files.resume.exists() else None,
        runtime,
        context.device.type == "cuda",
        context.half,
    )
    try:
        training.lead(loggers, [kept, validation, progress, resume])
    except UNREADABLE as error:
        if resume.restored or not done or isinstance(error, HamdgError) or _is_of_the_machine(error):
            raise
        raise CheckpointError("holds a state that training cannot take over") from error
    context.spent.append(resume.seconds_before)
    return cohort


def train_step(
    learners: Learners,
    *,
    name: str = "train",
    couplings: Couplings | None = None,
    sections: Sequence[str] = (),
    names: Sequence[str] = (),
    check: Callable[[Context], None] | None = None,
    figures: Callable[[Cohort], Sequence[Figure]] | None = None,
) -> Step:
    """Return the step that trains learners on the sources.

    Args:
        learners: Makes them.
        name: The step's name.
        couplings: Makes what couples them.
        sections: What they read of the recipe beyond `train` and `history`.
        names: Their names, for what is said of a run before it begins.
        check: Refuses before anything trains, by raising a `ConfigError`.
        figures: What the page draws of them after training.
    """

    def run(context: Context) -> StepResult:
        cohort = fit(context, learners(context), couplings=couplings(context) if couplings else ())
        return trained(context, cohort)._replace(figures=figures(cohort) if figures else ())

    def check_all(context: Context) -> None:
        if check:
            check(context)
        check_split(context, lambda: learners(context))

    return Step(name, run, sections=frozenset({"train", "history", *sections}), check=check_all, learners=names)


def check_split(context: Context, learners: Callable[[], Mapping[str, Learner]]) -> None:
    """Refuse to split batches over steps or processes, where the recipe does, if learners need them whole.

    Args:
        context: The run, before anything trains.
        learners: Makes the learners, with copies of the model's weights: it is called where batches are split.

    Raises:
        ConfigError: There is such a learner.
    """
    accumulate, processes = context.recipe.train.accumulate, context.recipe.runtime.processes
    if accumulate > 1 or processes > 1:
        with only_domains(context.sources):
            check_whole(learners(), accumulate, processes)


def trained(context: Context, cohort: Cohort) -> StepResult:
    """Return what a step that has trained a cohort says of itself."""
    own = {name: list(learner.own) for name, learner in cohort.learners.items()}
    index = read_index(context.files)["sources"]
    # Fewer than were planned where the learners ended the training.
    steps = max(files["last"]["step"] for files in index.values())
    facts: dict[str, object] = {"learners": own, "steps": steps}
    if valleys := {name: files["valley"] for name, files in index.items() if "valley" in files}:
        facts["valleys"] = valleys
        for name, valley in valleys.items():
            console.note(f"{name}: {describe_valley(cast('ValleyFacts', valley))}")
    domains = {domain for names in own.values() for domain in names}
    return StepResult(facts, images_seen=steps * context.recipe.data.batch_size * len(domains))


def _origin(context: Context) -> dict[str, str]:
    """Return what tells this training from others, as its checkpoints keep it."""
    found = {"step": context.identity, "start_sha256": context.start_sha256}
    learned = context.recipe.model.text_head != "prompts"
    return found | ({"class_features": digest(context.class_layer)} if learned else {})


def _resumed_step(context: Context, cohort: Cohort, origin: Mapping[str, str]) -> int:
    """Return the step that the training goes on after; 0 where it begins.

    Raises:
        CheckpointError: The checkpoint is damaged, or of another training.
        RunDirectoryError: It cannot be read.
    """
    path = context.files.resume
    if not path.exists():
        return 0
    try:
        return read_checkpoint(path, cohort.state_dict(), cohort.steps, origin)
    except OSError as error:
        reason = reason_of(error).lower()
        raise RunDirectoryError(f"`{path}` cannot be read ({reason}); mend that, or {schema.REPEAT}.") from error


def _is_of_the_machine(error: Exception) -> bool:
    """Return whether torch blames memory, a device or a connection: kinds of their own of what a bad state raises."""
    return isinstance(error, RuntimeError) and type(error) not in (RuntimeError, NotImplementedError)


@dataclass(frozen=True)
class _Training:
    """A training, by one process or by several; called by all of them but the first, which leads.

    Args:
        cohort: What is trained.
        data: What it learns from.
        checkpoint: From where it goes on.
        runtime: How it is executed.
        gpu: Whether that is on GPUs.
        half: Whether networks compute in bf16.
    """

    cohort: Cohort
    data: SourceData
    checkpoint: Path | None
    runtime: RuntimeConfig
    gpu: bool
    half: bool

    def lead(self, loggers: Sequence[Logger], callbacks: Sequence[Callback]) -> None:
        """Train in this process, and in others where there are any."""
        team = team_of(self.runtime)
        if team is None:
            self._train({}, loggers, callbacks)
            return
        # Before the others look for them, too.
        self.data.prepare()
        with team.training(self, self.gpu) as place:
            self._train(self._options_at(place), loggers, callbacks)

    def __call__(self, place: Place) -> None:
        """Take part in the training; nothing is written here."""
        with only_domains(self.data.domains):
            self._train(self._options_at(place), (), ())

    def _options_at(self, place: Place) -> dict[str, Any]:
        nodes = place.world // place.per_node
        return {"devices": place.per_node, "num_nodes": nodes, "strategy": CohortStrategy(place)}

    def _train(self, options: dict[str, Any], loggers: Sequence[Logger], callbacks: Sequence[Callback]) -> None:
        logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
        # BatchNorm is meant to be in evaluation mode: its statistics are frozen so that towers can be averaged.
        warnings.filterwarnings("ignore", message=r"Found \d+ module\(s\) in eval mode")
        # Lightning's own use of torch's pytree, about which a user can do nothing.
        warnings.filterwarnings("ignore", message=r"`isinstance\(treespec, LeafSpec\)` is deprecated")
        if self.runtime.compile:
            for learner in self.cohort.learners.values():
                learner.network.compile()
        trainer = Trainer(logger=list(loggers), callbacks=list(callbacks), **(self._options() | options))
        handler = signal.getsignal(signal.SIGINT)
        try:
            trainer.fit(self.cohort, datamodule=self.data, ckpt_path=self.checkpoint, weights_only=True)
        except SystemExit as leaving:
            # Lightning turns Ctrl-C into an exit; the command line has its own way of saying what can be resumed. Any
            # other exit is not Lightning's: that of a job, say, which is queued again.
            if isinstance(leaving, SIGTERMException) or isinstance(leaving.__context__, KeyboardInterrupt):
                raise KeyboardInterrupt from None
            raise
        finally:
            self.data.close()
            signal.signal(signal.SIGINT, handler)

    def _options(self) -> dict[str, Any]:
        return {
            "max_steps": self.cohort.steps,
            "max_epochs": -1,
            "accelerator": "gpu" if self.gpu else "cpu",
            "devices": 1,
            "precision": "bf16-mixed" if self.half else "32-true",
            "enable_checkpointing": False,
            "enable_model_summary": False,
            "enable_progress_bar": False,
            "log_every_n_steps": 1,
            "use_distributed_sampler": False,
        }
