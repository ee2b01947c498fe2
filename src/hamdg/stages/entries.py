"""The rows that many tables have: the model before training, source models after their last step, their ensemble."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from hamdg.algorithms.base import SOURCE, START, Entry
from hamdg.errors import ConfigError
from hamdg.models.ensemble import Ensemble, Mean
from hamdg.models.network import Network, Weights
from hamdg.stages.context import Context
from hamdg.text import excerpt, listed

ENSEMBLE = "ensemble"
# What `evaluate.rows` calls the rows of all source models.
_SOURCES = f"{SOURCE}*"


def measured_entries(context: Context) -> Sequence[Entry]:
    """Return the entries of a run's table that `evaluate.rows` asks for; the result is always the last of them."""
    entries = context.algorithm.entries(context)
    keys = measured_keys(context, [entry.key for entry in entries])
    return [entry for entry in entries if entry.key in keys]


def measured_keys(context: Context, keys: Sequence[str]) -> Sequence[str]:
    """Return those keys of a run's rows that `evaluate.rows` asks for; the last one is the result's."""
    rows = context.recipe.evaluate.rows
    if rows is None:
        return keys
    return [key for key in keys if key in (*rows, keys[-1]) or (_SOURCES in rows and key.startswith(SOURCE))]


def check_measured(context: Context) -> None:
    """Check that a run has the rows that `evaluate.rows` names.

    Raises:
        ConfigError: It has no such row.
    """
    keys = context.algorithm.keys(context.sources)
    known = [*keys, *([_SOURCES] if any(key.startswith(SOURCE) for key in keys) else [])]
    for name in context.recipe.evaluate.rows or ():
        if name not in known:
            raise ConfigError(
                f"`evaluate.rows` names `{excerpt(name)}`, but the rows of a run of `{context.recipe.algorithm}` are "
                f"{listed(known)}; name some of these, or leave it out for all."
            )


def start_entries(context: Context, network: Network) -> list[Entry]:
    """Return the row of the model that training starts from; none where it does not know the classes yet."""
    head = context.recipe.model.text_head
    label = "zero-shot" if head == "prompts" else f"start model, {head.replace('_', ' ')}"
    known = context.recipe.model.knows_classes
    return [Entry(START, label, "control", network, context.base())] if known else []


def source_entries(network: Network, last: Mapping[str, Weights]) -> list[Entry]:
    """Return a row for every source model."""
    return [Entry(f"{SOURCE}{name}", f"source model: {name}", "source", network, own) for name, own in last.items()]


def ensemble_entry(context: Context, models: Iterable[Weights], label: str, mean: Mean = "probabilities") -> Entry:
    """Return the row of an ensemble, which costs a forward pass for each of its models."""
    members = []
    for weights in models:
        members.append(context.network())
        members[-1].load(weights)
    return Entry(ENSEMBLE, label, "control", Ensemble(members, mean), {}, passes=len(members))
