"""Gates on heads: factors whose mean is 1, as part of the weight behind the heads."""

from __future__ import annotations

import re

import pytest
import torch
from open_clip.transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn.functional import linear

from hamdg.errors import ConfigError
from hamdg.models.adapters.attention import self_attentions
from hamdg.models.adapters.gates import HeadGates, add_gates, check_gates, head_gates

WIDTH, HEADS = 12, 3
HEAD = WIDTH // HEADS


def tower(**options: bool) -> nn.Module:
    torch.manual_seed(0)
    found: nn.Module = VisionTransformer(32, 16, WIDTH, 2, HEADS, 2.0, output_dim=8, **options)
    return found.requires_grad_(False)


@pytest.mark.parametrize("heads", [2, 3, 12, 41, 49])
def test_equal_gates_are_exactly_1(heads: int) -> None:
    for value in (0.0, 3.7):
        assert torch.equal(HeadGates(torch.full((heads,), value)).factors(), torch.ones(heads))


def test_factors_are_a_softmax_times_the_number_of_heads() -> None:
    logits = torch.tensor([0.3, -1.2, 2.0])
    gates = HeadGates(logits)
    torch.testing.assert_close(gates.factors(), 3 * torch.softmax(logits, dim=0))
    assert float(gates.factors().sum().detach()) == pytest.approx(3)
    torch.testing.assert_close(HeadGates(logits + 5).factors(), gates.factors())
    # By hand: e^ln2 = 2 against 1 and 1.
    assert HeadGates(torch.tensor([2.0, 1.0, 1.0]).log()).factors().tolist() == pytest.approx([1.5, 0.75, 0.75])


def test_the_gradient_is_that_of_a_softmax() -> None:
    own, plain = (torch.tensor([0.3, -1.2, 2.0], dtype=torch.float64, requires_grad=True) for _ in range(2))
    direction = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    gates = HeadGates(own.detach())
    (gates.factors() * direction).sum().backward()  # type: ignore[no-untyped-call]
    (3 * torch.softmax(plain, dim=0) * direction).sum().backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(gates.logits.grad, plain.grad)


def test_a_gate_multiplies_the_output_of_its_head_and_not_the_bias() -> None:
    gated = tower()
    attention = self_attentions(gated, "tower")[0]
    heads: list[Tensor] = [torch.randn(4, HEAD) for _ in range(HEADS)]
    weight, bias = attention.output.weight.detach().clone(), attention.output.bias.detach() + 1
    with torch.no_grad():
        attention.output.bias.copy_(bias)
    add_gates([attention])
    (gates,) = head_gates(gated)
    with torch.no_grad():
        gates.logits.copy_(torch.tensor([0.5, -0.5, 1.0]))
    factors = 3 * torch.softmax(gates.logits.detach(), dim=0)
    wanted = linear(torch.cat([factor * one for factor, one in zip(factors, heads, strict=True)], dim=1), weight, bias)
    torch.testing.assert_close(attention.output(torch.cat(heads, dim=1)), wanted)


def test_gates_may_start_apart_as_the_seed_says() -> None:
    def logits(std: float, seed: int) -> Tensor:
        gated = tower()
        add_gates(self_attentions(gated, "tower"), std, seed)
        return torch.stack([one.logits.detach() for one in head_gates(gated)])

    assert not logits(0.0, 0).any()
    assert torch.equal(logits(0.5, 0), logits(0.5, 0))
    assert not torch.equal(logits(0.5, 0), logits(0.5, 1))
    torch.testing.assert_close(logits(0.5, 0), 0.5 * logits(1.0, 0))


def test_heads_that_are_normalized_together_are_refused() -> None:
    check_gates(self_attentions(tower(), "tower"))
    message = (
        "The layer `transformer.resblocks.0` normalizes the outputs of all heads together, so gates on heads are no "
    )
    with pytest.raises(
        ConfigError, match=f"^{re.escape(message)}factors on its weights; set `model.name` to a CLIP with"
    ):
        check_gates(self_attentions(tower(scale_attn_inner=True), "tower"))
