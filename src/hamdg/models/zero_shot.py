"""Zero-shot accuracy: the class whose prompts lie nearest to an image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from hamdg.data import augment
from hamdg.mini import DomainArrays
from hamdg.models.clip import LoadedClip
from hamdg.models.text_head import encode_prompts

CHUNK = 256


def zero_shot(loaded: LoadedClip, arrays: DomainArrays, classes: Sequence[str], prompts: Sequence[str]) -> float:
    """Return the share of a domain's images that the text head alone classifies rightly.

    Args:
        loaded: The CLIP to be measured.
        arrays: Images of the size that the CLIP expects; the true labels are compared with.
        classes: Names of the classes, in the order of the labels.
        prompts: Templates with `{}` for the class name.
    """
    head = encode_prompts(loaded, classes, prompts)
    with torch.no_grad():
        chunks = (to_input(loaded, arrays.images[at : at + CHUNK]) for at in range(0, len(arrays.images), CHUNK))
        found = [normalize(loaded.encoder(chunk), dim=-1) @ head.T for chunk in chunks]
    predicted = torch.cat(found).argmax(dim=1).cpu().numpy()
    return float(np.mean(predicted == arrays.clean_labels))


def to_input(loaded: LoadedClip, images: NDArray[np.uint8]) -> Tensor:
    """Turn images [n, h, w, 3] into the normalized floats [n, 3, h, w] that the CLIP expects, on its device."""
    pixels = torch.from_numpy(np.array(images)).to(loaded.model.logit_scale.device)
    return augment.normalize(augment.to_float(pixels), loaded.mean, loaded.std)
