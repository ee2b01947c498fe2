"""What loggers get of a run's steps: which step it is, and what it has found."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

from hamdg.algorithms.base import Algorithm
from hamdg.config.recipe import Recipe
from hamdg.runs.directory import RunDirectory
from hamdg.runs.figures import Figure
from hamdg.runs.identity import defining_part, identity
from hamdg.runs.predictions import MapPredictions, Predictions, TargetPredictions, read_predictions
from hamdg.runs.record import EVALUATE, PER_CLASS, VALIDATE, Record
from hamdg.runs.settings import flat, text_of
from hamdg.runs.steps import StepSummary, read_validation, read_validation_by_source
from hamdg.stages.context import Context
from hamdg.stages.exporting import exported
from hamdg.tracking.dashboard.layout import TRAINING
from hamdg.tracking.links import read_links
from hamdg.tracking.results import CaptionedImage, Cell, ConfigValue, Confusion, Results, ResultTable
from hamdg.tracking.step import TrackedStep
from hamdg.tracking.tracker import StepTracker, tracked

# Of a run's facts: what files are made with, and which learner learned what.
_LEFT_OUT = frozenset({"provenance", "learners"})
# Facts that lie deeper are of single layers, which tables show.
_DEPTH = 3
# Longer lists, as of prompts, tell nothing apart.
_LONGEST_LIST = 12


def track_step(context: Context, name: str, own_identity: str) -> AbstractContextManager[StepTracker]:
    """Give a step its loggers while a block runs.

    Args:
        context: The run, not narrowed to the step.
        name: The step's name.
        own_identity: The hash of all that the step depends on.
    """
    return tracked(context.recipe.tracking, _tracked_step(context, name, own_identity))


def track_evaluation(context: Context, is_result: bool) -> AbstractContextManager[StepTracker]:
    """Give a run's evaluation its loggers while a block runs.

    Args:
        context: The run.
        is_result: Whether it is the run that was asked for, and not one that it is compared with.
    """
    step = _tracked_step(context, EVALUATE, "")
    return tracked(context.recipe.tracking, replace(step, is_result=is_result))


def track_validation(context: Context, is_result: bool) -> AbstractContextManager[StepTracker]:
    """Give the validation of a run that nothing will evaluate its loggers while a block runs.

    Args:
        context: The run.
        is_result: As for an evaluation.
    """
    step = _tracked_step(context, VALIDATE, "")
    return tracked(context.recipe.tracking, replace(step, is_result=is_result))


def _tracked_step(context: Context, name: str, own_identity: str) -> TrackedStep:
    recipe, run = context.recipe, identity(context.recipe)
    label = recipe.label or context.algorithm.label
    return TrackedStep(
        name=name,
        key="-".join(filter(None, (name, own_identity, run))),
        folder=context.run.path,
        folders=f"{context.run.path.parents[3]}/*/*/*/*",
        title=f"{name} {label} on {recipe.held_out}, seed {recipe.seed}",
        group=experiment_of(context.run),
        metrics=context.step(name).metrics,
        config=configuration(recipe, label) | {"step": name, "kind": kind_of(context.algorithm, name), "identity": run},
    )


def kind_of(algorithm: Algorithm, name: str) -> str:
    """Return `train` for a step that trains models, whatever its name, and otherwise the name."""
    trains = any(one.name == name and (one.learners or "train" in one.sections) for one in algorithm.steps())
    return TRAINING if trains else name


def experiment_of(run: RunDirectory) -> str:
    """Return what a run is called: the part of its path that says what it is."""
    return "/".join(run.path.parts[-4:])


def configuration(recipe: Recipe, label: str) -> dict[str, ConfigValue]:
    """Return what defines a run, flat: names to group by, and the recipe's keys with their dots.

    Args:
        recipe: The recipe.
        label: What the run is called.
    """
    named: dict[str, ConfigValue] = {
        "method": label,
        "variant": label,
        "algorithm": recipe.algorithm,
        "benchmark": recipe.benchmark,
        "held_out": recipe.held_out,
        "seed": recipe.seed,
        "backbone": recipe.model.name,
        "selection": "leave-one-domain-out" if recipe.excluded else "training-domain validation",
        "condition": "",
    }
    values = {key: _config_value(value) for key, value in flat(defining_part(recipe)).items() if not _is_long(value)}
    return {**values, **named, **recipe.tracking.config}


def _is_long(value: object) -> bool:
    return isinstance(value, list) and len(value) > _LONGEST_LIST


def _config_value(value: object) -> ConfigValue:
    if isinstance(value, list):
        return [str(one) for one in value]
    return value if value is None or isinstance(value, str | int | float) else text_of(value)


def step_results(context: Context, name: str) -> Results:
    """Return what a step has found: facts and digests as numbers and texts, figures as tables.

    Args:
        context: The run, not narrowed to the step.
        name: The step's name; it is done.
    """
    summary = context.step(name).read()
    facts = {key: value for key, value in summary["facts"].items() if key not in _LEFT_OUT}
    values = dict(_scalars(facts, ()))
    values |= {"seconds": summary["seconds"], "images_seen": summary["images_seen"]}
    values |= {f"sha256/{file}": digest for file, digest in _weights(summary).items()}
    tables = {f"figures/{_slug(one['title'])}": table for one in summary["figures"] if (table := _table_of(one))}
    links = _links_before(context, name)
    config: dict[str, ConfigValue] = {}
    if "merge" in facts:
        config["merged_from"] = [link["id"] for link in links.values() if "id" in link]
        config["merged_from_sha256"] = [
            f"{file} {digest}"
            for step in _before(context, name)
            for file, digest in _weights(context.step(step).read()).items()
        ]
    files = [context.run.path / file for file in _weights(summary)]
    return Results(values, tables, config=config, files=files, used=tuple(links.values()))


def _before(context: Context, name: str) -> list[str]:
    """Return the names of the steps before one; all of them before the evaluation."""
    names = [step.name for step in context.algorithm.steps()]
    return names[: names.index(name)] if name in names else names


def _links_before(context: Context, name: str) -> dict[str, dict[str, str]]:
    before = _before(context, name)
    return {step: link for step, link in read_links(context.run.path).items() if step in before}


def _weights(summary: StepSummary) -> dict[str, str]:
    """Return the digests of the files of weights that a step wrote."""
    return {name: digest for name, digest in summary["wrote"].items() if name.endswith(".safetensors")}


def _scalars(value: object, path: tuple[str, ...]) -> Iterator[tuple[str, float | int | str]]:
    """Yield the single values of nested facts under their path; of values by layer that of the whole network."""
    if isinstance(value, Mapping):
        if "" in value:
            yield from _scalars(value[""], path)
        elif len(path) < _DEPTH:
            for name, child in value.items():
                yield from _scalars(child, (*path, str(name)))
    elif isinstance(value, bool):
        yield "/".join(path), int(value)
    elif isinstance(value, int | float | str):
        yield "/".join(path), value


def _slug(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", title.lower()).strip("_")


def _table_of(figure: Figure) -> ResultTable | None:
    """Return a figure's data as a table, if they stand in the figure itself."""
    if figure["kind"] == "table":
        return ResultTable(figure["columns"], figure["rows"])
    if figure["kind"] == "heat_map":
        rows = [[name, *values] for name, values in figure["rows"].items()]
        return ResultTable(["name", *figure["columns"]], rows)
    if figure["kind"] == "bars":
        return ResultTable(["name", "value"], [[name, value] for name, value in figure["values"].items()])
    if figure["kind"] == "lines":
        points = [(one["label"], x, y) for one in figure["series"] for x, y in zip(one["x"], one["y"], strict=True)]
        return ResultTable(["line", figure["x"], "value"], points)
    return None


