"""What mergekit calls methods of ours: its names with the options that they mean there, and its words for options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Alias:
    """Another name of a method.

    Args:
        method: Our own name.
        text: What is the same and what is not, for people who know the name.
        fixed: Options that the name itself says; they cannot be given.
        defaults: Options that have other defaults by this name.
        without: Options that mean nothing with what is fixed.
    """

    method: str
    text: str
    fixed: Mapping[str, object] = field(default_factory=dict)
    defaults: Mapping[str, object] = field(default_factory=dict)
    without: tuple[str, ...] = ()


_DROPS = "Ours is the default of `drop_rate`: mergekit's `density`, which is 1 - `drop_rate`, is 1 and drops nothing."
_SUMS = (
    "As there, changes are summed with the factor 1 (its `lambda`), and every source's change of each tensor gets its"
)
_MASKS = "Masks are drawn from another generator, so that the numbers are not the same."

ALIASES: dict[str, Alias] = {
    "linear": Alias(
        "weighted",
        "As there, the divisor is the sum of the weights (`normalize: true`). mergekit asks for every weight; here all "
        "are equal if none is given.",
    ),
    "dare_linear": Alias(
        "dare",
        f"{_SUMS} L1 norm back. {_DROPS} {_MASKS}",
        {"then": "task_arithmetic"},
        {"rescale": "l1", "scale": 1.0},
        ("ties_density", "ties_scope", "ties_sign", "ties_combine"),
    ),
    "dare_ties": Alias(
        "dare",
        f"{_SUMS} L1 norm back; what agrees with the elected sign is summed (`normalize: false`). {_DROPS} {_MASKS} An "
        "entry whose election is tied stays at the base, where mergekit elects plus.",
        {"then": "ties"},
        {"rescale": "l1", "scale": 1.0, "ties_combine": "sum"},
    ),
    "della_linear": Alias(
        "della",
        f"{_SUMS} L1 norm back; the window is twice mergekit's `epsilon`, 0.15. {_DROPS} {_MASKS}",
        {"then": "task_arithmetic"},
        {"rescale": "l1", "scale": 1.0, "window": 0.3},
        ("sign", "combine"),
    ),
}

_SCALE = {"lambda": "`scale`"}
_DROP_RATE = {"density": "1 - `drop_rate`"} | _SCALE
_SHARES = {"density": "`gamma` - `beta`, and its `gamma` is 1 - `gamma`"} | _SCALE
_COMBINE = {"normalize": "`combine`, `mean` where it is true and `sum` where it is false"}
# What mergekit calls options of ours that have another name; by method.
_WORDS: dict[str, dict[str, str]] = {
    "task_arithmetic": _SCALE,
    "ties": _SCALE | _COMBINE,
    "dare": _DROP_RATE | {"normalize": _COMBINE["normalize"].replace("`combine`", "`ties_combine`")},
    "della": _DROP_RATE | {"epsilon": "half of `window`"} | _COMBINE,
    "breadcrumbs": _SHARES,
    "breadcrumbs_ties": _SHARES | _COMBINE,
}


def elsewhere(method: str, option: str, typed: Mapping[str, str] | None = None) -> str:
    """Return the sentence about what mergekit calls an option of a method, or nothing.

    Args:
        method: Name of a method, or an alias.
        option: The name that is none of the method's options.
        typed: How our options are typed where they are not typed by their own names.
    """
    own = ALIASES[method].method if method in ALIASES else method
    meant = _WORDS.get(own, {}).get(option, "")
    for name, form in (typed or {}).items():
        meant = meant.replace(f"`{name}`", f"`{form}`")
    return f"mergekit's `{option}` is {meant}." if meant else ""
