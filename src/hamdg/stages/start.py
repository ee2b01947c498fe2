"""The weights that a run starts from: kept beside its histories, and compared by all stages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import zip_longest
from pathlib import Path

import torch

from hamdg.config.recipe import ModelConfig
from hamdg.errors import ConfigError, WeightsError
from hamdg.files import link, sha256_file
from hamdg.merge.files import open_tensors, read_metadata, save_tensors
from hamdg.models.clip import model_files
from hamdg.runs.manifest import NEVER, FileFacts, unchanged
from hamdg.stages.context import Context
from hamdg.stages.summaries import read_train

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
        began = read_train(run).get("start_sha256")
    elif run.resume.exists():
        began = _began(run.base) or context.start_digest
    else:
        return
    if began != context.start_digest:
        of_control = " (a control: by deleting its folder)" if context.recipe.algorithm == "erm" else ""
        raise WeightsError(
            f"The weights of the model `{context.recipe.model.name}` are not those that `{run.path}` was "
            f"trained from; bring them back, or repeat the run with `--force`{of_control}."
        )


def _began(base: Path) -> str | None:
    """Return the digest of the tensors that are in a base; nothing if it is missing or damaged, and written anew."""
    try:
        return read_metadata(base).get(START)
    except WeightsError:
        return None


def start_files(config: ModelConfig) -> dict[str, str]:
    """Return the SHA-256 of the files that a model is read from, by their path."""
    return {str(path.absolute()): sha256_file(path) for path in model_files(config)}


def changed_start(config: ModelConfig, before: Mapping[str, FileFacts]) -> str:
    """Say which file of a model is another one than it was when a done run was trained; nothing if none is.

    Args:
        config: The run's model.
        before: The files that the run's model was read from, by their path.
    """
    try:
        now = [path.absolute() for path in model_files(config)]
    except (ConfigError, WeightsError):
        now = []
    for (known, facts), named in zip_longest(before.items(), now[: len(before)]):
        path = named or Path(known)
        # Elsewhere, another file may have the same size and time.
        if not unchanged(path, facts if str(path) == known else facts | {"ctime_ns": NEVER}):
            what = f"and `{path}` is another file now" if path.exists() else "which is gone"
            return f"the model was read from `{known}` (SHA-256 {facts['sha256']}), {what}"
    return ""


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
