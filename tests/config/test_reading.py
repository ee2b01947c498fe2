from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from hamdg.config.algorithms.erm import ErmSettings
from hamdg.config.algorithms.ham import EnrichmentConfig, HamSettings, HarmonizationConfig
from hamdg.config.data import DataConfig, MiniConfig
from hamdg.config.parsing import split_overrides
from hamdg.config.reading import checked, read_recipe, write_recipe
from hamdg.config.recipe import MergeConfig, ModelConfig, Recipe, RuntimeConfig, TrainConfig
from hamdg.data.resolve import benchmark_of
from hamdg.runs.identity import identity, training_identity


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "recipe.yaml"


def test_no_file_gives_the_defaults() -> None:
    assert read_recipe(None) == Recipe()


def test_a_file_changes_what_it_names(file: Path) -> None:
    file.write_text(
        "held_out: photo\ntrain:\n  steps: 40\n  lr: 1e-3\nmerge: {options: {keep: 1}}\ndata:\nruntime: {quiet: yes}\n"
    )
    expected = Recipe(
        held_out="photo",
        train=TrainConfig(steps=40, lr=1e-3),
        merge=MergeConfig(options={"keep": 1}),
        runtime=RuntimeConfig(quiet=True),
    )
    assert read_recipe(file) == expected


def test_an_empty_file_is_a_recipe(file: Path) -> None:
    file.write_text("# nothing but the defaults\n")
    assert read_recipe(file) == Recipe()


def test_whole_numbers_become_floats() -> None:
    recipe = read_recipe(None, ["--train.weight_decay=1", "--data.mini.label_noise=0", "--train.lr", "1"])
    values = (recipe.train.weight_decay, recipe.data.mini.label_noise, recipe.train.lr)
    assert [type(value) for value in values] == [float, float, float]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.2", 0.2),
        ("3", 3),
        ("1e-3", 1e-3),
        ("-2.5e3", -2500.0),
        ("true", True),
        ("null", None),
        ("global", "global"),
        ("", ""),
    ],
)
def test_options_of_the_merge_method_are_read_as_what_they_look_like(text: str, value: object) -> None:
    found = read_recipe(None, [f"--merge.options.name={text}"]).merge.options["name"]
    assert (found, type(found)) == (value, type(value))


def test_options_of_the_merge_method_add_up(file: Path) -> None:
    file.write_text("merge:\n  method: ties\n  options: {density: 0.3, scale: 2e0, tie_rule:}\n")
    recipe = read_recipe(file, ["--merge.options.density=0.1", "--merge.options={sign: count}"])
    assert recipe.merge.options == {"density": 0.1, "scale": 2.0, "tie_rule": None, "sign": "count"}


@pytest.mark.parametrize(
    ("overrides", "options"),
    [
        (["--merge.method=ties"], {"density": 0.3}),
        (["--merge.method=rhm"], {}),
        (["--merge.options.keep=0.2", "--merge.method=rhm"], {"keep": 0.2}),
        (["--merge={method: rhm, options: {keep: 0.2}}"], {"keep": 0.2}),
    ],
)
def test_an_override_of_the_merge_method_drops_the_files_options(
    file: Path, overrides: list[str], options: dict[str, object]
) -> None:
    file.write_text("merge: {method: ties, options: {density: 0.3}}\n")
    assert read_recipe(file, overrides).merge.options == options


def test_names_in_an_open_section_may_have_dots(file: Path) -> None:
    file.write_text("merge: {options: {v1.0: 1}}\n")
    assert read_recipe(file, ["--merge.options.a.b=2"]).merge.options == {"v1.0": 1, "a.b": 2}


def test_words_that_yaml_1_1_takes_for_truth_values_are_texts(file: Path) -> None:
    file.write_text("label: no\nruntime: {root: on, quiet: on}\nmerge: {options: {a: yes}}\n")
    recipe = read_recipe(file)
    assert (recipe.label, recipe.runtime.root, recipe.runtime.quiet) == ("no", "on", True)
    assert recipe.merge.options == {"a": "yes"}


