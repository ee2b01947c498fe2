"""What `hamdg data conflicts` prints: tables for people, values for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hamdg import console
from hamdg.conflicts.experience import experience, facts, shipped
from hamdg.conflicts.gradients import WHOLE, Pair
from hamdg.conflicts.measure import Conflicts, Source
from hamdg.conflicts.words import (
    LABELS_NOTE,
    MISSING,
    NO_CONTRADICTION,
    contradiction_lines,
    gradient_remarks,
    known_line,
    lowest_layer,
    number,
    percent,
)
from hamdg.text import listed_in_words


def show(found: Conflicts, shown: int) -> None:
    """Print what was found.

    Args:
        found: What was measured.
        shown: How many suspicious labels of each source are listed.
    """
    recipe = found.recipe
    sources = listed_in_words(list(found.sources))
    console.result(f"Conflicts between {sources} of {recipe.benchmark}, measured from {recipe.model.name} at its start")
    _title("Images of each source that training reads")
    columns = (
        "source",
        "images",
        "classes",
        "smallest class",
        "largest class",
        "suspicious labels",
        "wrong, at most about",
    )
    console.table(columns, [_size(name, one, found.classes) for name, one in found.sources.items()])
    count = listed_in_words(sorted({f"{one:,}" for one in found.gradients.images.values()}))
    _title(f"Cosines of gradients, each a mean over half of {count} images of a source")
    columns = ("sources", "cosine", "halves of 1st", "halves of 2nd", "corrected", "lowest layer", "there")
    console.table(columns, [_cosines(pair, layers) for pair, layers in found.gradients.pairs.items()])
    _lines(gradient_remarks(found))
    _title(f"Images that enrichment would accept at the start, % ({found.accepted.confidence})")
    asked = [f"of {name}" for name in found.sources]
    console.table(("model of", *asked), [_accepted(found, name) for name in found.sources])
    _title("Labels that look wrong")
    for name, source in found.sources.items():
        rows = [_suspect(source, index, found.classes) for index in range(min(shown, len(source.suspects.found)))]
        if rows:
            console.table(("image", "label", "probability", "looks like", "probability"), rows, title=f"{name}:")
            left = len(source.suspects.found) - len(rows)
            _lines([f"and {left:,} more; `--json` and `--out` have them"] if left else [])
    _lines([LABELS_NOTE, *filter(None, [known_line(found)])])
    contradictions = contradiction_lines(found)
    if contradictions:
        _title("Labels that contradict between sources")
        _lines(contradictions)
    else:
        _lines([NO_CONTRADICTION])
    if sentences := [one["sentence"] for one in experience(facts(found), shipped())]:
        _title("What measured runs say about merging then")
        _lines(sentences)


def values(found: Conflicts) -> dict[str, object]:
    """Return all that was measured, for programs."""
    return {
        "benchmark": found.recipe.benchmark,
        "held_out": found.recipe.held_out,
        "model": found.recipe.model.name,
        "classes": found.classes,
        "sources": {name: _source(one, found.classes) for name, one in found.sources.items()},
        "gradients": {
            "images": found.gradients.images,
            "layers": found.gradients.layers,
            "left_out_of_whole": found.gradients.head or None,
            "halves": found.gradients.floors,
            "pairs": [
                {"sources": pair, "layers": {layer: _pair(one) for layer, one in layers.items()}}
                for pair, layers in found.gradients.pairs.items()
            ],
        },
        "enrichment": {
            "confidence": found.accepted.confidence,
            "accepted": found.accepted.shares,
            "by_class": {
                name: dict(zip(found.classes, own, strict=True)) for name, own in found.accepted.by_class.items()
            },
        },
        "taken_for": {name: table.tolist() for name, table in found.taken_for.items()},
        "contradictions": [
            one._asdict() | {"given": found.classes[one.given], "looks_like": found.classes[one.looks_like]}
            for one in found.contradictions
        ],
        "facts": facts(found),
        "experience": experience(facts(found), shipped()),
    }


def _title(text: str) -> None:
    console.result(f"\n{text}")


def _lines(lines: Sequence[str]) -> None:
    if lines:
        console.result("\n".join(lines))


def _size(name: str, one: Source, classes: Sequence[str]) -> list[str]:
    there = {classes[label]: count for label, count in enumerate(one.counts) if count}
    smallest, largest = min(there, key=lambda key: there[key]), max(there, key=lambda key: there[key])
    judged = len(one.positions)
    return [
        name,
        f"{sum(one.counts):,}",
        f"{len(there)}/{len(classes)}",
        f"{smallest} {there[smallest]:,}",
        f"{largest} {there[largest]:,}",
        f"{len(one.suspects.found):,} of {judged:,}",
        f"{percent(one.suspects.share)} %",
    ]


def _cosines(pair: tuple[str, str], layers: Mapping[str, Pair]) -> list[str]:
    whole = layers[WHOLE]
    low = lowest_layer(dict(layers))
    return [
        " / ".join(pair),
        number(whole.cosine),
        *(number(floor) for floor in whole.floors),
        number(whole.corrected),
        low[0] if low else MISSING,
        number(low[1].cosine) if low else MISSING,
    ]


def _accepted(found: Conflicts, model: str) -> list[str]:
    own = found.accepted.shares[model]
    return [model, *(percent(own[name]) if name in own else MISSING for name in found.sources)]


def _suspect(source: Source, index: int, classes: Sequence[str]) -> list[str]:
    one = source.suspects.found[index]
    return [
        _name(source, index),
        classes[one.given],
        number(one.probability),
        classes[one.suggested],
        number(one.of_suggested),
    ]


def _name(source: Source, index: int) -> str:
    place = source.positions[source.suspects.found[index].place]
    return source.names[index] if source.names else f"number {place}"


def _source(one: Source, classes: Sequence[str]) -> dict[str, object]:
    known = one.known
    return {
        "images": sum(one.counts),
        "by_class": dict(zip(classes, one.counts, strict=True)),
        "judged": len(one.positions),
        "probe_accuracy": one.suspects.accuracy,
        "wrong_share": one.suspects.share,
        "suspects": [
            {
                "position": int(one.positions[suspect.place]),
                "path": one.names[number] if one.names else None,
                "given": classes[suspect.given],
                "suggested": classes[suspect.suggested],
                "probability": suspect.probability,
                "probability_of_suggested": suspect.of_suggested,
            }
            for number, suspect in enumerate(one.suspects.found)
        ],
        "known": None
        if known is None
        else {"wrong": known.wrong, "found": known.found, "precision": known.precision, "recall": known.recall},
    }


def _pair(one: Pair) -> dict[str, object]:
    return {"cosine": one.cosine, "halves": one.floors, "corrected": one.corrected, "noisy": one.noisy}
