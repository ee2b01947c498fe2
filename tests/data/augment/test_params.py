from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from torchvision import transforms

from hamdg.data.augment.params import ADJUSTMENTS, ATTEMPTS, AugmentParams, Box, PresetName, crop_box, sample_params

SIZES = [(227, 227), (300, 200), (64, 64), (31, 500), (10_000, 10), (1, 1), (1, 3), (500, 375), (2, 2)]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def many(preset: PresetName, count: int = 4000) -> list[AugmentParams]:
    return sample_params(preset, [(100, 100)] * count, generator(5))


def torchvisions(height: int, width: int, numbers: list[float], monkeypatch: pytest.MonkeyPatch) -> Box:
    """Return what `RandomResizedCrop` chooses when it params these numbers."""
    attempts: Iterator[float] = iter(n for k in range(ATTEMPTS) for n in (numbers[k], numbers[ATTEMPTS + k]))
    places = iter(numbers[2 * ATTEMPTS :])

    def uniform(low: float, high: float) -> Tensor:
        return torch.tensor([float(low) + (float(high) - float(low)) * next(attempts)], dtype=torch.float64)

    def randint(low: int, high: int, size: tuple[int]) -> Tensor:
        return torch.tensor([int(low + next(places) * (high - low))])

    replaced = SimpleNamespace(
        log=torch.log,
        exp=torch.exp,
        tensor=lambda values: torch.tensor(values, dtype=torch.float64),
        empty=lambda size: SimpleNamespace(uniform_=uniform),
        randint=randint,
    )
    with monkeypatch.context() as patch:
        patch.setattr(transforms.transforms, "torch", replaced)
        image = torch.empty(3, height, width)
        top, left, down, across = transforms.RandomResizedCrop.get_params(image, [0.7, 1.0], [3 / 4, 4 / 3])
    return Box(top, left, down, across)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_the_box_is_torchvisions(height: int, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transforms.transforms.F, "get_dimensions", lambda image: (3, height, width))
    for numbers in torch.rand(60, 2 * ATTEMPTS + 2, generator=generator(), dtype=torch.float64).tolist():
        box = crop_box(height, width, numbers)
        assert box == torchvisions(height, width, numbers, monkeypatch)
        assert 0 <= box.top <= box.top + box.height - 1 < height
        assert 0 <= box.left <= box.left + box.width - 1 < width


def test_a_box_by_hand() -> None:
    # An area of 0.7 + 0.3 * 0.7 = 0.91 of 100 x 100 at ratio 1: a side of 95.39, 5 pixels free, half of 6 places.
    numbers = [0.7] * ATTEMPTS + [0.5] * ATTEMPTS + [0.5, 0.99]
    assert crop_box(100, 100, numbers) == Box(3, 5, 95, 95)


def test_a_later_attempt_counts_where_the_first_does_not_fit() -> None:
    # All of the image at ratio 4/3 does not fit into a square.
    numbers = [1.0, 0.7] + [1.0] * 8 + [1.0, 0.5] + [1.0] * 8 + [0.0, 0.0]
    assert crop_box(100, 100, numbers) == Box(0, 0, 95, 95)


def test_the_middle_counts_where_no_attempt_fits() -> None:
    numbers = [1.0] * (2 * ATTEMPTS) + [0.0, 0.0]
    assert crop_box(100, 100, numbers) == Box(0, 0, 100, 100)
    assert crop_box(300, 30, numbers) == Box(130, 0, 40, 30)
    assert crop_box(30, 300, numbers) == Box(0, 130, 30, 40)


def test_draws_depend_on_seed_and_place_alone() -> None:
    drawn = sample_params("domainbed", SIZES, generator(3))

    assert sample_params("domainbed", SIZES, generator(3)) == drawn
    assert sample_params("domainbed", SIZES, generator(4)) != drawn
    assert sample_params("domainbed", SIZES[:3], generator(3)) == drawn[:3]
    assert sample_params("domainbed", [(5, 9), *SIZES[1:]], generator(3))[1:] == drawn[1:]
    torch.manual_seed(99)
    assert sample_params("domainbed", SIZES, generator(3)) == drawn


def test_both_presets_draw_the_same_crops_and_flips() -> None:
    plain, colored = sample_params("clip", SIZES, generator()), sample_params("domainbed", SIZES, generator())

    assert [(one.box, one.flip) for one in plain] == [(one.box, one.flip) for one in colored]
    assert all(one.jitter == () and not one.gray for one in plain)


def test_no_images_draw_nothing() -> None:
    assert sample_params("domainbed", [], generator()) == []


def test_half_are_flipped_and_a_tenth_lose_their_colors() -> None:
    drawn = many("domainbed")

    assert sum(one.flip for one in drawn) / len(drawn) == pytest.approx(0.5, abs=0.03)
    assert sum(one.gray for one in drawn) / len(drawn) == pytest.approx(0.1, abs=0.02)


def test_crops_cover_their_range_evenly() -> None:
    boxes = [one.box for one in many("clip")]
    areas = torch.tensor([box.height * box.width / 100**2 for box in boxes])
    ratios = torch.tensor([box.width / box.height for box in boxes])
    tops = torch.tensor([box.top / (100 - box.height + 1) for box in boxes])

    # Of a square, large areas at extreme ratios do not fit, which takes some of the largest away.
    assert 0.69 < float(areas.min()) < 0.71
    assert 0.98 < float(areas.max()) <= 1.0
    assert 0.74 < float(ratios.min()) < 0.77
    assert 1.30 < float(ratios.max()) < 1.35
    assert float(ratios.log().mean()) == pytest.approx(0, abs=0.01)
    assert float(tops.mean()) == pytest.approx(0.45, abs=0.05)


def test_colors_change_in_all_orders_by_factors_that_cover_their_range() -> None:
    drawn = many("domainbed")
    orders = Counter(tuple(name for name, _ in one.jitter) for one in drawn)

    assert len(orders) == 24
    assert all(set(order) == set(ADJUSTMENTS) for order in orders)
    assert min(orders.values()) > 100
    for name in ADJUSTMENTS:
        factors = torch.tensor([dict(one.jitter)[name] for one in drawn])
        middle = 0.0 if name == "hue" else 1.0
        assert middle - 0.3 <= float(factors.min()) < middle - 0.295
        assert middle + 0.295 < float(factors.max()) <= middle + 0.3
        assert float(factors.mean()) == pytest.approx(middle, abs=0.01)


def test_flips_colors_and_crops_are_drawn_independently() -> None:
    drawn = many("domainbed")
    columns = [
        [one.flip, one.gray, one.box.top / (101 - one.box.height), one.box.left / (101 - one.box.width)]
        + [dict(one.jitter)[name] for name in ADJUSTMENTS]
        + [[name for name, _ in one.jitter].index(name) for name in ADJUSTMENTS[:3]]
        for one in drawn
    ]
    correlations = torch.corrcoef(torch.tensor(columns, dtype=torch.float64).T)
    correlations[-3:, -3:] = 0  # places in one order exclude one another
    correlations.fill_diagonal_(0)
    # Four standard deviations of 4,000 independent params.
    assert float(correlations.abs().max()) < 4 / 4000**0.5
