"""Searches of a tiny run's merges: the held-out domain stays closed, scores are kept, and what cannot be is refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hamdg.config.data import ConflictsConfig
from hamdg.config.reading import checked
from hamdg.config.recipe import Recipe
from hamdg.data import domain
from hamdg.data.domain import Domain, WallError, open_domain
from hamdg.errors import ConfigError, RunDirectoryError
from hamdg.merge import merge
from hamdg.merge.candidates import Candidate
from hamdg.models.network import Weights
from hamdg.runs.directory import RunDirectory
from hamdg.runs.identity import run_directory
from hamdg.stages import pipeline
from hamdg.stages.context import Context
from hamdg.stages.holdout_scores import HoldoutScores
from hamdg.stages.regret import study
from hamdg.stages.search import search_merges
from hamdg.stages.source_models import SourceModels
from tests.stages.conftest import EXPERTS
from tests.stages.test_segmentation_run import recipe as streets

if TYPE_CHECKING:
    from tests.stages.conftest import Tiny


def test_a_search_scores_by_hand_and_never_opens_the_held_out_domain(
    trained_experts: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = trained_experts()
    opened: list[str] = []
    own = domain._opened

    def noted(recipe: object, name: str, *others: object) -> Domain:
        opened.append(name)
        if name == "sketch":
            raise AssertionError("the held-out domain was opened")
        return own(recipe, name, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(domain, "_opened", noted)
    asked: list[tuple[str, int]] = []
    outcomes = HoldoutScores.outcomes

    def counted(self: HoldoutScores, weights: Weights, source: str, network: object = None) -> list[float]:
        found = outcomes(self, weights, source)
        asked.append((source, len(found)))
        return found

    monkeypatch.setattr(HoldoutScores, "outcomes", counted)
    searched = search_merges(path, 3, ["wise_ft"])
    assert set(opened) == {"art_painting", "cartoon", "photo"}
    assert len(asked) == 3 * 2 * 3  # merges, rules, sources
    found = searched.found
    assert [len(one.scores) for one in found.scored] == [2, 2, 2]
    assert searched.new == 3
    kept = json.loads((path / "search.json").read_text())
    assert kept["images"] == dict(asked)
    assert [one["scores"]["leave_one_out"] for one in kept["candidates"]] == [
        dict(one.scores["leave_one_out"]) for one in found.scored
    ]
    # A larger budget goes on, and a smaller one takes what is there.
    asked.clear()
    assert search_merges(path, 4, ["wise_ft"]).new == 1
    again = search_merges(path, 3, ["wise_ft"])
    assert (again.new, again.found) == (0, found)
    assert len(asked) == 2 * 2 * 3  # the average, with which the new one is compared, and the new one


def test_live_batchnorm_and_label_maps_are_scored_as_the_validation_scores_them(tmp_path: Path) -> None:
    recipe = streets(tmp_path)
    pipeline.run(recipe, until="validate", show=False)
    path = run_directory(recipe)
    found = search_merges(path, 3, ["wise_ft"]).found
    # The run is merged by the plain average.
    validation = json.loads((path / "validation.json").read_text())["validation"]
    assert found.average.score("in_domain") == pytest.approx(validation["experts"])
    # A mean IoU is a single number, of which no error is known.
    assert all(one.errors == {"leave_one_out": 0, "in_domain": 0} for one in found.scored)


def test_a_clean_search_that_was_stopped_trains_what_is_left(
    trained_experts: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = trained_experts("--algorithm=ham", "--controls.erm=false", "--excluded=[photo]")
    run, started = pipeline.run, list[str]()

    def stopped(recipe: Recipe, **options: object) -> Path:
        started.append(recipe.held_out)
        if len(started) == 2:
            raise KeyboardInterrupt
        return run(recipe, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(pipeline, "run", stopped)
    with pytest.raises(KeyboardInterrupt):
        search_merges(path, 1, clean=True)
    (first,) = path.parents[2].glob("*+sketch/ham/*/train.json")
    before = first.stat().st_mtime_ns
    monkeypatch.setattr(pipeline, "run", run)
    assert search_merges(path, 1, clean=True).new == 1
    assert first.stat().st_mtime_ns == before
    assert len(list(path.parents[2].glob("*+sketch/ham/*/train.json"))) == 2


def test_a_clean_search_leaves_out_the_conflicts_of_the_source_that_is_left_out(
    trained_experts: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = "--data.conflicts.noise={photo: 0.4, cartoon: 0.2}"
    swap = "--data.conflicts.swap={photo: {dog: horse, horse: dog}}"
    path = trained_experts("--excluded=[art_painting]", noise, swap)

    def refused(recipe: Recipe) -> Recipe:
        if "photo" in recipe.held_out:
            raise ConfigError("refused")
        return checked(recipe)

    # Whatever is refused is refused before anything is trained.
    with monkeypatch.context() as patch, pytest.raises(ConfigError, match=r"^refused$"):
        patch.setattr("hamdg.stages.search.checked", refused)
        search_merges(path, 1, clean=True)
    assert not list(path.parents[2].glob("*+sketch"))
    assert search_merges(path, 1, clean=True).new == 1
    runs = [RunDirectory(one.parent).recipe() for one in path.parents[2].glob("*+sketch/experts/*/train.json")]
    labels = {"dog": "horse", "horse": "dog"}
    assert {one.held_out: one.data.conflicts for one in runs} == {
        "photo+sketch": ConflictsConfig(noise={"cartoon": 0.2}),
        "cartoon+sketch": ConflictsConfig(noise={"photo": 0.4}, swap={"photo": labels}),
    }


def test_a_clean_search_is_not_refused_by_the_merge_of_the_run_itself(trained_experts: Callable[..., Path]) -> None:
    # Of the two models without photo one is left without another source, and slerp takes two.
    path = trained_experts("--excluded=[photo]", "--merge.method=slerp")
    found = search_merges(path, 2, ["wise_ft"], clean=True).found
    assert [one.candidate.method for one in found.scored] == ["uniform", "wise_ft"]


def test_experts_that_are_mixed_with_joint_training_are_searched_without_it(
    trained_experts: Callable[..., Path], tiny: Tiny
) -> None:
    plain = search_merges(trained_experts(), 2, ["wise_ft"]).found
    recipe = tiny(*EXPERTS, "--experts.joint_share=0.5", tower="vit")
    pipeline.run(recipe, until="joint", show=False)
    path = run_directory(recipe)
    assert search_merges(path, 2, ["wise_ft"]).found == plain
    # Without a source, the experts alone are trained.
    assert search_merges(path, 2, ["wise_ft"], clean=True).new == 2
    left = [one.parent for one in path.parents[2].glob("*+sketch/experts/*/train.json")]
    assert len(left) == 3
    assert not any((run / "joint.json").exists() for run in left)


def test_scores_of_other_models_are_not_taken(trained_experts: Callable[..., Path]) -> None:
    path = trained_experts()
    assert search_merges(path, 1).new == 1
    kept = path / "search.json"
    before = kept.read_text()
    # The scores of what lay there before.
    kept.write_text(before.replace(json.loads(before)["identity"], "another1"))
    assert search_merges(path, 1).new == 1
    assert kept.read_text() == before


def test_scores_in_another_precision_are_not_taken(
    trained_experts: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = trained_experts()
    study(path, 1)
    in_full = json.loads((path / "regret.json").read_text())
    with monkeypatch.context() as patch:
        patch.setattr(Context, "half", True)
        assert study(path, 1).searched.new == 1
        assert json.loads((path / "regret.json").read_text())["identity"] != in_full["identity"]
    assert search_merges(path, 1).new == 1


def test_code_that_a_search_calls_meets_the_wall(
    trained_experts: Callable[..., Path], tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny(*EXPERTS, tower="vit")

    def curious(self: SourceModels, candidate: Candidate) -> Weights:
        open_domain(recipe, "sketch", 32)
        raise AssertionError("never reached")

    monkeypatch.setattr(SourceModels, "merged", curious)
    with pytest.raises(WallError, match=r"^The domain `sketch` must not be opened here"):
        search_merges(trained_experts(), 1)


def test_each_source_is_scored_on_a_merge_of_the_others(
    trained_experts: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, list[Weights]] = {}
    models: dict[str, Mapping[str, Weights]] = {}

    def noted(self: HoldoutScores, weights: Weights, source: str, network: object = None) -> list[float]:
        asked.setdefault(source, []).append(weights)
        return [1.0]

    without = SourceModels.without

    def kept(self: SourceModels, source: str) -> SourceModels:
        models["all"] = self.models
        return without(self, source)

    monkeypatch.setattr(HoldoutScores, "outcomes", noted)
    monkeypatch.setattr(SourceModels, "without", kept)
    search_merges(trained_experts(), 1)
    for source, (outside, inside) in asked.items():
        others = {name: own for name, own in models["all"].items() if name != source}
        for found, wanted in ((outside, merge("uniform", others)), (inside, merge("uniform", models["all"]))):
            assert all(found[name].equal(tensor) for name, tensor in wanted.items())
    assert set(asked) == set(models["all"])


def test_two_sources_and_models_that_have_seen_each_other_are_told(trained_experts: Callable[..., Path]) -> None:
    notes = search_merges(trained_experts("--excluded=[photo]"), 1).notes
    assert [note.partition(":")[0] for note in notes] == ["With two sources, leave-one-source-out merges one model"]
    searched = search_merges(trained_experts("--algorithm=ham", "--controls.erm=false"), 1)
    assert searched.leaking
    assert searched.notes[0].startswith("LEAKING: the source models have learned from each other's domains")
    apart = ("--ham.enrichment.enabled=false", "--ham.harmonization.method=none")
    assert not search_merges(trained_experts("--algorithm=ham", "--controls.erm=false", *apart), 1).leaking


def test_sources_that_show_the_same_drawings_leak(trained_experts: Callable[..., Path]) -> None:
    path = trained_experts("--data.mini.copies=[photo_dark]", "--excluded=[cartoon]")
    searched = search_merges(path, 1)
    assert searched.leaking
    assert json.loads(searched.file.read_text())["leaking"]
    note = (
        "LEAKING: the same drawings, in another light, are in photo and photo_dark, so that models have learned from "
    )
    assert searched.notes == [note + "drawings that their merges are scored on."]


def test_the_clean_rule_merges_models_that_never_saw_the_source(trained_experts: Callable[..., Path]) -> None:
    path = trained_experts("--algorithm=ham", "--controls.erm=false")
    searched = search_merges(path, 2, ["wise_ft"], clean=True)
    assert not searched.leaking
    assert not searched.notes
    assert searched.file.name == "search-clean.json"
    runs = sorted(one.parents[2].name for one in path.parents[2].glob("*/ham/*/train.json") if one.parent != path)
    assert runs == ["art_painting+sketch", "cartoon+sketch", "photo+sketch"]
    # They are trained once.
    before = {one: one.stat().st_mtime_ns for one in path.parents[2].glob("*+sketch/ham/*/train.json")}
    assert search_merges(path, 2, ["wise_ft"], clean=True).new == 0
    assert before == {one: one.stat().st_mtime_ns for one in before}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("--algorithm=erm",), r"is a run of `erm`, which merges nothing by the section `merge`\.$"),
        (("--algorithm=soup", "--soup.runs=2"), r"whose models are not one for each source domain, so that no domain"),
        (("--excluded=[photo,cartoon]",), r"has one source domain, `art_painting`, and leaving one out needs two or"),
    ],
)
def test_runs_without_several_source_models_are_refused(tiny: Tiny, overrides: tuple[str, ...], message: str) -> None:
    recipe = tiny(*EXPERTS, *overrides, tower="vit")
    pipeline.run(recipe, until="validate", show=False)
    with pytest.raises(ConfigError, match=message):
        search_merges(run_directory(recipe), 1)


def test_an_untrained_run_and_a_damaged_file_are_refused(trained_experts: Callable[..., Path]) -> None:
    path = trained_experts()
    (path / "search.json").write_text("{}")
    with pytest.raises(RunDirectoryError, match=r"search\.json` is damaged .*; delete it, and search again\.$"):
        search_merges(path, 1)
    (path / "train.json").unlink()
    with pytest.raises(ConfigError, match=r"is not trained yet; finish it with `hamdg run` first\.$"):
        search_merges(path, 1)
