from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor

from hamdg.errors import ConfigError
from hamdg.merge import MergeSettings, merge, merge_with
from hamdg.merge.functional.spectral import decompose, leading, orthogonal, total
from tests.merge.tools import random_tensor

METHODS = ("tsv", "iso_c", "iso_cts", "score")
Models = dict[str, dict[str, Tensor]]


def model_set(*shape: int, sources: int = 3, dtype: torch.dtype = torch.float64, name: str = "w") -> Models:
    """Random changes from a base of zeros."""
    return {f"s{i}": {name: random_tensor(*shape, seed=i, dtype=dtype)} for i in range(sources)}


def merged(
    method: str, models: Models, options: dict[str, object] | None = None, settings: MergeSettings | None = None
) -> Tensor:
    """Return the one tensor of a merge onto a base of zeros."""
    (name,) = models["s0"]
    base = {name: torch.zeros_like(models["s0"][name])}
    # At the default, so small matrices have common directions only.
    chosen = {**({"common": 0.4} if method == "iso_cts" else {}), **(options or {})}
    return merge_with(method, models, base, chosen, settings or MergeSettings())[name]


def orthonormal(rows: int, columns: int, seed: int) -> Tensor:
    basis: Tensor = torch.linalg.qr(random_tensor(rows, columns, seed=seed)).Q
    return basis


