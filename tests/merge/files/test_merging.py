"""Files are merged as what is in them, and say how."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor

from hamdg.digests import Digests, sha256_file
from hamdg.errors import ConfigError, WeightsError
from hamdg.merge import MergeSettings, merge_files, merge_with, open_tensors
from hamdg.merge.files import read_metadata, read_provenance, save_tensors
from hamdg.merge.files.writing import TensorWriter
from tests.merge.files.conftest import BASE, MODELS, SOURCES, assert_equal, blake3_of


@pytest.mark.parametrize("method", ["uniform", "task_arithmetic", "ties", "rhm"])
def test_a_merge_of_files_is_the_merge_of_what_is_in_them(paths: dict[str, Path], tmp_path: Path, method: str) -> None:
    out = tmp_path / "new" / "merged.safetensors"
    assert merge_files(method, paths, out, tmp_path / "base.safetensors") == out
    assert_equal(open_tensors(out), merge_with(method, MODELS, BASE))
    assert_equal(safetensors.torch.load_file(out), merge_with(method, MODELS, BASE))
    assert [path.name for path in out.parent.iterdir()] == ["merged.safetensors"]


def test_an_average_by_hand(tmp_path: Path) -> None:
    # (1 + 2 + 6) / 3 = 3 and, weighted 1 : 1 : 2, (1 + 2 + 2 * 6) / 4 = 3.75.
    for source, value in {"a": 1.0, "b": 2.0, "c": 6.0}.items():
        save_tensors(tmp_path / f"{source}.safetensors", {"w": torch.tensor(value)})
    paths = {source: tmp_path / f"{source}.safetensors" for source in "abc"}
    assert open_tensors(merge_files("uniform", paths, tmp_path / "o.safetensors"))["w"].item() == 3.0
    settings = MergeSettings(weights={"a": 1, "b": 1, "c": 2})
    merge_files("weighted", paths, tmp_path / "o.safetensors", settings=settings)
    assert open_tensors(tmp_path / "o.safetensors")["w"].item() == 3.75


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtypes_are_kept_or_named(tmp_path: Path, dtype: torch.dtype) -> None:
    models = {source: {"w": MODELS[source]["fc.weight"].to(dtype)} for source in SOURCES}
    for source in SOURCES:
        save_tensors(tmp_path / f"{source}.safetensors", models[source])
    paths = {source: tmp_path / f"{source}.safetensors" for source in SOURCES}
    for named in (None, torch.float32):
        out = merge_files("uniform", paths, tmp_path / "o.safetensors", settings=MergeSettings(dtype=named))
        assert open_tensors(out)["w"].dtype == (named or dtype)
        assert_equal(open_tensors(out), merge_with("uniform", models, settings=MergeSettings(dtype=named)))


def test_files_of_all_kinds_are_merged_with_each_other(paths: dict[str, Path], tmp_path: Path) -> None:
    parts = {f"model.{name}": tensor for name, tensor in MODELS["photo"].items()}
    torch.save({"state_dict": parts | {"loss.weight": torch.ones(2)}, "epoch": 1}, tmp_path / "photo.ckpt")
    shutil.copy(paths["sketch"], tmp_path / "s-1.safetensors")
    index = tmp_path / "s.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": dict.fromkeys(BASE, "s-1.safetensors")}))
    torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in BASE.items()}}, tmp_path / "base.pt")
    mixed = {"art": paths["art"], "photo": tmp_path / "photo.ckpt", "sketch": index}
    for base in ("base.pt", "base.safetensors"):
        out = merge_files("ties", mixed, tmp_path / "o.safetensors", tmp_path / base)
        assert_equal(open_tensors(out), merge_with("ties", MODELS, BASE))
    recorded = read_provenance(out)
    assert recorded is not None
    assert recorded.sources["photo"] == blake3_of(tmp_path / "photo.ckpt")
    with Digests(hash_name="blake3") as digests:
        assert recorded.sources["sketch"] == digests.of((index, tmp_path / "s-1.safetensors"))


def test_checkpoints_are_compared_with_any_plain_file(paths: dict[str, Path], tmp_path: Path) -> None:
    extra = {"loss.weight": torch.ones(2)}
    for name, state in {"art": MODELS["art"], "base": BASE}.items():
        parts = {f"net.{key}": tensor for key, tensor in state.items()}
        torch.save({"state_dict": parts | extra}, tmp_path / f"{name}.ckpt")
    given = paths | {"art": tmp_path / "art.ckpt"}
    out = merge_files("ties", given, tmp_path / "o.safetensors", tmp_path / "base.ckpt")
    assert_equal(open_tensors(out), merge_with("ties", MODELS, BASE))


def test_checkpoints_alone_share_a_prefix_or_are_told_it(tmp_path: Path) -> None:
    for prefix, extra in (("model.", {}), ("ema.", {"loss.weight": torch.ones(2)})):
        for source in SOURCES:
            parts = {prefix + name: tensor for name, tensor in MODELS[source].items()}
            torch.save({"state_dict": parts | extra}, tmp_path / f"{prefix}{source}.ckpt")
    out = tmp_path / "o.safetensors"
    merge_files("uniform", {source: tmp_path / f"model.{source}.ckpt" for source in SOURCES}, out)
    assert_equal(open_tensors(out), merge_with("uniform", MODELS))
    paths = {source: tmp_path / f"ema.{source}.ckpt" for source in SOURCES}
    with pytest.raises(WeightsError, match=r"^The names in the checkpoint `.*ema.art.ckpt` share no prefix"):
        merge_files("uniform", paths, out)
    # One named prefix tells the names of all.
    merge_files("uniform", paths, out, prefixes={"photo": "ema"})
    assert_equal(open_tensors(out), merge_with("uniform", MODELS))


def test_the_base_s_prefix_can_be_named(tmp_path: Path, paths: dict[str, Path]) -> None:
    parts = {prefix + name: tensor for prefix in ("a.", "b.") for name, tensor in BASE.items()}
    torch.save({"state_dict": parts}, tmp_path / "base.ckpt")
    with pytest.raises(WeightsError, match="found under 2 prefixes"):
        merge_files("ties", paths, tmp_path / "o.safetensors", tmp_path / "base.ckpt")
    out = merge_files("ties", paths, tmp_path / "o.safetensors", tmp_path / "base.ckpt", prefixes={"base": "b."})
    assert_equal(open_tensors(out), merge_with("ties", MODELS, BASE))
    message = "Expected `prefixes` to name sources or `base`, but `foto` is neither."
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        merge_files("ties", paths, tmp_path / "o.safetensors", tmp_path / "base.ckpt", prefixes={"foto": "b."})


def test_tied_tensors_are_stored_twice_and_tied_again(tmp_path: Path) -> None:
    models = {source: {"a": MODELS[source]["fc.weight"].clone(), "c": torch.ones(2)} for source in SOURCES}
    paths = {source: tmp_path / f"{source}.pt" for source in SOURCES}
    for source, path in paths.items():
        torch.save(models[source] | {"b": models[source]["a"]}, path)
    first = merge_files("uniform", paths, tmp_path / "1.safetensors")
    expected = merge_with("uniform", models)
    assert_equal(safetensors.torch.load_file(first), expected | {"b": expected["a"]})
    assert read_metadata(first)["hamdg.tied"] == '{"b": "a"}'
    found = open_tensors(first)
    assert found["a"].data_ptr() == found["b"].data_ptr()
    # Merged again, they are still tied, also beside a file that does not say so.
    second = merge_files("uniform", {"first": first, "art": paths["art"]}, tmp_path / "2.safetensors")
    assert read_metadata(second)["hamdg.tied"] == '{"b": "a"}'


def test_the_header_says_how_the_file_was_made(paths: dict[str, Path], tmp_path: Path) -> None:
    settings = MergeSettings(weights={"art": 1, "photo": 2, "sketch": 0.5}, lines=(0, 1), buffers="first", threads=2)
    base = tmp_path / "base.safetensors"
    out = merge_files("ties", paths, tmp_path / "o.safetensors", base, options={"density": 0.4}, settings=settings)
    recorded = read_provenance(out)
    assert recorded is not None
    assert recorded.method == "ties"
    assert (recorded.options["density"], recorded.options["scope"], recorded.options["scale"]) == (0.4, "global", 1.0)
    assert recorded.sources == {source: blake3_of(path) for source, path in paths.items()}
    assert recorded.base == blake3_of(base)
    assert recorded.weights == {"art": 1.0, "photo": 2.0, "sketch": 0.5}
    assert (recorded.settings["lines"], recorded.settings["buffers"]) == ([0.0, 1.0], "first")
    assert set(recorded.versions) == {"hamdg", "python", "torch"}
    assert recorded.hash_name == read_metadata(out)["hamdg.hash"] == "blake3"
    assert str(tmp_path) not in str(read_metadata(out))


def test_equal_merges_are_equal_bytes(paths: dict[str, Path], tmp_path: Path) -> None:
    moved = {source: tmp_path / "elsewhere" / f"{i}.safetensors" for i, source in enumerate(reversed(SOURCES))}
    (tmp_path / "elsewhere").mkdir()
    for source, path in moved.items():
        shutil.copy(paths[source], path)
    contents = set()
    for given, threads in ((paths, 1), (moved, 3), (dict(reversed(paths.items())), 2)):
        weights = dict.fromkeys(given, 1.0 if threads == 1 else 1)
        merge_files(
            "ties",
            given,
            tmp_path / f"{threads}.safetensors",
            tmp_path / "base.safetensors",
            options={"scale": 1.0 if threads == 1 else 1, "density": 0.3},
            settings=MergeSettings(weights=weights, threads=threads),
        )
        contents.add((tmp_path / f"{threads}.safetensors").read_bytes())
    assert len(contents) == 1


def test_another_process_writes_the_same_bytes(paths: dict[str, Path], tmp_path: Path) -> None:
    merge_files("uniform", paths, tmp_path / "here.safetensors")
    code = (
        "import sys; from pathlib import Path; from hamdg.merge import merge_files; folder = Path(sys.argv[1]); "
        "merge_files('uniform', {p.stem: p for p in folder.glob('[aps]*.safetensors')}, folder / 'there.safetensors')"
    )
    environment = os.environ | {"PYTHONHASHSEED": "7"}
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, env=environment)
    assert (tmp_path / "here.safetensors").read_bytes() == (tmp_path / "there.safetensors").read_bytes()


def test_memory_does_not_grow_with_the_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size, sources = 1_000_000, 6
    names = [f"t{i:02}" for i in range(12)]
    for i in range(sources):
        generator = torch.Generator().manual_seed(i)
        save_tensors(tmp_path / f"{i}.safetensors", {name: torch.randn(size, generator=generator) for name in names})
    peaks = []
    write = TensorWriter.write

    def measured(self: TensorWriter, name: str, tensor: Tensor) -> None:
        peaks.append(anonymous())
        write(self, name, tensor)

    monkeypatch.setattr(TensorWriter, "write", measured)
    paths = {str(i): tmp_path / f"{i}.safetensors" for i in range(sources)}
    before = anonymous()
    merge_files("uniform", paths, tmp_path / "o.safetensors", settings=MergeSettings(threads=1))
    assert len(peaks) == len(names)
    # A few tensors of 4 MB at a time (the allocator keeps some), of 48 MB of output and 288 MB of inputs.
    assert max(peaks) - before < 6 * 4 * size


def test_digests_begun_before_are_used(paths: dict[str, Path], tmp_path: Path) -> None:
    with Digests(1, "blake3") as digests:
        digests.start(paths.values())
        merge_files("uniform", paths, tmp_path / "1.safetensors", digests=digests)
        # They go on after the merge: they are not its own.
        assert digests.of((tmp_path / "1.safetensors",)) == blake3_of(tmp_path / "1.safetensors")
    merge_files("uniform", paths, tmp_path / "2.safetensors")
    assert (tmp_path / "1.safetensors").read_bytes() == (tmp_path / "2.safetensors").read_bytes()


def test_the_header_follows_the_digests_that_were_begun(paths: dict[str, Path], tmp_path: Path) -> None:
    with Digests() as digests:
        merge_files("uniform", paths, tmp_path / "1.safetensors", digests=digests)
    recorded = read_provenance(tmp_path / "1.safetensors")
    assert recorded is not None
    assert recorded.hash_name == "sha256"
    assert recorded.sources == {source: sha256_file(path) for source, path in paths.items()}
    # As before there was another hash.
    assert "hamdg.hash" not in read_metadata(tmp_path / "1.safetensors")


@pytest.mark.usefixtures("registering")
def test_evidence_comes_from_files_and_is_told(paths: dict[str, Path], tmp_path: Path) -> None:
    evidence = {source: tmp_path / f"fisher-{source}.safetensors" for source in SOURCES}
    for seed, path in enumerate(evidence.values(), 1):
        save_tensors(path, {name: torch.full_like(BASE[name], float(seed)) for name in ("fc.weight", "logit_scale")})
    out = merge_files("by_evidence", paths, tmp_path / "o.safetensors", evidence=evidence)
    # The weights are 1, 2 and 3 of 6.
    expected = sum(seed * MODELS[source]["fc.weight"] / 6 for seed, source in enumerate(SOURCES, 1))
    torch.testing.assert_close(open_tensors(out)["fc.weight"], expected)
    recorded = read_provenance(out)
    assert recorded is not None
    assert recorded.evidence == {source: blake3_of(path) for source, path in evidence.items()}
    with pytest.raises(ConfigError, match=r"needs gradients: give `evidence`"):
        merge_files("by_evidence", paths, out)
    with pytest.raises(
        ConfigError, match=r"^Expected `evidence` to hold one file for each source, but `art` has none\.$"
    ):
        merge_files("by_evidence", paths, out, evidence={"photo": evidence["photo"], "sketch": evidence["sketch"]})


def anonymous() -> int:
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon")]
    return int(line.split()[1]) * 1024
