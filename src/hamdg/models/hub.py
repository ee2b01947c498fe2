"""open_clip's pretrained tags: found in the local cache, or downloaded if the hub answers quickly."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from huggingface_hub import constants, try_to_load_from_cache
from huggingface_hub.file_download import repo_folder_name
from open_clip.pretrained import download_pretrained, get_pretrained_cfg, list_pretrained_tags_by_model
from open_clip.transform import PreprocessCfg, merge_preprocess_dict

from hamdg.errors import WeightsError
from hamdg.reachable import answers

# Seconds for the hub to answer: a command without weights ends within 10, and importing torch takes most of them.
PATIENCE = 2.5
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
        mean: Mean of the pixels, one number for each color.
        std: Standard deviation of the pixels.
    """

    path: Path
    quick_gelu: bool
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


def tag_weights(model_name: str, tag: str) -> TagWeights:
    """Find the weights behind one of open_clip's tags, downloading them if need be.

    Raises:
        WeightsError: If the model has no such tag, or its file is not cached and cannot be downloaded.
    """
    entry = get_pretrained_cfg(model_name, tag)
    if not entry:
        raise WeightsError(_unknown_tag(model_name, tag))
    path = _cached(entry["hf_hub"]) or _downloaded(entry, f"The weights `{tag}` of the model `{model_name}`")
    preprocess = merge_preprocess_dict(asdict(PreprocessCfg()), entry)
    return TagWeights(path, bool(entry.get("quick_gelu", False)), tuple(preprocess["mean"]), tuple(preprocess["std"]))


def cached_weights(model_name: str, tag: str) -> Path | None:
    """Return the file of a tag in the local cache, `None` if it is not there or there is no such tag."""
    entry = get_pretrained_cfg(model_name, tag)
    return _cached(entry["hf_hub"]) if entry else None


def _cached(source: str) -> Path | None:
    """Return the file of a tag in the hub's cache; the hub is not asked, so that it may be out of reach."""
    repo, _, filename = source.rpartition("/")
    names = (f"{Path(filename).stem}.safetensors", filename) if filename else HUB_FILES
    found = (try_to_load_from_cache(repo, name) for name in names)
    return next((Path(path) for path in found if isinstance(path, str)), None)


def _downloaded(entry: dict[str, str], what: str) -> Path:
    repo, host = entry["hf_hub"].rpartition("/")[0], str(constants.ENDPOINT)
    if not answers(host, within=PATIENCE):
        raise WeightsError(
            f"{what} are not here: `{repo}` is neither in the cache `{constants.HF_HUB_CACHE}` nor within reach, since "
            f"`{host}` does not answer. {ways(repo)}"
        )
    try:
        return Path(download_pretrained(entry))
    except (OSError, RuntimeError, ValueError) as error:
        raise WeightsError(f"{what} could not be downloaded from `{repo}` ({error}). {ways(repo)}") from error


def ways(repo: str) -> str:
    """Return how weights of a repository that is out of reach can be provided."""
    folder = repo_folder_name(repo_id=repo, repo_type="model")
    return (
        "Three ways to provide them: give a file that you have with `--model.weights=FILE`; copy the folder "
        f"`{folder}` from the cache of a machine that has it into `{constants.HF_HUB_CACHE}`; or connect this machine "
        "to the network. Then repeat the command."
    )


def _unknown_tag(model_name: str, tag: str) -> str:
    tags = list_pretrained_tags_by_model(model_name)
    known = f"one of its tags ({', '.join(tags)})" if tags else "a weights file (the model has no tags)"
    return (
        f"Argument `model.weights` is `{tag}`, which is neither a file nor a pretrained tag of the model "
        f"`{model_name}`. Set it to {known}."
    )
