"""A data set of the user's own, made a benchmark by the names of its folders, its lists or its columns on the hub."""

from __future__ import annotations

import math
import os
import shlex
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import yaml

from hamdg.config.data import CUSTOM
from hamdg.data.benchmark import Benchmark, Hub, Lists, composed, normalized
from hamdg.data.folders.layout import LAYOUT, class_folders, printable, subfolders
from hamdg.data.folders.walk import walk
from hamdg.errors import ConfigError, DataError
from hamdg.files import user_path
from hamdg.text import escaped, listed, reason_of

_LISTED = 12
MAPS = "<domain>/images and <domain>/labels"
_LONGEST_NAME = 200
# Files of a run would lie where the folder of such a domain lies.
_TAKEN = ("index.json", ".safetensors")


def custom_benchmark(
    root: str | None,
    hub: Hub | None,
    lists: Lists | None = None,
    chosen: tuple[str, ...] = (),
    ids: Mapping[str, str] | None = None,
) -> Benchmark:
    """Return the benchmark that a folder, a hub's data set or list files make: domains and classes sorted by name.

    Only the names of folders are read, or the list files; a hub's data set that is not there yet is downloaded.

    Args:
        root: A folder of `<domain>/<class>/image`; parts (`train`, `val`, `test`) may lie between the two.
        hub: A data set on the hub, instead.
        lists: List files, instead.
        chosen: Which domains to use; empty for all.
        ids: What the ids in label maps mean, where the folder holds `<domain>/images` and `<domain>/labels`.

    Raises:
        ConfigError: If neither or both are given, label maps are asked for where there are none, or there is no domain
            that was chosen.
        DataError: If they are missing, or make no benchmark.
    """
    if root is not None and hub is not None:
        raise ConfigError("`data.root` and `data.hub` both name the images; keep one of them.")
    if ids is not None:
        if lists is not None or hub is not None:
            raise ConfigError(
                "`data.ids` means label maps, but list files and tables name images with a class each; leave out one."
            )
        if root is None:
            raise ConfigError(f"`data.ids` needs `data.root`, a folder of `{MAPS}`.")
        return _of_maps(user_path(root, "data.root").absolute(), chosen, dict(ids))
    if lists is not None:
        return _of_lists(lists, chosen)
    if root is not None:
        return _of_folder(user_path(root, "data.root").absolute(), chosen)
    if hub is not None:
        return _of_hub(hub, chosen)
    raise ConfigError(f"`benchmark: {CUSTOM}` needs `data.root` (a folder of `{LAYOUT}`), `data.lists` or `data.hub`.")


def _of_maps(root: Path, chosen: tuple[str, ...], ids: dict[str, str]) -> Benchmark:
    from hamdg.data.label_maps import classes_of_ids, map_domains

    classes, labels = classes_of_ids(ids)
    try:
        folders = map_domains(root)
    except OSError as error:
        raise DataError(f"`data.root`: `{error.filename}` cannot be listed ({reason_of(error)}).") from error
    left_out = left_out_of(f"`{root}`", folders, chosen)
    domains = [composed(name) for name in folders if name not in left_out]
    if not domains:
        raise DataError(f"`data.root`: no folder of `{root}` is a domain; expected `{MAPS}`.")
    names, _ = checked_names(f"`{root}`", domains, classes)
    return Benchmark(CUSTOM, names, classes, title=root.name, left_out=left_out, task="segmentation", ids=labels)


@cache
def _of_folder(root: Path, chosen: tuple[str, ...]) -> Benchmark:
    if root.is_file():
        raise DataError(f"`data.root`: `{root}` is a file; give a folder of `{LAYOUT}`, or a list with `data.lists`.")
    if not root.is_dir():
        raise DataError(f"`data.root`: there is no folder `{root}`; give one of `{LAYOUT}`.")
    try:
        folders = subfolders(root)
        left_out = left_out_of(f"`{root}`", folders, chosen)
        classes = {composed(domain): class_folders(root / domain) for domain in folders if domain not in left_out}
    except OSError as error:
        raise DataError(f"`data.root`: `{error.filename}` cannot be listed ({reason_of(error)}).") from error
    if bare := [domain for domain, names in classes.items() if not names]:
        others = [domain for domain in classes if domain not in bare]
        raise DataError(
            f"`data.root`: {listed(bare, _LISTED)} in `{root}` holds no class folders; expected `{LAYOUT}`. "
            f"{_without_bare(others)}"
        )
    if classes and all(set(names) == {"images", "labels"} for names in classes.values()):
        raise DataError(
            f"`data.root`: the domains of `{root}` hold `images` and `labels`; say with `data.ids` what the ids in "
            "their label maps mean, such as `{0: road, 1: sky, 255: ignore}`."
        )
    names = [composed(name) for names in classes.values() for name in names]
    found = checked_names(f"`{root}`", list(classes), names)
    if not _has_images(root, [domain for domain in folders if domain not in left_out]):
        raise DataError(f"`data.root`: there is no image in the folders of `{root}`; expected `{LAYOUT}`.")
    return Benchmark(CUSTOM, *found, title=root.name, left_out=left_out)


