"""Low-rank updates: what starts where, what they change, and that they fold into plain weights."""

from __future__ import annotations

import copy
import math
import re
from typing import Any

import pytest
import timm
import torch
from open_clip.transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn.functional import dropout, linear

from hamdg.config.value_types import Projection
from hamdg.errors import ConfigError
from hamdg.models.adapters.attention import SelfAttention, self_attentions
from hamdg.models.adapters.gates import HeadGates, add_gates
from hamdg.models.adapters.low_rank import LowRank, add_low_rank, check_low_rank
from hamdg.models.network import trained_tensors

QV: tuple[Projection, ...] = ("q", "v")
WIDTH, HEADS, RANK = 16, 4, 2
HEAD = WIDTH // HEADS


def open_clips() -> nn.Module:
    torch.manual_seed(0)
    tower: nn.Module = VisionTransformer(32, 16, WIDTH, 2, HEADS, 2.0, output_dim=8)
    return tower


def open_clips_own() -> nn.Module:
    torch.manual_seed(0)
    tower: nn.Module = VisionTransformer(32, 16, WIDTH, 2, HEADS, 2.0, output_dim=8, scale_heads=True)
    return tower


def timms() -> nn.Module:
    return of_timm("vit_tiny_patch16_224", WIDTH, HEADS)


def timms_separate() -> nn.Module:
    return of_timm("eva02_base_patch14_224", 48, 3)


def of_timm(name: str, width: int, heads: int) -> nn.Module:
    torch.manual_seed(0)
    options: dict[str, Any] = {"img_size": 32, "patch_size": 16, "depth": 2, "num_classes": 8}
    tower: nn.Module = timm.create_model(name, pretrained=False, embed_dim=width, num_heads=heads, **options)
    return tower


EVERY = pytest.mark.parametrize("make", [open_clips, open_clips_own, timms, timms_separate])


def images() -> Tensor:
    return torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def attentions(tower: nn.Module) -> list[SelfAttention]:
    tower.requires_grad_(False)
    return self_attentions(tower, "tower")


def adapted(tower: nn.Module, *, gates: bool = True, per_head: bool = True, dropped: float = 0.0) -> nn.Module:
    found = attentions(tower)
    add_low_rank(found, [RANK, RANK], QV, per_head=per_head, dropped=dropped)
    if gates:
        add_gates(found)
    return tower


