"""Merging on a GPU: what the CPU gives, the same masks, nothing left behind.

The first tests need no GPU: a pretended device, whose tensors lie on the CPU but refuse to meet tensors that do, finds
what a rule forgot to move. The others are marked `gpu`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from hamdg.merge import MergeSettings, list_methods, merge_with
from hamdg.merge.compare import compare
from hamdg.merge.files import load_tensors, merge_files, read_provenance, save_tensors
from tests.merge.tools import seeded

Model = dict[str, Tensor]

gpu = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")]
on_gpu = pytest.mark.parametrize("device", [pytest.param("cuda", marks=gpu)])

# Every branch of every method in which tensors are made or sent somewhere; methods without an entry run as they are.
CASES: dict[str, list[dict[str, object]]] = {
    "adamerging": [{"steps": 2, "rate": 0.1}, {"steps": 1, "scope": "task"}],
    "breadcrumbs": [{}, {"scope": "global"}, {"scope": "row"}],
    "breadcrumbs_ties": [{}, {"combine": "mean", "scope": "row"}],
    "consensus": [{}, {"total": "ties"}],
    "dare": [{"drop_rate": 0.5}, {"rescale": "l1"}, {"then": "ties", "ties_density": 0.3, "ties_scope": "row"}],
    "della": [{}, {"rescale": "l1"}, {"rescale": "none", "then": "task_arithmetic"}, {"window": 0.0}],
    "fisher": [{}, {"normalize": False}],
    "geometric_median": [{}, {"scope": "tensor"}],
    "iso_c": [{}, {"kernels": "reshape", "packed": "split"}],
    "iso_cts": [{}, {"kernels": "reshape", "packed": "split"}],
    "karcher": [{}, {"scope": "global", "space": "changes"}],
    "model_stock": [{}, {"scope": "global"}],
    "nuslerp": [{}, {"scope": "row"}, {"scope": "column"}, {"scope": "global", "space": "changes"}],
    "pcb": [{}, {"inter": "normalized", "scope": "tensor"}, {"inter": "pairs", "tail": 0.0}],
    "rebasin": [{"spec": "spec.json"}, {"spec": "spec.json", "reference": "others"}],
    "regmean": [{}, {"alpha": 1.0}],
    "rhm": [
        {},
        {"scope": "global", "norm": "match_mean"},
        {"criterion": "relative", "combine": "disjoint"},
        {"criterion": "agreement"},
    ],
    "score": [{}, {"off_diagonal": "drop", "packed": "split"}, {"off_diagonal": "keep", "kernels": "reshape"}],
    "shrunk": [{"scale": 0.5}, {"norm": 0.5}],
    "search": [{"budget": 8}, {"by": "in_domain", "budget": 3}],
    "slerp": [{}, {"scope": "global", "space": "changes"}],
    "swad": [{"n_s": 2}],
    "ties": [{}, {"scope": "tensor", "tie_rule": "threshold"}, {"scope": "row", "sign": "count", "combine": "sum"}],
    "tsv": [{}, {"kernels": "reshape", "packed": "split"}],
}
EVERY = [(method, options) for method in list_methods() for options in CASES.get(method, [{}])]
cases = pytest.mark.parametrize(
    ("method", "options"), EVERY, ids=["-".join([method, *map(str, options.values())]) for method, options in EVERY]
)
TWO = ("slerp",)
# Decompositions on a GPU are not promised to repeat themselves bit by bit.
DECOMPOSED = ("iso_c", "iso_cts", "regmean", "score", "tsv")

SHAPES = {
    "conv.weight": (4, 3, 2, 2),
    "attn.in_proj_weight": (12, 4),
    "fc.weight": (6, 5),
    "logit_scale": (),
    "one": (1,),
    "empty": (0, 3),
    "frozen.weight": (3, 3),
    "embed.weight": (7, 4),
    "large": (140_001,),  # more than a piece
    "bn.weight": (3,),
}


def model(seed: int, base: Model | None = None) -> Model:
    """Return a base, or a source not far from one, with tensors of all kinds and shapes."""
    generator = seeded(seed)
    found = {}
    for name, shape in SHAPES.items():
        noise = torch.randn(shape, generator=generator)
        found[name] = noise if base is None else base[name] + 0.1 * noise * (name != "frozen.weight")
    found["head.weight"] = found["embed.weight"]
    found["bn.running_mean"] = torch.randn(3, generator=generator)
    found["bn.running_var"] = torch.rand(3, generator=generator)
    found["bn.num_batches_tracked"] = torch.tensor(seed + 1)
    found["position_ids"] = torch.arange(5)
    return found


BASE = model(0)
SOURCES = {source: model(1 + i, BASE) for i, source in enumerate("abc")}


class Evidence:
    """What toy data say, on a device."""

    def __init__(self, device: str = "cpu") -> None:
        self.device = device

    def score(self, weights: Mapping[str, Tensor]) -> float:
        return -abs(float(weights["fc.weight"].sum()))

    def outcomes(self, weights: Mapping[str, Tensor], source: str) -> list[float]:
        return [self.score(weights) + ord(source)]

    def loss(self, source: str) -> float:
        return {"a": 3.0, "b": 1.0, "c": 1.1}[source]

    def fisher(self, source: str) -> Model:
        return {"fc.weight": torch.rand(6, 5, generator=seeded(ord(source))).to(self.device)}

    def gram(self, source: str) -> Model:
        inputs = torch.randn(20, 5, generator=seeded(ord(source)))
        return {"fc.weight": (inputs.T @ inputs).to(self.device)}

    def entropy(self, weights: Mapping[str, Tensor]) -> tuple[float, Model]:
        return 1.0, {"fc.weight": torch.randn(6, 5, generator=seeded(9)).to(self.device)}


@pytest.fixture(scope="module", autouse=True)
def _spec(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Say for Git Re-Basin what can be reordered in these toys."""
    path = tmp_path_factory.mktemp("gpu") / "spec.json"
    path.write_text(json.dumps({"channels": {"units": 6, "axes": [["fc.weight", 0]]}}))
    with pytest.MonkeyPatch.context() as patch:
        for options in CASES["rebasin"]:
            patch.setitem(options, "spec", str(path))
        yield


