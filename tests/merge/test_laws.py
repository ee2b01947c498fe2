"""Laws that hold for every registered merge method, and where one does not, the reason.

A new method fails `test_every_method_is_here` until it is entered in the tables of `tests/merge/toys.py`.
"""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from hamdg.merge import MergeSettings, list_methods
from hamdg.merge.buffers import is_buffer
from tests.merge.toys import (
    BASE,
    CHOOSES,
    EVERY,
    LIVELY,
    MIXES_BASE,
    MOVES,
    MOVES_MANY,
    OPTIONS,
    STAYS,
    TWO,
    UNEQUAL,
    Evidence,
    Model,
    assert_same_bytes,
    converted,
    model,
    run,
    sources,
    weights_of,
)

pytestmark = pytest.mark.usefixtures("rebasin_spec")


def test_every_method_is_here() -> None:
    assert set(list_methods()) == set(OPTIONS)
    assert MOVES.keys() | UNEQUAL.keys() | TWO.keys() | LIVELY.keys() <= OPTIONS.keys()


@pytest.mark.parametrize("method", EVERY)
def test_equal_sources_are_a_fixed_point(method: str) -> None:
    source = model(1, BASE)
    models = {name: source | {} for name in sources(method)}
    merged = weights_of(run(method, models))
    same = all(torch.allclose(tensor, source[name], rtol=1e-5, atol=1e-6) for name, tensor in merged.items())
    assert same == (method not in MOVES), MOVES.get(method)


@pytest.mark.parametrize("method", sorted(set(OPTIONS) - set(TWO)))
def test_one_source_gives_that_source(method: str) -> None:
    source = model(1, BASE)
    merged = run(method, {"a": source})
    same = all(torch.allclose(tensor, source[name], rtol=1e-5, atol=1e-6) for name, tensor in merged.items())
    assert same == (method not in MOVES or method in MOVES_MANY), MOVES.get(method)
    buffers = [name for name, tensor in source.items() if is_buffer(name, tensor)]
    assert all(torch.equal(merged[name], source[name]) for name in buffers) == (method != "beta_average")


@pytest.mark.parametrize("method", EVERY)
def test_sources_that_are_the_base_give_the_base(method: str) -> None:
    base = BASE | {"bn.num_batches_tracked": torch.tensor(7)}
    merged = run(method, {name: dict(base) for name in sources(method)}, base, lively=True)
    assert_same_bytes(merged, base)


@pytest.mark.parametrize("method", EVERY)
def test_the_order_of_sources_and_the_number_of_threads_change_no_byte(method: str) -> None:
    models = sources(method)
    turned = {name: dict(reversed(models[name].items())) for name in reversed(models)}
    one, two = (MergeSettings(evidence=Evidence(), threads=threads) for threads in (1, 2))
    assert_same_bytes(run(method, models, BASE, one, lively=True), run(method, turned, BASE, two, lively=True))


