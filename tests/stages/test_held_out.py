"""The held-out domain is opened for the first time by the evaluate stage."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hamdg.config import MiniConfig
from hamdg.data import domain as opening
from hamdg.data.arrays import DomainArrays
from hamdg.data.mini import load_domain
from hamdg.stages import pipeline
from hamdg.stages.context import Context
from hamdg.stages.merge import merge_histories

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

    monkeypatch.setattr(opening, "load_domain", watched)
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


def test_training_and_merging_do_without_the_held_out_domain(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    load: Load = load_domain

    def forbidden(domain: str, config: MiniConfig, cache: Path) -> DomainArrays:
        if domain == "sketch":
            raise PermissionError("the held-out domain was opened")
        return load(domain, config, cache)

    monkeypatch.setattr(opening, "load_domain", forbidden)
    recipe = tiny("--controls.erm=true", tower="vit")
    pipeline.run(recipe, until="merge")
    with pytest.raises(PermissionError, match="the held-out domain was opened"):
        pipeline.run(recipe)


def test_the_controls_are_merged_before_anything_is_evaluated(
    tiny: Tiny, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    moments: list[int] = []

    def watched(context: Context) -> bool:
        moments.append(opened.count("sketch"))
        return merge_histories(context)

    monkeypatch.setattr(pipeline, "merge_histories", watched)
    pipeline.run(tiny("--controls.erm=true", tower="vit"))
    assert moments == [0, 0]
    assert "sketch" in opened
