"""Takes a run through its steps: controls, steps, export and validation, and only then the held-out domain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import takewhile
from pathlib import Path

from hamdg import console
from hamdg.algorithms.base import Step
from hamdg.config.data import CUSTOM
from hamdg.config.merge_section import completed
from hamdg.config.reading import checked
from hamdg.config.recipe import Recipe
from hamdg.config.tracking import check_loggers
from hamdg.data.counts import check_unseen
from hamdg.data.find_images import find_images
from hamdg.errors import ConfigError, DataError, RunInUseError
from hamdg.progress import Progress
from hamdg.report import build
from hamdg.runs.directory import FILES, RunDirectory
from hamdg.runs.identity import run_directory
from hamdg.runs.manifest import check_not_records_only, check_seal, seal
from hamdg.runs.record import EVALUATE, VALIDATE, is_averaged, read_record, rows_asked_for, rows_to_measure
from hamdg.runs.steps import read_start
from hamdg.stages import outcome, plan_text
from hamdg.stages.class_features import check_rows, check_words
from hamdg.stages.context import Context, open_context
from hamdg.stages.control_runs import check_sealed, control_contexts, held, waited_for
from hamdg.stages.discovery import algorithm_of
from hamdg.stages.disk import Disk, check_disk
from hamdg.stages.entries import check_measured
from hamdg.stages.evaluate import evaluate
from hamdg.stages.exporting import exported, validate
from hamdg.stages.machine import keep_freed_memory, set_threads
from hamdg.stages.plan import make_plan, part_name
from hamdg.stages.processes import lead_alone
from hamdg.stages.running import run_steps
from hamdg.stages.sources import check_learned_from_these, check_sources
from hamdg.stages.start import changed_start, check_start, prepare
from hamdg.stages.tracking import evaluation_results, track_evaluation, track_validation, validation_results
from hamdg.tracking.loggers import check_makers


def run(
    recipe: Recipe,
    force: bool = False,
    command: str = "",
    until: str = EVALUATE,
    show: bool = True,
    again: bool = False,
    trained: RunDirectory | None = None,
) -> Path:
    """Take a run through its steps; what is done is skipped, and a killed step goes on where it stopped.

    Its controls are taken through the same, each in a run directory of its own.

    Args:
        recipe: The run's recipe; short names of domains are resolved as on the command line.
        force: Repeat the run from the start, even if it is done.
        command: The command that the record names.
        until: The last step. After an algorithm's last step, or with `validate`, its result is exported and validated
            on the sources; only `evaluate` reads the held-out domain's labels.
        show: Print the table at the end.
        again: Evaluate the run once more, even if it is done.
        trained: A run that differs in the merge alone and whose training is to be taken; without it, that of any such
            run is, and where there is none, the run is trained.

    Returns:
        Path of the run's `record.json` (which exists only after `evaluate`).
    """
    recipe = completed(checked(recipe))
    with console.output(quiet=recipe.runtime.quiet):
        return _run(recipe, force, command, until, show, again, trained)


def _run(
    recipe: Recipe, force: bool, command: str, until: str, show: bool, again: bool, trained: RunDirectory | None
) -> Path:
    check_loggers(recipe.tracking)
    lead_alone()
    set_threads(recipe.runtime.threads)
    keep_freed_memory()
    place, evaluates = RunDirectory(run_directory(recipe)), until == EVALUATE
    recipe, adds_rows = _with_missing_figures(recipe, place, until)
    again = again or adds_rows
    _check_files(place, until, force=force, again=again)
    wanted = force or again or not place.is_done
    if wanted or _names_other_images(recipe, place):
        find_images(recipe, held_out=evaluates)
    # Before anything is written or deleted: a model that cannot be loaded, or images that do not fit, leave no trace.
    own = _opened(recipe, place, until) if wanted else None
    if own is not None:
        check_makers(recipe.tracking)
        if trained is not None and not _is_trained(own):
            _check_taken(own, trained)
        disk = check_disk([*control_contexts(own), own], held_out=evaluates, force=force)
        own = replace(own, progress=_announced(own, until, force, again, disk))
    with RunDirectory.open(recipe) as main:
        if main.is_done and not force and not again:
            check_done(main)
            console.skipped(f"`{main.path}` is done; `--force` repeats it")
        else:
            own = replace(own or _opened(recipe, main, until), run=main)
            controls = control_contexts(own)
            for control in controls:
                check_sealed(control)
            if force:
                check_sources(own)
                main.reset()
            with own.progress.shown():
                _advance(own, controls, command, until, force=force, again=again)
        if show:
            outcome.show(main, recipe)
        return main.record


def dry_run(recipe: Recipe, force: bool = False, until: str = EVALUATE) -> None:
    """Print what a run would do, and do nothing; what is refused before a run is refused here too.

    Args:
        recipe: The run's recipe.
        force: Whether the run would begin again.
        until: The last step.
    """
    recipe = completed(checked(recipe))
    with console.output(quiet=recipe.runtime.quiet):
        set_threads(recipe.runtime.threads)
        place = RunDirectory(run_directory(recipe))
        recipe, again = _with_missing_figures(recipe, place, until)
        _check_files(place, until, force=force, again=again)
        find_images(recipe, held_out=until == EVALUATE)
        own = _opened(recipe, place, until)
        check_makers(recipe.tracking)
        contexts = [*control_contexts(own), own]
        disk = check_disk(contexts, held_out=until == EVALUATE, force=force)
        plan = make_plan(contexts, until=until, force=force, again=again, disk=disk)
        console.result("\n".join([plan_text.title(plan), *plan_text.lines(plan)]))
        console.result_json(plan_text.values(plan))


def _with_missing_figures(recipe: Recipe, run: RunDirectory, until: str) -> tuple[Recipe, bool]:
    """Return the recipe that also measures what a run's record lacks, and whether it lacks anything.

    It lacks rows that were not asked for when it was written, and headlines that are another mean of several targets.
    """
    # Of a run that is not done, too: a process may have died while it added rows.
    if until != EVALUATE or not run.record.is_file():
        return recipe, False
    try:
        record = read_record(run.record)
    except DataError:
        return recipe, False  # which file of a run is another is said later
    rows = rows_to_measure(record, recipe.evaluate.rows)
    if rows == ():
        if is_averaged(record, recipe.evaluate.average):
            return recipe, False
        rows = rows_asked_for(record)
    return replace(recipe, evaluate=replace(recipe.evaluate, rows=rows)), True


def _check_files(run: RunDirectory, until: str, force: bool, again: bool) -> None:
    """Refuse a run that has records only where more is asked of it; to begin again, nothing is needed."""
    if not force and (again or until not in (VALIDATE, EVALUATE)):
        check_not_records_only(run)


def _announced(own: Context, until: str, force: bool, again: bool, disk: Disk | None) -> Progress:
    """Print what a run will do, and return its progress; nobody sees either of a quiet one."""
    if console.is_quiet():
        return Progress()
    plan = make_plan([*control_contexts(own), own], until=until, force=force, again=again, disk=disk)
    console.heading(plan_text.title(plan))
    for line in plan_text.lines(plan):
        console.note(line)
    return plan.progress()


def _opened(recipe: Recipe, run: RunDirectory, until: str) -> Context:
    """Load what a run needs; what can be refused is refused now, and not after the training.

    Raises:
        ConfigError: If the text tower cannot tell the classes apart, a step cannot be done, or there is no such step.
        DataError: If steps would read all images of a target.
    """
    context = open_context(recipe, run)
    steps = context.algorithm.steps()
    _check_names(recipe, steps)
    check_until(recipe, steps, until)
    check_words(context)
    check_rows(context)
    check_measured(context)
    if any("targets" in step.reads for step in _up_to(steps, until)):
        check_unseen(recipe, context.targets)
    for step in _up_to(steps, until):
        if step.check is not None:
            step.check(replace(context, unlearned=True))
    return context


def _check_names(recipe: Recipe, steps: Sequence[Step]) -> None:
    """Refuse steps whose files would be another's: of another step, or of the run itself."""
    seen = set[str]()
    for step in steps:
        taken = step.name in (*FILES, VALIDATE, EVALUATE)
        if taken or step.name in seen:
            whose = "the run's own files or stages" if taken else "another step"
            raise ConfigError(
                f"A step of the algorithm `{recipe.algorithm}` has the name of {whose}, `{step.name}`; rename it."
            )
        seen.add(step.name)


