"""The documents at the top and in docs/: what they name is there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml

import hamdg
from hamdg.config import algorithms
from hamdg.config.shipped import find_file

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("experiments/**/*.md")])
NAMES = [str(path.relative_to(ROOT)) for path in DOCUMENTS]
# Names of files in documents, as a path below the root: `src/hamdg/cli.py`, [text](docs/data.md).
PATH = r"(?:src|docs|tests|experiments)/[\w./-]*\w"


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors(text: str) -> set[str]:
    """Return the names by which links find the headings of a page, as GitHub makes them."""
    heads = re.findall(r"^#+ (.*)$", without_code(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def test_the_readme_fits_on_two_screens() -> None:
    assert len(text_of("README.md").split()) <= 900


def test_the_page_of_results_begins_with_its_parts() -> None:
    text = text_of("docs/results.md")
    listed = re.findall(r"^- \[(.*?)\]", text.partition("<!-- begin")[0], re.MULTILINE)
    assert listed == re.findall(r"^## (.*)$", without_code(text), re.MULTILINE)


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name: str) -> None:
    text = text_of(name)
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(text)):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        file, _, anchor = target.partition("#")
        path = ((ROOT / name).parent / file) if file else ROOT / name
        assert path.exists(), f"{name} links to {target}, which is not there"
        if anchor:
            assert anchor in anchors(path.read_text(encoding="utf-8")), f"{name} links to {target}: no such heading"


@pytest.mark.parametrize("name", [name for name in NAMES if name != "CHANGELOG.md"])
def test_paths_that_are_named_exist(name: str) -> None:
    missing = [path for path in re.findall(rf"`({PATH})`", text_of(name)) if not (ROOT / path).exists()]
    assert missing == []


@pytest.mark.parametrize("name", [name for name in NAMES if name != "CHANGELOG.md"])
def test_recipes_and_sweeps_that_are_named_come_with_hamdg(name: str) -> None:
    for verb, file in re.findall(r"\bhamdg (run|sweep) ([\w./-]*\w)", text_of(name)):
        if not file.isupper():  # FILE, RECIPE
            find_file(file, {"run": "recipe", "sweep": "sweep file"}[verb])


def test_the_citation_has_the_version() -> None:
    citation = yaml.safe_load(text_of("CITATION.cff"))
    assert citation["version"] == hamdg.__version__
    assert citation["authors"] == [{"name": "The hamdg authors"}]
    assert {"cff-version", "message", "title"} <= citation.keys()


def test_the_workflow_runs_what_contributors_run() -> None:
    (job,) = yaml.safe_load(text_of(".github/workflows/ci.yml"))["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"]
    lines = [shlex.split(line) for line in text_of(".ci/run").splitlines() if line.startswith("make ")]
    assert lines == [["make", "lint"], ["make", "test"], ["make", "smoke"]]
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111


def test_the_map_of_the_code_is_true() -> None:
    """Paths there are below `src/hamdg/`, folders end in a slash."""
    named = re.findall(r"`((?:[\w.-]+/)*[\w.-]*(?:/|\.py|\.yaml))`", text_of("docs/architecture.md"))
    assert len(named) > 40
    places = (ROOT / "src" / "hamdg", ROOT)
    assert [path for path in named if not any((place / path).exists() for place in places)] == []


def test_every_algorithm_and_every_room_is_on_the_map() -> None:
    text = text_of("docs/architecture.md")
    source = ROOT / "src" / "hamdg"
    rooms = [path.name for path in source.iterdir() if path.is_dir() and (path / "__init__.py").exists()]
    assert [name for name in rooms if f"`{name}/`" not in text] == []
    assert [name for name in algorithms.names() if f"`config/algorithms/{name}.py`" not in text] == []
