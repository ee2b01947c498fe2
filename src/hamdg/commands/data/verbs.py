"""The verbs `hamdg data list`, `verify`, `prepare`, `sheet`, `conflicts` and `cache`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hamdg.commands import output
from hamdg.commands.data import conflicts
from hamdg.commands.numbers import check_count
from hamdg.errors import ConfigError, HamdgError
from hamdg.text import listed, reason_of

if TYPE_CHECKING:
    from hamdg.config.recipe import Recipe
    from hamdg.data.locations import Location

# The verbs that take recipe keys, with their own options.
OPTIONS = {
    "data verify": ("--contents", "--no-decode", "--all", "--out"),
    "data prepare": ("--size", "--view", "--domain"),
    "data sheet": ("--out", "--per-cell", "--classes"),
    "data conflicts": conflicts.OPTIONS,
}
_INTERRUPTED = 130
# The recipe keys that each verb reads; of what renders its images, sections too.
_SOURCE_KEYS = (
    *("data.root", "data.hub", "data.revision", "data.lists", "data.domains", "data.ids"),
    *("data.columns.image", "data.columns.label", "data.columns.domain", "data.truncated"),
)
_KEYS = {
    "verify": _SOURCE_KEYS,
    "prepare": (*_SOURCE_KEYS, "data.store", "data.cache"),
    "sheet": _SOURCE_KEYS,
}
# The same of embedded benchmarks, beside the section that says how each is rendered.
_RENDERED_KEYS: dict[str, tuple[str, ...]] = {"prepare": ("data.cache",), "sheet": ()}
# The side of an image that a model may take, and how many images a cell of a sheet may show.
_LARGEST, _IN_A_CELL = 4_096, 100
_PLACE = (
    "Without ROOT the images are looked for in the folder HAMDG_DATA, in data/ and on the hub. A data set of your "
    "own is called `custom`; it needs a ROOT of <domain>/<class>/image, a ROOT that is a .parquet file or a folder "
    "of them, --data.lists=FILE (a CSV of path, class and domain, or <path> <label> lines, with paths below ROOT), or "
    "--data.hub=ID (with --data.revision), and --data.columns.image, .label and .domain where columns have other "
    "names. --data.domains=[a,b] chooses among its domains; --data.truncated=read reads truncated files."
)
_VERIFY = (
    "Exit code 0: every image is readable and the counts are those of a published copy, which is named (for "
    "`custom`: every class has images in every domain; with --data.ids: every image has a label map of its size and of "
    "known ids). 1: something is missing, unexpected or damaged; all of it is listed. 2: wrong usage, or no images."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the verbs below `hamdg data`."""
    verbs = parser.add_subparsers(metavar="COMMAND", required=True)
    _verb(verbs, "list", "list the benchmarks, their domains and classes, and where they are here", _list, "list")
    _add_verify(verbs)
    _add_prepare(verbs)
    _add_sheet(verbs)
    conflicts.add_arguments(
        _verb(verbs, "conflicts", conflicts.SUMMARY, conflicts.run, "conflicts mini/ham", conflicts.EPILOG)
    )
    _add_cache(verbs)


