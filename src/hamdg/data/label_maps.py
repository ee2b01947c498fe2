"""Folders of images and label maps: pairs them, and turns the ids in maps into classes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hamdg.data.benchmark import Benchmark
from hamdg.data.decode import UnreadableError, opened, shown_size
from hamdg.data.folders.layout import domain_folders, printable, subfolders
from hamdg.data.folders.scan import FolderSource
from hamdg.data.folders.walk import Walk, walk
from hamdg.data.listing import Listing, NameTable
from hamdg.data.locations import Location
from hamdg.data.parallel import Rendered, make_each, unreadable
from hamdg.data.transforms import EvaluationView
from hamdg.errors import ConfigError, DataError
from hamdg.mini.cache import kept
from hamdg.text import listed, reason_of, shortened

IGNORED = 255
# What `data.ids` calls pixels that are no class.
IGNORE = "ignore"
IMAGES, LABELS = "images", "labels"
LAYOUT = f"<domain>/{IMAGES}/image and <domain>/{LABELS}/map"
# Raise it with every change to what is kept of label maps.
_FORMAT = 2
# What Cityscapes and its relatives add to a common stem. Of several maps of one image the first kind here is taken.
_IMAGE_ENDS = ("_leftImg8bit", "_rgb_anon", "_rgb")
_MAP_ENDS = ("_gtFine_labelTrainIds", "_gt_labelTrainIds", "_labelTrainIds", "_gtFine_labelIds", "_gt_labelIds",
             "_labelIds")  # fmt: skip
# How many of these are of train ids, and the largest of those but for 255: ids that mean more are the other kind's.
_TRAIN_KINDS, _LARGEST_TRAIN_ID = 3, 18
# What lies beside maps of ids: colors for people to look at, and ids of single things.
_NO_MAPS = ("_color", "_labelColor", "_instanceIds", "_instanceTrainIds", "_invIds", "_invGray")
_SHOWN = 5
_ENTRIES = 1 << 16

Maps = NDArray[np.uint8]


class Pairs(NamedTuple):
    """The images of a domain and, in the same order, their label maps."""

    images: Listing
    maps: Listing


def classes_of_ids(ids: Mapping[str, str]) -> tuple[tuple[str, ...], dict[int, int]]:
    """Return the classes that ids mean, in the order of their first id, and the label of every id.

    Args:
        ids: `data.ids`: the name of a class, or `ignore`, by id.

    Raises:
        ConfigError: If an id is not a whole number up to 65,535 or is named twice, or fewer than two classes are left.
    """
    numbers: dict[int, str] = {}
    for text, name in ids.items():
        if not str(text).isdecimal() or int(text) >= _ENTRIES:
            raise ConfigError(
                f"`data.ids` has the id `{text}`, but ids are whole numbers from 0 to {_ENTRIES - 1}; write `7: car`."
            )
        if not name.strip():
            raise ConfigError(f"`data.ids` gives the id `{text}` an empty name; name its class, or `{IGNORE}`.")
        if int(text) in numbers:
            raise ConfigError(f"`data.ids` names the id {int(text)} twice; keep one.")
        numbers[int(text)] = name.strip()
    classes = tuple(dict.fromkeys(numbers[one] for one in sorted(numbers) if numbers[one] != IGNORE))
    if not 2 <= len(classes) < IGNORED:
        number = f"{len(classes)} class{'' if len(classes) == 1 else 'es'}"
        raise ConfigError(f"`data.ids` names {number}; between 2 and {IGNORED - 1} are needed.")
    labels = {one: IGNORED if name == IGNORE else classes.index(name) for one, name in numbers.items()}
    return classes, {IGNORED: IGNORED} | labels


def map_domains(root: Path) -> list[str]:
    """Return the folders in `root` that hold images and label maps.

    Raises:
        OSError: If a folder cannot be listed.
    """
    return [name for name in subfolders(root) if {IMAGES, LABELS} <= set(subfolders(root / name))]


def list_pairs(place: Location, domain: str) -> Pairs:
    """List the images of one domain and their label maps, by folder and name; none is opened.

    Raises:
        DataError: If the domain has no folder, a folder cannot be read, or images and maps do not go together.
    """
    pairs, problems = survey_pairs(place, domain, most=_SHOWN)
    if problems:
        raise DataError(problems[0])
    return pairs


def survey_pairs(place: Location, domain: str, most: int | None = None) -> tuple[Pairs, list[str]]:
    """List what goes together of a domain as `list_pairs` does, and say in sentences what does not.

    Args:
        place: Where the images are.
        domain: One of the domains.
        most: At most how many files a sentence names; `None` for all.

    Raises:
        DataError: If the domain has no folder, a folder cannot be read, or two files have one name.
    """
    assert place.root is not None
    names = domain_folders(place.benchmark, subfolders(place.root)).get(domain, [])
    if len(names) != 1:
        found = f"more than one folder: {listed(names)}" if names else "no folder"
        raise DataError(f"`{printable(place.root)}` has {found} for the domain `{domain}`; expected `{LAYOUT}`.")
    folder = place.root / names[0]
    images = _unique(folder / IMAGES, {key: _all_of(own) for key, own in _kinds(folder / IMAGES, _IMAGE_ENDS).items()})
    kinds = _kinds(folder / LABELS, _MAP_ENDS, _NO_MAPS)
    maps = _unique(folder / LABELS, {key: own[min(own)] for key, own in kinds.items()})
    stems = sorted(images.keys() & maps.keys())
    listing = _listing(domain, folder / LABELS, [maps[stem] for stem in stems])
    # A domain is other data where its maps are others.
    pairs = Pairs(_listing(domain, folder / IMAGES, [images[stem] for stem in stems], listing), listing)
    problems = [*_pair_problems(folder, images, maps, most), *_kind_problems(folder, kinds, place.benchmark.ids)]
    return pairs, problems


class _File(NamedTuple):
    name: str
    size: int


def _kinds(folder: Path, ends: Sequence[str], without: Sequence[str] = ()) -> dict[str, dict[int, list[_File]]]:
    """Return the image files below a folder by their sub-folder and what their name has in common with their pair.

    Those of one key are told apart by the place of their ending in `ends`, behind which lies that of no ending.
    """
    found: Walk = walk(folder)
    if found.unreadable:
        path, reason = found.unreadable[0]
        raise DataError(f"`{printable(path)}` cannot be read ({reason}); make it readable for this user.")
    kinds: dict[str, dict[int, list[_File]]] = {}
    for inner, name, size in found.files:
        stem = name.rpartition(".")[0]
        if stem.endswith(tuple(without)):
            continue
        rank, cut = next(((k, end) for k, end in enumerate(ends) if stem.endswith(end)), (len(ends), ""))
        path, key = (f"{inner}/{one}" if inner else one for one in (name, stem.removesuffix(cut)))
        kinds.setdefault(key, {}).setdefault(rank, []).append(_File(path, size))
    return kinds


def _all_of(kinds: Mapping[int, list[_File]]) -> list[_File]:
    return [file for rank in sorted(kinds) for file in kinds[rank]]


def _unique(folder: Path, found: Mapping[str, list[_File]]) -> dict[str, _File]:
    if double := next((files for files in found.values() if len(files) > 1), None):
        raise DataError(
            f"`{printable(folder)}` holds {listed([one.name for one in double])}, which are called alike; keep one."
        )
    return {key: files[0] for key, files in found.items()}


def _kind_problems(
    folder: Path, kinds: Mapping[str, Mapping[int, list[_File]]], ids: Mapping[int, int]
) -> Iterator[str]:
    """Say which maps of train ids would be read with the meaning of others: most numbers are ids of both kinds."""
    if max(ids.keys() - {IGNORED}, default=0) <= _LARGEST_TRAIN_ID:
        return
    for own in kinds.values():
        others = [rank for rank in sorted(own) if _TRAIN_KINDS <= rank < len(_MAP_ENDS)]
        if others and (first := min(own)) < _TRAIN_KINDS:
            names = listed([own[rank][0].name for rank in (first, others[0])])
            yield (
                f"`{printable(folder / LABELS)}` holds {names} and so on, of which the first are read, but `data.ids` "
                f"names ids above {_LARGEST_TRAIN_ID}, which train ids do not have; name train ids in `data.ids`, or "
                "move one kind of maps elsewhere."
            )
            return


def _pair_problems(
    folder: Path, images: Mapping[str, _File], maps: Mapping[str, _File], most: int | None
) -> Iterator[str]:
    if not images:
        yield f"`{printable(folder / IMAGES)}` holds no image; expected `{LAYOUT}`."
        return
    if lonely := [one.name for key, one in sorted(images.items()) if key not in maps]:
        yield (
            f"`{printable(folder / LABELS)}` has no label map for {_some(lonely, most)} of `{IMAGES}`; a map is called "
            f"like its image, apart from endings such as `{_IMAGE_ENDS[0]}` and `{_MAP_ENDS[0]}`."
        )
    if lonely := [one.name for key, one in sorted(maps.items()) if key not in images]:
        yield (
            f"`{printable(folder / IMAGES)}` has no image for the label map {_some(lonely, most)}; move such maps "
            "elsewhere."
        )


def _some(names: Sequence[str], most: int | None) -> str:
    return shortened([f"`{printable(name)}`" for name in names], most)


def _listing(domain: str, folder: Path, files: Sequence[_File], maps: Listing | None = None) -> Listing:
    names = NameTable.pack([one.name for one in files])
    sizes = np.array([one.size for one in files], np.int64)
    # Not a lambda, which could not be sent to the processes that train together.
    sample = None if maps is None else partial(_fingerprint, maps)
    return Listing(domain, np.zeros(len(files), np.int64), names, sizes, FolderSource(folder, names), sample=sample)


def _fingerprint(maps: Listing) -> str:
    return maps.fingerprint


def read_maps(pairs: Pairs, bench: Benchmark, side: int, cache: Path) -> Maps:
    """Return label maps as the model is tested on them, uint8 `[n, side, side]`, from the cache where they are there.

    Args:
        pairs: The images and their maps.
        bench: Says what ids mean.
        side: The side of the images that the model takes; maps are resized to it with the nearest pixel's label.
        cache: Folder of the cached files.

    Raises:
        DataError: If a map cannot be read, is not of its image's size, or has ids that are not known.
        StorageError: If the cache cannot be written.
    """
    shape = (len(pairs.maps), side, side)
    if (stamps := _stamps(pairs.maps)) is None:
        return _decoded(pairs, bench, side)
    facts = f"{_FORMAT} {pairs.maps.key} {stamps} {sorted(bench.ids.items())} {side}"
    file = cache / "label-maps" / f"{hashlib.sha256(facts.encode()).hexdigest()[:32]}.npy"
    (maps,) = kept({file: shape}, lambda: [_decoded(pairs, bench, side)], "label maps")
    return maps


def _stamps(maps: Listing) -> str | None:
    """Return a digest of the maps' stamps; `None` if one has none, because it may change without its stamp telling."""
    try:
        stamps = [maps.stamp(position) for position in range(len(maps))]
    except OSError:
        return None
    return hashlib.sha256(np.array(stamps, np.uint64).tobytes()).hexdigest() if all(stamps) else None