@pytest.mark.parametrize("shape", [(1, 1), (6, 6), (9, 4), (4, 9), (1, 5), (5, 1)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_factors_rebuild_the_matrix_and_are_orthonormal(shape: tuple[int, int], dtype: torch.dtype) -> None:
    matrix = random_tensor(*shape, dtype=dtype)
    factors = decompose(matrix)
    tolerance = 2e-6 if dtype == torch.float32 else 1e-13
    close = partial(torch.testing.assert_close, rtol=tolerance, atol=tolerance)
    close((factors.left * factors.values) @ factors.right.mT, matrix)
    unit = torch.eye(min(shape), dtype=dtype)
    close(factors.left.mT @ factors.left, unit)
    close(factors.right.mT @ factors.right, unit)
    close(factors.values, torch.linalg.svdvals(matrix))


@pytest.mark.parametrize("shape", [(300, 200), (200, 300), (250, 250)])
def test_single_precision_is_as_good_as_a_direct_decomposition(shape: tuple[int, int]) -> None:
    # Singular values over four decades, as in changes of weights.
    left, right = orthonormal(shape[0], min(shape), 1), orthonormal(shape[1], min(shape), 2)
    exact = (left * torch.logspace(0, -4, min(shape), dtype=torch.float64)) @ right.mT
    single = exact.float()
    truth = torch.linalg.svd(single.double(), full_matrices=False)
    polar = truth.U @ truth.Vh
    direct = torch.linalg.svd(single, full_matrices=False)
    ours = decompose(single)

    def error(matrix: Tensor, expected: Tensor) -> float:
        return float(torch.linalg.matrix_norm(matrix.double() - expected))

    assert error(ours.left @ ours.right.mT, polar) <= error(direct.U @ direct.Vh, polar)
    assert (ours.values.double() - truth.S).abs().max() <= (direct.S.double() - truth.S).abs().max()
    assert (ours.values.diff() <= 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_that_are_noise_give_no_direction(dtype: torch.dtype) -> None:
    outer = torch.outer(random_tensor(40, seed=1), random_tensor(30, seed=2)).to(dtype)
    assert decompose(outer).rank == 1
    assert decompose(outer.mT).rank == 1
    assert decompose(torch.zeros(4, 3, dtype=dtype)).rank == 0
    # 1e-5 in single and 1e-11 in double precision are still seen.
    small = 1e-5 if dtype == torch.float32 else 1e-11
    assert decompose(torch.diag(torch.tensor([1.0, small], dtype=dtype))).rank == 2
    assert decompose(torch.diag(torch.tensor([1.0, small / 100], dtype=dtype))).rank == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_only_the_largest_triplets_can_be_asked_for(dtype: torch.dtype) -> None:
    for matrix in (random_tensor(7, 5, dtype=dtype), random_tensor(5, 7, dtype=dtype)):
        whole, part = decompose(matrix), decompose(matrix, 2)
        assert part.rank == 2
        torch.testing.assert_close(part.left, whole.left[:, :2])
        torch.testing.assert_close(part.right, whole.right[:, :2])
        torch.testing.assert_close(part.values, whole.values[:2])
        assert decompose(matrix, 9).rank == 5


def test_what_is_zero_is_judged_by_what_was_subtracted() -> None:
    left_over = torch.diag(torch.tensor([1e-14, 1e-15], dtype=torch.float64))
    assert decompose(left_over).rank == 2
    assert decompose(left_over, against=1.0).rank == 0
    assert decompose(left_over + torch.diag(torch.tensor([1.0, 0.0])), against=1e-3).rank == 1
    assert decompose(left_over, against=3e-3).rank == 1


def test_signs_make_the_largest_entry_on_the_right_positive() -> None:
    for matrix in (random_tensor(7, 5), random_tensor(5, 7), random_tensor(5, 7).float()):
        for signed in (matrix, -matrix):
            right = decompose(signed).right
            assert (right.gather(0, right.abs().argmax(0, keepdim=True)) > 0).all()


def test_the_polar_factor_is_the_nearest_matrix_with_orthonormal_columns() -> None:
    columns = random_tensor(8, 3)
    nearest = orthogonal(columns)
    torch.testing.assert_close(nearest.mT @ nearest, torch.eye(3, dtype=torch.float64))
    distance = torch.linalg.matrix_norm(columns - nearest)
    for seed in range(200):
        step = torch.linalg.matrix_exp(0.05 * (a := random_tensor(8, 8, seed=seed)) - 0.05 * a.mT)
        assert torch.linalg.matrix_norm(columns - step @ nearest) >= distance
        assert torch.linalg.matrix_norm(columns - orthonormal(8, 3, seed)) >= distance


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_polar_factor_adds_no_direction_to_columns_that_depend_on_each_other(dtype: torch.dtype) -> None:
    column = orthonormal(6, 1, 0).to(dtype)
    torch.testing.assert_close(orthogonal(torch.cat([column, column], dim=1)), column.repeat(1, 2) / 2**0.5)


def test_every_source_has_the_same_number_of_leading_triplets() -> None:
    changes = {source: models["w"] for source, models in model_set(10, 7, sources=3).items()}
    factors = leading(changes)
    assert factors.left.shape == (10, 6)
    expected = torch.cat([torch.linalg.svdvals(change)[:2] for change in changes.values()])
    torch.testing.assert_close(factors.values, expected)


def test_a_sum_leaves_its_terms_alone() -> None:
    changes = {"a": torch.ones(2), "b": torch.ones(2)}
    assert total(changes).tolist() == [2.0, 2.0]
    assert changes["a"].tolist() == [1.0, 1.0]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", [(), (1,), (5,), (0,), (0, 3), (3, 0), (2, 3, 4, 5), (1, 1, 1, 1)])
def test_what_is_no_matrix_is_averaged(method: str, shape: tuple[int, ...]) -> None:
    models = model_set(*shape)
    mean = torch.stack([tensors["w"] for tensors in models.values()]).mean(0)
    torch.testing.assert_close(merged(method, models), mean)
    torch.testing.assert_close(merged(method, models, {"scale": 0.5}), mean * 0.5)
    if len(shape) < 3:
        torch.testing.assert_close(merged(method, models, {"kernels": "reshape"}), mean)


@pytest.mark.parametrize("method", METHODS)
def test_names_that_are_skipped_are_averaged(method: str) -> None:
    for name, skip, skipped in (
        ("text_projection", None, True),
        ("model.text_projection", None, True),
        ("text_projection", "", False),
        ("visual.proj", None, False),
        ("visual.proj", "embedding, visual.proj", True),
        ("a.weight", "b.weight, ", False),
    ):
        models = model_set(6, 4, name=name)
        mean = torch.stack([tensors[name] for tensors in models.values()]).mean(0)
        options: dict[str, object] = {} if skip is None else {"skip": skip}
        assert torch.allclose(merged(method, models, options), mean) == skipped, name


@pytest.mark.parametrize("method", METHODS)
def test_kernels_can_be_taken_as_matrices(method: str) -> None:
    kernels = model_set(6, 2, 3, 3)
    flat = {source: {"w": tensors["w"].reshape(6, 18)} for source, tensors in kernels.items()}
    expected = merged(method, flat).view(6, 2, 3, 3)
    torch.testing.assert_close(merged(method, kernels, {"kernels": "reshape"}), expected)


@pytest.mark.parametrize("method", METHODS)
def test_packed_queries_keys_and_values_can_be_merged_apart(method: str) -> None:
    name = "attn.in_proj_weight"
    packed = model_set(12, 5, name=name)
    parts = [
        merged(method, {source: {"w": tensors[name][i : i + 4]} for source, tensors in packed.items()})
        for i in (0, 4, 8)
    ]
    torch.testing.assert_close(merged(method, packed, {"packed": "split"}), torch.cat(parts))
    whole = {source: {"w": tensors[name]} for source, tensors in packed.items()}
    torch.testing.assert_close(merged(method, packed), merged(method, whole))
    torch.testing.assert_close(merged(method, whole, {"packed": "split"}), merged(method, whole))
    # Thirteen rows are not three equal parts.
    odd = model_set(13, 5, name=name)
    torch.testing.assert_close(merged(method, odd, {"packed": "split"}), merged(method, odd))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", [(7, 7), (12, 5), (5, 12)])
def test_the_order_of_sources_and_the_number_of_threads_change_no_bit(method: str, shape: tuple[int, int]) -> None:
    models = {
        s: {f"t{i}": random_tensor(*shape, seed=7 * j + i).float() for i in range(6)} for j, s in enumerate("abc")
    }
    base = {name: random_tensor(*shape, seed=99).float() for name in models["a"]}
    first = merge(method, models, base, threads=1)
    turned = {source: models[source] for source in "cab"}
    for again in (merge(method, turned, base, threads=1), merge(method, models, base, threads=2)):
        assert all(torch.equal(first[name], again[name]) for name in base)


@pytest.mark.parametrize("method", METHODS)
def test_the_names_of_sources_change_nothing_but_rounding(method: str) -> None:
    models = model_set(8, 6)
    renamed = dict(zip(("s2", "s0", "s1"), models.values(), strict=True))
    torch.testing.assert_close(merged(method, models), merged(method, renamed), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", [(6, 6), (9, 4), (4, 9), (1, 1)])
def test_changes_scaled_by_a_factor_give_the_merged_change_scaled_by_it(method: str, shape: tuple[int, int]) -> None:
    models = model_set(*shape, sources=2)
    doubled = {source: {"w": 3 * tensors["w"]} for source, tensors in models.items()}
    torch.testing.assert_close(merged(method, doubled), 3 * merged(method, models))
    torch.testing.assert_close(merged(method, models, {"scale": 3.0}), 3 * merged(method, models))
    torch.testing.assert_close(merged(method, models, {"scale": 0.0}), torch.zeros(shape, dtype=torch.float64))


@pytest.mark.parametrize("method", METHODS)
def test_the_transposed_changes_give_the_transposed_merge(method: str) -> None:
    # Of Iso-CTS only the left side is projected, so transposing changes its result.
    models = model_set(8, 5)
    turned = {source: {"w": tensors["w"].mT.contiguous()} for source, tensors in models.items()}
    options: dict[str, object] = {"center": "zero"} if method == "score" else {}
    same = torch.allclose(merged(method, turned, options).mT, merged(method, models, options))
    assert same == (method != "iso_cts")


@pytest.mark.parametrize("gap", [0.0, 1e-12, 1e-9, 1e-6, 1e-3])
def test_equal_singular_values_leave_tsv_no_choice(gap: float) -> None:
    """The first two singular values are equal up to a gap: any rotation of their vectors is as good as another."""
    models, expected = clustered(gap)
    torch.testing.assert_close(merged("tsv", models), expected, rtol=0, atol=1e-9 + 2 * gap)
    single = {source: {"w": tensors["w"].float()} for source, tensors in models.items()}
    torch.testing.assert_close(merged("tsv", single).double(), expected, rtol=0, atol=1e-5 + 2 * gap)


@pytest.mark.parametrize("method", ["iso_c", "iso_cts"])
@pytest.mark.parametrize("gap", [0.0, 1e-12, 1e-9, 1e-6, 1e-3])
def test_equal_singular_values_of_the_sum_leave_no_choice(method: str, gap: float) -> None:
    models, _ = clustered(gap)
    change = models["s0"]["w"]
    options: dict[str, object] = {"common": 1.0} if method == "iso_cts" else {}
    expected = polar(change) * torch.linalg.svdvals(change).mean()
    torch.testing.assert_close(merged(method, {"s0": {"w": change}}, options), expected, rtol=0, atol=1e-9)


def clustered(gap: float) -> tuple[Models, Tensor]:
    """Return three changes made from singular triplets in clusters, and their TSV merge from rotated triplets."""
    spectrum = torch.tensor([2.0, 2.0 - gap, 0.5, 0.25 + gap, 0.25, 0.25], dtype=torch.float64)
    lefts, rights = [orthonormal(9, 6, 10 + i) for i in range(3)], [orthonormal(6, 6, 20 + i) for i in range(3)]
    pairs = zip(lefts, rights, strict=True)
    models = {f"s{i}": {"w": (left * spectrum) @ right.mT} for i, (left, right) in enumerate(pairs)}
    turn = torch.tensor([[0.6, -0.8], [0.8, 0.6]], dtype=torch.float64)
    left, right = (torch.cat([vectors[:, :2] @ turn for vectors in side], dim=1) for side in (lefts, rights))
    return models, (polar(left) * spectrum[:2].repeat(3)) @ polar(right).mT


def polar(matrix: Tensor) -> Tensor:
    """M (M^T M)^(-1/2), for columns that do not depend on each other."""
    values, vectors = torch.linalg.eigh(matrix.mT @ matrix)
    factor: Tensor = matrix @ (vectors / values.sqrt()) @ vectors.mT
    return factor


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_lower_precision_differs_by_its_rounding_only(method: str, dtype: torch.dtype) -> None:
    low = model_set(12, 9, dtype=dtype)
    high = {source: {"w": tensors["w"].double()} for source, tensors in low.items()}
    # An entry of SCORE that lies at the threshold could fall on either side of it.
    options: dict[str, object] = {"off_diagonal": "drop"} if method == "score" else {}
    result = merged(method, low, options)
    assert result.dtype == dtype
    rounding = torch.finfo(dtype).eps
    torch.testing.assert_close(result.double(), merged(method, high, options), rtol=rounding, atol=20 * 2**-23)


@pytest.mark.parametrize("method", METHODS)
def test_a_source_that_changed_nothing_takes_part_with_no_direction(method: str) -> None:
    models = model_set(6, 4, sources=2)
    models["s1"]["w"] = torch.zeros(6, 4, dtype=torch.float64)
    left, values, right = torch.linalg.svd(models["s0"]["w"], full_matrices=False)
    strong = (left[:, :2] * values[:2]) @ right[:2]
    expected = {"tsv": strong, "score": strong, "iso_c": values.mean() * left @ right, "iso_cts": None}[method]
    result = merged(method, models)
    if expected is not None:
        torch.testing.assert_close(result, expected)
    models["s0"]["w"] = torch.zeros(6, 4, dtype=torch.float64)
    assert torch.equal(merged(method, models), torch.zeros(6, 4, dtype=torch.float64))


@pytest.mark.parametrize("method", ["tsv", "iso_c", "score"])
def test_opposite_changes_cancel(method: str) -> None:
    change = random_tensor(6, 4)
    result = merged(method, {"s0": {"w": change}, "s1": {"w": -change}})
    torch.testing.assert_close(result, torch.zeros(6, 4, dtype=torch.float64), rtol=0, atol=1e-14)


@pytest.mark.parametrize("method", METHODS)
def test_matrices_with_values_that_are_no_numbers_are_averaged_if_let_through(method: str) -> None:
    models = model_set(3, 3, sources=2)
    models["s0"]["w"][1, 2] = float("nan")
    result = merged(method, models, settings=MergeSettings(allow_nonfinite=True))
    mean = (models["s0"]["w"] + models["s1"]["w"]) / 2
    torch.testing.assert_close(result, mean, equal_nan=True)


@pytest.mark.parametrize("method", METHODS)
def test_wrong_options_are_named(method: str) -> None:
    models = model_set(3, 3)
    with pytest.raises(ConfigError, match=r"^Expected argument `kernels` to be one of `average`, `reshape`, but"):
        merged(method, models, {"kernels": "cut"})
    with pytest.raises(ConfigError, match=r"^Expected argument `packed` to be one of `whole`, `split`, but got"):
        merged(method, models, {"packed": "thirds"})
    with pytest.raises(ConfigError, match=r"^Expected argument `scale` to be a number, but got `'1'`\.$"):
        merged(method, models, {"scale": "1"})
    with pytest.raises(ConfigError, match=rf"^Merge method `{method}` works on the change from a start model"):
        merge_with(method, models)
    with pytest.raises(ConfigError, match=rf"^Merge method `{method}` takes no weights"):
        merged(method, models, settings=MergeSettings(weights=dict.fromkeys(models, 1.0)))