def validation_results(context: Context) -> Results:
    """Return what the validation of a run has found; the held-out domain stays closed.

    Args:
        context: The run.
    """
    run, steps = context.run, [context.step(step.name).read() for step in context.algorithm.steps()]
    by_row, files = read_validation_by_source(run), exported(run)
    key, validation = list(read_validation(run).items())[-1]
    values: dict[str, float | int | str] = {
        "validation": validation,
        "train_seconds": sum(step["seconds"] for step in steps),
        "images_seen": sum(step["images_seen"] for step in steps),
    }
    values |= {f"validation/accuracy/{source}": value for source, value in by_row[key].items()}
    values |= {f"sha256/{name}": digest for name, digest in files.items()}
    rows = [(row, source, value) for row, own in by_row.items() for source, value in own.items()]
    links = _links_before(context, VALIDATE)
    return Results(
        values=values,
        tables={"results": ResultTable(["key", "source", "validation"], rows)},
        config={"evaluated": [link["id"] for link in links.values() if "id" in link]},
        files=[run.path / name for name in files],
        used=tuple(links.values()),
    )


def evaluation_results(context: Context, record: Record) -> Results:
    """Return what an evaluation has found.

    Args:
        context: The run.
        record: Its record.
    """
    result, metric = record["rows"][-1], record["metric"]
    start = record["zero_shot_accuracy"]
    found: dict[str, float | int | str | None] = {
        metric: result["held_out"],
        f"{metric}_in80": result["held_out_in80"],
        "standard_error": result["standard_error"],
        "validation": result["validation"],
        "zero_shot": start,
        "gain": None if start is None else result["held_out"] - start,
        "images": record["n_held_out"],
        "images_seen": record["images_seen"],
        "train_seconds": sum(step["seconds"] for name, step in record["steps"].items() if name != EVALUATE),
        "seconds": record["timings"]["total"],
    }
    found |= {f"{metric}/{target}": _number(own.get(metric)) for target, own in result["targets"].items()}
    for name in (f"{metric}_in20", "macro_accuracy", "pixel_accuracy", "calibration_error"):
        found[name] = _mean([_number(own.get(name)) for own in result["targets"].values()])
    found |= {f"sha256/{name}": digest for name, digest in record.get("files", {}).items()}
    links = _links_before(context, EVALUATE)
    predictions = read_predictions(context.run.predictions) if context.run.predictions.is_file() else None
    return Results(
        values={name: value for name, value in found.items() if value is not None},
        tables={"results": _result_table(record), "per_class": _class_table(record)},
        confusions=_confusions(record, predictions) if predictions is not None else {},
        images={"mistakes": _mistakes(record, predictions)} if predictions is not None else {},
        config={"evaluated": [link["id"] for link in links.values() if "id" in link]},
        files=[path for name in record.get("files", {}) if (path := context.run.path / name).is_file()],
        used=tuple(links.values()),
    )


