"""Applies harmonization to a cohort's gradients or updates, and measures how well the directions agree."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from hamdg.algorithms.ham import harmonization
from hamdg.cohort.coupling import Coupling
from hamdg.cohort.learner import Learner
from hamdg.config.algorithms.ham import HarmonizationConfig
from hamdg.tracking.keys import MetricKey

Columns = list[list[nn.Parameter]]
"""For every parameter name, that parameter of all learners."""
Measured = dict[MetricKey, Tensor]
# What changes updates; the other rules change gradients.
_OF_UPDATES = ("sign_consensus", "project")


class Harmonizer(Coupling):
    """Brings the update directions of all learners together, at every `config.every`-th step.

    Args:
        config: Which rule, how often, for the whole model or for each layer.
        start: The parameters that all learners start from, by name.
        count: How many learners there are.
        layer_of: Gives the layer of a parameter name.
        seed: Seeds the order in which projections visit the other models.
    """

    shown: ClassVar[Mapping[str, tuple[str, ...]]] = {"cosine": ("cosine/after",)}

    def __init__(
        self,
        config: HarmonizationConfig,
        start: Mapping[str, Tensor],
        count: int,
        layer_of: Callable[[str], str],
        seed: int,
    ) -> None:
        super().__init__()
        self.config = config
        self.names = tuple(start)
        self.layers = [layer_of(name) for name in start]
        self.seed = seed
        # The start is known wherever a run resumes; what updates are counted from is not.
        self.start = _Buffers(start.values(), persistent=False)
        anchored = count if config.method in _OF_UPDATES and count > 1 else 0
        self.anchors = nn.ModuleList(_Buffers(start.values(), persistent=True) for _ in range(anchored))
        self._room = torch.empty(0)
        self._columns_of: tuple[Mapping[str, Learner] | None, Columns] = (None, [])

    def before_update(self, learners: Mapping[str, Learner], step: int, log_now: bool) -> Measured:
        """Change the gradients, unless the rule is about updates; measure the pairwise cosines before and after."""
        columns = self._columns(learners)
        changes = self._due(step) and self.config.method not in ("none", *_OF_UPDATES)
        if len(learners) < 2 or self.config.method in _OF_UPDATES or not (changes or log_now):
            return {}
        gradients = [[_gradient(parameter) for parameter in column] for column in columns]
        before = _grams(gradients) if log_now or self.config.method == "pcgrad" else []
        if changes:
            self._change(columns, gradients, before, step)
        if not log_now:
            return {}
        after = _grams([[_gradient(parameter) for parameter in column] for column in columns])
        return self._report(learners, before, after)

    @torch.no_grad()
    def after_update(self, learners: Mapping[str, Learner], step: int, log_now: bool) -> Measured:
        """Change the parameters, where the rule is about updates; measure the cosines of the ways from the start."""
        if len(learners) < 2:
            return {}
        columns, measured = self._columns(learners), Measured()
        if self.config.method in _OF_UPDATES and self._due(step):
            before, after = self._change_updates(columns, step)
            measured = self._report(learners, before, after) if log_now else {}
        if log_now:
            measured |= self._cosines("cosine/history", list(learners), _grams(self._moved(columns)))
        return measured

    def _columns(self, learners: Mapping[str, Learner]) -> Columns:
        """Return the parameters, which are collected once: a cohort gives the same mapping at every step."""
        if self._columns_of[0] is not learners:
            models = [learner.network.trainable() for learner in learners.values()]
            self._columns_of = learners, [[model[name] for model in models] for name in self.names]
        return self._columns_of[1]

    def _due(self, step: int) -> bool:
        return (step + 1) % self.config.every == 0

    def _moved(self, columns: Columns) -> list[list[Tensor]]:
        starts = self.start.buffers()
        return [[p.detach() - start for p in column] for column, start in zip(columns, starts, strict=True)]

    @torch.no_grad()
    def _change(self, columns: Columns, gradients: list[list[Tensor]], grams: list[Tensor], step: int) -> None:
        projects = self.config.method == "pcgrad"
        starts = list(self.start.buffers())
        if self.config.method == "l2" and starts[0].is_cuda:
            pull_together(columns, gradients, starts, self.config.weight)
            return
        if self.config.method == "cosine":
            grams = _grams(self._moved(columns))
        scopes = self._coefficients(len(columns[0]), grams, step)
        for column, own, start, scope in zip(columns, gradients, starts, scopes, strict=True):
            rows = torch.stack([g.flatten() for g in own]) if projects else self._moved_rows(column, start)
            mixed = scope @ rows
            if not projects:
                # Multiplied first: an addition that multiplies, too, would round otherwise.
                mixed *= self.config.weight
            for parameter, gradient, change in zip(column, own, mixed, strict=True):
                change = change.view_as(parameter)
                parameter.grad = gradient.copy_(change) if projects else gradient.add_(change)

    def _moved_rows(self, column: list[nn.Parameter], start: Tensor) -> Tensor:
        """Return how far a parameter of every learner has moved [learners, numbers], in memory that is used again."""
        size = len(column) * start.numel()
        if self._room.numel() < size or self._room.device != start.device:
            self._room = start.new_empty(size)
        rows = self._room[:size].view(len(column), *start.shape)
        for row, parameter in zip(rows, column, strict=True):
            torch.sub(parameter, start, out=row)
        return rows.view(len(column), -1)

    def _coefficients(self, count: int, products: list[Tensor], step: int) -> list[Tensor]:
        """Return the mixing coefficients of each parameter; all parameters of a scope share theirs."""

        def rule(gram: Tensor) -> Tensor:
            if self.config.method == "pcgrad":
                return harmonization.pcgrad(gram, self._orders(count, step))
            if self.config.method == "project":
                return harmonization.project(gram, self._orders(count, step))
            return harmonization.cosine_penalty(gram)

        if self.config.method == "l2":
            return [self._ready(harmonization.l2_penalty(count))] * len(self.names)
        if self.config.scope == "global":
            return [self._ready(rule(_total(products)))] * len(self.names)
        by_layer = {layer: self._ready(rule(gram)) for layer, gram in self._by_layer(products).items()}
        return [by_layer[layer] for layer in self.layers]

    def _ready(self, coefficients: Tensor) -> Tensor:
        """Return coefficients in the precision and on the device of the parameters, once for all of a scope."""
        return coefficients.to(next(self.start.buffers()))

    def _orders(self, count: int, step: int) -> list[list[int]]:
        rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([self.seed, step])))
        return [[int(j) for j in rng.permutation(count) if j != i] for i in range(count)]

    def _change_updates(self, columns: Columns, step: int) -> tuple[list[Tensor], list[Tensor]]:
        """Change the updates since the last harmonized step; return the Gram matrices before and after."""
        anchors = list(zip(*(one.buffers() for one in self.anchors), strict=True))
        # Taken twice, so that only one parameter's updates are in memory.
        before = [harmonization.gram(_updates(*pair)) for pair in zip(columns, anchors, strict=True)]
        projects, after = self.config.method == "project", list[Tensor]()
        scopes = self._coefficients(len(columns[0]), before, step) if projects else [None] * len(columns)
        for column, own, scope in zip(columns, anchors, scopes, strict=True):
            updates = _updates(column, own)
            if scope is None:
                changed = harmonization.sign_consensus(updates, self.config.minority_scale)
            else:
                changed = harmonization.combine(updates, scope)
            for parameter, anchor, update in zip(column, own, changed, strict=True):
                parameter.copy_(anchor.add_(update))
            after.append(harmonization.gram(changed))
        return before, after

    def _by_layer(self, products: Sequence[Tensor]) -> dict[str, Tensor]:
        layers: dict[str, list[Tensor]] = {}
        for layer, gram in zip(self.layers, products, strict=True):
            layers.setdefault(layer, []).append(gram)
        return {layer: _total(grams) for layer, grams in layers.items()}

    def _report(self, learners: Mapping[str, Learner], before: Sequence[Tensor], after: Sequence[Tensor]) -> Measured:
        names = list(learners)
        return self._cosines("cosine/before", names, before) | self._cosines("cosine/after", names, after)

    def _cosines(self, title: str, sources: list[str], products: Sequence[Tensor]) -> Measured:
        values: Measured = {}
        for layer, gram in {"": _total(products), **self._by_layer(products)}.items():
            table = harmonization.cosines(gram)
            for i, j in combinations(range(len(sources)), 2):
                values[MetricKey(title, f"{sources[i]}|{sources[j]}", layer)] = table[i, j]
        return values


class _Buffers(nn.Module):
    """Copies of tensors as buffers, by number: names of parameters have dots, which buffers cannot have."""

    def __init__(self, tensors: Iterable[Tensor], persistent: bool) -> None:
        super().__init__()
        for number, tensor in enumerate(tensors):
            self.register_buffer(str(number), tensor.detach().clone(), persistent=persistent)


@torch.no_grad()
def pull_together(
    columns: Columns, gradients: Sequence[Sequence[Tensor]], starts: Sequence[Tensor], weight: float
) -> None:
    """Add the l2 penalty's gradient with a few operations on all parameters at once, which is what GPUs are fast at.

    Args:
        columns: For every parameter name, that parameter of all learners.
        gradients: Their gradients, likewise.
        starts: Where the learners started.
        weight: Weight of the penalty.
    """
    models = [list(parameters) for parameters in zip(*columns, strict=True)]
    moved = [torch._foreach_sub(parameters, list(starts)) for parameters in models]
    mean = [tensor.clone() for tensor in moved[0]]
    for other in moved[1:]:
        torch._foreach_add_(mean, other)
    torch._foreach_div_(mean, len(models))
    for parameters, pulls, own in zip(models, moved, zip(*gradients, strict=True), strict=True):
        torch._foreach_sub_(pulls, mean)
        torch._foreach_add_(list(own), pulls, alpha=weight)
        for parameter, gradient in zip(parameters, own, strict=True):
            parameter.grad = gradient


def _updates(column: Sequence[Tensor], anchors: Sequence[Tensor]) -> list[Tensor]:
    return [parameter - anchor for parameter, anchor in zip(column, anchors, strict=True)]


def _grams(vectors: Iterable[Sequence[Tensor]]) -> list[Tensor]:
    return [harmonization.gram(column) for column in vectors]


def _total(grams: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(grams)).sum(dim=0)


def _gradient(parameter: Tensor) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
