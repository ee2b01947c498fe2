"""Images are counted without one of them being opened: as many as a run then has."""

from __future__ import annotations

from pathlib import Path

import pytest

from hamdg.config.reading import read_recipe
from hamdg.data import domain
from hamdg.data.counts import check_unseen, image_count, source_count
from hamdg.data.module import SourceData, adaptation_part, split_positions, target_positions
from hamdg.data.preprocess import Preprocess
from hamdg.errors import DataError
from tests.toys import write

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


def test_a_target_s_parts_are_domainbeds_however_the_sources_are_split() -> None:
    half, usual = (read_recipe(None, [*MINI, f"--data.validation_fraction={share}"]) for share in (0.5, 0.2))
    seen, unseen = target_positions(half, "sketch", 84)
    assert [len(seen), len(unseen)] == [68, 16]
    assert [part.tolist() for part in split_positions(usual, "sketch", 84)] == [seen.tolist(), unseen.tolist()]
    assert len(split_positions(half, "sketch", 84)[1]) == 42
    target = domain.open_domain(half, "sketch", 32, labeled=False)
    assert adaptation_part(half, target).tolist() == seen.tolist()
    data = SourceData(half, FORMAT, {"sketch": target})
    data.setup()
    assert data.train_part["sketch"].tolist() == seen.tolist()


def test_a_target_without_an_unseen_image_is_refused(tmp_path: Path) -> None:
    for name, number in (("photo", 2), ("photo", 3), ("sketch", 2)):
        for kind in ("cat", "dog"):
            write(tmp_path / "toys" / name / kind / f"{number}.png")
            write(tmp_path / "toys" / name / kind / "1.png")
    recipe = read_recipe(None, ["--benchmark=custom", f"--data.root={tmp_path / 'toys'}", "--held_out=sketch"])
    message = r"^domain `sketch` has 4 images, too few to adapt to 80 % of them and to test on the other 20 %: 5 are "
    with pytest.raises(DataError, match=message):
        check_unseen(recipe, ["sketch"])
    check_unseen(recipe, ["photo"])
