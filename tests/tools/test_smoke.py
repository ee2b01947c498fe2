from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from hamdg.data.find_images import list_domain
from hamdg.data.locations import locate
from hamdg.data.registry import benchmark
from hamdg.data.resolve import place_of
from hamdg.tools import smoke

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ["pacs", "officehome"])
def test_made_up_images_have_every_class_and_differ(name: str, tmp_path: Path) -> None:
    one = benchmark(name)
    root = smoke.make_images(tmp_path, one)
    place = locate(one, str(root))
    for domain in one.domains:
        assert set(list_domain(place, domain).labels.tolist()) == set(range(len(one.classes)))
    found = sorted(root.rglob("*.bmp"))
    assert len({path.read_bytes() for path in found}) == len(found)
    with Image.open(found[0]) as picture:
        assert picture.size == (smoke.SIDE, smoke.SIDE)


def test_images_are_made_once(tmp_path: Path) -> None:
    root = smoke.make_images(tmp_path, benchmark("vlcs"))
    path = next(root.rglob("*.bmp"))
    path.write_bytes(b"kept")
    assert smoke.make_images(tmp_path, benchmark("vlcs")) == root
    assert path.read_bytes() == b"kept"


def test_a_recipe_for_images_on_a_disk_needs_neither_data_nor_weights(tmp_path: Path) -> None:
    recipe = smoke.tiny_recipe(ROOT / "experiments" / "vlcs" / "ham.yaml", tmp_path)
    assert (recipe.model.name, recipe.model.weights) == ("mini-rn", None)
    assert recipe.data.root == str(tmp_path / "images" / "vlcs")
    assert (recipe.train.steps, recipe.history.kind) == (4, "beta")


def test_a_recipe_of_the_embedded_benchmark_keeps_its_model(tmp_path: Path) -> None:
    recipe = smoke.tiny_recipe(ROOT / "experiments" / "mini" / "ham-vit.yaml", tmp_path)
    assert (recipe.model.name, recipe.data.root) == ("mini-vit", None)
    assert not (tmp_path / "images").exists()


def test_a_recipe_for_images_of_your_own_gets_some(tmp_path: Path) -> None:
    recipe = smoke.tiny_recipe(ROOT / "experiments" / "custom" / "folder.yaml", tmp_path)
    assert (recipe.benchmark, recipe.held_out) == ("custom", "night")
    assert len(list_domain(place_of(recipe), "day")) > 2


@pytest.mark.slow
def test_a_recipe_for_images_on_a_disk_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "vlcs.yaml").write_text((ROOT / "experiments" / "vlcs" / "ham.yaml").read_text())
    assert smoke.main([str(tmp_path)]) == 0
    assert "vlcs.yaml passed" in capsys.readouterr().out
