"""Images are counted without one of them being opened: as many as a run then has."""

from __future__ import annotations

from pathlib import Path

import pytest

from hamdg.config.reading import read_recipe
from hamdg.data import domain
from hamdg.data.counts import image_count, source_count
from hamdg.data.module import SourceData
from hamdg.data.preprocess import Preprocess

FORMAT = Preprocess(32, (0.5,) * 3, (0.5,) * 3)
MINI = ("--benchmark=mini", "--held_out=sketch", "--data.mini.images_per_class=12", "--data.mini.image_size=32")


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("--data.mini.imbalance=3", "--seed=2"),
        ("--data.mini.imbalance=3", "--data.shots=3"),
        ("--data.subset=5",),
        ("--data.subset=5", "--data.shots=2", "--data.validation_fraction=0.4"),
    ],
)
def test_rendered_images_are_counted_as_a_run_has_them(overrides: tuple[str, ...]) -> None:
    recipe = read_recipe(None, [*MINI, *overrides])
    data = SourceData(recipe, FORMAT)
    data.setup()
    for name, opened in data.domains.items():
        assert source_count(recipe, name) == (len(data.train_part[name]), len(data.validation_part[name]))
        assert image_count(recipe, name) == len(opened)
    assert image_count(recipe, "sketch") == len(domain.open_domain(recipe, "sketch", 32))


def test_files_are_listed_and_not_opened(small_pacs: Path) -> None:
    place = ("--benchmark=pacs", "--held_out=sketch", f"--data.root={small_pacs}")
    recipe = read_recipe(None, [*place, "--data.shots=2"])
    with domain.only_domains(()), domain.opened_domains() as opened:
        assert image_count(recipe, "sketch") == 35
        assert source_count(recipe, "photo") == (14, 7)
    assert not opened
