from __future__ import annotations

import os
import pickle
import re
import traceback
from pathlib import Path
from typing import Any

import pytest

from hamdg.errors import ConfigError, RunDirectoryError, RunInUseError, WeightsError
from hamdg.sweeps.launchers import remote
from hamdg.sweeps.launchers.remote import Answer, RemoteJob, Witness


@pytest.fixture
def witness(tmp_path: Path) -> Witness:
    return Witness(tmp_path)


def sent(job: RemoteJob[Any]) -> Answer[object]:
    """Return the answer of a job as another machine gives it."""
    copied = pickle.loads(pickle.dumps(job))
    answer: Answer[object] = pickle.loads(pickle.dumps(copied()))
    return answer


class StubbornError(Exception):
    def __init__(self, one: str, two: str) -> None:
        super().__init__(one)


def fail(number: int) -> None:
    errors: list[Exception] = [
        RunInUseError("`logs/x` is in use by process 1; wait until it ends."),
        ConfigError("`a`", " is wrong."),
        WeightsError("They ", "are damaged.", details="all of them"),
        ValueError("no"),
        StubbornError("a", "b"),
    ]
    raise errors[number]


class Failing:
    def __init__(self, number: int) -> None:
        self.number = number

    def __call__(self) -> None:
        fail(self.number)


def test_a_result_comes_back(witness: Witness) -> None:
    assert sent(RemoteJob(os.getpid, witness.path)).result() == os.getpid()
    assert sent(RemoteJob(dict, witness.path)).result() == {}


@pytest.mark.parametrize(
    ("number", "kind", "text"),
    [
        (0, RunInUseError, "`logs/x` is in use by process 1; wait until it ends."),
        (1, ConfigError, "`a` is wrong."),
        (2, WeightsError, "They are damaged."),
        (3, ValueError, "no"),
        (4, RuntimeError, "StubbornError: a"),
    ],
)
def test_an_error_comes_back_as_itself_with_its_traceback(
    witness: Witness, number: int, kind: type[Exception], text: str
) -> None:
    with pytest.raises(kind, match=f"^{re.escape(text)}$") as caught:
        sent(RemoteJob(Failing(number), witness.path)).result()
    assert type(caught.value) is kind
    assert "raise errors[number]" in "".join(traceback.format_exception(caught.value))
    if isinstance(caught.value, WeightsError):
        assert caught.value.details == "all of them"


def test_a_job_works_in_the_folder_of_the_sweep_and_with_its_variables(
    witness: Witness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HAMDG_DATA", "/images")
    job = RemoteJob(os.getcwd, witness.path, str(tmp_path))
    monkeypatch.setenv("HAMDG_DATA", "/elsewhere")
    monkeypatch.chdir("/")
    assert sent(job).result() == str(tmp_path)
    assert os.environ["HAMDG_DATA"] == "/images"


@pytest.mark.parametrize("gone", ["witness", "folder"])
def test_a_machine_that_does_not_share_the_folders_is_named(
    witness: Witness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gone: str
) -> None:
    monkeypatch.setattr(remote, "PATIENCE", 0.01)
    monkeypatch.setattr("socket.gethostname", lambda: "node7")
    folder = tmp_path / "work"
    if gone == "witness":
        witness.remove()  # as if this machine had another folder of the same name
    job = RemoteJob(os.getcwd, witness.path, str(folder))
    message = (
        f"The machine `node7` does not see the sweep's folder `{tmp_path if gone == 'witness' else folder}`; make the "
        "runs where all machines share it, or choose a `root` on a file system that they share."
    )
    with pytest.raises(RunDirectoryError, match=f"^{re.escape(message)}$"):
        sent(job).result()


def test_a_file_that_shows_up_late_is_waited_for(witness: Witness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "PATIENCE", 0.2)
    witness.remove()
    monkeypatch.setattr("time.sleep", lambda seconds: witness.path.touch())
    assert sent(RemoteJob(dict, witness.path)).result() == {}