def test_overrides_win_over_the_file_and_the_last_wins(file: Path) -> None:
    file.write_text("train: {steps: 40}\n")
    assert read_recipe(file, ["--train.steps=50", "--train.steps", "60"]).train.steps == 60


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        (
            "--ham={enrichment: {combine: sum}}",
            Recipe(settings=HamSettings(EnrichmentConfig(combine="sum"))),
        ),
        ("--label=123", replace(Recipe(), label="123")),
        ("--held-out=art", replace(Recipe(), held_out="art_painting")),
        ("--held_out=Art Painting", replace(Recipe(), held_out="art_painting")),
        ("--runtime.quiet", replace(Recipe(), runtime=RuntimeConfig(quiet=True))),
        ("--data.subset=4", replace(Recipe(), data=DataConfig(subset=4))),
        ("--data.subset=null", Recipe()),
        ("--data.subset=1e3", replace(Recipe(), data=DataConfig(subset=1000))),
        ("--runtime.report=off", replace(Recipe(), runtime=RuntimeConfig(report=False))),
        ("--data={batch_size: 8, mini: {seed: 3}}", Recipe(data=DataConfig(batch_size=8, mini=MiniConfig(seed=3)))),
        (
            "--data.mini.label_noise={sketch: 0.2, photo: 0}",
            Recipe(data=DataConfig(mini=MiniConfig(label_noise={"sketch": 0.2, "photo": 0.0}))),
        ),
        ("--model.prompts=['a {}.', 'the {}']", Recipe(model=ModelConfig(prompts=["a {}.", "the {}"]))),
        ("--model.weights=null", Recipe()),
        ("--model.weights=a=b.pt", Recipe(model=ModelConfig(weights="a=b.pt"))),
    ],
)
def test_overrides_of_every_kind(override: str, expected: Recipe) -> None:
    assert read_recipe(None, [override]) == expected


def test_split_overrides_knows_switches_and_options() -> None:
    arguments = ["--runtime.quiet", "a.yaml", "--seed", "3", "--force", "--held-out=art", "--data.augment", "none"]
    overrides, others = split_overrides(arguments, ["--force"])
    assert overrides == ["--runtime.quiet=true", "--seed=3", "--held-out=art", "--data.augment=none"]
    assert others == ["a.yaml", "--force"]


@pytest.mark.parametrize(
    ("word", "value"), [("off", False), ("No", False), ("false", False), ("on", True), ("yes", True), ("TRUE", True)]
)
def test_switches_take_the_words_that_their_values_do(word: str, value: bool) -> None:
    overrides, others = split_overrides(["--runtime.report", word, "a.yaml"], [])
    assert (overrides, others) == ([f"--runtime.report={word}"], ["a.yaml"])
    assert read_recipe(None, overrides).runtime.report is value


def test_a_recipe_made_in_python_is_checked_as_one_from_a_file() -> None:
    own = Recipe(held_out="Art", train=TrainConfig(lr=1), data=DataConfig(cache=cast("str", Path("kept"))))
    assert checked(own) == read_recipe(None, ["--held_out=art", "--train.lr=1", "--data.cache=kept"])
    assert type(checked(own).train.lr) is float
    noisy = Recipe(data=DataConfig(mini=MiniConfig(label_noise={"photo": 0.5})), merge=MergeConfig(options={"a": 1}))
    assert checked(noisy) == noisy
    prompts = cast("list[str]", ("a {}.",))
    assert checked(Recipe(model=ModelConfig(prompts=prompts))).model.prompts == ["a {}."]


def test_an_algorithms_section_has_its_name(file: Path) -> None:
    file.write_text("ham:\n  enrichment: {combine: sum}\n  harmonization: {weight: 3}\n")
    recipe = read_recipe(file, ["--ham.harmonization.method=cosine"])
    assert recipe.settings == HamSettings(EnrichmentConfig(combine="sum"), HarmonizationConfig("cosine", weight=3.0))
    assert recipe == replace(Recipe(), settings=recipe.settings)


def test_a_recipe_made_in_python_has_the_defaults_of_its_algorithm() -> None:
    assert (Recipe().settings, Recipe(algorithm="erm").settings) == (HamSettings(), ErmSettings())


def test_another_algorithm_on_the_command_line_starts_from_its_own_defaults(file: Path) -> None:
    file.write_text("algorithm: ham\nham: {enrichment: {enabled: false}}\ntrain: {steps: 40}\n")
    assert read_recipe(file, ["--algorithm=erm"]) == read_recipe(None, ["--algorithm=erm", "--train.steps=40"])
    again = read_recipe(file, ["--algorithm=ham"]).settings
    assert again == HamSettings(EnrichmentConfig(enabled=False))


