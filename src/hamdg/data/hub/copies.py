"""Copies of the Hugging Face hub's data sets: in the cache of `datasets`, in a folder, or downloaded now."""

from __future__ import annotations

import errno
import json
import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from hamdg import console
from hamdg.data.benchmark import Hub
from hamdg.data.folders.layout import PARQUET
from hamdg.errors import DataError, HamdgError
from hamdg.files import explained_storage, user_path
from hamdg.reachable import answers
from hamdg.text import first_line, listed

if TYPE_CHECKING:
    import datasets

_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")
# With the second that `datasets` takes to import, a missing network is reported within four.
_ANSWER_WITHIN = 2.5
_SPLITS = ("train", "validation", "test")
_LOGIN = "log in with `hf auth login`"


def local_copy(hub: Hub) -> Path | None:
    """Return the folder or `.parquet` file that a hub's name means, if it means one."""
    path = user_path(hub.id, "data.hub")
    return path if path.is_dir() or (path.suffix == PARQUET and path.is_file()) else None


def is_cached(hub: Hub) -> bool:
    """Return whether a data set can be opened without the network: it is local, or its revision is in the cache."""
    return local_copy(hub) is not None or cached_copy(hub) is not None


def cached_copy(hub: Hub) -> Path | None:
    """Return the folder of the cache of `datasets` that holds the revision, the latest where none is pinned."""
    from datasets import config
    from datasets.naming import camelcase_to_snakecase

    if _ID.fullmatch(hub.id) is None:
        return None
    owner, name = hub.id.split("/")
    folder = Path(config.HF_DATASETS_CACHE).expanduser() / f"{owner}___{camelcase_to_snakecase(name)}"
    # Configuration, version, revision; the file is written last.
    found = folder.glob(f"*/*/{hub.revision or '*'}/dataset_info.json")
    copies = [info.parent for info in found if not info.parent.name.endswith(".incomplete")]
    return max(copies, key=lambda copy: copy.stat().st_mtime, default=None)


def why_unavailable(hub: Hub) -> str | None:
    """Return why a data set cannot be opened, as part of a sentence; `None` if it can.

    Asks the hub only about what is neither a folder nor in the cache.
    """
    from huggingface_hub import HfApi, constants

    if is_cached(hub):
        return None
    if _ID.fullmatch(hub.id) is None:
        return "it is neither a folder nor a name such as `owner/name`"
    if constants.HF_HUB_OFFLINE:
        return "it is not in the cache, and `HF_HUB_OFFLINE` forbids to ask the hub"
    if not answers(constants.ENDPOINT, _ANSWER_WITHIN):
        return f"it is not in the cache, and `{constants.ENDPOINT}` did not answer within {_ANSWER_WITHIN:g} s"
    try:
        HfApi().dataset_info(hub.id, revision=hub.revision, timeout=_ANSWER_WITHIN)
    except Exception as error:  # raised by the hub's library, by the one that it speaks HTTP with, and by sockets
        return _reason(hub, error)
    return None


def open_splits(hub: Hub) -> dict[str, datasets.Dataset]:
    """Open all rows of a data set, by split: train, validation, test, then others; downloads what is not there.

    Raises:
        DataError: If that is not possible.
        StorageError: If the disk is full.
    """
    import datasets

    if (reason := why_unavailable(hub)) is not None:
        raise _unopened(hub, reason)
    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    with _explained(hub):
        found = _opened(hub)
    order = sorted(found, key=lambda name: (_SPLITS.index(name) if name in _SPLITS else len(_SPLITS), name))
    return {name: found[name] for name in order}


def _opened(hub: Hub) -> dict[str, datasets.Dataset]:
    from datasets import config

    folder = local_copy(hub)
    if folder is not None and any((folder / name).exists() for name in ("dataset_dict.json", "state.json")):
        return _saved(folder)
    download = not is_cached(hub)
    builder = _builder(hub, folder)
    if download:
        size = builder.info.download_size
        amount = f"{size / 1e9:,.1f} GB" if size else "its size is not known"
        console.note(f"downloading `{hub.id}` from the hub ({amount}); it is kept in `{config.HF_DATASETS_CACHE}`")
    builder.download_and_prepare()
    # `datasets` cannot open a split without rows.
    filled = [name for name, split in (builder.info.splits or {}).items() if split.num_examples]
    return {name: builder.as_dataset(split=name) for name in filled} or dict(builder.as_dataset())


