from __future__ import annotations

import re
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hamdg import cli
from hamdg.errors import ConfigError
from hamdg.sweeps.launchers import Launcher, read_launcher, start
from hamdg.sweeps.launchers.choice import Choice, options_of
from hamdg.sweeps.launchers.local import Local

if TYPE_CHECKING:
    from tests.conftest import Plugin

THREADS = """
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Annotated, Literal
from hamdg.sweeps.launchers import Launcher
from hamdg.values import Range

@dataclass(frozen=True)
class Threads(Launcher):
    '''Threads of this process.

    Args:
        prefix: What their names begin with.
        size: How large each one is.
        lines: What is said before.
    '''

    prefix: str = "run"
    size: Annotated[float, Range(0, above=True)] = 1.0
    lines: list[str] = field(default_factory=list)
    kind: Literal["green", "blue"] = "green"

    def start(self, workers, folder):
        return ThreadPoolExecutor(workers, self.prefix)

@dataclass(frozen=True)
class Broken(Threads):
    def start(self, workers, folder):
        raise RuntimeError("no cluster")

@dataclass(frozen=True)
class Bare(Launcher):
    size: int

    def start(self, workers, folder):
        raise RuntimeError("no size")

@dataclass(frozen=True)
class Unfinished(Launcher):
    pass

number = 3
"""


@pytest.fixture(autouse=True)
def threads(plugin: Plugin) -> None:
    names = {"threads": "Threads", "broken": "Broken", "number": "number", "bare": "Bare", "unfinished": "Unfinished"}
    entries = {name: f"my_threads:{attribute}" for name, attribute in names.items()}
    plugin("my-threads", "hamdg.launchers", entries, THREADS)


def refused(message: str) -> pytest.RaisesExc[ConfigError]:
    return pytest.raises(ConfigError, match=f"^{re.escape(message)}$")


def test_processes_of_this_machine_are_used_where_nothing_else_is_said() -> None:
    assert read_launcher(None) == Local()
    assert read_launcher("local") == Local()
    assert read_launcher({"local": None}) == Local()


def test_a_launcher_of_another_package_is_found_with_its_options(tmp_path: Path) -> None:
    launcher = read_launcher({"threads": {"prefix": "a", "size": 2}}, None, ["--launcher.threads.prefix=b"])
    assert vars(launcher) == {"prefix": "b", "size": 2.0, "lines": [], "kind": "green"}
    with start(launcher, 2, tmp_path) as executor:
        assert isinstance(executor, Executor)
        assert executor.submit(int, "3").result() == 3


def test_values_of_the_command_line_are_yaml_except_for_texts() -> None:
    flags = ["--launcher.threads.prefix=3", "--launcher.threads.size=1e1", "--launcher.threads.lines=[a, b: c]"]
    with pytest.raises(ConfigError, match=re.escape("Expected `launcher.threads.lines.1` to be a string")):
        read_launcher(None, "threads", flags)
    launcher = read_launcher(None, "threads", [*flags[:2], '--launcher.threads.lines=[a, "b: c"]'])
    assert vars(launcher) == {"prefix": "3", "size": 10.0, "lines": ["a", "b: c"], "kind": "green"}


def test_options_of_the_file_are_for_its_launcher_alone() -> None:
    assert read_launcher({"threads": {"prefix": "a"}}, "local") == Local()
    assert vars(read_launcher({"threads": {"prefix": "a"}}, "threads"))["prefix"] == "a"
    assert vars(read_launcher({"local": {"gpus": 2}}, "threads"))["prefix"] == "run"


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("thread", "did you mean `threads`?"),
        ("", "there are `local`, `ray`, `slurm`, `bare`, `broken`, `number`, `threads`, `unfinished`."),
        ("zzz", "there are `local`, `ray`, `slurm`, `bare`, `broken`, `number`, `threads`, `unfinished`."),
    ],
)
def test_an_unknown_launcher_is_answered_with_the_nearest(name: str, hint: str) -> None:
    with refused(f"`--launcher`: there is no launcher `{name}`; {hint}"):
        read_launcher(None, name)
    with refused(f"`launcher` (in `a.yaml`): there is no launcher `{name}`; {hint}"):
        read_launcher({name: {}}, place="in `a.yaml`")
    with refused(f"`--launcher.{name}.size`: there is no launcher `{name}`; {hint}"):
        read_launcher(None, None, [f"--launcher.{name}.size=1"])


