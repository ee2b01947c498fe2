"""The sources of a merge on the command line: their files, and what is said of each by its name."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence
from decimal import Decimal
from pathlib import Path

from hamdg.commands.merging.arguments import Request
from hamdg.commands.merging.flags import EXAMPLE, FLAGS
from hamdg.commands.merging.values import is_number, nearest
from hamdg.errors import ConfigError
from hamdg.text import listed

_LISTED = 12
_FILE = "NAME=FILE"
# Longest first: the name of a file is what comes before its ending.
_ENDINGS = (
    *(".safetensors.index.json", ".bin.index.json", ".safetensors", ".ckpt", ".pth.tar", ".pt.tar", ".tar", ".pth"),
    *(".pt", ".pkl", ".bin"),
)


def named_files(texts: Sequence[str]) -> dict[str, Path]:
    """Return the files by the names of their sources.

    A text that is an existing file or folder as a whole is one, whatever it holds (`epoch=3.ckpt`); any other with a
    `=` is NAME=FILE. A file without a name is called as it is without its ending, a folder as it is. Of all in the
    history of a run of an older version (`RUN/history/*`), the index and the folders of checkpoints are left out.

    Raises:
        ConfigError: There is none, a name or a path is empty, or two have one name.
    """
    if not texts:
        raise ConfigError(f"There are no files to merge; write {EXAMPLE}.")
    # Runs of older versions have an index and folders beside the models.
    indices = [path for path in map(Path, texts) if path.name == "index.json" and path.parent.name == "history"]
    histories = {index.parent for index in indices}
    files: dict[str, Path] = {}
    for text in texts:
        name, path = _named(text)
        if path in indices or (path.parent in histories and path.is_dir()):
            continue
        if name in files and "=" in text and not path.exists() and is_number(path.name):
            raise ConfigError(
                f"`{text}` is not a file; weights are written as one word, `--weights {name}={path},...`."
            )
        if name in files:
            what = "is given twice" if files[name] == path else f"is the name of `{files[name]}` and of `{path}`"
            raise ConfigError(f"The source `{name}` {what}; give every source once, with a name of its own: NAME=FILE.")
        files[name] = path
    if not files:
        raise ConfigError(f"There are no models among `{'`, `'.join(texts)}`; write {EXAMPLE}.")
    return files


def pairs(flag: str, texts: Sequence[str], names: Collection[str]) -> dict[str, str]:
    """Return what texts of the form NAME=VALUE,NAME=VALUE,... say.

    Names and values may hold a `=` (`art=epoch=3.json`). The name is the longest of those that are known, or else what
    comes before the last `=`. Values of files may hold a comma: they end where a known name follows.

    Args:
        flag: The flag that they belong to.
        texts: The texts.
        names: The names that are known.

    Raises:
        ConfigError: One is written in another way, or a name is repeated.
    """
    found: dict[str, str] = {}
    for part in (part for text in texts for part in _parts(text, names, files=FLAGS[flag].value.startswith(_FILE))):
        known = [name for name in names if part.startswith(f"{name}=")]
        last, equals, _ = part.rpartition("=")
        name = max(known, key=len, default=last)
        value = part[len(name) + 1 :]
        if not equals or not name:
            raise ConfigError(f"Expected `{flag}` to be {FLAGS[flag].value}, but got `{part}`.")
        if name in found:
            raise ConfigError(f"`{flag}` names `{name}` twice; keep one of them.")
        found[name] = value
    return found


def prefixes_of(request: Request, sources: Collection[str]) -> dict[str, str]:
    """Return the prefixes that were named, by source or `base`.

    Raises:
        ConfigError: One is for something else.
    """
    return _by_file("--prefix", request.prefix, sources)


def keys_of(request: Request, sources: Collection[str]) -> dict[str, str] | str | None:
    """Return where in their files the models lie, by source or `base`; one text if that was named for all files.

    Raises:
        ConfigError: One is for something else, or some are for one file and some for all.
    """
    texts = request.key
    bare = [text for text in texts if "=" not in text]
    if bare and len(texts) > 1:
        raise ConfigError(
            f"`--key {bare[0]}` is for all files; name one key for all, or one for each as NAME=KEY, not both."
        )
    if bare:
        return bare[0]
    return _by_file("--key", texts, sources) or None


def weights_of(request: Request, sources: Collection[str]) -> dict[str, float] | None:
    """Return the weight of every source, `None` if none were given.

    Args:
        request: What the user asked for.
        sources: Names of the sources in the order in which their files were given.

    Raises:
        ConfigError: One is missing, belongs to no source or is not a number.
    """
    if request.weights is None:
        return None
    values = _in_order(request.weights, sources) or pairs("--weights", [request.weights], sources)
    for name, value in values.items():
        if not is_number(value) or not math.isfinite(float(value)):
            raise ConfigError(f"Expected the weight of `{name}` to be a number, but got `{value}`.")
        if float(value) == 0 and Decimal(value) != 0:
            raise ConfigError(f"The weight of `{name}`, `{value}`, is too small; multiply all weights by a number.")
        if name not in sources:
            raise ConfigError(f"`--weights` names `{name}`, which is not a source; {nearest(name, sorted(sources))}")
    missing = sorted(set(sources) - set(values))
    if missing:
        raise ConfigError(f"`--weights` leaves out the source `{missing[0]}`; give every source a weight.")
    return {name: float(value) for name, value in values.items()}


def evidence_of(request: Request, sources: Collection[str]) -> dict[str, Path]:
    """Return the files of evidence by source.

    Raises:
        ConfigError: One is written in another way, or a source is repeated.
    """
    return {name: Path(text) for name, text in pairs("--evidence", request.evidence, sources).items()}


def _parts(text: str, names: Collection[str], *, files: bool) -> list[str]:
    """Cut a text at its commas; where values are files, only at those before a known name."""
    if not files:
        return text.split(",")
    known = "|".join(re.escape(name) for name in names)
    return re.split(f",(?=(?:{known})=)", text)


def _named(text: str) -> tuple[str, Path]:
    name, equals, path = text.partition("=")
    if not equals or Path(text).exists() or "/" in name:
        return _stem(Path(text)), Path(text)
    if not name or not path:
        raise ConfigError(f"Expected a source as NAME=FILE, but got `{text}`.")
    return name, Path(path)


def _stem(path: Path) -> str:
    whole = path.name or path.resolve().name
    return next((whole.removesuffix(ending) for ending in _ENDINGS if whole.endswith(ending)), whole) or whole


def _by_file(flag: str, texts: Sequence[str], sources: Collection[str]) -> dict[str, str]:
    values = pairs(flag, texts, (*sources, "base"))
    for name in values:
        if name not in sources and name != "base":
            hint = nearest(name, [*sorted(sources), "base"])
            raise ConfigError(f"`{flag}` names `{name}`, which is neither a source nor `base`; {hint}")
    return values


def _in_order(text: str, sources: Collection[str]) -> dict[str, str]:
    """Return weights without names by the sources' order; nothing if they have names.

    Raises:
        ConfigError: Some have names and some have none, or there are not as many as sources.
    """
    parts = text.split(",")
    bare = [part for part in parts if "=" not in part]
    if not bare:
        return {}
    if len(bare) < len(parts):
        raise ConfigError(
            f"`--weights` gives `{bare[0]}` without a source's name beside weights with one; write all as NAME=NUMBER, "
            "or all as NUMBER in the order of the files."
        )
    if len(parts) != len(sources):
        raise ConfigError(
            f"`--weights` gives {len(parts)} number{'s' if len(parts) > 1 else ''} for {len(sources)} "
            f"source{'s' if len(sources) > 1 else ''}, {listed(list(sources), _LISTED)}; give one for each, in this "
            "order, or NAME=NUMBER,..."
        )
    return dict(zip(sources, parts, strict=True))