def _number(value: float | list[float | None] | None) -> float | None:
    return None if isinstance(value, list) else value


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _result_table(record: Record) -> ResultTable:
    """Return one line a model and held-out domain, with all metrics that are one number."""
    names = (
        "accuracy",
        "accuracy_in80",
        "accuracy_in20",
        "macro_accuracy",
        "pixel_accuracy",
        "calibration_error",
        "images",
    )
    metrics = [name for name in dict.fromkeys((record["metric"], *names)) if _is_measured(record, name)]
    rows: list[list[Cell]] = [
        [row["key"], row["label"], row["group"], target, row["validation"], *(_number(own.get(m)) for m in metrics)]
        for row in record["rows"]
        for target, own in row["targets"].items()
    ]
    return ResultTable(["key", "model", "group", "held_out", "validation", *metrics], rows)


def _is_measured(record: Record, name: str) -> bool:
    return any(name in own for row in record["rows"] for own in row["targets"].values())


def _class_table(record: Record) -> ResultTable:
    """Return the accuracy (or IoU) of each model on each class of each held-out domain."""
    rows: list[list[Cell]] = []
    for row in record["rows"]:
        for target, own in row["targets"].items():
            values = own.get(PER_CLASS.get(record["metric"], ""))
            for name, value in zip(record["classes"], values if isinstance(values, list) else (), strict=False):
                rows.append([row["key"], target, name, value])
    return ResultTable(["key", "held_out", "class", record["metric"]], rows)


def _confusions(record: Record, predictions: Predictions) -> dict[str, Confusion]:
    """Return how often the result took each class for each, by held-out domain."""
    key, classes = record["rows"][-1]["key"], record["classes"]
    found = {}
    targets: dict[str, TargetPredictions | MapPredictions] = {**predictions.targets, **predictions.maps}
    for target, one in targets.items():
        if key in one.predicted:
            name = "confusion" if len(targets) == 1 else f"confusion/{target}"
            found[name] = Confusion(classes, one.confusion(key, len(classes)))
    return found


def _mistakes(record: Record, predictions: Predictions) -> list[CaptionedImage]:
    """Return the result's mistakes whose images the evaluation kept, the most confident one first."""
    classes = record["classes"]
    return [
        CaptionedImage(
            one.image,
            f"{one.target}: {classes[one.true]}, taken for {classes[one.predicted]} ({one.confidence:.0%})",
        )
        for one in predictions.mistakes_of(record["rows"][-1]["key"])
    ]