def moved(tower: nn.Module) -> nn.Module:
    """Move all that is trained away from its start."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in tower.parameters():
            if parameter.requires_grad:
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return tower


def low_ranks(tower: nn.Module) -> list[LowRank]:
    return [one for one in tower.modules() if isinstance(one, LowRank)]


@EVERY
@pytest.mark.parametrize("training", [False, True])
def test_outputs_start_exactly_at_the_towers_own(make: type[nn.Module], training: bool) -> None:
    plain, tower = make(), adapted(make())
    plain.train(training)
    tower.train(training)
    assert torch.equal(plain(images()), tower(images()))


@EVERY
def test_adapters_fold_into_plain_weights(make: type[nn.Module]) -> None:
    tower = moved(adapted(make()))
    folded = {name: value.clone() for name, value in trained_tensors(tower).items()}
    plain = make()
    missing, unexpected = plain.load_state_dict(folded, strict=False)
    assert not unexpected
    assert not {name for name in missing if "attn" in name and ("in_proj_weight" in name or "qkv.weight" in name)}
    before = make()(images())
    for mode in (True, False):
        expected = tower.train(mode)(images())
        torch.testing.assert_close(plain.train(mode)(images()), expected, atol=1e-5, rtol=1e-5)
    with torch.no_grad():  # torch's own fast path
        torch.testing.assert_close(tower(images()), expected, atol=1e-5, rtol=1e-5)
    assert float((before - expected).detach().norm()) > 0.02 * float(before.detach().norm())


def test_the_text_tower_the_mlps_the_keys_and_all_biases_stay() -> None:
    tower = moved(adapted(open_clips()))
    start = dict(open_clips().named_parameters())
    found = trained_tensors(tower)
    assert set(found) == {
        f"transformer.resblocks.{layer}.attn.{name}"
        for layer in (0, 1)
        for name in ("in_proj_weight", "out_proj.weight")
    }
    for layer in (0, 1):
        name = f"transformer.resblocks.{layer}.attn.in_proj_weight"
        own, plain = (tensors[name].chunk(3) for tensors in (found, start))
        assert [torch.equal(one, other) for one, other in zip(own, plain, strict=True)] == [False, True, False]
    others = {name: value for name, value in tower.named_parameters() if "parametrizations" not in name}
    assert all(torch.equal(value, start[name]) for name, value in others.items())


def test_the_update_of_a_head_is_the_product_of_its_own_factors() -> None:
    tower = moved(adapted(open_clips(), gates=False))
    plain = dict(open_clips().named_parameters())["transformer.resblocks.0.attn.in_proj_weight"]
    own = trained_tensors(tower)["transformer.resblocks.0.attn.in_proj_weight"]
    low_rank = low_ranks(tower)[0]
    for number, block in enumerate((0, 2)):  # queries and values
        for head in range(HEADS):
            rows = slice(block * WIDTH + head * HEAD, block * WIDTH + (head + 1) * HEAD)
            update = low_rank.up[number, head].detach() @ low_rank.down[number, head].detach() / math.sqrt(RANK)
            torch.testing.assert_close(own[rows], plain[rows] + update)


def test_other_factors_of_one_head_change_its_rows_alone() -> None:
    tower = moved(adapted(open_clips(), gates=False))
    name = "transformer.resblocks.0.attn.in_proj_weight"
    before = trained_tensors(tower)[name].clone()
    with torch.no_grad():
        low_ranks(tower)[0].down[0, 1].add_(1)
    changed = (trained_tensors(tower)[name] != before).any(dim=1).nonzero().flatten().tolist()
    assert changed == list(range(HEAD, 2 * HEAD))


def test_equal_factors_on_the_side_of_the_input_are_ordinary_lora() -> None:
    each, shared = moved(adapted(open_clips())), adapted(open_clips(), per_head=False)
    with torch.no_grad():
        for own, one in zip(low_ranks(each), low_ranks(shared), strict=True):
            own.down.copy_(own.down[:, :1].expand_as(own.down))
            one.down.copy_(own.down[:, :1])
            one.up.copy_(own.up.flatten(1, 2).unsqueeze(1))
            torch.testing.assert_close(own.updates(), one.updates())


@pytest.mark.parametrize(("per_head", "rank"), [(False, RANK), (True, RANK * HEADS)])
def test_the_stacked_update_has_the_rank_of_all_heads_together(per_head: bool, rank: int) -> None:
    tower = moved(adapted(open_clips(), gates=False, per_head=per_head))
    update = low_ranks(tower)[0].updates()[0].detach().double()
    assert int(torch.linalg.matrix_rank(update, rtol=1e-5)) == rank


@pytest.mark.parametrize(("per_head", "wanted"), [(True, 718_848), (False, 110_592)])
def test_vit_b_16_has_as_many_parameters_as_published(per_head: bool, wanted: int) -> None:
    with torch.device("meta"):
        tower = VisionTransformer(224, 16, 768, 12, 12, 4.0, output_dim=512)
    found = attentions(tower.to_empty(device="cpu"))  # of which hardly a number is looked at
    add_low_rank(found, [2] * 10 + [8] * 2, QV, per_head=per_head)
    assert sum(one.numel() for one in tower.parameters() if one.requires_grad) == wanted
    add_gates(found)
    assert sum(one.logits.numel() for one in tower.modules() if isinstance(one, HeadGates)) == 144
    assert sum(one.numel() for one in tower.parameters() if one.requires_grad) == wanted + 144


def test_the_seed_draws_the_factors_and_no_two_alike() -> None:
    def downs(seed: int) -> list[Tensor]:
        found = attentions(tower := open_clips())
        add_low_rank(found, [RANK, RANK], QV, per_head=True, seed=seed)
        return [one.down.detach() for one in low_ranks(tower)]

    first, again, other = downs(0), downs(0), downs(1)
    assert all(map(torch.equal, first, again))
    assert not any(map(torch.equal, first, other))
    heads = [head for down in first for projection in down for head in projection]
    assert len({tuple(head.flatten().tolist()) for head in heads}) == 2 * 2 * HEADS
    assert max(float(down.abs().max()) for down in first) == pytest.approx(1 / math.sqrt(WIDTH), rel=0.02)


def test_half_precision_does_not_reach_the_updates() -> None:
    tower = moved(adapted(open_clips()))
    exact = low_ranks(tower)[0].updates()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(low_ranks(tower)[0].updates(), exact)


def slow(attention: nn.MultiheadAttention, low_rank: LowRank, weight: Tensor, tokens: Tensor, share: float) -> Tensor:
    """Attention whose updates see dropped inputs, one projection and one head after the other."""
    scale, heads = 1 / math.sqrt(low_rank.up.shape[-1]), []
    dropped = {position: dropout(tokens, share) for position in low_rank.positions}
    projected = list(linear(tokens, weight, attention.in_proj_bias).chunk(3, dim=-1))
    for number, position in enumerate(low_rank.positions):
        low = dropped[position] @ low_rank.down[number, 0].T
        projected[position] = projected[position] + scale * low @ low_rank.up[number, 0].T
    for head in range(attention.num_heads):
        columns = slice(head * attention.head_dim, (head + 1) * attention.head_dim)
        q, k, v = (one[..., columns] for one in projected)
        heads.append(torch.softmax(q @ k.mT / math.sqrt(attention.head_dim), dim=-1) @ v)
    return linear(torch.cat(heads, dim=-1), attention.out_proj.weight, attention.out_proj.bias)


@pytest.mark.parametrize("batch_first", [True, False])
def test_dropout_reaches_the_input_of_the_updates_alone_and_in_training_alone(batch_first: bool) -> None:
    tower = nn.ModuleDict({"0": nn.ModuleDict({"attn": nn.MultiheadAttention(WIDTH, HEADS, batch_first=batch_first)})})
    weight = tower["0"]["attn"].in_proj_weight.detach().clone()  # type: ignore[index]
    wrapper = nn.ModuleDict({"blocks": tower}).requires_grad_(False)
    (attention,) = found = self_attentions(wrapper, "toy")
    add_low_rank(found, [3], QV, dropped=0.5)
    moved(wrapper)
    module = attention.module
    assert isinstance(module, nn.MultiheadAttention)
    tokens = torch.randn(2, 5, WIDTH)
    given = tokens if batch_first else tokens.transpose(0, 1)
    torch.manual_seed(3)
    wanted = slow(module, low_ranks(wrapper)[0], weight, tokens, 0.5)
    torch.manual_seed(3)
    output, none = module(given, given, given, need_weights=False)
    assert none is None
    torch.testing.assert_close(output if batch_first else output.transpose(0, 1), wanted)
    wrapper.eval()
    twin = copy.deepcopy(wrapper)
    for one in (wrapper, twin):
        whole = one.get_submodule("blocks.0.attn")(given, given, given, need_weights=False)[0]
        again = slow(module, low_ranks(one)[0], weight, tokens, 0.0)
        torch.testing.assert_close(whole if batch_first else whole.transpose(0, 1), again)


def test_a_rank_above_a_heads_width_is_refused() -> None:
    found = attentions(open_clips())
    check_low_rank(found, [HEAD, HEAD], 0.5, "ahp", per_head=True)
    message = (
        "`ahp` asks for a rank of 5 in the layer `transformer.resblocks.1`, whose heads are 4 wide; choose a rank "
    )
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}of at most that.$"):
        check_low_rank(found, [HEAD, HEAD + 1], 0.0, "ahp", per_head=True)


def test_an_update_that_all_heads_share_has_a_rank_up_to_the_towers_width() -> None:
    found = attentions(open_clips())
    check_low_rank(found, [HEAD, WIDTH], 0.0, "lora")
    message = f"whose projections are {WIDTH} wide; choose a rank of at most that."
    with pytest.raises(ConfigError, match=f"{re.escape(message)}$"):
        check_low_rank(found, [HEAD, WIDTH + 1], 0.0, "lora")


def test_dropout_in_attention_of_timm_is_refused() -> None:
    found = attentions(timms())
    check_low_rank(found, [RANK, RANK], 0.0, "lora")
    message = (
        "`lora.dropout` is 0.25, but the self-attention of the layer `blocks.0` (`Attention`) has no path for it; set"
    )
    with pytest.raises(ConfigError, match=f"^{re.escape(message)} it to 0.$"):
        check_low_rank(found, [RANK, RANK], 0.25, "lora")
