"""Exact selection of the largest scores, over one tensor or a whole model, without sorting or holding them all."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from hamdg.merge.family import Family, Site

Score = Callable[[Site, str], Tensor]
Count = Callable[[int], int]
TieRule = Literal["exact", "threshold"]
_Histograms = dict[str, Tensor]

# Bits that one pass resolves; the counts of one source and pass take half a megabyte.
_DIGIT = 16

# Entries that are counted at once: the more, the less the adding up of counts weighs.
_COUNTED = 1 << 20


@dataclass(frozen=True)
class Cutoff:
    """Which entries of one source are its largest.

    Args:
        threshold: Entries with larger scores are in.
        end: Name and position of the last entry of exactly that score that is in, entries being in the order of tensor
            names and positions; `None` if all of them are.
    """

    threshold: float
    end: tuple[str, int] | None = None

    def mask(self, site: Site, score: Tensor) -> Tensor:
        """Mark the entries of a site that are in.

        Args:
            site: The site, or piece, that the scores belong to.
            score: The source's scores there.
        """
        if self.end is None or site.name < self.end[0]:
            return score >= self.threshold
        mask = score > self.threshold
        if site.name == self.end[0] and site.start <= self.end[1]:
            early = self.end[1] + 1 - site.start
            mask.view(-1)[:early] |= (score.reshape(-1) == self.threshold)[:early]
        return mask

    def kept(self, site: Site, value: Tensor) -> Tensor:
        """Return the values whose magnitudes are in, and zero elsewhere; faster than `mask` where ties need no care."""
        if self.end is None or site.name != self.end[0]:
            if self.threshold == 0:
                return value
            strict = self.end is not None and site.name > self.end[0]
            limit = value.new_full((), self.threshold)
            # `hardshrink` drops what is not larger than its limit, in one pass.
            return torch.hardshrink(value, float(limit if strict else torch.nextafter(limit, limit.new_zeros(()))))
        return value * self.mask(site, value.abs())


def portion(share: float, size: int) -> int:
    """Return how many of `size` entries a share is: `round(share * size)`, and at least one unless the share is 0.

    Without the one, half of a tensor of one entry would be nothing (Python rounds halves to even).
    """
    return max(1, round(share * size)) if share > 0 and size > 0 else 0


def magnitude(site: Site, source: str) -> Tensor:
    """Score entries by their size."""
    return site.tensors[source].abs()


def family_cutoffs(
    family: Family, count: Count, score: Score = magnitude, ties: TieRule = "exact"
) -> dict[str, Cutoff]:
    """Return every source's cutoff over all tensors together.

    Args:
        family: The models.
        count: How many entries are in, of how many.
        score: Finite scores, zero or larger, elementwise.
        ties: Whether exactly `count` entries are in, the first of equal ones winning (`exact`), or all that are as
            large as the last of them (`threshold`).
    """
    total = sum(family.size(name) for name in family.names)
    wide = family.dtype == torch.float64

    def histograms(prefixes: Mapping[str, int], shift: int, width: int) -> _Histograms:
        sums: _Histograms = {}
        lock = threading.Lock()

        def add(site: Site) -> None:
            part = _count(site, prefixes, score, shift, width, wide)
            with lock:
                for source, histogram in part.items():
                    sums[source] = sums[source] + histogram if source in sums else histogram

        family.map(add)
        return sums

    def equals(thresholds: Mapping[str, float]) -> dict[str, dict[str, int]]:
        return family.map(lambda site: _equals(site, thresholds, score))

    places = _Places(equals, family.site, score)
    return _cutoffs(family.sources, histograms, places, total, count, ties, wide)


def site_cutoffs(site: Site, count: Count, score: Score = magnitude, ties: TieRule = "exact") -> dict[str, Cutoff]:
    """Return every source's cutoff over one tensor; see `family_cutoffs`."""
    total, wide = site.like.numel(), site.like.dtype == torch.float64

    def histograms(prefixes: Mapping[str, int], shift: int, width: int) -> _Histograms:
        return _count(site, prefixes, score, shift, width, wide)

    places = _Places(lambda thresholds: {site.name: _equals(site, thresholds, score)}, lambda name: site, score)
    return _cutoffs(tuple(site.tensors), histograms, places, total, count, ties, wide)


