from __future__ import annotations

import json
import os
import pickle
import re
from collections.abc import Mapping
from datetime import date
from fractions import Fraction
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor

from hamdg.errors import WeightsError
from hamdg.merge import open_tensors
from hamdg.merge.files import load_tensors, read_metadata, save_tensors
from hamdg.merge.files.reading import TensorFile

STATE = {"net.w": torch.arange(6.0).view(2, 3), "net.n": torch.tensor(3), "scale": torch.tensor(0.5)}
ENDINGS = [".safetensors", ".pt", ".pth", ".bin", ".ckpt"]


class Malicious:
    """Unpickling it would create a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def written(path: Path, state: Mapping[str, Tensor] = STATE) -> Path:
    if path.suffix == ".safetensors":
        save_tensors(path, state)
    elif path.suffix == ".ckpt":
        parts = {f"model.{name}": tensor for name, tensor in state.items()}
        torch.save({"state_dict": parts, "epoch": 3, "pytorch-lightning_version": "2.6.0"}, path)
    else:
        torch.save(dict(state), path)
    return path


def sharded(folder: Path, metadata: dict[str, str] | None = None) -> Path:
    folder.mkdir(exist_ok=True)
    save_tensors(folder / "m-1.safetensors", {name: STATE[name] for name in ("net.w", "scale")}, metadata)
    save_tensors(folder / "m-2.safetensors", {"net.n": STATE["net.n"]})
    places = {"net.w": "m-1.safetensors", "net.n": "m-2.safetensors", "scale": "m-1.safetensors"}
    index = folder / "m.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 36}, "weight_map": places}))
    return index


def assert_state(found: TensorFile, state: Mapping[str, Tensor] = STATE) -> None:
    assert list(found) == sorted(state)
    assert len(found) == len(state)
    assert all(found[name].dtype == tensor.dtype and torch.equal(found[name], tensor) for name, tensor in state.items())


@pytest.mark.parametrize("ending", ENDINGS)
def test_every_kind_of_file_is_read(tmp_path: Path, ending: str) -> None:
    path = written(tmp_path / f"x{ending}")
    found = open_tensors(path)
    assert_state(found)
    assert (found.path, found.files, found.metadata) == (path, (path,), {})
    assert repr(found) == f"TensorFile({str(path)!r}, 3 tensors)"
    assert_state(open_tensors(str(path)))


@pytest.mark.parametrize("ending", [".pt", ".ckpt"])
def test_what_torch_wrote_long_ago_is_read(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"x{ending}"
    torch.save({"state_dict": {f"m.{n}": t for n, t in STATE.items()}}, path, _use_new_zipfile_serialization=False)
    assert_state(open_tensors(path, prefix="m"))


def test_a_state_inside_a_checkpoint_and_the_wrapper_of_distributed_training_are_known(tmp_path: Path) -> None:
    parts = {f"module.{name}": tensor for name, tensor in STATE.items()}
    torch.save({"epoch": 1, "state_dict": parts, "optimizer": {"lr": 0.1}}, tmp_path / "open_clip.pt")
    assert_state(open_tensors(tmp_path / "open_clip.pt"))


def test_a_lightning_checkpoint_by_another_ending_is_one(tmp_path: Path) -> None:
    written(tmp_path / "x.ckpt").rename(tmp_path / "x.pt")
    assert_state(open_tensors(tmp_path / "x.pt"))


def test_the_prefix_is_found_or_named(tmp_path: Path) -> None:
    models = {f"{prefix}.{name}": tensor for prefix in ("ema", "model") for name, tensor in STATE.items()}
    torch.save({"state_dict": models | {"loss.weight": torch.ones(2)}}, tmp_path / "two.ckpt")
    for prefix in ("ema", "model."):
        assert_state(open_tensors(tmp_path / "two.ckpt", prefix=prefix))
    with pytest.raises(WeightsError, match=r"found under 2 prefixes in `.*two.ckpt`: `ema.`, `model.`"):
        open_tensors(tmp_path / "two.ckpt", like=STATE)
    torch.save({"state_dict": {f"model.{n}": t for n, t in STATE.items()} | {"b": torch.ones(2)}}, tmp_path / "x.ckpt")
    assert_state(open_tensors(tmp_path / "x.ckpt", like=tuple(STATE)))
    with pytest.raises(WeightsError, match="share no prefix"):
        open_tensors(tmp_path / "x.ckpt")


@pytest.mark.parametrize("ending", [".safetensors", ".pt", ".ckpt"])
def test_tensors_are_mapped_not_read(tmp_path: Path, ending: str) -> None:
    path = written(tmp_path / f"x{ending}", {"a.w": torch.ones(8_000_000), "a.v": torch.ones(8_000_000)})
    before = anonymous()
    found = open_tensors(path)
    assert float(found["a.w"][:1000].sum()) == 1000.0
    assert anonymous() - before < 8 * 2**20


def test_a_model_lives_on_when_its_file_is_replaced(tmp_path: Path) -> None:
    path = written(tmp_path / "x.safetensors")
    found, loaded = open_tensors(path), load_tensors(path)
    save_tensors(path, {"other": torch.zeros(9)})
    assert_state(found)
    assert torch.equal(loaded["net.w"], STATE["net.w"])


def test_loaded_tensors_do_not_hang_on_the_file(tmp_path: Path) -> None:
    path = written(tmp_path / "x.safetensors")
    loaded = load_tensors(path)
    with open(path, "r+b") as stream:
        stream.write(bytes(path.stat().st_size))
    assert torch.equal(loaded["net.w"], STATE["net.w"])


def test_shards_are_read_by_their_index_or_folder(tmp_path: Path) -> None:
    index = sharded(tmp_path / "model", {"a": "b"})
    files = (index, index.parent / "m-1.safetensors", index.parent / "m-2.safetensors")
    for path in (index, index.parent):
        found = open_tensors(path)
        assert_state(found)
        assert (found.path, found.files, found.metadata) == (index, files, {"a": "b"})


def test_pickled_shards_are_read(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(2)}, tmp_path / "m-1.bin")
    torch.save({"v": torch.ones(3), "unlisted": torch.ones(1)}, tmp_path / "m-2.bin")
    index = tmp_path / "m.bin.index.json"
    index.write_text(json.dumps({"weight_map": {"w": "m-1.bin", "v": "m-2.bin"}}))
    assert_state(open_tensors(index), {"w": torch.ones(2), "v": torch.ones(3)})


def test_tied_names_share_memory_again_where_the_header_says_so(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    state = {"a": torch.ones(3), "b": torch.ones(3), "c": torch.ones(3), "d": torch.zeros(3), "e": torch.ones(1, 3)}
    ties = {"b": "a", "d": "a", "e": "a", "x": "a", "c": "x"}
    save_tensors(path, state, {"hamdg.tied": json.dumps(ties)})
    found = open_tensors(path)
    assert_state(found, state)
    # `d` and `e` are stored with other values: the file was changed by somebody who did not know.
    assert [name for name in found if found[name].data_ptr() == found["a"].data_ptr()] == ["a", "b"]
    for damaged in ("no json", "[1]", '{"b": ["a"]}', '{"b": {}}'):
        save_tensors(path, state, {"hamdg.tied": damaged})
        assert_state(open_tensors(path), state)


def test_tensors_with_one_memory_in_a_pickle_keep_it(tmp_path: Path) -> None:
    weight = torch.arange(6.0)
    written(
        tmp_path / "x.pt", {"a": weight, "b": weight, "turned": weight.view(2, 3).T, "p": torch.nn.Parameter(weight)}
    )
    found = open_tensors(tmp_path / "x.pt")
    assert found["a"].data_ptr() == found["b"].data_ptr()
    assert torch.equal(found["turned"], weight.view(2, 3).T)
    assert not found["p"].requires_grad


def test_a_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "none.safetensors"
    for read, kind in ((open_tensors, "weights"), (load_tensors, "`.safetensors`"), (read_metadata, "`.safetensors`")):
        message = f"The weights file `{path}` does not exist; give the path of a {kind} file."
        with pytest.raises(WeightsError, match=f"^{re.escape(message)}$"):
            read(path)


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "x.safetensors")
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.R_OK)
    message = f"The weights file `{path}` may not be read; change its permissions, or copy it."
    with pytest.raises(WeightsError, match=f"^{re.escape(message)}$"):
        open_tensors(path)


def test_a_folder(tmp_path: Path) -> None:
    message = f"The weights file `{tmp_path}` is a folder, not a file; give the path of a `.safetensors` file."
    with pytest.raises(WeightsError, match=f"^{re.escape(message)}$"):
        load_tensors(tmp_path)


@pytest.mark.parametrize("ending", ["", ".zip", ".h5"])
def test_an_unknown_ending(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"x{ending}"
    path.write_bytes(b"")
    message = (
        f"The weights file `{path}` ends in `{ending}`, which is none of .safetensors, .pt, .pth, .bin, .ckpt, .tar, "
        ".pkl. Convert it to `.safetensors`."
    )
    with pytest.raises(WeightsError, match=f"^{re.escape(message)}$"):
        open_tensors(path)


@pytest.mark.parametrize("kept", [0, 5, 40, 300, 400])
@pytest.mark.parametrize("ending", ENDINGS)
def test_a_truncated_file(tmp_path: Path, ending: str, kept: int) -> None:
    path = written(tmp_path / f"x{ending}", {"a.w": torch.zeros(1000)})
    path.write_bytes(path.read_bytes()[:kept])
    start = f"The weights file `{path}` ({kept} bytes) is damaged or truncated ("
    readers = (open_tensors, load_tensors, read_metadata) if ending == ".safetensors" else (open_tensors,)
    for read in readers:
        with pytest.raises(WeightsError, match=rf"^{re.escape(start)}.+\)\. Copy or download it again\.$"):
            read(path)


@pytest.mark.parametrize("ending", [".safetensors", ".pt"])
def test_a_file_of_another_kind(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"x{ending}"
    path.write_text("404: not found")
    with pytest.raises(
        WeightsError, match=r"\(14 bytes\) is damaged or truncated \(.+\)\. Copy or download it again\.$"
    ):
        open_tensors(path)
    torch.save(STATE, tmp_path / "y.safetensors")
    with pytest.raises(WeightsError, match="is damaged or truncated"):
        open_tensors(tmp_path / "y.safetensors")


@pytest.mark.parametrize("protocol", [None, 2, 4])
@pytest.mark.parametrize("ending", [".pt", ".ckpt"])
def test_a_pickle_with_code_is_refused_and_not_run(tmp_path: Path, ending: str, protocol: int | None) -> None:
    path, harm = tmp_path / f"evil{ending}", tmp_path / "harm"
    if protocol is None:
        torch.save({"state_dict": {"a": torch.zeros(1)}, "b": Malicious(harm)}, path)
    else:
        path.write_bytes(pickle.dumps(Malicious(harm), protocol))
    start = f"The weights file `{path}` holds code or objects besides tensors and was refused without running it"
    with pytest.raises(WeightsError, match=f"^{re.escape(start)}"):
        open_tensors(path)
    assert not harm.exists()


def test_a_refused_checkpoint_is_told_the_classes_and_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "x.ckpt"
    objects = {"share": Fraction(1, 2), "day": date(2026, 1, 1)}
    torch.save({"state_dict": {"model.w": torch.ones(2)}, "hyper_parameters": objects}, path)
    message = (
        f"The weights file `{path}` holds code or objects besides tensors and was refused without running it: it asks "
        "for `datetime.date`, `fractions.Fraction`. Where you trust its origin, save its weights alone: "
        '`torch.save({"state_dict": torch.load(path, weights_only=False)["state_dict"]}, path)`; Lightning writes such '
        "objects for `save_hyperparameters`."
    )
    with pytest.raises(WeightsError, match=f"^{re.escape(message)}$"):
        open_tensors(path)
    # What the message says helps.
    torch.save({"state_dict": torch.load(path, weights_only=False)["state_dict"]}, path)
    assert_state(open_tensors(path), {"w": torch.ones(2)})


def test_a_refused_file_of_weights_is_told_the_class(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(2), "share": Fraction(1, 2)}, tmp_path / "x.pt", _use_new_zipfile_serialization=False)
    end = "it: it asks for `fractions.Fraction`. Save its `state_dict()` as `.safetensors` where you trust its origin."
    with pytest.raises(WeightsError, match=f"{re.escape(end)}$"):
        open_tensors(tmp_path / "x.pt")


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning", "ignore:.*torch.jit:FutureWarning")
def test_a_torchscript_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "script.pt"
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), path)
    plain = tmp_path / "script-tensors.pt"
    message = (
        f"The weights file `{path}` is a TorchScript archive, which is a program, and was refused without running it. "
        'Where you trust its origin, take its tensors out once and give that file instead: `python -c "import torch; '
        f"torch.save(torch.jit.load('{path}', map_location='cpu').state_dict(), '{plain}')\"`."
    )
    with pytest.raises(WeightsError, match=f"^{re.escape(message)}$"):
        open_tensors(path)
    exec(message.partition('-c "')[2].removesuffix('"`.'))  # the advice works
    assert sorted(open_tensors(plain)) == ["bias", "weight"]


@pytest.mark.parametrize("content", [[torch.zeros(1)], {"a": 1, "b": "c"}, 3, {"state_dict": {"a": 1}}])
def test_a_pickle_without_named_tensors(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "x.pt")
    message = (
        f"The weights file `{tmp_path / 'x.pt'}` holds no mapping from names to tensors. "
        "Save the model's `state_dict()` alone."
    )
    with pytest.raises(WeightsError, match=f"^{re.escape(message)}$"):
        open_tensors(tmp_path / "x.pt")


@pytest.mark.filterwarnings("ignore:.*Sparse:UserWarning", "ignore:.*quantize_per_tensor:UserWarning")
def test_what_is_no_plain_tensor_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    again = "Save the model's `state_dict()` without it."
    kinds: dict[str, object] = {
        f"int. {again}": 3,
        f"dict. {again}": {},
        "sparse one. Save it by `to_dense()`.": torch.eye(2).to_sparse(),
        "quantized one. Save it by `dequantize()`.": torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8),
    }
    for end, value in kinds.items():
        torch.save({"w": torch.ones(2), "extra": value}, path)
        message = f"`extra` in the weights file `{path}` is not a plain tensor but a {end}"
        with pytest.raises(WeightsError, match=f"^{re.escape(message)}$"):
            open_tensors(path)


def test_an_index_that_names_a_missing_shard(tmp_path: Path) -> None:
    index = sharded(tmp_path)
    (tmp_path / "m-1.safetensors").unlink()
    message = (
        f"The index `{index}` needs the shard `m-1.safetensors`, which does not exist beside it. "
        "Copy or download it again."
    )
    with pytest.raises(WeightsError, match=f"^{re.escape(message)}$"):
        open_tensors(index)


def test_an_index_that_names_a_missing_tensor(tmp_path: Path) -> None:
    index = sharded(tmp_path)
    save_tensors(tmp_path / "m-1.safetensors", {"scale": torch.ones(())})
    message = (
        f"The index `{index}` says that `net.w` is in `m-1.safetensors`, but it is not. Copy or download both again."
    )
    with pytest.raises(WeightsError, match=f"^{re.escape(message)}$"):
        open_tensors(index)


def test_a_damaged_shard(tmp_path: Path) -> None:
    index = sharded(tmp_path)
    (tmp_path / "m-2.safetensors").write_bytes(b"")
    with pytest.raises(WeightsError, match=r"m-2.safetensors` \(0 bytes\) is damaged or truncated"):
        open_tensors(index)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"weight_map": []}'])
def test_a_damaged_index(tmp_path: Path, text: str) -> None:
    index = tmp_path / "m.safetensors.index.json"
    index.write_text(text)
    message = (
        f"The index `{index}` is damaged or no index of weights (it has no readable `weight_map`). "
        "Copy or download it again."
    )
    with pytest.raises(WeightsError, match=f"^{re.escape(message)}$"):
        open_tensors(index)


@pytest.mark.parametrize("shard", ["../m-1.safetensors", "/m-1.safetensors", "a/m.safetensors"])
def test_an_index_that_points_out_of_its_folder(tmp_path: Path, shard: str) -> None:
    index = tmp_path / "m.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"w": shard}}))
    message = f"The index `{index}` points to `{shard}`, outside its own folder, and was refused."
    with pytest.raises(WeightsError, match=f"^{re.escape(message)}$"):
        open_tensors(index)


def test_metadata_are_read_without_tensors(tmp_path: Path) -> None:
    safetensors.torch.save_file({"w": torch.ones(2)}, tmp_path / "x.safetensors", {"b": "1", "a": "2"})
    assert list(read_metadata(tmp_path / "x.safetensors").items()) == [("a", "2"), ("b", "1")]


def anonymous() -> int:
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon")]
    return int(line.split()[1]) * 1024


@pytest.mark.parametrize("place", [3, None, ["m.safetensors"], {"m": 1}, "", "m\0", "m" * 300])
def test_an_index_with_places_that_are_no_names_of_files(tmp_path: Path, place: object) -> None:
    index = tmp_path / "m.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"w": "m-1.safetensors", "v": place}}))
    with pytest.raises(
        WeightsError, match=r"m.safetensors.index.json` gives `v` the place `.*`, which is not a file's name"
    ):
        open_tensors(index)


def test_an_index_of_nothing(tmp_path: Path) -> None:
    (tmp_path / "m.safetensors.index.json").write_text('{"weight_map": {}}')
    with pytest.raises(
        WeightsError, match=r"names no tensor \(its `weight_map` is empty\)\. Copy or download it again\.$"
    ):
        open_tensors(tmp_path)
