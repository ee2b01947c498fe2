from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from hamdg.algorithms import plan
from hamdg.algorithms.base import Entry, Histories
from hamdg.algorithms.erm import control_of
from hamdg.config.algorithms.ham import EnrichmentConfig, HamSettings, HarmonizationConfig
from hamdg.config.recipe import (
    ControlsConfig,
    DataConfig,
    HistoryConfig,
    MergeConfig,
    MiniConfig,
    Recipe,
    TrainConfig,
)
from hamdg.runs.identity import defining_part, identity, run_directory

SOURCES = ("art_painting", "cartoon", "photo")


def weights(seed: int) -> dict[str, Tensor]:
    draws = torch.Generator().manual_seed(seed)
    return {"conv1.weight": torch.randn(3, 2, generator=draws), "ln.bias": torch.randn(4, generator=draws)}


def found(names: tuple[str, ...]) -> Histories:
    last = {name: weights(10 + k) for k, name in enumerate(names)}
    history = {name: weights(20 + k) for k, name in enumerate(names)}
    return Histories(base=weights(0), last=last, history=history, merged=weights(1))


def flat(tensors: Tensor | object) -> Tensor:
    assert isinstance(tensors, dict)
    return torch.cat([tensors[name].flatten() for name in sorted(tensors)])


def test_ham_trains_one_model_per_source_and_erm_a_pooled_one() -> None:
    assert plan("ham").groups(SOURCES) == {name: (name,) for name in SOURCES}
    assert plan("erm").groups(SOURCES) == {"pooled": SOURCES}


def test_ham_says_that_it_is_a_reconstruction() -> None:
    assert plan("ham").label == "HAM (reconstruction)"


def test_hams_rows_and_their_weights() -> None:
    histories = found(SOURCES)
    rows = plan("ham").candidates(histories)
    by_key: dict[str, Entry] = {row.key: row for row in rows}

    assert [row.key for row in rows] == [
        "zero_shot",
        "source/art_painting",
        "source/cartoon",
        "source/photo",
        "uniform_last",
        "uniform_history",
        "shrunk",
        "ham",
    ]
    assert plan("ham").result == rows[-1].key
    assert [row.group for row in rows] == ["control", *["source"] * 3, *["control"] * 3, "merged"]
    assert torch.equal(flat(by_key["zero_shot"].weights), flat(histories.base))
    assert torch.equal(flat(by_key["ham"].weights), flat(histories.merged))
    assert torch.equal(flat(by_key["source/cartoon"].weights), flat(histories.last["cartoon"]))
    for key, models in (("uniform_last", histories.last), ("uniform_history", histories.history)):
        mean = sum(flat(model) for model in models.values()) / 3
        torch.testing.assert_close(flat(by_key[key].weights), mean)


def test_the_shrunk_control_has_hams_length_and_the_means_direction() -> None:
    histories = found(SOURCES)
    rows = {row.key: row.weights for row in plan("ham").candidates(histories)}
    base = flat(histories.base)
    shrunk, mean, own = (flat(rows[key]) - base for key in ("shrunk", "uniform_history", "ham"))

    assert float(shrunk.norm()) == pytest.approx(float(own.norm()), rel=1e-5)
    torch.testing.assert_close(shrunk / shrunk.norm(), mean / mean.norm())


def test_erms_rows_and_their_weights() -> None:
    histories = found(("pooled",))
    rows = plan("erm").candidates(histories)

    assert [row.key for row in rows] == ["zero_shot", "erm", "erm_sma"]
    assert plan("erm").result == rows[-1].key
    wanted = (histories.base, histories.last["pooled"], histories.merged)
    assert all(torch.equal(flat(row.weights), flat(own)) for row, own in zip(rows, wanted, strict=True))


# Nothing here may rest on the recipes' defaults.
SETTINGS = HamSettings(
    EnrichmentConfig(enabled=True, combine="mean"), HarmonizationConfig(method="sign_consensus", every=1)
)
OWN = Recipe(
    settings=SETTINGS,
    train=TrainConfig(steps=10, lr=0.5),
    history=HistoryConfig(kind="mean", start=0.5, every=2),
    merge=MergeConfig(options={"keep": 0.5}),
)
VARIANTS = {
    "label": replace(OWN, label="another name"),
    "enrichment": replace(OWN, settings=replace(SETTINGS, enrichment=EnrichmentConfig(enabled=False))),
    "combine": replace(OWN, settings=replace(SETTINGS, enrichment=EnrichmentConfig(combine="sum"))),
    "harmonization": replace(
        OWN, settings=replace(SETTINGS, harmonization=HarmonizationConfig(method="pcgrad", every=3))
    ),
    "history kind": replace(OWN, history=HistoryConfig(kind="beta", start=0.5, every=2, beta=2.0)),
    "snapshots": replace(OWN, history=HistoryConfig(kind="snapshots", start=0.5, every=2, keep=3)),
    "merge": replace(OWN, merge=MergeConfig(options={"keep": 0.2, "criterion": "agreement"})),
}
OTHERS = {
    "seed": replace(OWN, seed=7),
    "held_out": replace(OWN, held_out="photo"),
    "noise": replace(OWN, data=DataConfig(mini=MiniConfig(label_noise=0.2))),
    "steps": replace(OWN, train=TrainConfig(steps=50, lr=0.5)),
    "start of the average": replace(OWN, history=HistoryConfig(kind="mean", start=0.125, every=2)),
    "learning rate": replace(OWN, controls=ControlsConfig(erm_lr=1e-4)),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_all_variants_share_their_control(name: str) -> None:
    assert run_directory(control_of(VARIANTS[name])) == run_directory(control_of(OWN))
    if name != "label":
        assert identity(VARIANTS[name]) != identity(OWN)


@pytest.mark.parametrize("name", OTHERS)
def test_what_erm_depends_on_gives_another_control(name: str) -> None:
    assert run_directory(control_of(OTHERS[name])) != run_directory(control_of(OWN))


def test_a_control_has_the_runs_budget_and_none_of_hams_parts() -> None:
    recipe = replace(Recipe(label="ours"), train=TrainConfig(steps=7, lr=0.5), controls=ControlsConfig(erm_lr=0.25))
    control = control_of(recipe)

    assert (control.algorithm, control.label) == ("erm", "")
    assert control.train == replace(recipe.train, lr=0.25)
    assert (control.data, control.model, control.seed, control.runtime) == (
        recipe.data,
        recipe.model,
        recipe.seed,
        recipe.runtime,
    )
    assert not {"ham", "merge", "controls"} & set(defining_part(control))
    assert not plan("erm").merges
    assert control_of(control) == control
    assert control_of(replace(OWN, controls=ControlsConfig(erm_lr=None), train=TrainConfig(lr=0.125))).train.lr == 0.125
