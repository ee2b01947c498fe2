from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from hamdg.config.data import ColumnsConfig, DataConfig
from hamdg.config.reading import read_recipe, write_recipe
from hamdg.config.recipe import ModelConfig, Recipe
from hamdg.data.benchmark import Benchmark, Hub
from hamdg.data.resolve import benchmark_of, hub_of, own_words, prompts_of, with_own_words, words_of
from hamdg.errors import ConfigError
from hamdg.runs.identity import identity

PACS = Recipe(benchmark="pacs")


def with_data(**changes: object) -> Recipe:
    return replace(PACS, data=replace(DataConfig(), **changes))  # type: ignore[arg-type]


def test_a_recipe_names_a_registered_benchmark() -> None:
    assert benchmark_of(PACS).title == "PACS"
    assert benchmark_of(Recipe()).name == "mini"


def test_prompts_are_the_recipes_or_the_benchmarks() -> None:
    assert prompts_of(PACS) == ["a photo of a {}."]
    assert prompts_of(replace(PACS, model=ModelConfig(prompts=["a {}."]))) == ["a {}."]
    assert prompts_of(Recipe(benchmark="custom")) == ["a photo of a {}."]


def test_giving_the_benchmarks_own_prompts_is_the_same_run() -> None:
    own = replace(PACS, model=ModelConfig(prompts=["a photo of a {}."]))
    assert identity(own) == identity(PACS)
    assert identity(replace(PACS, model=ModelConfig(prompts=["a {}."]))) != identity(PACS)


def test_a_hub_comes_with_its_columns() -> None:
    assert hub_of(PACS) is None
    recipe = with_data(hub="me/birds", revision="abc", columns=ColumnsConfig("picture", "bird", "place"))
    assert hub_of(recipe) == Hub("me/birds", "abc", "picture", "bird", "place")


def test_where_images_lie_does_not_define_a_run_of_a_registered_benchmark() -> None:
    elsewhere = with_data(root="/elsewhere", cache="/cache", decode_once=False)
    assert identity(elsewhere) == identity(PACS)
    assert identity(with_data(augment="clip")) != identity(PACS)
    custom = replace(elsewhere, benchmark="custom")
    assert identity(custom) != identity(replace(custom, data=replace(custom.data, root="/other")))


def test_the_chosen_domains_define_a_run_and_none_chosen_changes_nothing() -> None:
    own = replace(with_data(root="/pets"), benchmark="custom")
    chosen = replace(own, data=replace(own.data, domains=["a", "b"]))
    assert identity(chosen) != identity(own)
    assert identity(replace(own, data=replace(own.data, domains=[]))) == identity(own)


def test_shots_and_a_subset_define_a_run() -> None:
    runs = [PACS, with_data(shots=2), with_data(shots=3), with_data(subset=2), with_data(subset=3)]
    assert len({identity(one) for one in runs}) == len(runs)


def test_reading_truncated_files_makes_another_run_where_there_are_files() -> None:
    assert identity(with_data(truncated="read")) != identity(PACS)
    assert identity(Recipe(data=DataConfig(truncated="read"))) == identity(Recipe())


BENCH = Benchmark("own", ("a", "b"), ("0", "Alarm_Clock", "dog", "n02084071", "no"), title="Own")


def with_words(words: dict[str, str] | str | None) -> Recipe:
    return Recipe(benchmark="officehome", held_out="Art", data=DataConfig(words=words))


def test_words_are_given_by_class_and_spelled_as_freely_as_folders() -> None:
    given = {"n02084071": "wolf", "alarm-clock": "clock", "0": " zero ", "no": "negative"}
    expected = {"0": "zero", "Alarm_Clock": "clock", "n02084071": "wolf", "no": "negative"}
    assert list(own_words(BENCH, given).items()) == list(expected.items())
    assert own_words(BENCH, None) == {}


