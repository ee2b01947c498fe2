"""What every algorithm promises, and what each one's steps and rows are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor

from hamdg.algorithms.base import Entry
from hamdg.config.algorithms import find, names
from hamdg.config.algorithms.ham import EnrichmentConfig, HamSettings, HarmonizationConfig
from hamdg.config.controls import controls_of
from hamdg.config.data import DataConfig, MiniConfig
from hamdg.config.recipe import ControlsConfig, HistoryConfig, HistoryKind, MergeConfig, Recipe, TrainConfig
from hamdg.merge.files import load_tensors
from hamdg.models.network import Weights
from hamdg.runs.identity import defining_part, identity, run_directory
from hamdg.runs.steps import read_step_summary, read_validation
from hamdg.stages.discovery import algorithm_of
from hamdg.stages.step_files import Histories
from tests.algorithms.conftest import ALGORITHMS

if TYPE_CHECKING:
    from tests.algorithms.conftest import Done

    Runs = Callable[..., Done]

SOURCES = ("art_painting", "cartoon", "photo")
EVERY = pytest.mark.parametrize("name", ALGORITHMS)


def recipe_of(name: str, **changes: object) -> Recipe:
    return replace(Recipe(algorithm=name, settings=find(name)()), **changes)  # type: ignore[arg-type]


def first_step(name: str) -> str:
    return algorithm_of(recipe_of(name)).steps()[0].name


# Of each step: its name, the sections that it reads, and the domains.
BOTH = frozenset({"sources", "targets"})
STEPS: Mapping[str, list[tuple[str, set[str], set[str]]]] = {
    "ahp": [("train", {"train", "history", "ahp"}, {"sources"})],
    "clipood": [("train", {"train", "history", "clipood"}, {"sources"})],
    "coral": [("train", {"train", "history", "coral"}, {"sources"})],
    "dmm": [
        ("common_start", {"dmm.start"}, {"sources"}),
        ("train", {"train", "dmm.clients"}, {"sources"}),
        ("merge", {"merge", "dmm.merge"}, set()),
        ("synthesize", {"dmm.synthesize"}, set()),
        ("distill", {"dmm.distill"}, set()),
    ],
    "erm": [("train", {"train", "history"}, {"sources"}), ("merge", set(), set())],
    "erm_pp": [("search", {"train", "erm_pp"}, {"sources"}), ("train", {"train", "erm_pp"}, {"sources"})],
    "experts": [("train", {"train", "history"}, {"sources"}), ("merge", {"merge"}, set())],
    "ham": [("train", {"train", "history", "ham"}, {"sources"}), ("merge", {"merge"}, set())],
    "lora": [("train", {"train", "history", "lora"}, {"sources"})],
    "miro": [("train", {"train", "history", "miro"}, {"sources"})],
    "mmd": [("train", {"train", "history", "mmd"}, {"sources"})],
    "scmd": [("distill", {"train", "history", "scmd"}, {"sources"})],
    "vl2v": [("train", {"train", "history", "vl2v"}, {"sources"})],
    "wise_ft": [("train", {"train", "history"}, {"sources"}), ("merge", {"wise_ft"}, {"sources"})],
}


@pytest.mark.parametrize("name", STEPS)
def test_the_steps_declare_what_they_read(name: str) -> None:
    steps = algorithm_of(recipe_of(name)).steps()
    assert [(step.name, set(step.sections), set(step.reads)) for step in steps] == STEPS[name]


@pytest.mark.parametrize("name", ["experts", "ham"])
@pytest.mark.parametrize(("method", "reads"), [("fisher", {"sources"}), ("adamerging", BOTH), ("ties", set())])
def test_a_merge_reads_what_its_method_asks_for(name: str, method: str, reads: set[str]) -> None:
    target = method if method == "adamerging" else None
    algorithm = algorithm_of(recipe_of(name, merge=MergeConfig(method=method, target_data=target)))
    train, merge = algorithm.steps()
    assert (set(train.reads), set(merge.reads)) == ({"sources"}, reads)


@EVERY
def test_every_section_that_defines_a_run_is_read_by_a_step_and_the_other_way_round(name: str) -> None:
    recipe = recipe_of(name)
    read = {section.partition(".")[0] for step in algorithm_of(recipe).steps() for section in step.sections}
    assert read <= {*recipe.settings.uses, name}
    assert set(recipe.settings.uses) - {"controls"} <= read


@EVERY
def test_the_rows_are_those_that_were_announced_and_the_result_is_the_last(done: Runs, name: str) -> None:
    context = done(name).context()
    entries = context.algorithm.entries(context)
    keys = [entry.key for entry in entries]
    assert keys == list(context.algorithm.keys(context.sources))
    assert len(set(keys)) == len(keys)
    assert keys[0] == "zero_shot"
    assert torch.equal(flat(entries[0].weights), flat(context.base()))
    assert entries[-1].label == context.algorithm.label
    assert list(read_validation(context.run)) == keys
    exported = load_tensors(context.run.merged)
    assert all(torch.equal(exported[f"visual.{name}"], tensor) for name, tensor in entries[-1].weights.items())


@EVERY
def test_no_step_opened_the_held_out_domain_or_any_that_it_does_not_read(done: Runs, name: str) -> None:
    own = done(name)
    for step in algorithm_of(own.recipe).steps():
        found = read_step_summary(own.run.step(step.name))
        assert found["opened"] == (list(SOURCES) if step.reads else [])
        assert found["reads"] == sorted(step.reads)


@EVERY
def test_a_run_leads_away_from_its_start(done: Runs, name: str) -> None:
    context = done(name).context()
    first, *_, last = context.algorithm.entries(context)
    start = {name: first.weights[name] for name in last.weights}
    assert float((flat(last.weights) - flat(start)).norm()) > 1e-3
    train = read_step_summary(context.run.step(first_step(name)))
    assert train["images_seen"] == 4 * 4 * 3
    assert train["facts"]["steps"] == 4


def flat(tensors: Weights) -> Tensor:
    return torch.cat([tensors[name].flatten() for name in sorted(tensors)])


def rows(own: Done) -> tuple[dict[str, Entry], Histories]:
    context = own.context()
    found = context.step("train").history()
    return {entry.key: entry for entry in context.algorithm.entries(context)}, found


def test_ham_trains_one_model_per_source_and_the_pooled_ones_a_single_one(done: Runs) -> None:
    found = {name: read_step_summary(done(name).run.step(first_step(name))) for name in ALGORITHMS}
    each, one = {name: [name] for name in SOURCES}, {"pooled": list(SOURCES)}
    pooled = ("ahp", "clipood", "coral", "erm", "lora", "miro", "mmd", "vl2v", "wise_ft")
    wanted = dict.fromkeys(pooled, one) | dict.fromkeys(("experts", "ham"), each)
    wanted["scmd"] = {"student": list(SOURCES)}
    assert {name: summary["facts"]["learners"] for name, summary in found.items()} == wanted


def test_hams_rows_and_their_weights(done: Runs) -> None:
    by_key, found = rows(done("ham"))
    wanted = ["zero_shot", *(f"source/{name}" for name in SOURCES), "uniform_last", "uniform_history", "shrunk", "ham"]
    assert list(by_key) == wanted
    assert [row.group for row in by_key.values()] == ["control", *["source"] * 3, *["control"] * 3, "merged"]
    merged = done("ham").context().step("merge").load("merged")
    assert torch.equal(flat(by_key["ham"].weights), flat(merged))
    assert torch.equal(flat(by_key["source/cartoon"].weights), flat(found.last["cartoon"]))
    for key, models in (("uniform_last", found.last), ("uniform_history", found.history)):
        mean = torch.stack([flat(one) for one in models.values()]).mean(0)
        torch.testing.assert_close(flat(by_key[key].weights), mean)


def test_the_shrunk_control_has_hams_length_and_the_means_direction(done: Runs) -> None:
    by_key, _ = rows(done("ham"))
    base = flat(by_key["zero_shot"].weights)
    shrunk, mean, own = (flat(by_key[key].weights) - base for key in ("shrunk", "uniform_history", "ham"))
    assert float(shrunk.norm()) == pytest.approx(float(own.norm()), rel=1e-3)
    torch.testing.assert_close(shrunk / shrunk.norm(), mean / mean.norm(), rtol=1e-2, atol=1e-4)


def test_erms_rows_are_the_last_model_and_the_average_of_its_history(done: Runs) -> None:
    by_key, found = rows(done("erm"))
    assert list(by_key) == ["zero_shot", "erm", "erm_sma"]
    assert torch.equal(flat(by_key["erm"].weights), flat(found.last["pooled"]))
    assert torch.equal(flat(by_key["erm_sma"].weights), flat(found.history["pooled"]))
    assert not torch.equal(flat(found.last["pooled"]), flat(found.history["pooled"]))


@pytest.mark.parametrize(
    ("kind", "keys", "label"),
    [
        ("last", ["erm"], "ERM (pooled)"),
        ("mean", ["erm", "erm_sma"], "ERM + SMA"),
        ("snapshots", ["erm", "erm_sma"], "ERM + SMA"),
        ("ema", ["erm", "erm_ema"], "ERM + EMA"),
        ("beta", ["erm", "erm_beta"], "ERM + Beta average"),
        ("swad", ["erm", "erm_swad"], "ERM + SWAD"),
        ("linear", ["erm", "erm_sma_linear"], "ERM + SMA, late steps weigh more"),
        ("validated", ["erm", "erm_sma_validated"], "ERM + SMA, weighted by validation"),
        ("best", ["erm", "erm_best"], "ERM, best on validation"),
    ],
)
def test_keys_and_label_of_erm_say_what_its_average_is(kind: HistoryKind, keys: list[str], label: str) -> None:
    algorithm = algorithm_of(recipe_of("erm", history=HistoryConfig(kind=kind)))
    assert algorithm.keys(SOURCES) == ("zero_shot", *keys)
    assert algorithm.label == label


@pytest.mark.parametrize("kind", ["last", "ema"])
def test_erms_result_is_the_history_that_it_is_called_after(done: Runs, kind: str) -> None:
    own = done("erm", f"--history.kind={kind}")
    by_key, found = rows(own)
    assert list(by_key) == list(algorithm_of(own.recipe).keys(SOURCES))
    *_, result = by_key.values()
    assert result.label == algorithm_of(own.recipe).label
    assert torch.equal(flat(result.weights), flat(found.history["pooled"]))


def test_the_result_of_experts_is_the_merge_that_the_recipe_names(done: Runs) -> None:
    by_key, found = rows(done("experts", "--merge.method=uniform"))
    assert list(by_key) == ["zero_shot", *(f"source/{name}" for name in SOURCES), "experts"]
    mean = torch.stack([flat(one) for one in found.history.values()]).mean(0)
    torch.testing.assert_close(flat(by_key["experts"].weights), mean)


@pytest.mark.parametrize("name", ["coral", "mmd"])
def test_a_penaltys_result_is_the_history_and_its_weight_matters(done: Runs, name: str) -> None:
    by_key, found = rows(done(name))
    assert torch.equal(flat(by_key[name].weights), flat(found.history["pooled"]))
    without = rows(done(name, f"--{name}.weight=0"))[1].last["pooled"]
    assert torch.equal(flat(without), flat(rows(done("erm"))[1].last["pooled"]))
    assert not torch.equal(flat(without), flat(found.last["pooled"]))


LABELS = {
    "ahp": "AHP",
    "clipood": "CLIPood",
    "coral": "CORAL",
    "erm": "ERM + SMA",
    "experts": "experts, merged by rhm",
    "ham": "HAM (reconstruction)",
    "lora": "CLIP-LoRA",
    "miro": "MIRO",
    "mmd": "MMD",
    "scmd": "SCMD",
    "vl2v": "VL2V-SD",
    "wise_ft": "WiSE-FT",
}


@EVERY
def test_only_ham_says_that_it_is_a_reconstruction(name: str) -> None:
    algorithm = algorithm_of(recipe_of(name))
    assert algorithm.label == LABELS[name]
    assert ("our reconstruction" in algorithm.footnote) == (name == "ham")
    assert bool(algorithm.footnote) == (name == "ham")


def test_labels_name_the_merge_method() -> None:
    ties = MergeConfig(method="ties")
    assert algorithm_of(recipe_of("experts", merge=ties)).label == "experts, merged by ties"
    ham = algorithm_of(recipe_of("ham", merge=ties))
    assert ham.label == "HAM (reconstruction), merged by ties"
    assert "the histories were merged by ties in place of HAM's historical merge" in ham.footnote


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
    "coral": replace(OWN, algorithm="coral", settings=find("coral")()),
    "experts": replace(OWN, algorithm="experts", settings=find("experts")()),
}
OTHERS = {
    "seed": replace(OWN, seed=7),
    "held_out": replace(OWN, held_out="photo"),
    "excluded": replace(OWN, excluded=["photo"]),
    "noise": replace(OWN, data=DataConfig(mini=MiniConfig(label_noise=0.2))),
    "steps": replace(OWN, train=TrainConfig(steps=50, lr=0.5)),
    "start of the average": replace(OWN, history=HistoryConfig(kind="mean", start=0.125, every=2)),
    "learning rate": replace(OWN, controls=ControlsConfig(erm_lr=1e-4)),
}


def control_of(recipe: Recipe) -> Recipe:
    (control,) = algorithm_of(recipe).controls()
    return control


@pytest.mark.parametrize("name", VARIANTS)
def test_all_variants_share_their_control(name: str) -> None:
    assert run_directory(control_of(VARIANTS[name])) == run_directory(control_of(OWN))
    if name != "label":
        assert identity(VARIANTS[name]) != identity(OWN)


@pytest.mark.parametrize("name", OTHERS)
def test_what_erm_depends_on_gives_another_control(name: str) -> None:
    assert run_directory(control_of(OTHERS[name])) != run_directory(control_of(OWN))


@EVERY
def test_controls_can_be_done_without_and_erm_has_none(name: str) -> None:
    assert len(algorithm_of(recipe_of(name)).controls()) == (name != "erm")
    assert not algorithm_of(recipe_of(name, controls=ControlsConfig(erm=False))).controls()


def test_sections_that_an_algorithm_does_not_read_change_no_control() -> None:
    own, other = (
        replace(OWN, algorithm="erm_pp", settings=find("erm_pp")(), history=HistoryConfig(start=start, every=every))
        for start, every in ((0.5, 5), (0.125, 50))
    )
    assert identity(own) == identity(other)
    assert run_directory(control_of(own)) == run_directory(control_of(other))


@pytest.mark.parametrize("name", [name for name in names() if "controls" in find(name).uses])
def test_a_control_is_defined_by_what_defines_its_run(name: str) -> None:
    own = replace(OWN, algorithm=name, settings=find(name)())
    for section, value in (("train", TrainConfig(steps=99)), ("history", HistoryConfig(every=7))):
        other = replace(own, **{section: value})  # type: ignore[arg-type]
        same = [identity(one) == identity(two) for one, two in ((own, other), (control_of(own), control_of(other)))]
        assert same[0] == same[1] == (section not in own.settings.uses)


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
    assert controls_of(control) == [control]
    assert control_of(replace(OWN, controls=ControlsConfig(erm_lr=None), train=TrainConfig(lr=0.125))).train.lr == 0.125
