from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Literal

import pytest
import torch
from open_clip import CLIP
from open_clip.modified_resnet import ModifiedResNet
from open_clip.transformer import VisionTransformer
from torch import Tensor, nn

from hamdg.config.recipe import ModelConfig
from hamdg.errors import ConfigError
from hamdg.merge.functional.networks import known_spec
from hamdg.merge.functional.permutations import Axis, Group, Permuted, Spec, by_unit, permute, pinned, read_spec
from hamdg.models import load_clip

CONF = Path(__file__).parents[2] / "conf"
HEADS = {"rn": 32, "vit": 8}


def shapes_of(model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def roughened(model: nn.Module) -> nn.Module:
    """Return a copy in which no two units are alike (as they are in layers of an untrained network) and all matter."""
    model = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.3)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                # Statistics of the very images, so that no ReLU is shut.
                module.momentum = 1.0
        outputs(model.train())
    return model.eval()


def shuffled(model: nn.Module, spec: Spec) -> nn.Module:
    generator = torch.Generator().manual_seed(1)
    # Rolled where chance would leave all in place, as it often does with two heads.
    orders = {name: torch.randperm(group.units, generator=generator) for name, group in spec.items()}
    orders = {name: o.roll(1) if torch.equal(o, torch.arange(len(o))) else o for name, o in orders.items()}
    other = copy.deepcopy(model)
    other.load_state_dict(dict(Permuted({k: v.clone() for k, v in model.state_dict().items()}, spec, orders)))
    return other


@torch.no_grad()
def outputs(model: nn.Module) -> Tensor:
    """Return what an image encoder, or a whole CLIP, computes."""
    generator = torch.Generator().manual_seed(2)
    pictures = torch.randn(4, 3, 32, 32, generator=generator)
    if isinstance(model, CLIP):
        tokens = torch.randint(0, 1000, (4, 16), generator=generator)
        return torch.cat([model.encode_image(pictures), model.encode_text(tokens)])
    features = model(pictures)
    assert isinstance(features, Tensor)
    return features


