"""Depthwise convolutions of small maps: torch's figures, whatever the size of map and kernel."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from hamdg.models.depthwise import SmallMapConv2d, speed_up_small_maps

CHANNELS = 3


def layer(kernel: int | tuple[int, int], **changed: object) -> nn.Conv2d:
    sides = (kernel, kernel) if isinstance(kernel, int) else kernel
    given = {"padding": tuple(side // 2 for side in sides), "groups": CHANNELS, "bias": False} | changed
    return nn.Conv2d(CHANNELS, CHANNELS, sides, **given).double()  # type: ignore[arg-type]


def gradients(layer: nn.Conv2d, maps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    given = maps.clone().requires_grad_()
    found = layer(given)
    weights = torch.linspace(-1, 2, found.numel(), dtype=found.dtype).view_as(found)
    return found.detach(), *torch.autograd.grad((weights * found).sum(), [given, layer.weight])


@pytest.mark.parametrize("sides", [(4, 4), (1, 1), (2, 3), (1, 6), (7, 2)])
@pytest.mark.parametrize("kernel", [3, 5, 7, (3, 5)])
def test_outputs_and_gradients_are_those_of_torch(sides: tuple[int, int], kernel: int | tuple[int, int]) -> None:
    own = layer(kernel)
    maps = torch.randn(4, CHANNELS, *sides, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = gradients(own, maps)
    speed_up_small_maps(own)
    assert type(own) is SmallMapConv2d
    for found, right in zip(gradients(own, maps), expected, strict=True):
        torch.testing.assert_close(found, right)


def test_the_fast_gradient_is_taken_where_a_map_is_smaller_than_its_kernel() -> None:
    own = layer(5)
    speed_up_small_maps(own)
    taken = [
        "_SmallMaps" in str(own(torch.ones(1, CHANNELS, side, side, dtype=torch.float64)).grad_fn) for side in (4, 5)
    ]
    assert taken == [True, False]


@pytest.mark.parametrize(
    "changed",
    [{"groups": 1}, {"stride": 2}, {"dilation": 2}, {"padding": 1}, {"bias": True}, {"padding_mode": "reflect"}],
    ids=str,
)
def test_other_convolutions_stay_as_they_are(changed: dict[str, object]) -> None:
    own = layer(5, **changed)
    speed_up_small_maps(own)
    assert type(own) is nn.Conv2d


def test_tensors_keep_their_names() -> None:
    network = nn.Sequential(layer(5), nn.Conv2d(CHANNELS, 2, 1))
    names = list(network.state_dict())
    speed_up_small_maps(network)
    assert list(network.state_dict()) == names
    assert isinstance(network[0], SmallMapConv2d)


def test_half_precision_keeps_its_type() -> None:
    own = layer(5).float()
    speed_up_small_maps(own)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = own(torch.ones(1, CHANNELS, 2, 2))
    assert found.dtype == torch.bfloat16
    found.sum().backward()
    assert own.weight.grad is not None
    torch.testing.assert_close(own.weight.grad[0, 0, 2], torch.tensor([0.0, 2, 4, 2, 0]))
