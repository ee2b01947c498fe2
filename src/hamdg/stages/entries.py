"""The rows that many tables have: the model before training, source models after their last step, their ensemble."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from hamdg.algorithms.base import SOURCE, START, Entry
from hamdg.models.ensemble import Ensemble, Mean
from hamdg.models.network import Network, Weights
from hamdg.stages.context import Context

ENSEMBLE = "ensemble"


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