def alike(model: nn.Module, other: nn.Module) -> bool:
    return torch.allclose(outputs(model), outputs(other), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", ["rn", "vit"])
def test_a_network_with_units_in_another_order_computes_the_same(kind: Literal["rn", "vit"]) -> None:
    model = roughened(load_clip(ModelConfig(str(CONF / f"tiny-{kind}.json"), "random")).model)
    spec = known_spec(shapes_of(model), head_width=HEADS[kind])
    other = shuffled(model, spec)

    assert alike(other, model)
    # Every tensor with a group in it moved, so the comparison above says something.
    moved = {axis.tensor for group in spec.values() if group.units > 1 for axis in group.axes}
    before, after = model.state_dict(), other.state_dict()
    assert {name for name in before if not torch.equal(before[name], after[name])} == moved
    outside = ("c_proj.bias", "logit_scale", "num_batches_tracked")
    still = {name for name in before.keys() - moved if not name.endswith(outside)}
    # The tiny text towers have but one head of this width.
    assert all(name.startswith("transformer.resblocks.0.attn.in_proj") for name in still)


@pytest.mark.parametrize("kind", ["rn", "vit"])
def test_one_tensor_left_behind_is_seen_in_the_output(kind: Literal["rn", "vit"]) -> None:
    # The comparison above would be worth nothing if the outputs hid mistakes.
    model = roughened(load_clip(ModelConfig(str(CONF / f"tiny-{kind}.json"), "random")).model.visual)
    spec = known_spec(shapes_of(model), head_width=HEADS[kind])
    for name, group in spec.items():
        for left in group.axes:
            without = Group(group.units, tuple(axis for axis in group.axes if axis != left))
            hidden = alike(shuffled(model, {**spec, name: without}), model)
            # What is added to all keys alike is lost in the softmax.
            assert hidden == left.tensor.endswith("k_proj.bias"), left


def test_the_scales_of_layers_belong_to_the_residual_stream() -> None:
    model = roughened(VisionTransformer(32, 16, 16, 2, 2, 2.0, ls_init_value=0.5, output_dim=8))
    other = shuffled(model, known_spec(shapes_of(model), head_width=8))
    assert alike(other, model)


def test_networks_of_published_size_are_known() -> None:
    with torch.device("meta"):
        vit = VisionTransformer(224, 16, 768, 12, 12, 4.0, output_dim=512)
        rn50 = ModifiedResNet([3, 4, 6, 3], 1024, 32, 224, 64)
    units = {name: group.units for name, group in known_spec(shapes_of(vit), head_width=64).items()}
    assert units.pop("residual") == 768
    assert units == {
        f"transformer.resblocks.{i}.{kind}": n for i in range(12) for kind, n in (("heads", 12), ("mlp", 3072))
    }
    units = {name: group.units for name, group in known_spec(shapes_of(rn50), head_width=64).items()}
    assert {name: n for name, n in units.items() if name.count(".") < 2} == {
        "stem.1": 32,
        "stem.2": 32,
        "stem.3": 64,
        "layer1": 256,
        "layer2": 512,
        "layer3": 1024,
        "layer4": 2048,
        "attnpool.heads": 32,
    }
    # Two layers inside each of 3 + 4 + 6 + 3 bottlenecks.
    assert sum(name.count(".") == 2 for name in units) == 32


def test_parts_of_a_network_can_be_left_out() -> None:
    with torch.device("meta"):
        rn = ModifiedResNet([1, 1, 1, 1], 16, 8, 32, 8)
        vit = VisionTransformer(32, 16, 16, 1, 2, 2.0, output_dim=8)
    full, inner = known_spec(shapes_of(rn)), known_spec(shapes_of(rn), residual=False)
    assert full.keys() - inner.keys() == {"layer1", "layer2", "layer3", "layer4"}
    assert set(known_spec(shapes_of(vit), residual=False)) == {"transformer.resblocks.0.mlp"}


def test_any_prefix_will_do() -> None:
    with torch.device("meta"):
        shapes = shapes_of(VisionTransformer(32, 16, 16, 1, 2, 2.0, output_dim=8))
    spec = known_spec({f"model.visual.{name}": shape for name, shape in shapes.items()} | {"model.logit_scale": ()})
    assert set(spec) == {"model.visual.residual", "model.visual.transformer.resblocks.0.mlp"}
    assert {axis.tensor for axis in spec["model.visual.residual"].axes} <= {f"model.visual.{name}" for name in shapes}


def test_networks_that_are_not_known() -> None:
    message = (
        "It is not known what can be reordered in a network with `blocks.0.w`, `blocks.1.w`, `blocks.2.w`, "
        "`blocks.3.w`, `blocks.4.w`, `blocks.5.w` and 2 more; known are open_clip's vision transformers, text "
        "transformers and ModifiedResNets. Describe it in a JSON file and name that as `spec`."
    )
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        known_spec({f"blocks.{i}.w": (2, 2) for i in range(8)})
    with torch.device("meta"):
        shapes = shapes_of(VisionTransformer(32, 16, 16, 1, 2, 2.0, output_dim=8))
    with pytest.raises(
        ConfigError, match=r"^It is not known what can be reordered in a network with `attn_pool\.query`;"
    ):
        known_spec(shapes | {"attn_pool.query": (4, 16)})


def test_a_width_of_heads_that_fits_nothing() -> None:
    with torch.device("meta"):
        shapes = shapes_of(VisionTransformer(32, 16, 16, 1, 2, 2.0, output_dim=8))
    message = (
        "Expected argument `head_width` to divide the width of an attention layer (16), but got `5`; `None` leaves "
        "heads where they are."
    )
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        known_spec(shapes, head_width=5)


def test_heads_are_reordered_in_queries_keys_and_values_by_hand() -> None:
    # Width 4, two heads of width 2: rows 0-3 are queries, 4-7 keys, 8-11 values.
    spec = {"heads": Group(2, (Axis("in.w", 0, 3), Axis("out.w", 1)))}
    orders = {"heads": torch.tensor([1, 0])}
    assert permute("in.w", torch.arange(12), spec, orders).tolist() == [2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9]
    assert permute("out.w", torch.arange(8).view(2, 4), spec, orders).tolist() == [[2, 3, 0, 1], [6, 7, 4, 5]]
    assert permute("other", torch.arange(4), spec, orders).tolist() == [0, 1, 2, 3]
    assert by_unit(torch.arange(12), spec["heads"].axes[0], 2).tolist() == [[0, 1, 4, 5, 8, 9], [2, 3, 6, 7, 10, 11]]


def test_a_tensor_that_all_models_share_pins_its_groups_unless_its_units_are_alike() -> None:
    spec = {"x": Group(2, (Axis("a", 0), Axis("b", 0))), "y": Group(2, (Axis("a", 1), Axis("c", 0)))}
    square = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    model = {"a": square, "b": torch.tensor([1.0, 2.0]), "c": torch.ones(2)}
    assert pinned(spec, {"s": model}, ("a", "b", "c")) == set()
    assert pinned(spec, {"s": model}, ("a", "b")) == set()
    assert pinned(spec, {"s": model}, ("a", "c")) == {"x"}
    assert pinned(spec, {"s": model}, ("b", "c")) == {"x", "y"}
    assert pinned(spec, {"s": model, "t": model | {"c": torch.tensor([1.0, 2.0])}}, ("a", "b")) == {"y"}


def test_a_file_describes_other_networks(tmp_path: Path) -> None:
    path = tmp_path / "spec.json"
    path.write_text('{"hidden": {"units": 2, "axes": [["a.weight", 0], ["a.bias", 0, 1], ["qkv", 1, 3]]}}')
    shapes = {"a.weight": (2, 5), "a.bias": (2,), "qkv": (7, 12)}
    axes = (Axis("a.weight"), Axis("a.bias"), Axis("qkv", 1, 3))
    assert read_spec(path, shapes) == {"hidden": Group(2, axes)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "Expected `{}` to hold groups like"),
        ("{", "Expected `{}` to hold groups like"),
        ('{"h": {"axes": [["a", 0]]}}', "but it does not (KeyError: 'units')."),
        (
            '{"h": {"units": Infinity, "axes": [["a", 0]]}}',
            "but it does not (OverflowError: cannot convert float infinity",
        ),
        ('{"h": {"units": 2, "axes": [["z", 0]]}}', "The model has no axis 0 of `z`, in the group `h` of `{}`."),
        ('{"h": {"units": 2, "axes": [["a", 2]]}}', "The model has no axis 2 of `a`, in the group `h` of `{}`."),
        (
            '{"h": {"units": 3, "axes": [["a", 0]]}}',
            "Expected axis 0 of `a`, in the group `h` of `{}`, to hold 1 x 3 units, but it has (4, 4).",
        ),
        ('{"h": {"units": 2, "axes": [["empty", 0]]}}', "to hold 1 x 2 units, but it has (0, 3)."),
        (
            '{"h": {"units": 4, "axes": [["a", 0], ["a", 1]]}}',
            "Expected axis 0 of `a`, in the group `h` of `{}`, once: groups share no axis, and none has two axes of "
            "one tensor.",
        ),
        ('{"h": {"units": 4, "axes": [["a", 0]]}, "g": {"units": 4, "axes": [["a", 0]]}}', "in the group `g` of `{}`,"),
        (
            '{"h": {"units": 4, "axes": [["bn.weight", 0], ["bn.running_var", 0]]}}',
            "The group `h` of `{}` moves a BatchNorm but not `bn.running_mean`; add that.",
        ),
    ],
)
def test_a_file_that_does_not_fit(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "spec.json"
    path.write_text(text)
    shapes = {"a": (4, 4), "empty": (0, 3), "bn.weight": (4,), "bn.running_mean": (4,), "bn.running_var": (4,)}
    with pytest.raises(ConfigError, match=re.escape(message.replace("{}", str(path)))):
        read_spec(path, shapes)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    message = f"The file `{tmp_path / 'no.json'}` that `spec` names cannot be read (No such file or directory)."
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        read_spec(tmp_path / "no.json", {})
