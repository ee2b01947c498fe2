from __future__ import annotations

import configparser
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from itertools import pairwise
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import hamdg

ROOT = Path(__file__).parents[1]


def setup_cfg() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def requirements() -> dict[str, Requirement]:
    """Return every bound of setup.cfg, extras included, by its package."""
    parser = setup_cfg()
    texts = [parser["options"]["install_requires"], *parser["options.extras_require"].values()]
    lines = [line for text in texts for line in text.splitlines() if line and not line.startswith("#")]
    # The extras for developers bring others of its own.
    found = {requirement.name.lower(): requirement for requirement in map(Requirement, lines)}
    return {name: requirement for name, requirement in found.items() if name != "hamdg"}


def constraints() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = [line.split("==") for line in lines if not line.startswith("#")]
    return {name.lower(): version for name, version in pairs}


def test_every_direct_dependency_is_pinned_within_its_bounds() -> None:
    pinned = constraints()
    for name, requirement in requirements().items():
        assert name in pinned, f"constraints.txt lacks {name}"
        assert pinned[name] in requirement.specifier, f"{requirement} does not allow {pinned[name]}"


def test_what_must_match_the_direct_dependencies_is_pinned_too() -> None:
    assert {"torch", "torchvision", "timm", "pytorch-lightning"} <= constraints().keys()


@pytest.mark.parametrize("version", ["2.6.2", "2.6.3", "2.4.0", "3.0.0"])
def test_bad_lightning_releases_are_excluded(version: str) -> None:
    assert version not in requirements()["lightning"].specifier
    assert "2.6.6" in requirements()["lightning"].specifier


def test_every_bound_has_its_reason_on_the_line_above() -> None:
    lines = setup_cfg_lines("install_requires =")
    for before, line in pairwise(lines):
        if re.search(r"[<>=]", line) and not line.strip().startswith("#"):
            assert before.strip().startswith("#"), f"no reason above {line.strip()}"


def setup_cfg_lines(head: str) -> list[str]:
    lines = (ROOT / "setup.cfg").read_text().splitlines()
    start = lines.index(head)
    end = next(number for number in range(start + 1, len(lines)) if not lines[number].startswith(" "))
    return lines[start:end]


def test_the_version_has_one_source() -> None:
    assert setup_cfg()["metadata"]["version"] == "attr: hamdg.__version__"
    assert re.fullmatch(r"\d+\.\d+\.\d+", hamdg.__version__)
    assert "version" not in tomllib.loads((ROOT / "pyproject.toml").read_text()).get("project", {})


def test_importing_hamdg_imports_no_torch() -> None:
    code = "import sys, hamdg, hamdg.config.reading, hamdg.report, hamdg.mini; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_a_wheel_holds_everything_that_lies_in_the_package(tmp_path: Path) -> None:
    skipped = shutil.ignore_patterns("__pycache__", "*.egg-info", "*.safetensors")
    for name in ("src", "experiments"):
        shutil.copytree(ROOT / name, tmp_path / name, symlinks=True, ignore=skipped)
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path / name)
    code = "from setuptools import build_meta; print(build_meta.build_wheel('.'))"
    built = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    with zipfile.ZipFile(tmp_path / built.stdout.splitlines()[-1]) as wheel:
        packed = {name: wheel.read(name) for name in wheel.namelist() if ".dist-info/" not in name}
    source = tmp_path / "src"
    files = {str(path.relative_to(source)): path.read_bytes() for path in source.rglob("*") if path.is_file()}
    # Recipes lie beside the package in a checkout, and in it where it is installed.
    files |= {f"hamdg/{path.relative_to(ROOT)}": path.read_bytes() for path in ROOT.glob("experiments/**/*.yaml")}
    files = {name: content for name, content in files.items() if ".egg-info/" not in name}
    assert sorted(packed) == sorted(files)
    assert packed == files


def test_no_tracked_file_names_a_machine() -> None:
    tracked = subprocess.run(["git", "ls-files"], capture_output=True, text=True, cwd=ROOT, check=False)
    if tracked.returncode:
        pytest.skip("not a git checkout")
    for name in tracked.stdout.splitlines():
        path = ROOT / name
        if path.is_file() and path.suffix in (".py", ".md", ".yaml", ".cfg", ".toml", ".txt", ".json"):
            found = re.search(r"/(home|root|work|tmp|Users)/\w", path.read_text())
            assert found is None, f"{name}: {found}"