def test_words_that_a_class_has_by_itself_change_nothing() -> None:
    assert own_words(BENCH, {"dog": "dog", "Alarm_Clock": "Alarm Clock"}) == {}
    assert own_words(BENCH, {"Alarm_Clock": "alarm clock"}) == {"Alarm_Clock": "alarm clock"}


@pytest.mark.parametrize("text", ["0: zero\nno: never\n", json.dumps({"0": "zero", "no": "never"})])
def test_words_are_read_from_a_file(tmp_path: Path, text: str) -> None:
    (tmp_path / "words").write_text(text)
    assert own_words(BENCH, str(tmp_path / "words")) == {"0": "zero", "no": "never"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"dgo": "x"}, "`data.words` names the class `dgo`, which `Own` does not have; did you mean `dog`?"),
        (
            {"zebra": "x"},
            "`data.words` names the class `zebra`, which `Own` does not have; there are `0`, `Alarm_Clock`, `dog`, "
            "`n02084071`, `no`.",
        ),
        ({"dog": " "}, "`data.words` gives the class `dog` an empty word; give one, or leave it out."),
        (
            {"alarm clock": "clock", "Alarm_Clock": "bell"},
            "`data.words` gives the class `Alarm_Clock` two words, `clock` and `bell`; keep one.",
        ),
    ],
)
def test_wrong_words(given: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        own_words(BENCH, given)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- dog\n", "must hold a mapping of classes to words, such as `n02084071: dog`, but it holds `['dog']`."),
        ("dog: 5\n", "The word for the class `dog` in `{}` must be a text, but it is `5`; write it in quotes."),
        ("dgo: x\n", "`data.words` names the class `dgo` in `{}`, which `Own` does not have; did you mean `dog`?"),
        ("dog: x\ndog: y\n", "`dog` is given twice in `{}`, in lines 1 and 2; keep one of them."),
    ],
)
def test_wrong_files_of_words(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "words.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=f"{re.escape(message.replace('{}', str(path)))}$"):
        own_words(BENCH, str(path))


def test_a_missing_file_of_words_is_told_with_the_key(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"There is no file of words `.*none.yaml`; .* \(on the command line\)\.$"):
        read_recipe(None, [f"--data.words={tmp_path / 'none.yaml'}"])


def test_words_reach_the_classes_in_their_order() -> None:
    assert words_of(with_words(None))[:2] == ["Alarm Clock", "Backpack"]
    assert words_of(with_words({"backpack": "rucksack"}))[:2] == ["Alarm Clock", "rucksack"]


def test_a_run_is_identified_by_its_words_and_not_by_their_place(tmp_path: Path) -> None:
    (tmp_path / "words.yaml").write_text("Bed: couch\nbike: bicycle\n")
    given, filed = with_words({"Bike": "bicycle", "bed": "couch"}), with_words(str(tmp_path / "words.yaml"))
    assert identity(given) == identity(filed)
    assert identity(given) != identity(with_words({"Bike": "bicycle"})) != identity(with_words(None))
    assert identity(with_words({"Bike": "Bike"})) == identity(with_words({})) == identity(with_words(None))


def test_a_recipe_keeps_the_words_themselves(tmp_path: Path) -> None:
    (tmp_path / "words.json").write_text('{"house": "home", "dog": "dog"}')
    recipe = read_recipe(None, [f"--data.words={tmp_path / 'words.json'}"])
    assert recipe.data.words == {"house": "home"}
    assert read_recipe(None, ["--data.words={house: home}"]) == recipe
    write_recipe(recipe, tmp_path / "recipe.yaml")
    (tmp_path / "words.json").unlink()
    assert read_recipe(tmp_path / "recipe.yaml") == recipe
    assert with_own_words(recipe) == recipe
    assert read_recipe(tmp_path / "recipe.yaml", ["--data.words=null"]) == replace(recipe, data=DataConfig())


def test_a_word_that_is_no_text_is_told_with_its_type() -> None:
    with pytest.raises(ConfigError, match=r"Expected `data.words.dog` to be a string, but got `5`; put it in quotes"):
        read_recipe(None, ["--data.words={dog: 5}"])
