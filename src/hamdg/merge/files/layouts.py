"""Which of the mappings in a checkpoint is the model: training scripts each have a layout of their own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from hamdg.errors import Argument, WeightsError
from hamdg.text import listed, shortened

Content = Mapping[object, object]

# So deep models are looked for: `{"checkpoint": {"model_ema": {"module": {...}}}}` is three.
_DEPTH = 4
_LISTED = 12
# Every optimizer of torch keeps its groups of parameters by this key.
_OPTIMIZER = "param_groups"
_LIGHTNING = "pytorch-lightning_version"
# What Lightning keeps beside the model: its WeightAveraging writes the average as `state_dict`, and the other weights
# in order to go on.
_BESIDE = frozenset({"callbacks", "loops", "optimizer_states", "current_model_state", "averaging_state"})


def is_lightning(content: object) -> bool:
    """Return whether what was in a file is a Lightning checkpoint."""
    return isinstance(content, Mapping) and _LIGHTNING in content


def find_model(path: Path, content: object, key: str | None, optional: bool = False) -> tuple[str, Content]:
    """Return the model in what a file held, and the key that it lies under.

    Args:
        path: The file, for messages.
        content: What it held.
        key: The model's key, with dots where it lies deeper (`checkpoint.model`), or nothing for the outermost mapping;
            `None` to find it.
        optional: Whether tensors that lie under no key are taken all the same.

    Raises:
        WeightsError: There is no model, there are several, or there is none by that key.
    """
    if not isinstance(content, Mapping):
        raise _no_tensors(path)
    found = _models(content)
    if key is not None and not (optional and list(found) == [""]):
        return _named(path, content, found, key)
    if len(found) > 1:
        sizes = {place: _size(model) for place, model in found.items()}
        seen = [f"`{place}` ({size} tensor{'s' if size > 1 else ''})" for place, size in sizes.items()]
        raise WeightsError(
            f"`{path}` holds several sets of tensors: {shortened(seen, _LISTED)}. Name one of these as ",
            Argument("key"),
            ", or save it alone.",
        )
    if found:
        return next(iter(found.items()))
    if not content:
        return "", content
    if any(isinstance(value, Mapping) and _OPTIMIZER in value for value in (content, *content.values())):
        raise WeightsError(
            f"`{path}` holds the state of an optimizer and no model. Give the file of the model's weights."
        )
    raise _no_tensors(path)


def no_keys(path: Path, key: str) -> WeightsError:
    """Return the error for a key into a file of plain tensors."""
    return WeightsError(
        f"`{path}` has no `{key}`: its tensors lie under no key. Leave ", Argument("key"), " out for this file."
    )


def _models(content: Content) -> dict[str, Content]:
    """Return all mappings that may be a model, by key."""
    found: dict[str, Content] = {}
    beside = _BESIDE if is_lightning(content) else frozenset()
    _collect(content, "", _DEPTH, {name: value for name, value in content.items() if name not in beside}, found, set())
    # Measured values and states of random generators are tensors, too.
    weights = {place: model for place, model in found.items() if any(map(_is_weight, model.values()))}
    return weights or found


def _collect(
    node: Content, place: str, depth: int, looked_at: Content, found: dict[str, Content], seen: set[int]
) -> None:
    """Add the models at and below a node.

    A mapping with tensors of its own is a model. If a mapping below has more of them it is that one: what lies beside
    a model is a counter, a loss or a queue.
    """
    if _OPTIMIZER in node or id(node) in seen:
        return
    seen.add(id(node))
    below: dict[str, Content] = {}
    for name, value in looked_at.items() if depth else ():
        if isinstance(name, str) and isinstance(value, Mapping):
            _collect(value, f"{place}.{name}" if place else name, depth - 1, value, below, seen)
    own = _size(node)
    if own and own >= max(map(_size, below.values()), default=0):
        found[place] = node
    else:
        found |= below


def _named(path: Path, content: Content, found: Mapping[str, Content], key: str) -> tuple[str, Content]:
    if not key:
        return key, content
    exact = _at(content, key)
    within = {place: model for place, model in found.items() if f"{place}.".startswith(f"{key}.")}
    if exact is not None and _size(exact):
        return key, exact
    if len(within) == 1:
        return next(iter(within.items()))
    if list(found) == [""]:
        raise no_keys(path, key)
    raise WeightsError(
        f"`{path}` has no tensors under `{key}`; they are under {listed(list(found), _LISTED)}. Name one of these as ",
        Argument("key"),
        ".",
    )


def _at(content: Content, key: str) -> Content | None:
    """Return the mapping under a key, which may hold dots that are not steps (Lightning's callbacks)."""
    for name, value in content.items():
        if isinstance(name, str) and isinstance(value, Mapping):
            if name == key:
                return value
            if key.startswith(f"{name}.") and (deeper := _at(value, key[len(name) + 1 :])) is not None:
                return deeper
    return None


def _size(model: Content) -> int:
    return sum(isinstance(value, Tensor) for value in model.values())


def _is_weight(value: object) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point() and value.ndim > 0


def _no_tensors(path: Path) -> WeightsError:
    return WeightsError(
        f"The weights file `{path}` holds no mapping from names to tensors. Save the model's `state_dict()` alone."
    )
