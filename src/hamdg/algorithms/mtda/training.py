"""The steps that train: source models on labels, and their adaptation to targets without any."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict

import torch

from hamdg import console
from hamdg.algorithms.base import Step, StepResult
from hamdg.algorithms.mtda.learner import ACCEPTED, CONFIDENCE, SelfTraining
from hamdg.algorithms.mtda.merging import start_distance
from hamdg.cohort.learner import Learner, check_whole
from hamdg.config.algorithms.mtda import AdaptConfig, MtdaSettings
from hamdg.config.recipe import HistoryConfig, TrainConfig
from hamdg.data.splits import seed_hash
from hamdg.errors import ConfigError
from hamdg.merge.tensor_checks import FAR
from hamdg.models.network import Network, Weights
from hamdg.runs.figures import curve, curves
from hamdg.runs.record import Reads
from hamdg.stages.context import Context, check_batchnorm
from hamdg.stages.fit import fit, trained
from hamdg.text import listed

# The steps, and the one model of the first.
SOURCE, ADAPT, UNION, STARTS, READAPT = "source", "adapt", "union", "starts", "readapt"
MIXED, APART = "mixed", "apart"
# What is merged is the student after its last step.
_LAST = HistoryConfig(kind="last")
Run = Callable[[Context], StepResult]


def source_step() -> Step:
    """Return the step that trains one model on all sources."""

    def run(context: Context) -> StepResult:
        learner = Learner(context.network(), context.sources, context.recipe.train, context.task)
        return trained(context, fit(context, {SOURCE: learner}, history=_LAST))

    return Step(SOURCE, run, sections=frozenset({"train"}), check=check, learners=[SOURCE])


def starts_step(targets: Sequence[str]) -> Step:
    """Return the step that trains further source models, each from random weights of its own.

    Args:
        targets: The targets, to which the models will be adapted; the first one keeps the source model that is there.
    """

    def run(context: Context) -> StepResult:
        learners = {}
        for number, name in enumerate(targets[1:], start=1):
            network = randomized(context.network(), seed_hash("start", context.recipe.seed, number))
            learners[name] = Learner(network, context.sources, context.recipe.train, context.task)
        return _with_images(context, trained(context, fit(context, learners, history=_LAST)), learners)

    return Step(STARTS, run, sections=frozenset({"train"}), learners=list(targets[1:]))


def adapt_step(settings: MtdaSettings, targets: Sequence[str], name: str = ADAPT, before: str = SOURCE) -> Step:
    """Return the step that adapts source models to targets, a model a target, and measures how far apart they start.

    Args:
        settings: The algorithm's settings.
        targets: The targets.
        name: The step's name.
        before: The step that trained the models: the one of all targets, or each target's own.
    """

    def run(context: Context) -> StepResult:
        start = context.step(before).history().last
        own = {one: start[SOURCE if before == SOURCE else one] for one in targets}
        found = _self_trained(context, targets, {one: _adapted(context, own[one], (one,)) for one in targets})
        distance = start_distance(
            own if before == SOURCE else {SOURCE: context.step(SOURCE).history().last[SOURCE], **own}
        )
        if distance > FAR:
            console.warning(
                f"these models come from different starts, {distance:.2f} of their norm apart: their mean is hardly a "
                "model."
            )
        return found._replace(facts={**found.facts, "start_distance": distance})

    return _adapting(name, run, settings, targets)


def union_step(settings: MtdaSettings, targets: Sequence[str]) -> Step:
    """Return the step that adapts one model to all targets, as often as there are models of single targets together.

    Args:
        settings: The algorithm's settings.
        targets: The targets.
    """

    def run(context: Context) -> StepResult:
        start, own = context.step(SOURCE).history().last[SOURCE], tuple(targets)
        learners = {MIXED: _adapted(context, start, own), APART: _adapted(context, start, own, apart=True)}
        return _self_trained(context, targets, learners)

    return _adapting(UNION, run, settings, (MIXED, APART))


def check(context: Context) -> None:
    """Refuse what cannot be adapted and merged, before anything trains.

    Raises:
        ConfigError: There is one target, no BatchNorm, statistics that do not move, steps of other targets, no head of
            its own to keep, or more than one process.
    """
    recipe, settings = context.recipe, context.settings(MtdaSettings)
    check_batchnorm(context)
    if len(context.targets) < 2:
        raise ConfigError(
            f"`{recipe.algorithm}` merges the models of several targets, but `held_out` names one, `{recipe.held_out}`;"
            " join several with `+`, such as `cartoon+sketch`."
        )
    steps = settings.adapt.steps
    if isinstance(steps, dict) and steps.keys() != set(context.targets):
        raise ConfigError(
            f"`{recipe.algorithm}.adapt.steps` names {listed(list(steps))}, but the targets are "
            f"{listed(list(context.targets))}; give a number for each of them, or one for all."
        )
    network = context.network()
    if settings.merge.heads == "separate" and not network.head_prefix:
        raise ConfigError(
            f"`{recipe.algorithm}.merge.heads` is `separate`, but `model.name` `{recipe.model.name}` has no head that "
            "is trained; set it to `shared`, or choose an image classifier."
        )
    learner = Learner(network, context.sources, recipe.train, context.task)
    check_whole({SOURCE: learner}, recipe.train.accumulate, recipe.runtime.processes)


@torch.no_grad()
def randomized(network: Network, seed: int) -> Network:
    """Draw all weights that are trained anew, in place, by the seed alone, and return the network.

    Frozen ones are no part of a history, so that whoever loads one has them as they were.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in network.body.modules():
            # Of attention, torch calls it `_reset_parameters`.
            reset = getattr(module, "reset_parameters", getattr(module, "_reset_parameters", None))
            if callable(reset) and all(parameter.requires_grad for parameter in module.parameters()):
                reset()
    return network


