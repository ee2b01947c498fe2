"""Backgrounds: sky and ground, walls and floors, with the props of the seven scenes."""

from __future__ import annotations

from numpy.random import Generator
from PIL import Image, ImageDraw

from hamdg.mini.palette import RGB, mix, scaled
from hamdg.mini.styles.painter import Picture


def horizon(rng: Generator) -> float:
    """Return where the ground begins, as a share of the image's height."""
    return float(rng.uniform(0.55, 0.78))


def two_bands(picture: Picture, upper: RGB, lower: RGB, level: float) -> Image.Image:
    """Return a canvas with the upper color above the horizon and the lower color below."""
    side = picture.side
    image = Image.new("RGB", (side, side), upper)
    if not picture.backdrop.plain:
        ImageDraw.Draw(image).rectangle([0, level * side, side, side], fill=lower)
    return image


def add_props(image: Image.Image, picture: Picture, rng: Generator, level: float, strength: float) -> None:
    """Draw what belongs to the scene: clouds, waves, firs, a sun, stars, an image on the wall, houses far away.

    Args:
        image: The canvas, changed in place.
        picture: Whose backdrop says the scene.
        rng: Source of places and sizes.
        level: The horizon.
        strength: How strongly the props differ from what is behind them, 0 to 1.
    """
    if picture.backdrop.plain:
        return
    pen, side, scene = ImageDraw.Draw(image), image.width, picture.backdrop.scene
    upper, lower = picture.backdrop.upper, picture.backdrop.lower
    places = rng.random((4, 3))
    ground = level * side
    for x, y, s in (places * side).tolist():
        size = 0.08 * side + 0.12 * s
        if scene == 0:
            cloud = mix(upper, (255, 255, 255), strength)
            pen.ellipse([x - 1.6 * size, y * 0.4 - size * 0.4, x + 1.6 * size, y * 0.4 + size * 0.5], fill=cloud)
        elif scene == 1:
            wave = ground * (0.8 + 0.18 * y / side)
            pen.line([x - size, wave, x + size, wave], fill=mix(upper, (40, 120, 150), strength), width=2)
        elif scene == 2:
            tree = mix(lower, (50, 90, 80), strength)
            pen.polygon([x - size * 0.7, ground, x, ground - 2.2 * size, x + size * 0.7, ground], fill=tree)
        elif scene == 4:
            pen.ellipse([x, y * 0.5, x + 2.5, y * 0.5 + 2.5], fill=mix(upper, (255, 255, 230), strength))
        elif scene == 6:
            block = scaled(upper, 1 - 0.35 * strength - 0.001 * s)
            pen.rectangle([x - size, ground - 2.5 * size, x + size, ground], fill=block)
    x, y = places[0, :2] * side
    if scene == 3:
        radius = side * 0.11
        center = 0.2 * side + 0.6 * x, min(0.15 * side + 0.4 * y, ground - radius)
        box = [center[0] - radius, center[1] - radius, center[0] + radius, center[1] + radius]
        pen.ellipse(box, fill=mix(upper, (255, 240, 170), strength))
    elif scene == 5:
        frame = [x * 0.7, y * 0.2, x * 0.7 + 0.26 * side, y * 0.2 + 0.2 * side]
        pen.rectangle(frame, fill=mix(upper, (120, 140, 170), strength), outline=scaled(upper, 1 - 0.5 * strength))
