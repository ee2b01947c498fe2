"""The door of the library: checks what comes in, calls a method, and restores names, dtypes and frozen tensors."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from hamdg.errors import ConfigError, WeightsError
from hamdg.merge.geometry import task_vectors
from hamdg.merge.registry import check_options, find

Tensors = Mapping[str, Tensor]


@torch.no_grad()
def merge(
    method: str, models: Mapping[str, Tensors], base: Tensors | None = None, **options: object
) -> dict[str, Tensor]:
    """Merge models of one architecture into one.

    Sources are sorted by name first, so the order of the mapping never matters. Arithmetic runs in fp32 (fp64 where an
    input is). Integer and boolean tensors come from the base (without one, from the first source); so do tensors that
    nothing changed, bit by bit. Inputs are never modified and never shared with the result.

    Args:
        method: Name of a registered method.
        models: Tensors of every source by the source's name.
        base: The common start; its order of keys and its dtypes are the result's (without one, the first source's).
        options: The method's own options.

    Returns:
        The merged tensors.

    Raises:
        ConfigError: The method or an option is unknown or wrong, there is no model, or the method needs a base.
        WeightsError: Keys, shapes or kinds of tensors differ, or a value is NaN or infinite.
    """
    info = find(method)
    check_options(info, options)
    sources = {name: models[name] for name in sorted(models)}
    if not sources:
        raise ConfigError("Expected argument `models` to hold at least one model, but got none.")
    if info.needs_base and base is None:
        raise ConfigError(f"Merge method `{method}` works on the change from a start model; give it as `base`.")
    _check_tensors(sources, base)
    like = next(iter(sources.values())) if base is None else base
    start = base if info.needs_base else None
    moving = [name for name in like if _moves(name, sources, start)]
    inputs = {source: _widened(tensors, moving) for source, tensors in sources.items()}
    origin = None if base is None else _widened(base, moving)
    if info.needs_base and origin is not None:
        update = info.function(task_vectors(inputs, origin), origin, **options)
        merged = {name: origin[name] + update[name] for name in moving}
    else:
        merged = info.function(inputs, origin, **options)
    fixed = next(iter(sources.values())) if start is None else start
    return {
        name: merged[name].to(tensor.dtype) if name in merged else _kept(tensor, fixed[name])
        for name, tensor in like.items()
    }


def _kept(like: Tensor, fixed: Tensor) -> Tensor:
    source = fixed if like.is_floating_point() else like
    return source.detach().to(like.dtype).clone()


def _moves(name: str, sources: Mapping[str, Tensors], base: Tensors | None) -> bool:
    """Say whether a tensor takes part: only floating-point tensors that differ somewhere do.

    Equal tensors are left out because a mean of equal numbers is not always that number in floating point, and because
    frozen tensors must not count towards a share of all coordinates.
    """
    tensors = [model[name] for model in (*sources.values(), *(() if base is None else (base,)))]
    return tensors[0].is_floating_point() and not all(torch.equal(tensors[0], other) for other in tensors[1:])


def _widened(tensors: Tensors, names: list[str]) -> dict[str, Tensor]:
    return {name: tensors[name].detach().to(torch.promote_types(tensors[name].dtype, torch.float32)) for name in names}


def _check_tensors(sources: Mapping[str, Tensors], base: Tensors | None) -> None:
    models = {} if base is None else {"the base": base}
    models |= {f"`{name}`": tensors for name, tensors in sources.items()}
    _check_keys(models)
    _check_shapes(models)
    _check_finite(models)


def _check_keys(models: Mapping[str, Tensors]) -> None:
    union = sorted({name for tensors in models.values() for name in tensors})
    lacking = {model: [name for name in union if name not in tensors] for model, tensors in models.items()}
    parts = [f"{model} lacks " + ", ".join(f"`{n}`" for n in names) for model, names in lacking.items() if names]
    if parts:
        raise WeightsError(f"The models hold different tensors: {'; '.join(parts)}. Merge models of one architecture.")


def _check_shapes(models: Mapping[str, Tensors]) -> None:
    (first, reference), *others = models.items()
    parts = []
    for model, tensors in others:
        wrong = [name for name in reference if _signature(tensors[name]) != _signature(reference[name])]
        if wrong:
            found = ", ".join(f"`{n}` is {_signature(tensors[n])}, not {_signature(reference[n])}" for n in wrong)
            parts.append(f"in {model} {found}")
    if parts:
        raise WeightsError(
            f"Tensors differ from those of {first}: {'; '.join(parts)}. Merge models of one architecture."
        )


def _signature(tensor: Tensor) -> str:
    kind = "floating-point" if tensor.is_floating_point() else str(tensor.dtype).removeprefix("torch.")
    return f"{kind} {tuple(tensor.shape)}"


def _check_finite(models: Mapping[str, Tensors]) -> None:
    for model, tensors in models.items():
        for name, tensor in tensors.items():
            if tensor.is_floating_point() and not torch.isfinite(tensor).all():
                kind = "NaN" if torch.isnan(tensor).any() else "infinite values"
                raise WeightsError(f"Tensor `{name}` of {model} holds {kind}; leave that model out or train it again.")
