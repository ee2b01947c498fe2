"""One merge: checked when it is made, run tensor by tensor, handing each result out as soon as it is there."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property

import torch
from torch import Tensor

from hamdg.errors import Argument, ConfigError, WeightsError
from hamdg.merge.buffers import BufferShares, is_buffer, merge_buffers
from hamdg.merge.compatibility import check_models
from hamdg.merge.evidence import check_evidence
from hamdg.merge.layer_scaling import layer_scales
from hamdg.merge.lora.adapter import check_no_factors
from hamdg.merge.method_info import MergePlan
from hamdg.merge.model_set import ModelSet, Rule, TensorSet, one_thread_each
from hamdg.merge.registry import check_options, get_method
from hamdg.merge.settings import MergeSettings
from hamdg.merge.tensor_checks import BASE, TensorCheck, check_buffer, check_finite, check_tensor, warn_of_far_base
from hamdg.merge.tensors import Tensors, differ, dtype_name, is_finite, rounded, tied_names, unless_narrow
from hamdg.merge.validate import check_kinds, check_settings, check_shares, check_weights

Write = Callable[[str, Tensor], None]


class Merge:
    """A merge that was checked and can be run.

    Args:
        method: Name of a registered method.
        models: Tensors of every source.
        base: The common start.
        options: The method's own options.
        settings: What holds for every method.

    Raises:
        ConfigError: The method, an option or a setting is unknown or wrong.
        WeightsError: The models do not fit together.
    """

    def __init__(
        self,
        method: str,
        models: Mapping[str, Tensors],
        base: Tensors | None,
        options: Mapping[str, object],
        settings: MergeSettings,
    ) -> None:
        named = get_method(method)
        check_options(named, options)
        self.info, self.options = named.resolved(options)
        self.settings = settings
        check_settings(settings)
        check_kinds(models, base)
        self.models = {name: _held(models[name]) for name in sorted(models)}
        check_no_factors(self.models)
        check_models(self.models, base, settings.dtype)
        check_weights(settings.weights, models, self.info.weights, method)
        if settings.weights is not None:
            # Numbers of other libraries are numbers, too.
            self.settings = replace(settings, weights={s: float(weight) for s, weight in settings.weights.items()})
        check_evidence(method, self.info.needs, settings.evidence)
        self.base = None if base is None else _held(base)
        if base is None and (self.info.needs_base or settings.lines is not None):
            what = f"Merge method `{method}`" if self.info.needs_base else Argument("lines", "The setting ")
            raise ConfigError(what, " works on the change from a start model; give it as ", Argument("base"), ".")
        self.like = next(iter(self.models.values())) if self.base is None else self.base
        everything = (*self.models.values(), *(() if self.base is None else (self.base,)))
        self.aliases = tied_names(everything)
        own = [name for name in self.like if name not in self.aliases]
        self._buffers = tuple(name for name in own if is_buffer(name, self.like[name]))
        self._floats = tuple(name for name in own if name not in set(self._buffers))

    @property
    def layout(self) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
        """Shape and dtype of every tensor of the result."""
        return {name: (tuple(tensor.shape), self._dtype(tensor)) for name, tensor in self.like.items()}

    @torch.no_grad()
    def run(self, write: Write) -> None:
        """Merge, and hand every tensor to `write`, in no particular order and from several threads.

        Args:
            write: Takes a name and a tensor, which may be an input's memory: copy it.

        Raises:
            WeightsError: A value is NaN or infinite, or becomes so.
        """
        # Before torch's own number of threads becomes one.
        model_set = self._model_set()
        with one_thread_each():
            checks, plan = self._planned(model_set)

            def job(tensor_set: TensorSet) -> TensorCheck:
                check = checks.get(tensor_set.name) or self._check(tensor_set)
                if check.faults and not self.settings.allow_nonfinite:
                    return check
                result = self._result(tensor_set, plan.rule, check)
                if not self._all_finite(result):
                    return self._diagnose(tensor_set, plan.rule)
                write(tensor_set.name, result)
                return check

            found = model_set.map(job)
            if not checks:
                self._report(found)
            for name, tensor in self._merged_buffers(plan).items():
                write(name, tensor)

    @property
    def _changes(self) -> bool:
        return self.info.on == "changes"

    @property
    def _anchored(self) -> bool:
        """Whether the result depends on the base."""
        return self.base is not None and (self.info.uses_base or self.settings.lines is not None)

    def _model_set(self) -> ModelSet:
        # On an accelerator one stream does all the work.
        threads = (self.settings.threads or torch.get_num_threads()) if self.settings.device == "cpu" else 1
        return ModelSet(
            self.models,
            self.base,
            names=self._floats,
            changes=self._changes,
            weights=self.settings.weights,
            evidence=self.settings.evidence,
            dtype=torch.float64 if self.settings.precision == "fp64" else None,
            device=self.settings.device,
            threads=threads,
        )

    def _planned(self, model_set: ModelSet) -> tuple[dict[str, TensorCheck], MergePlan]:
        """Let the method see what it has to see; one that merges every tensor by itself needs no first pass."""
        checks: dict[str, TensorCheck] = {}
        if not self.info.local:
            checks = model_set.map(self._check)
            self._report(checks)
            model_set = model_set.only(tuple(name for name in model_set.names if checks[name].moves))
            model_set.complete = lambda rule, sources=None: self._complete(model_set, checks, _as_plan(rule, sources))
            model_set.merged, model_set.aliases = self._other, self.aliases
        plan = self.info.plan(model_set, **self.options)
        return checks, _as_plan(plan)

    def _complete(self, model_set: ModelSet, checks: Mapping[str, TensorCheck], plan: MergePlan) -> dict[str, Tensor]:
        """Return the complete model that a plan gives."""

        def part(tensor_set: TensorSet) -> Tensor:
            result = self._result(tensor_set, plan.rule, checks[tensor_set.name])
            if not self._all_finite(result):
                self._diagnose(tensor_set, plan.rule)
            return result

        parts = model_set.only(self._floats).map(part)
        return self.tie(parts | self._merged_buffers(plan))

    def _other(
        self, method: str, options: Mapping[str, object], sources: Sequence[str], copies: bool
    ) -> dict[str, Tensor]:
        """Return what another method makes of some of the sources, or of as many copies of one model."""
        if self.settings.lines is not None:
            raise ConfigError(
                f"Merge method `{self.info.name}` makes whole models, which ",
                Argument("lines"),
                " cannot scale layer by layer; leave it out.",
            )
        models = {source: self.like if copies else self.models[source] for source in sources}
        merged: dict[str, Tensor] = {}
        Merge(method, models, self.base, options, replace(self.settings, evidence=None)).run(merged.__setitem__)
        return {name: merged[self.aliases.get(name, name)] for name in self.like}

    def tie(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return tensors in the order of the result, with tied ones tied again."""
        return {name: tensors[self.aliases.get(name, name)] for name in self.like}

    def _result(self, tensor_set: TensorSet, rule: Rule, check: TensorCheck) -> Tensor:
        like = self.like[tensor_set.name]
        if not check.moves:
            frozen = self.base if self.base is not None and self._anchored else next(iter(self.models.values()))
            return rounded(frozen[tensor_set.name].detach(), self._dtype(like))
        return rounded(self._merged(tensor_set, rule), self._dtype(like)).reshape(like.shape)

    def _merged(self, tensor_set: TensorSet, rule: Rule) -> Tensor:
        """Return what a rule makes of a tensor, in the precision that is computed in."""
        merged = self._checked(rule(tensor_set), tensor_set)
        if tensor_set.base is not None and (self._changes or self.settings.lines is not None):
            change = merged if self._changes else merged - tensor_set.base
            merged = tensor_set.base + change * self._scales.get(tensor_set.name, 1.0)
        return merged

    def _check(self, tensor_set: TensorSet) -> TensorCheck:
        """Check a tensor of all models, for differences alone where the result shows non-finite values."""
        if not self.info.linear or self._anchored or len(self._weighted_sources) < len(self.models):
            return check_tensor(tensor_set, self._changes, self._anchored)
        return TensorCheck(differ([model[tensor_set.name] for model in self.models.values()]))

    def _all_finite(self, result: Tensor) -> bool:
        return self.settings.allow_nonfinite or is_finite(result)

    def _diagnose(self, tensor_set: TensorSet, rule: Rule) -> TensorCheck:
        """Return which models make a result non-finite.

        Raises:
            WeightsError: None is: what is computed in, or the result's dtype, cannot hold it.
        """
        check = check_tensor(tensor_set, self._changes, self._anchored)
        if not check.faults:
            self._check_base(tensor_set.name)
            raise self._overflow(tensor_set, self._merged(tensor_set, rule))
        return check

    def _check_base(self, name: str) -> None:
        """Raise a `WeightsError` for non-finite values in a tensor of the base, which some options alone look at."""
        if self.base is not None:
            check_finite({name: check_buffer({BASE: self.base}, name)})

    def _overflow(self, tensor_set: TensorSet, merged: Tensor) -> WeightsError:
        if merged.dtype != torch.float64 and not is_finite(merged):
            return WeightsError(
                f"The merged tensor `{tensor_set.name}` overflows fp32 while it is computed; set ",
                Argument("precision"),
                " to `fp64`, or scale the change down.",
            )
        return self._too_large(tensor_set.name, "scale the change down.")

    def _too_large(self, name: str, otherwise: str) -> WeightsError:
        dtype = self._dtype(self.like[name])
        wider = "float32" if dtype.itemsize < 4 else "float64"
        how = () if dtype == torch.float64 else ("name a wider ", Argument("dtype"), f" ({wider}), or ")
        what = f"The merged tensor `{name}` holds values that {dtype_name(dtype)} cannot hold; "
        return WeightsError(what, *how, otherwise)

    def _checked(self, merged: object, tensor_set: TensorSet) -> Tensor:
        if isinstance(merged, Tensor) and merged.numel() == tensor_set.like.numel():
            return merged
        what = f"the shape {tuple(merged.shape)}" if isinstance(merged, Tensor) else f"a `{type(merged).__name__}`"
        raise ConfigError(
            f"Merge method `{self.info.name}` gave {what} for `{tensor_set.name}`; expected is a tensor of the shape "
            f"{tuple(tensor_set.like.shape)}."
        )

    @property
    def _weighted_sources(self) -> tuple[str, ...]:
        """The sources that have a weight; all of them if none has."""
        weights = self.settings.weights or {}
        return tuple(source for source in self.models if weights.get(source, 1.0)) or tuple(self.models)

    @cached_property
    def _scales(self) -> dict[str, float]:
        return {} if self.settings.lines is None else layer_scales(self._floats, *self.settings.lines)

    def _merged_buffers(self, plan: MergePlan) -> dict[str, Tensor]:
        if not self.settings.allow_nonfinite:
            models = {f"`{source}`": model for source, model in self.models.items()}
            check_finite({name: check_buffer(models, name) for name in self._buffers})
        merged = merge_buffers(
            plan.models or self.models,
            self.base,
            self._buffers,
            self.settings.buffers,
            self._buffer_shares(plan),
            cumulative=self.info.trajectory,
            factors=self._buffer_scales,
        )
        return {name: self._rounded_buffer(name, tensor) for name, tensor in merged.items()}

    def _rounded_buffer(self, name: str, merged: Tensor) -> Tensor:
        """Return a merged buffer in the dtype of the result.

        Raises:
            WeightsError: A value of it is not finite, as in the base, or the dtype cannot hold it.
        """
        result = rounded(merged, self._dtype(self.like[name]))
        if result.is_floating_point() and not self._all_finite(result):
            self._check_base(name)
            raise self._too_large(name, "leave out the model whose statistics are so large.")
        return result

    def _buffer_shares(self, plan: MergePlan) -> BufferShares:
        given = self.settings.weights or {}
        weights = {source: given.get(source, 1.0) for source in self.models if source in (plan.sources or self.models)}
        shares = plan.buffers or self.info.buffer_shares(weights, self.options, self.base is not None)
        check_shares(self.info.name, shares, self.models)
        return shares

    @cached_property
    def _buffer_scales(self) -> dict[str, float]:
        if self.settings.lines is None:
            return {}
        # With the tensors of their layers, which say how deep they lie.
        return layer_scales((*self._floats, *self._buffers), *self.settings.lines)

    def _dtype(self, tensor: Tensor) -> torch.dtype:
        return self.settings.dtype or unless_narrow(tensor.dtype) if tensor.is_floating_point() else tensor.dtype

    def _report(self, checks: Mapping[str, TensorCheck]) -> None:
        if not self.settings.allow_nonfinite:
            check_finite(checks)
        if self._anchored:
            warn_of_far_base(checks)


def _as_plan(rule: Rule | MergePlan, sources: tuple[str, ...] | None = None) -> MergePlan:
    return rule if isinstance(rule, MergePlan) else MergePlan(rule, sources)


def _held(model: Tensors) -> Tensors:
    """Return a plain dictionary's copy, which no other code can change; what reads lazily stays as it is."""
    return dict(model) if type(model) in (dict, OrderedDict) else model
