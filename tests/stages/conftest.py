"""A pipeline small enough to run in a second, and a forking server that lets accidents happen to it."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol

import pytest

from hamdg.algorithms.base import Step
from hamdg.config.reading import read_recipe
from hamdg.config.recipe import Recipe
from hamdg.runs.directory import RunDirectory
from hamdg.runs.identity import run_directory
from hamdg.stages import pipeline, running
from hamdg.stages.context import Context
from tests.tiny import Tower, as_arguments, tiny_settings

EXPERTS = ("--algorithm=experts", "--merge.method=uniform", "--held_out=sketch")
"""The overrides of `trained_experts`."""


def tiny_arguments(root: Path, tower: Tower) -> list[str]:
    values = tiny_settings(
        tower,
        data__mini__images_per_class=6,
        data__batch_size=4,
        train__steps=4,
        train__check_every=2,
        evaluate__lines=0,
        runtime__root=root,
        runtime__threads=1,
        runtime__report="false",
        controls__erm="false",
    )
    return as_arguments(values)


class Tiny(Protocol):
    """Gives the recipe of a tiny run below the test's own folder, with overrides."""

    def __call__(self, *overrides: str, tower: Tower = "rn") -> Recipe: ...


@pytest.fixture
def tiny(tmp_path: Path) -> Tiny:
    def recipe(*overrides: str, tower: Tower = "rn") -> Recipe:
        return read_recipe(None, [*tiny_arguments(tmp_path / "runs", tower), *overrides])

    return recipe


@pytest.fixture
def trained_experts(tiny: Tiny) -> Callable[..., Path]:
    """Return a function that trains tiny experts, without their evaluation, and gives its directory."""

    def run(*overrides: str) -> Path:
        recipe = tiny(*EXPERTS, *overrides, tower="vit")
        pipeline.run(recipe, until="train", show=False)
        return run_directory(recipe)

    return run


@dataclass(frozen=True)
class Outcome:
    """What became of a command: its exit code (negative: the signal that killed it) and what it said."""

    code: int
    seconds: float
    out: str
    err: str


class Zygote:
    """Runs `hamdg` commands in forked children, with accidents."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def run(
        self,
        argv: list[str],
        folder: Path,
        *,
        after: float | None = None,
        number: signal.Signals = signal.SIGKILL,
        die_at: int = 0,
        file_limit: int | None = None,
    ) -> Outcome:
        """Run a command in `folder`; send it a signal, or let it die at a file operation, or limit its files."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        request = {"argv": argv, "folder": str(folder), "after": after, "signal": number, "die_at": die_at}
        self.process.stdin.write(json.dumps(request | {"file_limit": file_limit}) + "\n")
        self.process.stdin.flush()
        return Outcome(**json.loads(self.process.stdout.readline()))


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    command = [sys.executable, str(Path(__file__).parent / "zygote.py")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield Zygote(process)
        assert process.stdin is not None
        process.stdin.close()


class Command:
    """The command line of a tiny run, and where its files are."""

    def __init__(self, folder: Path, tower: Tower, overrides: tuple[str, ...]) -> None:
        self.folder = folder
        arguments = [*tiny_arguments(folder / "runs", tower), *overrides]
        recipe = folder / "recipe.yaml"
        folder.mkdir(parents=True, exist_ok=True)
        recipe.write_text("")
        self.argv = ["run", str(recipe), *arguments]
        self.recipe = read_recipe(recipe, arguments)

    @property
    def directory(self) -> RunDirectory:
        return RunDirectory(run_directory(self.recipe))


class Commander(Protocol):
    """Gives a `Command` in a folder of its own; the same overrides give the same run."""

    def __call__(self, name: str, *overrides: str, tower: Tower = "rn") -> Command: ...


@pytest.fixture
def command(tmp_path: Path) -> Commander:
    def make(name: str, *overrides: str, tower: Tower = "rn") -> Command:
        return Command(tmp_path / name, tower, overrides)

    return make


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Tower], RunDirectory]:
    """Give a finished HAM run with its ERM control and its report; shared, so tests must not change it."""

    @cache
    def run(tower: Tower) -> RunDirectory:
        arguments = tiny_arguments(tmp_path_factory.mktemp(tower), tower)
        extra = [
            "--evaluate.lines=3",
            "--controls.erm=true",
            "--runtime.report=true",
            "--runtime.quiet=true",
            "--data.mini.label_noise=0.2",
        ]
        return RunDirectory(pipeline.run(read_recipe(None, [*arguments, *extra]), command="hamdg run tiny").parent)

    return run


@pytest.fixture
def copied(finished: Callable[[Tower], RunDirectory], tmp_path: Path) -> Callable[[Tower], RunDirectory]:
    """Give a copy of that run, below another root, that a test may change."""

    def copy(tower: Tower) -> RunDirectory:
        path = finished(tower).path
        root = path.parents[3]
        shutil.copytree(root, tmp_path / "copy")
        return RunDirectory(tmp_path / "copy" / path.relative_to(root))

    return copy


@dataclass(frozen=True)
class Work:
    """A step that was done: of which run, and its name."""

    run: Path
    step: str


@pytest.fixture
def worked(monkeypatch: pytest.MonkeyPatch) -> list[Work]:
    """Return the list of all steps that are done from now on, and neither skipped nor taken from another run."""
    done: list[Work] = []
    work = running._work

    def watched(context: Context, step: Step) -> None:
        done.append(Work(context.run.path, step.name))
        work(context, step)

    monkeypatch.setattr(running, "_work", watched)
    return done
