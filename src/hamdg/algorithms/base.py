"""The interface of algorithms: steps, rows of the table, and the runs that they are compared with."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from hamdg.config.controls import controls_of
from hamdg.config.recipe import Recipe
from hamdg.data.benchmark import TaskName
from hamdg.models.network import Network, Weights
from hamdg.runs.figures import Figure
from hamdg.runs.record import Reads, RowGroup

if TYPE_CHECKING:
    from hamdg.stages.context import Context


# Keys of rows: of the model that training starts from, and how those of source models begin.
START = "zero_shot"
SOURCE = "source/"


class StepResult(NamedTuple):
    """What a step found.

    Args:
        facts: JSON values for the record; `provenance` becomes metadata of the run's result.
        figures: What the page draws.
        images_seen: How many images the step's models saw.
    """

    facts: Mapping[str, object] = {}
    figures: Sequence[Figure] = ()
    images_seen: int = 0


class Origin(NamedTuple):
    """The run whose step another run has, too.

    Args:
        recipe: That run's recipe.
        step: What it calls the step.
    """

    recipe: Recipe
    step: str


class Step(NamedTuple):
    """One part of an algorithm: reads files and domains, leaves `<run>/<name>/` and, last, `<run>/<name>.json`.

    Args:
        name: The step's name.
        run: Does the work.
        reads: Which domains it may read: `targets` come without labels; the empty set opens none.
        sections: All that it reads of the recipe beyond data and model: `train`, `mtda.adapt`; the rest raises.
        check: Refuses before anything trains, by raising a `ConfigError`.
        examples: How many training images of each source it looks at without augmentation.
        learners: Names of the models that it trains, for what is said of a run before it begins.
        common: Whether it depends on the images and the pretrained encoder alone, and on no step before it, so that
            runs of other algorithms that have it share it.
        origin: The run of another algorithm whose first step it is, so that it is taken from there where it is done.
    """

    name: str
    run: Callable[[Context], StepResult]
    reads: frozenset[Reads] = frozenset({"sources"})
    sections: frozenset[str] = frozenset()
    check: Callable[[Context], None] | None = None
    examples: int = 0
    learners: Sequence[str] = ()
    common: bool = False
    origin: Origin | None = None

    @property
    def independent(self) -> bool:
        """Whether it depends on no step before it."""
        return self.common or self.origin is not None


class Entry(NamedTuple):
    """One model of a run's table: weights, and the network that they belong to; entries of one key are one row.

    Args:
        key: Stable name of the row.
        label: What people read.
        group: `control`, `source` or `merged`.
        network: The network that the weights belong to; entries may share one.
        weights: The entry's own weights; what they lack is the network's.
        note: What else a reader must know.
        only: The target domains that the entry is for; empty for all.
        passes: How many forward passes an image costs: more than one of an ensemble.
    """

    key: str
    label: str
    group: RowGroup
    network: Network
    weights: Weights
    note: str = ""
    only: tuple[str, ...] = ()
    passes: int = 1


class Algorithm(ABC):
    """A way to get one model from several source domains: its steps, and the models that its table compares.

    Args:
        recipe: The run's recipe.

    Attributes:
        name: What recipes call it.
        title: What tables call its result: its name in capitals, unless this or `label` says otherwise.
        source_rows: Whether every source model has a row, `source/<name>`.
        tasks: What it can learn.
    """

    name: ClassVar[str]
    title: ClassVar[str] = ""
    source_rows: ClassVar[bool] = False
    tasks: ClassVar[tuple[TaskName, ...]] = ("classification", "segmentation")

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe

    @property
    def label(self) -> str:
        """How tables call the result."""
        return self.title or self.name.upper()

    @property
    def footnote(self) -> str:
        """What every table that shows the result says below it."""
        return ""

    @abstractmethod
    def steps(self) -> Sequence[Step]:
        """Return the steps in their order; they may depend on the recipe."""

    @abstractmethod
    def entries(self, context: Context) -> Sequence[Entry]:
        """Return the rows of the run's table, the result last."""

    def keys(self, sources: Sequence[str]) -> tuple[str, ...]:
        """Return the keys of these rows, which are known before anything has run."""
        models = [f"{SOURCE}{name}" for name in sources] if self.source_rows else []
        return (*self.start_keys, *models, self.name)

    @property
    def start_keys(self) -> tuple[str, ...]:
        """The key of the row of the model that training starts from; none where it does not know the classes yet."""
        return (START,) if self.recipe.model.knows_classes else ()

    @property
    def mixes_sources(self) -> bool:
        """Whether a source model has learned something of other source domains than its own."""
        return False

    @property
    def line_note(self) -> str:
        """What `on_line` does to the models on a line, for the page; empty where it does nothing."""
        return ""

    def line_pairs(self, context: Context, entries: Sequence[Entry]) -> Sequence[tuple[Entry, Entry]]:
        """Return between which models lines are measured beside those to the result; by default none.

        Args:
            context: The run, in its evaluation.
            entries: Its entries; others may be among the pairs, too.
        """
        return ()

    def on_line(self, context: Context, weights: Weights) -> Weights:
        """Return what is measured at a point of the line between two models; by default the weights there.

        Args:
            context: The run, in its evaluation.
            weights: The weights there.
        """
        return weights

    def trained_parameters(self, context: Context) -> int | None:
        """Return how many parameters each model trains, where these are not those of the run's network.

        Args:
            context: The run, before it begins.
        """
        return None

    def controls(self) -> Sequence[Recipe]:
        """Return the runs that this one is compared with; their rows join as `<control>/<key>`."""
        return controls_of(self.recipe) if "controls" in self.recipe.settings.uses else ()
