"""open_clip's pretrained tags: found in the local caches, or downloaded if the hub answers quickly."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from huggingface_hub import constants, try_to_load_from_cache
from open_clip.pretrained import download_pretrained, get_pretrained_cfg, list_pretrained_tags_by_model
from open_clip.transform import PreprocessCfg, merge_preprocess_dict

from hamdg.errors import WeightsError
from hamdg.network import answers

HUB_FILES = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
)


@dataclass(frozen=True)
class TagWeights:
    """What a pretrained tag stands for.

    Args:
        path: The weights file in the local cache.
        quick_gelu: Whether the weights were trained with OpenAI's QuickGELU.
        mean: Mean of the pixels, one number for each colour.
        std: Standard deviation of the pixels.
    """

    path: Path
    quick_gelu: bool
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


def tag_weights(model_name: str, tag: str) -> TagWeights:
    """Find the weights behind one of open_clip's tags, downloading them if need be.

    Raises:
        WeightsError: If the model has no such tag, or its file is not cached and the hub cannot be reached.
    """
    entry = get_pretrained_cfg(model_name, tag)
    if not entry:
        raise WeightsError(_unknown_tag(model_name, tag))
    source = entry.get("hf_hub") or entry.get("url", "")
    if not _is_cached(entry) and not answers(_host(entry)):
        raise WeightsError(_unreachable(model_name, tag, source, _host(entry)))
    try:
        path = download_pretrained(entry)
    except (OSError, RuntimeError, ValueError) as error:
        raise WeightsError(
            f"The weights `{tag}` of the model `{model_name}` could not be downloaded from `{source}` ({error}). "
            "Set `model.weights` to a file that you have fetched yourself."
        ) from error
    preprocess = merge_preprocess_dict(asdict(PreprocessCfg()), entry)
    return TagWeights(
        Path(path), bool(entry.get("quick_gelu", False)), tuple(preprocess["mean"]), tuple(preprocess["std"])
    )


def _is_cached(entry: dict[str, str]) -> bool:
    if entry.get("hf_hub"):
        repo, _, filename = entry["hf_hub"].rpartition("/")
        names = (filename, filename.rsplit(".", 1)[0] + ".safetensors") if filename else HUB_FILES
        return any(isinstance(try_to_load_from_cache(repo, name), str) for name in names)
    return (Path("~/.cache/clip").expanduser() / Path(entry.get("url", "")).name).is_file()


def _host(entry: dict[str, str]) -> str:
    if entry.get("hf_hub"):
        return str(constants.ENDPOINT)
    return "/".join(entry.get("url", "").split("/")[:3])


def _unknown_tag(model_name: str, tag: str) -> str:
    tags = list_pretrained_tags_by_model(model_name)
    known = f"one of its tags ({', '.join(tags)})" if tags else "a weights file (the model has no tags)"
    return (
        f"Argument `model.weights` is `{tag}`, which is neither a file nor a pretrained tag of the model "
        f"`{model_name}`. Set it to {known}."
    )


def _unreachable(model_name: str, tag: str, source: str, host: str) -> str:
    return (
        f"The weights `{tag}` of the model `{model_name}` (`{source}`) are not in the local cache "
        f"(`{constants.HF_HUB_CACHE}`) and `{host}` does not answer. Connect this machine, or fetch the file elsewhere "
        "and set `model.weights` to its path."
    )
