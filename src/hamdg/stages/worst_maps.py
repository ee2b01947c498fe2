"""Chooses the images whose predicted label maps are the worst, for the page to show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from hamdg.algorithms.base import Entry
from hamdg.data.contact_sheet import class_color
from hamdg.data.domain import Domain
from hamdg.data.subset import Subset
from hamdg.data.thumbnails import thumbnails
from hamdg.runs.predictions import MapPredictions, WorstMaps
from hamdg.stages.context import Context
from hamdg.stages.scoring import Scored, Scorer

# Each takes three pictures: the image, its label map and the predicted one.
PICTURES = 3

Maps = NDArray[np.uint8]


def choose_worst(
    context: Context, entries: Sequence[Entry], domains: Mapping[str, Domain], found: Mapping[str, MapPredictions]
) -> WorstMaps | None:
    """Return each target's images with the lowest mean IoU of the result's label maps; `None` if there are none.

    The maps themselves are not kept while the result is tested, so that these few are predicted once more.

    Args:
        context: The run.
        entries: Its entries; the last one's key is the result's.
        domains: The targets.
        found: How the entries' maps compare with the true ones.
    """
    result = [entry for entry in entries if entry.key == entries[-1].key]
    count = context.recipe.evaluate.mistakes // (PICTURES * max(1, len(found)))
    chosen = []
    for name, one in found.items():
        lowest = enumerate(one.mean_iou.get(entries[-1].key, ()))
        chosen += [(name, at) for _, at in sorted((float(iou), at) for at, iou in lowest if np.isfinite(iou))[:count]]
    if not chosen:
        return None
    images, labels, predicted = [], [], []
    for name, position in chosen:
        entry = next(one for one in result if not one.only or name in one.only)
        images.append(thumbnails(domains[name].evaluation, np.array([position]))[0])
        height, width, _ = images[-1].shape
        true = np.array(domains[name].clean_labels[position], np.uint8)
        labels.append(_reduced(true, (width, height)))
        predicted.append(_reduced(_predicted(context, entry, domains[name], position), (width, height)))
    return WorstMaps(
        np.stack(images),
        np.stack(labels),
        np.stack(predicted),
        tuple(name for name, _ in chosen),
        np.array([position for _, position in chosen]),
        np.array([class_color(name, label) for label, name in enumerate(context.bench.classes)], np.uint8),
    )


def _predicted(context: Context, entry: Entry, domain: Domain, position: int) -> Maps:
    chosen = np.array([position])
    one = Subset(domain.evaluation, chosen, torch.from_numpy(np.array(domain.clean_labels[chosen])))
    scorer = Scorer(context.device, context.preprocess, context.half)
    (batch,) = scorer.scores([Scored(entry.network, entry.weights)], one)
    return batch.scores[0].argmax(dim=0).to("cpu", torch.uint8).numpy()


def _reduced(labels: Maps, size: tuple[int, int]) -> Maps:
    """Return a map of that width and height, each pixel with the label of the nearest one."""
    return np.asarray(Image.fromarray(labels).resize(size, Image.Resampling.NEAREST))
