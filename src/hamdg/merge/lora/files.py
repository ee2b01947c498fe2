"""Files of adapters: their configuration, and the merged adapter as a file that PEFT or kohya's scripts load."""

from __future__ import annotations

import json
import math
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from hamdg.errors import Argument, ConfigError, WeightsError, Worded
from hamdg.files import write_text
from hamdg.merge.files.reading import TensorFile, open_raw
from hamdg.merge.files.writing import save_tensors
from hamdg.merge.lora.adapter import Adapter, holds_factors, layout_of, read_adapter
from hamdg.merge.lora.merging import MergedAdapter

CONFIG, PEFT_NAME = "adapter_config.json", "adapter_model.safetensors"
# What PEFT puts before the names of a model.
_PREFIX = "base_model.model."
# Keys of a configuration with which an adapter is more than factors, or belongs to a base of its own.
_STRANGE = (
    "use_dora",
    "lora_bias",
    "use_qalora",
    "target_parameters",
    "layer_replication",
    "use_bdlora",
    "arrow_config",
)
# Keys that say which modules have which rank, and which have an adapter at all.
_PATTERNS, _CHOICES = ("rank_pattern", "alpha_pattern"), ("layers_to_transform", "layers_pattern", "exclude_modules")
_OWN_BASE = re.compile("pissa|olora|loftq|corda|lora_ga")
# A loss of less is rounding.
_TOLD = 1e-4


class TruncationWarning(Worded, UserWarning):
    """The rank that was asked for does not hold the merged adapter."""


def open_adapters(files: Mapping[str, TensorFile], with_base: bool) -> dict[str, Adapter] | None:
    """Return the adapters in files, or nothing where none of them holds one.

    Args:
        files: The file of every source.
        with_base: Whether a base was given.

    Raises:
        ConfigError: Adapters were given with a base.
        WeightsError: Some are adapters and some are not, one is of a kind that cannot be merged, or its configuration
            is missing or damaged.
    """
    factors = {source: holds_factors(file) for source, file in files.items()}
    if not any(factors.values()):
        return None
    if with_base:
        raise ConfigError(
            "Adapters are changes already, which need no ",
            Argument("base"),
            ": leave it out, or add each adapter to its model first (PEFT: `merge_and_unload`) and merge the models.",
        )
    whole = [source for source, name in factors.items() if not name]
    if whole:
        one = next(source for source, name in factors.items() if name)
        raise WeightsError(
            f"`{one}` is an adapter (it holds `{factors[one]}`) and `{whole[0]}` is not. Merge adapters with "
            "adapters, or add each to its model first (PEFT: `merge_and_unload`)."
        )
    adapters = {source: _opened(source, file, factors[source]) for source, file in files.items()}
    for source, adapter in adapters.items():
        if adapter.layout == "peft":
            # It holds alpha, so it is a part of what is merged.
            files[source].files += (files[source].files[0].parent / CONFIG,)
    return adapters


def are_adapters(paths: Iterable[Path]) -> bool:
    """Return whether all files hold adapters; one that cannot be read holds none."""
    try:
        return all(holds_factors(open_raw(path)) for path in paths)
    except WeightsError:
        return False


def check_out(out: Path, adapters: Mapping[str, Adapter], files: Sequence[Path]) -> None:
    """Check that a merged adapter can be written where it should be.

    Raises:
        ConfigError: PEFT would not find it there, or the configuration of another adapter lies there.
    """
    if next(iter(adapters.values())).layout != "peft":
        return
    if out.name != PEFT_NAME:
        raise ConfigError(
            f"PEFT reads adapters from a folder of their own, as `{PEFT_NAME}` beside `{CONFIG}`; give the output as "
            f"`{out.with_suffix('') / PEFT_NAME}`, not `{out}`."
        )
    config = out.parent / CONFIG
    if config.exists() and any(config.samefile(file) for file in files):
        raise ConfigError(f"The output's `{config}` is one of the inputs; choose another folder.")


