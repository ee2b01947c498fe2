"""Which libraries a result depends on."""

from __future__ import annotations

import platform
from importlib.metadata import version

_LIBRARIES = ("torch", "torchvision", "lightning", "open_clip_torch", "numpy", "pillow", "safetensors")


def library_versions() -> dict[str, str]:
    """Return the versions of Python, hamdg and the libraries that compute."""
    found = {"python": platform.python_version(), "hamdg": version("hamdg")}
    return found | {name: version(name) for name in _LIBRARIES}
