"""Features of the sources' images by frozen networks: computed once, kept in a step's folder, shared between runs."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hamdg.algorithms.base import Step, StepResult
from hamdg.cohort.validation import CHUNK
from hamdg.data.domain import read_once
from hamdg.data.module import SourceData
from hamdg.data.subset import Subset
from hamdg.errors import DataError
from hamdg.files import DAMAGED_ARCHIVE, atomic_path
from hamdg.models.labeled_features import LabeledFeatures, check_classes
from hamdg.runs.steps import remedy
from hamdg.stages.context import Context
from hamdg.stages.sources import open_sources

FEATURES = "features"
_FILE = "features.npz"
# The parts of a source domain.
_PARTS = ("train", "holdout")

Array = NDArray[np.generic]
Encoder = Callable[[Tensor], Tensor]
"""Turns images [n, 3, h, w], normalized for the run's model, into features [n, d]."""


class SourceFeatures(NamedTuple):
    """Features [n, d] and labels [n] of the sources' images, by domain.

    Args:
        train: Those of the training parts.
        holdout: Those of the hold-out sets.
    """

    train: LabeledFeatures
    holdout: LabeledFeatures


def features_step() -> Step:
    """Return the step that computes the features of the sources' images by the pretrained encoder.

    They are what it gives, before anything is normalized, of images that are not augmented.
    """
    return Step(FEATURES, _encode, common=True)


def write_features(context: Context, encoder: Encoder) -> StepResult:
    """Compute features of the sources' training parts and hold-out sets, and write them into the step's folder."""
    data = open_sources(context, begun=True)
    parts = (training_subsets(context, data), data.holdouts())
    arrays: dict[str, Array] = {"domains": np.array(list(data.domains), dtype=np.str_)}
    counts: dict[str, dict[str, int]] = {}
    for name, part in zip(_PARTS, parts, strict=True):
        found = features_of(context, encoder, part)
        counts[name] = {domain: len(labels) for domain, (_, labels) in found.items()}
        for number, (features, labels) in enumerate(found.values()):
            arrays |= {f"{name}_{number}": features.cpu().numpy(), f"{name}_labels_{number}": labels.cpu().numpy()}
    with atomic_path(context.files.folder / _FILE) as temporary, temporary.open("wb") as stream:
        np.savez(stream, **arrays)  # type: ignore[arg-type]  # its stubs take `allow_pickle` for an array
    width = next(iter(found.values()))[0].shape[1]
    images = sum(sum(own.values()) for own in counts.values())
    return StepResult({"images": counts, "width": width}, images_seen=images)


def read_features(context: Context, name: str = FEATURES) -> SourceFeatures:
    """Read the features that a step wrote, for the run's device.

    Args:
        context: The run.
        name: The step's name.

    Raises:
        DataError: If the file is missing or damaged, or a class has no image in any training part.
    """
    step = context.step(name)
    path = step.folder / _FILE
    try:
        with np.load(path, allow_pickle=False) as arrays:
            domains = [str(domain) for domain in arrays["domains"]]
            train, holdout = (
                {one: _read(context, arrays, part, n) for n, one in enumerate(domains)} for part in _PARTS
            )
    except (OSError, *DAMAGED_ARCHIVE) as error:
        raise DataError(f"The features `{path}` are missing or damaged; {remedy(step)}.") from error
    check_classes(train, context.bench.classes, f"`{context.recipe.algorithm}`")
    return SourceFeatures(train, holdout)


def _read(context: Context, arrays: Mapping[str, Array], part: str, number: int) -> tuple[Tensor, Tensor]:
    features, labels = (torch.from_numpy(arrays[f"{part}{kind}_{number}"]) for kind in ("", "_labels"))
    return features.to(context.device), labels.to(context.device)


def training_subsets(context: Context, data: SourceData, *, clean: bool = False) -> dict[str, Subset]:
    """Return the training part of every source domain, to be read once without augmentation, or with `clean` labels."""
    found = {}
    for name, domain in data.domains.items():
        positions = np.sort(data.train_part[name])
        labels = torch.from_numpy((domain.clean_labels if clean else domain.labels)[positions])
        found[name] = Subset(read_once(domain, context.preprocess.side), positions, labels)
    return found


@torch.no_grad()
def features_of(context: Context, encoder: Encoder, parts: Mapping[str, Subset]) -> LabeledFeatures:
    """Return the features [n, d], in fp32, of the images of some subsets, and their labels [n], on the run's device."""
    found = {}
    for name, part in parts.items():
        part.prepare()
        chunks = (context.preprocess(images.to(context.device)) for images, _ in part.parts(CHUNK))
        found[name] = (torch.cat([encoder(images).float() for images in chunks]), part.labels.to(context.device))
    return found


def _encode(context: Context) -> StepResult:
    # A copy: networks are made of the one that was loaded, wherever it lies.
    encoder = copy.deepcopy(context.pretrained.encoder).to(context.device).eval()
    return write_features(context, encoder)
