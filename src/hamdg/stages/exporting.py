"""Exports a run's result to a file that other libraries load; scores all entries on the sources' hold-out sets."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import cast

from hamdg import console
from hamdg.algorithms.base import Entry
from hamdg.data.domain import only_domains, opened_domains
from hamdg.files import write_json
from hamdg.models.network import HEAD
from hamdg.runs import schema
from hamdg.runs.directory import MERGED_FOLDER, RunDirectory
from hamdg.runs.manifest import check_digests, digests
from hamdg.runs.steps import ValidationSummary, read_validation_by_source
from hamdg.stages.context import Context
from hamdg.stages.entries import measured_entries, measured_keys
from hamdg.stages.scoring import Scored, Scorer
from hamdg.stages.sources import open_holdouts


def validate(context: Context, again: bool = False) -> bool:
    """Export the result and write `validation.json`, unless both are there; the held-out domain stays closed.

    Args:
        context: The run, its steps done.
        again: Score the entries once more where some were not asked for before, or where an earlier version kept their
            means over the sources alone.

    Returns:
        Whether there was anything to do.
    """
    run = context.run
    if run.validation.exists() and all((run.path / name).exists() for name in exported(run)):
        check_digests(run, exported(run), "the export wrote", "restore it, or delete it and repeat the command")
        wanted = measured_keys(context, context.algorithm.keys(context.sources))
        if not again or read_validation_by_source(run).keys() >= set(wanted):
            return False
    run.unmark_done()
    started = time.monotonic()
    with only_domains(context.sources), opened_domains() as opened:
        entries = measured_entries(context)
        written = export(context, [entry for entry in entries if entry.key == entries[-1].key])
        scorer = Scorer(context.device, context.preprocess, context.half)
        models = [Scored(entry.network, entry.weights) for entry in entries]
        values = scorer.by_domain(models, open_holdouts(context), context.task)
    sources = mean_by_key([entry.key for entry in entries], values)
    summary = ValidationSummary(
        validation={key: sum(own.values()) / len(own) for key, own in sources.items()},
        sources=sources,
        opened=sorted(opened),
        seconds=time.monotonic() - started,
        wrote=written,
    )
    write_json(run.validation, summary)
    console.note(f"source validation: {summary['validation'][entries[-1].key]:.1%}")
    return True


def mean_by_key(keys: Sequence[str], values: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Return each row's values by domain: of one that has an entry for each target, such as its own head, the means.

    Args:
        keys: The key of every entry; entries of one key are one row.
        values: Its values by domain.
    """
    rows: dict[str, list[Mapping[str, float]]] = {}
    for key, own in zip(keys, values, strict=True):
        rows.setdefault(key, []).append(own)
    return {key: {name: sum(one[name] for one in own) / len(own) for name in own[0]} for key, own in rows.items()}


def export(context: Context, results: Sequence[Entry]) -> dict[str, str]:
    """Write the result of a run, or what it is for each target, each into a folder `merged/<target>` of its own.

    Returns:
        The digests of the files by name; none where the result has no single file.
    """
    written: dict[str, str] = {}
    top = context.run.path
    for one in results:
        folder = top if len(results) == 1 else top / MERGED_FOLDER / "+".join(one.only)
        folder.mkdir(parents=True, exist_ok=True)
        path = one.network.export(one.weights, folder, _provenance(context))
        if path is not None:
            # Its configuration lies beside it, and what a CLIP has no place for.
            written |= digests(context.run, [path, *folder.glob("hamdg-*.json"), *folder.glob(HEAD)])
    return written


def _provenance(context: Context) -> dict[str, str]:
    """Return what the last step that made the result says of how it did; those after it only measure."""
    for step in reversed(context.algorithm.steps()):
        facts = context.step(step.name).read()["facts"]
        if "provenance" in facts:
            return cast("dict[str, str]", facts["provenance"])
    return {"format": "pt", "hamdg.algorithm": context.recipe.algorithm}


def exported(run: RunDirectory) -> dict[str, str]:
    """Return the digests of the files that a run's result was exported to, by name."""
    return schema.read(run.validation, ValidationSummary)["wrote"]
