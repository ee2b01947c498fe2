"""What is known of a merge method: its options, what it needs, and what becomes of buffers."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from hamdg.merge.aliases import Alias
from hamdg.merge.buffers import BufferShares, Statement, by_weight
from hamdg.merge.evidence import Kind
from hamdg.merge.model_set import Rule
from hamdg.merge.options import Option
from hamdg.merge.tensors import Tensors

Weights = Literal["none", "factors", "shares"]


@dataclass(frozen=True)
class MergePlan:
    """What a method decided after it saw all tensors, where a rule alone does not say it.

    Args:
        rule: Gives the merged tensor (or change) of every tensor.
        sources: The sources whose buffers count, if not all.
        buffers: What the merged buffers are made of, where data or the models themselves decided it; otherwise what
            the method stated when it was registered.
        models: What stands for the sources where buffers are merged, if the method reordered their units.
    """

    rule: Rule
    sources: tuple[str, ...] | None = None
    buffers: BufferShares | None = None
    models: Mapping[str, Tensors] | None = None


Local = Callable[..., Tensor]
Whole = Callable[..., Rule | MergePlan]


@dataclass(frozen=True)
class MethodInfo:
    """A registered merge method.

    Args:
        name: What recipes and commands call it.
        summary: First line of its documentation.
        text: The whole of it.
        options: Its options in the order of its signature.
        plan: Takes a `ModelSet` and the options, and gives the rule that merges every tensor.
        on: Whether it works on the `models` or on their `changes` from a base.
        needs_base: It cannot do without a base; methods that work on changes never can.
        uses_base: Its result depends on the base, if there is one.
        weights: What weights of the sources mean: `factors` multiply, `shares` are divided by their sum, `none` are
            taken.
        local: It merges every tensor by itself.
        linear: Its result is a weighted sum of the tensors, so that a non-finite value in one is one in the result.
        trajectory: Its sources are the checkpoints of one trajectory, in the order of their names.
        needs: What it asks of data (see `hamdg.merge.evidence`).
        target: It looks at data of the target domain, so its result is not domain generalization.
        buffers: Gives what the merged buffers are made of, from the sources' weights and what its keyword-only
            parameters name: options, or `base`, whether there is one.
        alias: What this is another name of, if it is one.
        original: The method that it is another name of.
    """

    name: str
    summary: str
    text: str
    options: Mapping[str, Option]
    plan: Whole
    on: Literal["models", "changes"]
    needs_base: bool
    uses_base: bool
    weights: Weights
    local: bool
    linear: bool = False
    trajectory: bool = False
    needs: tuple[Kind, ...] = ()
    target: bool = False
    buffers: Statement = by_weight
    alias: Alias | None = None
    original: MethodInfo | None = None

    def resolved(self, given: Mapping[str, object]) -> tuple[MethodInfo, dict[str, object]]:
        """Return the method that this is another name of, with the options that say the same; or this method.

        Args:
            given: The options that were given.
        """
        if self.alias is None or self.original is None:
            return self, dict(given)
        return self.original, {**self.alias.fixed, **self.alias.defaults, **given}

    def buffer_shares(self, weights: Mapping[str, float], options: Mapping[str, object], base: bool) -> BufferShares:
        """Return what the merged buffers are made of.

        Args:
            weights: Weight of every source that takes part.
            options: The options that were given.
            base: Whether there is a base.
        """
        if self.weights == "shares":
            total = math.fsum(weights.values()) or 1.0
            weights = {source: weight / total for source, weight in weights.items()}
        known = {name: option.default for name, option in self.options.items()} | dict(options) | {"base": base}
        taken = {name: known[name] for name in keyword_names(self.buffers)}
        return self.buffers(weights, **taken)


def keyword_names(statement: Statement) -> list[str]:
    """Return the names of the options that a statement about buffers takes."""
    return [p.name for p in inspect.signature(statement).parameters.values() if p.kind is p.KEYWORD_ONLY]
