"""What a merge method sees: one tensor of every model at a time, read when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TypeVar

import torch
from torch import Tensor

from hamdg.merge.tensors import Tensors

T = TypeVar("T")

# Entries that are worked on at once: small enough that a dozen models' pieces stay in a core's cache.
PIECE = 1 << 17


@dataclass(frozen=True)
class TensorSet:
    """One tensor, or a piece of one, of all models.

    Args:
        name: The tensor's name.
        tensors: The tensor of every source by the source's name, in alphabetical order: what the source changed
            (theta_i - theta_0) for methods that work on changes, theta_i for the others. Every access reads the model
            again, so that all models are never in memory at once; keep what is needed twice. Never modify one in place.
        base: The tensor of the common start, if there is one.
        weights: Weight of every source.
        start: Where in the flattened tensor this piece begins.
    """

    name: str
    tensors: Mapping[str, Tensor]
    base: Tensor | None = None
    weights: Mapping[str, float] = field(default_factory=dict)
    start: int = 0

    @property
    def like(self) -> Tensor:
        """A tensor of the same shape, dtype and device; its values mean nothing."""
        return self.base if self.base is not None else next(iter(self.tensors.values()))

    def weight(self, source: str) -> float:
        """Return the weight of a source, 1 unless it was given."""
        return self.weights.get(source, 1.0)

    def pieces(self, size: int = PIECE) -> Iterator[TensorSet]:
        """Cut the tensor set into flat pieces, for arithmetic that treats every entry alike."""
        total = self.like.numel()
        for start in range(0, total, size):
            stop = min(start + size, total)
            base = None if self.base is None else self.base.reshape(-1)[start:stop]
            yield replace(self, tensors=_cut(self.tensors, start, stop), base=base, start=self.start + start)

    def by_pieces(self, rule: Callable[[TensorSet], Tensor]) -> Tensor:
        """Apply an elementwise rule piece by piece; the same as `rule(self)`, with everything in the cache."""
        result = torch.empty_like(self.like, memory_format=torch.contiguous_format)
        flat = result.view(-1)
        for piece in self.pieces():
            flat[piece.start - self.start : piece.start - self.start + piece.like.numel()] = rule(piece)
        return result


Rule = Callable[[TensorSet], Tensor]


class ModelSet:
    """All models of one merge, opened tensor by tensor and worked on by several threads.

    Args:
        models: Tensors of every source.
        base: The common start.
        names: Names of the tensors that take part.
        changes: Whether tensor sets hold changes from the base instead of the models.
        weights: Weight of every source.
        evidence: What data say about the models, for methods that ask (see `hamdg.merge.evidence`).
        dtype: What is computed in; `None` for fp32, or fp64 if any tensor that takes part is.
        device: Where it is computed.
        threads: How many tensors are worked on at once.
    """

    def __init__(
        self,
        models: Mapping[str, Tensors],
        base: Tensors | None = None,
        *,
        names: tuple[str, ...] | None = None,
        changes: bool = False,
        weights: Mapping[str, float] | None = None,
        evidence: object = None,
        dtype: torch.dtype | None = None,
        device: str = "cpu",
        threads: int = 1,
    ) -> None:
        self.models = {source: models[source] for source in sorted(models)}
        self.base = base
        self.changes = changes
        self.weights = dict(weights or {})
        self.evidence = evidence
        self.device, self.threads = device, threads
        first = next(iter(self.models.values()), {})
        self.names = tuple(sorted(first if names is None else names))
        self.dtype = dtype or self._widest()
        # Gives the complete model that a rule or a `MergePlan` makes (buffers of some sources only, if they are named).
        self.complete: Callable[..., dict[str, Tensor]] = _unset
        # Gives the complete model that another method makes of some of the sources, or of copies of one model.
        self.merged: Callable[[str, Mapping[str, object], Sequence[str], bool], dict[str, Tensor]] = _unset
        # Names that models tie to another one, which alone takes part.
        self.aliases: Mapping[str, str] = {}

    @property
    def sources(self) -> tuple[str, ...]:
        """The sources' names in alphabetical order."""
        return tuple(self.models)

    def only(self, names: tuple[str, ...]) -> ModelSet:
        """Return the same model set with some of its tensors only."""
        return self._like(names=names)

    def as_changes(self) -> ModelSet:
        """Return the same model set with tensor sets that hold changes from the base."""
        return self._like(changes=True)

    def tensor_set(self, name: str) -> TensorSet:
        """Open one tensor of every model."""
        raw = {source: model[name].detach().contiguous() for source, model in self.models.items()}
        origin = None if self.base is None else self.base[name].detach().contiguous()
        start = None if origin is None else origin.to(self.device, self.dtype)
        reads = _Reads(raw, start if self.changes else None, self.dtype, self.device)
        return TensorSet(name, reads, start, self.weights)

    def untied(self, tensors: Tensors) -> dict[str, Tensor]:
        """Return what is said of tensors by the names that take part, also where it is said of one that is tied."""
        tied = {first: tensors[name] for name, first in self.aliases.items() if name in tensors}
        return tied | {name: tensor for name, tensor in tensors.items() if name not in self.aliases}

    def size(self, name: str) -> int:
        """Return how many entries a tensor has."""
        return next(iter(self.models.values()))[name].numel()

    def map(self, function: Callable[[TensorSet], T]) -> dict[str, T]:
        """Apply a function to every tensor, several at once; the results are in the names' order."""

        @torch.no_grad()
        def job(name: str) -> T:
            return function(self.tensor_set(name))

        if self.threads <= 1 or len(self.names) < 2:
            return {name: job(name) for name in self.names}
        # The largest first, so that no thread is left alone with a large one at the end.
        order = sorted(self.names, key=self.size, reverse=True)
        with ThreadPoolExecutor(self.threads, thread_name_prefix="hamdg-merge") as pool:
            futures = {name: pool.submit(job, name) for name in order}
            try:
                return {name: futures[name].result() for name in self.names}
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    def _widest(self) -> torch.dtype:
        models = (*self.models.values(), *(() if self.base is None else (self.base,)))
        double = any(model[name].dtype == torch.float64 for model in models for name in self.names)
        return torch.float64 if double else torch.float32

    def _like(self, **changed: object) -> ModelSet:
        known = {key: getattr(self, key) for key in ("models", "base", "names", "changes", "weights", "evidence")}
        known |= {"dtype": self.dtype, "device": self.device, "threads": self.threads} | changed
        other = ModelSet(known.pop("models"), known.pop("base"), **known)
        other.complete, other.merged, other.aliases = self.complete, self.merged, self.aliases
        return other


