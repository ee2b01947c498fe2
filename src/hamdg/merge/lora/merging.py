"""Merging of adapters of low rank: of the changes that they make, for the mean of factors is not a mean of changes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce

import torch
from torch import Tensor

from hamdg.errors import Argument, ConfigError, WeightsError, unexpected
from hamdg.merge.lora.adapter import ALPHA, Adapter, Layout
from hamdg.merge.merging import Merge
from hamdg.merge.registry import get_method
from hamdg.merge.settings import MergeSettings
from hamdg.merge.tensors import dtype_name, is_finite, promoted, rounded, unless_narrow
from hamdg.text import listed

# A residue of this share of the norm is rounding of single precision.
_ROUNDING = 1e-5
_WEIGHT = ".weight"
_LISTED = 4


@dataclass(frozen=True)
class MergedAdapter:
    """What a merge of adapters gives.

    Args:
        layout: How the tensors are called.
        tensors: Factors of the merged change, whose scale is 1 (alpha is the rank), and merged whole tensors.
        rank: Their rank, the same in all modules.
        lost: What the rank cut off, as a share of the change's norm, by module.
        error: The same over all modules together.
    """

    layout: Layout
    tensors: dict[str, Tensor]
    rank: int
    lost: dict[str, float]
    error: float


def merge_adapters(
    method: str,
    adapters: Mapping[str, Adapter],
    options: Mapping[str, object] | None = None,
    settings: MergeSettings | None = None,
    rank: int | None = None,
) -> MergedAdapter:
    """Merge adapters by merging the changes scale up @ down that they make to weights, and factoring the result.

    The change of a module is a plain tensor of the weight's shape, so any method can merge it; methods that work on
    changes from a base need none, as the products are changes already. The result is factored by a singular value
    decomposition, cut off at the rank: the nearest adapter of that rank. For averages the sum of the sources' ranks is
    exact. A module that an adapter does not touch has a change of zero there.

    Args:
        method: Name of a registered method that asks for no data.
        adapters: The adapters by source.
        options: The method's own options.
        settings: What holds for every method.
        rank: Rank of the result; by default the sum of the sources' ranks.

    Raises:
        ConfigError: The method cannot merge adapters, or an option, a setting or the rank is wrong.
        WeightsError: The adapters do not fit together.
    """
    settings, adapters = settings or MergeSettings(), dict(sorted(adapters.items()))
    _check_layouts(adapters)
    modules = tuple(sorted({module for adapter in adapters.values() for module in adapter.pairs}))
    owners = {m: [adapter for adapter in adapters.values() if m in adapter.pairs] for m in modules}
    full = max(sum(adapter.rank(m) for adapter in owners[m]) for m in modules)
    rank = full if rank is None else rank
    if isinstance(rank, bool) or not isinstance(rank, int) or rank < 1:
        raise unexpected("lora_rank", "an integer of at least 1", repr(rank))
    _check_shapes(adapters, modules)
    shapes = {m + _WEIGHT: owners[m][0].shape(m) for m in modules}
    changes = {source: _Changes(adapter, shapes) for source, adapter in adapters.items()}
    base = _Zeros(shapes) if _needs_base(method, adapters, settings) else None
    # Changes are factored in double precision; what is asked for is the dtype of the factors, and of whole tensors.
    wide = None if settings.dtype is None else torch.float64
    job = Merge(method, changes, base, options or {}, replace(settings, dtype=wide))
    for own in changes.values():
        own.multiplied = True
    result = _Result(owners, rank, settings.dtype, settings.dtype or _widest(adapters), job.aliases)
    job.run(result.take)
    return result.merged()


def factored(change: Tensor, sources: list[tuple[Tensor, Tensor]], rank: int) -> tuple[Tensor, Tensor, float, float]:
    """Return factors of a rank whose product is nearest to a change, what they miss of it, and its norm.

    Args:
        change: The change; all axes but the first are inputs.
        sources: The factors of the sources, up and down. A change that lies in their span is decomposed there, which is
            as exact and much faster.
        rank: The rank; where the change has less, the factors are filled up with zeros.

    Raises:
        WeightsError: The change holds non-finite values.
    """
    matrix = change.flatten(1).double()
    length = float(torch.linalg.vector_norm(matrix))
    if not math.isfinite(length):
        raise WeightsError(
            "A change with non-finite values has no factors; leave out ", Argument("allow_nonfinite"), "."
        )
    left = torch.linalg.qr(torch.cat([up.double() for up, _ in sources], 1)).Q
    right = torch.linalg.qr(torch.cat([down.double().mT for _, down in sources], 1)).Q
    core = left.mT @ matrix @ right
    outside = float(torch.linalg.vector_norm(matrix - left @ core @ right.mT))
    if outside <= _ROUNDING * length:
        directions = left @ torch.linalg.svd(core, full_matrices=False).U
    elif len(matrix) <= matrix.shape[1]:
        directions = _leading(matrix)
    else:
        # Of a tall matrix the right directions are the smaller problem.
        down, up, cut, _ = factored(matrix.mT, [(down.mT, up.mT) for up, down in sources], rank)
        return up.mT, down.mT, cut, length
    directions = directions[:, :rank]
    # What lies along the strongest directions; row j is the singular value times the right vector.
    rows = directions.mT @ matrix
    # Both factors get the same share of the size, so that neither leaves the range of half precision.
    roots = torch.linalg.vector_norm(rows, dim=1).sqrt()
    up, down = matrix.new_zeros(len(matrix), rank), matrix.new_zeros(rank, matrix.shape[1])
    up[:, : len(roots)], down[: len(roots)] = directions * roots, rows / roots.masked_fill(roots == 0, 1.0)[:, None]
    return up, down, float(torch.linalg.vector_norm(matrix - directions @ rows)), length


def _leading(matrix: Tensor) -> Tensor:
    """Return the left singular vectors of a wide matrix, the strongest first: a fifth of the time that an SVD takes.

    In double precision this is exact enough for what was computed in single precision.
    """
    vectors: Tensor = torch.linalg.eigh(matrix @ matrix.mT).eigenvectors
    return vectors.flip(1)


class _Result:
    """The merged adapter in the making; tensors come in from several threads.

    Args:
        owners: The adapters that touch a module.
        rank: The rank of the result.
        asked: The dtype that was asked for.
        dtype: The dtype of its factors.
        aliases: Names of equal tensors, which are merged once.
    """

    def __init__(
        self,
        owners: Mapping[str, list[Adapter]],
        rank: int,
        asked: torch.dtype | None,
        dtype: torch.dtype,
        aliases: Mapping[str, str],
    ) -> None:
        self._owners, self._rank, self._asked, self._dtype, self._aliases = owners, rank, asked, dtype, aliases
        self._tensors: dict[str, Tensor] = {}
        self._lost: dict[str, tuple[float, float]] = {}

    def take(self, name: str, tensor: Tensor) -> None:
        """Take a merged tensor in, factored if it is the change of a module."""
        for own in (name, *(alias for alias, first in self._aliases.items() if first == name)):
            module = own.removesuffix(_WEIGHT)
            if module in self._owners and own.endswith(_WEIGHT):
                self._factor(module, tensor)
            else:
                self._tensors[own] = self._whole(own, tensor)

    def merged(self) -> MergedAdapter:
        """Return the whole adapter."""
        lost = {module: (cut / length if length else 0.0) for module, (cut, length) in sorted(self._lost.items())}
        cut, length = (math.sqrt(math.fsum(x**2 for x in column)) for column in zip(*self._lost.values(), strict=True))
        layout = next(iter(self._owners.values()))[0].layout
        tensors = dict(sorted(self._tensors.items()))
        return MergedAdapter(layout, tensors, self._rank, lost, cut / length if length else 0.0)

    def _factor(self, module: str, change: Tensor) -> None:
        owners = self._owners[module]
        up, down, cut, length = factored(change, [adapter.factors(module) for adapter in owners], self._rank)
        self._lost[module] = cut, length
        kernel = owners[0].shape(module)[1:]
        down = self._narrowed(module, down).view(self._rank, *kernel)
        up = self._narrowed(module, up).view(*up.shape, *(1 for _ in kernel[1:]))
        if owners[0].layout == "kohya":
            self._tensors[f"{module}.lora_down.weight"], self._tensors[f"{module}.lora_up.weight"] = down, up
            self._tensors[f"{module}.{ALPHA}"] = torch.tensor(float(self._rank))
        else:
            kind, end = ("embedding_", "") if owners[0].pairs[module].embedding else ("", _WEIGHT)
            self._tensors[f"{module}.lora_{kind}A{end}"], self._tensors[f"{module}.lora_{kind}B{end}"] = down, up

    def _whole(self, name: str, tensor: Tensor) -> Tensor:
        """Return a tensor beside the factors as a copy, in the dtype that was asked for."""
        if self._asked is None or not tensor.is_floating_point():
            return tensor.clone()
        result = rounded(tensor, self._asked).clone()
        if is_finite(tensor) and not is_finite(result):
            raise _too_wide(f"The merged tensor `{name}` holds", self._asked)
        return result

    def _narrowed(self, module: str, factor: Tensor) -> Tensor:
        result = rounded(factor, self._dtype)
        if not is_finite(result):
            raise _too_wide(f"The merged factors of `{module}` hold", self._dtype)
        return result


def _too_wide(subject: str, dtype: torch.dtype) -> WeightsError:
    what = f"{subject} values that {dtype_name(dtype)} cannot hold; name a wider "
    return WeightsError(what, Argument("dtype"), " (float32), or scale the change down.")


class _Changes(Mapping[str, Tensor]):
    """The changes that an adapter makes, each multiplied out when it is asked for, and its whole tensors.

    Args:
        adapter: The adapter.
        shapes: Shapes of the weights of all modules; those that this adapter does not touch change by nothing.
    """

    def __init__(self, adapter: Adapter, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self._adapter, self._shapes = adapter, shapes
        # Before the merge, models are checked for shapes and dtypes many times, for which nothing is multiplied. The
        # values that stand for a change meanwhile differ by name, so that no two are taken for tied tensors.
        self.multiplied = False
        self._unknown = {name: torch.full((1,), float(i)).expand(shapes[name]) for i, name in enumerate(shapes)}

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._shapes:
            return self._adapter.tensors[name]
        if not self.multiplied:
            return self._unknown[name]
        module = name.removesuffix(_WEIGHT)
        if module not in self._adapter.pairs:
            return torch.zeros(self._shapes[name])
        up, down = self._adapter.factors(module)
        return (up @ down).view(self._adapter.shape(module))

    def __iter__(self) -> Iterator[str]:
        yield from self._shapes
        yield from self._adapter.beside

    def __len__(self) -> int:
        return len(self._shapes) + len(self._adapter.beside)


class _Zeros(Mapping[str, Tensor]):
    """The base of changes, in which nothing has changed."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self._shapes = shapes

    def __getitem__(self, name: str) -> Tensor:
        return torch.zeros(self._shapes[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._shapes)

    def __len__(self) -> int:
        return len(self._shapes)


def _needs_base(method: str, adapters: Mapping[str, Adapter], settings: MergeSettings) -> bool:
    info = get_method(method)
    if info.needs:
        raise ConfigError(
            f"Merge method `{method}` needs {info.needs[0]} of whole models and cannot merge adapters; add each "
            "adapter to its model first (PEFT: `merge_and_unload`), or choose another method."
        )
    if not (info.needs_base or settings.lines is not None):
        return False
    for source, adapter in adapters.items():
        if adapter.beside:
            raise ConfigError(
                f"`{source}` holds whole tensors beside its factors ({listed(adapter.beside, _LISTED)}), and merge "
                f"method `{method}` would need their base; choose an average such as `uniform`, or add each adapter to "
                "its model first (PEFT: `merge_and_unload`)."
            )
    return True


def _check_layouts(adapters: Mapping[str, Adapter]) -> None:
    (first, like), *others = adapters.items()
    for source, adapter in others:
        if adapter.layout != like.layout:
            raise WeightsError(
                f"`{first}` has the names of {like.layout} and `{source}` those of {adapter.layout}, which do not say "
                "which modules are the same; convert one of them."
            )


def _check_shapes(adapters: Mapping[str, Adapter], modules: Sequence[str]) -> None:
    for module in modules:
        shapes = {source: adapter.shape(module) for source, adapter in adapters.items() if module in adapter.pairs}
        first, like = next(iter(shapes.items()))
        for source, shape in shapes.items():
            if shape != like:
                raise WeightsError(
                    f"`{first}` changes a weight of the shape {like} in `{module}`, and `{source}` one of the shape "
                    f"{shape}. Merge adapters of models of one architecture."
                )


def _widest(adapters: Mapping[str, Adapter]) -> torch.dtype:
    dtypes = [
        adapter.tensors[name].dtype
        for adapter in adapters.values()
        for pair in adapter.pairs.values()
        for name in (pair.up, pair.down)
    ]
    return unless_narrow(reduce(promoted, dtypes))