def _decoded(pairs: Pairs, bench: Benchmark, side: int) -> Maps:
    table = np.full(_ENTRIES, -1, np.int32)
    for number, label in bench.ids.items():
        table[number] = label
    found = np.empty((len(pairs.maps), side, side), np.uint8)
    view, failed = EvaluationView(side), list[Rendered]()

    def make(position: int) -> Rendered:
        try:
            labels = _labels(pairs.maps.content(position), image_size(pairs.images, position), table)
            return Rendered(position, view.nearest(Image.fromarray(labels)))
        except OSError as error:
            return Rendered(position, None, reason_of(error))
        except UnreadableError as error:
            return Rendered(position, None, str(error))

    with closing(make_each(make, range(len(pairs.maps)))) as made:
        for one in made:
            if one.pixels is None:
                failed.append(one)
            else:
                found[one.position] = one.pixels
    if failed:
        raise unreadable(pairs.maps, failed, len(pairs.maps), what="label maps")
    return found


def image_size(images: Listing, position: int) -> tuple[int, int]:
    """Return width and height of the image of a label map, as a viewer shows it: models see it so.

    Raises:
        OSError: If its file cannot be opened.
        UnreadableError: If that is no image.
    """
    try:
        return shown_size(images.content(position))
    except UnreadableError as error:
        raise UnreadableError(f"its image: {error}") from error


