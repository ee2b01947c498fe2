"""What a run starts from: weights, class features and images; kept by the first step and compared by all others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import zip_longest
from pathlib import Path

import torch

from hamdg.config.recipe import ModelConfig
from hamdg.digests import sha256_file
from hamdg.errors import ConfigError, RunDirectoryError, WeightsError
from hamdg.files import link_if_there, write_json
from hamdg.merge.files import open_tensors, read_metadata, save_tensors
from hamdg.models.pretrained import model_files
from hamdg.runs.directory import RunDirectory
from hamdg.runs.manifest import NEVER, FileFacts, unchanged
from hamdg.runs.schema import REPEAT
from hamdg.runs.steps import Start, read_start
from hamdg.stages.class_features import learn_class_features
from hamdg.stages.context import Context
from hamdg.stages.sources import open_sources

# Metadata of `base.safetensors`: the digest of the tensors in it, whatever file they were loaded from.
START = "hamdg.start_sha256"


def keep_base(context: Context) -> str:
    """Write `base.safetensors`, the whole model before training, unless it is there; return the file's SHA-256.

    Runs below one root that start from the same weights share one file on the disk, as hard links.
    """
    base = context.run.base
    if not _holds_start(base, context):
        twins = (path for path in _others(base) if _holds_start(path, context))
        if not any(link_if_there(twin, base) for twin in twins):
            state = {name: tensor.detach().cpu() for name, tensor in context.start_state().items()}
            save_tensors(base, state, {"format": "pt", START: context.start_sha256})
    return sha256_file(base)


def prepare(context: Context) -> None:
    """Make a run ready for its steps: compare the images, or split them; keep the pretrained weights; learn the head.

    Until the run has learned something, nothing ties it to what it met first.

    Raises:
        DataError: If the images are not those that the run began with, or a class cannot be learned from them.
        WeightsError: If the weights are others now.
    """
    run, begun = context.run, has_begun(context)
    data = open_sources(context, begun)
    check_start(context)
    if not begun:
        run.start.unlink(missing_ok=True)
    learn_class_features(context, data)
    keep_base(context)
    if not run.start.exists():
        features = context.head_facts(context.class_layer)
        files = _files(context.recipe.model)
        write_json(run.start, Start(sha256=context.start_sha256, files=files, class_features=features))


def check_layout(run: RunDirectory) -> None:
    """Refuse a run that has begun without saying what it began with: nothing of it could be compared.

    Raises:
        RunDirectoryError: If the file that says so is missing.
    """
    if not run.start.exists():
        raise RunDirectoryError(
            f"`{run.start}` is missing, which runs of earlier versions do not have either; without it the run cannot "
            f"go on, be merged again or be evaluated again. Restore it, or {REPEAT}."
        )


def has_begun(context: Context) -> bool:
    """Return whether a step of the run is done, or has left something to go on from."""
    steps = context.algorithm.steps()
    # A run without steps keeps to the images that it was validated on.
    return any(context.step(step.name).begun() for step in steps) if steps else context.run.validation.exists()


def check_start(context: Context) -> None:
    """Refuse to go on from other weights than those that a run began with: its task vectors would be nonsense.

    Raises:
        WeightsError: If the weights are others now.
    """
    run = context.run
    if not has_begun(context):
        return
    check_layout(run)
    if read_start(run)["sha256"] != context.start_sha256:
        raise WeightsError(
            f"The weights of the model `{context.recipe.model.name}` are not those that `{run.path}` was "
            "trained from; bring them back, or repeat the run with `--force` (a control: by deleting its folder)."
        )


def _files(config: ModelConfig) -> dict[str, str]:
    """Return the SHA-256 of the files that a model is read from, by their path."""
    return {str(path.absolute()): sha256_file(path) for path in model_files(config)}


def changed_start(config: ModelConfig, before: Mapping[str, FileFacts]) -> str:
    """Return a sentence part on the file of a model that has changed since a done run was trained; empty if none has.

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
        if not path.is_file() or read_metadata(path).get(START) != context.start_sha256:
            return False
        found = open_tensors(path)
    except WeightsError:
        return False
    state = context.start_state()
    return found.keys() == state.keys() and all(torch.equal(found[name], state[name].cpu()) for name in state)
