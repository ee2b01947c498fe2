from __future__ import annotations

import re
import threading
from collections import Counter
from io import BytesIO
from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from hamdg.data import parallel
from hamdg.data.batches import Batch, RawBatch, Share, StepLoader, concatenate, sample_positions, take
from hamdg.data.domain import Domain, from_arrays
from hamdg.data.images import DecodedImages
from hamdg.data.listing import Listing
from hamdg.data.transforms import TrainingView
from hamdg.errors import ConfigError, DataError
from hamdg.mini import DomainArrays


def arrays(domain: str, count: int, seed: int = 0) -> Domain:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, count)
    images = rng.integers(0, 256, (count, 4, 4, 3), dtype=np.uint8)
    return from_arrays(DomainArrays(domain, images, labels, (labels + (np.arange(count) % 5 == 0)) % 3))


def pictures(domain: Domain) -> NDArray[np.uint8]:
    assert isinstance(domain.contents, DomainArrays)
    return domain.contents.images


def loader(batch_size: int = 4, steps: int = 9, seed: int = 0) -> StepLoader:
    domains = {"cartoon": arrays("cartoon", 13), "photo": arrays("photo", 10, seed=1)}
    pools = {"cartoon": np.arange(2, 13), "photo": np.arange(0, 10, 2)}
    return StepLoader(domains, pools, {"cartoon": 1, "photo": 2}, batch_size, steps, seed)


def positions(batches: dict[str, RawBatch]) -> dict[str, list[int]]:
    return {name: batch.positions.tolist() for name, batch in batches.items()}


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 9), st.integers(0, 30))
def test_processes_share_a_batch_evenly_and_take_each_sample_once(count: int, size: int) -> None:
    parts = [list(range(size))[Share(index, count).of(size)] for index in range(count)]
    assert [sample for part in parts for sample in part] == list(range(size))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 17), st.integers(1, 17), st.integers(0, 9), st.integers(0, 3))
def test_every_pass_covers_the_pool_once(count: int, size: int, seed: int, domain: int) -> None:
    pool = np.arange(100, 100 + 3 * count, 3)
    size = min(size, count)
    steps = 3 * count
    stream = [int(p) for step in range(steps) for p in sample_positions(pool, size, step, seed, domain)]

    assert len(stream) == steps * size
    for start in range(0, len(stream) - count + 1, count):
        assert sorted(stream[start : start + count]) == pool.tolist()


def test_a_batch_wraps_over_the_end_of_a_pass() -> None:
    pool = np.arange(5)
    stream = [sample_positions(pool, 3, step, 0, 0).tolist() for step in range(5)]
    flat = [p for batch in stream for p in batch]

    assert Counter(flat[:5]) == Counter(flat[5:10]) == Counter(range(5))
    assert flat[:5] != flat[5:10]  # a new order in every pass


def test_the_draw_depends_on_step_seed_and_domain_alone() -> None:
    pool = np.arange(60)
    later = sample_positions(pool, 7, 5, 3, 1).tolist()
    np.random.default_rng(0).random(10)
    torch.rand(3)

    assert sample_positions(pool, 7, 5, 3, 1).tolist() == later
    assert len({tuple(sample_positions(pool, 7, *key)) for key in [(5, 3, 1), (6, 3, 1), (5, 4, 1), (5, 3, 2)]}) == 4


def test_batches_stay_inside_the_pool_and_carry_both_labels() -> None:
    found = loader()
    for _, batches in found:
        for name, batch in batches.items():
            whole = found.domains[name]
            chosen = batch.positions.numpy()
            assert set(chosen) <= set(found.pools[name])
            assert isinstance(batch.images, torch.Tensor)
            assert np.array_equal(batch.images.numpy(), pictures(whole)[chosen])
            assert batch.given is not None
            assert np.array_equal(batch.given.noisy.numpy(), whole.labels[chosen])
            assert np.array_equal(batch.given.clean.numpy(), whole.clean_labels[chosen])


def test_images_are_copied_from_read_only_arrays() -> None:
    whole = arrays("photo", 6)
    pictures(whole).setflags(write=False)
    batch = take(whole, np.array([4, 1]))
    before = pictures(whole).copy()
    assert isinstance(batch.images, torch.Tensor)
    batch.images.zero_()

    assert np.array_equal(pictures(whole), before)


def test_a_loader_gives_all_steps_again_and_again() -> None:
    found = loader()
    first = [(step, positions(batches)) for step, batches in found]

    assert len(found) == 9
    assert [step for step, _ in first] == list(range(9))
    assert [(step, positions(batches)) for step, batches in found] == first
    assert first == [(step, positions(loader().batches(step))) for step in range(9)]


def test_a_longer_run_begins_like_a_shorter_one() -> None:
    short = [positions(batches) for _, batches in loader(steps=3)]

    assert [positions(batches) for _, batches in islice(loader(steps=9), 3)] == short


