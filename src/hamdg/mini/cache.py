"""Rendered images on disk: made once, checked on every load, safe for processes that start together."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import PIL

from hamdg.config.data import MiniConfig, light_of
from hamdg.errors import StorageError
from hamdg.files import write_bytes
from hamdg.mini.arrays import DomainArrays
from hamdg.mini.benchmark import check, class_counts, known_domain, render_images, with_labels
from hamdg.mini.lights import in_light
from hamdg.mini.styles.painter import Pixels

RENDERER_VERSION = 2  # raise it with every change to what the images look like
_DIGEST_SIZE = hashlib.sha256().digest_size


def array_file(name: str, facts: Mapping[str, object], cache: Path) -> Path:
    """Return where something rendered is cached; the name holds a hash of everything that determines it.

    Args:
        name: What it is.
        facts: What it depends on, beside the versions of Pillow and NumPy.
        cache: Folder of the cached files.
    """
    key = {**facts, "pillow": PIL.__version__, "numpy": np.__version__}
    digest = hashlib.sha256(repr(sorted(key.items())).encode()).hexdigest()[:12]
    return cache / f"{name}-{digest}.npy"


def kept(
    files: Mapping[Path, tuple[int, ...]], make: Callable[[], Sequence[Pixels]], what: str = "rendered images"
) -> list[Pixels]:
    """Return memory-mapped arrays; if one is missing or damaged, all are made and written.

    Args:
        files: Where each lies, and its shape.
        make: Makes them.
        what: What they are, for messages.

    Raises:
        StorageError: If the cache cannot be written.
    """
    found = [_load(path, shape) for path, shape in files.items()]
    if any(one is None for one in found):
        for path, array in zip(files, make(), strict=True):
            _store(path, array, what)
        found = [_load(path, shape) for path, shape in files.items()]
    for path, one in zip(files, found, strict=True):
        if one is None:
            raise StorageError(
                f"The {what} in `{path}` differ from what was just written; check the disk "
                "or choose another folder with `data.cache`."
            )
    return [one for one in found if one is not None]


def _load(path: Path, shape: tuple[int, ...]) -> Pixels | None:
    """Return the memory-mapped images, or `None` if the file is missing, damaged or of another shape."""
    try:
        content = path.read_bytes()
        if hashlib.sha256(content[:-_DIGEST_SIZE]).digest() != content[-_DIGEST_SIZE:]:
            return None
        images = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return images if images.shape == shape and images.dtype == np.uint8 else None


def _store(path: Path, images: Pixels, what: str) -> None:
    """Write the images as a NumPy file with its own SHA-256 appended, whole or not at all."""
    stream = io.BytesIO()
    np.save(stream, images, allow_pickle=False)
    content = stream.getvalue()
    try:
        # NumPy reads no further than the header says, so the file stays an ordinary `.npy`.
        write_bytes(path, content + hashlib.sha256(content).digest())
    except OSError as error:
        # The sentence about a full disk advises to move the runs, which would not move this folder.
        cause = error.__cause__ if isinstance(error, StorageError) else error
        reason = cause.strerror if isinstance(cause, OSError) else error
        raise StorageError(
            f"The {what} could not be written to `{path.parent}` ({reason}); free some space there "
            "or choose another folder with `data.cache`."
        ) from error


def load_domain(domain: str, config: MiniConfig, cache: Path) -> DomainArrays:
    """Return one domain of the benchmark, its images memory-mapped from the cache.

    A missing or damaged file is rendered again. The labels are computed, so one file serves all amounts of label noise.

    Args:
        domain: One of `DOMAINS`, `FURTHER` or `COPIES`; a copy is made of its domain's cached images.
        config: Seed, size and the conflict dials.
        cache: Folder of the cached files, created if need be.

    Raises:
        ConfigError: If the domain or a setting is wrong.
        StorageError: If the cache cannot be written.
    """
    known_domain(domain)
    check(config)
    base, light = light_of(domain)
    shape = (sum(class_counts(domain, config)), config.image_size, config.image_size, 3)
    (images,) = kept({cache_file(base, config, cache): shape}, lambda: [render_images(base, config)])
    return with_labels(domain, in_light(light, images), config)


def cache_file(domain: str, config: MiniConfig, cache: Path) -> Path:
    """Return where a domain's images are cached."""
    facts = {
        "renderer": RENDERER_VERSION,
        "seed": config.seed,
        "images_per_class": config.images_per_class,
        "image_size": config.image_size,
        "spurious": float(config.spurious),
        "imbalance": float(config.imbalance),
    }
    return array_file(f"mini-{domain}", facts, cache)
