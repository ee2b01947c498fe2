"""The embedded benchmark `mini-scenes`: rendered streets with a class for every pixel, in one game's and four looks."""

from __future__ import annotations

from hamdg.mini.scenes.benchmark import CLASSES, DOMAINS, load_scenes, render_scene, render_scenes

__all__ = ["CLASSES", "DOMAINS", "load_scenes", "render_scene", "render_scenes"]
