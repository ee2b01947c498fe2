"""Applies harmonization to a cohort's gradients or updates, and measures how well the directions agree."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from hamdg.algorithms.ham import harmonization
from hamdg.config.algorithms.ham import HarmonizationConfig
from hamdg.tracking.rows import measure

Parameters = Mapping[str, Mapping[str, Tensor]]
"""By source, then by parameter name; all sources have the same parameters."""


class Harmonizer:
    """Brings the update directions of all models together, at every `config.every`-th step.

    Args:
        config: Which rule, how often, for the whole model or for each layer.
        start: The parameters that all models start from, by name.
        layer_of: Gives the layer of a parameter name.
        seed: Seeds the order in which PCGrad visits the other models.
    """

    def __init__(
        self, config: HarmonizationConfig, start: Mapping[str, Tensor], layer_of: Callable[[str], str], seed: int
    ) -> None:
        self.config = config
        self.start = {name: tensor.detach().clone() for name, tensor in start.items()}
        self.layers = {name: layer_of(name) for name in start}
        self.seed = seed
        self.anchor: dict[str, dict[str, Tensor]] = {}

    def before_update(self, models: Parameters, step: int, measured: bool) -> dict[str, float]:
        """Change the gradients of all models in place, before the optimizer reads them.

        Args:
            models: The parameters (with gradients) of all models.
            step: Number of the step, from 0.
            measured: Whether cosines are wanted.

        Returns:
            The pairwise cosines before and after, where wanted.
        """
        if len(models) < 2:
            return {}
        self._follow(models)
        if self.config.method == "sign_consensus":
            if not self.anchor:
                self.anchor = _copies(models)
            return {}
        due = self._due(step) and self.config.method != "none"
        if not due and not measured:
            return {}
        gradients = {name: [_gradient(model[name]) for model in models.values()] for name in self.start}
        before = self._grams(gradients) if measured or self.config.method == "pcgrad" else {}
        if due:
            for name, coefficients in self._coefficients(models, before, step).items():
                self._apply(models, name, gradients[name], coefficients)
        if not measured:
            return {}
        after = self._grams({name: [_gradient(model[name]) for model in models.values()] for name in self.start})
        return self._report(models, before, after)

    def after_update(self, models: Parameters, step: int, measured: bool) -> dict[str, float]:
        """Change the parameters of all models in place, after the optimizer moved them (`sign_consensus`).

        Args and returns as `before_update`.
        """
        if len(models) < 2 or self.config.method != "sign_consensus" or not self._due(step):
            return {}
        before: dict[str, Tensor] = {}
        after: dict[str, Tensor] = {}
        with torch.no_grad():
            for name in self.start:
                updates = [models[source][name] - self.anchor[source][name] for source in models]
                agreed = harmonization.sign_consensus(updates, self.config.minority_scale)
                for source, update in zip(models, agreed, strict=True):
                    models[source][name].copy_(self.anchor[source][name].add_(update))
                if measured:
                    before[name], after[name] = harmonization.gram(updates), harmonization.gram(agreed)
        return self._report(models, before, after) if measured else {}

    def measure_displacements(self, models: Parameters) -> dict[str, float]:
        """Return the pairwise cosines of the models' displacements from the start, whole and by layer."""
        moved = {
            name: [model[name].detach() - start for model in models.values()] for name, start in self.start.items()
        }
        return self._cosines("cosine/history", list(models), self._grams(moved))

    def state_dict(self) -> dict[str, dict[str, Tensor]]:
        """Return what a resumed run needs: the parameters that updates are counted from."""
        return self.anchor

    def load_state_dict(self, state: dict[str, dict[str, Tensor]]) -> None:
        """Take over a saved state."""
        self.anchor = state

    def _follow(self, models: Parameters) -> None:
        """Bring the own tensors to the device that the Trainer put the models on; a resumed anchor is on the CPU."""
        device = next(iter(next(iter(models.values())).values())).device
        if next(iter(self.start.values())).device != device:
            self.start = {name: tensor.to(device) for name, tensor in self.start.items()}
        for source, tensors in self.anchor.items():
            self.anchor[source] = {name: tensor.to(device) for name, tensor in tensors.items()}

    def _due(self, step: int) -> bool:
        return (step + 1) % self.config.every == 0

    def _grams(self, vectors: Mapping[str, list[Tensor]]) -> dict[str, Tensor]:
        return {name: harmonization.gram(stack) for name, stack in vectors.items()}

    def _coefficients(self, models: Parameters, gradients: Mapping[str, Tensor], step: int) -> dict[str, Tensor]:
        """Return the mixing coefficients of each parameter; all parameters of a scope share theirs."""
        method, count = self.config.method, len(models)
        if method == "l2":
            return dict.fromkeys(self.start, harmonization.l2_penalty(count))
        products = dict(gradients)
        if method == "cosine":
            products = self._grams(
                {name: [m[name].detach() - start for m in models.values()] for name, start in self.start.items()}
            )
        rule: Callable[[Tensor], Tensor] = harmonization.cosine_penalty
        if method == "pcgrad":
            rule = partial(harmonization.pcgrad, orders=self._orders(count, step))
        if self.config.scope == "global":
            return dict.fromkeys(self.start, rule(_total(products.values())))
        by_layer = {layer: rule(gram) for layer, gram in self._by_layer(products).items()}
        return {name: by_layer[self.layers[name]] for name in self.start}

    def _orders(self, count: int, step: int) -> list[list[int]]:
        rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([self.seed, step])))
        return [[int(j) for j in rng.permutation(count) if j != i] for i in range(count)]

    def _apply(self, models: Parameters, name: str, gradients: list[Tensor], coefficients: Tensor) -> None:
        if self.config.method == "pcgrad":
            mixed = harmonization.combine(gradients, coefficients)
        else:
            moved = [model[name].detach() - self.start[name] for model in models.values()]
            pulls = harmonization.combine(moved, coefficients)
            mixed = [g + self.config.weight * pull for g, pull in zip(gradients, pulls, strict=True)]
        for model, gradient in zip(models.values(), mixed, strict=True):
            model[name].grad = gradient

    def _by_layer(self, products: Mapping[str, Tensor]) -> dict[str, Tensor]:
        layers: dict[str, list[Tensor]] = {}
        for name, gram in products.items():
            layers.setdefault(self.layers[name], []).append(gram)
        return {layer: _total(grams) for layer, grams in layers.items()}

    def _report(
        self, models: Parameters, before: Mapping[str, Tensor], after: Mapping[str, Tensor]
    ) -> dict[str, float]:
        sources = list(models)
        return self._cosines("cosine/before", sources, before) | self._cosines("cosine/after", sources, after)

    def _cosines(self, title: str, sources: list[str], products: Mapping[str, Tensor]) -> dict[str, float]:
        values: dict[str, float] = {}
        for layer, gram in {"": _total(products.values()), **self._by_layer(products)}.items():
            table = harmonization.cosines(gram)
            for i, j in combinations(range(len(sources)), 2):
                values[measure(title, f"{sources[i]}|{sources[j]}", layer)] = float(table[i, j])
        return values


def _total(grams: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(grams)).sum(dim=0)


def _gradient(parameter: Tensor) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


def _copies(models: Parameters) -> dict[str, dict[str, Tensor]]:
    return {source: {name: p.detach().clone() for name, p in model.items()} for source, model in models.items()}
