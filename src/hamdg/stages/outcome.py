"""What a run came to, as the table that a terminal shows and as a value for programs."""

from __future__ import annotations

from hamdg import console
from hamdg.config.recipe import Recipe
from hamdg.report.table import format_text, run_table
from hamdg.runs.directory import RunDirectory
from hamdg.runs.record import Record, read_record
from hamdg.runs.steps import read_validation
from hamdg.stages.discovery import algorithm_of


def show(run: RunDirectory, recipe: Recipe) -> None:
    """Print the table of a run that is done; as JSON, also how far another one has come."""
    if not run.is_done:
        console.result_json(_begun(run, recipe))
        return
    record, kept = read_record(run.record), f"the run is done, and `{run.record}` has its result"
    files = [f"record  {run.record}", *([f"report  {run.report}"] if run.report.exists() else [])]
    console.result("\n".join(["", format_text(record), "", *files]), kept)
    console.result_json(_paths(run) | values(record), kept)


def values(record: Record) -> dict[str, object]:
    """Return what the table of a run says, its numbers not rounded: accuracies are fractions of 1."""
    rows = [
        {
            "key": row.key,
            "label": row.label,
            "group": row.group,
            "held_out": row.held_out,
            "standard_error": row.standard_error,
            **({"targets": row.targets} if len(record["targets"]) > 1 else {}),
            "gain": row.gain,
            "held_out_in80": row.in80,
            "validation": row.validation,
            "note": row.note,
        }
        for row in run_table(record)
    ]
    return {
        "done": True,
        "benchmark": record["benchmark"],
        "held_out": record["held_out"],
        "targets": record["targets"],
        "algorithm": record["algorithm"],
        "label": record["label"],
        "seed": record["seed"],
        "identity": record["identity"],
        "metric": record["metric"],
        **({"average": record["average"]} if "average" in record else {}),
        "part": record["part"],
        "images": record["n_held_out"],
        "rows": rows,
        "seconds": record["timings"],
    }


def _begun(run: RunDirectory, recipe: Recipe) -> dict[str, object]:
    steps = {step.name: run.step(step.name).is_done for step in algorithm_of(recipe).steps()}
    validation = read_validation(run) if run.validation.exists() else {}
    return _paths(run) | {"done": False, "steps": steps, "validation": validation}


def _paths(run: RunDirectory) -> dict[str, object]:
    return {
        "run": run.path,
        "record": run.record if run.record.exists() else None,
        "report": run.report if run.report.exists() else None,
    }
