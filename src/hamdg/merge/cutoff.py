"""Exact selection of the largest scores, over one tensor or a whole model, without sorting or holding them all."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
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

    return _cutoffs(family.sources, histograms, lambda: map(family.site, family.names), score, total, count, ties, wide)


def site_cutoffs(site: Site, count: Count, score: Score = magnitude, ties: TieRule = "exact") -> dict[str, Cutoff]:
    """Return every source's cutoff over one tensor; see `family_cutoffs`."""
    total, wide = site.like.numel(), site.like.dtype == torch.float64

    def histograms(prefixes: Mapping[str, int], shift: int, width: int) -> _Histograms:
        return _count(site, prefixes, score, shift, width, wide)

    return _cutoffs(tuple(site.tensors), histograms, lambda: [site], score, total, count, ties, wide)


def _cutoffs(
    sources: tuple[str, ...],
    histograms: Callable[[Mapping[str, int], int, int], _Histograms],
    sites: Callable[[], Iterable[Site]],
    score: Score,
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
    result = {}
    for source in sources:
        bits = torch.tensor(prefixes[source], dtype=torch.int64 if wide else torch.int32)
        threshold = float(bits.view(torch.float64 if wide else torch.float32))
        every = ties == "threshold" or missing[source] == tied[source]
        end = None if every else _last(sites(), source, score, threshold, missing[source])
        result[source] = Cutoff(threshold, end)
    return result


def _count(site: Site, prefixes: Mapping[str, int], score: Score, shift: int, width: int, wide: bool) -> _Histograms:
    """Count, for every source, the next digit of the scores that begin with the source's prefix."""
    bins = 1 << width
    topmost = shift + width == (63 if wide else 31)
    sums = {source: torch.zeros(bins, dtype=torch.int64) for source in prefixes}
    for piece in site.pieces(_COUNTED):
        for source, prefix in prefixes.items():
            digits = _bits(score(piece, source), wide) >> shift
            if topmost:
                sums[source] += torch.bincount(digits, minlength=bins).cpu()
            else:
                # Scores with other prefixes go to one bin at each end.
                digits = digits.sub_((prefix << width) - 1).clamp_(0, bins + 1)
                sums[source] += torch.bincount(digits, minlength=bins + 2)[1:-1].cpu()
    return sums


def _bits(score: Tensor, wide: bool) -> Tensor:
    # Adding zero turns -0.0, whose sign bit would make it negative, into 0.0.
    plain = (score.double() if wide else score) + 0.0
    return plain.view(torch.int64 if wide else torch.int32)


def _last(sites: Iterable[Site], source: str, score: Score, threshold: float, missing: int) -> tuple[str, int]:
    """Return where the `missing`-th entry of exactly this score is."""
    for site in sites:
        for piece in site.pieces():
            places = torch.nonzero(score(piece, source).view(-1) == threshold).view(-1)
            if len(places) >= missing:
                return site.name, piece.start + int(places[missing - 1])
            missing -= len(places)
    raise AssertionError("the histograms counted as many equal scores as there are")
