"""The directory of one run: its files, its lock and its `done` mark."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from filelock import FileLock, Timeout

from hamdg.config.reading import read_recipe, write_recipe
from hamdg.config.recipe import Recipe
from hamdg.errors import ConfigError, RunDirectoryError, RunInUseError
from hamdg.files import remove_leftovers
from hamdg.runs.identity import defining_part, run_directory
from hamdg.runs.lock import LOCK, OWNER, note_owner, noted_owner
from hamdg.runs.settings import flat
from hamdg.text import reason_of

# Where each held-out domain has a model of its own: a folder for each in this one.
MERGED_FOLDER = "merged"
# What a run's own JSON files and folders are called: no step can have such a name.
FILES = ("start", "splits", "validation", "record", "lines", MERGED_FOLDER)


@dataclass(frozen=True)
class StepDirectory:
    """The files of one step of a run.

    Args:
        run: The run's directory.
        name: The step's name.
    """

    run: Path
    name: str

    @property
    def folder(self) -> Path:
        """The step's own folder, `<name>/`."""
        return self.run / self.name

    @property
    def summary(self) -> Path:
        """What the step found and wrote, `<name>.json`; written last, so a step that has it is done."""
        return self.run / f"{self.name}.json"

    @property
    def is_done(self) -> bool:
        """Whether the step has finished."""
        return self.summary.is_file()

    @property
    def metrics(self) -> Path:
        """Everything measured while training, `metrics.csv`."""
        return self.folder / "metrics.csv"

    @property
    def resume(self) -> Path:
        """What an unfinished step goes on from, `resume.ckpt`."""
        return self.folder / "resume.ckpt"

    @property
    def index(self) -> Path:
        """Which checkpoints the histories are made of, `index.json`."""
        return self.folder / "index.json"

    def begun(self) -> bool:
        """Return whether the step is done or has left something to go on from."""
        return self.is_done or self.resume.exists()

    def reset(self) -> None:
        """Delete all that the step has written, its summary first and its state last."""
        with _explained(self.run):
            self.summary.unlink(missing_ok=True)
            if not self.folder.is_dir():
                return
            for entry in sorted(self.folder.iterdir(), key=lambda path: path == self.resume):
                _delete(entry)
            self.folder.rmdir()


