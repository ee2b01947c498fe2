"""Compares with other libraries where definitions agree, and pins down where they do not.

These tests run where the other library is installed: `pip install -e ".[peers]"`, then `make test-peers`. torch's are
always there.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import swa_utils

from hamdg.merge import MergeSettings, merge, merge_files, merge_with

Models = dict[str, dict[str, Tensor]]

# 40 entries, so that the shares below are whole numbers of entries and rounding does not matter.
SHAPE = (8, 5)
WEIGHTS = {"a": 0.5, "b": 1.0, "c": 2.5}


def drawn(seed: int = 0) -> tuple[Models, dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    base = {"w": torch.randn(SHAPE, generator=generator), "v": torch.randn(SHAPE, generator=generator)}
    models = {
        source: {name: tensor + 0.1 * torch.randn(SHAPE, generator=generator) for name, tensor in base.items()}
        for source in "abc"
    }
    return models, base


def ours(
    method: str,
    models: Models,
    base: dict[str, Tensor] | None = None,
    weights: Mapping[str, float] | None = None,
    **options: object,
) -> dict[str, Tensor]:
    return merge_with(method, models, base, options, MergeSettings(weights=weights))


def assert_same(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    for name in first:
        torch.testing.assert_close(first[name], second[name])


# mergekit


@pytest.fixture(scope="module")
def mergekit() -> Callable[..., dict[str, Tensor]]:
    api = pytest.importorskip("mergekit.merge_methods.api", reason="mergekit is not installed")

    def merged(
        method: str, models: Models, base: dict[str, Tensor] | None = None, **parameters: object
    ) -> dict[str, Tensor]:
        everything: dict[str, Any] = models if base is None else {"base": base, **models}
        result: dict[str, Tensor] = api.merge_state_dicts(
            everything, method, parameters=parameters, base=None if base is None else "base"
        )
        return result

    return merged


def test_mergekit_linear_is_the_average(mergekit: Callable[..., dict[str, Tensor]]) -> None:
    models, _ = drawn()
    assert_same(ours("uniform", models), mergekit("linear", models, weight=1.0))
    assert_same(ours("weighted", models, weights=WEIGHTS), mergekit("linear", models, weight=WEIGHTS))


def test_mergekit_task_arithmetic_is_the_weighted_sum(mergekit: Callable[..., dict[str, Tensor]]) -> None:
    models, base = drawn()
    theirs = mergekit("task_arithmetic", models, base, weight=WEIGHTS, **{"lambda": 0.4})
    assert_same(ours("task_arithmetic", models, base, WEIGHTS, scale=0.4), theirs)


@pytest.mark.parametrize(("density", "weights"), list(itertools.product((0.2, 0.5, 0.75), (None, WEIGHTS))))
def test_mergekit_ties_is_ties_by_tensor(
    mergekit: Callable[..., dict[str, Tensor]], density: float, weights: dict[str, float] | None
) -> None:
    models, base = drawn()
    theirs = mergekit("ties", models, base, weight=weights or 1.0, density=density)
    assert_same(ours("ties", models, base, weights, density=density, scope="tensor"), theirs)
    # Over the whole model other entries are kept.
    with pytest.raises(AssertionError):
        assert_same(ours("ties", models, base, weights, density=density), theirs)


def test_mergekit_trims_nothing_by_default(mergekit: Callable[..., dict[str, Tensor]]) -> None:
    models, base = drawn()
    theirs = mergekit("ties", models, base, weight=1.0)
    assert_same(ours("ties", models, base, density=1.0), theirs)
    with pytest.raises(AssertionError):
        assert_same(ours("ties", models, base), theirs)


def test_mergekit_keeps_another_number_where_the_share_is_no_whole_number(
    mergekit: Callable[..., dict[str, Tensor]],
) -> None:
    # Of 7 entries 0.25 are 1.75: mergekit cuts it down to 1, ours rounds to 2.
    base = {"w": torch.zeros(7)}
    models = {"a": {"w": torch.arange(1.0, 8.0)}}
    assert int(mergekit("ties", models, base, weight=1.0, density=0.25)["w"].count_nonzero()) == 1
    assert int(ours("ties", models, base, density=0.25)["w"].count_nonzero()) == 2


def test_mergekit_elects_plus_where_the_vote_is_tied(mergekit: Callable[..., dict[str, Tensor]]) -> None:
    base = {"w": torch.zeros(2)}
    models = {"a": {"w": torch.tensor([1.0, 2.0])}, "b": {"w": torch.tensor([-1.0, 2.0])}}
    assert mergekit("ties", models, base, weight=1.0, density=1.0)["w"].tolist() == [1.0, 2.0]
    assert ours("ties", models, base, density=1.0)["w"].tolist() == [0.0, 2.0]


@pytest.mark.parametrize("t", [0.0, 0.3, 0.5, 1.0])
def test_mergekit_slerp(mergekit: Callable[..., dict[str, Tensor]], t: float) -> None:
    models, _ = drawn()
    pair = {name: models[name] for name in "ab"}
    api = pytest.importorskip("mergekit.merge_methods.api")
    for name in ("w", "v"):
        theirs = api.merge_tensors([pair["a"][name], pair["b"][name]], "slerp", parameters={"t": t}, base_index=0)
        torch.testing.assert_close(ours("slerp", pair, t=t)[name], theirs)


@pytest.mark.parametrize("with_base", [False, True])
def test_mergekit_nuslerp_takes_changes_where_there_is_a_base(
    mergekit: Callable[..., dict[str, Tensor]], with_base: bool
) -> None:
    models, start = drawn()
    pair, base = {name: models[name] for name in "ab"}, start if with_base else None
    weights = {"a": 1.0, "b": 3.0}
    theirs = mergekit("nuslerp", pair, base, weight=weights)
    assert_same(ours("nuslerp", pair, base, weights, space="changes" if with_base else "weights"), theirs)


def test_mergekit_karcher(mergekit: Callable[..., dict[str, Tensor]]) -> None:
    models, _ = drawn()
    assert_same(ours("karcher", models), mergekit("karcher", models))


def test_mergekit_model_stock_by_tensor(mergekit: Callable[..., dict[str, Tensor]]) -> None:
    models, base = drawn()
    # Random changes are nearly orthogonal; a common part makes the cosine positive in every tensor.
    models = {s: {n: t + 0.2 * (n == "w") + 0.1 for n, t in model.items()} for s, model in models.items()}
    theirs = mergekit("model_stock", models, base, filter_wise=False)
    assert_same(ours("model_stock", models, base), theirs)


# PEFT


@pytest.fixture(scope="module")
def peft() -> Any:
    return pytest.importorskip("peft.utils.merge_utils", reason="PEFT is not installed")


def by_tensor(
    rule: Callable[[list[Tensor], Tensor], Tensor],
    models: Models,
    base: dict[str, Tensor],
    weights: Mapping[str, float],
) -> dict[str, Tensor]:
    numbers = torch.tensor([weights[source] for source in sorted(models)])
    return {
        name: start + rule([models[source][name] - start for source in sorted(models)], numbers)
        for name, start in base.items()
    }


def test_peft_task_arithmetic(peft: Any) -> None:
    models, base = drawn()
    theirs = by_tensor(peft.task_arithmetic, models, base, WEIGHTS)
    assert_same(ours("task_arithmetic", models, base, WEIGHTS, scale=1.0), theirs)


@pytest.mark.parametrize(("density", "sign"), [(0.2, "total"), (0.5, "total"), (0.5, "frequency")])
def test_peft_ties_without_weights(peft: Any, density: float, sign: str) -> None:
    # With three sources and all entries kept no vote by number is tied; with trimming some are, see below.
    models, base = drawn()
    density = 0.999 if sign == "frequency" else density
    theirs = by_tensor(lambda t, w: peft.ties(t, w, density, sign), models, base, dict.fromkeys("abc", 1.0))
    own = ours("ties", models, base, density=density, scope="tensor", sign="mass" if sign == "total" else "count")
    if sign == "total":
        assert_same(own, theirs)
    else:
        # PEFT cuts 39.96 entries down to 39, ours rounds to 40: where it trimmed one, votes may be tied.
        differing = sum(int((own[name] - theirs[name]).abs().gt(1e-6).sum()) for name in base)
        assert differing <= 2 * len(models)


def test_peft_ties_grows_with_the_weights_and_ours_does_not(peft: Any) -> None:
    models, base = drawn()
    once = by_tensor(lambda t, w: peft.ties(t, w, 0.5), models, base, dict.fromkeys("abc", 1.0))
    twice = by_tensor(lambda t, w: peft.ties(t, w, 0.5), models, base, dict.fromkeys("abc", 2.0))
    for name in base:
        torch.testing.assert_close(twice[name] - base[name], 2 * (once[name] - base[name]))
    own = ours("ties", models, base, dict.fromkeys("abc", 2.0), density=0.5, scope="tensor")
    assert_same(own, once)


# torch


def trajectory(steps: int) -> list[nn.Linear]:
    torch.manual_seed(0)
    return [nn.Linear(4, 3) for _ in range(steps)]


def named(states: list[nn.Linear]) -> Models:
    return {f"step-{i}": {n: t.detach() for n, t in state.state_dict().items()} for i, state in enumerate(states)}


def test_torch_s_averaged_model_is_the_simple_moving_average() -> None:
    states = trajectory(12)
    averaged = swa_utils.AveragedModel(states[0])
    for state in states:
        averaged.update_parameters(state)
    assert_same(merge("sma", named(states)), dict(averaged.module.state_dict()))


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.9])
def test_torch_s_exponential_average_copies_first_as_ours(decay: float) -> None:
    states = trajectory(12)
    rule = swa_utils.get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
    averaged = swa_utils.AveragedModel(states[0], multi_avg_fn=rule)
    for state in states:
        averaged.update_parameters(state)
    assert_same(merge("ema", named(states), decay=decay), dict(averaged.module.state_dict()))


def test_torch_s_average_copies_buffers_where_ours_pools_them() -> None:
    norms = [nn.BatchNorm1d(2) for _ in range(2)]
    for i, norm in enumerate(norms):
        norm.running_mean = torch.full((2,), 4.0 * i)
    averaged = swa_utils.AveragedModel(norms[0])
    for norm in norms:
        averaged.update_parameters(norm)
    theirs = averaged.module.state_dict()["running_mean"]
    models = {f"step-{i}": dict(norm.state_dict()) for i, norm in enumerate(norms)}
    own = merge("sma", models)
    assert theirs.tolist() == [4.0, 4.0], "torch keeps those of the last state"
    assert own["running_mean"].tolist() == [2.0, 2.0]
    assert own["running_var"].tolist() == [5.0, 5.0]


@pytest.mark.filterwarnings("ignore")
def test_merged_adapters_are_loaded_by_peft_and_change_what_they_should(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    torch.manual_seed(0)
    base = nn.Sequential(nn.Embedding(11, 6), nn.Linear(6, 8), nn.Linear(8, 4))
    before = {name: tensor.clone() for name, tensor in base.state_dict().items()}
    settings: dict[str, dict[str, object]] = {
        "a": {"r": 2, "lora_alpha": 6, "target_modules": ["0", "1", "2"]},
        "b": {
            "r": 4,
            "use_rslora": True,
            "alpha_pattern": {"1": 3},
            "rank_pattern": {"2": 1},
            "target_modules": ["1", "2"],
        },
    }
    changes = {}
    for source, options in settings.items():
        model = peft.get_peft_model(copy.deepcopy(base), peft.LoraConfig(**options))
        for name, parameter in model.named_parameters():
            if "lora" in name:
                nn.init.normal_(parameter)
        model.save_pretrained(str(tmp_path / source))
        after = model.merge_and_unload().state_dict()
        changes[source] = {name: after[name] - before[name] for name in before}
    out = tmp_path / "out" / "adapter_model.safetensors"
    merge_files("uniform", {source: tmp_path / source for source in settings}, out)
    loaded = peft.PeftModel.from_pretrained(copy.deepcopy(base), str(out.parent)).merge_and_unload().state_dict()
    for name, tensor in before.items():
        expected = tensor + (changes["a"][name] + changes["b"][name]) / 2
        torch.testing.assert_close(loaded[name], expected, rtol=1e-4, atol=1e-4)
