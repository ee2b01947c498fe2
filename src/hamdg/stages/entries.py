"""The rows that many tables have: the start model, and the source models after their last step."""

from __future__ import annotations

from collections.abc import Mapping

from hamdg.algorithms.base import SOURCE, START, Entry
from hamdg.models.network import Network, Weights
from hamdg.stages.context import Context


def start_entry(context: Context, network: Network) -> Entry:
    """Return the row of the model that training starts from."""
    head = context.recipe.model.text_head
    label = "zero-shot" if head == "prompts" else f"start model, {head.replace('_', ' ')}"
    return Entry(START, label, "control", network, context.base())


def source_entries(network: Network, last: Mapping[str, Weights]) -> list[Entry]:
    """Return a row for every source model."""
    return [Entry(f"{SOURCE}{name}", f"source model: {name}", "source", network, own) for name, own in last.items()]
