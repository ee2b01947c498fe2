"""Further domains of the embedded benchmark, drawn in styles of the wider world."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hamdg.config.data import FURTHER_STYLES, MiniConfig
from hamdg.config.reading import read_recipe
from hamdg.data.resolve import benchmark_of
from hamdg.errors import ConfigError
from hamdg.mini import DOMAINS, load_domain, render_domain
from hamdg.mini.benchmark import motif_of
from hamdg.runs.identity import defining_part, identity

FEW = MiniConfig(images_per_class=3, image_size=32)
STYLES = "--data.mini.styles=[chalk, watercolor]"


def test_styles_stand_between_the_own_domains_and_copies() -> None:
    given = read_recipe(None, [STYLES, "--data.mini.copies=[photo_fog]", "--held_out=chalk"])
    assert benchmark_of(given).domains == (*DOMAINS, "watercolor", "chalk", "photo_fog")
    assert given.held_out == "chalk"


def test_runs_without_styles_stay_what_they_are() -> None:
    plain = read_recipe(None, [])
    assert "styles" not in str(defining_part(plain))
    assert identity(plain) == identity(read_recipe(None, ["--data.mini.styles=[]"]))
    assert identity(plain) != identity(read_recipe(None, [STYLES]))


def test_a_style_that_there_is_not_is_refused_by_its_name() -> None:
    with pytest.raises(ConfigError, match=r"`data\.mini\.styles`: there is no `chalks`; did you mean `chalk`"):
        read_recipe(None, ["--data.mini.styles=[chalks]"])


def test_a_style_that_was_not_asked_for_is_no_domain() -> None:
    with pytest.raises(ConfigError, match=r"no domain `chalk`"):
        read_recipe(None, ["--held_out=chalk"])


@pytest.mark.parametrize("style", FURTHER_STYLES)
def test_a_style_has_drawings_of_its_own(style: str, tmp_path: Path) -> None:
    found = load_domain(style, FEW, tmp_path)
    assert found.images.shape == (21, 32, 32, 3)
    assert np.array_equal(found.images, render_domain(style, FEW).images)
    assert not np.array_equal(found.images, render_domain(style, replace(FEW, seed=1)).images)
    own = motif_of(style, 0, 0, FEW).drawing[0].points
    for other in {*DOMAINS, *FURTHER_STYLES} - {style}:
        theirs = motif_of(other, 0, 0, FEW).drawing[0].points
        assert own.shape != theirs.shape or not np.allclose(own, theirs)


def test_labels_of_a_style_alone_can_be_made_wrong() -> None:
    config = replace(FEW, label_noise={"chalk": 0.5}, styles=["chalk"])
    chalk, photo = render_domain("chalk", config), render_domain("photo", config)
    assert int((chalk.labels != chalk.clean_labels).sum()) == round(0.5 * 21)
    assert np.array_equal(photo.labels, photo.clean_labels)
