from __future__ import annotations

import hashlib
import inspect
import os
import subprocess
import sys

import pytest
import torch

from hamdg.merge import MergeSettings, TensorSet, merge_with
from hamdg.merge.functional.masks import BLOCK, uniforms


def tensor_set(shape: tuple[int, ...], name: str = "w") -> TensorSet:
    return TensorSet(name, {"a": torch.zeros(shape)})


def test_the_numbers_of_a_seed_never_change() -> None:
    # Pinned: another generator, key or block would give other masks to everybody's seeds.
    numbers = uniforms(tensor_set((3,)), "a", 0) * 2**24
    assert numbers.tolist() == [1097961.0, 11631738.0, 8188856.0]
    far = TensorSet("layer.1.weight", {"a": torch.zeros(2)}, start=BLOCK - 1)
    assert (uniforms(far, "photo", 7) * 2**24).tolist() == [11860170.0, 14128718.0]


@pytest.mark.parametrize(
    ("size", "cut"),
    [
        (1, 1),
        (1000, 1),
        (1000, 999),
        (BLOCK, 999),
        (2 * BLOCK + 77, BLOCK - 1),
        (3 * BLOCK, BLOCK),
        (300_000, BLOCK + 1),
    ],
)
def test_pieces_have_the_numbers_of_the_whole(size: int, cut: int) -> None:
    whole = tensor_set((size,))
    pieces = [uniforms(piece, "a", 3) for piece in whole.pieces(cut)]
    assert torch.equal(torch.cat(pieces), uniforms(whole, "a", 3))


def test_seeds_sources_names_and_blocks_have_numbers_of_their_own() -> None:
    streams = [
        uniforms(tensor_set((BLOCK,)), "a", 0),
        uniforms(tensor_set((BLOCK,)), "a", 1),
        uniforms(tensor_set((BLOCK,)), "b", 0),
        uniforms(tensor_set((BLOCK,), "v"), "a", 0),
        uniforms(tensor_set((2 * BLOCK,)), "a", 0)[BLOCK:],
        # Parts of a key are not run together.
        uniforms(tensor_set((BLOCK,), 'w", "x'), "a", 0),
        uniforms(tensor_set((BLOCK,), "x"), 'a", "w', 0),
    ]
    table = torch.stack(streams).double() - 0.5
    correlation = table @ table.T / BLOCK * 12
    torch.testing.assert_close(correlation, torch.eye(len(streams), dtype=torch.float64), atol=0.02, rtol=0)


def test_they_are_uniform_and_below_one() -> None:
    numbers = uniforms(tensor_set((1 << 20,)), "a", 0)
    assert numbers.dtype == torch.float32
    assert 0 <= float(numbers.min()) < 1e-5
    assert 1 - 1e-5 < float(numbers.max()) < 1
    shares = torch.histc(numbers, 16, 0, 1) / len(numbers)
    torch.testing.assert_close(shares, torch.full((16,), 1 / 16), atol=1e-3, rtol=0)


@pytest.mark.parametrize("shape", [(), (1,), (0,), (2, 3, 4)])
def test_shapes(shape: tuple[int, ...]) -> None:
    assert uniforms(tensor_set(shape), "a", 0).shape == shape


def test_torch_s_own_random_state_is_left_alone() -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first = uniforms(tensor_set((10,)), "a", 0)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(6)
    assert torch.equal(uniforms(tensor_set((10,)), "a", 0), first)


def digest_of_random_merges(threads: int, sources: list[str]) -> str:
    fill = {s: torch.randn(300, 700, generator=torch.Generator().manual_seed(len(s))) for s in sources}
    models = {source: {"w": fill[source], "v": fill[source][0]} for source in sources}
    base = {"w": torch.zeros(300, 700), "v": torch.zeros(700)}
    merges: list[tuple[str, dict[str, object]]] = [
        ("dare", {}),
        ("dare", {"then": "ties", "ties_density": 0.3}),
        ("dare", {"rescale": "l1"}),
        ("della", {}),
        ("della", {"rescale": "l1"}),
    ]
    digest = hashlib.sha256()
    for method, options in merges:
        merged = merge_with(method, models, base, {**options, "seed": 11}, MergeSettings(threads=threads))
        for name in sorted(merged):
            digest.update(merged[name].numpy().tobytes())
    return digest.hexdigest()


def test_the_same_bytes_in_any_process_with_any_number_of_threads_and_order_of_sources() -> None:
    program = (
        "import hashlib, torch\nfrom hamdg.merge import MergeSettings, merge_with\n"
        + inspect.getsource(digest_of_random_merges)
        + "torch.manual_seed(1)\nprint(digest_of_random_merges(3, ['sketch', 'art', 'photos']))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "4321"}
    command = [sys.executable, "-c", program]
    there = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.strip()
    assert digest_of_random_merges(1, ["art", "photos", "sketch"]) == there


@pytest.mark.gpu
def test_a_gpu_has_the_same_numbers() -> None:
    on_gpu = TensorSet("w", {"a": torch.zeros(1000, device="cuda")})
    assert torch.equal(uniforms(on_gpu, "a", 4).cpu(), uniforms(tensor_set((1000,)), "a", 4))


@pytest.mark.gpu
@pytest.mark.parametrize("method", ["dare", "della"])
def test_a_gpu_drops_the_same_entries(method: str) -> None:
    models = {s: {"w": torch.randn(401, 701, generator=torch.Generator().manual_seed(i))} for i, s in enumerate("abc")}
    base = {"w": torch.zeros(401, 701)}
    options: dict[str, object] = {"then": "ties"}
    here, there = (
        merge_with(method, models, base, options, MergeSettings(device=device))["w"] for device in ("cpu", "cuda")
    )
    assert torch.equal(here != 0, there != 0)
    torch.testing.assert_close(here, there)
