"""What a training that selects its samples leaves in the record: counts, and the figures of these."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypedDict

from hamdg.runs.figures import Figure, curve, curves, image_strips, table

_DASH = "\N{EN DASH}"


class SelectionCounts(TypedDict):
    """What one model was offered and accepted, summed over the training; counts of wrong labels where known."""

    candidates: int
    added: int
    noisy_candidates: int | None
    noisy_added: int | None


def selection_figures(
    counts: Mapping[str, SelectionCounts], prefix: str, *, note: str = "", samples: str = ""
) -> list[Figure]:
    """Return the figures of a selection: counts, rates over the steps, and images.

    Args:
        counts: What each model was offered and accepted.
        prefix: Of its metrics in `metrics.csv`: `<prefix>/candidates`, `/added`, `/threshold`, `/noisy_...`.
        note: A sentence on how samples are selected.
        samples: Path below the run directory of the file with some of the offered samples; empty for none.
    """
    noisy = any(one["noisy_candidates"] is not None for one in counts.values())
    name = prefix.capitalize()
    offered, added = f"{prefix}/candidates", f"{prefix}/added"
    found: list[Figure] = [
        table(f"{name}: samples offered and accepted", _columns(noisy), _rows(counts, noisy), note=note),
        curves("Accepted, % of the candidates", [curve(added, over=offered)], percent=True, limits=(0.0, 100.0)),
        curves("Threshold: mean confidence on the model's own batch", [curve(f"{prefix}/threshold")], smooth=True),
    ]
    if noisy:
        shares = [
            curve(f"{prefix}/noisy_added", over=added),
            curve(f"{prefix}/noisy_candidates", over=offered, style="dashed", meaning="among the candidates"),
        ]
        found.append(curves("Wrong labels, %", shares, percent=True))
    if samples:
        found.append(image_strips("Accepted and rejected", samples, note=_SAMPLES))
    return found


_SAMPLES = (
    "Some of the images that each model was offered, from early steps to late ones. The strip below an image is the "
    "model's confidence, the tick its threshold at that step."
)


def _columns(noisy: bool) -> list[str]:
    names = ["model", "offered", "accepted", "share, %"]
    return names + ["mislabeled among the offered, %", "mislabeled among the accepted, %"] * noisy


def _rows(counts: Mapping[str, SelectionCounts], noisy: bool) -> list[list[str]]:
    rows = []
    for name, one in counts.items():
        cells = [name, f"{one['candidates']:,}", f"{one['added']:,}", _share(one["added"], one["candidates"])]
        if noisy:
            cells += [
                _share(one["noisy_candidates"], one["candidates"]),
                _share(one["noisy_added"], one["added"]),
            ]
        rows.append(cells)
    return rows


def _share(part: int | None, whole: int) -> str:
    return _DASH if part is None or whole == 0 else f"{100 * part / whole:.1f}"
