"""The train stage: source domains in, checkpoint histories out."""

from __future__ import annotations

import logging
import signal
import time
import warnings
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
from lightning import Trainer
from lightning.pytorch import Callback
from numpy.typing import NDArray
from PIL import Image

from hamdg import console
from hamdg.algorithms.ham.harmonizer import Harmonizer
from hamdg.algorithms.ham.learner import HamLearner, kept_samples
from hamdg.algorithms.ham.sample_log import Sample
from hamdg.cohort.cohort import Cohort
from hamdg.cohort.history import CheckpointHistory
from hamdg.cohort.learner import Learner
from hamdg.cohort.progress import progress_callback
from hamdg.cohort.resume import UNREADABLE, CheckpointError, ResumeCheckpoint, read_checkpoint
from hamdg.cohort.validation import SourceValidation
from hamdg.config.algorithms.ham import HamSettings
from hamdg.data.domain import Domain, opened_domains
from hamdg.data.module import SourceData
from hamdg.data.subset import holdout
from hamdg.errors import HamdgError, RunDirectoryError, WeightsError
from hamdg.files import atomic_path, write_json
from hamdg.models.learned_head import head_digest
from hamdg.models.tower import layer_of
from hamdg.runs import schema
from hamdg.runs.directory import RunDirectory
from hamdg.runs.identity import training_identity
from hamdg.runs.manifest import digests
from hamdg.runs.selection import SelectionCounts
from hamdg.stages.class_features import learn_class_features
from hamdg.stages.context import Context
from hamdg.stages.sources import open_sources
from hamdg.stages.start import check_start, keep_base, start_files
from hamdg.stages.summaries import check_training, read_index, read_train
from hamdg.text import reason_of
from hamdg.tracking.csv import CsvTracker
from hamdg.tracking.rows import Row, read_rows

# Side of the images that are kept for the report.
THUMBNAIL = 96


def train(context: Context) -> bool:
    """Train all models of the run, going on where a killed run stopped.

    Returns:
        Whether there was anything to do.

    Raises:
        TrainingError: If a loss stops being a number.
        KeyboardInterrupt: If the user stopped it; what was trained up to the last checkpoint is kept.
    """
    run = context.run
    with opened_domains() as opened:
        # Even where nothing is left to train: the stages that follow would not notice other images.
        data = open_sources(context)
        check_start(context)
        if run.train.exists():
            if run.base.name in read_train(run).get("wrote", {}):
                keep_base(context)
            check_training(run)
            return False
        try:
            summary = _trained(context, data)
        except CheckpointError as error:
            console.warning(f"`{run.resume}` {error}; the training begins anew.")
            run.reset_training()
            summary = _trained(context, data)
    write_json(run.train, summary | {"opened": sorted(opened), "wrote": digests(run, _written(run))})
    run.resume.unlink(missing_ok=True)
    return True


def _trained(context: Context, data: SourceData) -> dict[str, object]:
    """Train, write all but `train.json`, and return what that is to hold."""
    run = context.run
    started = time.monotonic()
    learn_class_features(context, data)
    origin = _origin(context)
    cohort = build_cohort(context, data)
    done = _resumed_step(context, cohort, origin)
    tracker = CsvTracker(run.metrics, last_step=done)
    recipe = context.recipe
    history = CheckpointHistory(
        recipe.history, run.history, recipe.train.steps, recipe.train.check_every, keep_base(context)
    )
    resume = ResumeCheckpoint(run.resume, recipe.runtime.checkpoint_every, origin)
    callbacks: list[Callback] = [
        history,
        SourceValidation(
            data.holdouts(),
            context.preprocess,
            recipe.train.check_every,
            recipe.train.steps,
            history.note_validation,
            log_loss=recipe.history.kind == "swad",
        ),
        *progress_callback(recipe.train.steps, recipe.runtime.quiet),
        resume,
    ]
    try:
        _fit(context, cohort, data, tracker, callbacks)
    except UNREADABLE as error:
        if resume.restored or not done or isinstance(error, HamdgError):
            raise
        raise CheckpointError("holds a state that training cannot take over") from error
    _write_samples(context, data, kept_samples(cohort.learners.values()))
    return _summary(context, read_rows(run.metrics), resume.seconds_before + time.monotonic() - started)


def _origin(context: Context) -> dict[str, str]:
    """Return what tells this training from others, as its checkpoints keep it.

    Raises:
        CheckpointError: If the class features that a checkpoint was made with are gone.
    """
    found = {"training": training_identity(context.recipe), "start_sha256": context.start_digest}
    if context.recipe.model.text_head == "prompts":
        return found
    try:
        return found | {"class_features": head_digest(context.text_head)}
    except WeightsError as error:
        name = context.run.class_features.name
        raise CheckpointError(f"was made with class features that are missing or damaged (`{name}`)") from error


def _written(run: RunDirectory) -> list[Path]:
    """Return the files that training leaves behind."""
    index = read_index(run)["sources"].values()
    entries = [entry for files in index for entry in (files["last"], *files["history"])]
    histories = {run.history / entry["file"] for entry in entries}
    return [run.class_features, run.base, run.metrics, run.samples, run.splits, run.history_index, *histories]


