"""The step that fits a linear classifier of the features that an earlier step kept, and the network that has it."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from hamdg import console
from hamdg.algorithms.base import Step, StepResult
from hamdg.config.probe import ProbeConfig
from hamdg.models.classifier import LoadedClassifier
from hamdg.models.clip_with_head import ClipWithHead
from hamdg.models.image_classifier import ImageClassifier
from hamdg.models.network import Network, Weights
from hamdg.models.probe import Probe, fit_probe
from hamdg.runs.figures import Figure, lines, series
from hamdg.stages.class_features import check_left_out
from hamdg.stages.context import Context
from hamdg.stages.features import read_features

# The step, and the key of the row of what it finds.
PROBE, PROBE_ROW = "probe", "linear_probe"


def probe_step(config: Callable[[Context], ProbeConfig], section: str) -> Step:
    """Return the step that fits the probe to what `features_step` left; it opens no domain.

    Args:
        config: Gives its settings.
        section: The section of the recipe that these are in.
    """

    def run(context: Context) -> StepResult:
        return _fit(context, config(context))

    return Step(PROBE, run, reads=frozenset(), sections=frozenset({section}), check=_check)


def probed_network(context: Context) -> Network:
    """Return a new network of the pretrained encoder and the classifier that the probe found, as its linear layer.

    For checks before there is a probe (`Context.unlearned`), the layer is of zeros.
    """
    classes = context.bench.classes
    found: Weights = _untrained(context) if context.unlearned else context.step(PROBE).load(PROBE)
    network: Network
    if isinstance(context.pretrained, LoadedClassifier):
        blocks = context.recipe.model.frozen_blocks
        network = ImageClassifier(context.pretrained, found["weight"], classes, blocks, found["bias"])
    else:
        network = ClipWithHead(context.clip, found["weight"], found["bias"], normalized=False, classes=classes)
    network.live_statistics = context.recipe.model.statistics == "live"
    return network


def _untrained(context: Context) -> Weights:
    classes = len(context.bench.classes)
    return {"weight": torch.zeros(classes, context.pretrained.width), "bias": torch.zeros(classes)}


def _check(context: Context) -> None:
    """Refuse what would be trained in place of the probe's layer, or beside it.

    Raises:
        ConfigError: There is something.
    """
    what = "classifies features of images by a linear layer of its own, without a text tower"
    reason = f"The algorithm `{context.recipe.algorithm}` {what}"
    check_left_out(context.recipe.model, ("text_tower", "head", "train_head"), reason)


def _fit(context: Context, config: ProbeConfig) -> StepResult:
    found, classes, strengths = read_features(context), len(context.bench.classes), config.strengths
    probe = fit_probe(found.train, found.holdout, classes, strengths, standardize=config.standardize)
    layer = probe.classifier
    assert layer.bias is not None, "a probe has a bias"
    context.files.save(PROBE, {"weight": layer.weight, "bias": layer.bias})
    _say(probe, strengths)
    facts = {"C": probe.strength, "accuracy": max(probe.mean), "grid": {"C": strengths, "accuracy": probe.mean}}
    return StepResult(facts | {"accuracies": probe.accuracies}, [_curve(probe, strengths)])


def _say(probe: Probe, strengths: list[float]) -> None:
    console.note(f"C {probe.strength:.3g}: {max(probe.mean):.1%} on the hold-out sets")
    if len(strengths) > 1 and probe.strength in (strengths[0], strengths[-1]):
        which = "smallest" if probe.strength == strengths[0] else "largest"
        console.note(f"that is the {which} of the values that were tried; others beyond it may do better")


def _curve(probe: Probe, strengths: list[float]) -> Figure:
    """Return the chart of the accuracies over C."""
    x = [math.log10(strength) for strength in strengths]
    drawn = [series("mean", x, probe.mean)]
    drawn += [series(name, x, own, "faint") for name, own in probe.accuracies.items()]
    note = f"C is the weight of the losses against the penalty; the chosen one is {probe.strength:.3g}."
    return lines("Accuracy of the probe on the hold-out sets", drawn, x="log10 of C", note=note, limits=(0.0, 1.0))
