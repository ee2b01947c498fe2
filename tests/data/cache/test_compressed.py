"""Small files: what is kept of large and of small images, and that reading them differs little or not at all."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from hamdg.config.data import DataConfig
from hamdg.config.reading import read_recipe
from hamdg.config.recipe import Recipe
from hamdg.data.cache.compressed import CompressedImages, CompressedView
from hamdg.data.cache.reader import Store
from hamdg.data.decode import UnreadableError, decoded
from hamdg.data.domain import open_domain, read_once
from hamdg.data.transforms import EvaluationView, TrainingView, WholeView
from hamdg.errors import ConfigError, DataError
from hamdg.runs.identity import identity, training_identity
from tests.data.cache.conftest import COUNT, Files
from tests.data.cache.test_reader import flip

SHORT, SIDE = 24, 12
ALL = np.arange(COUNT)


def drawing(width: int, height: int, kind: str = "PNG", **options: object) -> bytes:
    rng = np.random.default_rng(width)
    soft = Image.fromarray(rng.integers(0, 256, (5, 5, 3), dtype=np.uint8))
    stream = BytesIO()
    soft.resize((width, height), Image.Resampling.BICUBIC).save(stream, kind, **options)
    return stream.getvalue()


def kept(content: bytes) -> bytes:
    made = CompressedView(SHORT).make(content)
    assert made.shape == (len(made), 1, 1)
    return made.tobytes()


@pytest.fixture
def pictures(files: Files) -> Files:
    """Return as many small images as large ones."""
    files.contents[:] = [drawing(*((20 + n, 21) if n % 2 else (60 + n, 40))) for n in range(COUNT)]
    return files


def opened(files: Files, cache: Path, view: EvaluationView | WholeView | None = None) -> CompressedImages:
    return CompressedImages(Store(files.listing(), CompressedView(SHORT), cache), view or EvaluationView(SIDE))


def test_what_no_jpeg_can_hold_is_its_own_file() -> None:
    content = drawing(68_240, SHORT + 1)
    assert kept(content) == content


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP"])
@pytest.mark.parametrize("size", [(SHORT, SHORT), (90, SHORT), (7, 90)])
def test_a_image_that_need_not_be_reduced_is_its_own_file(kind: str, size: tuple[int, int]) -> None:
    content = drawing(*size, kind)
    assert kept(content) == content


@pytest.mark.parametrize("kind", ["PNG", "BMP", "JPEG"])
def test_a_large_image_becomes_a_jpeg_of_its_short_side(kind: str) -> None:
    content = drawing(240, 180, kind)
    small = kept(content)
    assert len(small) < len(content)
    with Image.open(BytesIO(small)) as image:
        assert (image.format, image.size) == ("JPEG", (32, SHORT))
    expected = decoded(content).resize((32, SHORT), Image.Resampling.LANCZOS)
    assert np.abs(np.asarray(decoded(small)).astype(int) - np.asarray(expected)).mean() < 3


def test_what_would_not_become_smaller_is_kept_as_it_is() -> None:
    content = drawing(30, 26, "JPEG", quality=1)
    assert kept(content) == content


def test_a_image_that_no_jpeg_can_hold_is_kept_as_it_is() -> None:
    stream = BytesIO()
    Image.new("L", (100_000, 30), 7).save(stream, "PNG")
    assert kept(stream.getvalue()) == stream.getvalue()


def test_a_turned_image_is_kept_turned() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    content = drawing(240, 180, "JPEG", exif=exif)
    assert decoded(kept(content)).size == (SHORT, 32)
    assert decoded(content).size == (180, 240)


def test_what_is_no_image_is_refused() -> None:
    with pytest.raises(UnreadableError):
        CompressedView(SHORT).make(b"text")


def test_small_images_are_the_same_bit_for_bit_and_large_ones_nearly(pictures: Files, tmp_path: Path) -> None:
    for view, exactly in ((EvaluationView(SIDE), EvaluationView(SIDE)), (WholeView(SHORT), TrainingView(SHORT))):
        read = opened(pictures, tmp_path, view).read(ALL)
        for position, image in enumerate(read):
            exact = exactly.make(pictures.contents[position]).astype(int)
            assert image.shape == exact.shape
            difference = np.abs(image.numpy().astype(int) - exact)
            assert difference.mean() < (2 if view.side else 4)
            assert position % 2 == 0 or difference.max() == 0
    # Both came from the same store, for which every file was read once.
    assert np.bincount(pictures.reads).tolist() == [1] * COUNT


def test_the_size_of_a_store_is_known_before(pictures: Files, tmp_path: Path) -> None:
    store = Store(pictures.listing(), CompressedView(SHORT), tmp_path)
    at_most = store.missing_bytes(ALL)
    pictures.reads.clear()
    assert store.missing_bytes(ALL, unopened=True) == sum(map(len, pictures.contents))
    assert pictures.reads == []
    store.prepare(ALL)
    taken = (pictures.folder_of(tmp_path) / "pixels").stat().st_size
    assert 0.5 * at_most < taken <= at_most < sum(map(len, pictures.contents))
    assert store.missing_bytes(ALL) == store.missing_bytes(ALL, unopened=True) == 0


def test_damage_is_noticed_and_repaired(pictures: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = opened(pictures, tmp_path).read(ALL)
    flip(pictures.folder_of(tmp_path) / "pixels", 100)
    again = opened(pictures, tmp_path).read(ALL)
    assert isinstance(whole, Tensor)
    assert isinstance(again, Tensor)
    assert torch.equal(whole, again)
    assert "1 of the decoded images of `photo` in" in capsys.readouterr().out


def test_a_file_that_was_replaced_is_made_again(pictures: Files, tmp_path: Path) -> None:
    opened(pictures, tmp_path).read(ALL)
    listing = pictures.listing()
    pictures.contents[5], pictures.stamps = pictures.contents[7], {5: 2}
    read = CompressedImages(Store(listing, CompressedView(SHORT), tmp_path), WholeView(SHORT)).read(ALL)
    assert torch.equal(read[5], read[7])


def test_many_threads_may_meet_images_that_were_not_looked_at(pictures: Files, tmp_path: Path) -> None:
    shared = opened(pictures, tmp_path)
    with ThreadPoolExecutor(4) as pool:
        read = list(pool.map(lambda start: shared.read(ALL[start : start + 6]), range(0, COUNT, 6)))
    assert sorted(pictures.reads) == ALL.tolist()
    whole = opened(pictures, tmp_path).read(ALL)
    assert all(torch.equal(image, whole[n]) for n, image in enumerate(image for part in read for image in part))


def test_images_that_cannot_be_read_are_named(pictures: Files, tmp_path: Path) -> None:
    pictures.contents[3] = b"text"
    reason = r"images of `photo` cannot be read: `photo/dog/3.png` \(no image format that Pillow knows"
    with pytest.raises(DataError, match=f"^1 of 24 {reason}"):
        opened(pictures, tmp_path).prepare(ALL)
    with pytest.raises(DataError, match=f"^1 of 1 {reason}"):
        opened(pictures, tmp_path).read(ALL)


def recipe(root: Path, cache: Path, **changes: object) -> Recipe:
    data = DataConfig(root=str(root), cache=str(cache), augment="clip", store="compressed")
    return Recipe(benchmark="pacs", data=replace(data, **changes))  # type: ignore[arg-type]


def test_a_domain_has_one_store_for_training_and_evaluation(small_pacs: Path, tmp_path: Path) -> None:
    domain = open_domain(recipe(small_pacs, tmp_path), "photo", 16)
    domain.training.prepare(np.arange(35))
    assert domain.evaluation.missing_bytes(np.arange(35)) == 0
    assert [path.name[-13:] for path in (tmp_path / "pictures").iterdir()] == ["compressed-32"]
    assert read_once(domain, 16) is domain.evaluation
    squares, wholes = domain.evaluation.read(np.arange(35)), domain.training.read(np.arange(35))
    assert isinstance(squares, Tensor)
    assert squares.shape == (35, 16, 16, 3)
    assert {min(whole.shape[:2]) for whole in wholes} == {32}
    plain = open_domain(recipe(small_pacs, tmp_path, augment="none"), "photo", 16)
    assert plain.training is plain.evaluation


def test_compressed_images_make_another_run_and_the_default_none() -> None:
    one, given = Recipe(benchmark="pacs"), Recipe(benchmark="pacs", data=DataConfig(store="uncompressed"))
    other = Recipe(benchmark="pacs", data=DataConfig(store="compressed"))
    assert identity(one) == identity(given) != identity(other)
    assert training_identity(one) != training_identity(other)
    assert identity(Recipe()) == identity(Recipe(data=DataConfig(store="compressed")))


def test_compressed_images_have_to_be_kept() -> None:
    with pytest.raises(ConfigError, match=r"`data.store` is `compressed`, but with `data.decode_once` `false`"):
        read_recipe(None, ["--benchmark=pacs", "--data.store=compressed", "--data.decode_once=false"])
