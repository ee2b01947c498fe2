"""Strings the stages together: train all, merge all, and only then open the held-out domain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Literal

from hamdg import console
from hamdg.algorithms.erm import control_of
from hamdg.config.merge_section import completed
from hamdg.config.reading import checked, read_recipe
from hamdg.config.recipe import CUSTOM, Recipe
from hamdg.data.find_images import find_images
from hamdg.errors import ConfigError, DataError, RunDirectoryError
from hamdg.files import link
from hamdg.report import build
from hamdg.report.table import format_text
from hamdg.runs.directory import RunDirectory
from hamdg.runs.identity import run_directory, training_identity
from hamdg.runs.manifest import check_seal, seal
from hamdg.runs.record import read_record
from hamdg.stages.class_features import check_words
from hamdg.stages.context import Context, open_context, set_threads
from hamdg.stages.evaluate import evaluate, opened_before
from hamdg.stages.merge import dry_run_merge, merge_histories
from hamdg.stages.room import check_room
from hamdg.stages.sources import check_learned_from_these, learned_from_these
from hamdg.stages.start import changed_start, check_start
from hamdg.stages.summaries import check_training, read_merge, read_train
from hamdg.stages.target_evidence import NOTE
from hamdg.stages.train import train

Stage = Literal["train", "merge", "evaluate"]
STAGES: tuple[Stage, ...] = ("train", "merge", "evaluate")


def run(
    recipe: Recipe,
    force: bool = False,
    command: str = "",
    until: Stage = "evaluate",
    show: bool = True,
    again: bool = False,
    trained: RunDirectory | None = None,
) -> Path:
    """Take a run through its stages; what is done is skipped, and a killed stage goes on where it stopped.

    A `ham` run with `controls.erm` takes its ERM control through the same stages, in a run directory of its own.

    Args:
        recipe: The run's recipe; short names of domains are resolved as on the command line.
        force: Repeat the run from the start, even if it is done.
        command: The command that the record names.
        until: The last stage.
        show: Print the table at the end.
        again: Evaluate the run once more, even if it is done.
        trained: A run that differs in the merge alone and whose training is to be taken; without it, that of any such
            run is, and where there is none, the run is trained.

    Returns:
        Path of the run's `record.json` (which exists only after `evaluate`).
    """
    recipe = completed(checked(recipe))
    console.set_quiet(recipe.runtime.quiet)
    set_threads(recipe.runtime.threads)
    place = RunDirectory(run_directory(recipe))
    wanted = force or again or not place.is_done
    if wanted or _names_other_pictures(recipe, place):
        find_images(recipe, held_out=until == "evaluate")
    if recipe.merge.target_data and until == "merge":
        raise ConfigError(
            f"What stops before `evaluate` never opens the held-out domain, but `{recipe.merge.method}` needs its "
            "pictures; choose another `merge.method`."
        )
    # Before anything is written or deleted: a model that cannot be loaded, or images that do not fit, leave no trace.
    own = _opened(recipe, place) if wanted else None
    if own is not None:
        if trained is not None and not place.train.exists():
            _check_taken(own, trained)
        check_room(own, held_out=until == "evaluate", afresh=force)
    with ExitStack() as stack:
        main = stack.enter_context(RunDirectory.open(recipe))
        if main.is_done and not force and not again:
            _check_done(main)
            console.skipped(f"`{main.path}` is done; `--force` repeats it")
        else:
            contexts = _contexts(stack, own or _opened(recipe, main))
            if force:
                main.reset()
            _advance(contexts, command, STAGES[: STAGES.index(until) + 1], afresh=force, again=again)
        if show and main.is_done:
            _show(main)
        return main.record


def _names_other_pictures(recipe: Recipe, done: RunDirectory) -> bool:
    """Say whether a recipe gives another place of images than the done run has: one that holds none is refused."""
    places = (recipe.data.root, recipe.data.hub, recipe.data.lists)
    if recipe.benchmark == CUSTOM or not any(places):
        return False
    try:
        before = done.recipe().data
    except ConfigError:  # a damaged recipe, which opening the run explains
        return False
    return places != (before.root, before.hub, before.lists)


def remerge(path: Path, overrides: Sequence[str]) -> Path:
    """Merge the histories of a trained run again, with other merge options, as a run of its own.

    Args:
        path: The trained run.
        overrides: `--merge.key=value` arguments; another `--merge.method` starts from its own defaults.

    Returns:
        Path of the new run's `record.json`.
    """
    with RunDirectory.hold(path) as source:
        if not source.train.exists():
            raise ConfigError(f"`{path}` is not trained yet; finish it with `hamdg run` first.")
        check_training(source)
        own = _recipe_at(source)
        recipe = read_recipe(source.config, [*overrides, f"--runtime.root={own.runtime.root}"])
        if run_directory(recipe) == run_directory(own):
            raise ConfigError(f"`{path}` is merged with these very options; give other `--merge.*` ones.")
    return run(recipe, command=f"hamdg merge {path} {' '.join(overrides)}", trained=RunDirectory(path))


def reevaluate(path: Path) -> Path:
    """Evaluate a merged run again and write its record and report anew."""
    with RunDirectory.hold(path) as found:
        if not found.is_done and not found.merged.exists():
            raise ConfigError(f"`{path}` is not merged yet; finish it with `hamdg run` first.")
        recipe = _recipe_at(found)
        command = _command_of(found) or f"hamdg evaluate {path}"
    return run(recipe, command=command, again=True)


def _command_of(run: RunDirectory) -> str:
    """Return the command in a run's record; nothing if there is none, or one that cannot be read."""
    try:
        return read_record(run.record)["command"]
    except DataError:
        return ""


