"""Faults that other libraries have or had: what the tests of the methods and of files leave open of them.

The list of all, each with its tests, is in `docs/merge-comparison.md`.
"""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

from hamdg.errors import ConfigError
from hamdg.merge import MergeSettings, list_methods, merge, merge_with
from hamdg.merge.history import Average, BetaAverage, Ema, RunningMean
from tests.merge.tools import seeded

Model = dict[str, Tensor]
Options = dict[str, object]

DOCUMENT = Path(__file__).parents[2] / "docs" / "merge-comparison.md"
TEST = re.compile(r"^  - `(\S+\.py)::(test_\w+)`$", re.MULTILINE)


def test_every_fault_has_a_test_and_every_test_that_is_named_is_there() -> None:
    text = DOCUMENT.read_text(encoding="utf-8").split("\n## Faults of other libraries\n")[1].split("\n## ")[0]
    libraries = text.split("\n### ")[1:]
    assert len(libraries) == 10
    for faults in (library.split("\n- ")[1:] for library in libraries):
        assert faults
        assert all(TEST.findall(fault) for fault in faults), faults
    named = TEST.findall(text)
    for path in {path for path, _ in named}:
        module = ast.parse((DOCUMENT.parents[1] / path).read_text(encoding="utf-8"))
        known = {node.name for node in module.body if isinstance(node, ast.FunctionDef)}
        assert {name for other, name in named if other == path} <= known, path


# What the tests below merge: tensors of several kinds, in some of which only one source moves.

SHAPES = {"fc.weight": (6, 5), "ln.weight": (40,), "one": (1,), "logit_scale": (), "only_c": (30,)}


def start() -> Model:
    generator = seeded(0)
    return {name: torch.randn(shape, generator=generator) for name, shape in SHAPES.items()} | statistics(9)


def statistics(seed: int) -> Model:
    generator = seeded(seed)
    moments = {
        "bn.running_mean": torch.randn(3, generator=generator),
        "bn.running_var": torch.rand(3, generator=generator),
    }
    return moments | {"bn.num_batches_tracked": torch.tensor(seed)}


def source(name: str) -> Model:
    generator = seeded(ord(name))
    moved = {
        key: tensor + 0.1 * torch.randn(tensor.shape, generator=generator) * (name == "c" or key != "only_c")
        for key, tensor in start().items()
        if key in SHAPES
    }
    return moved | statistics(ord(name))


class Evidence:
    """What toy data say of a source."""

    def fisher(self, source: str) -> Model:
        generator = seeded(ord(source))
        return {name: torch.rand(SHAPES[name], generator=generator) for name in ("fc.weight", "only_c")}

    def gram(self, source: str) -> Model:
        inputs = torch.randn(20, 5, generator=seeded(ord(source)))
        return {"fc.weight": inputs.T @ inputs}


@pytest.fixture
def spec(tmp_path: Path) -> str:
    """Say for Git Re-Basin what can be reordered."""
    path = tmp_path / "spec.json"
    path.write_text(json.dumps({"channels": {"units": 6, "axes": [["fc.weight", 0]]}}))
    return str(path)


def variants(name: str, spec: str) -> Iterator[Options]:
    """Yield options of a method, one set for each of its scopes."""
    options = list_methods()[name].options
    fixed: Options = {"spec": spec} if name == "rebasin" else {}
    scopes = [key for key in options if key in ("scope", "ties_scope")]
    if not scopes:
        yield fixed
    for key in scopes:
        more: Options = {"then": "ties", "ties_density": 0.5} if key == "ties_scope" else {}
        for choice in options[key].choices:
            yield {**fixed, **more, key: choice}


WEIGHTED = [name for name, info in list_methods().items() if info.weights != "none"]


