from __future__ import annotations

import re

import pytest
import torch

from hamdg.errors import ConfigError
from hamdg.merge import MergeSettings, ModelSet, merge, merge_with
from hamdg.merge.methods.emr import modulators
from tests.merge.tools import State, random_state, zeros


def test_equals_the_slow_reference() -> None:
    models, base = {source: random_state(i) for i, source in enumerate("abcd")}, random_state(9)
    merged = merge("emr", models, base)
    for name, tensor in merged.items():
        starts = base[name].flatten().tolist()
        rows = [models[source][name].flatten().tolist() for source in "abcd"]
        expected = []
        for i, start in enumerate(starts):
            changes = [row[i] - start for row in rows]
            plus = sum(changes) > 0
            same = [change for change in changes if (change > 0) == plus]
            expected.append(start + (max(same) if plus else min(same)))
        assert tensor.flatten().tolist() == pytest.approx(expected, abs=1e-12)
        assert tensor.shape == base[name].shape


# Sums 5, -6, 0, .5: the first elects plus with 4 and 3, the second minus with -2 and -5, the third no source.
MODELS = {
    "a": {"w": torch.tensor([4.0, -2.0, 1.0, 0.0])},
    "b": {"w": torch.tensor([3.0, -5.0, -1.0, 0.25])},
    "c": {"w": torch.tensor([-2.0, 1.0, 0.0, 0.25])},
}


def test_by_hand() -> None:
    base = {"w": torch.full((4,), 10.0)}
    models = {source: {"w": base["w"] + state["w"]} for source, state in MODELS.items()}
    assert merge("emr", models, base)["w"].tolist() == [14.0, 5.0, 10.0, 10.25]


def test_masks_and_rescalers_by_hand() -> None:
    found = modulators(ModelSet(MODELS, {"w": torch.zeros(4)}))
    # The unified change is (4, -5, 0, .25).
    assert {source: own.masks["w"].tolist() for source, own in found.items()} == {
        "a": [True, True, False, False],
        "b": [True, True, False, True],
        "c": [False, False, False, True],
    }
    # Norms 7, 9.25 and 3.25 over 9, 9.25 and .25.
    assert {source: own.rescale for source, own in found.items()} == pytest.approx({"a": 7 / 9, "b": 1.0, "c": 13.0})


def test_rescalers_are_of_the_whole_model_and_restore_its_norm() -> None:
    models, base = {source: random_state(i) for i, source in enumerate("abc")}, zeros(random_state(0))
    unified, found = merge("emr", models, base), modulators(ModelSet(models, base))
    for source, own in found.items():
        restored = sum(float((own.rescale * own.masks[n] * unified[n]).abs().sum()) for n in base)
        assert restored == pytest.approx(sum(float(models[source][n].abs().sum()) for n in base))


def test_a_source_that_nobody_follows_has_a_rescaler_of_one() -> None:
    models = {"a": {"w": torch.tensor([5.0])}, "b": {"w": torch.tensor([-1.0])}}
    found = modulators(ModelSet(models, {"w": torch.zeros(1)}))
    assert (found["b"].masks["w"].tolist(), found["b"].rescale) == ([False], 1.0)


def test_laws() -> None:
    models, base = {source: random_state(i) for i, source in enumerate("abc")}, random_state(9)

    def run(sources: dict[str, State], threads: int = 1) -> State:
        return merge_with("emr", sources, base, {}, MergeSettings(threads=threads))

    merged, again = run(models), run(dict(reversed(models.items())), 3)
    one, equal, still = run({"a": models["a"]}), run(dict.fromkeys("xyz", models["a"])), run(dict.fromkeys("ab", base))
    doubled = run({s: {n: base[n] + 2 * (m[n] - base[n]) for n in base} for s, m in models.items()})
    for name in base:
        assert torch.equal(merged[name], again[name])
        assert torch.equal(still[name], base[name])
        torch.testing.assert_close(one[name], models["a"][name])
        torch.testing.assert_close(equal[name], models["a"][name])
        torch.testing.assert_close(doubled[name] - base[name], 2 * (merged[name] - base[name]))


def test_large_tensors_are_put_together_from_their_pieces() -> None:
    rows = torch.stack([torch.randn(300_001, generator=torch.Generator().manual_seed(i)) for i in range(3)])
    models = {source: {"w": row} for source, row in zip("abc", rows, strict=True)}
    merged = merge("emr", models, {"w": torch.zeros(300_001)})["w"]
    plus = rows[0] + rows[1] + rows[2] > 0
    assert torch.equal(merged, torch.where(plus, rows.amax(0), rows.amin(0)))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_keeps_dtypes_and_computes_in_wider_ones(dtype: torch.dtype) -> None:
    base = {**zeros(random_state(9, dtype)), "none": torch.zeros(0, 3, dtype=dtype)}
    models = {source: {**random_state(i, dtype), "none": base["none"]} for i, source in enumerate("abc")}
    merged = merge("emr", models, base)
    wide = {source: {n: t.double() for n, t in model.items()} for source, model in models.items()}
    exact = merge("emr", wide, {n: t.double() for n, t in base.items()})
    for name, tensor in merged.items():
        assert tensor.dtype == dtype
        torch.testing.assert_close(tensor, exact[name].to(dtype))


def test_it_takes_no_options_and_no_weights() -> None:
    base = {"w": torch.zeros(4)}
    with pytest.raises(ConfigError, match=f"^{re.escape('Merge method `emr` has no option `scale`; it takes none.')}$"):
        merge("emr", MODELS, base, scale=1)
    with pytest.raises(ConfigError, match="Merge method `emr` takes no weights"):
        merge("emr", MODELS, base, {"a": 1, "b": 1, "c": 2})