@pytest.mark.parametrize("method", sorted(set(OPTIONS) - set(UNEQUAL)))
def test_names_of_sources_say_nothing_about_their_worth(method: str) -> None:
    class Exchanged(Evidence):
        def fisher(self, source: str) -> dict[str, Tensor]:
            return super().fisher(other[source])

        def gram(self, source: str) -> dict[str, Tensor]:
            return super().gram(other[source])

    models = sources(method)
    other = dict(zip(models, [*list(models)[1:], "a"], strict=True))
    first = weights_of(run(method, models, lively=True))
    moved = {name: models[other[name]] for name in models}
    second = weights_of(run(method, moved, BASE, MergeSettings(evidence=Exchanged()), lively=True))
    for name, tensor in first.items():
        torch.testing.assert_close(second[name], tensor, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", EVERY)
def test_inputs_stay_as_they_are_and_share_no_memory_with_the_result(method: str) -> None:
    models, base = sources(method), dict(BASE)
    before = {name: {key: tensor.clone() for key, tensor in m.items()} for name, m in {**models, "base": base}.items()}
    merged = run(method, models, base, lively=True)
    for name, tensors in {**models, "base": base}.items():
        assert_same_bytes(tensors, before[name])
    places = {t.untyped_storage().data_ptr() for m in (base, *models.values()) for t in m.values() if t.numel()}
    assert not places & {tensor.untyped_storage().data_ptr() for tensor in merged.values() if tensor.numel()}


@pytest.mark.parametrize("method", EVERY)
def test_the_result_has_the_names_order_shapes_and_dtypes_of_the_base(method: str) -> None:
    base = dict(reversed(BASE.items()))
    merged = run(method, sources(method), base, lively=True)
    assert [(name, t.shape, t.dtype) for name, t in merged.items()] == [(n, t.shape, t.dtype) for n, t in base.items()]
    assert all(tensor.is_contiguous() and not tensor.requires_grad for tensor in merged.values())


@pytest.mark.parametrize("method", EVERY)
def test_frozen_tied_and_integer_tensors(method: str) -> None:
    models = sources(method)
    merged = run(method, models, lively=True)
    assert torch.equal(merged["frozen.weight"], BASE["frozen.weight"])
    assert merged["head.weight"] is merged["embed.weight"]
    assert torch.equal(merged["position_ids"], torch.arange(5))
    counts = [int(m["bn.num_batches_tracked"]) for m in models.values()]
    count = int(merged["bn.num_batches_tracked"])
    if method in CHOOSES:
        assert count < sum(counts)
    elif list_methods()[method].trajectory:
        assert min(int(BASE["bn.num_batches_tracked"]), *counts) <= count <= max(counts)
    elif method in MIXES_BASE:
        assert int(BASE["bn.num_batches_tracked"]) < count < sum(counts)
    elif method == "geometric_median":
        # Its own shares are not equal.
        assert max(counts) < count < sum(counts)
    else:
        assert count == sum(counts)


@pytest.mark.parametrize(
    ("method", "scope"),
    [(m, scope) for m in EVERY for scope in getattr(list_methods()[m].options.get("scope"), "choices", [""])],
)
def test_tensors_of_one_entry_move(method: str, scope: str) -> None:
    """As CLIP's `logit_scale` does, whatever share of entries a method keeps."""
    models = sources(method)
    for tensors in models.values():
        tensors["logit_scale"] = BASE["logit_scale"] + 1.0
        tensors["column.weight"] = torch.ones(4, 1)
    base = BASE | {"column.weight": torch.zeros(4, 1)}
    options = STAYS.get(method, LIVELY.get(method, OPTIONS[method])) | ({"scope": scope} if scope else {})
    merged = run(method, models, base, options=options)
    assert merged["logit_scale"] != base["logit_scale"]
    assert (merged["column.weight"] != 0).any()
    assert scope != "row" or (merged["column.weight"] != 0).all()


@pytest.mark.parametrize("method", EVERY)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_read_and_written_but_not_computed_in(method: str, dtype: torch.dtype) -> None:
    # Sums of three such models, and squares of their changes, would overflow in fp16; bf16 would lose most of a change.
    base = {name: t if is_buffer(name, t) else (15_000 + 1_000 * t) for name, t in BASE.items()}
    half = converted(base, dtype)
    models = {name: converted(m, dtype) for name, m in sources(method, base, 500.0).items()}
    for m in models.values():
        m["frozen.weight"] = half["frozen.weight"]
    single = {name: converted(m, torch.float32) for name, m in models.items()}
    merged = run(method, models, half, lively=True)
    expected = run(method, single, converted(half, torch.float32), lively=True)
    assert all(t.dtype == dtype for t in merged.values() if t.is_floating_point())
    assert_same_bytes(weights_of(merged), weights_of(converted(expected, dtype)))


@pytest.mark.parametrize("method", EVERY)
def test_double_precision_is_kept(method: str) -> None:
    models, base = sources(method), BASE
    single = run(method, models, base, lively=True)
    wide = {name: converted(m, torch.float64) for name, m in models.items()}
    double = run(method, wide, converted(base, torch.float64), lively=True)
    assert all(t.dtype == torch.float64 for t in double.values() if t.is_floating_point())
    asked = run(method, models, base, MergeSettings(evidence=Evidence(), precision="fp64"), lively=True)
    for name, tensor in weights_of(double).items():
        assert torch.equal(tensor.float(), asked[name]), name
        torch.testing.assert_close(tensor.float(), single[name], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("method", EVERY)
def test_layout_and_gradients_of_inputs_do_not_matter(method: str) -> None:
    def awkward(tensors: Mapping[str, Tensor]) -> Model:
        found = {}
        for name, tensor in tensors.items():
            strided = tensor.transpose(0, -1).contiguous().transpose(0, -1) if tensor.dim() > 1 else tensor.clone()
            found[name] = strided.requires_grad_() if tensor.is_floating_point() else strided
        return found | {"head.weight": found["embed.weight"]}

    models = sources(method)
    assert not awkward(BASE)["fc.weight"].is_contiguous()
    strange = run(method, {name: awkward(m) for name, m in models.items()}, awkward(BASE), lively=True)
    assert_same_bytes(strange, run(method, models, lively=True))


@pytest.mark.parametrize("method", [name for name in EVERY if not list_methods()[name].uses_base])
def test_a_base_that_is_not_needed_changes_nothing(method: str) -> None:
    models = sources(method)
    assert_same_bytes(run(method, models, None, lively=True), run(method, models, BASE, lively=True))


@pytest.mark.parametrize("method", [name for name in EVERY if list_methods()[name].weights != "none"])
def test_equal_weights_are_no_weights(method: str) -> None:
    models = sources(method)
    plain = run(method, models, lively=True)
    ones = MergeSettings(dict.fromkeys(models, 1.0), Evidence())
    assert_same_bytes(run(method, models, BASE, ones, lively=True), plain)
    # Shares are divided by their sum, factors multiply.
    twos = weights_of(run(method, models, BASE, MergeSettings(dict.fromkeys(models, 2.0), Evidence()), lively=True))
    same = all(torch.allclose(tensor, plain[name], rtol=1e-5, atol=1e-6) for name, tensor in twos.items())
    assert same or list_methods()[method].weights == "factors"


@pytest.mark.parametrize("method", [name for name in EVERY if name != "search"])  # which refuses lines
def test_lines_with_a_factor_of_one_changes_nothing(method: str) -> None:
    models = sources(method)
    lines = run(method, models, BASE, MergeSettings(evidence=Evidence(), lines=(1.0, 0.0)), lively=True)
    for name, tensor in run(method, models, lively=True).items():
        torch.testing.assert_close(lines[name], tensor)
