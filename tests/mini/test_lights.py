"""Copies of the embedded benchmark's domains in another light."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hamdg.config.data import MiniConfig, light_of
from hamdg.config.reading import read_recipe
from hamdg.data.resolve import benchmark_of
from hamdg.errors import ConfigError
from hamdg.mini import load_domain, render_domain
from hamdg.runs.identity import defining_part, identity

FEW = MiniConfig(images_per_class=3, image_size=32, label_noise=0.4)


@pytest.mark.parametrize("domain", ["art_painting", "photo"])
def test_a_copy_has_the_same_images_and_labels_in_another_light(domain: str, tmp_path: Path) -> None:
    own = load_domain(domain, FEW, tmp_path)
    dark, fog = (load_domain(f"{domain}_{light}", FEW, tmp_path) for light in ("dark", "fog"))
    assert (dark.domain, fog.domain) == (f"{domain}_dark", f"{domain}_fog")
    for copy in (dark, fog):
        assert np.array_equal(copy.labels, own.labels)
        assert np.array_equal(copy.clean_labels, own.clean_labels)
        assert np.array_equal(render_domain(copy.domain, FEW).images, copy.images)
    assert np.abs(dark.images - 0.5 * own.images.astype(float)).max() <= 0.51
    assert np.abs(fog.images - (0.7 * own.images.astype(float) + 61.5)).max() <= 0.51
    # One file serves all lights.
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("photo_dark", ("photo", "dark")),
        ("art_painting", ("art_painting", "")),
        ("art_painting_fog", ("art_painting", "fog")),
    ],
)
def test_a_name_tells_the_domain_and_its_light(name: str, parts: tuple[str, str]) -> None:
    assert light_of(name) == parts


def test_copies_stand_behind_the_domains_so_that_splits_and_runs_without_them_stay() -> None:
    given = read_recipe(None, ["--data.mini.copies=[photo_fog, photo_dark]", "--held_out=photo_fog+sketch"])
    assert benchmark_of(given).domains == ("art_painting", "cartoon", "photo", "sketch", "photo_dark", "photo_fog")
    assert given.held_out == "sketch+photo_fog"
    plain = read_recipe(None, [])
    assert "copies" not in str(defining_part(plain))
    assert identity(plain) == identity(read_recipe(None, ["--data.mini.copies=[]"]))
    assert identity(plain) != identity(read_recipe(None, ["--data.mini.copies=[photo_dark]"]))


def test_a_copy_that_there_is_not_is_refused_by_its_name() -> None:
    with pytest.raises(ConfigError, match=r"`data\.mini\.copies`: there is no `photo_rain`; "):
        read_recipe(None, ["--data.mini.copies=[photo_rain]"])
