"""Accuracy along the straight lines between the weights of two models: from the start and every source to the result.

A valley without a ridge between two models is what averaging them relies on (linear mode connectivity,
https://arxiv.org/abs/1912.05671).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from hamdg.algorithms.base import START, Entry
from hamdg.data.domain import Domain
from hamdg.data.images import ArrayImages
from hamdg.data.subset import Subset
from hamdg.models.network import Weights
from hamdg.runs.lines import LineFacts, PairLine
from hamdg.stages.context import Context
from hamdg.stages.scoring import Scored, Scorer
from hamdg.stages.sources import open_holdouts

# By the key of an entry and by domain, what was measured of it on all the images that a line looks at.
Ends = Mapping[str, Mapping[str, float]]


def measure_lines(
    context: Context, entries: Sequence[Entry], targets: Mapping[str, Domain], ends: Ends
) -> LineFacts | None:
    """Measure the primary metric on the lines to the result, on source hold-out sets and on the targets.

    Args:
        context: The run.
        entries: Its entries, the result last; lines begin in the start and in source models.
        targets: The held-out domains, opened and decoded.
        ends: What is known of the entries on whole domains; it is not measured again where a line looks at these.

    Returns:
        What was found; `None` where the recipe asks for nothing, or where no source models were merged.
    """
    config, result = context.recipe.evaluate, entries[-1]
    begins = [one for one in entries[:-1] if (one.key == START or one.group == "source") and _fits(one, result)]
    merged = any(one.group == "source" for one in begins)
    if config.lines < 2 or config.images < 1 or not merged:
        return None
    parts, whole = _parts(context, {name: targets[name] for name in result.only or targets})
    points = [index / (config.lines - 1) for index in range(config.lines)]
    scorer, note = Scorer(context.device, context.preprocess, context.half), context.algorithm.line_note

    def measured(weights: Weights, known: Mapping[str, float]) -> dict[str, float]:
        if note:
            # What is known of an entry is not of what is scored in its place.
            weights, known = context.algorithm.on_line(context, weights), {}
        missing = {name: part for name, part in parts.items() if name not in known or name not in whole}
        found = scorer.by_domain([Scored(result.network, weights)], missing, context.task)[0] if missing else {}
        return {name: found[name] if name in missing else known[name] for name in parts}

    alone = {one.key: measured(one.weights, ends.get(one.key, {})) for one in (*begins, result)}

    def line(first: Entry, last: Entry) -> dict[str, list[float | None]]:
        for end in (first, last):
            if end.key not in alone:
                alone[end.key] = measured(end.weights, {})
        inner = [measured(between(first.weights, last.weights, at), {}) for at in points[1:-1]]
        return {name: [_known(one[name]) for one in (alone[first.key], *inner, alone[last.key])] for name in parts}

    found = LineFacts(
        result=result.key,
        at=points,
        images={name: len(part.labels) for name, part in parts.items()},
        lines={begin.key: line(begin, result) for begin in begins},
    )
    pairs = context.algorithm.line_pairs(context, entries)
    if pairs:
        found["pairs"] = [PairLine(first=one.key, last=other.key, values=line(one, other)) for one, other in pairs]
    if note:
        found["note"] = note
    return found


def between(first: Weights, last: Weights, at: float) -> dict[str, Tensor]:
    """Return the weights at a point of the line: `(1 - at) * first + at * last`; whole numbers are those of the last.

    Args:
        first: Where the line begins.
        last: Where it ends, with tensors of the same names.
        at: The point, from 0 to 1.
    """
    return {
        name: torch.lerp(first[name].to(end), end, at) if end.is_floating_point() else end for name, end in last.items()
    }


def _fits(one: Entry, other: Entry) -> bool:
    """Return whether two entries have weights of the same names and shapes for the same network."""
    shapes = [{name: tensor.shape for name, tensor in entry.weights.items()} for entry in (one, other)]
    return one.network is other.network and shapes[0] == shapes[1]


def _parts(context: Context, targets: Mapping[str, Domain]) -> tuple[dict[str, Subset], set[str]]:
    """Return which images of each domain are scored, and the domains of which that is all."""
    count = context.recipe.evaluate.images
    subsets = open_holdouts(context)
    for name, domain in targets.items():
        # A target's images lie sorted by class.
        drawn = np.random.default_rng(context.recipe.seed).permutation(len(domain))
        positions = np.arange(len(domain)) if len(domain) <= count else np.sort(drawn[:count])
        labels = torch.from_numpy(np.array(domain.clean_labels))
        subsets[name] = Subset(context.tested_images(domain), positions, labels[positions])
    whole = {name for name in subsets if name not in targets and len(subsets[name].labels) <= count}
    whole |= {name for name, domain in targets.items() if len(domain) <= count}
    return {name: _read_once(part.first(count)) for name, part in subsets.items()}, whole


def _read_once(part: Subset) -> Subset:
    """Return a subset in memory, where each reading of it would decode files."""
    if not part.images.decodes:
        return part
    images = part.images.read(part.positions)
    # The sizes of images that are evaluated are all the same.
    assert isinstance(images, Tensor)
    return Subset(ArrayImages(images.numpy()), np.arange(len(images)), part.labels)


def _known(value: float) -> float | None:
    return value if value == value else None
