"""Checkpoints in the layouts that training scripts write: the one model is taken, of several one has to be named."""

from __future__ import annotations

import argparse
import os
import random
import re
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.optim import AdamW
from torch.optim.swa_utils import AveragedModel

from hamdg.errors import WeightsError
from hamdg.merge import open_tensors

STATE = {"fc.weight": torch.arange(6.0).view(2, 3), "fc.bias": torch.ones(2), "bn.num_batches_tracked": torch.tensor(3)}
EMA = {name: tensor + 1 for name, tensor in STATE.items()}


def optimizer_state() -> dict[str, object]:
    layer = torch.nn.Linear(3, 2)
    optimizer = AdamW(layer.parameters())
    layer(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    return optimizer.state_dict()


# What lies beside a model in checkpoints.
BESIDE: dict[str, object] = {
    "optimizer": optimizer_state(),
    "scheduler": {"last_epoch": 3, "_last_lr": [0.1]},
    "scaler": {"scale": 65536.0},
    "epoch": 3,
    "arch": "resnet50",
    "best_acc1": torch.tensor(76.1),
    "rng_state": torch.get_rng_state(),
    "rng": {"torch": torch.get_rng_state(), "queue": torch.tensor([3])},
    "metrics": {"loss": torch.tensor(0.5)},
    "classes": ["dog", "cat"],
    "none": None,
}


def saved(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


def assert_state(path: Path, state: dict[str, Tensor] = STATE, key: str | None = None) -> None:
    found = open_tensors(path, key=key)
    assert sorted(found) == sorted(state)
    assert all(torch.equal(found[name], tensor) for name, tensor in state.items())


@pytest.mark.parametrize(
    "name", ["model", "state_dict", "model_state_dict", "model_ema", "params", "net", "model_dict"]
)
@pytest.mark.parametrize("ending", [".pt", ".pth", ".pth.tar", ".tar", ".bin", ".pkl"])
def test_the_one_mapping_of_tensors_is_the_model(tmp_path: Path, name: str, ending: str) -> None:
    path = saved(tmp_path / f"x{ending}", {name: OrderedDict(STATE), **BESIDE})
    assert_state(path)
    assert open_tensors(path).key == name
    assert_state(path, key=name)


@pytest.mark.parametrize(
    ("content", "key"),
    [
        ({"checkpoint": {"model": STATE, "epoch": 1}}, "checkpoint.model"),
        ({"a": {"model_ema": {"module": STATE, "decay": 0.999}}}, "a.model_ema.module"),
        ({"state": {"model": {"weights": STATE}, **BESIDE}}, "state.model.weights"),
    ],
)
def test_models_lie_deeper(tmp_path: Path, content: object, key: str) -> None:
    path = saved(tmp_path / "x.pth", content)
    assert_state(path)
    assert open_tensors(path).key == key
    # The name of what holds it is enough.
    for part in (key, key.rpartition(".")[0]):
        assert_state(path, key=part)


def test_one_model_under_two_names_is_one(tmp_path: Path) -> None:
    assert_state(saved(tmp_path / "x.pth", {"model": STATE, "state_dict": STATE}))


def test_of_several_models_one_is_named(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.pth", {"model": STATE, "model_ema": EMA, **BESIDE})
    message = (
        f"`{path}` holds several sets of tensors: `model` (3 tensors), `model_ema` (3 tensors). Name one of these as "
        "`key`, or save it alone."
    )
    with pytest.raises(WeightsError, match=f"^{re.escape(message)}$"):
        open_tensors(path)
    assert_state(path, key="model")
    assert_state(path, EMA, key="model_ema")


def test_a_key_that_is_not_there(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.pth", {"model": STATE, "model_ema": EMA, **BESIDE})
    for key in ("ema", "model_", "epoch", "scaler"):
        message = (
            f"`{path}` has no tensors under `{key}`; they are under `model`, `model_ema`. Name one of these as `key`."
        )
        with pytest.raises(WeightsError, match=f"^{re.escape(message)}$"):
            open_tensors(path, key=key)
    plain = saved(tmp_path / "plain.pth", STATE)
    message = f"`{plain}` has no `model`: its tensors lie under no key. Leave `key` out for this file."
    with pytest.raises(WeightsError, match=f"^{re.escape(message)}$"):
        open_tensors(plain, key="model")


def test_a_key_into_safetensors(tmp_path: Path) -> None:
    from hamdg.merge.files import save_tensors

    save_tensors(tmp_path / "x.safetensors", STATE)
    with pytest.raises(WeightsError, match="has no `model`: its tensors lie under no key"):
        open_tensors(tmp_path / "x.safetensors", key="model")


@pytest.mark.parametrize("content", [optimizer_state(), {"optimizer": optimizer_state(), "epoch": 1}])
def test_the_state_of_an_optimizer_is_no_model(tmp_path: Path, content: object) -> None:
    path = saved(tmp_path / "optimizer.pt", content)
    message = f"`{path}` holds the state of an optimizer and no model. Give the file of the model's weights."
    with pytest.raises(WeightsError, match=f"^{re.escape(message)}$"):
        open_tensors(path)


@pytest.mark.parametrize(
    "content", [None, [STATE], (STATE, 1), {"model": {}}, {"epoch": 3}, {"a": {"b": {"c": 1}}}, {"k": [torch.ones(1)]}]
)
def test_files_without_a_model(tmp_path: Path, content: object) -> None:
    with pytest.raises(WeightsError, match=r"holds no mapping from names to tensors\. Save the model's `state_dict"):
        open_tensors(saved(tmp_path / "x.pt", content))


def test_an_empty_mapping_is_an_empty_model(tmp_path: Path) -> None:
    assert len(open_tensors(saved(tmp_path / "x.pt", {}))) == 0


def test_a_model_with_something_odd_among_its_tensors_is_named_not_searched(tmp_path: Path) -> None:
    # The extra state of one layer is not the model.
    extra = {"fp8.scale": torch.ones(2), "fp8.history": torch.ones(4)}
    path = saved(tmp_path / "x.pt", {**STATE, "fc._extra_state": extra})
    with pytest.raises(WeightsError, match=r"^`fc._extra_state` in .* is not a plain tensor but a dict\."):
        open_tensors(path)
    path = saved(tmp_path / "y.pt", {"model": {**STATE, "epoch": 3}})
    with pytest.raises(WeightsError, match=r"^`epoch` in the weights file .* is not a plain tensor but a int\."):
        open_tensors(path)


def test_a_queue_beside_a_model_is_no_model(tmp_path: Path) -> None:
    path = saved(
        tmp_path / "moco.pth.tar", {"state_dict": STATE, "queue": torch.randn(8, 4), "queue_ptr": torch.zeros(1)}
    )
    assert_state(path)


def test_a_bomb_of_shared_mappings_takes_no_time(tmp_path: Path) -> None:
    node: dict[str, object] = {"w": {"deep": STATE}}
    for _ in range(60):
        node = {str(i): node for i in range(50)}
    with pytest.raises(WeightsError, match="holds no mapping from names to tensors"):
        open_tensors(saved(tmp_path / "x.pt", node))


def test_a_mapping_that_holds_itself(tmp_path: Path) -> None:
    node: dict[str, object] = {"model": STATE}
    node["self"] = node
    assert_state(saved(tmp_path / "x.pt", node))


# Lightning's checkpoints


def lightning(**more: object) -> dict[str, object]:
    parts = {f"model.{name}": tensor for name, tensor in STATE.items()}
    callbacks = {"ModelCheckpoint{'monitor': 'acc'}": {"best_k_models": {"a.ckpt": torch.tensor(0.5)}, "score": "x"}}
    content = {"state_dict": parts, "pytorch-lightning_version": "2.6.0", "epoch": 3, "callbacks": callbacks}
    return content | {"optimizer_states": [optimizer_state()], "lr_schedulers": [], "loops": {"fit_loop": {}}} | more


def test_callbacks_and_loops_of_lightning_are_no_models(tmp_path: Path) -> None:
    assert_state(saved(tmp_path / "x.ckpt", lightning()))


def test_lightning_s_own_average_is_its_state_dict(tmp_path: Path) -> None:
    more = {"current_model_state": EMA, "averaging_state": {"n_averaged": torch.tensor(3)}}
    assert_state(saved(tmp_path / "x.ckpt", lightning(**more)))


def test_an_average_of_somebody_else_in_a_lightning_checkpoint_is_asked_for(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.ckpt", lightning(ema_state_dict={f"model.{name}": t for name, t in EMA.items()}))
    with pytest.raises(WeightsError, match=r"`state_dict` \(3 tensors\), `ema_state_dict` \(3 tensors\)\. Name one"):
        open_tensors(path)
    assert_state(path, EMA, key="ema_state_dict")


def test_the_average_of_a_callback_can_be_named(tmp_path: Path) -> None:
    content = lightning()
    callbacks = content["callbacks"]
    assert isinstance(callbacks, dict)
    callbacks["EMA.v1"] = {"ema": {"weights": {f"model.{name}": tensor for name, tensor in EMA.items()}}}
    path = saved(tmp_path / "x.ckpt", content)
    assert_state(path)
    assert_state(path, EMA, key="callbacks.EMA.v1.ema.weights")


# Wrappers of torch


def test_an_averaged_model_is_the_model_without_its_counter(tmp_path: Path) -> None:
    net = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    average = AveragedModel(net)
    average.update_parameters(net)
    wanted = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    for prefix in ("", "module.", "module.module."):
        state = {prefix + name: tensor for name, tensor in average.state_dict().items()}
        assert_state(saved(tmp_path / "x.pt", state), wanted)
    state = {f"ema.{name}": tensor for name, tensor in average.state_dict().items()}
    assert_state(saved(tmp_path / "x.ckpt", {"state_dict": state}), wanted)


def test_a_tensor_called_like_that_counter_stays(tmp_path: Path) -> None:
    state = {"n_averaged": torch.ones(1), "module.w": torch.ones(2), "v": torch.ones(2)}
    assert_state(saved(tmp_path / "x.pt", state), state)


@pytest.mark.parametrize("wrapper", ["_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module."])
def test_wrappers_of_parts_go_wherever_they_are(tmp_path: Path, wrapper: str) -> None:
    state = {
        f"visual.{wrapper}fc.weight": torch.ones(2),
        f"text.block.{wrapper}w": torch.zeros(2),
        "x_orig_mod.y": torch.ones(1),
    }
    wanted = {"visual.fc.weight": torch.ones(2), "text.block.w": torch.zeros(2), "x_orig_mod.y": torch.ones(1)}
    assert_state(saved(tmp_path / "x.pt", state), wanted)
    parts = {f"model.{wrapper}{name}": tensor for name, tensor in STATE.items()}
    path = saved(tmp_path / "x.ckpt", {"state_dict": parts | {"loss.weight": torch.ones(2)}})
    for prefix in ("model", f"model.{wrapper}", f"model.{wrapper.rstrip('.')}"):
        assert sorted(open_tensors(path, prefix=prefix)) == sorted(STATE)
    assert sorted(open_tensors(path, like=STATE)) == sorted(STATE)


def test_names_that_would_coincide_without_wrappers_stay(tmp_path: Path) -> None:
    state = {"a._orig_mod.w": torch.ones(2), "a.w": torch.zeros(2)}
    assert_state(saved(tmp_path / "x.pt", state), state)


# Values that are not tensors


def test_numbers_and_arrays_of_numpy_beside_a_model_are_data(tmp_path: Path) -> None:
    beside = {
        "acc": np.float64(0.5),
        "n": np.int64(3),
        "ok": np.bool_(True),
        "name": np.str_("x"),
        "half": np.float16(1),
    }
    path = saved(
        tmp_path / "x.pth", {"model": STATE, **beside, "random": ("MT19937", np.arange(5, dtype=np.uint32), 3)}
    )
    assert_state(path)
    # What NumPy 1 wrote calls the same functions otherwise.
    older = tmp_path / "older.pth"
    torch.save({"model": STATE, **beside}, older, _use_new_zipfile_serialization=False)
    content = older.read_bytes()
    assert b"cnumpy._core.multiarray\n" in content
    older.write_bytes(content.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n"))
    assert_state(older)


def test_arguments_of_a_training_script_beside_a_model_are_data(tmp_path: Path) -> None:
    arguments = argparse.Namespace(lr=0.1, more=argparse.Namespace(name="x"), data=SimpleNamespace(root="y"))
    assert_state(saved(tmp_path / "x.pth", {"model": STATE, "args": arguments}))
    content = lightning(hyper_parameters={"arguments": arguments})
    assert_state(saved(tmp_path / "x.ckpt", content))


class Harmful:
    """Unpickling it would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("holder", [argparse.Namespace, SimpleNamespace])
def test_code_inside_of_arguments_is_refused_and_not_run(tmp_path: Path, holder: type) -> None:
    path = saved(tmp_path / "x.pth", {"model": STATE, "args": holder(harm=Harmful(tmp_path / "harm"))})
    with pytest.raises(WeightsError, match=r"refused without running it: it asks for `posix\.mkdir`"):
        open_tensors(path)
    assert not (tmp_path / "harm").exists()


def test_arrays_of_objects_are_not_looked_into(tmp_path: Path) -> None:
    assert_state(saved(tmp_path / "x.pth", {"model": STATE, "objects": np.array([{"a": 1}, None], dtype=object)}))
    harmful = np.array([Harmful(tmp_path / "harm")], dtype=object)
    with pytest.raises(WeightsError, match=r"refused without running it: it asks for `posix\.mkdir`"):
        open_tensors(saved(tmp_path / "x.pth", {"model": STATE, "objects": harmful}))
    assert not (tmp_path / "harm").exists()


def test_a_number_of_numpy_among_the_tensors_is_named(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.pth", {**STATE, "acc": np.float64(0.5)})
    message = (
        f"`acc` in the weights file `{path}` is not a plain tensor but a value of another library. Save the model's "
        "`state_dict()` without it."
    )
    with pytest.raises(WeightsError, match=f"^{re.escape(message)}$"):
        open_tensors(path)


@pytest.mark.parametrize("seed", range(4))
def test_damaged_bytes_are_a_sentence_whatever_they_say(tmp_path: Path, seed: int) -> None:
    beside = {"acc": np.float64(0.5), "random": np.arange(4), "args": argparse.Namespace(lr=0.1)}
    path = tmp_path / "x.pt"
    torch.save({"model": STATE, **beside}, path, _use_new_zipfile_serialization=False)
    content, draw = path.read_bytes(), random.Random(seed)
    for _ in range(100):
        damaged = bytearray(content)
        for _ in range(draw.randint(1, 3)):
            damaged[draw.randrange(len(damaged))] = draw.randrange(256)
        path.write_bytes(damaged)
        with suppress(WeightsError):
            open_tensors(path)


def test_a_tar_archive_is_told_to_be_unpacked(tmp_path: Path) -> None:
    import tarfile

    saved(tmp_path / "x.pt", STATE)
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        archive.add(tmp_path / "x.pt", "x.pt")
    message = f"`{tmp_path / 'x.tar'}` is a tar archive; unpack it, and give the weights file in it."
    with pytest.raises(WeightsError, match=f"^{re.escape(message)}$"):
        open_tensors(tmp_path / "x.tar")