def check_until(recipe: Recipe, steps: Sequence[Step], until: str) -> None:
    """Check that a run can stop after a step.

    Raises:
        ConfigError: If its algorithm has no such step, or one before it reads the held-out domain.
    """
    names = [step.name for step in steps]
    if until == EVALUATE:
        return
    if until not in (*names, VALIDATE):
        known = ", ".join(f"`{name}`" for name in (*names, VALIDATE, EVALUATE))
        raise ConfigError(f"The algorithm `{recipe.algorithm}` has no step `{until}`; its steps are {known}.")
    for step in _up_to(steps, until):
        if "targets" in step.reads:
            method = f" of the method `{recipe.merge.method}`" if "merge" in step.sections else ""
            raise ConfigError(
                f"What stops before `evaluate` never opens the held-out domain, but the step `{step.name}`{method} "
                "needs its images; choose another `merge.method`, or run all steps."
            )


def _up_to(steps: Sequence[Step], until: str) -> Sequence[Step]:
    """Return the steps that a run takes which stops after one of them, or after what follows all."""
    names = [step.name for step in steps]
    return steps[: names.index(until) + 1] if until in names else steps


def _advance(own: Context, controls: Sequence[Context], command: str, until: str, force: bool, again: bool) -> None:
    """Take controls and a run through their steps; when those of all of them are done, evaluate.

    Runs share their controls: one that another process works on is waited for only when this run has done its steps.
    """
    later = []
    for control in controls:
        try:
            with held(control):
                _take_steps(control, until, force, again)
        except RunInUseError:
            later.append(control)
    _take_steps(own, until, force, again, is_result=True)
    for control in later:
        with waited_for(control):
            _take_steps(control, until, force, again)
    if until == EVALUATE:
        for control in controls:
            with waited_for(control):
                # One of an earlier version kept less of its evaluation than a new one of this run wants.
                _evaluate(control, command, (), again and not control.run.predictions.exists())
        _evaluate(own, command, controls, again, is_result=True)


