"""Zero-shot accuracy: the class whose prompts lie nearest to a picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hamdg.data.arrays import DomainArrays
from hamdg.models.clip import LoadedClip
from hamdg.models.text_head import encode_prompts
from hamdg.models.tower import ImageTower

CHUNK = 256


def zero_shot(
    loaded: LoadedClip,
    arrays: DomainArrays,
    classes: Sequence[str],
    prompts: Sequence[str],
    threads: int = 0,
) -> float:
    """Return the share of a domain's pictures that the text head alone classifies rightly.

    Args:
        loaded: The CLIP to be measured.
        arrays: Pictures of the size that the CLIP expects; the true labels are compared with.
        classes: Names of the classes, in the order of the labels.
        prompts: Templates with `{}` for the class name.
        threads: CPU threads to use; 0 leaves them as they are.
    """
    head = encode_prompts(loaded, classes, prompts)
    tower = ImageTower(loaded)
    with cpu_threads(threads), torch.no_grad():
        chunks = range(0, len(arrays.images), CHUNK)
        found = [tower(to_input(loaded, arrays.images[at : at + CHUNK])) @ head.T for at in chunks]
    predicted = torch.cat(found).argmax(dim=1).cpu().numpy()
    return float(np.mean(predicted == arrays.clean_labels))


def to_input(loaded: LoadedClip, images: NDArray[np.uint8]) -> Tensor:
    """Turn pictures [n, h, w, 3] into the normalised floats [n, 3, h, w] that the CLIP expects, on its device."""
    device = loaded.model.logit_scale.device
    mean, std = (torch.tensor(value, device=device).reshape(1, 3, 1, 1) for value in (loaded.mean, loaded.std))
    pixels = torch.from_numpy(np.array(images)).to(device).permute(0, 3, 1, 2)
    return (pixels.float() / 255 - mean) / std


@contextmanager
def cpu_threads(threads: int) -> Iterator[None]:
    """Use so many CPU threads inside the `with` block; 0 leaves them as they are."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
