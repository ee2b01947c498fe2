from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from itertools import count
from pathlib import Path

import pytest
import safetensors.torch
import torch
from blake3 import blake3
from torch import Tensor

from hamdg.digests import Digests
from hamdg.errors import ConfigError, StorageError, WeightsError
from hamdg.files import sha256_file
from hamdg.merge import Family, Rule, Settings, Site, merge_files, merge_with, open_tensors, register_whole, registry
from hamdg.merge.files import read_metadata, read_provenance, save_tensors
from hamdg.merge.files.writing import TensorWriter

SOURCES = ("art", "photo", "sketch")


def a_model(seed: int, base: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    """A model with all that models have: matrices, kernels, scalars, an empty tensor, BatchNorm, a frozen tensor."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {"fc.weight": (7, 5), "conv.weight": (3, 2, 2, 2), "logit_scale": (), "none": (0, 4), "one": (1,)}
    state = {name: 0.1 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    if base is not None:
        state = {name: base[name] + 0.05 * tensor for name, tensor in state.items()}
    state["bn.running_mean"] = torch.full((3,), float(seed))
    state["bn.running_var"] = torch.full((3,), 1.0 + seed)
    state["bn.num_batches_tracked"] = torch.tensor(seed)
    return state | {"frozen": torch.arange(4.0)}


BASE = a_model(0)
MODELS = {source: a_model(seed, BASE) for seed, source in enumerate(SOURCES, 1)}


@pytest.fixture
def paths(tmp_path: Path) -> dict[str, Path]:
    """One file for each source, and the base beside them."""
    found = {source: tmp_path / f"{source}.safetensors" for source in SOURCES}
    for source, path in found.items():
        save_tensors(path, MODELS[source])
    save_tensors(tmp_path / "base.safetensors", BASE)
    return found


def assert_equal(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    assert set(found) == set(expected)
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype, name
        assert torch.equal(found[name], tensor), name


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
    settings = Settings(weights={"a": 1, "b": 1, "c": 2})
    merge_files("weighted", paths, tmp_path / "o.safetensors", settings=settings)
    assert open_tensors(tmp_path / "o.safetensors")["w"].item() == 3.75


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtypes_are_kept_or_named(tmp_path: Path, dtype: torch.dtype) -> None:
    models = {source: {"w": MODELS[source]["fc.weight"].to(dtype)} for source in SOURCES}
    for source in SOURCES:
        save_tensors(tmp_path / f"{source}.safetensors", models[source])
    paths = {source: tmp_path / f"{source}.safetensors" for source in SOURCES}
    for named in (None, torch.float32):
        out = merge_files("uniform", paths, tmp_path / "o.safetensors", settings=Settings(dtype=named))
        assert open_tensors(out)["w"].dtype == (named or dtype)
        assert_equal(open_tensors(out), merge_with("uniform", models, settings=Settings(dtype=named)))


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
    told = read_provenance(out)
    assert told is not None
    assert told.sources["photo"] == _blake3(tmp_path / "photo.ckpt")
    with Digests(hash_name="blake3") as digests:
        assert told.sources["sketch"] == digests.of((index, tmp_path / "s-1.safetensors"))


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


def test_twins_are_stored_twice_and_tied_again(tmp_path: Path) -> None:
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
    # Merged again, they are still twins, also beside a file that does not say so.
    second = merge_files("uniform", {"first": first, "art": paths["art"]}, tmp_path / "2.safetensors")
    assert read_metadata(second)["hamdg.tied"] == '{"b": "a"}'


def test_the_header_says_how_the_file_was_made(paths: dict[str, Path], tmp_path: Path) -> None:
    settings = Settings(weights={"art": 1, "photo": 2, "sketch": 0.5}, lines=(0, 1), buffers="first", threads=2)
    base = tmp_path / "base.safetensors"
    out = merge_files("ties", paths, tmp_path / "o.safetensors", base, options={"density": 0.4}, settings=settings)
    told = read_provenance(out)
    assert told is not None
    assert told.method == "ties"
    assert (told.options["density"], told.options["scope"], told.options["scale"]) == (0.4, "global", 1.0)
    assert told.sources == {source: _blake3(path) for source, path in paths.items()}
    assert told.base == _blake3(base)
    assert told.weights == {"art": 1.0, "photo": 2.0, "sketch": 0.5}
    assert (told.settings["lines"], told.settings["buffers"]) == ([0.0, 1.0], "first")
    assert set(told.versions) == {"hamdg", "python", "torch"}
    assert told.hash_name == read_metadata(out)["hamdg.hash"] == "blake3"
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
            settings=Settings(weights=weights, threads=threads),
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
    merge_files("uniform", paths, tmp_path / "o.safetensors", settings=Settings(threads=1))
    assert len(peaks) == len(names)
    # A few tensors of 4 MB at a time (the allocator keeps some), of 48 MB of output and 288 MB of inputs.
    assert max(peaks) - before < 6 * 4 * size


def test_digests_begun_before_are_used(paths: dict[str, Path], tmp_path: Path) -> None:
    with Digests(1, "blake3") as digests:
        digests.start(paths.values())
        merge_files("uniform", paths, tmp_path / "1.safetensors", digests=digests)
        # They go on after the merge: they are not its own.
        assert digests.of((tmp_path / "1.safetensors",)) == _blake3(tmp_path / "1.safetensors")
    merge_files("uniform", paths, tmp_path / "2.safetensors")
    assert (tmp_path / "1.safetensors").read_bytes() == (tmp_path / "2.safetensors").read_bytes()


def test_the_header_follows_the_digests_that_were_begun(paths: dict[str, Path], tmp_path: Path) -> None:
    with Digests() as digests:
        merge_files("uniform", paths, tmp_path / "1.safetensors", digests=digests)
    told = read_provenance(tmp_path / "1.safetensors")
    assert told is not None
    assert told.hash_name == "sha256"
    assert told.sources == {source: sha256_file(path) for source, path in paths.items()}
    # As before there was another hash.
    assert "hamdg.hash" not in read_metadata(tmp_path / "1.safetensors")


@pytest.mark.usefixtures("registering")
def test_statistics_come_from_files_and_are_told(paths: dict[str, Path], tmp_path: Path) -> None:
    statistics = {source: tmp_path / f"fisher-{source}.safetensors" for source in SOURCES}
    for seed, path in enumerate(statistics.values(), 1):
        save_tensors(path, {name: torch.full_like(BASE[name], float(seed)) for name in ("fc.weight", "logit_scale")})
    out = merge_files("by_evidence", paths, tmp_path / "o.safetensors", statistics=statistics)
    # The weights are 1, 2 and 3 of 6.
    expected = sum(seed * MODELS[source]["fc.weight"] / 6 for seed, source in enumerate(SOURCES, 1))
    torch.testing.assert_close(open_tensors(out)["fc.weight"], expected)
    told = read_provenance(out)
    assert told is not None
    assert told.statistics == {source: _blake3(path) for source, path in statistics.items()}
    with pytest.raises(ConfigError, match=r"needs gradients: give `evidence`"):
        merge_files("by_evidence", paths, out)
    with pytest.raises(
        ConfigError, match=r"^Expected `statistics` to hold one file for each source, but `art` has none\.$"
    ):
        merge_files(
            "by_evidence", paths, out, statistics={"photo": statistics["photo"], "sketch": statistics["sketch"]}
        )


@pytest.fixture
def registering(monkeypatch: pytest.MonkeyPatch) -> None:
    """A method that needs evidence, for one test."""
    monkeypatch.setattr(registry, "_METHODS", dict(registry._METHODS))

    @register_whole("by_evidence", on="models", needs=("gradients",))
    def by_evidence(family: Family) -> Rule:
        """Weight the models by what evidence says of their matrix."""
        importance = {source: family.evidence.fisher(source)["fc.weight"].mean() for source in family.sources}  # type: ignore[attr-defined]
        total = sum(importance.values())

        def rule(site: Site) -> Tensor:
            return torch.stack([tensor * (importance[s] / total) for s, tensor in site.tensors.items()]).sum(0)

        return rule


# What is wrong with the input is told, and changes nothing.


@pytest.fixture
def untouched(paths: dict[str, Path], tmp_path: Path) -> dict[Path, bytes]:
    """What lies in the folder, an earlier output among it."""
    (tmp_path / "out.safetensors").write_bytes(b"an earlier output")
    return content(tmp_path)


def content(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_input_as_output(paths: dict[str, Path], tmp_path: Path, untouched: dict[Path, bytes]) -> None:
    (tmp_path / "link.safetensors").symlink_to(paths["photo"])
    os.link(tmp_path / "base.safetensors", tmp_path / "hard.safetensors")
    for name in ("photo", "link", "hard", "base"):
        out = tmp_path / f"{name}.safetensors"
        message = f"The output `{out}` is one of the inputs; choose another name."
        with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
            merge_files("ties", paths, out, tmp_path / "base.safetensors")
    assert content(tmp_path).items() >= untouched.items()


def test_a_shard_or_a_statistics_file_as_output(paths: dict[str, Path], tmp_path: Path) -> None:
    index = tmp_path / "s.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": dict.fromkeys(BASE, "sketch.safetensors")}))
    sharded = paths | {"sketch": index}
    for given, statistics in (
        (sharded, None),
        ({s: p for s, p in paths.items() if s != "sketch"}, dict.fromkeys(("art", "photo"), paths["sketch"])),
    ):
        with pytest.raises(ConfigError, match=r"^The output `.*sketch.safetensors` is one of the inputs"):
            merge_files("uniform", given, paths["sketch"], statistics=statistics)


def test_outputs_that_cannot_be(paths: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^Expected the output to end in `.safetensors`, but got `.*merged.pt`\.$"):
        merge_files("uniform", paths, tmp_path / "merged.pt")
    (tmp_path / "folder.safetensors").mkdir()
    (tmp_path / "device.safetensors").symlink_to("/dev/full")
    for name in ("folder", "device"):
        out = tmp_path / f"{name}.safetensors"
        message = f"The output `{out}` is no ordinary file and cannot be replaced; choose another name."
        with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
            merge_files("uniform", paths, out)


def test_the_same_file_twice(paths: dict[str, Path], tmp_path: Path, untouched: dict[Path, bytes]) -> None:
    (tmp_path / "link.safetensors").symlink_to(paths["art"])
    for again in (paths["art"], tmp_path / "elsewhere" / ".." / "art.safetensors", tmp_path / "link.safetensors"):
        (tmp_path / "elsewhere").mkdir(exist_ok=True)
        message = (
            f"`art` and `more` are the same file, `{paths['art']}`; leave one of them out, or give it more weight."
        )
        with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
            merge_files("uniform", {"art": paths["art"], "more": again}, tmp_path / "out.safetensors")
    assert content(tmp_path).items() >= untouched.items()


@pytest.mark.parametrize("method", ["uniform", "ties"])
def test_the_same_content_twice(
    paths: dict[str, Path], tmp_path: Path, untouched: dict[Path, bytes], method: str
) -> None:
    shutil.copy(paths["art"], tmp_path / "copy")
    (tmp_path / "copy").rename(tmp_path / "copy.safetensors")
    message = (
        f"`art` and `more` are files of the same content (BLAKE3 {_blake3(paths['art'])}); leave one of them out, "
        "or give it more weight."
    )
    given = paths | {"more": tmp_path / "copy.safetensors"}
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        merge_files(method, given, tmp_path / "out.safetensors", tmp_path / "base.safetensors")
    (tmp_path / "copy.safetensors").unlink()
    assert content(tmp_path) == untouched


def test_equal_files_are_told_before_the_merge_ends(paths: dict[str, Path], tmp_path: Path) -> None:
    shutil.copy(paths["art"], tmp_path / "copy.safetensors")
    given = {"art": paths["art"], "more": tmp_path / "copy.safetensors"}
    written: list[str] = []

    with Digests() as digests, pytest.MonkeyPatch.context() as patch:
        for path in given.values():
            digests.of((path,))
        patch.setattr(TensorWriter, "write", lambda self, name, tensor: written.append(name))
        with pytest.raises(ConfigError, match="are files of the same content"):
            merge_files("uniform", given, tmp_path / "o.safetensors", settings=Settings(threads=1), digests=digests)
    assert written == []


def test_the_base_as_a_source(paths: dict[str, Path], tmp_path: Path) -> None:
    base = tmp_path / "base.safetensors"
    shutil.copy(base, tmp_path / "copy.safetensors")
    end = ": there is no change from the base to itself; leave `zero` out."
    same = f"The base and `zero` are the same file, `{base}`{end}"
    equal = f"The base and `zero` are files of the same content (BLAKE3 {_blake3(base)}){end}"
    for path, message in ((base, same), (tmp_path / "copy.safetensors", equal)):
        with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
            merge_files("ties", paths | {"zero": path}, tmp_path / "o.safetensors", base)
    # Averages may take it for one of the models.
    given = paths | {"zero": base}
    merge_files("uniform", given, tmp_path / "o.safetensors", base)
    assert_equal(open_tensors(tmp_path / "o.safetensors"), merge_with("uniform", MODELS | {"zero": BASE}, BASE))


def test_models_that_do_not_fit(paths: dict[str, Path], tmp_path: Path, untouched: dict[Path, bytes]) -> None:
    other = tmp_path / "other.safetensors"
    cases: list[tuple[dict[str, Tensor], str]] = [
        ({name: t for name, t in MODELS["art"].items() if name != "one"}, "`other` lacks `one`"),
        (
            MODELS["art"] | {"one": torch.ones(2)},
            r"in `other` `one` is floating-point \(2,\), not floating-point \(1,\)",
        ),
        (MODELS["art"] | {"one": torch.ones(1).half()}, "in `other` `one` is float16, not float32"),
        (MODELS["art"] | {"one": torch.tensor([float("nan")])}, r"no numbers\. `other`: `one` \(NaN\)"),
        (MODELS["art"] | {"one": torch.tensor([float("inf")])}, r"no numbers\. `other`: `one` \(infinite values\)"),
    ]
    for state, message in cases:
        save_tensors(other, state)
        for method in ("uniform", "ties"):
            with pytest.raises(WeightsError, match=message):
                merge_files(
                    method, paths | {"other": other}, tmp_path / "out.safetensors", tmp_path / "base.safetensors"
                )
    other.unlink()
    assert content(tmp_path) == untouched


def test_files_that_cannot_be_read(paths: dict[str, Path], tmp_path: Path, untouched: dict[Path, bytes]) -> None:
    truncated = tmp_path / "truncated.safetensors"
    truncated.write_bytes(paths["art"].read_bytes()[:-10])
    cases = {
        truncated: r"truncated.safetensors` \(\d+ bytes\) is damaged or truncated",
        tmp_path / "none.pt": "none.pt` does not exist; give the path of a weights file",
        tmp_path: "is a folder with several weights files: `art.safetensors`, `base.safetensors`",
    }
    for path, message in cases.items():
        with pytest.raises(WeightsError, match=message):
            merge_files("uniform", paths | {"photo": path}, tmp_path / "out.safetensors")
        with pytest.raises(WeightsError, match=message):
            merge_files("ties", paths, tmp_path / "out.safetensors", path)
    truncated.unlink()
    assert content(tmp_path) == untouched


def test_no_source(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="to hold at least one model, but got none"):
        merge_files("uniform", {}, tmp_path / "out.safetensors")


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("call", ["posix_fallocate", "pwrite"])
def test_a_full_disk(
    paths: dict[str, Path],
    tmp_path: Path,
    untouched: dict[Path, bytes],
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    threads: int,
) -> None:
    real, calls = getattr(os, call), 0

    def full(*arguments: object) -> object:
        nonlocal calls
        calls += 1
        if call == "posix_fallocate" or calls > 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(*arguments)

    monkeypatch.setattr(os, call, full)
    with pytest.raises(
        StorageError, match=r"^Cannot write `.*out.safetensors`: the disk is full \(.* MiB free\); nothing"
    ):
        merge_files("uniform", paths, tmp_path / "out.safetensors", settings=Settings(threads=threads))
    assert content(tmp_path) == untouched


@pytest.mark.parametrize("threads", [1, 2])
def test_an_interrupt_in_the_middle(
    paths: dict[str, Path],
    tmp_path: Path,
    untouched: dict[Path, bytes],
    monkeypatch: pytest.MonkeyPatch,
    threads: int,
) -> None:
    write, calls = TensorWriter.write, count(1)

    def interrupted(self: TensorWriter, name: str, tensor: Tensor) -> None:
        own = next(calls)  # two threads write
        write(self, name, tensor)
        if own == 3:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(TensorWriter, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        merge_files("uniform", paths, tmp_path / "out.safetensors", settings=Settings(threads=threads))
    assert content(tmp_path) == untouched


def test_an_error_of_the_method(paths: dict[str, Path], tmp_path: Path, untouched: dict[Path, bytes]) -> None:
    big = {source: {"w": torch.full((4,), 6e4, dtype=torch.float16) + 32 * i} for i, source in enumerate(SOURCES)}
    (tmp_path / "half").mkdir()
    for source, state in big.items():
        save_tensors(tmp_path / "half" / f"{source}.safetensors", state)
    save_tensors(tmp_path / "half" / "base.safetensors", {"w": torch.full((4,), 100, dtype=torch.float16)})
    given = {source: tmp_path / "half" / f"{source}.safetensors" for source in SOURCES}
    base = tmp_path / "half" / "base.safetensors"
    with pytest.raises(WeightsError, match="holds values that float16 cannot hold; name a wider"):
        merge_files("task_arithmetic", given, tmp_path / "out.safetensors", base, options={"scale": 9.0})
    shutil.rmtree(tmp_path / "half")
    assert content(tmp_path) == untouched


def anonymous() -> int:
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon")]
    return int(line.split()[1]) * 1024


def _blake3(path: Path) -> str:
    return blake3(path.read_bytes()).hexdigest()
