"""What the numbers of a conflict report mean, in sentences that the terminal and the page share."""

from __future__ import annotations

from collections.abc import Sequence

from hamdg.conflicts.gradients import NOISY, WHOLE, Pair
from hamdg.conflicts.labels import Contradiction
from hamdg.conflicts.measure import Conflicts
from hamdg.text import listed_in_words

MISSING = "\N{EN DASH}"
LABELS_NOTE = (
    "Hard images look wrong, too, so that the share is an upper estimate, not zero where all labels are right; look at "
    "the images before you leave any out."
)
NO_CONTRADICTION = "No class of a source looks like another class to the other sources' probes."
HEAD_NOTE = (
    "The layer `{head}` is left out of the whole: a head that was fitted to the sources has gradients that cancel each "
    "other."
)


def number(value: float | None, digits: int = 2) -> str:
    """Return a number with a sign where it is negative, or a dash."""
    if value is None:
        return MISSING
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def percent(value: float | None) -> str:
    """Return a share in per cent, or a dash."""
    return MISSING if value is None else f"{100 * value:.1f}"


def lowest_layer(pairs: dict[str, Pair]) -> tuple[str, Pair] | None:
    """Return the layer in which two sources agree least, of those in which that can be told from noise."""
    known = {name: one for name, one in pairs.items() if name != WHOLE and one.cosine is not None and not one.noisy}
    return min(known.items(), key=lambda item: item[1].cosine or 0.0) if known else None


def gradient_remarks(found: Conflicts) -> list[str]:
    """Return what must be known to read the cosines: where noise dominates, and what the whole leaves out."""
    own = found.gradients
    noisy = [name for name, floors in own.floors.items() if (floors[WHOLE] or 0.0) < NOISY]
    remarks = []
    if noisy:
        remarks.append(
            f"Noise dominates the gradients of {listed_in_words(noisy)}, whose halves have a cosine below {NOISY}: "
            "more than half of the squared length is noise. Read the corrected cosine, or give more images "
            "(`--gradient-images`)."
        )
    if own.head and own.head in own.layers:
        remarks.append(HEAD_NOTE.format(head=own.head))
    return remarks


def contradiction_lines(found: Conflicts) -> list[str]:
    """Return a sentence for each class that sources label differently; labels that are swapped are told once."""
    lines = []
    for one in found.contradictions:
        if not one.mutual:
            lines.append(_contradiction(one, found.classes))
        elif one.given < one.looks_like:
            a, b = found.classes[one.given], found.classes[one.looks_like]
            lines.append(
                f"{one.source}: {a} and {b} look swapped: other sources' probes take {percent(one.share)} % of its {a} "
                f"for {b}, {percent(one.right)} % for {a}, and likewise the other way round."
            )
    return lines


def _contradiction(one: Contradiction, classes: Sequence[str]) -> str:
    given, other = classes[one.given], classes[one.looks_like]
    return (
        f"{one.source}: {given} looks like {other} to the other sources' probes ({percent(one.share)} % of its images; "
        f"{percent(one.right)} % look like {given})."
    )


def known_line(found: Conflicts) -> str:
    """Return how well suspicion finds the labels that are known to be wrong; empty where none are known."""
    known = [one.known for one in found.sources.values() if one.known is not None]
    if not known:
        return ""
    wrong, hits = sum(one.wrong for one in known), sum(one.found for one in known)
    suspicious = sum(one.suspicious for one in known)
    precision, recall = (percent(hits / total if total else None) for total in (suspicious, wrong))
    return (
        f"Known to be wrong: {percent(wrong / found.looked_at)} % of these labels. Of the {suspicious:,} suspicious "
        f"ones {precision} % are wrong (precision); of the {wrong:,} wrong ones {recall} % are suspicious (recall)."
    )
