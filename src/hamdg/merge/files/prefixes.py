"""What stands before a model's names in a file, such as `model.` in a Lightning checkpoint."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path

from hamdg.errors import Argument, WeightsError
from hamdg.merge.compatibility import problems_error
from hamdg.text import listed

# Put before every name by DistributedDataParallel and by torch.compile.
WRAPPERS = ("module.", "_orig_mod.")
# What torch's wrappers put into names wherever a part of a model is wrapped: compilation, FSDP, saved activations.
_INNER = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
# The counter that torch's AveragedModel keeps beside the `module` that it averages.
_COUNTER = "n_averaged"
_LISTED = 12


def own_names(names: Collection[str]) -> dict[str, str]:
    """Return the names in a file, each with the one that the tensor has without torch's wrappers.

    The counter of an `AveragedModel` is not part of the model and is left out.
    """
    plain = {name: _unwrapped(name) for name in names if not _is_counter(name, names)}
    return plain if len(set(plain.values())) == len(plain) else {name: name for name in plain}


def find_prefix(
    path: Path, names: Collection[str], *, named: str | None, like: Collection[str] | None, checkpoint: bool
) -> str:
    """Return the prefix of a model's names in a file.

    - Where a prefix was named, that one.
    - Where names to compare with are known, the one under which all of them are in the file. A checkpoint may hold
      other things beside the model (a loss with weights); in a plain weights file all names must share the prefix.
    - Otherwise a checkpoint's names must share their first part, and a plain file's stay as they are. What distributed
      training and compilation put before all names goes.

    Args:
        path: The file, for messages.
        names: The names in it.
        named: The prefix that the caller named, with or without its last dot; an empty one takes all names as they are.
        like: The names of a model of the same architecture.
        checkpoint: Whether the file is a checkpoint of a training rather than plain weights.

    Raises:
        WeightsError: No prefix fits, or more than one.
    """
    if named is not None:
        return _named(path, names, named)
    if like:
        return _fitting(path, names, set(like), checkpoint)
    prefix = _wrapped(names)
    return prefix if not checkpoint or not names else _shared(path, names)


def _named(path: Path, names: Collection[str], named: str) -> str:
    prefix = _unwrapped(named if not named or named.endswith(".") else f"{named}.")
    if not any(name.startswith(prefix) for name in names):
        raise WeightsError(
            f"No name in `{path}` begins with `{prefix}`; they begin with {listed(_beginnings(names), _LISTED)}. "
            "Name one of these as ",
            Argument("prefix"),
            ".",
        )
    return prefix


def _fitting(path: Path, names: Collection[str], like: set[str], checkpoint: bool) -> str:
    counts = Counter(prefix for name in names for prefix, rest in _splits(name) if rest in like)
    fits = sorted(prefix for prefix, count in counts.items() if count == len(like))
    if not checkpoint:
        whole = [prefix for prefix in fits if all(name.startswith(prefix) for name in names)]
        return whole[0] if len(whole) == 1 else _wrapped(names)
    if len(fits) > 1:
        raise WeightsError(
            f"The names of the model are found under {len(fits)} prefixes in `{path}`: {listed(fits, _LISTED)}. "
            "Name one of these as ",
            Argument("prefix"),
            ".",
        )
    if not fits:
        raise _no_fit(path, names, like, counts)
    return fits[0]


def _no_fit(path: Path, names: Collection[str], like: set[str], counts: Counter[str]) -> WeightsError:
    start = f"No prefix in `{path}` has all names of the model:"
    if not counts:
        beginnings = listed(_beginnings(names), _LISTED)
        way_out = "Merge models of one architecture, or name the "
        return WeightsError(f"{start} its names begin with {beginnings}. {way_out}", Argument("prefix"), ".")
    prefix = max(sorted(counts), key=lambda candidate: counts[candidate])
    present = set(names)
    lacking = [f"`{name}`" for name in sorted(like) if prefix + name not in present]
    way_out = "Merge models of one architecture, or name another "
    return problems_error(start, {f"the nearest, `{prefix}`, lacks": lacking}, way_out, Argument("prefix"), ".")


def _shared(path: Path, names: Collection[str]) -> str:
    beginnings = _beginnings(names)
    if len(beginnings) > 1 or not beginnings[0].endswith("."):
        raise WeightsError(
            f"The names in the checkpoint `{path}` share no prefix; they begin with {listed(beginnings, _LISTED)}. "
            "Name the model's as ",
            Argument("prefix"),
            " (an empty one takes all names as they are), or give a base to compare with.",
        )
    prefix = beginnings[0]
    return prefix + _wrapped([name.removeprefix(prefix) for name in names])


def _wrapped(names: Collection[str]) -> str:
    prefix = ""
    while names and (found := next((w for w in WRAPPERS if all(n.startswith(prefix + w) for n in names)), None)):
        prefix += found
    return prefix


def _unwrapped(name: str) -> str:
    for part in _INNER:
        # Only whole parts: those at the beginning, or after a dot.
        name = f".{name}".replace(f".{part}", ".")[1:]
    return name


def _is_counter(name: str, names: Collection[str]) -> bool:
    start, dot, own = name.rpartition(".")
    if own != _COUNTER:
        return False
    beside = [other for other in names if other.startswith(start + dot) and other != name]
    return bool(beside) and all(other.startswith(f"{start}{dot}module.") for other in beside)


def _splits(name: str) -> Iterator[tuple[str, str]]:
    yield "", name
    for place, letter in enumerate(name):
        if letter == ".":
            yield name[: place + 1], name[place + 1 :]


def _beginnings(names: Collection[str]) -> list[str]:
    return sorted({name.partition(".")[0] + name.partition(".")[1] for name in names})
