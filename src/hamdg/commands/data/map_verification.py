"""What `hamdg data verify` prints of label maps: how often each class is there, all faults, and the verdict."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hamdg import console
from hamdg.data.label_maps import IGNORED
from hamdg.data.verify.maps import MapDomainCheck, MapVerification
from hamdg.text import counted


def show(found: MapVerification) -> None:
    """Print what was found: of every class its share of a domain's pixels, and how many of its maps have it."""
    console.table(("class", "ids", *(check.domain for check in found.checks)), list(_rows(found)))
    if found.decoded:
        console.result("Of a domain's pixels, in %; in brackets, how many of its maps have the class.")
    lines = [*found.faults, *_unreadable_lines(found), *found.remarks(), _verdict(found)]
    console.result("\n".join(["", *lines]))


def values(found: MapVerification) -> dict[str, object]:
    """Return the verdict and all faults, for programs; the numbers are on the data card."""
    return {"good": found.good, "faults": found.faults, "unreadable": dict(found.unreadable)}


def _rows(found: MapVerification) -> Iterator[list[str]]:
    yield from _class_rows(found) if found.decoded else ()
    yield ["images", "", *(f"{len(check.pairs.images) if check.pairs else 0:,}" for check in found.checks)]


def _class_rows(found: MapVerification) -> Iterator[list[str]]:
    for label, name in enumerate(found.benchmark.classes):
        own = [found.by_class(check)[name] for check in found.checks]
        cells = [_cell(check, *one) for check, one in zip(found.checks, own, strict=True)]
        yield [name, _ids(found.ids_of_class(label)), *cells]
    yield ["(ignored)", _ids(found.ids_of_class(IGNORED)), *_others(found, found.ids_of_class(IGNORED))]
    unknown = sorted({number for check in found.checks for number in found.unknown(check)})
    if unknown:
        yield ["(unknown)", _ids(unknown), *_others(found, unknown)]


def _others(found: MapVerification, numbers: Sequence[int]) -> Iterator[str]:
    for check in found.checks:
        yield _cell(check, sum(check.maps.pixels[one] for one in numbers))


def _cell(check: MapDomainCheck, pixels: int, maps: int | None = None) -> str:
    total = sum(check.maps.pixels.values())
    share = f"{100 * pixels / total:.2f}" if total else "0"
    return share if maps is None else f"{share} ({maps:,})"


def _ids(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


def _unreadable_lines(found: MapVerification) -> list[str]:
    unreadable = list(found.unreadable)
    if not unreadable:
        return []
    head = f"{counted(len(unreadable), 'file')} cannot be used:"
    return [head, *(f"    {name}: {reason}" for name, reason in unreadable)]


def _verdict(found: MapVerification) -> str:
    shape = f"{found.images:,} images, {len(found.benchmark.classes)} classes in {len(found.checks)} domains"
    if not found.good:
        return f"Not everything is there or can be used: {shape}."
    sizes = " of its size, and every id is known" if found.decoded else ""
    return f"Every image has a label map{sizes}: {shape}."