def build_cohort(context: Context, data: SourceData) -> Cohort:
    """Return the learners of the run, all at the pretrained weights."""
    recipe, groups = context.recipe, context.plan.groups(context.sources)
    make = partial(Cohort, seed=recipe.seed, log_every=recipe.runtime.log_every)
    if len(groups) == 1:
        learners = {name: Learner(context.network(), own, recipe.train) for name, own in groups.items()}
        return make(learners)
    settings = recipe.settings if isinstance(recipe.settings, HamSettings) else HamSettings()
    noise_known = any(bool((arrays.labels != arrays.clean_labels).any()) for arrays in data.domains.values())
    return make(
        {
            name: HamLearner(name, context.network(), own, recipe.train, settings.enrichment, noise_known)
            for name, own in groups.items()
        },
        [Harmonizer(settings.harmonization, context.base(), len(groups), layer_of, recipe.seed)],
    )


def _resumed_step(context: Context, cohort: Cohort, origin: Mapping[str, str]) -> int:
    """Return the step that the training goes on after; 0 where it begins.

    Raises:
        CheckpointError: The checkpoint is damaged, or of another training.
        RunDirectoryError: It cannot be read.
    """
    path = context.run.resume
    if not path.exists():
        return 0
    try:
        return read_checkpoint(path, cohort.state_dict(), context.recipe.train.steps, origin)
    except OSError as error:
        reason = reason_of(error).lower()
        raise RunDirectoryError(f"`{path}` cannot be read ({reason}); mend that, or {schema.REPEAT}.") from error


def _fit(context: Context, cohort: Cohort, data: SourceData, tracker: CsvTracker, callbacks: list[Callback]) -> None:
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    # BatchNorm is meant to be in evaluation mode: its statistics are frozen so that towers can be averaged.
    warnings.filterwarnings("ignore", message=r"Found \d+ module\(s\) in eval mode")
    # Lightning's own use of torch's pytree; nothing a user could do about.
    warnings.filterwarnings("ignore", message=r"`isinstance\(treespec, LeafSpec\)` is deprecated")
    trainer = Trainer(
        max_steps=context.recipe.train.steps,
        max_epochs=-1,
        accelerator="gpu" if context.device.type == "cuda" else "cpu",
        devices=1,
        precision="bf16-mixed" if context.device.type == "cuda" else "32-true",
        logger=tracker,
        callbacks=callbacks,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        log_every_n_steps=1,
    )
    checkpoint = context.run.resume if context.run.resume.exists() else None
    handler = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit(cohort, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    except SystemExit:
        # Lightning turns Ctrl-C into an exit; the command line has its own way of saying what can be resumed.
        raise KeyboardInterrupt from None
    finally:
        data.close()
        signal.signal(signal.SIGINT, handler)


def _write_samples(context: Context, data: SourceData, samples: list[Sample]) -> None:
    if not samples:
        return
    sources = list(context.sources)
    pictures = [_thumbnail(data.domains[s.domain], s.position) for s in samples]
    with atomic_path(context.run.samples) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(
            stream,
            images=np.stack(pictures),
            accepted=np.array([s.accepted for s in samples]),
            model=np.array([sources.index(s.model) for s in samples]),
            domain=np.array([sources.index(s.domain) for s in samples]),
            label=np.array([data.domains[s.domain].labels[s.position] for s in samples]),
            clean_label=np.array([data.domains[s.domain].clean_labels[s.position] for s in samples]),
            confidence=np.array([s.confidence for s in samples]),
            threshold=np.array([s.threshold for s in samples]),
            step=np.array([s.step for s in samples]),
            sources=np.array(sources),
            classes=np.array(context.bench.classes),
        )


def _thumbnail(domain: Domain, position: int) -> NDArray[np.uint8]:
    """Return an image as it is evaluated, made smaller where it is large: the report holds dozens of them."""
    ((images, _),) = holdout(domain, np.array([position])).parts(1)
    picture = Image.fromarray(images[0].numpy())
    picture.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    return np.asarray(picture)


def _summary(context: Context, rows: list[Row], seconds: float) -> dict[str, object]:
    recipe = context.recipe
    fresh = recipe.train.steps * recipe.data.batch_size * len(context.sources)
    enriched = _enriched(rows)
    added = sum(counts["added"] for counts in enriched.values())
    return {
        "training": training_identity(recipe),
        "steps": recipe.train.steps,
        "seconds": seconds,
        "start_sha256": context.start_digest,
        "class_features": {"kind": recipe.model.text_head, "sha256": head_digest(context.text_head)},
        "start_files": start_files(recipe.model),
        "images_seen": {"fresh": fresh, "with_enrichment": fresh + added},
        "enrichment": enriched or None,
    }


def _enriched(rows: list[Row]) -> dict[str, SelectionCounts]:
    sums: dict[str, dict[str, int]] = {}
    for row in rows:
        title, _, kind = row.name.partition("/")
        if title == "enrichment" and kind != "threshold":
            counts = sums.setdefault(row.source, {})
            counts[kind] = counts.get(kind, 0) + int(row.value)
    return {
        source: SelectionCounts(
            candidates=counts["candidates"],
            added=counts["added"],
            noisy_candidates=counts.get("noisy_candidates"),
            noisy_added=counts.get("noisy_added"),
        )
        for source, counts in sums.items()
    }
