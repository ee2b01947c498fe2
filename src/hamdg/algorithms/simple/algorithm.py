"""SIMPLE: outputs of a pool of frozen models, computed once; adapters and a matching network, trained on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, cast

from hamdg.algorithms.base import Algorithm, Entry, Step, StepResult
from hamdg.algorithms.simple.pool import MatchedPool, check_pool, load_pool
from hamdg.algorithms.simple.training import Trained, mean_weights, train_pool
from hamdg.config.algorithms.simple import SimpleSettings
from hamdg.data.benchmark import TaskName
from hamdg.errors import ConfigError, WeightsError
from hamdg.runs.figures import Figure, heat_map, lines, series
from hamdg.stages.class_features import check_left_out
from hamdg.stages.context import Context
from hamdg.stages.entries import start_entries
from hamdg.stages.features import read_features, write_features

OUTPUTS, MATCH = "outputs", "match"
LAST, AVERAGE = "last", "average"


class Simple(Algorithm):
    """A mixture of frozen models that fits each image; the models themselves are not trained, and all of them run."""

    name: ClassVar[str] = "simple"
    title: ClassVar[str] = "SIMPLE"
    tasks: ClassVar[tuple[TaskName, ...]] = ("classification",)

    def steps(self) -> Sequence[Step]:
        """Return the outputs of the pool, and the training on them."""
        return [
            Step(OUTPUTS, _outputs, sections=frozenset({"simple.pool"}), check=_check_pool),
            Step(MATCH, _match, reads=frozenset(), sections=frozenset({self.name}), check=_check),
        ]

    def entries(self, context: Context) -> Sequence[Entry]:
        """Return the start, the mixture after its last step, and the average.

        Raises:
            WeightsError: If a model of the pool is another one than when its outputs were computed.
        """
        settings = context.settings(SimpleSettings)
        network, files = _network(context, settings), context.step(MATCH)
        passes = len(settings.pool)
        return [
            *start_entries(context, context.network()),
            Entry(f"{self.name}_last", "SIMPLE, last step", "control", network, files.load(LAST), passes=passes),
            Entry(self.name, self.label, "merged", network, files.load(AVERAGE), passes=passes),
        ]

    def keys(self, sources: Sequence[str]) -> tuple[str, ...]:
        """Return the keys of these rows."""
        return (*self.start_keys, f"{self.name}_last", self.name)


def _outputs(context: Context) -> StepResult:
    pool, digests = load_pool(context, context.settings(SimpleSettings).pool)
    found = write_features(context, pool.to(context.device).features)
    return found._replace(facts={**found.facts, "sha256": digests})


def _match(context: Context) -> StepResult:
    settings, found = context.settings(SimpleSettings), read_features(context, OUTPUTS)
    network = _network(context, settings).to(context.device)
    trained = train_pool(network, found.train, settings, context.recipe.seed)
    context.files.save(LAST, trained.last)
    context.files.save(AVERAGE, trained.average)
    network.load(trained.average)
    weights = mean_weights(network, found.holdout)
    facts = {"models": list(settings.pool), "steps": settings.steps, "weights": weights}
    return StepResult(facts, [_weights(settings, weights), _losses(trained)])


def _network(context: Context, settings: SimpleSettings) -> MatchedPool:
    """Return the pool with new adapters and a new matching network.

    Raises:
        WeightsError: If a model is another one than when its outputs were computed.
    """
    pool, digests = load_pool(context, settings.pool)
    before = cast("dict[str, str]", context.step(OUTPUTS).read()["facts"]["sha256"])
    if changed := [name for name, digest in digests.items() if before[name] != digest]:
        raise WeightsError(
            f"The model `{changed[0]}` of `simple.pool` is not the one whose outputs `{context.run.path}` has: its "
            "weights are others now; bring them back, or repeat the run with `--force`."
        )
    return MatchedPool(pool, len(context.bench.classes), settings, context.recipe.seed)


def _weights(settings: SimpleSettings, weights: dict[str, list[float]]) -> Figure:
    """Return the chart of the models' mean weights on the hold-out sets."""
    note = "Mean over the images of each hold-out set."
    return heat_map("Weight of each model of the pool", settings.pool, weights, note=note, percent=True)


def _losses(trained: Trained) -> Figure:
    """Return the chart of what the loss is made of."""
    mixtures, members, confidences = zip(*([float(part) for part in one] for one in trained.losses), strict=True)
    drawn = [
        series("mixture", trained.steps, mixtures),
        series("models alone", trained.steps, members, "dashed"),
        series("confidence", trained.steps, confidences, "faint"),
    ]
    return lines("Parts of the loss", drawn, note="Before they are weighted.")


def _check(context: Context) -> None:
    """Refuse settings that make no sense together.

    Raises:
        ConfigError: For this reason.
    """
    if problem := context.settings(SimpleSettings).problem:
        raise ConfigError(problem)
    check_left_out(
        context.recipe.model,
        ("statistics",),
        f"The algorithm `{context.recipe.algorithm}` leaves its models as they are",
    )


def _check_pool(context: Context) -> None:
    """Refuse a pool whose models cannot be loaded.

    Raises:
        ConfigError: If there is no such model.
        WeightsError: If there are no such weights.
    """
    _check(context)
    check_pool(context.settings(SimpleSettings).pool)