def _saved(folder: Path) -> dict[str, datasets.Dataset]:
    import datasets

    names = folder / "dataset_dict.json"
    if not names.exists():
        return {"train": datasets.load_from_disk(str(folder))}
    splits = json.loads(names.read_text(encoding="utf-8"))["splits"]
    filled = [name for name in splits if any((folder / name).glob("*.arrow"))]
    # Where all are without rows, `datasets` says so.
    return {name: datasets.load_from_disk(str(folder / name)) for name in filled or splits}


def _builder(hub: Hub, local: Path | None) -> datasets.DatasetBuilder:
    from datasets import load_dataset_builder
    from datasets.packaged_modules.cache.cache import Cache

    if local is not None and local.is_file():
        return load_dataset_builder("parquet", data_files=str(local))
    if local is not None:
        return load_dataset_builder(str(local))
    if (copy := cached_copy(hub)) is not None:
        # `load_dataset` would ask the hub first, and without an answer take any revision.
        name, version, revision = copy.parts[-3:]
        own = hub.id.split("/")[1]
        return Cache(repo_id=hub.id, dataset_name=own, config_name=name, version=version, hash=revision)
    builder = load_dataset_builder(hub.id, revision=hub.revision)
    if isinstance(builder, Cache):
        raise _unopened(hub, "the hub stopped answering")
    return builder


@contextmanager
def _explained(hub: Hub) -> Iterator[None]:
    from datasets import config

    logger = logging.getLogger("datasets")
    level = logger.level
    # It writes to the terminal what it also raises, and what is reported here in a sentence.
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    except HamdgError:
        raise
    except Exception as error:  # raised by `datasets` and by the four libraries below it, each in its own way
        if any(_is_full(cause) for cause in _causes(error)):
            with explained_storage(Path(config.HF_DATASETS_CACHE)):
                raise OSError(errno.ENOSPC, first_line(error)) from error
        raise _unopened(hub, _reason(hub, error)) from error
    finally:
        logger.setLevel(level)


def _is_full(error: BaseException) -> bool:
    return isinstance(error, OSError) and (error.errno == errno.ENOSPC or "enough disk space" in str(error))


def _unopened(hub: Hub, reason: str) -> DataError:
    return DataError(f"The data set `{hub.id}` cannot be opened: {reason}.")


def _reason(hub: Hub, error: Exception) -> str:
    """Return what an error of `datasets` or of the hub means, as part of a sentence with the remedy."""
    causes = list(_causes(error))
    # By name: they come from `datasets`, from the hub's library, and from requests, httpx or httpx2 below it.
    names = {kind.__name__ for cause in causes for kind in type(cause).__mro__}
    if "GatedRepoError" in names or ("DatasetNotFoundError" in names and "gated" in str(error)):
        return f"its owner asks for an agreement; accept it at https://huggingface.co/datasets/{hub.id}, then {_LOGIN}"
    if "RevisionNotFoundError" in names:
        return f"the hub has no revision `{hub.revision}` of it; name another one, or none"
    if names & {"RepositoryNotFoundError", "DatasetNotFoundError"}:
        return f"the hub has no such data set, or it is private; check the name, or {_LOGIN}"
    if names & {"ConnectionError", "TransportError", "TimeoutError"}:
        return "the hub cannot be reached"
    if names & {"EmptyDatasetError", "DataFilesNotFoundError"}:
        return "it holds no data files, such as `data/train-00000-of-00001.parquet`"
    if names & {"ArrowException", "DatasetGenerationError"} or cached_copy(hub) is not None:
        return _damage(hub, causes[-1])
    return first_line(causes[-1])


def _damage(hub: Hub, error: BaseException) -> str:
    from datasets import config

    if (copy := cached_copy(hub)) is not None:
        return f"its copy in the cache is damaged ({first_line(error)}); delete `{copy}` and repeat the command"
    local = local_copy(hub)
    files = [] if local is None else [local] if local.is_file() else sorted(local.rglob(f"*{PARQUET}"))
    damaged = [str(path) for path in files if _is_damaged(path)]
    if damaged:
        return f"its files {listed(damaged, 3)} are damaged ({first_line(error)}); copy them again"
    return (
        f"one of its files cannot be read ({first_line(error)}); copy them again, or delete what was made of them "
        f"in `{config.HF_DATASETS_CACHE}`"
    )


def _is_damaged(path: Path) -> bool:
    from pyarrow import ArrowException, parquet

    try:
        parquet.read_metadata(path)
    except (ArrowException, OSError):
        return True
    return False


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__
