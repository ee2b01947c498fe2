"""Whether folders of images and label maps can be used: every pair found, every map opened, every id known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, field

import numpy as np

from hamdg import __version__
from hamdg.config.data import Truncated
from hamdg.data.benchmark import Benchmark
from hamdg.data.decode import UnreadableError
from hamdg.data.folders.layout import printable
from hamdg.data.label_maps import IGNORED, Pairs, ids_of, image_size, survey_pairs
from hamdg.data.locations import Location
from hamdg.data.parallel import make_each
from hamdg.data.verify.examine import Examination, examine
from hamdg.data.verify.verify import Advance, spread
from hamdg.errors import DataError
from hamdg.text import counted, listed, reason_of


@dataclass
class MapExamination:
    """What the label maps of one domain are like.

    Args:
        unusable: Positions of maps that cannot be read, and why.
        pixels: How many pixels there are of each id, in all other maps.
        maps: How many of these have it.
        classes: How many of these have a pixel of each class, by its label.
        blank: Positions of maps without a pixel of a class.
    """

    unusable: dict[int, str] = field(default_factory=dict)
    pixels: Counter[int] = field(default_factory=Counter)
    maps: Counter[int] = field(default_factory=Counter)
    classes: Counter[int] = field(default_factory=Counter)
    blank: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class MapDomainCheck:
    """What was found of one domain.

    Args:
        domain: The domain.
        pairs: Its images and label maps that go together; `None` where it cannot be listed.
        problems: What is wrong with its folders, a sentence each.
        images: What the images are like.
        maps: What the label maps are like.
    """

    domain: str
    pairs: Pairs | None
    problems: list[str]
    images: Examination
    maps: MapExamination


@dataclass(frozen=True)
class MapVerification:
    """What was found of folders of images and label maps.

    Args:
        place: Where they are.
        checks: What was found of each domain.
        decoded: Whether images and maps were opened.
    """

    place: Location
    checks: tuple[MapDomainCheck, ...]
    decoded: bool

    @property
    def benchmark(self) -> Benchmark:
        """Return the benchmark, which knows what ids mean."""
        return self.place.benchmark

    @property
    def images(self) -> int:
        """Return how many images have a label map."""
        return sum(len(check.pairs.images) for check in self.checks if check.pairs)

    @property
    def faults(self) -> list[str]:
        """Return what is wrong with folders and ids, one sentence each."""
        found = []
        for check in self.checks:
            found += check.problems
            for number in self.unknown(check):
                pixels, maps = check.maps.pixels[number], check.maps.maps[number]
                found.append(
                    f"`{check.domain}`: the id {number}, which `data.ids` does not name, has "
                    f"{counted(pixels, 'pixel')} in {counted(maps, 'map')}."
                )
        return found

    @property
    def unreadable(self) -> Iterator[tuple[str, str]]:
        """Yield every image and every label map that cannot be used, as messages name it, and why."""
        for check in self.checks:
            if check.pairs is None:
                continue
            for listing, found in zip(check.pairs, (check.images.unreadable, check.maps.unusable), strict=True):
                for position, reason in found.items():
                    yield listing.describe(position), reason

    @property
    def good(self) -> bool:
        """Return whether every image has a label map that can be used."""
        return not self.faults and not any(self.unreadable)

    def unknown(self, check: MapDomainCheck) -> list[int]:
        """Return the ids in a domain's maps that have no meaning."""
        return sorted(check.maps.pixels.keys() - self.benchmark.ids.keys())

    def ids_of_class(self, label: int) -> list[int]:
        """Return the ids that mean a class; of 255, those that mean none."""
        return sorted(number for number, own in self.benchmark.ids.items() if own == label)

    def remarks(self) -> Iterator[str]:
        """Yield what is worth knowing but no fault, a sentence each."""
        if not self.decoded:
            yield "Nothing was decoded (`--no-decode`), so that ids, sizes and damage were not looked at."
            return
        seen = {number for check in self.checks for number in check.maps.pixels}
        if unseen := sorted(self.benchmark.ids.keys() - seen - {IGNORED}):
            yield f"Ids that `data.ids` names and no map has: {', '.join(map(str, unseen))}."
        for check in self.checks:
            bare = [name for name, (pixels, _) in self.by_class(check).items() if not pixels]
            if bare and check.pairs:
                yield f"`{check.domain}` has no pixel of {listed(bare)}."
            if check.maps.blank and check.pairs:
                first = check.pairs.maps.describe(check.maps.blank[0])
                number = counted(len(check.maps.blank), "map")
                yield f"`{check.domain}`: {number} without a pixel of a class, such as `{first}`."

    def by_class(self, check: MapDomainCheck) -> dict[str, tuple[int, int]]:
        """Return how many pixels each class has in a domain, and in how many of its maps."""
        labels = enumerate(self.benchmark.classes)
        pixels = {label: sum(check.maps.pixels[one] for one in self.ids_of_class(label)) for label, _ in labels}
        return {name: (pixels[label], check.maps.classes[label]) for label, name in enumerate(self.benchmark.classes)}

    def card(self) -> dict[str, object]:
        """Return the data card: what was found, in numbers."""
        return {
            "benchmark": self.benchmark.name,
            "title": self.benchmark.title,
            "pictures": self.images,
            "classes": {name: self.ids_of_class(label) for label, name in enumerate(self.benchmark.classes)},
            "ignored_ids": self.ids_of_class(IGNORED),
            "domains": {check.domain: self._domain_card(check) for check in self.checks},
            "root": printable(self.place.root) if self.place.root else None,
            "decoded": self.decoded,
            "hamdg": __version__,
        }

    def _domain_card(self, check: MapDomainCheck) -> Mapping[str, object]:
        images, maps = check.pairs or (None, None)
        return {
            "pictures": len(images) if images else 0,
            "fingerprint": images.fingerprint if images else None,
            "classes": {name: {"pixels": own[0], "maps": own[1]} for name, own in self.by_class(check).items()},
            "pixels": {str(number): check.maps.pixels[number] for number in sorted(check.maps.pixels)},
            "maps": {str(number): check.maps.maps[number] for number in sorted(check.maps.maps)},
            "unknown_ids": self.unknown(check),
            "problems": check.problems,
            "unreadable": {images.names[at]: why for at, why in check.images.unreadable.items()} if images else {},
            "unusable_maps": {maps.names[at]: why for at, why in check.maps.unusable.items()} if maps else {},
            "peculiar": dict(check.images.peculiar),
            "width": spread(check.images.sides[:, 0].tolist()),
            "height": spread(check.images.sides[:, 1].tolist()),
        }