class RunDirectory:
    """The files of one run.

    A plain `RunDirectory(path)` only names files. `open` and `hold` also take the lock that keeps a second process
    out; both give it back when their `with` block ends.

    Args:
        path: The directory; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._lock: FileLock | None = None

    @property
    def config(self) -> Path:
        """The complete recipe, `config.yaml`."""
        return self.path / "config.yaml"

    @property
    def base(self) -> Path:
        """The whole pretrained model, `base.safetensors`; completes the files of histories."""
        return self.path / "base.safetensors"

    @property
    def class_features(self) -> Path:
        """Class features learned from the sources, where no prompts give them, `class_features.safetensors`."""
        return self.path / "class_features.safetensors"

    @property
    def start(self) -> Path:
        """What the run started from: digests of the pretrained model and of class features, `start.json`."""
        return self.path / "start.json"

    @property
    def splits(self) -> Path:
        """Which images train and which validate, `splits.json`."""
        return self.path / "splits.json"

    @property
    def merged(self) -> Path:
        """The run's result in one file; some algorithms have none, or one for each target below `merged/`."""
        return self.path / "merged.safetensors"

    @property
    def head(self) -> Path:
        """The result's linear layer, which a CLIP has no place for (`model.head`), `head.safetensors`."""
        return self.path / "head.safetensors"

    @property
    def validation(self) -> Path:
        """Accuracies of all entries on the sources' hold-out sets, `validation.json`."""
        return self.path / "validation.json"

    @property
    def record(self) -> Path:
        """What the run found, `record.json`."""
        return self.path / "record.json"

    @property
    def predictions(self) -> Path:
        """What every entry predicted on the held-out domain, and images of mistakes, `predictions.npz`."""
        return self.path / "predictions.npz"

    @property
    def lines(self) -> Path:
        """Accuracies on the lines between models, `lines.json`."""
        return self.path / "lines.json"

    @property
    def report(self) -> Path:
        """The page to look at, `report.html`."""
        return self.path / "report.html"

    @property
    def done(self) -> Path:
        """The mark of a finished run, written last, with the digests of its files."""
        return self.path / "done"

    def step(self, name: str) -> StepDirectory:
        """Return the files of one of the run's steps."""
        return StepDirectory(self.path, name)

    @property
    def is_done(self) -> bool:
        """Whether the run has finished."""
        return self.done.is_file()

    @classmethod
    def open(cls, recipe: Recipe) -> Self:
        """Create or reopen the directory of `recipe`, take its lock and write `config.yaml`.

        Args:
            recipe: A checked recipe; its `runtime.root` and identity give the path.

        Raises:
            RunDirectoryError: If the directory is not writable, is in use, or belongs to another configuration.
        """
        run = cls(run_directory(recipe))
        with _explained(run.path):
            run.path.mkdir(parents=True, exist_ok=True)
        run.acquire()
        try:
            run._check_configuration(recipe)
            with _explained(run.path):
                write_recipe(recipe, run.config)
        except BaseException:
            run.release()
            raise
        return run

    @classmethod
    def find(cls, path: Path) -> Self:
        """Name the files of an existing run.

        Raises:
            RunDirectoryError: If `path` is not a run directory.
        """
        run = cls(path)
        if not run.config.is_file():
            raise RunDirectoryError(
                f"`{path}` is not a run directory: it has no `config.yaml`; give the folder that holds a run's "
                "`record.json`."
            )
        return run

    @classmethod
    def hold(cls, path: Path) -> Self:
        """Take the lock of an existing run, to repeat one of its steps.

        Raises:
            RunDirectoryError: If `path` is not a run directory, is not writable or is in use.
        """
        run = cls.find(path)
        run.acquire()
        return run

    def recipe(self) -> Recipe:
        """Read the recipe from `config.yaml`."""
        return read_recipe(self.config)

    def acquire(self) -> None:
        """Take the exclusive lock of the directory without waiting.

        Raises:
            RunInUseError: If another process (or another part of this one) has it.
            RunDirectoryError: If the folder is not writable.
        """
        lock = FileLock(self.path / LOCK, is_singleton=False)
        try:
            with _explained(self.path):
                lock.acquire(timeout=0)
        except Timeout:
            raise RunInUseError(self._in_use()) from None
        self._lock = lock
        with _explained(self.path):
            remove_leftovers(self.path)
            note_owner(self.path)

    def release(self) -> None:
        """Give the lock back; does nothing when it is not held."""
        if self._lock is None:
            return
        (self.path / OWNER).unlink(missing_ok=True)
        self._lock.release()
        self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def unmark_done(self) -> None:
        """Remove the `done` mark; the first thing when a step of a finished run is repeated."""
        self.done.unlink(missing_ok=True)

    def reset(self) -> None:
        """Delete all that the run has written, `done` first; its recipe and the lock stay."""
        self.unmark_done()
        with _explained(self.path):
            # What says that a step is done or has begun goes before what it began with: a process that dies in between
            # leaves a run that can go on.
            began_with = (self.start, self.splits)
            for path in sorted(self.path.glob("*.json"), key=lambda path: path in began_with):
                path.unlink()
            for path in self.path.glob("*/resume.ckpt"):
                _delete(path)
            for entry in sorted(self.path.iterdir()):
                if entry.name not in (LOCK, OWNER, self.config.name):
                    _delete(entry)

    def _in_use(self) -> str:
        who = noted_owner(self.path) or "another process"
        return f"`{self.path}` is in use by {who}; wait until it ends, or start a run with another seed or recipe."

    def _check_configuration(self, recipe: Recipe) -> None:
        if not self.config.is_file():
            return
        remedy = f"move `{self.path}` away, or choose another folder with `--runtime.root`."
        try:
            found = flat(defining_part(self.recipe()))
        except ConfigError as error:
            raise RunDirectoryError(
                f"The run directory's own `{self.config.name}` is damaged: {error} To go on, {remedy}"
            ) from None
        wanted = flat(defining_part(recipe))
        different = [key for key in wanted if wanted[key] != found.get(key)]
        if different:
            listed = "; ".join(f"`{key}` is `{found.get(key)}` there and `{wanted[key]}` here" for key in different[:3])
            more = f" (and {len(different) - 3} more)" if len(different) > 3 else ""
            raise RunDirectoryError(f"`{self.path}` holds a run of another configuration: {listed}{more}; {remedy}")


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn refused writes into a sentence that names the place and the way out."""
    try:
        yield
    except OSError as error:
        if error.errno is None:  # one of our own errors, or a lock that is taken
            raise
        raise RunDirectoryError(_not_writable(path, error)) from error


def _not_writable(path: Path, error: OSError) -> str:
    reason = reason_of(error).lower()
    is_run = RunDirectory(path).config.is_file()
    remedy = "make it writable, or go on with a copy of it" if is_run else "choose another folder with `--runtime.root`"
    return f"Cannot write to the run directory `{path}`: {reason}; {remedy}."