@pytest.mark.parametrize("method", [name for name in WEIGHTED if name != "pcb"])
@pytest.mark.parametrize("zero", [0, 0.0, -0.0])
def test_a_source_of_weight_zero_counts_in_no_method(method: str, zero: float, spec: str) -> None:
    models, base = {name: source(name) for name in "abc"}, start()
    if list_methods()[method].on == "models":
        # Git Re-Basin matches sources whatever they weigh, so that it must see what any of them holds.
        models["c"]["only_c"] = base["only_c"]
    some = {name: models[name] for name in "ab"}
    for options in variants(method, spec):
        none_of_c = MergeSettings(weights={"a": 1.0, "b": 2.0, "c": zero}, evidence=Evidence())
        without_c = MergeSettings(weights={"a": 1.0, "b": 2.0}, evidence=Evidence())
        merged = merge_with(method, models, base, options, none_of_c)
        expected = merge_with(method, some, base, options, without_c)
        for name, tensor in expected.items():
            torch.testing.assert_close(merged[name], tensor, rtol=1e-5, atol=1e-6)
        assert torch.equal(merged["only_c"], base["only_c"]), "no source with a weight moved it"
        assert torch.equal(merged["bn.running_var"], expected["bn.running_var"]), "buffers are no exception"
        # It would have had a say.
        given = merge_with(
            method, models, base, options, MergeSettings(weights=dict.fromkeys("abc", 1.0), evidence=Evidence())
        )
        assert not torch.equal(given["fc.weight"], merged["fc.weight"])


def test_a_weight_of_zero_in_pcb_by_hand() -> None:
    # Its weights are the sources' own factors: one of zero takes the source's change away, not its part in the
    # competition. Both have the shares 0, r and 1, so that what is left is half of the first one's change.
    models = {name: {"w": torch.tensor([1.0, 2.0, 3.0])} for name in "ab"}
    merged = merge("pcb", models, {"w": torch.zeros(3)}, {"a": 1, "b": 0}, density=1.0, tail=0.0)
    assert merged["w"].tolist() == pytest.approx([0.0, 1.0, 1.5])


@pytest.mark.parametrize("method", [name for name in WEIGHTED if list_methods()[name].weights == "factors"])
def test_without_any_weight_above_zero_the_base_stays(method: str) -> None:
    base = start()
    merged = merge(method, {name: source(name) for name in "abc"}, base, dict.fromkeys("abc", 0.0))
    assert all(torch.equal(merged[name], base[name]) for name in SHAPES)


@pytest.mark.parametrize("method", [name for name, info in list_methods().items() if "scale" in info.options])
def test_a_scale_of_zero_is_no_default(method: str) -> None:
    models, base = {name: source(name) for name in "abc"}, start()
    others: dict[str, Options] = {"dare": {"then": "ties", "scale": 0.0}, "shrunk": {"norm": 0.0}}
    for options in ({"scale": 0.0}, others.get(method, {"scale": 0.0})):
        merged = merge_with(method, models, base, options)
        assert all(torch.equal(merged[name], base[name]) for name in SHAPES)


# Methods that keep some entries of a change, and the options that say how many.
TRIMMING: dict[str, Callable[[float], Options]] = {
    "ties": lambda share: {"density": share},
    "dare": lambda share: {"then": "ties", "ties_density": share, "drop_rate": 0.5},
    "della": lambda share: {"drop_rate": 0.5, "window": 0.9 * share},
    "breadcrumbs": lambda share: {"beta": 0.9 * (1 - share), "gamma": 1 - 0.05 * share},
    "breadcrumbs_ties": lambda share: {"beta": 0.9 * (1 - share), "gamma": 1 - 0.05 * share},
    "consensus": lambda share: {"total": "ties", "ties_density": share, "agree": 1},
    "pcb": lambda share: {"density": share},
    "rhm": lambda share: {"keep": share},
}


@pytest.mark.parametrize("method", TRIMMING)
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 1.0])
def test_models_of_single_entries_are_trimmed_in_every_scope(method: str, share: float, spec: str) -> None:
    start = {
        "logit_scale": torch.tensor(4.6),
        "one": torch.tensor([1.0]),
        "thin": torch.ones(3, 1),
        "none": torch.ones(0),
    }
    moved = {name: tensor + 1 for name, tensor in start.items()}
    for names in (["logit_scale"], ["one"], ["thin"], ["none"], sorted(start)):
        base, models = {n: start[n] for n in names}, {s: {n: moved[n] for n in names} for s in "ab"}
        for scope in variants(method, spec):
            merged = merge_with(method, models, base, {**scope, **TRIMMING[method](share)})
            for name, tensor in merged.items():
                assert (tensor.shape, tensor.dtype) == (start[name].shape, start[name].dtype)
                # The change of 1 in both is kept, dropped, summed up, or doubled where the other half was dropped.
                assert bool(((tensor - start[name] >= 0) & (tensor - start[name] <= 4.001)).all()), (name, tensor)
            if share == 1 and method in ("ties", "rhm"):
                assert all(torch.equal(merged[name], moved[name]) for name in names)