@dataclass(frozen=True)
class _Places:
    """Finds entries of one score.

    Args:
        equals: Counts, for every tensor in order, the entries of every source whose score is exactly the given one.
        site: Opens a tensor.
        score: Gives the scores.
    """

    equals: Callable[[Mapping[str, float]], dict[str, dict[str, int]]]
    site: Callable[[str], Site]
    score: Score

    def ends(self, thresholds: Mapping[str, float], missing: Mapping[str, int]) -> dict[str, tuple[str, int]]:
        """Return where the `missing`-th entry of exactly the threshold is, by source."""
        counts = self.equals(thresholds) if thresholds else {}
        ends = {}
        for source, threshold in thresholds.items():
            left = missing[source]
            for name, by_source in counts.items():
                if by_source[source] >= left:
                    ends[source] = name, self._place(name, source, threshold, left)
                    break
                left -= by_source[source]
        return ends

    def _place(self, name: str, source: str, threshold: float, left: int) -> int:
        for piece in self.site(name).pieces():
            found = torch.nonzero(self.score(piece, source).view(-1) == threshold).view(-1)
            if len(found) >= left:
                return piece.start + int(found[left - 1])
            left -= len(found)
        raise AssertionError("counted a moment ago")


def _cutoffs(
    sources: tuple[str, ...],
    histograms: Callable[[Mapping[str, int], int, int], _Histograms],
    places: _Places,
    total: int,
    count: Count,
    ties: TieRule,
    wide: bool,
) -> dict[str, Cutoff]:
    """Find thresholds digit by digit: the bits of floats that are not negative are ordered like the floats."""
    wanted = count(total)
    if wanted <= 0:
        return dict.fromkeys(sources, Cutoff(float("inf")))
    if wanted >= total:
        return dict.fromkeys(sources, Cutoff(0.0))
    prefixes, missing, tied = dict.fromkeys(sources, 0), dict.fromkeys(sources, wanted), dict.fromkeys(sources, 0)
    shift = 63 if wide else 31
    while shift:
        width = min(_DIGIT, shift)
        shift -= width
        for source, histogram in histograms(prefixes, shift, width).items():
            above = histogram.flip(0).cumsum(0).flip(0)
            digit = int((above >= missing[source]).sum()) - 1
            tied[source] = int(histogram[digit])
            missing[source] -= int(above[digit]) - tied[source]
            prefixes[source] = (prefixes[source] << width) | digit
    thresholds = {source: _from_bits(prefixes[source], wide) for source in sources}
    cut = {s: t for s, t in thresholds.items() if ties == "exact" and missing[s] < tied[s]}
    ends = places.ends(cut, missing)
    return {source: Cutoff(threshold, ends.get(source)) for source, threshold in thresholds.items()}


def _count(site: Site, prefixes: Mapping[str, int], score: Score, shift: int, width: int, wide: bool) -> _Histograms:
    """Count, for every source, the next digit of the scores that begin with the source's prefix."""
    bins = 1 << width
    topmost = shift + width == (63 if wide else 31)
    sums = {source: torch.zeros(bins, dtype=torch.int64) for source in prefixes}
    for piece in site.pieces(_COUNTED):
        for source, prefix in prefixes.items():
            bits = _bits(score(piece, source), wide)
            if not topmost:
                # Few scores have the prefix; finding them is faster than sorting out the others by arithmetic.
                bits = bits[torch.nonzero((bits >> (shift + width)) == prefix).view(-1)] & ((1 << (shift + width)) - 1)
            sums[source] += torch.bincount(bits >> shift, minlength=bins).cpu()
    return sums


def _bits(score: Tensor, wide: bool) -> Tensor:
    # Adding zero turns -0.0, whose sign bit would make it negative, into 0.0.
    plain = (score.double() if wide else score) + 0.0
    return plain.view(torch.int64 if wide else torch.int32)


def _equals(site: Site, thresholds: Mapping[str, float], score: Score) -> dict[str, int]:
    """Count the entries of every source whose score is exactly the given one."""
    counts = dict.fromkeys(thresholds, 0)
    for piece in site.pieces():
        for source, threshold in thresholds.items():
            counts[source] += int(torch.count_nonzero(score(piece, source) == threshold))
    return counts


def _from_bits(bits: int, wide: bool) -> float:
    whole = torch.tensor(bits, dtype=torch.int64 if wide else torch.int32)
    return float(whole.view(torch.float64 if wide else torch.float32))
