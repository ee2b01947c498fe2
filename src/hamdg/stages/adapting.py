"""What algorithms start from that adapt the self-attention of a CLIP's image tower, and train nothing else of it."""

from __future__ import annotations

from hamdg.models.adapters.attention import SelfAttention, self_attentions
from hamdg.models.clip_classifier import ClipClassifier
from hamdg.stages.class_features import check_frozen_class_features
from hamdg.stages.context import Context


def pretrained_attentions(context: Context) -> list[SelfAttention]:
    """Return the self-attention of the pretrained image tower, for checks.

    Raises:
        ConfigError: The model is no CLIP with frozen class features, or its attention is unknown.
    """
    check_frozen_class_features(context)
    return self_attentions(context.clip.encoder, context.clip.name)


def network_to_adapt(context: Context) -> tuple[ClipClassifier, list[SelfAttention]]:
    """Return a new network whose image tower is frozen, and the self-attention of this tower."""
    network = context.network(ClipClassifier)
    network.visual.requires_grad_(False)
    return network, self_attentions(network.visual, context.clip.name)