@pytest.mark.parametrize("scope", ["tensor", "global", "row"])
@pytest.mark.parametrize("size", [1, 2, 7, 10])
@pytest.mark.parametrize("alike", [False, True])
def test_ties_keeps_k_of_n_entries_for_every_k(scope: str, size: int, alike: bool) -> None:
    change = torch.ones(size) if alike else torch.arange(1.0, size + 1)
    for kept in range(size + 1):
        merged = merge("ties", {"a": {"w": change}}, {"w": torch.zeros(size)}, density=kept / size, scope=scope)["w"]
        assert int(merged.count_nonzero()) == kept
        # The largest ones, of equal ones the first.
        assert torch.equal(merged, change * (torch.arange(size) < kept if alike else torch.arange(size) >= size - kept))


# Methods that treat entries as such, and not as parts of a matrix's directions.
ENTRYWISE = [
    n for n, info in list_methods().items() if info.on == "changes" and not {"packed", "kernels"} & set(info.options)
]


@pytest.mark.parametrize("method", [name for name in ENTRYWISE if not list_methods()[name].needs])
def test_frozen_entries_of_a_tensor_that_moves_keep_their_values(method: str) -> None:
    base = {"w": torch.full((8, 4), 5.0)}
    models = {name: {"w": base["w"].clone()} for name in "abc"}
    for name, model in models.items():
        model["w"][:4] += torch.randn(4, 4, generator=seeded(ord(name)))
    given: dict[str, Options] = {"shrunk": {"scale": 1.0}, "dare": {"then": "ties"}}
    options = given.get(method, {})
    merged = merge_with(method, models, base, options)["w"]
    assert merged[4:].tolist() == [[5.0] * 4] * 4


def falling(count: int) -> list[float]:
    return [0.98 ** (count - 1)] + [0.02 * 0.98 ** (count - 1 - t) for t in range(1, count)]


def at_both_ends(count: int) -> list[float]:
    return [((t + 0.5) / count * (1 - (t + 0.5) / count)) ** -0.5 for t in range(count)]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    ("method", "options", "weights"),
    [
        ("uniform", {}, [1.0] * 200),
        ("weighted", {}, [1.0] * 200),
        ("sma", {}, [1.0] * 200),
        ("ema", {"decay": 0.98}, falling(200)),
        ("beta_average", {}, at_both_ends(200)),
    ],
)
def test_an_average_of_two_hundred_models_in_half_precision_does_not_drift(
    method: str, options: Options, weights: list[float], dtype: torch.dtype
) -> None:
    # A training that moves by a third of what bf16 resolves in a step.
    generator = seeded(0)
    states = [(1 + 0.001 * t + 0.01 * torch.randn(500, generator=generator)).to(dtype) for t in range(200)]
    models = {f"step-{t:03}": {"w": state} for t, state in enumerate(states)}
    total = math.fsum(weights)
    expected = sum((w / total * s.double() for w, s in zip(weights, states, strict=True)), torch.zeros(500).double())
    merged = merge_with(method, models, None, options, MergeSettings(dtype=torch.float32))["w"]
    torch.testing.assert_close(merged.double(), expected, rtol=0, atol=2e-6)
    # The average itself in half precision:
    naive, mass = states[0].clone(), weights[0]
    for weight, state in zip(weights[1:], states[1:], strict=True):
        mass += weight
        naive += (state - naive) * (weight / mass)
    assert float((naive.double() - expected).abs().max()) > 2e-4
    # In the models' own dtype it is off by the last rounding only.
    rounded = merge_with(method, models, None, options)["w"]
    assert rounded.dtype == dtype
    assert bool(((rounded.double() - expected).abs() <= torch.finfo(dtype).eps / 2 * expected.abs() + 2e-6).all())


AVERAGES = ("uniform", "weighted", "wise_ft", "sma", "ema", "beta_average")
INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool)


