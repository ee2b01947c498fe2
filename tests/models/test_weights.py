from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from hamdg.config.recipe import ModelConfig
from hamdg.errors import WeightsError
from hamdg.models import load_clip
from hamdg.models.weights import mismatches, read_state

CONF = Path(__file__).parents[1] / "conf"


def load(weights: Path, kind: Literal["rn", "vit"] = "rn") -> dict[str, Tensor]:
    state = load_clip(ModelConfig(str(CONF / f"tiny-{kind}.json"), str(weights))).model.state_dict()
    return {str(key): value for key, value in state.items()}


def tiny_state(kind: Literal["rn", "vit"] = "rn") -> dict[str, Tensor]:
    return load(Path("random"), kind)


class Malicious:
    """Unpickling it would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin"])
@pytest.mark.parametrize("wrap", [False, True])
def test_pickled_tensors_are_loaded(tmp_path: Path, suffix: str, wrap: bool) -> None:
    state = {key: value + 1 for key, value in tiny_state().items()}
    path = tmp_path / f"weights{suffix}"
    torch.save({"state_dict": {f"module.{key}": value for key, value in state.items()}} if wrap else state, path)

    assert torch.equal(load(path)["visual.conv1.weight"], state["visual.conv1.weight"])


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(
        WeightsError, match=r"The weights file `.*none.safetensors` does not exist\. Set `model.weights`"
    ):
        load(tmp_path / "none.safetensors")


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
@pytest.mark.parametrize("keep", [0.0, 0.001, 0.5, 0.99])
def test_truncated_file(tmp_path: Path, suffix: str, keep: float) -> None:
    path = tmp_path / f"weights{suffix}"
    state = tiny_state("vit")
    if suffix == ".pt":
        torch.save(state, path)
    else:
        save_file(state, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])

    with pytest.raises(WeightsError, match=r"bytes\) is damaged or truncated \(.+\)\. Copy or download it again\.$"):
        load(path, "vit")


def test_other_architecture_names_the_first_keys(tmp_path: Path) -> None:
    path = tmp_path / "vit.safetensors"
    save_file(tiny_state("vit"), path)
    expected = (
        r"does not fit the model `tiny-rn`: \d+ missing \(`visual.bn1.weight`, `[\w.]+`, `[\w.]+`, \.\.\.\); "
        r"\d+ unexpected \(.*\); 1 of another shape \(`visual.conv1.weight` \[16, 3, 16, 16\] instead of "
        r"\[4, 3, 3, 3\]\)\. Set `model.name` to the architecture that the file was made for\.$"
    )
    with pytest.raises(WeightsError, match=expected):
        load(path)


@pytest.mark.parametrize("protocol", [None, 2, 4])
def test_pickle_with_code_is_refused_and_not_run(tmp_path: Path, protocol: int | None) -> None:
    path, harm = tmp_path / "evil.pt", tmp_path / "harm"
    if protocol is None:
        torch.save({"a": torch.zeros(1), "b": Malicious(harm)}, path)
    else:
        path.write_bytes(pickle.dumps(Malicious(harm), protocol))

    with pytest.raises(WeightsError, match=r"evil.pt` holds code or objects besides tensors and was refused without"):
        load(path)
    assert not harm.exists()


def test_openais_archive_once_taken_apart_is_loaded(tmp_path: Path) -> None:
    """OpenAI's archives hold half-precision tensors and three settings besides."""
    state = {key: (value + 1).half() for key, value in tiny_state().items() if value.is_floating_point()}
    settings = {key: torch.tensor(7) for key in ("input_resolution", "context_length", "vocab_size")}
    rest = {key: value for key, value in tiny_state().items() if not value.is_floating_point()}
    torch.save(state | rest | settings, tmp_path / "ViT-tensors.pt")
    found = load(tmp_path / "ViT-tensors.pt")["visual.conv1.weight"]
    assert torch.equal(found, state["visual.conv1.weight"].float())


def test_text_file_is_no_weights_file(tmp_path: Path) -> None:
    (tmp_path / "note.pt").write_text("404: not found")
    with pytest.raises(WeightsError, match=r"note.pt` \(14 bytes\) is damaged or truncated \(no pickle\)\. Copy"):
        load(tmp_path / "note.pt")


def test_file_that_holds_no_mapping(tmp_path: Path) -> None:
    torch.save([torch.zeros(1)], tmp_path / "list.pt")
    with pytest.raises(WeightsError, match=r"list.pt` holds no mapping from names to tensors\. Save the model's"):
        load(tmp_path / "list.pt")


