"""The search for the largest scores of one tensor or a whole model, without sorting or holding them all.

The bits of floats that are not negative are ordered like the floats, so a threshold is found digit by digit. One pass
over the scores counts their first digits; the next one holds those few scores that share the threshold's, with their
places, and the rest is done with them alone. Several thresholds are found in the same two passes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from hamdg.merge.model_set import ModelSet, TensorSet

Score = Callable[[TensorSet, str], Tensor]
T = TypeVar("T")
K = TypeVar("K")
# A source, and the first digits of the scores that may be its threshold.
_Bucket = tuple[str, int]

# Bits that one pass resolves; the counts of one source and pass take half a megabyte.
_DIGIT = 16

# So many scores are held with their places (50 MB); of so few the first digits need not be counted before.
_HELD, _FEW = 1 << 22, 1 << 14


class Threshold(NamedTuple):
    """The score of a rank.

    Args:
        score: It.
        end: Name and position of the entry of that rank among those of exactly that score, in the order of tensor
            names and positions; `None` if it is the last of them.
    """

    score: float
    end: tuple[str, int] | None = None


class Scores:
    """The scores of all sources in one tensor or a whole model.

    Args:
        tensor sets: Where they are.
        score: Gives them.
    """

    def __init__(self, tensor_sets: ModelSet | TensorSet, score: Score) -> None:
        self._sites, self._score = tensor_sets, score
        if isinstance(tensor_sets, ModelSet):
            self.sources, dtype = tensor_sets.sources, tensor_sets.dtype
            self.total = sum(tensor_sets.size(name) for name in tensor_sets.names)
        else:
            self.sources, dtype = tuple(tensor_sets.tensors), tensor_sets.like.dtype
            self.total = tensor_sets.like.numel()
        self.wide = dtype == torch.float64

    @property
    def bits(self) -> int:
        """How many bits a score has, without its sign."""
        return 63 if self.wide else 31

    def histograms(self, buckets: set[_Bucket], shift: int, width: int) -> dict[_Bucket, Tensor]:
        """Count, in every bucket, the next digit of its scores."""
        sums: dict[_Bucket, Tensor] = {}
        lock = threading.Lock()

        def add(tensor_set: TensorSet) -> None:
            for piece in tensor_set.pieces():
                for bucket, _, rest in self._within(piece, buckets, shift + width):
                    part = torch.bincount(rest >> shift, minlength=1 << width)
                    with lock:
                        sums[bucket] = sums[bucket].add_(part) if bucket in sums else part

        self._each(add)
        return {bucket: histogram.cpu() for bucket, histogram in sums.items()}

    def held(self, buckets: set[_Bucket], shift: int) -> dict[_Bucket, _Held]:
        """Return all scores in some buckets, with their places, in the order of names and positions."""

        def collect(tensor_set: TensorSet) -> dict[_Bucket, list[tuple[Tensor, Tensor]]]:
            found: dict[_Bucket, list[tuple[Tensor, Tensor]]] = {bucket: [] for bucket in buckets}
            for piece in tensor_set.pieces():
                for bucket, places, rest in self._within(piece, buckets, shift):
                    places = torch.arange(len(rest)) if places is None else places.cpu()
                    found[bucket].append((places + piece.start, rest.cpu()))
            return found

        by_name = self._each(collect)
        return {bucket: _Held({name: found[bucket] for name, found in by_name.items()}) for bucket in buckets}

    def value(self, bits: int) -> float:
        """Return the score that has these bits."""
        whole = torch.tensor(bits, dtype=torch.int64 if self.wide else torch.int32)
        return float(whole.view(torch.float64 if self.wide else torch.float32))

    def place(self, source: str, threshold: float, number: int) -> tuple[str, int]:
        """Return where the entry of this number is among those whose score is the threshold."""
        counts = self._each(lambda tensor_set: [self._equal(piece, source, threshold) for piece in tensor_set.pieces()])
        name, number = _reached({name: sum(parts) for name, parts in counts.items()}, number)
        index, number = _reached(dict(enumerate(counts[name])), number)
        tensor_set = self._sites.tensor_set(name) if isinstance(self._sites, ModelSet) else self._sites
        piece = next(islice(tensor_set.pieces(), index, None))
        found = torch.nonzero(self._score(piece, source).view(-1) == threshold).view(-1)
        return name, piece.start + int(found[number - 1])

    def _each(self, function: Callable[[TensorSet], T]) -> dict[str, T]:
        if isinstance(self._sites, ModelSet):
            return self._sites.map(function)
        return {self._sites.name: function(self._sites)}

    def _equal(self, piece: TensorSet, source: str, threshold: float) -> int:
        return int(torch.count_nonzero(self._score(piece, source) == threshold))

    def _within(
        self, piece: TensorSet, buckets: set[_Bucket], shift: int
    ) -> Iterator[tuple[_Bucket, Tensor | None, Tensor]]:
        """Yield, for every bucket, the places of its scores (`None` if all are in) and the bits after the prefix."""
        for source, prefixes in _by_source(buckets).items():
            score = self._score(piece, source)
            # Adding zero turns -0.0, whose sign bit would make it negative, into 0.0.
            plain = (score.double() if self.wide else score).view(-1).add_(0.0)
            bits = plain.view(torch.int64 if self.wide else torch.int32)
            for prefix in prefixes:
                if shift == self.bits:
                    yield (source, prefix), None, bits
                    continue
                # Few scores have the prefix; finding them is faster than sorting out the others by arithmetic.
                places = _positions(bits, shift, prefix)
                yield (source, prefix), places, bits[places] & ((1 << shift) - 1)


class _Held:
    """Scores of one bucket, without their first digits, and their places.

    Args:
        found: Positions and scores by tensor name, in order.
    """

    def __init__(self, found: Mapping[str, list[tuple[Tensor, Tensor]]]) -> None:
        self._lengths = {name: sum(len(places) for places, _ in parts) for name, parts in found.items()}
        self._places = torch.cat([places for parts in found.values() for places, _ in parts])
        self._rest = torch.cat([rest for parts in found.values() for _, rest in parts])

    def largest(self, number: int) -> tuple[int, int, int]:
        """Return the score of a rank, how many of its equals are needed to reach the rank, and how many there are."""
        value = int(self._rest.kthvalue(len(self._rest) - number + 1).values)
        larger, equal = (int(torch.count_nonzero(mask)) for mask in (self._rest > value, self._rest == value))
        return value, number - larger, equal

    def place(self, value: int, number: int) -> tuple[str, int]:
        """Return where the entry of this number is among those of a score."""
        index = int(torch.nonzero(self._rest == value).view(-1)[number - 1])
        name, _ = _reached(self._lengths, index + 1)
        return name, int(self._places[index])


@dataclass
class _State:
    """How far the search for one threshold is: so many of the candidates, which begin with a prefix, are in."""

    missing: int
    candidates: int
    prefix: int = 0

    def narrow(self, histogram: Tensor, width: int) -> None:
        """Take in how often each next digit occurs."""
        above = histogram.flip(0).cumsum(0).flip(0)
        digit = int((above >= self.missing).sum()) - 1
        self.candidates = int(histogram[digit])
        self.missing -= int(above[digit]) - self.candidates
        self.prefix = (self.prefix << width) | digit


def find_thresholds(scores: Scores, ranks: tuple[int, ...], exact: bool) -> dict[tuple[str, int], Threshold]:
    """Return the cutoffs of all sources that keep so many entries."""
    states = {(source, rank): _State(rank, scores.total) for source in scores.sources for rank in ranks}
    shift = scores.bits
    while states:
        buckets = {(source, state.prefix): state.candidates for (source, _), state in states.items()}
        limit = _FEW * len(buckets) if shift == scores.bits else _HELD
        if sum(buckets.values()) <= limit:
            held = scores.held(set(buckets), shift)
            return {
                key: _ended(scores, held[key[0], state.prefix], state, shift, exact) for key, state in states.items()
            }
        if shift == 0:
            break
        width = min(_DIGIT, shift)
        shift -= width
        histograms = scores.histograms(set(buckets), shift, width)
        for (source, _), state in states.items():
            state.narrow(histograms[source, state.prefix], width)
    # More scores are equal than can be held.
    found = {}
    for (source, rank), state in states.items():
        value = scores.value(state.prefix)
        tied = exact and state.missing < state.candidates
        found[source, rank] = Threshold(value, scores.place(source, value, state.missing) if tied else None)
    return found


def _ended(scores: Scores, held: _Held, state: _State, shift: int, exact: bool) -> Threshold:
    rest, needed, equal = held.largest(state.missing)
    end = held.place(rest, needed) if exact and needed < equal else None
    return Threshold(scores.value((state.prefix << shift) | rest), end)


def _positions(bits: Tensor, shift: int, prefix: int) -> Tensor:
    """Return where bits begin with a prefix; on the CPU by numpy, which takes a quarter of torch's time."""
    if bits.device.type == "cpu":
        return torch.from_numpy(np.flatnonzero((bits.numpy() >> shift) == prefix))
    return torch.nonzero((bits >> shift) == prefix).view(-1)


def _reached(counts: Mapping[K, int], number: int) -> tuple[K, int]:
    """Return where the counts, added up in order, reach a number, and what is missing of it before."""
    for key, count in counts.items():
        if count >= number:
            return key, number
        number -= count
    raise AssertionError("counted a moment ago")


def _by_source(buckets: set[_Bucket]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for source, prefix in sorted(buckets):
        found.setdefault(source, []).append(prefix)
    return found
