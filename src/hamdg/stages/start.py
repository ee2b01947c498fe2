"""The weights that a run starts from: kept beside its histories, and compared by all stages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch

from hamdg.errors import WeightsError
from hamdg.files import link, read_json, sha256_file
from hamdg.merge.files import open_tensors, read_metadata, save_tensors
from hamdg.stages.context import Context

# Metadata of `base.safetensors`: the digest of the tensors in it, whatever file they were loaded from.
START = "hamdg.start_sha256"


def keep_base(context: Context) -> str:
    """Write `base.safetensors`, the whole CLIP before training, unless it is there; return the file's SHA-256.

    Runs below one root that start from the same weights share one file on the disk, as hard links.
    """
    base = context.run.base
    if not _holds_start(base, context):
        twin = next((path for path in _others(base) if _holds_start(path, context)), None)
        if twin is not None:
            link(twin, base)
        else:
            state = {name: tensor.detach().cpu() for name, tensor in context.loaded.model.state_dict().items()}
            save_tensors(base, state, {"format": "pt", START: context.start_digest})
    return sha256_file(base)


def check_start(context: Context) -> None:
    """Refuse to go on from other weights than those that a run began with: its task vectors would be nonsense.

    Raises:
        WeightsError: If the weights are others now.
    """
    run = context.run
    if run.train.exists():
        began = read_json(run.train).get("start_sha256")
    elif run.resume.exists() and run.base.exists():
        began = read_metadata(run.base).get(START)
    else:
        return
    if began != context.start_digest:
        raise WeightsError(
            f"The weights of the model `{context.recipe.model.name}` are not those that `{run.path}` was "
            "trained from; bring them back, or repeat the run with `--force`."
        )


def _others(base: Path) -> Iterator[Path]:
    """Yield the bases of all runs below the same root."""
    root = base.absolute().parents[4]
    yield from sorted(root.glob(f"*/*/*/*/{base.name}"))


def _holds_start(path: Path, context: Context) -> bool:
    """Return whether a file holds the weights that a run starts from, bit for bit."""
    try:
        if not path.is_file() or read_metadata(path).get(START) != context.start_digest:
            return False
        found = open_tensors(path)
    except WeightsError:
        return False
    state = context.loaded.model.state_dict()
    return found.keys() == state.keys() and all(torch.equal(found[name], state[name].cpu()) for name in state)
