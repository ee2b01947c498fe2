from __future__ import annotations

import pytest

from hamdg.config.recipe import Recipe
from hamdg.stages.narrowing import UndeclaredSectionError, narrowed


def test_declared_and_common_sections_can_be_used() -> None:
    recipe = Recipe()
    own = narrowed(recipe, {"train", "ham"}, "train")
    assert (own.train, own.settings, own.data, own.model) == (recipe.train, recipe.settings, recipe.data, recipe.model)


@pytest.mark.parametrize("section", ["merge", "history", "controls"])
def test_a_section_that_is_not_declared_raises_and_names_step_and_section(section: str) -> None:
    own = narrowed(Recipe(), {"train", "ham"}, "adapt")
    with pytest.raises(UndeclaredSectionError, match=rf"^The step `adapt` read `{section}.anything` of the recipe"):
        _ = getattr(own, section).anything


def test_the_algorithms_own_settings_are_hidden_too() -> None:
    with pytest.raises(UndeclaredSectionError, match=r"`ham.enrichment`"):
        _ = narrowed(Recipe(), {"train"}, "merge").settings.enrichment  # type: ignore[attr-defined]


def test_one_part_of_them_can_be_declared_alone() -> None:
    own = narrowed(Recipe(), {"ham.enrichment"}, "train").settings
    assert own.enrichment.enabled  # type: ignore[attr-defined]
    with pytest.raises(UndeclaredSectionError, match=r"`ham.harmonization.weight`"):
        _ = own.harmonization.weight  # type: ignore[attr-defined]
