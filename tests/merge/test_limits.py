"""At the limits of its options and weights a method gives one of its models, buffers included, and near them nearly."""

from __future__ import annotations

import pytest
import torch

from hamdg.merge import MergeSettings, list_methods
from hamdg.merge.buffers import is_buffer
from tests.merge.toys import BASE, EVERY, Evidence, Model, assert_same_bytes, run, sources

pytestmark = pytest.mark.usefixtures("rebasin_spec")

# Options and weights at which a method gives one of its models, named here, with all its buffers.
LIMITS: dict[str, list[tuple[str, dict[str, object]]]] = {
    "adamerging": [("base", {"start": 0.0, "steps": 0})],
    "ema": [("c", {"decay": 0.0}), ("a", {"decay": 1.0})],
    "shrunk": [("base", {"scale": 0.0}), ("base", {"norm": 0.0})],
    "slerp": [("a", {"t": 0.0}), ("b", {"t": 1.0}), ("a", {"t": 0.0, "scope": "global"})],
    "sma": [("c", {"start": 0.99})],
    "swad": [("c", {"n_s": 4, "no_start": "last"})],
    "wise_ft": [("base", {"alpha": 0.0})],
}
for _name, _info in list_methods().items():
    if "scale" in _info.options and _name not in LIMITS:
        LIMITS[_name] = [("base", {"scale": 0.0})]
# Of these a small step from the limit is a long way.
LEAPS = ("sma", "swad")

# Methods in which a source of a tiny weight still changes weights (never buffers): an entry that no other source keeps
# is divided by that weight.
DIVIDES = ("della", "ties")


@pytest.mark.parametrize(("method", "expected", "options"), [(m, *limit) for m in LIMITS for limit in LIMITS[m]])
def test_at_its_limit_a_method_gives_one_model_with_its_buffers(
    method: str, expected: str, options: dict[str, object]
) -> None:
    models = sources(method)
    assert_near(run(method, models, options=options), (models | {"base": BASE})[expected], exact_buffers=True)


@pytest.mark.parametrize(
    ("method", "expected", "options"), [(m, *limit) for m in sorted(LIMITS.keys() - set(LEAPS)) for limit in LIMITS[m]]
)
def test_near_its_limit_a_method_gives_nearly_that_model(
    method: str, expected: str, options: dict[str, object]
) -> None:
    models = sources(method)
    near = {k: abs(v - 1e-9) if isinstance(v, float) else v for k, v in options.items()}
    assert_near(run(method, models, options=near), (models | {"base": BASE})[expected])


@pytest.mark.parametrize("method", [name for name in EVERY if list_methods()[name].on == "changes"])
def test_lines_with_a_factor_of_zero_gives_the_base(method: str) -> None:
    merged = run(method, sources(method), BASE, MergeSettings(evidence=Evidence(), lines=(0.0, 0.0)), lively=True)
    assert_near(merged, BASE, exact_buffers=True)


@pytest.mark.parametrize("method", [name for name in EVERY if list_methods()[name].weights != "none"])
def test_a_tiny_weight_is_nearly_none(method: str) -> None:
    def weighted(tiny: float) -> Model:
        weights = {"a": 1.0, "b": 2.0, "c": tiny}
        return run(method, models, BASE, MergeSettings(weights, Evidence()), lively=True)

    models = sources(method)
    tiny, none = weighted(1e-9), weighted(0.0)
    if method not in DIVIDES:
        assert_near(tiny, none)
    for name, tensor in none.items():
        if is_buffer(name, tensor):
            assert_near({name: tiny[name]}, {name: tensor})
    # What the left out source holds is of no consequence.
    models["c"] = models["c"] | {name: models["c"][name] + 7 for name in ("bn.running_mean", "bn.num_batches_tracked")}
    assert_same_bytes(weighted(0.0), none)


@pytest.mark.parametrize("method", [name for name in EVERY if list_methods()[name].weights == "shares"])
def test_a_source_that_has_all_the_weight_is_the_result(method: str) -> None:
    models = sources(method)
    merged = run(method, models, BASE, MergeSettings({"a": 0, "b": 1, "c": 0}, Evidence()))
    if method == "rebasin":
        # The first source is the reference, whatever its weight, so this one's units are in another order.
        del merged["fc.weight"]
    assert_near(merged, models["b"], exact_buffers=True)


def assert_near(merged: Model, expected: Model, exact_buffers: bool = False) -> None:
    for name, tensor in merged.items():
        if exact_buffers and is_buffer(name, tensor):
            assert torch.equal(tensor, expected[name]), name
        # Counters are rounded, a half to either side.
        rtol, atol = (1e-5, 1e-6) if tensor.is_floating_point() else (0.0, 1.0)
        torch.testing.assert_close(tensor, expected[name], rtol=rtol, atol=atol)