def _check_done(run: RunDirectory) -> None:
    """Check that a done run has the files that it ended with, and say so where its model was read from others.

    Raises:
        RunDirectoryError: If a file is missing or is another.
    """
    manifest = check_seal(run)
    if manifest is None:
        console.note(f"`{run.path}` was written by a version without digests; its files cannot be checked")
    elif changed := changed_start(run.recipe().model, manifest["start"]):
        console.warning(f"The results of `{run.path}` belong to other weights: {changed}; `{run.base}` keeps them.")


def _opened(recipe: Recipe, run: RunDirectory) -> Context:
    """Load what a run needs; what can be refused is refused now, and not after the training.

    Raises:
        ConfigError: If the text tower cannot tell the classes apart, or the merge cannot be done.
    """
    context = open_context(recipe, run)
    check_words(context)
    dry_run_merge(context)
    return context


def _contexts(stack: ExitStack, own: Context) -> list[Context]:
    """Return what the run's stages work on, its control first."""
    recipe = own.recipe
    if recipe.algorithm != "ham" or not recipe.controls.erm:
        return [own]
    control = control_of(recipe)
    try:
        run = stack.enter_context(RunDirectory.open(control))
        if run.is_done:
            check_seal(run, f"restore it, or repeat the control by deleting `{run.path}`")
    except RunDirectoryError as error:
        raise RunDirectoryError(f"The ERM control: {error} `--controls.erm=false` does without it.") from error
    return [replace(own, recipe=control, run=run), own]


def _advance(contexts: Sequence[Context], command: str, stages: Sequence[Stage], afresh: bool, again: bool) -> None:
    *controls, own = contexts
    for context in contexts:
        _train(context, afresh)
    if "merge" in stages:
        for context in contexts:
            _merge(context)
    if "evaluate" in stages:
        for context in controls:
            _evaluate(context, None, command)
        _evaluate(own, controls[0].run if controls else None, command, again)


def _train(context: Context, afresh: bool) -> None:
    recipe = context.recipe
    models = context.plan.groups(context.sources)
    console.stage(f"train {context.plan.label}: {len(models)} model(s) on {', '.join(context.sources)}")
    if not afresh and (twin := _reusable_training(context)) is not None:
        _copy_training(twin, context.run)
        console.skipped(f"`{twin.path}` differs in the merge alone; its training is taken")
        return
    if context.run.resume.exists() and not context.run.train.exists():
        console.note("going on from the last checkpoint of a stopped run")
    if not train(context):
        console.skipped("trained before")
        return
    summary = read_train(context.run)
    console.note(f"{recipe.train.steps} steps in {summary['seconds']:.1f} s")
    for source, counts in (summary["enrichment"] or {}).items():
        noisy = counts["noisy_added"]
        share = f"; wrong labels {noisy / max(1, counts['added']):.1%} of the added" if noisy is not None else ""
        pool = f"{counts['added']} of {counts['candidates']} candidates"
        console.note(f"{source}: let in {pool} ({counts['added'] / max(1, counts['candidates']):.0%}){share}")