@pytest.mark.parametrize("method", AVERAGES)
def test_averages_leave_integers_of_every_kind_alone(method: str) -> None:
    whole = {str(dtype): torch.tensor([1, 0, 1], dtype=dtype) for dtype in INTEGERS}
    models = {f"step-{t}": {"w": torch.tensor([float(t)]), **whole} for t in (1, 2, 4)}
    merged = merge(method, models, {"w": torch.zeros(1), **whole})
    for name, tensor in whole.items():
        assert merged[name].dtype == tensor.dtype
        assert torch.equal(merged[name], tensor)
    # Where models differ, one model's values are taken, and none between.
    other = {name: torch.tensor([0, 1, 1], dtype=tensor.dtype) for name, tensor in whole.items()}
    models["step-4"] |= other
    first = merge(method, models, {"w": torch.zeros(1), **whole}, buffers="first")
    assert all(torch.equal(first[name], tensor) for name, tensor in whole.items())


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_counters_that_floats_cannot_hold_are_added_exactly(dtype: torch.dtype) -> None:
    # fp32 holds whole numbers up to 2^24, fp64 up to 2^53.
    large = (1 << 53) + 1 if dtype == torch.int64 else (1 << 24) + 1
    models = {
        name: {"bn.num_batches_tracked": torch.tensor(n, dtype=dtype)} for name, n in {"a": large, "b": 2}.items()
    }
    merged = merge("uniform", models)["bn.num_batches_tracked"]
    assert (merged.item(), merged.dtype) == (large + 2, dtype)


@pytest.mark.parametrize("average", [RunningMean(), Ema(0.5), BetaAverage(9, 0.5)])
def test_an_average_that_starts_late_has_no_value_before_and_no_initial_weights_after(average: Average) -> None:
    trajectory = [torch.full((2,), value) for value in (1000.0, 1000.0, 3.0, 1.0)]
    for step, state in enumerate(trajectory):
        if step < 2:
            with pytest.raises(ConfigError, match="The history is empty"):
                average.value()
        else:
            average.update([state])
            found = average.value()[0].tolist()
            assert found == [3.0, 3.0] if step == 2 else all(1 < value < 3 for value in found)


def test_each_formula_of_pcb_by_hand() -> None:
    # Magnitudes within the source are (0, 1/2, 1) and (0, 3/8, 1), the factors e^(2 n^2) of the last two entries
    # (e^.5, e^2) and (e^(9/32), e^2); the sums of the changes 2, 6 and 12, those of the magnitudes 0, 7/8 and 2.
    rows = {"a": [1.0, 2.0, 3.0], "b": [1.0, 4.0, 9.0]}
    factors = {"a": (1.0, math.exp(1 / 2), math.exp(2)), "b": (1.0, math.exp(9 / 32), math.exp(2))}
    agreement = {
        "total": {
            "a": (math.tanh(2), math.tanh(12), math.tanh(36)),
            "b": (math.tanh(2), math.tanh(24), math.tanh(108)),
        },
        "normalized": {"a": (0.0, math.tanh(7 / 4), math.tanh(6)), "b": (0.0, math.tanh(7 / 2), math.tanh(18))},
        "pairs": {
            "a": (0.0, math.tanh(1 / 4) + math.tanh(3 / 16), 2 * math.tanh(1)),
            "b": (0.0, math.tanh(3 / 16) + math.tanh(9 / 64), 2 * math.tanh(1)),
        },
    }
    found = set()
    for inter, values in agreement.items():
        shares: dict[str, float] = {}
        for name in rows:
            low, middle, high = (f * v for f, v in zip(factors[name], values[name], strict=True))
            shares[name] = (middle - low) / (high - low)
        second = (2 * shares["a"] + 4 * shares["b"]) / (shares["a"] + shares["b"])
        models: Mapping[str, Model] = {name: {"w": torch.tensor(row)} for name, row in rows.items()}
        merged = merge_with("pcb", models, {"w": torch.zeros(3)}, {"inter": inter, "density": 1.0, "tail": 0.0})["w"]
        assert merged.tolist() == pytest.approx([0.0, second, 6.0], rel=1e-5)
        found.add(round(second, 3))
    assert len(found) == 3
