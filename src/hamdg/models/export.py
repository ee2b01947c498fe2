"""Write a merged model so that open_clip, or the library that it is from, loads it without hamdg."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from hamdg.errors import WeightsError
from hamdg.files import write_text
from hamdg.merge.files import save_tensors
from hamdg.models.clip import LoadedClip
from hamdg.models.weights import PREFIX, mismatches


def full_state(loaded: LoadedClip, weights: Mapping[str, Tensor], prefix: str = PREFIX) -> dict[str, Tensor]:
    """Return the whole CLIP's state with some tensors replaced.

    Args:
        loaded: The CLIP that gives everything else, such as the logit scale and frozen BatchNorm statistics.
        weights: New tensors by their name in `clip.visual`; what is not named stays as it is.
        prefix: What stands before these names in the whole CLIP; empty where they are those of the whole CLIP.

    Returns:
        Copies on the CPU, by open_clip's names, each in the precision of the model.

    Raises:
        WeightsError: If the CLIP has no such tensor, or one of another shape.
    """
    state = {key: value.detach().cpu().clone() for key, value in loaded.model.state_dict().items()}
    own = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    problems = mismatches({key: own[key] for key in own if key in weights}, weights)
    if problems:
        what = "image tower to be written does" if prefix == PREFIX else "tensors to be written do"
        raise WeightsError(
            f"The {what} not fit the model `{loaded.name}`: {'; '.join(problems)}. "
            "Merge models that were fine-tuned from it."
        )
    for key, value in weights.items():
        state[prefix + key] = value.detach().to("cpu", own[key].dtype).clone().contiguous()
    return state


def write_network(
    path: Path,
    own: Mapping[str, Tensor],
    weights: Mapping[str, Tensor],
    metadata: Mapping[str, str],
) -> None:
    """Write all tensors of a network, some of them replaced.

    Args:
        path: The file.
        own: Its tensors, by the names of the library that it is from.
        weights: New ones, by the same names; each is written in the precision of the one that it replaces.
        metadata: What the file says of itself.
    """
    state = {name: tensor.detach().cpu().clone() for name, tensor in own.items()}
    state |= {name: tensor.detach().to("cpu", state[name].dtype).clone() for name, tensor in weights.items()}
    save_tensors(path, state, metadata)


def write_linear(
    path: Path, tensors: Mapping[str, Tensor], classes: Sequence[str], metadata: Mapping[str, str], *, normalized: bool
) -> None:
    """Write the linear layer that lies beside a CLIP.

    Args:
        path: The file.
        tensors: `weight` [classes, d], `bias` [classes] if it has one, and what else belongs to it.
        classes: Names of the classes, in the order of the scores.
        metadata: What else the file says of itself.
        normalized: Whether it is given features of length 1, or as the tower computes them.
    """
    facts = {"hamdg.classes": json.dumps(list(classes)), "hamdg.features": "normalized" if normalized else "plain"}
    copies = {name: tensor.detach().float().cpu().clone() for name, tensor in tensors.items()}
    save_tensors(path, copies, {**metadata, **facts})


def write_config(loaded: LoadedClip, path: Path) -> None:
    """Write the model's configuration as the JSON file that `open_clip.add_model_config` reads."""
    write_text(path, json.dumps(loaded.config, indent=2) + "\n")
