"""The held-out domain is opened for the first time by the evaluate stage."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hamdg.config.data import MiniConfig
from hamdg.data import find_images
from hamdg.data.benchmarks.pacs import PACS
from hamdg.data.find_images import list_domain
from hamdg.data.listing import Listing
from hamdg.data.locations import Location
from hamdg.errors import DataError
from hamdg.mini import DomainArrays, load_domain, rendered
from hamdg.runs.identity import run_directory
from hamdg.runs.record import read_record
from hamdg.stages import pipeline
from hamdg.stages.context import Context
from hamdg.stages.exporting import validate

if TYPE_CHECKING:
    from tests.stages.conftest import Tiny

Load = Callable[[str, MiniConfig, Path], DomainArrays]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the list of all domains that are opened from now on."""
    load: Load = load_domain
    names: list[str] = []

    def watched(domain: str, config: MiniConfig, cache: Path) -> DomainArrays:
        names.append(domain)
        return load(domain, config, cache)

    monkeypatch.setattr(rendered, "load_domain", watched)
    return names


@pytest.mark.parametrize("held_out", ["sketch", "art_painting"])
def test_no_stage_before_evaluate_opens_the_held_out_domain(
    tiny: Tiny, tmp_path: Path, opened: list[str], held_out: str
) -> None:
    cache = tmp_path / "cache"
    recipe = tiny(f"--held_out={held_out}", f"--data.cache={cache}", "--controls.erm=true", tower="vit")
    pipeline.run(recipe, until="merge")
    others = {"art_painting", "cartoon", "photo", "sketch"} - {held_out}
    assert set(opened) == others
    assert {path.name.split("-")[1] for path in cache.iterdir()} == others
    pipeline.run(recipe)
    assert held_out in opened
    assert any(held_out in path.name for path in cache.iterdir())


def test_an_excluded_domain_is_never_opened(tiny: Tiny, opened: list[str]) -> None:
    record = read_record(pipeline.run(tiny("--excluded=[photo]", "--controls.erm=true", tower="vit")))
    assert set(opened) == {"art_painting", "cartoon", "sketch"}
    assert (record["sources"], record["targets"]) == (["art_painting", "cartoon"], ["sketch"])
    assert "photo" not in {name for step in record["steps"].values() for name in step["opened"] or ()}


_opened_files: list[str] = []
_watching = False


def _watch(event: str, arguments: tuple[object, ...]) -> None:
    if event == "open" and _watching and isinstance(arguments[0], str | Path) and not Path(arguments[0]).is_dir():
        _opened_files.append(str(arguments[0]))


@pytest.mark.parametrize("benchmark", ["pacs", "custom"])
def test_files_of_the_held_out_domain_are_listed_but_not_opened_before_evaluate(
    tiny: Tiny, small_pacs: Path, monkeypatch: pytest.MonkeyPatch, benchmark: str
) -> None:
    sys.addaudithook(_watch)  # which cannot be taken away
    monkeypatch.setattr(sys.modules[__name__], "_watching", True)
    listed: list[str] = []

    def watched_list(place: Location, name: str) -> Listing:
        listed.append(name)
        return list_domain(place, name)

    monkeypatch.setattr(find_images, "list_domain", watched_list)
    place = (f"--benchmark={benchmark}", f"--data.root={small_pacs}", "--held_out=sketch", "--controls.erm=true")
    recipe = tiny(*place, "--data.decode_once=false", tower="vit")
    validated: list[int] = []

    def watched(context: Context, again: bool) -> bool:
        done = validate(context, again)
        validated.append(sum(str(small_pacs / "sketch") in name for name in _opened_files))
        return done

    monkeypatch.setattr(pipeline, "validate", watched)
    _opened_files.clear()
    pipeline.run(recipe)
    assert listed[: len(PACS.domains)] == list(PACS.domains)
    assert any(str(small_pacs / "photo") in name for name in _opened_files)
    assert validated == [0, 0]
    assert any(str(small_pacs / "sketch") in name for name in _opened_files)


def test_a_fault_of_the_held_out_domain_that_names_tell_stops_the_run_before_training(
    tiny: Tiny, small_pacs: Path, tmp_path: Path
) -> None:
    root = tmp_path / "PACS"
    shutil.copytree(small_pacs, root)
    shutil.rmtree(root / "sketch" / "dog")
    recipe = tiny("--benchmark=pacs", f"--data.root={root}", "--held_out=sketch", tower="vit")
    with pytest.raises(DataError, match=r"sketch` \(domain `sketch` of `pacs`\) has no folder for the class `dog`"):
        pipeline.run(recipe)
    assert not run_directory(recipe).exists()
    pipeline.run(recipe, until="merge")  # which needs no held-out domain


def test_training_and_merging_do_without_the_held_out_domain(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    load: Load = load_domain

    def forbidden(domain: str, config: MiniConfig, cache: Path) -> DomainArrays:
        if domain == "sketch":
            raise PermissionError("the held-out domain was opened")
        return load(domain, config, cache)

    monkeypatch.setattr(rendered, "load_domain", forbidden)
    recipe = tiny("--controls.erm=true", tower="vit")
    pipeline.run(recipe, until="merge")
    with pytest.raises(PermissionError, match="the held-out domain was opened"):
        pipeline.run(recipe)


def test_the_controls_are_validated_before_anything_is_evaluated(
    tiny: Tiny, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    moments: list[int] = []

    def watched(context: Context, again: bool) -> bool:
        moments.append(opened.count("sketch"))
        return validate(context, again)

    monkeypatch.setattr(pipeline, "validate", watched)
    pipeline.run(tiny("--controls.erm=true", tower="vit"))
    assert moments == [0, 0]
    assert "sketch" in opened
