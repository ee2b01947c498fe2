"""What of the machine this process uses: a device, its CPU threads, and memory."""

from __future__ import annotations

import ctypes
import os

import torch

from hamdg.config.recipe import THREADS
from hamdg.cores import usable_cores
from hamdg.data.parallel import limit_threads
from hamdg.errors import ConfigError

# Options of glibc's `mallopt`: how much free memory is given back, and which blocks always are; both in bytes.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_LARGEST = 1 << 29
# Whoever sets these knows better.
_VARIABLES = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_")


def pick_device(wanted: str) -> torch.device:
    """Return the device for `auto`, `cpu` or `cuda`.

    Raises:
        ConfigError: If a GPU is asked for and there is none.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ConfigError("`runtime.device` is `cuda`, but torch sees no GPU; use `auto` or `cpu`.")
    return torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")


def set_threads(wanted: int) -> int:
    """Give this process its CPU threads (0: as `OMP_NUM_THREADS` says, else one a core) and return how many.

    Raises:
        ConfigError: If the environment variable is not a number of threads.
    """
    threads = wanted or _threads_of_environment() or usable_cores()
    torch.set_num_threads(threads)
    limit_threads(threads)
    return threads


def keep_freed_memory() -> bool:
    """Let the C library keep blocks of up to 512 MiB for the next tensors, and 1 GiB in all; return whether it will.

    glibc gives freed blocks of more than 32 MiB back, and the system clears the pages of every new one: a large part of
    the time in which a chunk of images passes a convolutional network. No value changes. Other C libraries, and what
    the environment says, are left alone.
    """
    if any(name in os.environ for name in _VARIABLES):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # no glibc
        return False
    return bool(mallopt(_MMAP_THRESHOLD, _LARGEST) and mallopt(_TRIM_THRESHOLD, 2 * _LARGEST))


def _threads_of_environment() -> int:
    text = os.environ.get("OMP_NUM_THREADS", "").strip()
    # A list has a number for each level of nesting (`4,2`); there is one level here.
    first = text.partition(",")[0].strip()
    if not text:
        return 0
    if not (first.isascii() and first.isdigit() and 1 <= int(first) <= THREADS):
        raise ConfigError(
            f"Expected the environment variable `OMP_NUM_THREADS` to be a number from 1 to {THREADS:,}, but got "
            f"`{text}`; correct it, or give `--runtime.threads`."
        )
    return int(first)