@pytest.mark.parametrize(
    ("given", "flags", "message"),
    [
        (
            {"threads": {"prefx": "a"}},
            [],
            "There is no option `launcher.threads.prefx` (in `a.yaml`); did you mean `prefix`?",
        ),
        (
            "threads",
            ["--launcher.threads.zz=1"],
            "There is no option `launcher.threads.zz` (on the command line); it has `prefix`, `size`, `lines`, `kind`.",
        ),
        (
            {"threads": {"size": 0}},
            [],
            "Expected `launcher.threads.size` to be a number above 0, but got `0` (in `a.yaml`).",
        ),
        (
            "threads",
            ["--launcher.threads.kind=red"],
            "Expected `launcher.threads.kind` to be one of `green`, `blue`, but got `red` (on the command line).",
        ),
        (
            {"threads": "a"},
            [],
            "Expected `launcher.threads` to be a mapping of options, but got `a` (in `a.yaml`).",
        ),
        (
            {"threads": {}, "local": {}},
            [],
            "Expected `launcher` to name one launcher with its options, but got 2 (in `a.yaml`).",
        ),
        (
            None,
            ["--launcher.threads.size=1"],
            "`--launcher.threads.size` is for the launcher `threads`, but the runs take place on `local`; add "
            "`--launcher threads`, or leave it out.",
        ),
    ],
)
def test_options_are_checked(given: Choice | None, flags: list[str], message: str) -> None:
    with refused(message):
        read_launcher(given, None, flags, "in `a.yaml`")


@pytest.mark.parametrize(("name", "what"), [("number", "a `int`"), ("unfinished", "`Unfinished`")])
def test_an_entry_point_that_is_no_launcher_is_named(name: str, what: str) -> None:
    with refused(
        f"The launcher `{name}` must be a dataclass that derives from `hamdg.sweeps.launchers.Launcher` and has "
        f"`start`, but it is {what}; repair or remove its package."
    ):
        read_launcher(name)


def test_an_option_without_a_default_is_named() -> None:
    with refused("The option `size` of the launcher `bare` must have a default; repair its package."):
        read_launcher("bare")


def test_a_launcher_that_cannot_start_is_one_sentence(tmp_path: Path) -> None:
    with refused("The launcher `Broken` cannot start (RuntimeError: no cluster)."):
        start(read_launcher("broken"), 2, tmp_path)


def test_what_a_launcher_says_about_itself_passes_through(tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Choosy(Launcher):
        def start(self, workers: int, folder: Path) -> Executor:
            raise ConfigError("Give it a partition.")

    with refused("Give it a partition."):
        start(Choosy(), 1, tmp_path)


def test_options_stand_in_the_help_but_those_of_broken_packages(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["sweep", "--help"]) == 0
    said = capsys.readouterr().out
    assert (
        "options of --launcher local:\n  --launcher.local.gpus\n      a number between 0 and 64, by default 1.0."
        in said
    )
    assert "--launcher.threads.prefix\n      a string, by default run. What their names begin with.\n" in said
    assert "number:" not in said


@pytest.mark.parametrize(("name", "heading"), [("local", "This machine"), ("ray", "Ray"), ("slurm", "SLURM")])
def test_every_option_stands_in_the_document(name: str, heading: str) -> None:
    text = (Path(__file__).parents[3] / "docs" / "launchers.md").read_text()
    section = text.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = [line.split(" | ")[0] for line in section.splitlines() if line.startswith("| `")]
    named = [option for row in rows for option in re.findall(r"`(\w+)`", row)]
    assert sorted(named) == sorted(option.name for option in options_of(name))


@pytest.mark.parametrize("rest", [[], ["--processes=2"]])
def test_a_flag_without_a_value_is_answered(rest: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["sweep", "a.yaml", "--launcher.threads.size", *rest]) == 2
    message = "`--launcher.threads.size` needs a value; write `--launcher.threads.size=VALUE`."
    assert message in capsys.readouterr().err