def _without_bare(others: Sequence[str]) -> str:
    """Return what to do about folders beside the domains."""
    if not others:
        return "Give the folder that holds the domains."
    names = yaml.safe_dump(list(others), default_flow_style=True, allow_unicode=True, width=math.inf).strip()
    option = shlex.quote(f"--data.domains={names}")
    choose = f", or choose the domains with `{option}`" if 1 < len(others) <= _LISTED else ""
    return f"Move what is not a domain elsewhere{choose}."


def _of_hub(hub: Hub, chosen: tuple[str, ...]) -> Benchmark:
    from hamdg.data.hub.copies import local_copy
    from hamdg.data.hub.table import open_table

    table, local = open_table(hub), local_copy(hub)
    left_out = left_out_of(f"The data set `{hub.id}`", table.domains.names, chosen)
    kept = table.without(left_out)
    found = checked_names(f"The data set `{hub.id}`", kept.domains.names, kept.labels.names)
    return Benchmark(CUSTOM, *found, title=hub.id if local is None else local.name, hub=hub, left_out=left_out)


def _of_lists(lists: Lists, chosen: tuple[str, ...]) -> Benchmark:
    from hamdg.data.lists.meaning import read_names

    found, what = read_names(lists), f"`{printable(lists.path)}`"
    left_out = left_out_of(what, found.domains, chosen)
    domains = [name for name in found.domains if name not in left_out]
    names = checked_names(what, domains, found.without(left_out))
    return Benchmark(CUSTOM, *names, title=lists.path.stem, left_out=left_out)


def left_out_of(what: str, names: Sequence[str], chosen: Sequence[str]) -> tuple[str, ...]:
    """Return which names are those of no chosen domain; none if all are wanted.

    Args:
        what: What has the domains, as messages begin.
        names: The names of what may be a domain.
        chosen: The chosen domains, spelled as freely as folders; empty for all.

    Raises:
        ConfigError: If a chosen domain is not there.
    """
    if not chosen:
        return ()
    there = {normalized(name) for name in names}
    if unknown := [name for name in chosen if normalized(name) not in there]:
        raise ConfigError(
            f"`data.domains` names {listed(unknown)}, but {what[0].lower()}{what[1:]} has {listed(names, _LISTED)}."
        )
    wanted = {normalized(name) for name in chosen}
    return tuple(name for name in names if normalized(name) not in wanted)


def checked_names(what: str, domains: Sequence[str], classes: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return domains and classes sorted, each once.

    Raises:
        DataError: If there are fewer than two of either, or two that are compared as equal.
    """
    for kind, names in (("domain", domains), ("class", classes)):
        several = sorted(set(names))
        check_names(what, kind, several)
        if len(several) < 2:
            own = f"only the {kind} {listed(several)}" if several else f"no {kind}"
            raise DataError(f"{what} has {own}; two or more are needed.")
        alike: dict[str, list[str]] = {}
        for name in several:
            alike.setdefault(normalized(name), []).append(name)
        if same := next((names for names in alike.values() if len(names) > 1), None):
            raise DataError(
                f"{what} has {listed(same)}, which differ only in case, spaces, underscores or hyphens; "
                f"give the {kind} one name everywhere, or give them names that differ more."
            )
    return tuple(sorted(set(domains))), tuple(sorted(set(classes)))


def check_names(what: str, kind: str, names: Sequence[str]) -> None:
    """Refuse names that a run could not write down; before anything is read.

    Args:
        what: What has these names, for messages.
        kind: What they name: `domain` or `class`.
        names: The names of folders, or of a hub's columns.

    Raises:
        DataError: One of the names is such a name; the message names it.
    """
    for name in names:
        if reason := _name_problem(name, kind):
            raise DataError(f"{what} has the {kind} `{escaped(name)}`, whose name {reason}; rename it.")


def _name_problem(name: str, kind: str) -> str:
    if not name.strip():
        return "is empty"
    if any("\ud800" <= character <= "\udfff" for character in name):
        return "is not UTF-8"
    if escaped(name) != name:
        return "has control characters"
    if kind == "class":
        return ""
    # A hub's domains can be any texts, but a run has a folder for each.
    if "/" in name or name.startswith("."):
        return "cannot be that of a folder: it has a slash or begins with a dot"
    if len(os.fsencode(name)) > _LONGEST_NAME:
        return f"is longer than {_LONGEST_NAME} bytes"
    return "is kept for files of a run" if name.casefold().endswith(_TAKEN) else ""


def _has_images(root: Path, domains: Sequence[str]) -> bool:
    folders = (root / domain / name for domain in domains for name in subfolders(root / domain))
    return any(walk(folder).files for folder in folders)
