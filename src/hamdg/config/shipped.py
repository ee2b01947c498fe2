"""Finds recipes and sweep files: below the working directory, else among those that come with hamdg."""

from __future__ import annotations

import difflib
import os
import stat
from collections.abc import Iterable
from pathlib import Path

from hamdg.errors import ConfigError
from hamdg.text import excerpt, listed, reason_of

# In a checkout a link to its `experiments/`; a wheel has the files themselves here.
FOLDER = Path(__file__).parents[1] / "experiments"
_SUFFIX = ".yaml"
# What lies in these folders of experiments; in all others lie recipes.
_KINDS = {"sweeps": "sweep file", "ablations": "sweep file", "wandb": "W&B sweep"}


def find_file(text: str, what: str = "recipe", others: str = "") -> Path:
    """Return the file that `hamdg run` or `hamdg sweep` was given the name of.

    A file below the working directory comes first; the suffix and a leading `experiments/` may be left out.

    Args:
        text: A path, or the name of a shipped file: `pacs/ham`, `experiments/pacs/ham.yaml`.
        what: What it is, for messages: "recipe", "sweep file".
        others: What else could have been meant, for messages: "folder of runs".

    Raises:
        ConfigError: If there is none; the message names the nearest.
    """
    own, shipped = _candidates(text)
    if (found := _first_file([*own, *shipped])) is not None:
        return found
    if not _is_there(own[0]):
        missing = f"{what} or {others}" if others else what
        raise ConfigError(f"There is no {missing} `{excerpt(text, 300)}`; {_hint(text, what)}")
    inside = [str(path) for path in sorted(own[0].glob(f"*{_SUFFIX}"))]
    hint = f"name a file in it, such as {listed(inside, 3)}." if inside else "give the path of a YAML file."
    raise ConfigError(f"Expected a {what}, but `{excerpt(text, 300)}` is a folder; {hint}")


def find_beside(file: Path, text: str, what: str = "recipe") -> Path:
    """Return the file that another file names: by its path from that one, or else as commands take it.

    Args:
        file: The file that names it.
        text: A path from the folder of that file, whose suffix may be left out, or a name that `find_file` knows.
        what: What it is, for messages.

    Raises:
        ConfigError: If there is none; the message names the nearest.
    """
    own = [Path(os.path.normpath(file.parent / name)) for name in _spelled(text)]
    if (found := _first_file(own)) is not None:
        return found
    if _is_no_name(text):
        raise ConfigError(f"There is no {what} `{excerpt(own[0], 300)}`; {_hint(str(own[0]), what)}")
    return find_file(text, what)


def shipped_names(what: str) -> list[str]:
    """Return the names of the files that come with hamdg, such as `mini/ham`.

    Args:
        what: Which of them: "recipe", "sweep file".
    """
    return sorted(shipped_name(path) for path in FOLDER.glob(f"*/*{_SUFFIX}") if kind_of(path) == what)


def kind_of(path: Path) -> str:
    """Return what a YAML file of experiments is, by the folder that it lies in: "recipe", "sweep file", "W&B sweep"."""
    return _KINDS.get(path.parent.name, "recipe")


def shipped_file(name: str) -> Path:
    """Return the file of one of those names."""
    return FOLDER / f"{name}{_SUFFIX}"


def shipped_name(path: Path) -> str:
    """Return the name of a file that comes with hamdg."""
    return path.relative_to(FOLDER).with_suffix("").as_posix()


def is_shipped(path: Path) -> bool:
    """Return whether a file is one of those that come with hamdg."""
    return path.is_relative_to(FOLDER)


def public_name(path: Path) -> str:
    """Return a file's path from here if it lies below, or its name if it comes with hamdg, as on every machine."""
    if is_shipped(path):
        return f"experiments/{path.relative_to(FOLDER).as_posix()}"
    whole, here = path.resolve(), Path.cwd()
    return whole.relative_to(here).as_posix() if whole.is_relative_to(here) else str(path)


def _candidates(text: str) -> tuple[list[Path], list[Path]]:
    names = _spelled(text)
    own = [Path(name) for name in names]
    return own, [] if _is_no_name(text) else [FOLDER / name.removeprefix("experiments/") for name in names]


def _spelled(text: str) -> list[str]:
    """Return what a file may be called whose suffix may be left out."""
    return [text, *([] if text.endswith(_SUFFIX) else [text + _SUFFIX])]


def _is_no_name(text: str) -> bool:
    """Return whether a text means one place only: `./pacs/ham.yaml` and `/pacs/ham.yaml` do."""
    return text.startswith(".") or Path(text).is_absolute() or not text


def _first_file(paths: Iterable[Path]) -> Path | None:
    return next((path for path in paths if _is_there(path) and not stat.S_ISDIR(path.stat().st_mode)), None)


def _is_there(path: Path) -> bool:
    try:
        path.stat()
    except FileNotFoundError:
        return False
    except (OSError, ValueError) as error:
        reason = reason_of(error) if isinstance(error, OSError) else "no file can be called that"
        raise ConfigError(f"`{excerpt(path, 300)}` cannot be read: {reason}.") from None
    return True


def _hint(text: str, what: str) -> str:
    shipped = {name: name for name in shipped_names(what)} | {
        f"experiments/{name}.yaml": name for name in shipped_names(what)
    }
    parent = Path(text).parent
    try:
        own = {str(path): str(path) for path in parent.glob(f"*{_SUFFIX}")}
    except OSError:
        own = {}
    known = shipped | own
    near = list(dict.fromkeys(known[name] for name in difflib.get_close_matches(text, known, n=3, cutoff=0.7)))
    if near:
        return f"did you mean {' or '.join(f'`{name}`' for name in near)}?"
    names = listed(shipped_names(what), 8)
    return f"give the path of a YAML file, or one of those that come with hamdg: {names} (`hamdg recipes`)."