def run(method: str, options: dict[str, object], device: str, lies: str | None = None, **settings: Any) -> Model:
    """Merge the toys on a device; given where they and their evidence lie, they have no tied tensors."""
    chosen = {source: SOURCES[source] for source in ("ab" if method in TWO else "abc")}
    models, base = {source: moved(m, lies) for source, m in chosen.items()}, moved(BASE, lies)
    settings = {"evidence": Evidence(lies or "cpu"), "device": device, **settings}
    if list_methods()[method].weights != "none":
        settings = {"weights": {source: 1.0 + i for i, source in enumerate(chosen)}, **settings}
    return merge_with(method, models, base, options, MergeSettings(**settings))


def moved(tensors: Model, device: str | None) -> Model:
    if device is None:
        return tensors
    # Copies of a tied tensor are not tied.
    return {name: tensor.to(device) for name, tensor in tensors.items() if name != "head.weight"}


def assert_same_bytes(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> None:
    assert list(first) == list(second)
    for name, tensor in first.items():
        assert tensor.device.type == "cpu", name
        assert torch.equal(tensor, second[name]), name


# The pretended device. Its name is one that torch knows on every machine, and uses for nothing else here.

FAR = "lazy"


class Far(Tensor):
    """A tensor that says it lies on the pretended device."""

    near: Tensor

    @staticmethod
    def __new__(cls, near: Tensor) -> Far:
        far = Tensor._make_wrapper_subclass(
            cls,
            near.shape,
            near.stride(),
            near.storage_offset(),
            dtype=near.dtype,
            device=torch.device(FAR),
        )
        far.near = near
        return far

    def data_ptr(self) -> int:
        """Return where the values are, by which tied tensors are known."""
        return self.near.data_ptr()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        raise RuntimeError(f"{func} was called outside of the pretence")


class Accelerator(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Computes for the pretended device, and refuses tensors of two devices in one call as a GPU would."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = dict(kwargs or {})
        named = given.get("device")
        far = [tensor for tensor in _tensors(args) if isinstance(tensor, Far)]
        if not far and named != torch.device(FAR):
            return func(*args, **given)
        copies = func in (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)
        if far and not copies and any(not isinstance(tensor, Far) and tensor.dim() for tensor in _tensors(args)):
            raise RuntimeError(f"{func} met tensors on two devices")
        goes_far = named == torch.device(FAR) if named is not None else not copies or isinstance(args[0], Far)
        if named is not None:
            given["device"] = torch.device("cpu")
        result = func(*tree_map(_near, args), **tree_map(_near, given))
        # What was changed in place is the tensor that it was.
        known = {id(tensor.near): tensor for tensor in far}
        return tree_map(lambda leaf: known.get(id(leaf), _far(leaf)), result) if goes_far else result


def pretence() -> AbstractContextManager[object]:
    """Let there be such a device."""
    return Accelerator()  # type: ignore[no-untyped-call]


def _tensors(values: Any) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)


def _near(leaf: object) -> object:
    return leaf.near if isinstance(leaf, Far) else leaf


def _far(leaf: object) -> object:
    return Far(leaf) if isinstance(leaf, Tensor) else leaf


def test_a_pretended_device_tells_tensors_apart() -> None:
    near = torch.arange(4.0)
    with torch.no_grad(), pretence():
        far = near.to(FAR)
        assert (far.device.type, float(far.sum())) == (FAR, 6.0)
        assert (far + torch.tensor(1.0)).add_(far).cpu().tolist() == [1.0, 3.0, 5.0, 7.0]
        assert torch.zeros(2, device=FAR).device.type == FAR
        for operation in (torch.add, torch.Tensor.mul_, torch.equal):
            with pytest.raises(RuntimeError, match="met tensors on two devices"):
                operation(near, far)
        with pytest.raises(RuntimeError, match="numpy"):
            far.numpy()


@cases
def test_no_method_mixes_devices(method: str, options: dict[str, object]) -> None:
    with pretence():
        merged = run(method, options, FAR)
    assert_same_bytes(merged, run(method, options, "cpu", threads=1))


@pytest.mark.parametrize("method", list_methods())
def test_models_and_evidence_may_lie_on_the_device_and_the_result_does_not(method: str) -> None:
    options = CASES.get(method, [{}])[0]
    with pretence():
        merged = run(method, options, "cpu", lies=FAR, threads=1)
    assert_same_bytes(merged, run(method, options, "cpu", lies="cpu"))


def test_one_source_may_lie_on_another_device_than_the_rest() -> None:
    with pretence():
        models = {source: moved(SOURCES[source], FAR if source == "b" else "cpu") for source in SOURCES}
        merged = merge_with("ties", models, moved(BASE, "cpu"), settings=MergeSettings(threads=1))
    assert_same_bytes(merged, run("ties", {}, "cpu", lies="cpu", weights=None))


# On a real one.


def assert_near(found: Model, expected: Model) -> None:
    assert list(found) == list(expected)
    for name, tensor in found.items():
        assert (tensor.device.type, tensor.dtype) == ("cpu", expected[name].dtype), name
        torch.testing.assert_close(tensor, expected[name], rtol=1e-4, atol=1e-5, msg=name)


@on_gpu
@cases
def test_every_method_gives_what_the_cpu_gives(method: str, options: dict[str, object], device: str) -> None:
    # Where an entry is kept or dropped by a sum over the tensor, the last bit of that sum may decide.
    precision = "fp64" if options.get("criterion") == "relative" else "fp32"
    on_cpu = run(method, options, "cpu", precision=precision)
    assert_near(run(method, options, device, precision=precision), on_cpu)


@on_gpu
@cases
def test_a_repeated_merge_gives_the_same_bytes(method: str, options: dict[str, object], device: str) -> None:
    first, second = run(method, options, device), run(method, options, device)
    if method in DECOMPOSED:
        assert_near(first, second)
    else:
        assert_same_bytes(first, second)


@on_gpu
@pytest.mark.parametrize(
    ("method", "options"), [case for case in EVERY if case[0] in ("dare", "della")], ids=lambda value: str(value)
)
def test_random_masks_are_those_of_the_cpu(method: str, options: dict[str, object], device: str) -> None:
    change = {"w": torch.randn(300, 700, generator=seeded(3))}
    base = {"w": torch.zeros(300, 700)}
    there, here = (
        merge_with(method, {"a": change}, base, {**options, "seed": 5}, MergeSettings(device=where))["w"]
        for where in (device, "cpu")
    )
    assert 0 < int((here == 0).sum()) < here.numel()
    assert torch.equal(there == 0, here == 0)
    torch.testing.assert_close(there, here)


@on_gpu
@pytest.mark.parametrize("method", list_methods())
@pytest.mark.parametrize("computed", ["cpu", "cuda"])
def test_models_may_lie_on_the_gpu(method: str, computed: str, device: str) -> None:
    options = CASES.get(method, [{}])[0]
    expected = run(method, options, "cpu", lies="cpu")
    assert_near(run(method, options, computed, lies=device), expected)


@on_gpu
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_dtypes_are_merged_on_the_gpu(dtype: torch.dtype, device: str) -> None:
    models = {s: {"w": torch.randn(40, 50, generator=seeded(ord(s))).to(dtype)} for s in "abc"}
    base = {"w": torch.zeros(40, 50, dtype=dtype)}
    for method in ("uniform", "task_arithmetic", "ties", "dare", "della", "breadcrumbs", "model_stock"):
        there, here = (
            merge_with(method, models, base, {}, MergeSettings(device=where))["w"] for where in (device, "cpu")
        )
        assert there.dtype == dtype
        torch.testing.assert_close(there, here)


@on_gpu
@pytest.mark.parametrize("method", ["uniform", "ties", "dare"])
def test_files_are_merged_on_the_gpu(method: str, tmp_path: Path, device: str) -> None:
    paths = {source: tmp_path / f"{source}.safetensors" for source in [*SOURCES, "base"]}
    for source, path in paths.items():
        save_tensors(path, moved(BASE if source == "base" else SOURCES[source], "cpu"))
    base = paths.pop("base")
    there, here = (
        merge_files(method, paths, tmp_path / f"on-{where}.safetensors", base, settings=MergeSettings(device=where))
        for where in (device, "cpu")
    )
    assert_near(load_tensors(there), load_tensors(here))
    recorded = read_provenance(there)
    assert recorded is not None
    assert recorded.settings["device"] == "cuda"


@on_gpu
def test_comparisons_on_the_gpu_are_those_of_the_cpu(device: str) -> None:
    there, here = (compare(SOURCES, BASE, device=where) for where in (device, "cpu"))
    assert there.cosines.keys() == here.cosines.keys()
    for pair, values in here.cosines.items():
        assert there.cosines[pair] == pytest.approx(values, abs=1e-6)


@on_gpu
def test_memory_is_given_back(device: str) -> None:
    def all_methods() -> int:
        for method, options in EVERY:
            run(method, options, device)
        torch.cuda.synchronize()
        return torch.cuda.memory_allocated()

    # Libraries keep workspaces of their own after their first call.
    first = all_methods()
    assert all_methods() == first


@on_gpu
@pytest.mark.parametrize("method", ["uniform", "task_arithmetic", "ties", "dare", "della", "breadcrumbs"])
def test_memory_on_the_gpu_does_not_grow_with_the_sources(method: str, device: str) -> None:
    shape = (1 << 13, 1 << 10)
    base = {"w": torch.zeros(shape)}

    def peak(sources: int) -> int:
        models = {f"s{i:02}": {"w": torch.rand(shape, generator=seeded(i))} for i in range(sources)}
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        merge_with(method, models, base, {}, MergeSettings(device=device))
        return torch.cuda.max_memory_allocated() - before

    few, many = peak(2), peak(10)
    assert many - few < 4 * base["w"].numel(), "less than one of the eight models that came on top"
