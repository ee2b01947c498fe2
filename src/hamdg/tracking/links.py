"""`tracking.json` in a run's folder: what other trackers call its steps, for steps that build on them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from hamdg.files import write_json

FILE = "tracking.json"
# What a tracker calls a step: `id`, `project`, `entity`, `url`, ...
Link = Mapping[str, str]


def read_links(folder: Path) -> dict[str, dict[str, str]]:
    """Return what is known of a run's steps by their names; nothing where the file is missing or damaged."""
    try:
        found = json.loads((folder / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    links = found.items() if isinstance(found, dict) else ()
    return {step: {str(k): str(v) for k, v in link.items()} for step, link in links if isinstance(link, dict)}


def keep_link(folder: Path, step: str, link: Link) -> None:
    """Write down what a tracker calls a step."""
    write_json(folder / FILE, read_links(folder) | {step: dict(link)})


def take_link(source: Path, target: Path, step: str, there: str = "") -> None:
    """Take over what a tracker calls a step that another run has done; its own is forgotten.

    Args:
        source: The other run's folder.
        target: The folder of the run that takes the step.
        step: The step's name.
        there: Its name in the other run, if that is another.
    """
    own, others = read_links(target), read_links(source)
    if (there or step) in others:
        keep_link(target, step, others[there or step])
    elif own.pop(step, None):
        write_json(target / FILE, own)