def train_config(adapt: AdaptConfig, targets: Sequence[str]) -> TrainConfig:
    """Return how the adaptation to some targets is optimized; there is nothing to validate it on."""
    values, steps = asdict(adapt), adapt.steps_on(targets)
    shared = {name: values[name] for name in ("lr", "weight_decay", "warmup", "clip_norm")}
    return TrainConfig(steps=steps, **shared, check_every=steps)


def _adapting(name: str, run: Run, settings: MtdaSettings, learners: Sequence[str]) -> Step:
    reads: set[Reads] = {"targets", "sources"} if settings.adapt.source_batches else {"targets"}
    return Step(name, run, reads=frozenset(reads), sections=frozenset({"mtda.adapt"}), learners=list(learners))


def _adapted(context: Context, start: Weights, targets: tuple[str, ...], apart: bool = False) -> SelfTraining:
    adapt, network = context.settings(MtdaSettings).adapt, context.network()
    network.load(start)
    sources, config = context.sources if adapt.source_batches else (), train_config(adapt, targets)
    return SelfTraining(network, targets, config, adapt, context.task, sources=sources, apart=apart)


def _self_trained(context: Context, targets: Sequence[str], learners: Mapping[str, SelfTraining]) -> StepResult:
    sources = next(iter(learners.values())).sources
    domains = context.data([name for name in context.bench.domains if name in (*targets, *sources)])
    found = _with_images(context, trained(context, fit(context, learners, domains=domains, history=_LAST)), learners)
    drawn = [
        curves(
            "Pseudo-labels that the teacher is sure of",
            [curve(ACCEPTED)],
            note="Share of the images (or pixels) of a batch whose most probable class reaches the threshold.",
            percent=True,
            smooth=True,
            limits=(0.0, 100.0),
        ),
        curves("Mean confidence of the teacher", [curve(CONFIDENCE)], smooth=True, limits=(0.0, 1.0)),
    ]
    return found._replace(figures=drawn)


def _with_images(context: Context, found: StepResult, learners: Mapping[str, Learner]) -> StepResult:
    """Count images by model: several of one domain see its batches, each of them."""
    batches = sum(one.config.steps * (len(one.own) + len(getattr(one, "sources", ()))) for one in learners.values())
    return found._replace(images_seen=context.recipe.data.batch_size * batches)
