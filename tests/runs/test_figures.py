from __future__ import annotations

from typing import Any, get_args, get_type_hints

import pytest

from hamdg.runs import figures
from hamdg.runs.merge_figures import MergeFacts, layers_of, merge_figures
from hamdg.values import check

FACTS: MergeFacts = {
    "norms": {"a": 1.0, "b": 1.0, "c": 1.0},
    "cosines": {
        "a|b": {"": 0.4, "stem": 0.1, "block.2": 0.2, "block.10": 0.3},
        "a|c": {"": 0.9949, "stem": 0.1, "block.2": 0.2, "block.10": 0.3},
        "b|c": {"": 0.9951, "stem": 0.1, "block.2": 0.2, "block.10": 0.3},
    },
    "kept": {"a": {"block.10": 0.5, "block.2": 0.5, "stem": 0.5}},
    "merged_norm": 0.9,
    "mean_norm": 1.0,
}


def drawn(facts: MergeFacts) -> dict[str, Any]:
    """Return the figures by title."""
    return {figure["title"]: figure for figure in merge_figures(facts)}


def test_all_heat_maps_show_layers_in_the_order_of_depth() -> None:
    found = drawn(FACTS)
    assert layers_of(FACTS) == ["stem", "block.2", "block.10"]
    for title in ("Cosine of the task vectors by layer", "Share of the coordinates that the merge kept, %"):
        assert found[title]["columns"] == ["stem", "block.2", "block.10"]
    assert found["Share of the coordinates that the merge kept, %"]["rows"] == {"a": [0.5, 0.5, 0.5]}


def test_an_unknown_layer_comes_last() -> None:
    assert figures.in_depth({"z", "a", "stem"}, ["stem"]) == ["stem", "a", "z"]


@pytest.mark.parametrize(
    ("cosines", "words"),
    [
        ((0.4, 0.99, 0.994), ""),
        ((0.4, 0.99, 0.995), "These source models have become one (cosine 1.00): b and c."),
        ((1.0, 0.996, 0.999), "The source models have become one (cosine 1.00 for every pair): they"),
    ],
)
def test_source_models_that_have_become_one_are_named(cosines: tuple[float, ...], words: str) -> None:
    own = {pair: {"": value} for pair, value in zip(FACTS["cosines"], cosines, strict=True)}
    note = drawn({**FACTS, "cosines": own})["Cosine of the task vectors"]["note"]
    assert note.startswith(words)
    assert bool(note) is bool(words)


def test_two_sources_that_have_become_one() -> None:
    facts: MergeFacts = {**FACTS, "norms": {"a": 1.0, "b": 1.0}, "cosines": {"a|b": {"": 0.9998}}}
    note = drawn(facts)["Cosine of the task vectors"]["note"]
    assert note.startswith("The source models have become one (cosine 1.00): they")


def test_a_source_called_merged_keeps_its_bar() -> None:
    values = drawn({**FACTS, "norms": {"merged": 7.0, "b": 1.0}})["Length (L2 norm)"]["values"]
    assert values == {"source merged": 7.0, "b": 1.0, "plain mean": 1.0, "merged": 0.9}


def test_a_merge_of_one_model_has_no_cosines() -> None:
    facts: MergeFacts = {**FACTS, "norms": {"a": 1.0}, "cosines": {}, "kept": {}}
    assert list(drawn(facts)) == ["Length (L2 norm)"]


def test_every_constructor_makes_a_figure_of_the_schema() -> None:
    made: list[figures.Figure] = [
        figures.heat_map("t", ["a"], {"r": [None]}, limits=(-1.0, 1.0)),
        figures.lines("t", [figures.series("s", [1], [None, 2.0][:1], "dashed")], x="alpha", limits=(0.0, 1.0)),
        figures.curves("t", [figures.curve("loss", over="n", style="faint", meaning="m")], percent=True),
        figures.layer_means("t", "cosine/before"),
        figures.bars("t", {"a": 1.0}, own="a"),
        figures.table("t", ["a"], [["b"]], note="n"),
        figures.image_strips("t", "train/samples.npz", [{"title": "s", "images": [{"index": 0, "caption": "c"}]}]),
    ]
    assert {figure["kind"] for figure in made} == {
        name for kind in get_args(figures.Figure) for name in get_args(get_type_hints(kind)["kind"])
    }
    check(made, list[figures.Figure])
