"""Which layer of a network a parameter belongs to."""

from __future__ import annotations

# What the names of a tower's tensors begin with in a whole CLIP; a text tower that is no module of its own has nothing.
_TOWERS = ("visual", "text")


def layer_of(parameter_name: str) -> str:
    """Return the layer that a parameter of a network belongs to.

    Numbered blocks keep their number (`layer1.0`, `transformer.resblocks.3`); all else has its first word as its layer
    (`conv1`, `attnpool`, `class_embedding`), behind that of the tower in a whole CLIP (`visual.conv1`).
    """
    words = parameter_name.split(".")
    for position, word in enumerate(words):
        if word.isdigit():
            return ".".join(words[: position + 1])
    return ".".join(words[:2]) if words[0] in _TOWERS else words[0]