def verify_maps(
    place: Location,
    *,
    decode: bool = True,
    truncated: Truncated = "refuse",
    progress: Callable[[int], AbstractContextManager[Advance]] = lambda _: nullcontext(lambda _: None),
) -> MapVerification:
    """Pair all images with their label maps, and open every one of them.

    Args:
        place: Where they are.
        decode: Open them, which finds what is damaged, of two sizes, or has unknown ids.
        truncated: Whether files of images that are cut off count as readable.
        progress: Shows how far it is, as of `verify`.
    """
    found = {domain: _surveyed(place, domain, truncated) for domain in place.benchmark.domains}
    count = sum(len(pairs.images) for pairs, _ in found.values() if pairs)
    checks = []
    with progress(2 * count if decode else 0) as advance:
        for domain, (pairs, problems) in found.items():
            opened = pairs if pairs and decode else None
            images = examine(opened.images, advance=advance) if opened else _UNSEEN
            maps = _examined(opened, place.benchmark, advance) if opened else MapExamination()
            checks.append(MapDomainCheck(domain, pairs, problems, images, maps))
    return MapVerification(place, tuple(checks), decode)


_UNSEEN = Examination({}, {}, {}, np.empty((0, 2), np.int64), {})


def _surveyed(place: Location, domain: str, truncated: Truncated) -> tuple[Pairs | None, list[str]]:
    try:
        (images, maps), problems = survey_pairs(place, domain)
    except DataError as error:
        return None, [str(error)]
    return Pairs(images.with_truncated(truncated), maps), problems


def _examined(pairs: Pairs, bench: Benchmark, advance: Advance) -> MapExamination:
    def counts(position: int) -> dict[int, int] | str:
        try:
            size = image_size(pairs.images, position)
            numbers, pixels = np.unique(ids_of(pairs.maps.content(position), size), return_counts=True)
        except OSError as error:
            return reason_of(error)
        except UnreadableError as error:
            return str(error)
        return dict(zip(numbers.tolist(), pixels.tolist(), strict=True))

    found = MapExamination()
    with closing(make_each(counts, range(len(pairs.maps)))) as made:
        for position, one in enumerate(made):
            advance(1)
            if isinstance(one, str):
                found.unusable[position] = one
                continue
            found.pixels.update(one)
            found.maps.update(one.keys())
            labels = {bench.ids.get(number, IGNORED) for number in one} - {IGNORED}
            found.classes.update(labels)
            if not labels:
                found.blank.append(position)
    return found