def test_only_the_own_algorithms_section_is_written(tmp_path: Path) -> None:
    write_recipe(Recipe(), tmp_path / "ham.yaml")
    write_recipe(Recipe(algorithm="erm"), tmp_path / "erm.yaml")
    ham, erm = (yaml.safe_load((tmp_path / name).read_text()) for name in ("ham.yaml", "erm.yaml"))
    assert ham.pop("ham")["enrichment"] == {
        "enabled": True,
        "confidence": "true_class",
        "combine": "mean",
        "start": 0.0,
    }
    assert ham | {"algorithm": "erm"} == erm


def test_excluded_domains_are_called_as_the_benchmark_calls_them() -> None:
    recipe = read_recipe(None, ["--held_out=art", "--excluded=[Sketch, photo, sketch]"])
    assert recipe.excluded == ["photo", "sketch"]
    assert benchmark_of(recipe).sources(recipe.held_out, recipe.excluded) == ("cartoon",)


def test_excluded_domains_define_a_run() -> None:
    art, less = (read_recipe(None, ["--held_out=art", *more]) for more in ([], ["--excluded=[photo]"]))
    assert training_identity(art) != training_identity(less)


recipes = st.builds(
    Recipe,
    held_out=st.sampled_from(["art_painting", "cartoon", "photo", "sketch"]),
    algorithm=st.sampled_from(["ham", "erm"]),
    seed=st.integers(0, 2**40),
    label=st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=20),
    data=st.builds(
        DataConfig,
        subset=st.none() | st.integers(1, 99),
        cache=st.none() | st.sampled_from(["null", "1", "~/x", "a: b", "- c"]),
        mini=st.builds(
            MiniConfig,
            label_noise=st.floats(0, 0.9) | st.dictionaries(st.sampled_from(["photo", "sketch"]), st.floats(0, 0.9)),
        ),
    ),
    merge=st.builds(
        MergeConfig,
        options=st.dictionaries(
            st.sampled_from(["scale", "scope", "deep"]),
            st.none() | st.booleans() | st.integers() | st.floats(-1e9, 1e9) | st.sampled_from(["global", "a: b", "1"]),
        ),
        target_data=st.none() | st.just("adamerging"),
    ),
    train=st.builds(TrainConfig, lr=st.floats(1e-12, 1e3), steps=st.integers(20, 10**6)),
)


@given(recipes)
@settings(max_examples=20, deadline=None)
def test_a_written_recipe_reads_back_equal(tmp_path_factory: pytest.TempPathFactory, recipe: Recipe) -> None:
    path = tmp_path_factory.mktemp("recipe") / "config.yaml"
    write_recipe(recipe, path)
    assert read_recipe(path) == recipe


@pytest.mark.parametrize(
    ("kind", "ham", "erm"),
    [
        ("mean", "e5638794", "6c881f4b"),
        ("ema", "1751640e", "17b26346"),
        ("beta", "8f064185", "4ef46b97"),
        ("last", "583a8fd7", "429b562b"),
        ("snapshots", "0c7c14e5", "970099d3"),
    ],
)
def test_trainings_from_before_there_was_swad_are_still_the_same(kind: str, ham: str, erm: str) -> None:
    for algorithm, expected in (("ham", ham), ("erm", erm)):
        own = [f"--history.kind={kind}", f"--algorithm={algorithm}"]
        assert training_identity(read_recipe(None, own)) == expected
        # What only `swad` uses makes no other run of it.
        others = [*own, "--history.n_s=2", "--history.n_e=2", "--history.r=2"]
        assert training_identity(read_recipe(None, others)) == expected


def test_the_options_of_swad_define_a_run_of_it() -> None:
    overrides: tuple[list[str], ...] = (
        [],
        ["--history.n_s=2"],
        ["--history.n_e=2"],
        ["--history.r=2"],
        ["--history.every=2"],
    )
    recipes = [read_recipe(None, ["--history.kind=swad", *own]) for own in overrides]
    assert len({training_identity(recipe) for recipe in recipes}) == len(recipes)


def test_what_only_follows_training_makes_no_other_training() -> None:
    own = ["--algorithm=experts", "--merge.method=uniform"]
    plain, rows, joint = (
        read_recipe(None, [*own, *more])
        for more in ([], ["--experts.ensemble=logits"], ["--experts.joint_share=0.5", "--experts.ensemble=logits"])
    )
    assert training_identity(plain) == training_identity(rows) != training_identity(joint)
    assert identity(plain) != identity(rows)
