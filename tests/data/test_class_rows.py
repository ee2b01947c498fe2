from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from timm.data.imagenet_info import ImageNetInfo

from hamdg.config.reading import read_recipe
from hamdg.config.recipe import Recipe
from hamdg.data.benchmarks.pacs import PACS
from hamdg.data.class_rows import class_rows
from hamdg.errors import ConfigError
from hamdg.runs.identity import identity

LITE0 = ("--model.name=timm/efficientnet_lite0", "--model.weights=random", "--model.text_head=class_rows")
# What timm calls the classes of ImageNet that the benchmark's own rows are numbered by.
NAMED = {
    "elephant": ["Indian elephant", "African elephant"],
    "giraffe": ["zebra", "hartebeest", "impala", "gazelle"],
    "guitar": ["acoustic guitar", "electric guitar"],
    "horse": ["sorrel", "horse cart"],
    "house": ["barn", "boathouse", "church", "mobile home", "monastery", "palace", "tile roof"],
    "person": [
        *("academic gown", "cardigan", "gown", "jean", "jersey", "kimono", "miniskirt", "suit", "sweatshirt"),
        *("trench coat", "ballplayer", "groom"),
    ],
}
TWICE = "dog: [1], elephant: [2], giraffe: [3], guitar: [4], horse: [5], house: [6], person: [6]"


def names(numbers: tuple[int, ...]) -> list[str]:
    info = ImageNetInfo()
    return [info.index_to_description(number).split(",")[0] for number in numbers]


def test_the_rows_of_pacs_are_the_classes_of_imagenet_that_they_are_said_to_be() -> None:
    for name, expected in NAMED.items():
        assert names(PACS.class_rows[name]) == expected
    dogs = names(PACS.class_rows["dog"])
    # All breeds, from the first to the last; the wolves are behind them.
    assert (dogs[0], dogs[-1], len(dogs)) == ("Chihuahua", "Mexican hairless", 118)
    assert names((150, 269)) == ["sea lion", "timber wolf"]
    assert tuple(PACS.class_rows) == PACS.classes


def recipe(*overrides: str, benchmark: str = "pacs") -> Recipe:
    return read_recipe(None, [f"--benchmark={benchmark}", *LITE0, "--algorithm=zero_shot", *overrides])


def test_rows_are_the_recipes_or_the_benchmarks_and_define_the_run() -> None:
    own = class_rows(recipe())
    assert own == dict(PACS.class_rows)
    text = ", ".join(f"{name}: [{index}]" for index, name in enumerate(PACS.classes))
    given = recipe(f"--model.class_rows={{{text}}}")
    assert class_rows(given) == {name: (index,) for index, name in enumerate(PACS.classes)}
    assert identity(given) != identity(recipe())
    # The benchmark's own, written out in any order, are the same run.
    written = {name: list(reversed(rows)) for name, rows in PACS.class_rows.items()}
    same = replace(recipe(), model=replace(recipe().model, class_rows=written))
    assert identity(same) == identity(recipe())


def test_rows_are_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "rows.yaml"
    path.write_text("".join(f"{name.upper()}: [{index}, 7]\n" for index, name in enumerate(PACS.classes)))
    found = recipe(f"--model.class_rows={path}")
    assert found.model.class_rows == {name: [index, 7] for index, name in enumerate(PACS.classes)}
    for content, sentence in {
        "dog": "must hold a mapping of classes to lists of numbers, such as `dog: [151, 152]`, but it holds `dog`",
        "dog: 151": "must be a list of numbers from 0, but they are `151`",
        "dog: [-1]": "must be a list of numbers from 0, but they are `[-1]`",
        "dog: [151]\nDog: [200]": f"names the class `dog` twice in `{path}`; keep one",
        "dig: [1]": f"names the class `dig` in `{path}`, which `PACS` does not have; did you mean `dog`?",
    }.items():
        path.write_text(content)
        with pytest.raises(ConfigError) as caught:
            recipe(f"--model.class_rows={path}")
        assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (
            ["--model.class_rows={dog: [151]}"],
            "`horse`, `house`, `person`; give each class some",
        ),
        (["--model.class_rows={dog: [151], Dog: [200]}"], "`model.class_rows` names the class `dog` twice; keep one"),
        (["--model.text_head=linear_probe", "--model.class_rows={dog: [1]}"], "`class_rows`, which is `linear_probe`;"),
        (["--model.name=mini-rn"], "`mini-rn` is a CLIP, which has no classifier of its own; leave it out, or choose"),
        (["--model.head_labels=clean"], "with `model.text_head` `class_rows` no labels are read for the head"),
        (
            [f"--model.class_rows={{{TWICE}}}"],
            "gives the classes `house`, `person` the same rows; give them others",
        ),
    ],
)
def test_rows_that_make_no_sense_are_refused(overrides: list[str], sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        recipe(*overrides)
    assert sentence in str(caught.value)


def test_a_benchmark_without_rows_wants_some() -> None:
    with pytest.raises(ConfigError, match=r"such as `\{dog: \[151, 152\]\}`, or choose another `model.text_head`"):
        recipe(benchmark="mini")
