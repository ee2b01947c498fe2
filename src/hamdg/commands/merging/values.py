"""Values on the command line: read from texts, checked, and shown again."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, cast

from hamdg.commands.merging.arguments import FLAGS, MERGE, Request, is_number, nearest, pairs
from hamdg.commands.numbers import check_count
from hamdg.errors import ConfigError
from hamdg.text import listed

if TYPE_CHECKING:
    import torch

    from hamdg.merge.method_info import MethodInfo
    from hamdg.merge.settings import MergeSettings

_LISTED = 12
_THREADS, _DIGITS = 1_024, 10
_BUFFERS = ("moments", "first", "refuse")
_PRECISIONS = ("fp32", "fp64")
_DTYPES = ("float32", "float16", "bfloat16", "float64", "float8_e4m3fn", "float8_e5m2")


def shown(value: object) -> str:
    """Return a value as it is typed on the command line."""
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def method_options(info: MethodInfo, texts: Mapping[str, str]) -> dict[str, object]:
    """Return the values of the method's own options.

    Raises:
        ConfigError: An option is unknown, missing or has a wrong value.
    """
    from hamdg.merge.aliases import elsewhere

    known = {"--" + name.replace("_", "-"): option for name, option in info.options.items()}
    values: dict[str, object] = {}
    for flag, text in texts.items():
        if flag not in known:
            flags = [other.name for other in FLAGS.values() if MERGE in other.modes]
            typed = {option.name: own for own, option in known.items()}
            hint = elsewhere(info.name, flag[2:].replace("-", "_"), typed) or nearest(flag, list(known), flags)
            raise ConfigError(f"Merge method `{info.name}` has no option `{flag}`; {hint}")
        option = known[flag]
        try:
            values[option.name] = option.parse(text)
        except ConfigError:
            choices = " or ".join(f"`{choice}`" for choice in option.choices)
            raise ConfigError(f"Expected `{flag}` to be {choices or option.expected}, but got `{text}`.") from None
    for flag, option in known.items():
        if option.required and option.name not in values:
            raise ConfigError(f"Merge method `{info.name}` needs `{flag}`: {option.text}")
    return values


def merge_settings(request: Request, weights: Mapping[str, float] | None) -> MergeSettings:
    """Return what holds for every method.

    Raises:
        ConfigError: A flag has a wrong value.
    """
    import torch

    from hamdg.merge.buffers import Policy
    from hamdg.merge.settings import MergeSettings, Precision

    dtype = request.text("--dtype")
    return MergeSettings(
        weights=weights,
        buffers=cast("Policy", _choice(request, "--buffers", _BUFFERS) or "moments"),
        lines=_lines(request),
        precision=cast("Precision", _choice(request, "--precision", _PRECISIONS) or "fp32"),
        dtype=None
        if dtype is None
        else cast("torch.dtype", getattr(torch, _choice(request, "--dtype", _DTYPES) or "")),
        device=device_of(request),
        threads=threads_of(request),
        allow_nonfinite="--allow-nonfinite" in request.flags,
    )


def device_of(request: Request) -> str:
    """Return where to compute.

    Raises:
        ConfigError: There is no such device.
    """
    from hamdg.merge.validate import unusable

    device = request.text("--device") or "cpu"
    if reason := unusable(device):
        raise ConfigError(f"The device `{device}` cannot be used ({reason}); leave `--device` out for the CPU.")
    return device


def threads_of(request: Request) -> int | None:
    """Return how many threads to use, `None` for as many as torch does.

    Raises:
        ConfigError: It is no whole number of 1 or more.
    """
    threads = _whole_number(request, "--threads")
    if threads is not None:
        check_count("--threads", threads, _THREADS)
    return threads


def lora_rank_of(request: Request) -> int | None:
    """Return the rank of a merged adapter, `None` for the sum of the sources' ranks.

    Raises:
        ConfigError: It is no whole number of 1 or more.
    """
    return _whole_number(request, "--lora-rank")


def prefixes_of(request: Request, sources: Collection[str]) -> dict[str, str]:
    """Return the prefixes that were named, by source or `base`.

    Raises:
        ConfigError: One is for something else.
    """
    return _by_file("--prefix", request, sources)


def keys_of(request: Request, sources: Collection[str]) -> dict[str, str] | str | None:
    """Return where in their files the models lie, by source or `base`; one text if that was named for all files.

    Raises:
        ConfigError: One is for something else, or some are for one file and some for all.
    """
    texts = request.flags.get("--key", [])
    bare = [text for text in texts if "=" not in text]
    if bare and len(texts) > 1:
        raise ConfigError(
            f"`--key {bare[0]}` is for all files; name one key for all, or one for each as NAME=KEY, not both."
        )
    if bare:
        return bare[0]
    return _by_file("--key", request, sources) or None


def _by_file(flag: str, request: Request, sources: Collection[str]) -> dict[str, str]:
    values = pairs(flag, request.flags.get(flag, ()), (*sources, "base"))
    for name in values:
        if name not in sources and name != "base":
            hint = nearest(name, [*sorted(sources), "base"])
            raise ConfigError(f"`{flag}` names `{name}`, which is neither a source nor `base`; {hint}")
    return values


def weights_of(request: Request, sources: Collection[str]) -> dict[str, float] | None:
    """Return the weight of every source, `None` if none were given.

    Args:
        request: What the user asked for.
        sources: Names of the sources in the order in which their files were given.

    Raises:
        ConfigError: One is missing, belongs to no source or is not a number.
    """
    text = request.text("--weights")
    if text is None:
        return None
    values = _in_order(text, sources) or pairs("--weights", [text], sources)
    for name, value in values.items():
        if not is_number(value) or not math.isfinite(float(value)):
            raise ConfigError(f"Expected the weight of `{name}` to be a number, but got `{value}`.")
        if name not in sources:
            raise ConfigError(f"`--weights` names `{name}`, which is no source; {nearest(name, sorted(sources))}")
    missing = sorted(set(sources) - set(values))
    if missing:
        raise ConfigError(f"`--weights` leaves out the source `{missing[0]}`; give every source a weight.")
    return {name: float(value) for name, value in values.items()}


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


def _lines(request: Request) -> tuple[float, float] | None:
    text = request.text("--lines")
    if text is None:
        return None
    parts = text.split(",")
    if len(parts) != 2 or not all(is_number(part) and math.isfinite(float(part)) for part in parts):
        raise ConfigError(f"Expected `--lines` to be two numbers, such as `0.5,0.5`, but got `{text}`.")
    return float(parts[0]), float(parts[1])


def _whole_number(request: Request, flag: str) -> int | None:
    text = request.text(flag)
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < _DIGITS) or int(text) < 1:
        raise ConfigError(f"Expected `{flag}` to be a whole number of 1 or more, but got `{text}`.")
    return int(text)


def _choice(request: Request, flag: str, choices: Sequence[str]) -> str | None:
    text = request.text(flag)
    if text is not None and text not in choices:
        raise ConfigError(f"There is no `{flag} {text}`; {nearest(text, choices)}")
    return text