def ids_of(content: bytes, size: tuple[int, int]) -> NDArray[np.int64]:
    """Return the ids in a map's file, `[h, w]`.

    Args:
        content: The file.
        size: Width and height of the map's image as a viewer shows it.

    Raises:
        UnreadableError: If it is no map of ids, or has another size than its image.
    """
    with opened(content) as image:
        if image.mode not in ("L", "P", "1", "I", "I;16"):
            raise UnreadableError(f"it has colors ({image.mode}) instead of one id for every pixel")
        if image.size != size:
            mine, theirs = (f"{width} x {height}" for width, height in (image.size, size))
            turned = " as a viewer shows it" if image.size == size[::-1] else ""
            raise UnreadableError(f"it has {mine} pixels, its image {theirs}{turned}")
        return np.asarray(image).astype(np.int64)


def _labels(content: bytes, size: tuple[int, int], table: NDArray[np.int32]) -> Maps:
    """Return the labels of a map's file, uint8 `[h, w]`.

    Raises:
        UnreadableError: If it is no map of ids, has another size than its image, or has unknown ids.
    """
    values = ids_of(content, size)
    clipped = np.clip(values, 0, _ENTRIES - 1)
    labels = np.where(values == clipped, table[clipped], -1)
    if unknown := np.unique(values[labels < 0]).tolist():
        plural = "ids" if len(unknown) > 1 else "id"
        raise UnreadableError(f"{plural} {shortened(list(map(str, unknown)), 8)}, which `data.ids` does not name")
    return labels.astype(np.uint8)


__all__ = [
    "IGNORE",
    "IGNORED",
    "Pairs",
    "classes_of_ids",
    "ids_of",
    "image_size",
    "list_pairs",
    "map_domains",
    "read_maps",
    "survey_pairs",
]