def _add_verify(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "compare images with the published copies of a benchmark, and open every one of them"
    verb = _verb(verbs, "verify", text, _verify, "verify pacs data/PACS", f"{_VERIFY} {_PLACE}")
    _add_place(verb)
    verb.add_argument("--contents", action="store_true", help="digest the contents of all files; finds duplicates")
    verb.add_argument("--no-decode", action="store_true", help="do not open the images; finds no damage")
    verb.add_argument("--all", action="store_true", help="list all classes of a benchmark with many")
    card = Path("data_card.json")
    verb.add_argument("--out", type=Path, default=card, help=f"where the data card is written (default: {card})")


def _add_prepare(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "decode all images into the cache, ahead of a run"
    verb = _verb(verbs, "prepare", text, _prepare, "prepare pacs data/PACS", _PLACE)
    _add_place(verb)
    verb.add_argument("--size", type=int, default=224, help="side of the images that the model takes (default: 224)")
    views = ("evaluation", "training", "both")
    verb.add_argument(
        *("--view",),
        choices=views,
        default="both",
        metavar="VIEW",
        help="evaluation, training (for the augmentations clip and domainbed, which crop) or both (default)",
    )
    verb.add_argument("--domain", action="append", help="only this domain; may be repeated (default: all)")


def _add_sheet(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "draw images of every class and domain on one sheet"
    verb = _verb(verbs, "sheet", text, _sheet, "sheet mini", _PLACE)
    _add_place(verb)
    out = "the PNG file (default: <benchmark>-sheet.png); many classes make several, -1.png, -2.png and so on"
    verb.add_argument("--out", type=Path, default=None, help=out)
    verb.add_argument("--per-cell", type=int, default=4, help="images of each class and domain (default: 4)")
    verb.add_argument("--classes", default=None, help="only these classes, such as dog,horse (default: all)")


def _add_cache(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "list the decoded images and activations that are kept, or delete some"
    parser = verbs.add_parser("cache", help=text, description=f"{text.capitalize()}.", allow_abbrev=False)
    actions = parser.add_subparsers(metavar="COMMAND", required=True)
    end = "A store that a process uses is never deleted; exit code 1 if one of those named stays for that reason."
    shown = _verb(actions, "list", "list stores with their data set, size and last use", _cache_list, "cache list")
    text = "delete stores; a run that needs one makes it again"
    deleted = _verb(actions, "delete", text, _cache_delete, "cache delete --older=30", end)
    for verb in (shown, deleted):
        text = "the folder of caches, as the recipe key (default: HAMDG_CACHE, or ~/.cache/hamdg)"
        verb.add_argument("--cache", "--data.cache", metavar="FOLDER", help=text)
    deleted.add_argument("names", nargs="*", metavar="NAME", help="a store's name in `list`, or the beginning of it")
    deleted.add_argument("--outdated", action="store_true", help="those that this version does not use")
    deleted.add_argument("--older", type=float, metavar="DAYS", help="those that were not used for so many days")
    deleted.add_argument("--all", action="store_true", help="all of them")


def _verb(
    verbs: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    text: str,
    handler: Callable[[argparse.Namespace], int],
    example: str,
    more: str = "",
) -> argparse.ArgumentParser:
    end = f"Example: hamdg data {example}" + (f". {more}" if more else "")
    return output.add_verb(verbs, name, text, handler, end)


def _add_place(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("benchmark", metavar="NAME", help="a benchmark, such as pacs (`hamdg data list`), or custom")
    verb.add_argument("root", nargs="?", metavar="ROOT", help="the folder that holds its domains, or a .parquet file")


def _list(arguments: argparse.Namespace) -> int:
    from hamdg import console
    from hamdg.commands.data.catalog import catalog, values

    if console.wants_json():
        console.result_json({"benchmarks": values()})
    else:  # looking for the images twice takes twice as long
        console.result(catalog())
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    out: Path = arguments.out
    recipe, place = _read_location("verify", arguments)

    from hamdg import console
    from hamdg.commands.data.verification import verified
    from hamdg.files import write_json

    try:
        found = verified(
            place,
            decode=not arguments.no_decode,
            contents=arguments.contents,
            truncated=recipe.data.truncated,
            everything=arguments.all,
        )
    except KeyboardInterrupt:
        print("\nhamdg: stopped; nothing was written.", file=sys.stderr)
        return _INTERRUPTED
    _write(out, lambda: write_json(out, found.card))
    console.result(f"The data card is in {out}.")
    console.result_json({"card_file": out} | found.values | {"card": found.card})
    return 0 if found.good else 1


def _prepare(arguments: argparse.Namespace) -> int:
    check_count("--size", arguments.size, _LARGEST)
    recipe = _read_recipe("prepare", arguments)

    from hamdg.commands.data.preparation import prepare

    prepare(recipe, side=arguments.size, views=arguments.view, domains=arguments.domain)
    return 0


def _sheet(arguments: argparse.Namespace) -> int:
    check_count("--per-cell", arguments.per_cell, _IN_A_CELL)
    recipe = _read_recipe("sheet", arguments)

    from hamdg.commands.data.sheets import draw

    out: Path = arguments.out or Path(f"{recipe.benchmark}-sheet.png")
    try:
        _write(out, lambda: draw(recipe, arguments.classes, arguments.per_cell, out))
    except KeyboardInterrupt:
        print("\nhamdg: stopped.", file=sys.stderr)
        return _INTERRUPTED
    return 0


def _cache_list(arguments: argparse.Namespace) -> int:
    from hamdg.commands.data.caches import show
    from hamdg.files import needed_cache

    show(needed_cache(arguments.cache))
    return 0


def _cache_delete(arguments: argparse.Namespace) -> int:
    from hamdg.commands.data.caches import remove
    from hamdg.files import needed_cache

    rules = {"everything": arguments.all, "outdated": arguments.outdated, "older": arguments.older}
    return 0 if remove(needed_cache(arguments.cache), arguments.names, **rules) else 1


def _write(out: Path, write: Callable[[], None]) -> None:
    """Write a file.

    Raises:
        ConfigError: If it cannot be written there.
    """
    try:
        write()
    except HamdgError:
        raise
    except OSError as error:
        reason = reason_of(error)
        raise ConfigError(f"Cannot write `{out}`: {reason}; name another file with `--out`.") from error


def _read_location(verb: str, arguments: argparse.Namespace) -> tuple[Recipe, Location]:
    """Return a recipe that names the images, and where they are.

    Raises:
        ConfigError: If something in the arguments is wrong.
        DataError: If there are no images.
    """
    from hamdg.config.data import RENDERED
    from hamdg.data.resolve import place_of

    if (name := arguments.benchmark) in RENDERED:
        raise ConfigError(
            f"`{name}` is rendered on this machine, so there are no files to verify; look at it with "
            f"`hamdg data sheet {name}`."
        )
    recipe = _read_recipe(verb, arguments)
    return recipe, place_of(recipe)


def _read_recipe(verb: str, arguments: argparse.Namespace) -> Recipe:
    """Return a recipe that names the images; its held-out domain means nothing.

    Args:
        verb: The verb below `hamdg data`.
        arguments: A benchmark's name, a folder if one was given, and the keys of recipes that were given.

    Raises:
        ConfigError: If something in them is wrong.
    """
    from hamdg.config.checks import place_problems
    from hamdg.config.data import CUSTOM, RENDERED
    from hamdg.config.parsing import overridden
    from hamdg.config.reading import read_recipe
    from hamdg.config.recipe import Recipe
    from hamdg.data.registry import benchmark

    name, overrides = arguments.benchmark, arguments.overrides
    given = [*overrides, *([f"--data.root={arguments.root}"] if arguments.root else [])]
    if name in RENDERED:
        _check_keys(f"{verb} {name}", overrides, (f"data.{RENDERED[name]}", *_RENDERED_KEYS[verb]))
        bench = benchmark(name)
        # Which network it is means nothing here, but a recipe has to name one that gives such labels.
        model = ["--model.name=mini-unet"] if bench.task == "segmentation" else []
        return read_recipe(None, [f"--benchmark={name}", f"--held_out={bench.domains[-1]}", *model, *given])
    if name != CUSTOM:
        benchmark(name)
    _check_keys(verb, overrides, _KEYS[verb])
    recipe = overridden(Recipe(benchmark=name), given)
    for problem in place_problems(recipe):
        raise ConfigError(f"{problem.sentence}.")
    return recipe


def recipe_keys(verb: str) -> tuple[str, ...]:
    """Return the recipe keys that a verb below `hamdg data` takes, and the sections of which it takes all."""
    own = ("data.mini", "data.scenes") if verb in _RENDERED_KEYS else ()
    return (*_KEYS.get(verb, ()), *own, *_RENDERED_KEYS.get(verb, ()))


def _check_keys(verb: str, overrides: Sequence[str], known: Sequence[str]) -> None:
    """Refuse a recipe key that a verb would ignore."""
    for override in overrides:
        key = override.removeprefix("--").partition("=")[0]
        if key not in known and not key.startswith(tuple(f"{section}." for section in known)):
            raise ConfigError(
                f"`hamdg data {verb}` takes the recipe keys {listed(known)} here, but got `--{key}`; leave it out."
            )
