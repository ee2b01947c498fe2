"""Random numbers that belong to an entry of a source: the same in every process, thread and order, on every device."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import torch
from torch import Tensor

from hamdg.merge.model_set import TensorSet

# Entries that share a stream of random numbers. Part of what a seed means: with another value it gives other masks.
BLOCK = 1 << 17


def uniforms(tensor_set: TensorSet, source: str, seed: int) -> Tensor:
    """Return a random number from [0, 1) for every entry of a tensor set, or piece of one, in fp32 and in its shape.

    The number of an entry depends on the seed, the source, the tensor's name and the entry's place in the tensor, and
    on nothing else. They come from PCG64, whose stream is fixed for good, in multiples of 2^-24, always made on the
    CPU.

    Args:
        tensor_set: The tensor set; its values do not matter.
        source: Whose entries they are.
        seed: Another seed gives other numbers.
    """
    stop = tensor_set.start + tensor_set.like.numel()
    parts = []
    for block in range(tensor_set.start // BLOCK, -(-stop // BLOCK)):
        first = block * BLOCK
        bits = _bits((seed, source, tensor_set.name, block), min(BLOCK, stop - first))
        parts.append(bits[max(0, tensor_set.start - first) :])
    numbers = (np.concatenate([np.zeros(0, "<u4"), *parts]) >> 8).astype(np.float32) * np.float32(2**-24)
    return torch.from_numpy(numbers).to(tensor_set.like.device).view(tensor_set.like.shape)


def _bits(key: tuple[int, str, str, int], count: int) -> np.ndarray[tuple[int], np.dtype[np.uint32]]:
    """Return the first random 32-bit words of a key's stream.

    Seeding with 128 bits of a SHA-256 makes it certain enough that no two keys share a stream; torch's generator,
    which looks at 32 bits of its seed, would let that happen among the thousands of blocks of one merge.
    """
    digest = hashlib.sha256(json.dumps(key).encode()).digest()
    words = np.random.PCG64(int.from_bytes(digest[:16], "little")).random_raw(-(-count // 2))
    return words.astype("<u8", copy=False).view("<u4")[:count]
