from __future__ import annotations

import re
from dataclasses import replace
from typing import Annotated

import pytest
from torch import Tensor

from hamdg.config.algorithms.erm import ErmSettings
from hamdg.config.merge_section import completed, merge_options
from hamdg.config.recipe import MergeConfig, Recipe
from hamdg.errors import ConfigError
from hamdg.merge import Range, TensorSet, registry
from hamdg.merge.model_set import ModelSet, Rule
from hamdg.merge.registry import global_method, tensorwise_method
from hamdg.runs.identity import defining_part, identity, training_identity


@pytest.fixture(autouse=True)
def own_methods(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register methods of this test alone."""
    monkeypatch.setattr(registry, "_METHODS", dict(registry._METHODS))

    def plain(
        tensor_set: TensorSet, *, share: Annotated[float, Range(0, 1)] = 0.5, count: int = 3, deep: float | None = None
    ) -> Tensor:
        """Do nothing.

        Args:
            share: A share.
            count: A count.
            deep: A depth.
        """
        return tensor_set.like

    def asking(model_set: ModelSet, *, level: float) -> Rule:
        """Ask for data.

        Args:
            level: How much.
        """
        return lambda tensor_set: tensor_set.like

    tensorwise_method("plain", on="models")(plain)
    global_method("asking", on="models", needs=("gradients",))(asking)
    global_method("waiting", on="models", needs=("losses",))(asking)
    global_method("peeking", on="models", needs=("target",), target=True)(asking)


def run(method: str, **options: float | int | bool | str | None) -> Recipe:
    return Recipe(merge=MergeConfig(method, options))


def test_options_that_are_not_given_have_the_methods_defaults() -> None:
    assert merge_options(MergeConfig("plain", {"count": 4})) == {"share": 0.5, "count": 4, "deep": None}
    assert completed(run("plain")).merge.options == {"share": 0.5, "count": 3, "deep": None}
    assert completed(completed(run("plain"))) == completed(run("plain"))


def test_a_default_that_is_given_is_the_same_run() -> None:
    same = [run("plain"), run("plain", share=0.5), run("plain", deep=None, count=3), completed(run("plain"))]
    assert len({identity(recipe) for recipe in same}) == 1
    others = [run("plain", share=0.6), run("plain", count=4), run("plain", deep=1.0), run("asking", level=1.0)]
    assert len({identity(recipe) for recipe in [same[0], *others]}) == 5


def test_a_whole_number_is_the_same_number() -> None:
    assert identity(run("plain", share=1, deep=2)) == identity(run("plain", share=1.0, deep=2.0))
    assert type(merge_options(MergeConfig("plain", {"share": 1}))["share"]) is float


def test_a_changed_default_is_another_run(monkeypatch: pytest.MonkeyPatch) -> None:
    before = identity(run("plain")), identity(run("plain", share=0.5))
    info = registry.get_method("plain")
    options = dict(info.options) | {"share": replace(info.options["share"], default=0.4)}
    monkeypatch.setitem(registry._METHODS, "plain", replace(info, options=options))
    assert identity(run("plain")) != before[0]
    assert identity(run("plain", share=0.5)) == before[1]


def test_examples_count_for_methods_that_look_at_them() -> None:
    for recipe, counts in ((run("plain"), False), (run("asking", level=1.0), True)):
        other = replace(recipe, merge=replace(recipe.merge, examples=7))
        assert (identity(recipe) != identity(other)) == counts


def test_training_does_not_depend_on_the_merge() -> None:
    assert training_identity(run("plain")) == training_identity(run("uniform")) == training_identity(run("no method"))
    assert "merge" in defining_part(run("plain"))
    assert "merge" not in defining_part(replace(run("no method"), algorithm="erm", settings=ErmSettings()))


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (MergeConfig("plian"), "`merge.method`: there is no merge method `plian`; did you mean `plain`?"),
        (
            MergeConfig("plain", {"shar": 1}),
            "The merge method `plain` has no option `merge.options.shar`; did you mean `merge.options.share`?",
        ),
        (
            MergeConfig("plain", {"zzz": 1}),
            "The merge method `plain` has no option `merge.options.zzz`; it has `merge.options.share`, "
            "`merge.options.count`, `merge.options.deep`.",
        ),
        (
            MergeConfig("uniform", {"x": 1}),
            "The merge method `uniform` has no option `merge.options.x`; it takes none.",
        ),
        (
            MergeConfig("plain", {"share": 1.5}),
            "Expected `merge.options.share` to be a number between 0 and 1, but got `1.5`.",
        ),
        (
            MergeConfig("plain", {"count": 1.5}),
            "Expected `merge.options.count` to be an integer, but got `1.5`.",
        ),
        (
            MergeConfig("plain", {"count": None}),
            "Expected `merge.options.count` to be an integer, but got `null`.",
        ),
        (MergeConfig("asking"), "The merge method `asking` needs `merge.options.level`: How much."),
        (
            MergeConfig("waiting", {"level": 1}),
            "`merge.method`: `waiting` needs losses, which a run does not keep; choose another method, or call "
            "`hamdg.merge.merge` with `evidence` of your own.",
        ),
        *(
            (
                MergeConfig(name),
                f"`merge.method`: `{name}` goes along the checkpoints of one trajectory, not over sources; choose "
                "another method, or average each source's own trajectory with `history.kind`.",
            )
            for name in ("beta_average", "ema", "sma", "swad")
        ),
        (
            MergeConfig("peeking", {"level": 1}),
            "`merge.method`: `peeking` learns from images of the held-out domain, which is not domain generalization; "
            "to do so all the same, set `merge.target_data` to `peeking`.",
        ),
        (
            MergeConfig("plain", target_data="plain"),
            "`merge.target_data` is `plain`, but the merge method `plain` looks at no target data; leave it out.",
        ),
    ],
)
def test_what_is_wrong_is_one_sentence_that_names_the_key(config: MergeConfig, said: str) -> None:
    for use in (
        merge_options,
        lambda merge: identity(Recipe(merge=merge)),
        lambda merge: completed(Recipe(merge=merge)),
    ):
        with pytest.raises(ConfigError) as caught:
            use(config)
        assert str(caught.value) == said


def test_target_data_asked_for_by_name_are_another_run() -> None:
    asked = Recipe(merge=MergeConfig("peeking", {"level": 1}, target_data="peeking"))
    assert completed(asked).merge.target_data == "peeking"
    assert identity(asked) != identity(run("plain"))


def test_another_library_s_name_is_the_same_run_as_the_options_that_it_means() -> None:
    meant = run("dare", then="ties", rescale="l1", scale=1.0, ties_combine="sum", drop_rate=0.5)
    same = [run("dare_ties", drop_rate=0.5), run("dare_ties", scale=1, drop_rate=0.5), meant, completed(meant)]
    assert len({identity(recipe) for recipe in same}) == 1
    assert {completed(recipe).merge.method for recipe in same} == {"dare"}
    assert completed(same[0]) == completed(meant)
    assert identity(run("dare_ties")) != identity(run("dare", then="ties"))
    assert identity(run("linear")) == identity(run("weighted"))


def test_options_that_another_library_s_name_does_not_have() -> None:
    with pytest.raises(ConfigError, match=r"^The merge method `dare_ties` has no option `merge.options.then`; it has"):
        merge_options(MergeConfig("dare_ties", {"then": "task_arithmetic"}))
    message = (
        "The merge method `dare_ties` has no option `merge.options.density`; mergekit's `density` is 1 - "
        "`merge.options.drop_rate`."
    )
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        merge_options(MergeConfig("dare_ties", {"density": 0.5}))
