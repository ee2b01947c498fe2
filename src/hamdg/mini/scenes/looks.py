"""The looks of the domains: light, weather and the camera's noise, laid over a view of a street."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from hamdg.mini.palette import RGB
from hamdg.mini.scenes.canvas import SKY_DEPTH, Floats, View

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Look:
    """How a domain looks; everything but `texture` changes light and colors alone.

    Args:
        zenith: The sky's color at the top.
        horizon: Its color at the horizon.
        light: What surfaces are multiplied by, for red, green and blue.
        saturation: What the distance of colors from gray is multiplied by.
        contrast: What the distance from middle gray is multiplied by.
        haze: The color that far things take.
        reach: The distance in meters at which 63 % of the light is the haze's.
        glow: How much lamps and lights shine.
        wet: How much the road mirrors what stands on it.
        noise: Standard deviation of the camera's noise.
        texture: How rough surfaces are.
    """

    zenith: RGB
    horizon: RGB
    light: Triple
    saturation: float
    contrast: float
    haze: RGB
    reach: float
    glow: float = 0.0
    wet: float = 0.0
    noise: float = 0.02
    texture: float = 0.05


LOOKS: Mapping[str, Look] = {
    "day": Look((138, 172, 214), (222, 228, 230), (0.96, 0.91, 0.82), 0.72, 0.9, (214, 220, 224), 220),
    "dusk": Look((70, 66, 112), (226, 142, 98), (0.56, 0.44, 0.44), 0.8, 0.95, (176, 118, 104), 190, glow=0.9),
    "fog": Look((200, 204, 208), (206, 209, 212), (0.86, 0.88, 0.9), 0.6, 0.9, (206, 209, 212), 32, glow=0.3),
    "game": Look(
        (64, 128, 218), (172, 212, 244), (1.06, 1.04, 1.0), 1.2, 1.1, (190, 214, 236), 700, noise=0.01, texture=0.03
    ),
    "rain": Look((112, 120, 132), (164, 171, 178), (0.66, 0.7, 0.75), 0.6, 0.95, (154, 161, 169), 95, 0.5, 0.3),
}


def seen_in(look: Look, view: View, road: int, rng: Generator) -> Floats:
    """Return an image of a view, floats `[side, side, 3]` between 0 and 1.

    Args:
        look: The look.
        view: What the camera sees.
        road: The class of what can be wet.
        rng: Draws what differs between two images of one look: a little of its light, its haze, and noise.
    """
    shape = view.depth.shape
    bright, hazy = rng.uniform(0.9, 1.1), rng.uniform(0.8, 1.3)
    rough = rng.standard_normal((*shape, 1), np.float32)
    plain = view.colors * (1 + np.float32(look.texture) * rough)
    gray = plain.mean(axis=2, keepdims=True)
    image = (gray + np.float32(look.saturation) * (plain - gray)) * np.array(look.light, np.float32)
    image *= np.float32(bright)
    if look.glow:
        image += np.float32(look.glow) * view.glow[..., None] * (view.colors - image)
    sky = view.depth >= SKY_DEPTH
    up = np.sqrt(view.elevation)[..., None]
    zenith, horizon, haze = (np.array(one, np.float32) / 255 for one in (look.zenith, look.horizon, look.haze))
    above = (horizon + up * (zenith - horizon)) * np.float32(0.5 + 0.5 * bright)
    clear = np.exp(view.depth * np.float32(-hazy / look.reach))[..., None]
    image = np.where(sky[..., None], above, haze + clear * (image - haze))
    if look.wet:
        image = _mirrored(image, view, road, look.wet)
    image = np.float32(0.5) + np.float32(look.contrast) * (image - np.float32(0.5))
    image += np.float32(look.noise) * rng.standard_normal((*shape, 3), np.float32)
    clipped: Floats = np.clip(image, 0, 1).astype(np.float32)
    return clipped


def _mirrored(image: Floats, view: View, road: int, share: float) -> Floats:
    """Return an image in which the road mirrors what is above the horizon, blurred as by small waves."""
    first = int(np.argmax(view.elevation[:, 0] <= 0))
    below = image.shape[0] - first
    above = image[max(first - below, 0) : first][::-1]
    if len(above) < below:
        above = np.concatenate([above, np.repeat(above[-1:], below - len(above), axis=0)])
    padded = np.pad(above, ((4, 4), (0, 0), (0, 0)), mode="edge")
    blurred = np.mean([padded[shift : shift + below] for shift in range(9)], axis=0, dtype=np.float32)
    wet = np.float32(share) * (view.labels[first:] == road)[..., None]
    image = image.copy()
    image[first:] += wet * (blurred - image[first:])
    return image