def _take_steps(context: Context, until: str, force: bool, again: bool, is_result: bool = False) -> None:
    """Take a run through the steps that are asked for, and validate it if these are all."""
    prepare(context)
    steps = context.algorithm.steps()
    chosen = _up_to(steps, until)
    run_steps(context, chosen, share=not force)
    if len(chosen) == len(steps):
        with context.progress.part(part_name(context.algorithm.label, VALIDATE)):
            if until == EVALUATE:
                validate(context, again)
                return
            # Nothing will evaluate this run: loggers get what it comes to from its validation.
            with track_validation(context, is_result) as tracker:
                if validate(context, again):
                    tracker.finish(lambda: validation_results(context))


def _evaluate(
    context: Context, command: str, controls: Sequence[Context], again: bool = False, is_result: bool = False
) -> None:
    run, targets = context.run, ", ".join(context.targets)
    console.heading(f"evaluate {context.algorithm.label} on {targets}{_opened_by(context)}")
    part = context.progress.part(part_name(context.algorithm.label, EVALUATE))
    with part, track_evaluation(context, is_result) as tracker:
        if evaluate(context, command, controls, again):
            tracker.finish(lambda: evaluation_results(context, read_record(run.record)))
        else:
            console.skipped("evaluated before")
    if context.recipe.runtime.report:
        build([run.path])
    if not run.is_done:
        _finish(context)


def _finish(context: Context) -> None:
    """Mark a run as done, with the digests of all that it wrote."""
    run, files = context.run, set[str]()
    for step in context.algorithm.steps():
        own = context.step(step.name)
        files |= {own.summary.name, *own.read()["wrote"]}
    maybe = (run.base, run.class_features, run.splits, run.start, run.predictions, run.lines)
    kept = [path for path in maybe if path.exists()]
    files |= {path.name for path in (*kept, run.validation, run.record)} | set(exported(run))
    seal(run, files, read_start(run)["files"])


def _opened_by(context: Context) -> str:
    """Return a clause on the steps before the evaluation that opened a held-out domain."""
    steps = [step.name for step in context.algorithm.steps()]
    found = [name for name in steps if set(context.step(name).read()["opened"]) & set(context.targets)]
    return f", which {' and '.join(found)} opened before" if found else ", which no step before has opened"


def _names_other_images(recipe: Recipe, done: RunDirectory) -> bool:
    """Return whether a recipe names another place of images than the done run, which has to be looked into."""
    places = (recipe.data.root, recipe.data.hub, recipe.data.lists)
    if recipe.benchmark == CUSTOM or not any(places):
        return False
    try:
        before = done.recipe().data
    except ConfigError:  # a damaged recipe, which opening the run explains
        return False
    return places != (before.root, before.hub, before.lists)


def check_done(run: RunDirectory) -> None:
    """Check that a done run has the files that it ended with, and say so where its model was read from others.

    Raises:
        RunDirectoryError: If a file is missing or is another.
    """
    manifest = check_seal(run)
    if manifest is None:
        console.note(f"`{run.path}` was written by a version without digests; its files cannot be checked")
    elif changed := changed_start(run.recipe().model, manifest["start"]):
        console.warning(f"The results of `{run.path}` belong to other weights: {changed}; `{run.base}` keeps them.")


def _check_taken(context: Context, trained: RunDirectory) -> None:
    """Check that a run can take the training of another: where it could not, it would be trained, on other data.

    Raises:
        DataError: If the source domains have other images than the training began with.
        WeightsError: If the weights are not those that the training began with.
    """
    check_start(replace(context, run=trained))
    check_learned_from_these(context, trained)


def trained_steps(recipe: Recipe) -> list[str]:
    """Return the steps that a change of the merge leaves as they are."""
    return [step.name for step in algorithm_of(recipe).steps() if "merge" not in step.sections]


def steps_before_merge(recipe: Recipe) -> list[str]:
    """Return the steps that train what a run merges; joint training that is mixed with a merge comes after it."""
    return [step.name for step in takewhile(lambda step: "merge" not in step.sections, algorithm_of(recipe).steps())]


def _is_trained(context: Context) -> bool:
    return all(context.step(name).is_done for name in trained_steps(context.recipe))
