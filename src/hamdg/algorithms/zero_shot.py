"""Zero-shot classification (https://arxiv.org/abs/2103.00020): the class whose prompts lie nearest to an image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from hamdg.algorithms.base import START, Algorithm, Entry, Step
from hamdg.config.recipe import Recipe
from hamdg.data.benchmark import TaskName
from hamdg.errors import ConfigError
from hamdg.stages.class_features import check_left_out
from hamdg.stages.context import Context
from hamdg.stages.entries import start_entries


class ZeroShot(Algorithm):
    """The pretrained model with the recipe's prompts, one or an ensemble; there are no steps."""

    name: ClassVar[str] = "zero_shot"
    title: ClassVar[str] = "zero-shot"
    tasks: ClassVar[tuple[TaskName, ...]] = ("classification",)

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe)
        if not recipe.model.knows_classes:
            raise ConfigError(
                f"The algorithm `{self.name}` tests a model that knows the classes before it is trained, but what "
                f"stands for the classes of `{recipe.model.name}` is drawn by the seed; set `model.name` to a CLIP."
            )
        check_left_out(recipe.model, ("statistics",), f"The algorithm `{self.name}` trains nothing")

    def steps(self) -> Sequence[Step]:
        """Return no step: nothing is trained."""
        return []

    def entries(self, context: Context) -> Sequence[Entry]:
        """Return the one row, which other algorithms have as that of their start."""
        return [entry._replace(group="merged") for entry in start_entries(context, context.network())]

    def keys(self, sources: Sequence[str]) -> tuple[str, ...]:
        """Return the key of this row."""
        return (START,)
