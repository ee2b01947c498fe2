"""Batched augmentation on the model's device: every sample gets its own draw, reproducible from a seed."""

from hamdg.data.augment.params import Draw, PresetName, draw
from hamdg.data.augment.presets import prepare
from hamdg.data.augment.shift import flip_shift
from hamdg.data.preprocess import normalize, resize, to_float

__all__ = ["Draw", "PresetName", "draw", "flip_shift", "normalize", "prepare", "resize", "to_float"]