def _reusable_training(context: Context) -> RunDirectory | None:
    """Return a run whose training is the very one that this run would do, if this run has not begun."""
    run = context.run
    if run.train.exists() or run.resume.exists():
        return None
    wanted = (training_identity(context.recipe), context.start_digest)
    for summary in sorted(run.path.parent.glob(f"seed{context.recipe.seed}-*/{run.train.name}")):
        twin = RunDirectory(summary.parent)
        try:
            found = read_train(twin)
            if (found.get("training"), found.get("start_sha256")) == wanted and learned_from_these(context, twin):
                check_training(twin)
                return twin
        except RunDirectoryError as error:
            console.note(f"the training of `{twin.path}` is not taken: {error}")
    return None


def _check_taken(context: Context, trained: RunDirectory) -> None:
    """Check that a run can take the training of another: where it could not, it would be trained, on other data.

    Raises:
        DataError: If the source domains have other images than the training began with.
        WeightsError: If the weights are not those that the training began with.
    """
    check_start(replace(context, run=trained))
    check_learned_from_these(context, trained)


def _merge(context: Context) -> None:
    config = context.merge_config
    console.stage(f"merge {context.plan.label}")
    if not merge_histories(context):
        console.skipped("merged before")
        return
    summary = read_merge(context.run)
    options = ", ".join(f"{name} {value}" for name, value in summary.get("options", {}).items())
    console.note(f"method {config.method}" + (f": {options}" if options else ""))
    if summary.get("target_data"):
        console.note(f"{NOTE}: images of {context.recipe.held_out}, which is no domain generalization")
    norms = ", ".join(f"{name} {value:.2f}" for name, value in summary["norms"].items())
    console.note(f"norms of the histories: {norms}; of the merged model: {summary['merged_norm']:.2f}")
    console.note(f"source validation: {summary['validation'][context.plan.result]:.1%}")


def _evaluate(context: Context, control: RunDirectory | None, command: str, again: bool = False) -> None:
    run = context.run
    held_out = context.recipe.held_out
    console.stage(f"evaluate {context.plan.label} on {held_out}{_opened_by(held_out, opened_before(run))}")
    if not evaluate(context, command, control, again):
        console.skipped("evaluated before")
    if context.recipe.runtime.report:
        build([run.path])
    if not run.is_done:
        _finish(run)


def _finish(run: RunDirectory) -> None:
    """Mark a run as done."""
    trained, merged = read_train(run), read_merge(run)
    own = [path.name for path in (run.train, run.merge, run.record)]
    seal(run, {*own, *trained.get("wrote", {}), *merged.get("wrote", {})}, trained.get("start_files", {}))


def _opened_by(held_out: str, opened: Mapping[str, Sequence[str]]) -> str:
    """Say which stages before the evaluation opened the held-out domain; nothing if one did not write that."""
    stages = [stage for stage, names in opened.items() if held_out in names]
    if stages:
        return f", which {' and '.join(stages)} opened before"
    return ", which no stage before has opened" if {"train", "merge"} <= opened.keys() else ""


def _show(run: RunDirectory) -> None:
    files = [f"record  {run.record}", *([f"report  {run.report}"] if run.report.exists() else [])]
    text = "\n".join(["", format_text(read_record(run.record)), "", *files])
    console.result(text, kept=f"the run is done, and `{run.record}` has its result")


def _recipe_at(run: RunDirectory) -> Recipe:
    """Return the recipe of a run with the root that it lies below now: folders of runs may be moved.

    Raises:
        RunDirectoryError: If the directory itself was renamed, so that its recipe leads elsewhere.
    """
    recipe, place = run.recipe(), run.path.resolve()
    if run_directory(recipe).resolve() == place:
        return recipe
    moved = replace(recipe, runtime=replace(recipe.runtime, root=str(place.parents[min(3, len(place.parents) - 1)])))
    if run_directory(moved) != place:
        raise RunDirectoryError(
            f"`{run.path}` does not lie where its recipe belongs, which is `{run_directory(moved)}`; "
            "give it back that name, or repeat the run."
        )
    return moved


def _copy_training(source: RunDirectory, target: RunDirectory) -> None:
    """Link (or copy) what the train stage left behind; `train.json` last, since it says that all is there."""
    histories = [path for path in sorted(source.history.rglob("*")) if path.is_file()]
    learned = (source.class_features, source.base, *histories)
    for path in (*learned, source.metrics, source.samples, source.splits, source.train):
        if path.exists():
            link(path, target.path / path.relative_to(source.path))
