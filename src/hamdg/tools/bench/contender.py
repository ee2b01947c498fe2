"""One contender of the merge bench, in a process of its own; prints the seconds that the merge itself took, as JSON.

Run as a file, so that another environment's Python, which has other libraries but not this package, can run it too:
`python contender.py CONTENDER FOLDER`.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

SOURCE = "source-*.safetensors"
BASE = "base.safetensors"
DENSITY = 0.2
NEEDS = {"hamdg": "hamdg.merge", "mergekit": "mergekit.merge_methods.api", "peft": "peft.utils.merge_utils"}


def hamdg_uniform(folder: Path) -> object:
    """Average with this library."""
    from hamdg.merge import merge, open_tensors

    return merge("uniform", {path.stem: open_tensors(path) for path in sorted(folder.glob(SOURCE))})


def hamdg_ties(folder: Path) -> object:
    """TIES with this library, trimmed over the whole model."""
    return _hamdg_ties(folder, "global")


def hamdg_ties_by_tensor(folder: Path) -> object:
    """TIES with this library, trimmed tensor by tensor as the others do it."""
    return _hamdg_ties(folder, "tensor")


def mergekit_uniform(folder: Path) -> object:
    """Average with mergekit, in memory."""
    return _mergekit(folder, "linear", {"weight": 1.0}, base=False)


def mergekit_ties(folder: Path) -> object:
    """TIES with mergekit, in memory, tensor by tensor."""
    return _mergekit(folder, "ties", {"weight": 1.0, "density": DENSITY}, base=True)


def peft_uniform(folder: Path) -> object:
    """Average of the changes with PEFT, tensor by tensor."""
    rules = importlib.import_module(NEEDS["peft"])
    return _peft(folder, lambda changes, weights: rules.task_arithmetic(changes, weights / len(changes)))


def peft_ties(folder: Path) -> object:
    """TIES with PEFT, tensor by tensor."""
    rules = importlib.import_module(NEEDS["peft"])
    return _peft(folder, lambda changes, weights: rules.ties(changes, weights, DENSITY))


def _hamdg_ties(folder: Path, scope: str) -> object:
    from hamdg.merge import merge, open_tensors

    models = {path.stem: open_tensors(path) for path in sorted(folder.glob(SOURCE))}
    return merge("ties", models, open_tensors(folder / BASE), density=DENSITY, scope=scope)


def _mergekit(folder: Path, method: str, parameters: dict[str, float], base: bool) -> object:
    api = importlib.import_module(NEEDS["mergekit"])
    models = {path.stem: _lazy(path) for path in sorted(folder.glob(SOURCE))}
    if base:
        models = {"base": _lazy(folder / BASE), **models}
    return api.merge_state_dicts(models, method, parameters=parameters, base="base" if base else None)


def _peft(folder: Path, rule: Callable[[list[torch.Tensor], torch.Tensor], torch.Tensor]) -> object:
    base, models = _lazy(folder / BASE), [_lazy(path) for path in sorted(folder.glob(SOURCE))]
    weights = torch.ones(len(models))
    return {name: start + rule([model[name] - start for model in models], weights) for name, start in base.items()}


def _lazy(path: Path) -> dict[str, torch.Tensor]:
    """Open a file as tensors that are mapped, not read: the fastest start that the other libraries can have."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - the file is not a mapping


CONTENDERS: dict[str, Callable[[Path], object]] = {
    function.__name__: function
    for function in (
        *(hamdg_uniform, hamdg_ties, hamdg_ties_by_tensor),
        *(mergekit_uniform, mergekit_ties, peft_uniform, peft_ties),
    )
}


def main(arguments: list[str]) -> None:
    """Run a contender."""
    contender, folder = CONTENDERS[arguments[0]], Path(arguments[1])
    importlib.import_module(NEEDS[arguments[0].partition("_")[0]])
    start = time.perf_counter()
    result: Any
    with torch.no_grad():
        result = contender(folder)
    print(json.dumps({"core": time.perf_counter() - start, "tensors": len(result)}))


if __name__ == "__main__":
    main(sys.argv[1:])
