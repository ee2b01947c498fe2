from __future__ import annotations

import os
import re
from concurrent.futures import Executor
from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING

import pytest

from hamdg.errors import ConfigError
from hamdg.sweeps.launchers import Processes, find_launcher, start

if TYPE_CHECKING:
    from tests.conftest import Plugin

INLINE = """
from concurrent.futures import ThreadPoolExecutor

def launch(workers):
    return ThreadPoolExecutor(workers)

def broken(workers):
    raise RuntimeError("no cluster")

number = 3
"""


@pytest.mark.slow
def test_a_process_that_dies_takes_only_its_own_job_with_it() -> None:
    with Processes(2) as executor:
        dead, *alive = (executor.submit(os._exit, 9), executor.submit(int, "1"), executor.submit(int, "2"))
        assert isinstance(dead.exception(), BrokenProcessPool)
        assert [future.result() for future in alive] == [1, 2]
        # Each place has a process again.
        assert {executor.submit(os.getpid).result() for _ in range(8)}.isdisjoint({os.getpid()})


def test_processes_of_this_machine_are_built_in() -> None:
    assert find_launcher("local") is Processes


def test_a_launcher_of_another_package_is_found(plugin: Plugin) -> None:
    plugin("my-threads", "hamdg.launchers", {"threads": "my_threads:launch"}, INLINE)
    with start("threads", find_launcher("threads"), 2) as executor:
        assert isinstance(executor, Executor)
        assert executor.submit(int, "3").result() == 3


@pytest.mark.parametrize(
    ("name", "hint"), [("thread", "did you mean `threads`?"), ("zzz", "there is `local`, `number`, `threads`.")]
)
def test_an_unknown_launcher_is_answered_with_the_nearest(plugin: Plugin, name: str, hint: str) -> None:
    entries = {"threads": "my_threads:launch", "number": "my_threads:number"}
    plugin("my-threads", "hamdg.launchers", entries, INLINE)
    message = f"`--launcher`: there is no launcher `{name}`; {hint}"
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        find_launcher(name)


def test_a_launcher_that_is_no_function_is_named(plugin: Plugin) -> None:
    plugin("my-threads", "hamdg.launchers", {"number": "my_threads:number"}, INLINE)
    message = (
        "The launcher `number` must be a function that takes the number of workers and returns a "
        "`concurrent.futures.Executor`, but it is a `int`."
    )
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        find_launcher("number")


def test_a_launcher_that_cannot_start_is_one_sentence(plugin: Plugin) -> None:
    plugin("my-threads", "hamdg.launchers", {"cluster": "my_threads:broken"}, INLINE)
    message = "The launcher `cluster` cannot start (RuntimeError: no cluster)."
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        start("cluster", find_launcher("cluster"), 2)
