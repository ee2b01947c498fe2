"""Write a merged model so that open_clip loads it without hamdg."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from hamdg.errors import WeightsError
from hamdg.files import write_text
from hamdg.models.clip import LoadedClip
from hamdg.models.weights import PREFIX, mismatches


def full_state(loaded: LoadedClip, visual: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the whole CLIP's state with tensors of its image tower replaced.

    Args:
        loaded: The CLIP that gives everything else: text tower, logit scale, frozen BatchNorm statistics.
        visual: New tensors by their name in `clip.visual`; what is not named stays as it is.

    Returns:
        Copies on the CPU, by open_clip's names, each in the precision of the model.

    Raises:
        WeightsError: If a tensor is unknown to the image tower or has another shape.
    """
    state = {key: value.detach().cpu().clone() for key, value in loaded.model.state_dict().items()}
    own = {key.removeprefix(PREFIX): value for key, value in state.items() if key.startswith(PREFIX)}
    problems = mismatches({key: own[key] for key in own if key in visual}, visual)
    if problems:
        raise WeightsError(
            f"The image tower to be written does not fit the model `{loaded.name}`: {'; '.join(problems)}. "
            "Merge models that were fine-tuned from it."
        )
    for key, value in visual.items():
        state[PREFIX + key] = value.detach().to("cpu", own[key].dtype).clone().contiguous()
    return state


def write_config(loaded: LoadedClip, path: Path) -> None:
    """Write the model's configuration as the JSON file that `open_clip.add_model_config` reads."""
    write_text(path, json.dumps(loaded.config, indent=2) + "\n")
