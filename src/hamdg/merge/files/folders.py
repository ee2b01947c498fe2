"""Which file of a folder holds the weights: those that Hugging Face's libraries, PEFT and open_clip write."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from hamdg.errors import WeightsError
from hamdg.text import listed

INDEX = ".index.json"
_LISTED = 6
# What lies beside the weights in the folders of a training.
_BESIDE = ("optimizer", "scheduler", "scaler", "training_args", "rng_state", "random_states")


def weights_in(folder: Path, endings: Sequence[str]) -> Path:
    """Return the file in a folder that holds the weights: an index of several files, or the one that there is.

    Files of safetensors go first; the same weights often lie beside them in another format.

    Args:
        folder: The folder.
        endings: The endings of weights files, the preferred one first.

    Raises:
        WeightsError: There is none, or more than one.
    """
    for candidates in _candidates(folder, endings):
        if len(candidates) == 1:
            return candidates[0]
        if candidates:
            names = listed([path.name for path in candidates], _LISTED)
            raise WeightsError(f"`{folder}` is a folder with several weights files: {names}. Give the path of one.")
    raise WeightsError(_without_weights(folder, endings))


def _without_weights(folder: Path, endings: Sequence[str]) -> str:
    if any(folder.glob("*.distcp")):
        return (
            f"`{folder}` is a distributed checkpoint of torch, in parts; make it one file and give that: `python -m "
            f"torch.distributed.checkpoint.format_utils dcp_to_torch {folder} {folder.name}.pt`."
        )
    start = f"`{folder}` is a folder without weights (`*{endings[0]}`, `*{endings[0]}{INDEX}`, ...)"
    inner = [path for path in sorted(folder.iterdir()) if path.is_dir() and os.access(path, os.R_OK)]
    parts = [path.name for path in inner if any(_candidates(path, endings))]
    if parts:
        return f"{start}, but its folders {listed(parts, _LISTED)} have some; give the path of one."
    return f"{start}; give the path of a weights file or of an index."


def _candidates(folder: Path, endings: Sequence[str]) -> tuple[list[Path], ...]:
    first, *others = endings
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith((".", *_BESIDE)))
    return (
        [path for path in files if path.name.endswith(first + INDEX)],
        [path for path in files if path.name.endswith(first)],
        [path for path in files if path.name.endswith(tuple(ending + INDEX for ending in others))],
        [path for path in files if path.name.endswith(tuple(others))],
    )
