"""Files that `torch.save` wrote: tensors are taken out of them, and nothing in them is executed."""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Self

import torch
from torch import Tensor
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from hamdg.errors import WeightsError
from hamdg.merge.files.layouts import find_model, is_lightning
from hamdg.text import listed

_LISTED = 12
_ARCHIVE = b"PK\x03\x04"
_REFUSED = "holds code or objects besides tensors and was refused without running it"


class _Ignored:
    """Stands for a value beside a model that is not a tensor; what made it is not used, and nothing is computed.

    NumPy's own functions are no choice: bytes that are made up let them crash the process.
    """

    def __new__(cls, *arguments: object) -> Self:
        return super().__new__(cls)

    def __init__(self, *arguments: object) -> None: ...

    def __setstate__(self, state: object) -> None: ...


# What is often in checkpoints beyond what torch reads: the arguments of the training script, and numbers and arrays of
# NumPy (whose versions call their module differently), such as a best accuracy.
_NUMPY = (
    "numpy.dtype",
    "numpy.ndarray",
    *(f"numpy.{c}.multiarray.{f}" for c in ("core", "_core") for f in ("scalar", "_reconstruct")),
)
_IGNORED: list[Callable[..., object] | tuple[Callable[..., object], str]] = [
    (_Ignored, name) for name in ("argparse.Namespace", "types.SimpleNamespace", *_NUMPY)
]


def read_pickle(path: Path, key: str | None = None, optional: bool = False) -> tuple[dict[str, Tensor], bool, str]:
    """Read the named tensors of a file that `torch.save` wrote, mapped into memory where its format allows.

    Args:
        path: The file.
        key: Where in the file the model lies, see `hamdg.merge.files.layouts.find_model`.
        optional: See there.

    Returns:
        The tensors, whether the file is a checkpoint of a training rather than plain weights, and the model's key.

    Raises:
        WeightsError: The file is damaged, asks for code, or does not hold named tensors.
    """
    content = _load(path)
    found, model = find_model(path, content, key, optional)
    for name, value in model.items():
        if fault := _fault(value):
            raise WeightsError(f"`{name}` in the weights file `{path}` is not a plain tensor but a {fault}.")
    tensors = {str(name): value.detach() for name, value in model.items() if isinstance(value, Tensor)}
    return tensors, path.suffix == ".ckpt" or is_lightning(content), found


def _fault(value: object) -> str:
    """Return what is wrong with a value of a model, and what to do about it."""
    if not isinstance(value, Tensor):
        kind = "value of another library" if isinstance(value, _Ignored) else type(value).__name__
        return f"{kind}. Save the model's `state_dict()` without it"
    if value.is_quantized:
        return "quantized one. Save it by `dequantize()`"
    return "" if value.layout == torch.strided else "sparse one. Save it by `to_dense()`"


def _load(path: Path) -> object:
    with open(path, "rb") as stream:
        start = stream.read(len(_ARCHIVE))
    try:
        with warnings.catch_warnings(), safe_globals(_IGNORED):
            # torch's advice on archives and protocols is for programmers; the messages below say what to do.
            warnings.simplefilter("ignore")
            content: object = torch.load(path, map_location="cpu", weights_only=True, mmap=start == _ARCHIVE)
            return content
    except pickle.UnpicklingError as error:
        # torch has one exception for "asks for a function" and for "these bytes are not a pickle"; its text would
        # advise to load the file unsafely.
        if "global" in str(error).lower() or start[:1] == pickle.PROTO:
            raise WeightsError(_unsafe(path, str(error))) from error
        raise WeightsError(damaged(path, ValueError("no pickle"))) from error
    except Exception as error:  # torch's readers raise whatever bytes that are not a pickle lead to
        if "torchscript" in str(error).lower():
            raise WeightsError(_script(path)) from error
        raise WeightsError(damaged(path, error)) from error


def damaged(path: Path, error: Exception) -> str:
    """Return the sentence for a file that cannot be read."""
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    size = path.stat().st_size
    return f"The weights file `{path}` ({size} bytes) is damaged or truncated ({reason}). Copy or download it again."


def _unsafe(path: Path, error: str) -> str:
    asked = _asked_for(path) or sorted(set(re.findall(r"GLOBAL ([\w.]+)", error)))
    what = f": it asks for {listed(asked, _LISTED)}" if asked else ""
    how = "Save its `state_dict()` as `.safetensors` where you trust its origin."
    if path.suffix == ".ckpt":
        how = (
            'Where you trust its origin, save its weights alone: `torch.save({"state_dict": torch.load(path, '
            'weights_only=False)["state_dict"]}, path)`; Lightning writes such objects for `save_hyperparameters`.'
        )
    return f"The weights file `{path}` {_REFUSED}{what}. {how}"


def _script(path: Path) -> str:
    plain = path.with_name(f"{path.stem}-tensors.pt")
    return (
        f"The weights file `{path}` is a TorchScript archive, which is a program, and was refused without running it. "
        'Where you trust its origin, take its tensors out once and give that file instead: `python -c "import torch; '
        f"torch.save(torch.jit.load('{path}', map_location='cpu').state_dict(), '{plain}')\"`."
    )


def _asked_for(path: Path) -> list[str]:
    try:
        with safe_globals(_IGNORED):
            return sorted(get_unsafe_globals_in_checkpoint(path))
    except Exception:  # Only archives can be asked, and damaged ones raise whatever they lead to.
        return []
