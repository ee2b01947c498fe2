"""Imports open_clip, and wandb not with it; imported for that alone, before everything else of this room.

timm, which open_clip is built on, imports wandb wherever that is installed, only to offer a function of its own
training script. It would take more than half a second of every start, and replace stdout's `write`.
"""

from __future__ import annotations

import sys
from typing import cast

_NAME = "wandb"
_modules = cast("dict[str, None]", sys.modules)
_hides = _NAME not in _modules

if _hides:
    # What Python takes for a module that is not installed.
    _modules[_NAME] = None
try:
    import open_clip  # noqa: F401
finally:
    if _hides:
        del _modules[_NAME]
