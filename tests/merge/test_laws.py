"""Laws that hold for every registered merge method, and where one does not, the reason.

A new method fails `test_every_method_is_here` until it is entered in the tables below.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

import pytest
import torch
from torch import Tensor

from hamdg.merge import MergeSettings, list_methods, merge_with
from hamdg.merge.buffers import is_buffer

Model = dict[str, Tensor]

# How every method is run here. With these options equal sources give back that source, whatever their number; where no
# options of a method do that, the reason is in MOVES.
OPTIONS: dict[str, dict[str, object]] = {
    "adamerging": {"start": "1/n", "steps": 0},
    "beta_average": {},
    "breadcrumbs": {"beta": 0.0, "gamma": 1.0, "scale": "1/n"},
    "breadcrumbs_ties": {"beta": 0.0, "gamma": 1.0, "scale": "1/n"},
    "consensus": {"threshold": 0.1, "agree": 1, "scale": "1/n"},
    "dare": {"drop_rate": 0.0, "scale": "1/n"},
    "della": {"drop_rate": 0.0, "window": 0.0, "scale": 1.0},
    "ema": {},
    "emr": {},
    "fisher": {},
    "geometric_median": {},
    "greedy_soup": {},
    "iso_c": {},
    "iso_cts": {},
    "karcher": {},
    "model_stock": {},
    "nuslerp": {},
    "pcb": {},
    "rebasin": {"spec": "spec.json"},
    "regmean": {},
    "rhm": {"keep": 1.0},
    "score": {},
    "shrunk": {"scale": 1.0},
    "slerp": {},
    "sma": {},
    "swad": {"n_s": 2},
    "task_arithmetic": {"scale": "1/n"},
    "ties": {"density": 1.0},
    "tsv": {},
    "uniform": {},
    "weighted": {},
    "wise_ft": {"alpha": 1.0},
}

# Options under which a method shows what it is there for; the laws that have no exceptions are tested under both.
LIVELY: dict[str, dict[str, object]] = {
    "adamerging": {"start": 0.3, "steps": 2, "rate": 0.1},
    "breadcrumbs": {},
    "breadcrumbs_ties": {},
    "consensus": {},
    "dare": {},
    "della": {},
    "rhm": {"scope": "global"},
    "task_arithmetic": {},
    "ties": {},
    "wise_ft": {},
}

# Methods that do not give equal sources back ...
MOVES = {
    "beta_average": "the base is the first checkpoint of the trajectory",
    "iso_c": "all directions of a matrix get the same strength",
    "iso_cts": "all directions of a matrix get the same strength",
    "pcb": "the entry with the lowest score of a source has no say",
    "score": "a source keeps one of N of its directions",
    "tsv": "a source keeps one of N of its directions",
}
# ... except if there is but one.
MOVES_MANY = ("score", "tsv")

# Methods in which it matters which source is which, beyond what weights or evidence say about it.
UNEQUAL = {
    "beta_average": "the first and the last checkpoint count most",
    "dare": "masks are drawn by the source's name",
    "della": "masks are drawn by the source's name",
    "ema": "the last checkpoint counts most",
    "rebasin": "the first source is the reference of the others",
    "swad": "losses belong to the steps of one trajectory, whose order is what counts",
}

# Methods that leave sources out as a whole, buffers included.
CHOOSES = ("greedy_soup", "swad")

# Methods that leave a share to the base with their lively options.
MIXES_BASE = ("adamerging", "breadcrumbs", "consensus", "dare", "task_arithmetic", "wise_ft")

# Options under which entries that all sources moved alike do not go, where the lively ones drop some on purpose.
STAYS: dict[str, dict[str, object]] = {
    "consensus": {"threshold": 0.1},
    "dare": {"drop_rate": 0.1},
    "della": {"drop_rate": 0.1},
}

TWO = {"slerp": "an arc leads from one model to another"}
EVERY = sorted(OPTIONS)
SHAPES = {
    "conv.weight": (4, 3, 2, 2),
    "attn.in_proj_weight": (12, 4),
    "fc.weight": (6, 5),
    "ln.weight": (4,),
    "logit_scale": (),
    "one": (1,),
    "empty": (0, 3),
    "frozen.weight": (3, 3),
    "embed.weight": (7, 4),
    "bn.weight": (3,),
}


class Evidence:
    """What toy data say: each answer depends on the source and the tensor, none on chance."""

    def score(self, weights: Mapping[str, Tensor]) -> float:
        return -abs(float(weights["fc.weight"].double().sum()))

    def loss(self, source: str) -> float:
        return {"a": 3.0, "b": 1.0, "c": 1.1}[source]

    def fisher(self, source: str) -> dict[str, Tensor]:
        return {
            name: 0.1 + torch.rand(SHAPES[name], generator=seeded(source, 1)) for name in ("fc.weight", "ln.weight")
        }

    def gram(self, source: str) -> dict[str, Tensor]:
        inputs = torch.randn(20, 5, generator=seeded(source, 2))
        return {"fc.weight": inputs.T @ inputs}

    def entropy(self, weights: Mapping[str, Tensor]) -> tuple[float, dict[str, Tensor]]:
        return 1.0, {"fc.weight": torch.randn(6, 5, generator=seeded("a", 3))}


def seeded(source: str, seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(100 * seed + ord(source))


def model(seed: int, base: Model | None = None, size: float = 0.1) -> Model:
    """Return a base, or a source not far from one, with tensors of all kinds and shapes."""
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for name, shape in SHAPES.items():
        noise = torch.randn(shape, generator=generator)
        found[name] = 1 + noise if base is None else base[name] + size * noise * (name != "frozen.weight")
    found["head.weight"] = found["embed.weight"]
    found["bn.running_mean"] = torch.randn(3, generator=generator)
    found["bn.running_var"] = torch.rand(3, generator=generator)
    found["bn.num_batches_tracked"] = torch.tensor(seed + 1)
    found["position_ids"] = torch.arange(5)
    return found


BASE = model(0)


def sources(method: str, base: Model = BASE, size: float = 0.1) -> dict[str, Model]:
    return {name: model(ord(name), base, size) for name in ("ab" if method in TWO else "abc")}


@pytest.fixture(scope="module", autouse=True)
def _spec(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Say for Git Re-Basin what can be reordered in these toys."""
    path = tmp_path_factory.mktemp("laws") / "spec.json"
    path.write_text(json.dumps({"channels": {"units": 6, "axes": [["fc.weight", 0]]}}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(OPTIONS["rebasin"], "spec", str(path))
        yield


def run(
    method: str,
    models: Mapping[str, Mapping[str, Tensor]],
    base: Mapping[str, Tensor] | None = BASE,
    settings: MergeSettings | None = None,
    lively: bool = False,
    options: Mapping[str, object] | None = None,
) -> dict[str, Tensor]:
    given = options or (LIVELY.get(method, OPTIONS[method]) if lively else OPTIONS[method])
    filled = {name: 1 / len(models) if value == "1/n" else value for name, value in given.items()}
    return merge_with(method, models, base, filled, settings or MergeSettings(evidence=Evidence()))


def assert_same_bytes(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> None:
    assert list(first) == list(second)
    for name, tensor in first.items():
        assert tensor.dtype == second[name].dtype, name
        assert torch.equal(tensor, second[name]), name


def converted(tensors: Mapping[str, Tensor], dtype: torch.dtype) -> Model:
    """Return a model in another dtype, with what is tied still tied."""
    found = {name: t.to(dtype) if t.is_floating_point() else t for name, t in tensors.items()}
    return found | {"head.weight": found["embed.weight"]}


def weights_of(tensors: Mapping[str, Tensor]) -> Model:
    return {name: tensor for name, tensor in tensors.items() if not is_buffer(name, tensor)}


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


@pytest.mark.parametrize("method", EVERY)
def test_lines_with_a_factor_of_one_changes_nothing(method: str) -> None:
    models = sources(method)
    lines = run(method, models, BASE, MergeSettings(evidence=Evidence(), lines=(1.0, 0.0)), lively=True)
    for name, tensor in run(method, models, lively=True).items():
        torch.testing.assert_close(lines[name], tensor)