def _unset(*_: object) -> dict[str, Tensor]:
    raise NotImplementedError("only a model set that `merge` made can complete models")


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Let every tensor be worked on by one thread, so that no sum depends on how many threads there are."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Reads(Mapping[str, Tensor]):
    """Tensors of the sources, widened (and the base taken off) when they are asked for."""

    def __init__(self, raw: Mapping[str, Tensor], origin: Tensor | None, dtype: torch.dtype, device: str) -> None:
        self._raw, self._origin, self._dtype, self._device = raw, origin, dtype, device

    def __getitem__(self, source: str) -> Tensor:
        tensor = self._raw[source].to(self._device, self._dtype)
        return tensor if self._origin is None else tensor - self._origin

    def __iter__(self) -> Iterator[str]:
        return iter(self._raw)

    def __len__(self) -> int:
        return len(self._raw)

    def cut(self, start: int, stop: int) -> _Reads:
        raw = {source: tensor.reshape(-1)[start:stop] for source, tensor in self._raw.items()}
        origin = None if self._origin is None else self._origin.reshape(-1)[start:stop]
        return _Reads(raw, origin, self._dtype, self._device)


def _cut(tensors: Mapping[str, Tensor], start: int, stop: int) -> Mapping[str, Tensor]:
    if isinstance(tensors, _Reads):
        return tensors.cut(start, stop)
    return {source: tensor.reshape(-1)[start:stop] for source, tensor in tensors.items()}