@pytest.mark.parametrize("seen", [0, 1, 5, 8])
def test_a_resumed_loader_goes_on_where_it_was(seen: int) -> None:
    whole = [(step, positions(batches)) for step, batches in loader()]
    killed = loader()
    iterator = iter(killed)
    for _ in range(seen):
        next(iterator)
    resumed = loader()
    resumed.load_state_dict(killed.state_dict())

    assert [(step, positions(batches)) for step, batches in resumed] == whole[seen:]
    assert resumed.state_dict() == {"next": 0}


def test_a_batch_larger_than_a_domain_is_refused() -> None:
    message = "`data.batch_size` is 6, but domain `photo` has only 5 training images; use at most 5."
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        loader(batch_size=6)
    assert len(positions(loader(batch_size=5).batches(0))["photo"]) == 5


def test_concatenated_batches_stand_behind_one_another() -> None:
    parts = [Batch(torch.as_tensor(part.images), *part[1:]) for part in loader().batches(0).values()]
    whole = concatenate(parts)

    assert concatenate(parts[:1]) is parts[0]
    for name in ("images", "positions", "labels", "clean_labels"):
        first, second = (getattr(part, name) for part in parts)
        assert torch.equal(getattr(whole, name), torch.cat([first, second]))
        assert len(first) == len(second) == 4


def test_a_batch_without_labels_says_so_when_asked_for_them() -> None:
    labeled, *_ = [Batch(torch.as_tensor(part.images), *part[1:]) for part in loader().batches(0).values()]
    bare = labeled._replace(given=None)
    for batch in (bare, concatenate([bare, labeled])):
        assert len(batch.images) == len(batch.positions)
        for name in ("labels", "clean_labels"):
            with pytest.raises(ConfigError, match=r"^This batch has no labels: the step reads its domain without"):
                getattr(batch, name)


class Files:
    """Bitmaps in memory of which some cannot be read."""

    place = "memory"

    def __init__(self, broken: frozenset[int] = frozenset()) -> None:
        self.broken = broken
        self.threads: set[str] = set()

    def content(self, position: int) -> bytes:
        self.threads.add(threading.current_thread().name)
        if position in self.broken:
            raise PermissionError(13, "Permission denied")
        stream = BytesIO()
        pixels = np.random.default_rng(position).integers(0, 256, (9, 12, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(stream, "BMP")
        return stream.getvalue()

    def describe(self, position: int) -> str:
        return f"photo/{position}.bmp"

    def stamp(self, position: int) -> int:
        return 1


def decoding_loader(files: Files, steps: int = 9) -> StepLoader:
    """Return a loader whose images are decoded whenever they are read."""
    count = 40
    names = [f"{position}.bmp" for position in range(count)]
    labels = np.arange(count) % 3
    listing = Listing("photo", labels, names, np.full(count, 378), files)
    pictures = DecodedImages(listing, TrainingView(8))
    domain = Domain("photo", pictures, pictures, labels, labels, listing)
    return StepLoader({"photo": domain}, {"photo": np.arange(count)}, {"photo": 0}, 6, steps, seed=0)


def same(one: dict[str, RawBatch], other: dict[str, RawBatch]) -> bool:
    pairs = zip(one["photo"].images, other["photo"].images, strict=True)
    return all(torch.equal(own, others) for own, others in pairs) and positions(one) == positions(other)


def test_batches_that_are_decoded_ahead_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "usable_cores", lambda: 3)
    files = Files()
    steps = decoding_loader(files)
    seen = list(steps)
    assert [step for step, _ in seen] == list(range(9))
    assert "MainThread" not in files.threads
    assert all(same(batches, steps.batches(step)) for step, batches in seen)
    # Once more from the start, left in the middle, and gone on with by another loader.
    for step, batches in steps:
        assert same(batches, seen[step][1])
        if step == 4:
            break
    state = steps.state_dict()
    steps.close()
    other = decoding_loader(Files())
    other.load_state_dict(state)
    rest = list(other)
    assert [step for step, _ in rest] == [5, 6, 7, 8]
    assert all(same(batches, seen[step][1]) for step, batches in rest)


def test_a_image_that_cannot_be_decoded_ahead_is_told_at_its_step_as_ever() -> None:
    steps = decoding_loader(Files())
    broken = int(steps.batches(3)["photo"].positions[2])
    steps = decoding_loader(Files(frozenset([broken])))
    iterator = iter(steps)
    assert [next(iterator)[0] for _ in range(3)] == [0, 1, 2]
    message = rf"^1 of 6 images of `photo` cannot be read: `photo/{broken}.bmp` \(Permission denied\); delete or "
    with pytest.raises(DataError, match=message):
        next(iterator)
    steps.close()


def test_pinned_batches_are_read_ahead_and_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    pins: list[torch.Size] = []

    def pin_memory(tensor: torch.Tensor) -> torch.Tensor:
        pins.append(tensor.shape)
        return tensor.clone()

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin_memory)
    plain, pinning = loader(), loader()
    pinning.pin = True
    for (step, one), (other_step, other) in zip(plain, pinning, strict=True):
        assert step == other_step
        assert positions(one) == positions(other)
        assert same(one, other)
    assert len(pins) == len(plain) * 2 * 4
