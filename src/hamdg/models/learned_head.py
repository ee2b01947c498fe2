"""Heads made of features of the sources: class features and linear layers, and the file that they are kept in."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize

from hamdg.config.recipe import HeadBalance
from hamdg.errors import DataError, WeightsError
from hamdg.merge.files import load_tensors, save_tensors
from hamdg.merge.tensors import sha256_tensor, sha256_tensors
from hamdg.models.labeled_features import LabeledFeatures, check_classes
from hamdg.models.logistic import Linear, fit_logistic, zeros
from hamdg.models.text_head import MAX_SCALE, coinciding
from hamdg.text import listed, shortened

# Of a linear probe; see `linear_probe`. Of the powers of ten the most accurate on the sources' hold-out sets of PACS,
# and near it on those of `mini`, both with mini-CLIP; class features come out about as long as those of text, 1.
L2 = 1e-4
_TENSOR, _BIAS = "class_features", "bias"
# The metadata that say what they were learned from.
IDENTITY = "identity"
_LISTED = 12


def learn_head(
    kind: Literal["source_means", "linear_probe"],
    found: LabeledFeatures,
    classes: Sequence[str],
    scale: float,
    balance: HeadBalance = "domains",
) -> Tensor:
    """Return class features [C, D], in fp32, learned from the sources' images.

    Args:
        kind: How.
        found: The features, of length 1, of every source domain's training images and their labels.
        classes: Names of the classes, in the order of the labels.
        scale: Factor between cosines and logits.
        balance: What counts alike in a linear probe.

    Raises:
        DataError: If a class has no image in any domain, or the features of two classes coincide.
    """
    check_classes(found, classes, f"`model.text_head` of `{kind}`", "leave the class out everywhere, or use `prompts`")
    if kind == "source_means":
        learned = source_means(found, len(classes))
    else:
        learned = linear_probe(found, len(classes), scale, balance)
    if same := coinciding(learned):
        groups = shortened([listed([classes[index] for index in group], _LISTED) for group in same], 2)
        raise DataError(
            f"`model.text_head` of `{kind}` gives the classes {groups} the same features: their images look the same "
            "to the model. Set `model.name` or `model.weights` to another, or make one class of them."
        )
    return learned


def learn_layer(
    kind: Literal["source_means", "linear_probe"],
    found: LabeledFeatures,
    classes: Sequence[str],
    balance: HeadBalance = "domains",
) -> Tensor:
    """Return the weight [C, D] that the linear layer of an image classifier starts from; features have any length.

    Class features are learned from features that are divided by their mean length, and give the scores of the features
    as they are. Means of features are compared as sharply as in a CLIP: by 100 times their cosines.

    Args:
        kind: How.
        found: The features of every source domain's training images and their labels.
        classes: Names of the classes, in the order of the labels.
        balance: What counts alike in a linear probe.

    Raises:
        DataError: If a class has no image in any domain, or the features of two classes coincide.
    """
    length = torch.stack([features.norm(dim=-1).mean() for features, _ in found.values()]).mean()
    scaled = {domain: (features / length, labels) for domain, (features, labels) in found.items()}
    learned = learn_head(kind, scaled, classes, 1.0, balance)
    return learned * ((MAX_SCALE if kind == "source_means" else 1.0) / length)


def source_means(found: LabeledFeatures, classes: int) -> Tensor:
    """Return the normalized mean feature of every class: over its images in a domain, then over domains that have some.

    A domain counts as one, however many images it has.
    """
    sums, domains = torch.zeros(()), torch.zeros(())
    for features, labels in found.values():
        chosen = torch.nn.functional.one_hot(labels, classes).T.double()
        counts = chosen.sum(dim=1, keepdim=True)
        sums = sums + chosen @ features.double() / counts.clamp(min=1)
        domains = domains + (counts > 0)
    return normalize(sums / domains, dim=-1).float()


def linear_probe(found: LabeledFeatures, classes: int, scale: float, balance: HeadBalance = "domains") -> Tensor:
    r"""Return a linear classifier of the features, fitted once: multinomial logistic regression in double precision.

    Minimized is $\frac{1}{S} \sum_s \frac{1}{n_s} \sum_i \mathrm{CE}(W x_i, y_i) + \frac{\lambda}{2} \lVert W
    \rVert^2$ over S domains, with $\lambda$ = `L2`; a domain counts as one, however many images it has. With a
    `balance` of `classes` the mean over a domain's images is one over its classes of the means over theirs. There is no
    bias: features of length 1 have a direction in common, which serves as one. What is returned is W over `scale`, so
    that CLIP's own logits, `scale` times the products of features, are the probe's.
    """
    features = torch.cat([features.double() for features, _ in found.values()])
    labels = torch.cat([labels for _, labels in found.values()])
    shares = torch.cat([_shares(own, balance) / len(found) for _, own in found.values()]).to(features)
    weight = fit_logistic(features, labels, shares, L2, zeros(features, classes, bias=False)).weight
    return (weight / scale).float()


def _shares(labels: Tensor, balance: HeadBalance) -> Tensor:
    """Return the weight [n] of each image in its domain; they add up to 1."""
    if balance == "domains":
        return torch.full((len(labels),), 1 / len(labels), dtype=torch.float64, device=labels.device)
    counts = labels.bincount()
    return 1 / (counts[labels].double() * int((counts > 0).sum()))


def rows_layer(found: LabeledFeatures, rows: Tensor, chosen: Sequence[Sequence[int]]) -> Linear:
    r"""Return a linear layer of rows of a pretrained classifier, for features of any length; labels are not read.

    Its scores are $\ell\,\langle x - m, u_c \rangle$: $m$ is the mean over domains of their mean features, $u_c$ the
    normalized mean of the class's rows, from which the mean of all rows is taken away, and $\ell$ the mean length
    before that is normalized, so that the layer is as sharp as the classifier was. The most probable class is the one
    with the largest cosine between $x - m$ and $u_c$.

    Args:
        found: The features of every source domain's training images.
        rows: The weight [k, d] of the pretrained classifier.
        chosen: For each class, which of the rows stand for it.
    """
    mean = torch.stack([features.double().mean(dim=0) for features, _ in found.values()]).mean(dim=0)
    centered = rows.to(mean) - rows.to(mean).mean(dim=0)
    own = torch.stack([centered[list(numbers)].mean(dim=0) for numbers in chosen])
    weight = normalize(own, dim=1) * own.norm(dim=1).mean()
    return Linear(weight.float(), -(weight @ mean).float())


def digest(head: Linear) -> str:
    """Return the SHA-256 of class features, their bias included if they have one."""
    return sha256_tensor(head.weight) if head.bias is None else sha256_tensors({_TENSOR: head.weight, _BIAS: head.bias})


def write_head(path: Path, head: Linear, kind: str, classes: Sequence[str], scale: float, identity: str = "") -> None:
    """Write class features, with the classes, the factor of the logits and what they were learned from as metadata."""
    facts = {"kind": kind, "classes": json.dumps(list(classes)), "logit_scale": repr(scale), IDENTITY: identity}
    tensors = {_TENSOR: head.weight} | ({} if head.bias is None else {_BIAS: head.bias})
    save_tensors(path, {name: tensor.detach().cpu() for name, tensor in tensors.items()}, facts)


def read_head(path: Path) -> Linear:
    """Read class features that `write_head` wrote.

    Raises:
        WeightsError: If the file is missing, damaged, or holds something else.
    """
    try:
        found = load_tensors(path)
        return Linear(found[_TENSOR], found.get(_BIAS))
    except (WeightsError, KeyError) as error:
        raise WeightsError(
            f"The class features `{path}`, which training began with, are missing or damaged; repeat the run with "
            "`--force`."
        ) from error
