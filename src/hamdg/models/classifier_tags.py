"""Names of pretrained weights that timm and torchvision know: found in the local caches, or downloaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import timm
import torch
import torchvision
from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache

from hamdg.data.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess
from hamdg.errors import WeightsError
from hamdg.models.architectures import Architecture, stated_preprocess
from hamdg.models.hub import PATIENCE, ways
from hamdg.models.packaged import MODEL, PYPI
from hamdg.reachable import answers
from hamdg.text import listed

_HUB_FILES = ("model.safetensors", "pytorch_model.bin")
_LISTED = 6


@dataclass(frozen=True)
class Tag:
    """What a name of pretrained weights stands for.

    Args:
        what: How messages call the weights.
        repo: Their repository on the Hugging Face hub, if they lie there.
        url: Their address elsewhere.
        preprocess: What they expect of images.
    """

    what: str
    repo: str
    url: str
    preprocess: Preprocess

    def cached(self) -> Path | None:
        """Return the file in the local cache, `None` if it is not there; nobody is asked."""
        if self.repo:
            found = (try_to_load_from_cache(self.repo, name) for name in _HUB_FILES)
            return next((Path(path) for path in found if isinstance(path, str)), None)
        path = self._place
        return path if path.is_file() else None

    def file(self) -> Path:
        """Return the file, downloading it if need be.

        Raises:
            WeightsError: It is not cached and cannot be downloaded.
        """
        return self.cached() or self._downloaded()

    @property
    def _place(self) -> Path:
        # Where torch itself keeps what it downloads, so that either finds what the other has.
        return Path(torch.hub.get_dir()) / "checkpoints" / Path(urlsplit(self.url).path).name

    def _downloaded(self) -> Path:
        host = str(constants.ENDPOINT) if self.repo else "{0.scheme}://{0.netloc}".format(urlsplit(self.url))
        source, cache = self.repo or self.url, constants.HF_HUB_CACHE if self.repo else self._place.parent
        help_ = ways(self.repo) if self.repo else _ways(self.url, self._place)
        if not answers(host, within=PATIENCE):
            raise WeightsError(
                f"{self.what} are not here: `{source}` is neither in the cache `{cache}` nor within reach, since "
                f"`{host}` does not answer. {help_}"
            )
        try:
            if self.repo:
                return Path(hf_hub_download(self.repo, _HUB_FILES[0]))
            self._place.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(self.url, str(self._place), progress=False)
        except (OSError, RuntimeError, ValueError) as error:
            raise WeightsError(f"{self.what} could not be downloaded from `{source}` ({error}). {help_}") from error
        return self._place


def find_tag(architecture: Architecture, name: str) -> Tag:
    """Return what a name of pretrained weights stands for.

    Args:
        architecture: The network.
        name: timm's tag (`a1_in1k`), or a member of torchvision's enum of weights (`IMAGENET1K_V2`).

    Raises:
        WeightsError: The network has no weights of that name.
    """
    known = tags(architecture)
    if name not in known:
        names = [*known, *([PYPI] if architecture.full_name == MODEL else [])]
        either = f"one of its pretrained weights ({listed(names, _LISTED)}), " if names else ""
        raise WeightsError(
            f"`model.weights` is `{name}`, which is neither a file nor pretrained weights of `{architecture.full_name}`"
            f". Set it to {either}a `.safetensors` or weights-only `.pth` file, or `random`."
        )
    what = f"The weights `{name}` of the model `{architecture.full_name}`"
    if architecture.library == "timm":
        stated = timm.get_pretrained_cfg(f"{architecture.name}.{name}")
        assert stated is not None, "timm has listed it"
        return Tag(what, str(stated.hf_hub_id or ""), str(stated.url or ""), stated_preprocess(stated))
    weights = torchvision.models.get_model_weights(architecture.name)[name]
    shown = weights.transforms()
    side = shown.crop_size[0] if hasattr(shown, "crop_size") else 224
    mean, std = getattr(shown, "mean", IMAGENET_MEAN), getattr(shown, "std", IMAGENET_STD)
    return Tag(what, "", weights.url, Preprocess(side, tuple(mean), tuple(std)))


def tags(architecture: Architecture) -> list[str]:
    """Return the names of an architecture's pretrained weights."""
    if architecture.library == "timm":
        found = timm.list_pretrained(f"{architecture.name}.*")
        return [name.partition(".")[2] for name in found if name.partition(".")[0] == architecture.name]
    if architecture.library == "torchvision":
        return [one.name for one in torchvision.models.get_model_weights(architecture.name)]
    return []


def _ways(url: str, place: Path) -> str:
    return (
        f"Three ways to provide them: give a file that you have with `--model.weights=FILE`; copy `{url}` from a "
        f"machine that has it to `{place}`; or connect this machine to the network. Then repeat the command."
    )
