from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import yaml
from PIL import Image

from hamdg.config.algorithms.scmd import ScmdSettings
from hamdg.config.recipe import Recipe
from hamdg.data.domain import open_domain
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
    assert (recipe.model.name, recipe.model.weights) == ("mini-vit", "random")
    assert recipe.data.root == str(tmp_path / "images" / "vlcs")
    assert (recipe.train.steps, recipe.history.kind) == (4, "beta")


def test_a_classifier_and_its_teacher_need_no_weights_either(tmp_path: Path) -> None:
    recipe = smoke.tiny_recipe(ROOT / "experiments" / "officehome" / "scmd.yaml", tmp_path)
    assert (recipe.model.name, recipe.model.weights, recipe.model.image_size) == ("mini-resnet8", None, 32)
    assert isinstance(recipe.settings, ScmdSettings)
    assert (recipe.settings.teacher.name, recipe.settings.teacher.weights) == ("mini-rn", "random")
    assert recipe.settings.teacher.prompts == ["this is a photo of a {}"]


def test_frozen_stages_are_as_many_as_the_small_classifier_can_spare(tmp_path: Path) -> None:
    recipe = smoke.tiny_recipe(ROOT / "experiments" / "pacs" / "lite0-erm.yaml", tmp_path)
    assert (recipe.model.name, recipe.model.frozen_blocks) == ("mini-resnet8", 1)


def test_a_recipe_of_the_embedded_benchmark_keeps_its_model(tmp_path: Path) -> None:
    recipe = smoke.tiny_recipe(ROOT / "experiments" / "mini" / "ham-vit.yaml", tmp_path)
    assert (recipe.model.name, recipe.data.root) == ("mini-vit", None)
    assert not (tmp_path / "images").exists()


def test_a_recipe_for_images_of_your_own_gets_some(tmp_path: Path) -> None:
    recipe = smoke.tiny_recipe(ROOT / "experiments" / "custom" / "folder.yaml", tmp_path)
    assert (recipe.benchmark, recipe.held_out) == ("custom", "night")
    assert len(list_domain(place_of(recipe), "day")) > 2


def test_a_recipe_for_label_maps_of_your_own_gets_some_with_its_ids(tmp_path: Path) -> None:
    recipe = smoke.tiny_recipe(ROOT / "experiments" / "custom" / "segmentation.yaml", tmp_path)
    assert (recipe.model.name, recipe.held_out) == ("mini-unet", "dusk+night")
    labels = open_domain(recipe, "day", 32).labels
    assert labels.shape[1:] == (32, 32)
    assert set(range(19)) <= set(labels.flatten().tolist())


def test_recipes_for_label_maps_with_other_ids_get_maps_of_their_own(tmp_path: Path) -> None:
    for number, ids in enumerate(("{0: road, 1: sky}", "{7: road, 300: sky}")):
        path = tmp_path / f"{number}.yaml"
        path.write_text(f"benchmark: custom\nheld_out: real\nalgorithm: experts\ndata: {{ids: {ids}}}\n")
        assert set(open_domain(smoke.tiny_recipe(path, tmp_path), "day", 32).labels.flatten().tolist()) == {0, 1}


def test_a_recipe_with_an_empty_section_is_made_small_too(tmp_path: Path) -> None:
    path = tmp_path / "empty.yaml"
    path.write_text("held_out: sketch\ndata:\n")
    assert smoke.tiny_recipe(path, tmp_path).held_out == "sketch"


def test_recipes_that_differ_in_the_benchmark_alone_are_run_where_it_is_asked_for() -> None:
    vlcs = ROOT / "experiments" / "vlcs"
    assert vlcs / "erm.yaml" in smoke.recipes(ROOT / "experiments", "vlcs")
    every = smoke.recipes(ROOT / "experiments")
    assert vlcs / "ham.yaml" in every
    assert vlcs / "erm.yaml" not in every
    # Based on a recipe of the same benchmark, which it is not the same as.
    assert ROOT / "experiments" / "pacs" / "ema.yaml" in every


def test_the_recipes_of_one_benchmark_are_chosen() -> None:
    every, own = smoke.recipes(ROOT / "experiments"), smoke.recipes(ROOT / "experiments", "pacs")
    assert own == sorted((ROOT / "experiments" / "pacs").glob("*.yaml"))
    assert set(own) < set(every)
    assert not any(path.parent.name in ("sweeps", "ablations", "wandb") for path in every)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--benchmark=pcas"], "there is no recipe of the benchmark `pcas` below `experiments`"),
        (["--root=images"], "`--root` holds the images of one benchmark: name it with `--benchmark`"),
    ],
)
def test_what_cannot_be_run_is_said(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    try:
        code = smoke.main(arguments)
    except SystemExit as error:
        code = error.code  # type: ignore[assignment]
    assert code == 2
    assert message in capsys.readouterr().err


def test_real_images_take_the_place_of_made_up_ones(small_pacs: Path, tmp_path: Path) -> None:
    recipe = smoke.tiny_recipe(ROOT / "experiments" / "pacs" / "mini-clip.yaml", tmp_path, str(small_pacs))
    assert recipe.data.root == str(small_pacs)
    assert not (tmp_path / "images").exists()


def test_the_workflow_for_other_repositories_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    workflow = yaml.safe_load((ROOT / "docs" / "examples" / "smoke.yml").read_text())
    commands = [step["run"] for step in workflow["jobs"]["smoke"]["steps"] if "run" in step]
    ours = [shlex.split(one)[3:] for one in commands if one.startswith("python -m hamdg.tools.smoke ")]
    assert len(ours) == len(commands) - 1 == 2
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "own.yaml").write_text("benchmark: mini\nalgorithm: erm\nheld_out: photo\n")
    monkeypatch.chdir(tmp_path)
    for arguments in ours:
        assert smoke.main(arguments) == 0
    assert capsys.readouterr().out.count("smoke: recipes/own.yaml passed") == 2


def test_lines_between_models_are_measured_in_the_first_recipe_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, int]] = []

    def run(recipe: Recipe, **how: object) -> None:
        asked.append((recipe.algorithm, recipe.evaluate.lines))

    monkeypatch.setattr("hamdg.stages.pipeline.run", run)
    assert smoke.main([str(ROOT / "experiments"), "--benchmark=pacs"]) == 0
    assert len(asked) == len(smoke.recipes(ROOT / "experiments", "pacs"))
    assert [lines for _, lines in asked] == [smoke.LINES, *[0] * (len(asked) - 1)]


@pytest.mark.slow
def test_a_recipe_for_images_on_a_disk_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "vlcs.yaml").write_text((ROOT / "experiments" / "vlcs" / "ham.yaml").read_text())
    assert smoke.main([str(tmp_path)]) == 0
    assert "vlcs.yaml passed" in capsys.readouterr().out
