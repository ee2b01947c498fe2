"""What a step that merges models leaves in the record: facts on their task vectors, and the figures of these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import NotRequired, TypedDict

from hamdg.runs.figures import Figure, HeatMap, bars, heat_map, layer_map
from hamdg.runs.merge_search import SearchFacts, search_figure

# Cosine of two updates from which on they are one (it is printed as 1.00): where they are equally long, their distance
# is then a tenth of their length.
ONE = 0.995
BECOME_ONE = "The source models have become one"


class MergeFacts(TypedDict):
    """How models were merged, and the geometry of their task vectors; the layer "" is the whole model.

    Records from before there was a choice of methods do not name theirs.

    Attributes:
        method: The merge method.
        options: Its options.
        target_data: Whether the merge opened the held-out domain.
        norms: Length of each source's task vector.
        cosines: For each pair `a|b` of sources, the cosine by layer, from the first layer to the last.
        kept: For each source, the share of the coordinates that the merge kept, by layer.
        merged_norm: Length of the merge's own task vector.
        mean_norm: Length of the plain mean of the task vectors.
        search: What a search over merges tried and chose, if that is the method.
        valleys: What each source's SWAD is the mean of, if that is its history.
    """

    method: NotRequired[str]
    options: NotRequired[dict[str, float | int | bool | str | None]]
    target_data: NotRequired[bool]
    norms: dict[str, float]
    cosines: dict[str, dict[str, float]]
    kept: dict[str, dict[str, float]]
    merged_norm: float
    mean_norm: float
    search: NotRequired[SearchFacts]
    valleys: NotRequired[dict[str, dict[str, float | int | bool | None]]]


def whole_cosines(facts: MergeFacts) -> dict[str, float]:
    """Return the cosine of the whole models for each pair of sources."""
    return {pair: own[""] for pair, own in facts["cosines"].items() if "" in own}


def merge_figures(facts: MergeFacts, layers: Sequence[str] = ()) -> list[Figure]:
    """Return the figures of a merge: lengths, cosines of the whole models and by layer, what was kept.

    Args:
        facts: What was measured.
        layers: All layers by depth; those of the cosines where they are left out.
    """
    layers = layers or layers_of(facts)
    by_layer = {" / ".join(pair.split("|")): own for pair, own in facts["cosines"].items()}
    found: list[Figure] = [bars("Length (L2 norm)", _lengths(facts), note=_method(facts), own="merged")]
    if "search" in facts:
        found.append(search_figure(facts["search"]))
    if facts["cosines"]:
        found.append(_matrix(facts))
        found.append(layer_map("Cosine of the task vectors by layer", by_layer, layers))
    if facts["kept"]:
        found.append(_kept(facts["kept"], layers))
    return found


def layers_of(facts: MergeFacts) -> list[str]:
    """Return the layers that the cosines are of, in their order, which is that of depth."""
    return [name for name in dict.fromkeys(chain.from_iterable(facts["cosines"].values())) if name]


def _method(facts: MergeFacts) -> str:
    if "method" not in facts:
        return ""
    options = ", ".join(f"{name} {value}" for name, value in facts.get("options", {}).items())
    return f"Method: {facts['method']}" + (f" ({options})." if options else ".")


def _lengths(facts: MergeFacts) -> dict[str, float]:
    results = {"plain mean": facts["mean_norm"], "merged": facts["merged_norm"]}
    # A domain may be called `merged`, too.
    sources = {f"source {name}" if name in results else name: value for name, value in facts["norms"].items()}
    return sources | results


def _matrix(facts: MergeFacts) -> HeatMap:
    sources = list(facts["norms"])
    whole = whole_cosines(facts)

    def cosine(row: str, column: str) -> float | None:
        return 1.0 if row == column else whole.get(f"{row}|{column}", whole.get(f"{column}|{row}"))

    rows = {row: [cosine(row, column) for column in sources] for row in sources}
    return heat_map("Cosine of the task vectors", sources, rows, note=_in_words(whole))


def _in_words(cosines: Mapping[str, float]) -> str:
    """Return which source models have become one, if any: there is little left to merge then."""
    equal = [" and ".join(pair.split("|")) for pair, value in cosines.items() if value >= ONE]
    if not equal:
        return ""
    if len(equal) == len(cosines):
        every = " for every pair" if len(equal) > 1 else ""
        return (
            f"{BECOME_ONE} (cosine 1.00{every}): they changed in the same direction, so that "
            "merging them is hardly more than taking one of them."
        )
    return f"These source models have become one (cosine 1.00): {'; '.join(equal)}."


def _kept(kept: Mapping[str, Mapping[str, float]], layers: Sequence[str]) -> HeatMap:
    shares = [value for own in kept.values() for value in own.values()]
    alike = shares and len({round(share, 2) for share in shares}) == 1
    note = f"About {100 * shares[0]:.0f} % of each tensor." if alike else ""
    return layer_map("Share of the coordinates that the merge kept, %", kept, layers, note=note, percent=True)
