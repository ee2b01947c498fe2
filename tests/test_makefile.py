"""The Makefile, with a make-believe Python that does nothing but leave traces."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from hamdg.config.reading import read_recipe

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")

# Understands what the Makefile asks of a Python; `broken` and `old` are files that make it fail at that point.
FAKE = """#!/bin/sh
here={here}
echo "$@" >> $here/log
case "$*" in
  *version_info*) test ! -e $here/old ;;
  *ensurepip*) test ! -e $here/no-venv ;;
  "-m venv "*) mkdir -p $3/bin && cp "$0" $3/bin/python ;;
  *"pip --version"*) ;;
  *"pip install"*) test ! -e $here/broken ;;
  *find_spec*) test ! -e $here/incomplete ;;
esac
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name in ("Makefile", "setup.cfg", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
    python = tmp_path / "fake-python"
    python.write_text(FAKE.format(here=tmp_path))
    python.chmod(0o755)
    return tmp_path


def make(project: Path, *arguments: str, python: str = "./fake-python") -> tuple[int, str]:
    # A make that runs this test must not pass its own flags on.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    command = ["make", "-C", str(project), *arguments, f"PYTHON={python}"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    return done.returncode, done.stderr


def installs(project: Path) -> int:
    return (project / "log").read_text().count("pip install")


def test_setup_installs_once(project: Path) -> None:
    assert make(project, "setup")[0] == 0
    assert make(project, "setup")[0] == 0
    assert installs(project) == 1


def test_new_requirements_are_installed(project: Path) -> None:
    make(project, "setup")
    (project / ".venv" / ".installed").touch()
    os.utime(project / "constraints.txt", (2**31, 2**31))
    assert make(project, "setup")[0] == 0
    assert installs(project) == 2


def test_an_install_that_failed_is_repeated(project: Path) -> None:
    (project / "broken").touch()
    assert make(project, "setup")[0] != 0
    assert not (project / ".venv" / ".installed").exists()
    (project / "broken").unlink()
    assert make(project, "setup")[0] == 0
    assert installs(project) == 2


def test_an_install_that_lost_a_package_is_repeated(project: Path) -> None:
    make(project, "setup")
    (project / "incomplete").touch()
    assert make(project, "setup")[0] != 0
    (project / "incomplete").unlink()
    assert make(project, "setup")[0] == 0
    assert installs(project) == 3


def test_a_venv_without_its_interpreter_is_made_again(project: Path) -> None:
    make(project, "setup")
    (project / ".venv" / "bin" / "python").unlink()
    (project / ".venv" / "rubbish").touch()
    assert make(project, "setup")[0] == 0
    assert not (project / ".venv" / "rubbish").exists()


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (
            "old",
            "make: `./fake-python` is older than Python 3.11; name a newer one: make setup PYTHON=/path/to/python3.11",
        ),
        (
            "no-venv",
            "make: `./fake-python` has no venv module; install it (on Debian and Ubuntu: apt install python3-venv)",
        ),
    ],
)
def test_an_unfit_python_is_named(project: Path, fault: str, said: str) -> None:
    (project / fault).touch()
    code, error = make(project, "setup")
    assert code == 2
    assert said in error.splitlines()
    assert not (project / ".venv").exists()


def test_a_missing_python_is_named(project: Path) -> None:
    code, error = make(project, "setup", python="./nowhere")
    assert code == 2
    said = "there is no `./nowhere`; install Python 3.11 or newer, or name one: make setup PYTHON=/path/to/python"
    assert f"make: {said}" in error.splitlines()


def test_help_lists_every_target() -> None:
    command = ["make", "--no-print-directory", "-C", str(ROOT), "help"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for target in ("setup", "demo", "test", "test-all", "lint", "bench", "report", "clean", "smoke", "mini-clip"):
        assert f"  make {target} " in said
    for benchmark in ("mini", "pacs", "vlcs", "officehome", "terra", "domainnet"):
        assert f"  make {benchmark}-leave-out-DOMAIN " in said


@pytest.mark.parametrize(
    ("benchmark", "short"),
    [
        ("mini", "art"),
        ("pacs", "art"),
        ("vlcs", "caltech"),
        ("officehome", "real"),
        ("terra", "100"),
        ("domainnet", "sketch"),
    ],
)
def test_a_domain_can_be_left_out_by_its_short_name(benchmark: str, short: str) -> None:
    command = ["make", "-n", "-C", str(ROOT), f"{benchmark}-leave-out-{short}", "PYTHON=true"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    recipe = f"experiments/{benchmark}/ham.yaml"
    assert f"hamdg run {recipe} --held_out={short}\n" in said
    # The recipe's own domain is the one that its header and `make help` leave out.
    given, own = (read_recipe(ROOT / recipe, overrides).held_out for overrides in ([f"--held_out={short}"], []))
    assert own == given


def test_every_target_names_what_is_there() -> None:
    text = (ROOT / "Makefile").read_text()
    modules = re.findall(r"-m (hamdg[\w.]*)", text)
    assert modules
    assert [name for name in modules if find_spec(name) is None] == []
    files = re.findall(r"(?:experiments|tests)/[\w/-]+\.\w+", text)
    assert [name for name in files if not (ROOT / name).is_file()] == []
    verbs = re.findall(r"\(BIN\)/hamdg (\w+)", text)
    known = subprocess.run([sys.executable, "-m", "hamdg", "--help"], capture_output=True, text=True, check=True).stdout
    assert [verb for verb in verbs if f"\n    {verb} " not in known] == []
