"""What a request passes to the merge library: options of the method, and settings of every method."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from hamdg.commands.merging.arguments import Request
from hamdg.commands.merging.flags import FLAGS, MERGE
from hamdg.commands.merging.values import nearest
from hamdg.errors import ConfigError
from hamdg.merge.aliases import elsewhere
from hamdg.merge.method_info import MethodInfo
from hamdg.merge.settings import MergeSettings
from hamdg.merge.validate import unusable


def method_options(info: MethodInfo, texts: Mapping[str, str]) -> dict[str, object]:
    """Return the values of the method's own options.

    Raises:
        ConfigError: An option is unknown, missing or has a wrong value.
    """
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
        ConfigError: The device cannot be computed on.
    """
    check_device(request)
    return MergeSettings(
        weights=weights,
        buffers=request.buffers,
        lines=request.lines,
        precision=request.precision,
        dtype=None if request.dtype is None else getattr(torch, request.dtype),
        device=request.device,
        threads=request.threads,
        allow_nonfinite=request.allow_nonfinite,
    )


def check_device(request: Request) -> None:
    """Check that the device can be computed on.

    Raises:
        ConfigError: It cannot.
    """
    if reason := unusable(request.device):
        what = f"The device `{request.device}` cannot be used ({reason})"
        raise ConfigError(f"{what}; leave `--device` out for the CPU.")