def test_unknown_suffix(tmp_path: Path) -> None:
    (tmp_path / "weights.zip").write_bytes(b"")
    message = r"ends in `.zip`, which is none of .safetensors, .*, .pkl\. Convert it to `.safetensors`\.$"
    with pytest.raises(WeightsError, match=message):
        read_state(tmp_path / "weights.zip")


def test_a_lightning_checkpoint_is_loaded_without_its_other_parts(tmp_path: Path) -> None:
    state = {key: value + 1 for key, value in tiny_state().items()}
    parts = {f"net.clip.{key}": value for key, value in state.items()} | {"loss.weight": torch.ones(2)}
    torch.save({"state_dict": parts, "pytorch-lightning_version": "2.6.0"}, tmp_path / "last.ckpt")

    assert torch.equal(load(tmp_path / "last.ckpt")["visual.conv1.weight"], state["visual.conv1.weight"])


def test_what_is_loaded_does_not_hang_on_the_file(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    state = {key: value + 1 for key, value in tiny_state().items()}
    save_file(state, path)
    loaded = load(path)
    path.write_bytes(bytes(path.stat().st_size))
    assert torch.equal(loaded["visual.conv1.weight"], state["visual.conv1.weight"])


def test_mismatches_are_empty_for_equal_shapes() -> None:
    assert mismatches({"a": torch.zeros(2)}, {"a": torch.ones(2)}) == []
    assert mismatches({"a": torch.zeros(2)}, {"b": torch.ones(2)}) == ["1 missing (`a`)", "1 unexpected (`b`)"]


def changed(name: str, value: Callable[[Tensor], Tensor]) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    return lambda state: state | {key: value(tensor) for key, tensor in state.items() if key.endswith(name)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            changed("weight", lambda t: (t * 100).int()),
            r"\d+ of int32 instead of floating-point numbers \(`ln_final.weight`",
        ),
        (changed("bias", lambda t: t > 0), r"\d+ of bool instead of floating-point numbers"),
        (changed("bias", lambda t: t.to(torch.complex64)), r"\d+ of complex64 instead of floating-point numbers"),
        (changed("token_embedding.weight", lambda t: t * torch.nan), r"1 with NaN \(`token_embedding.weight`\)"),
        (changed("logit_scale", lambda t: t + torch.inf), r"1 with infinite values \(`logit_scale`\)"),
        (changed("logit_scale", lambda t: t - 1e4), r"1 so low that all scores are 0 \(`logit_scale`\)"),
        (changed("running_var", lambda t: -t), r"\d+ with negative variances \(`visual.bn1.running_var`, "),
        (changed("num_batches_tracked", lambda t: t * torch.nan), r"\d+ with NaN \(`visual.bn1.num_batches_tracked`, "),
    ],
)
@pytest.mark.filterwarnings("ignore:Casting complex values")
def test_values_that_no_model_works_with_are_named(
    tmp_path: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]], message: str
) -> None:
    path = tmp_path / "weights.safetensors"
    save_file(change(tiny_state()), path)
    with pytest.raises(
        WeightsError, match=r"weights.safetensors` holds values that .*`tiny-rn` .*: " + message
    ) as caught:
        load(path)
    assert str(caught.value).endswith("Set `model.weights` to a file of the trained model as its training left it.")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float64])
def test_all_floating_point_types_are_read(tmp_path: Path, dtype: torch.dtype) -> None:
    state = {key: value.to(dtype) for key, value in tiny_state().items()}
    save_file(state, tmp_path / "weights.safetensors")
    found = load(tmp_path / "weights.safetensors")
    assert torch.equal(found["visual.conv1.weight"], state["visual.conv1.weight"].float())


@pytest.mark.parametrize("prefix", ["visual.", ""])
def test_an_image_tower_alone_is_called_that(tmp_path: Path, prefix: str) -> None:
    state = {key.replace("visual.", prefix): value for key, value in tiny_state().items() if key.startswith("visual.")}
    save_file(state, tmp_path / "tower.safetensors")
    with pytest.raises(WeightsError, match=r"It holds an image tower alone; give the file of the whole CLIP"):
        load(tmp_path / "tower.safetensors")


def test_empty_tensors_and_an_empty_file(tmp_path: Path) -> None:
    save_file({key: torch.zeros(0) for key in tiny_state()}, tmp_path / "empty.safetensors")
    with pytest.raises(WeightsError, match=r"141 of another shape \(`ln_final.bias` \[0\] instead of \[8\]"):
        load(tmp_path / "empty.safetensors")
    save_file({}, tmp_path / "none.safetensors")
    with pytest.raises(WeightsError, match=r"It holds no tensor; copy or download it again\.$"):
        load(tmp_path / "none.safetensors")
