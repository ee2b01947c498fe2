"""Batched augmentation on the model's device: every sample gets its own parameters, reproducible from a seed."""

from hamdg.data.augment.params import AugmentParams, PresetName, sample_params
from hamdg.data.augment.presets import flip_shift, flip_shift_maps, prepare
from hamdg.data.preprocess import normalize, resize, to_float

__all__ = [
    "AugmentParams",
    "PresetName",
    "flip_shift",
    "flip_shift_maps",
    "normalize",
    "prepare",
    "resize",
    "sample_params",
    "to_float",
]
