"""What algorithms start from that adapt the self-attention of a CLIP's image tower, and train nothing else of it."""

from __future__ import annotations

from hamdg.errors import ConfigError
from hamdg.models.adapters.attention import SelfAttention, self_attentions
from hamdg.models.clip_classifier import ClipClassifier
from hamdg.stages.context import Context


def pretrained_attentions(context: Context) -> list[SelfAttention]:
    """Return the self-attention of the pretrained image tower, for checks.

    Raises:
        ConfigError: The model is no CLIP, more of it is trained than the tower, or its attention is unknown.
    """
    clip, model = context.clip, context.recipe.model
    kept = {"text_tower": (model.text_tower, "frozen"), "head": (model.head, "class_features")}
    for key, (value, needed) in kept.items():
        if value != needed:
            raise ConfigError(
                f"The algorithm `{context.recipe.algorithm}` adapts an image tower whose features are compared with "
                f"frozen class features, but `model.{key}` is `{value}`; leave it out."
            )
    return self_attentions(clip.encoder, clip.name)


def network_to_adapt(context: Context) -> tuple[ClipClassifier, list[SelfAttention]]:
    """Return a new network whose image tower is frozen, and the self-attention of this tower.

    Raises:
        ConfigError: As `pretrained_attentions` does.
    """
    network = context.network(ClipClassifier)
    network.visual.requires_grad_(False)
    return network, self_attentions(network.visual, context.clip.name)