def write_adapter(
    out: Path, merged: MergedAdapter, sources: Mapping[str, TensorFile], metadata: Mapping[str, str]
) -> None:
    """Write a merged adapter, and for PEFT the configuration beside it; warn of what its rank does not hold.

    Raises:
        StorageError: The disk is full, or nothing may be written there.
    """
    if merged.error > _TOLD:
        worst = max(merged.lost, key=lambda module: merged.lost[module])
        warning = TruncationWarning(
            f"Rank {merged.rank} does not hold the merged adapter: the relative error is {merged.error:.2g} (Frobenius "
            f"norm; largest in `{worst}`, {merged.lost[worst]:.2g}). A larger ",
            Argument("lora_rank"),
            " loses less; by default it is the sum of the sources' ranks, which is exact for averages.",
        )
        warnings.warn(warning, stacklevel=2)
    if merged.layout != "peft":
        save_tensors(out, merged.tensors, metadata)
        return
    config = out.parent / CONFIG
    # An adapter without a configuration loads nowhere; one beside another's would be scaled wrongly.
    config.unlink(missing_ok=True)
    save_tensors(out, merged.tensors, metadata)
    write_text(config, json.dumps(_merged_config(merged, sources), indent=2, sort_keys=True) + "\n")


def _opened(source: str, file: TensorFile, factor: str) -> Adapter:
    if layout_of(factor) != "peft":
        return read_adapter(source, file, None)
    config = _config(source, file, factor)
    strange = [key for key in _STRANGE if config.get(key)]
    if strange or config.get("peft_type") != "LORA":
        what = f"`{strange[0]}`" if strange else f"`peft_type` `{config.get('peft_type')}`"
        raise WeightsError(
            f"The adapter `{source}` has {what} in its `{CONFIG}` and is not plain LoRA, whose changes are products of "
            "two matrices. Add each adapter to its model first (PEFT: `merge_and_unload`), and merge the models."
        )
    start = config.get("init_lora_weights")
    if isinstance(start, str) and _OWN_BASE.match(start.lower()):
        raise WeightsError(
            f"The adapter `{source}` was started by `{start}`, which changes the base as well, so that it fits no "
            "other one. Save it with PEFT's `path_initial_model_for_weight_conversion`, and merge what that writes."
        )
    return read_adapter(source, file, lambda module, rank: _scale(source, config, module, rank))


def _config(source: str, file: TensorFile, factor: str) -> dict[str, object]:
    path = file.files[0].parent / CONFIG
    if not path.is_file():
        raise WeightsError(
            f"`{source}` holds LoRA factors (`{factor}`), whose scale is in an `{CONFIG}` that is not beside "
            f"`{file.path}`. Put it there; it holds at least `peft_type`, `r` and `lora_alpha`."
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise WeightsError(f"`{path}` is damaged ({error}); copy it again from where it came.") from error
    if not isinstance(content, dict):
        raise WeightsError(f"`{path}` is not a configuration of an adapter: expected a table of keys.")
    return content


def _scale(source: str, config: Mapping[str, object], module: str, rank: int) -> float:
    """Return alpha / r of a module as PEFT does, or alpha / sqrt(r) for rsLoRA."""
    patterns = config.get("alpha_pattern") or {}
    alpha = config.get("lora_alpha")
    for pattern, value in patterns.items() if isinstance(patterns, dict) else ():
        try:
            is_meant = re.match(rf"(.*\.)?({pattern})$", module.removeprefix(_PREFIX))
        except re.error as error:
            raise WeightsError(
                f"The `alpha_pattern` in the `{CONFIG}` of `{source}` has `{pattern}`, which is no regular expression "
                f"({error}); repair it."
            ) from error
        if is_meant:
            alpha = value
            break
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not math.isfinite(alpha):
        raise WeightsError(f"The `{CONFIG}` of `{source}` has no number as `lora_alpha`, but `{alpha}`; repair it.")
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _merged_config(merged: MergedAdapter, sources: Mapping[str, TensorFile]) -> dict[str, object]:
    """Return the first source's configuration with the merged rank, a scale of 1 and the modules by full names."""
    (source, file), *_ = sources.items()
    config = _config(source, file, "")
    patterns: dict[str, object] = {key: {} for key in _PATTERNS if key in config}
    choices: dict[str, object] = {key: None for key in _CHOICES if key in config}
    modules = sorted(module.removeprefix(_PREFIX) for module in merged.lost)
    return {
        **config,
        **patterns,
        **choices,
        "r": merged.rank,
        "lora_alpha": merged.rank,
        "use_rslora": False,
        "init_lora_weights": True,
        "inference_mode": True,
        "target_modules": modules,
    }
