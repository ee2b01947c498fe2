"""What `hamdg data verify` prints: the table of found and expected numbers, all faults, and the verdict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple

from hamdg import console
from hamdg.commands.data import map_verification
from hamdg.config.data import Truncated
from hamdg.data.lists.meaning import read_lists
from hamdg.data.locations import Location
from hamdg.data.verify.maps import verify_maps
from hamdg.data.verify.verify import Advance, Verification, verify
from hamdg.data.verify.versions import expected_count
from hamdg.errors import ConfigError
from hamdg.text import counted, listed

_FEW = 20
_SHOWN = 3
_TOTAL = "total"


class Verified(NamedTuple):
    """What was found, when it has been printed: the verdict, all faults for programs, and the data card."""

    good: bool
    values: dict[str, object]
    card: dict[str, object]


def verified(place: Location, *, decode: bool, contents: bool, truncated: Truncated, everything: bool) -> Verified:
    """Verify a benchmark's images, and print what was found.

    Args:
        place: Where they are.
        decode: Open every image.
        contents: Compute the digest of every file.
        truncated: Whether files that are cut off count as readable.
        everything: List all classes of a benchmark with many.

    Raises:
        ConfigError: If digests of label maps are asked for.
        DataError: If the images are not there, or not the benchmark's.
    """

    def progress(total: int) -> AbstractContextManager[Advance]:
        return console.progress(total, "images opened")

    segments = place.benchmark.task == "segmentation"
    if segments and contents:
        raise ConfigError("`--contents` compares images with a class each; leave it out for label maps.")
    console.result(f"{place.benchmark.title or place.benchmark.name}: {place.where}")
    if segments:
        maps = verify_maps(place, decode=decode, truncated=truncated, progress=progress)
        map_verification.show(maps)
        return Verified(maps.good, map_verification.values(maps), maps.card())
    found = verify(place, decode=decode, contents=contents, truncated=truncated, progress=progress)
    show(found, everything=everything)
    return Verified(found.good, values(found), found.card())


def show(found: Verification, *, everything: bool) -> None:
    """Print what was found.

    Args:
        found: The verification.
        everything: List all classes of a benchmark with many, not only those whose numbers differ.
    """
    rows, hidden = _rows(found, everything)
    console.table(("class", *found.benchmark.domains, _TOTAL), _aligned(rows))
    if hidden:
        console.result(f"Left out: {hidden} classes of which nothing wrong is known; `--all` lists them.")
    lines = [*_fault_lines(found), *_remarks(found), *_verdict(found)]
    console.result("\n".join(["", *lines]))


def values(found: Verification) -> dict[str, object]:
    """Return the verdict and all faults, for programs; the numbers are on the data card."""
    comparison = found.comparison
    return {
        "good": found.good,
        "nearest_version": comparison.version.name if comparison else None,
        "exact": comparison.exact if comparison else None,
        "faults": found.faults,
        "unreadable": dict(found.unreadable),
        "truncated": dict(found.truncated),
        "ignored": found.ignored,
        "duplicates": found.duplicates() if found.contents else None,
    }


def _rows(found: Verification, everything: bool) -> tuple[list[list[str]], int]:
    """Return the rows of the table, the last with the totals, and how many classes are left out."""
    classes, domains, counts = found.benchmark.classes, found.benchmark.domains, found.counts
    rows, hidden = [], 0
    for label, name in enumerate(classes):
        pairs = [(counts[domain][label], _expected(found, domain, label)) for domain in domains]
        if len(classes) > _FEW and not everything and all(_as_expected(*pair) for pair in pairs):
            hidden += 1
        else:
            rows.append([name, *(_cell(*pair) for pair in [*pairs, _sum(pairs)])])
    totals = found.comparison.version.totals if found.comparison else {}
    last = [(sum(counts[domain]), totals.get(domain)) for domain in domains]
    all_of_them = (sum(map(sum, counts.values())), sum(totals.values()) if totals else None)
    rows.append([_TOTAL, *(_cell(*pair) for pair in [*last, all_of_them])])
    return rows, hidden


def _expected(found: Verification, domain: str, label: int) -> int | None:
    return expected_count(found.comparison.version, domain, label) if found.comparison else None


def _sum(pairs: Sequence[tuple[int, int | None]]) -> tuple[int, int | None]:
    """Add found and expected numbers up; the expected one is known only if all are."""
    expected = [there for _, there in pairs if there is not None]
    return sum(here for here, _ in pairs), sum(expected) if expected and len(expected) == len(pairs) else None


def _as_expected(found: int, expected: int | None) -> bool:
    return found == expected if expected is not None else found > 0


def _cell(found: int, expected: int | None) -> str:
    if expected is None:
        return f"{found:,}"
    difference = f" {found - expected:+,}" if found != expected else ""
    return f"{found:,}/{expected:,}{difference}"


def _aligned(rows: Sequence[Sequence[str]]) -> list[list[str]]:
    """Give cells without a difference as much room on the right as the widest difference of their column takes."""
    columns = [list(column) for column in zip(*rows, strict=True)]
    for column in columns[1:]:
        room = max(len(cell) - len(cell.partition(" ")[0]) for cell in column)
        for row, cell in enumerate(column):
            number, space, difference = cell.partition(" ")
            column[row] = number + (space + difference).ljust(room)
    return [list(row) for row in zip(*columns, strict=True)]


def _fault_lines(found: Verification) -> list[str]:
    lines = list(found.faults)
    unreadable = list(found.unreadable)
    if unreadable:
        lines.append(f"{counted(len(unreadable), 'image')} cannot be read:")
        lines += [f"    {name}: {reason}" for name, reason in unreadable]
    return lines + _truncated_lines(list(found.truncated), dict(unreadable))


def _truncated_lines(truncated: Sequence[tuple[str, str]], unreadable: Mapping[str, str]) -> list[str]:
    """Return lines on images that are cut off; those that a run refuses stand among the unreadable ones."""
    refused = [name for name, _ in truncated if name in unreadable]
    if refused:
        return [f"Of these, `--data.truncated=read` would read {len(refused):,} as far as they go, as DomainBed does."]
    if not truncated:
        return []
    head = f"{counted(len(truncated), 'image')} of truncated files, read as far as they go:"
    return [head, *(f"    {name}: {reason}" for name, reason in truncated)]


def _remarks(found: Verification) -> list[str]:
    lines = []
    if found.benchmark.left_out:
        lines.append(f"Left out because `data.domains` names others: {listed(found.benchmark.left_out)}.")
    lists = found.place.lists
    if lists is not None and (repeated := read_lists(lists, found.benchmark).repeated):
        lines.append(f"Lines of `data.lists` that repeat others: {repeated:,}; each image counts once.")
    if found.ignored:
        lines.append(f"Files ignored because they are not images: {found.ignored:,}.")
    peculiar: Counter[str] = Counter()
    for check in found.checks:
        peculiar.update(check.examination.peculiar)
    if peculiar:
        lines.append(
            "Readable, but unusual: " + ", ".join(f"{n:,} {kind}" for kind, n in sorted(peculiar.items())) + "."
        )
    if found.contents:
        lines += _duplicate_lines(found.duplicates())
    if not found.decoded:
        lines.append("No image was decoded (`--no-decode`), so damaged ones were not found.")
    return lines


def _duplicate_lines(groups: Sequence[Sequence[str]]) -> list[str]:
    if not groups:
        return ["No two images are the same byte for byte."]
    copies = sum(len(group) - 1 for group in groups)
    shown = [f"    {' = '.join(group[:_SHOWN])}{' = ...' if len(group) > _SHOWN else ''}" for group in groups[:_SHOWN]]
    more = [f"    and {len(groups) - _SHOWN:,} more"] if len(groups) > _SHOWN else []
    return [f"{counted(copies, 'image')} repeat another one byte for byte:", *shown, *more]


def _verdict(found: Verification) -> list[str]:
    comparison = found.comparison
    if comparison is None:
        return [_unpublished(found)]
    lines = [f"{'By its counts this' if comparison.exact else 'This'} is {comparison}."]
    if not set(comparison.version.by_class) >= set(found.benchmark.domains):
        lines.append("Its counts by class are not known, so only totals were compared.")
    return [*lines, f"About these counts: {comparison.version.note}"] if comparison.version.note else lines


def _unpublished(found: Verification) -> str:
    shape = f"{len(found.benchmark.classes)} classes in {len(found.checks)} domains"
    if found.good:
        whole = ", and none is damaged" if found.decoded else ""
        return f"Every class has images in every domain{whole}: {shape}."
    return f"Not everything is there or readable: {shape}."
