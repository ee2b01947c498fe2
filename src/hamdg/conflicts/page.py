"""The page of a conflict report: one self-contained HTML file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from hamdg.conflicts.experience import experience, facts, shipped
from hamdg.conflicts.gradients import WHOLE
from hamdg.conflicts.labels import Suspect
from hamdg.conflicts.measure import Conflicts, Source
from hamdg.conflicts.words import (
    LABELS_NOTE,
    NO_CONTRADICTION,
    contradiction_lines,
    gradient_remarks,
    known_line,
    number,
    percent,
)
from hamdg.files import write_text
from hamdg.report.figures import Block, StepData, blocks
from hamdg.report.rendering import render, style
from hamdg.report.samples import Images
from hamdg.report.table import MINUS
from hamdg.runs.figures import Figure, Strip, bars, heat_map, image_strips
from hamdg.text import counted, listed_in_words

# A matrix of more classes is not drawn.
_CLASSES = 24


@dataclass(frozen=True)
class Section:
    """A part of the page."""

    name: str
    title: str
    lead: str
    blocks: Sequence[Block]
    lines: Sequence[str] = ()


@dataclass(frozen=True)
class Card:
    """A key figure."""

    name: str
    figure: str
    unit: str = ""


def write_page(out: Path, found: Conflicts, command: str) -> None:
    """Write the page.

    Args:
        out: The file.
        found: What was measured.
        command: The command that measured it.
    """
    write_text(out, page_html(found, command))


def page_html(found: Conflicts, command: str) -> str:
    """Return the whole page."""
    recipe, sources = found.recipe, list(found.sources)
    said = experience(facts(found), shipped())
    return render(
        "conflicts.html",
        style=style(),
        title=f"Conflicts between the sources of {recipe.benchmark}",
        eyebrow=f"hamdg · {recipe.benchmark} · before training · seed {recipe.seed}",
        lead=f"Between {listed_in_words(sources)}, measured from {recipe.model.name} as training would start from it. "
        f"Images of {listed_in_words(list(_held_out(found)))} were not opened.",
        cards=_cards(found),
        sections=[_gradients(found), _enrichment(found), _labels(found), _contradictions(found), _sizes(found)],
        experience=[one["sentence"] for one in said],
        command=command,
    )


def _held_out(found: Conflicts) -> tuple[str, ...]:
    held_out = found.recipe.held_out
    return (held_out,) if isinstance(held_out, str) else tuple(held_out)


def _cards(found: Conflicts) -> list[Card]:
    wholes = [layers[WHOLE] for layers in found.gradients.pairs.values()]
    corrected = [one.corrected for one in wholes if one.corrected is not None]
    shares = [share for own in found.accepted.shares.values() for share in own.values()]
    return [
        Card("lowest corrected cosine of two sources", number(min(corrected, default=None)).replace("-", MINUS)),
        Card("accepted by enrichment", percent(sum(shares) / len(shares)), " %"),
        Card("labels wrong, upper estimate", percent(found.wrong_share), " %"),
        Card("classes that contradict", str(len(found.contradictions))),
    ]


def _section(
    name: str, title: str, lead: str, figures: Sequence[Figure], found: Conflicts, lines: Sequence[str] = ()
) -> Section:
    files = {source: Images(np.stack(one.images)) for source, one in found.sources.items() if one.images}
    return Section(name, title, lead, blocks(figures, StepData(images=files), list(found.sources)), lines)


def _gradients(found: Conflicts) -> Section:
    own = found.gradients
    columns = [*own.layers, WHOLE]
    pairs = {
        " / ".join(pair): [layers[layer].cosine for layer in columns if layer in layers]
        for pair, layers in own.pairs.items()
    }
    floors = {
        f"{name}, halves": [floor[layer] for layer in columns if layer in floor] for name, floor in own.floors.items()
    }
    corrected = {
        " / ".join(pair): [layers[layer].corrected for layer in columns if layer in layers]
        for pair, layers in own.pairs.items()
    }
    lead = (
        "Cosines of mean gradients of the training loss at the start, by layer from the input to the output. Negative, "
        "in orange: what lowers the loss of one source raises that of the other."
    )
    note = (
        f"Each is of two means over half of {counted(max(own.images.values()), 'image')}. Two halves of one source "
        "differ by noise alone: a cosine between sources can hardly be higher."
    )
    figures = [
        heat_map("Between sources, and between two halves of one source", columns, pairs | floors, note=note),
        heat_map(
            "Between sources, corrected for noise",
            columns,
            corrected,
            note="The cosine over the root of the product of both sources' halves. A dash: noise hides it.",
        ),
    ]
    return _section("gradients", "Gradients", lead, figures, found, gradient_remarks(found))


def _enrichment(found: Conflicts) -> Section:
    own, names = found.accepted, list(found.sources)
    kind = own.confidence.replace("_", " ")
    lead = (
        f"What HAM's enrichment would accept in its first step: images of other sources whose confidence ({kind}) is "
        "above the mean confidence of a model's own mini-batch. All models are the same network then."
    )
    shares = {model: [own.shares[model].get(name) for name in names] for model in names}
    figures: list[Figure] = [
        heat_map(
            "Accepted images, %", names, shares, note="Rows: whose model asks. Columns: whose images.", percent=True
        )
    ]
    if len(found.classes) <= _CLASSES:
        figures.append(
            heat_map(
                "Accepted images of each class, %",
                found.classes,
                own.by_class,
                note="Rows: whose images. Mean over the models of the other sources.",
                percent=True,
            )
        )
    likely = _likely(found)
    return _section("enrichment", "Enrichment", lead, figures, found, [likely] if likely else [])


def _likely(found: Conflicts) -> str:
    """Return how often suspicious labels are accepted, beside the others."""
    inside, outside = list[float](), list[float]()
    for name, one in found.sources.items():
        chosen = {suspect.place for suspect in one.suspects.found}
        for index, value in enumerate(found.accepted.likely[name].tolist()):
            (inside if index in chosen else outside).append(value)
    if not inside or not outside:
        return ""
    means = [percent(sum(own) / len(own)) for own in (inside, outside)]
    return f"Of images whose labels look wrong {means[0]} % would be accepted, of all others {means[1]} %."


def _labels(found: Conflicts) -> Section:
    judged = {name: one.suspects.share * 100 for name, one in found.sources.items()}
    lead = (
        f"{counted(found.suspicious, 'label')} of {found.looked_at:,} look wrong to a linear probe on frozen features "
        f"that did not see the image. {LABELS_NOTE}"
    )
    note = "Below each: the given label, what it looks like, and how probable that is."
    figures: list[Figure] = [bars("Wrong labels, upper estimate of the share, %", judged, digits=1)]
    for name, one in found.sources.items():
        if one.images:
            strips: list[Strip] = [
                {
                    "title": "surest first",
                    "images": [
                        {"index": index, "caption": _caption(suspect, found.classes)}
                        for index, suspect in enumerate(one.suspects.found[: len(one.images)])
                    ],
                }
            ]
            figures.append(image_strips(_sheet_title(name, one), name, strips, note=note))
    line = known_line(found)
    return _section("labels", "Labels that look wrong", lead, figures, found, [line] if line else [])


def _sheet_title(name: str, one: Source) -> str:
    return f"{name}: {len(one.images):,} of {counted(len(one.suspects.found), 'suspicious label')}"


def _caption(one: Suspect, classes: Sequence[str]) -> str:
    return f"{classes[one.given]} → {classes[one.suggested]}? {one.of_suggested:.2f}"


def _contradictions(found: Conflicts) -> Section:
    lead = (
        "What the images of each class in one source look like to probes that were fitted to each of the other "
        "sources, in per cent of the class. A bright cell off the diagonal can be a style that misleads, or labels "
        "that contradict."
    )
    lines, note = contradiction_lines(found) or [NO_CONTRADICTION], "Rows: the label."
    figures: list[Figure] = []
    if len(found.classes) <= _CLASSES:
        figures = [
            heat_map(f"Labels of {name}", found.classes, by_class(found.classes, shares), percent=True, note=note)
            for name, shares in found.taken_for.items()
        ]
    return _section("contradictions", "Contradictions between sources", lead, figures, found, lines)


def by_class(classes: Sequence[str], shares: Tensor) -> dict[str, list[float | None]]:
    """Return the shares [classes, classes] of each given class; none where none of its images was looked at."""
    rows = zip(classes, shares.tolist(), strict=True)
    return {label: list(row) if any(row) else [None] * len(row) for label, row in rows}


def _sizes(found: Conflicts) -> Section:
    sizes = {name: float(sum(one.counts)) for name, one in found.sources.items()}
    figures: list[Figure] = [bars("Training images", sizes, digits=0)]
    if len(found.classes) <= _CLASSES:
        shares = {name: [count / sum(one.counts) for count in one.counts] for name, one in found.sources.items()}
        most = max(share for own in shares.values() for share in own)
        figures.append(heat_map("Share of each class, %", found.classes, shares, percent=True, limits=(0.0, most)))
    return _section("sizes", "Images and classes", "What training reads of each source.", figures, found)
