"""Studies of how far the rules of choosing a merge stay behind the best one on the held-out domain."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hamdg.errors import RunDirectoryError
from hamdg.runs.identity import run_directory
from hamdg.runs.record import read_record
from hamdg.stages import pipeline
from hamdg.stages.regret import study
from hamdg.stages.scoring import Scorer as HeldOutScorer
from hamdg.stages.search import search_merges
from hamdg.stages.source_models import SourceModels
from tests.stages.conftest import EXPERTS

if TYPE_CHECKING:
    from tests.stages.conftest import Tiny


def test_a_study_tells_how_far_each_rule_stays_behind_the_best_on_the_held_out_domain(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny(*EXPERTS, tower="vit")
    pipeline.run(recipe, show=False)
    path = run_directory(recipe)
    record = read_record(path / "record.json")
    found = study(path, 4, ["wise_ft", "rhm"])
    # The plain average is the run's own merge, which was tested on the held-out domain.
    assert found.values["plain average"] == pytest.approx(record["held_out_accuracy"])
    kept = json.loads((path / "regret.json").read_text())["scores"]
    assert found.oracle == max(kept.values()) == kept[found.best.key]
    assert found.values["random candidate"] == pytest.approx(sum(kept.values()) / len(kept))
    assert found.values["leave one source out"] == kept[found.chosen.key]
    # Each rule has a search of its own, with the same budget.
    inside = found.searched.in_domain
    assert inside is not None
    assert [inside.by, len(inside.scored), len(found.searched.found.scored)] == ["in_domain", 4, 4]
    assert found.values["in-domain"] == kept[inside.chosen.candidate.key] == kept[found.in_domain.key]
    assert set(kept) == {one.candidate.key for one in (*inside.scored, *found.searched.found.scored)}
    assert all(value <= found.oracle for value in found.values.values())
    # Nothing is tested twice, and a search does not read what the study wrote.
    monkeypatch.setattr(SourceModels, "merged", lambda self, candidate: pytest.fail("merged again"))
    again = study(path, 4, ["wise_ft", "rhm"])
    assert (again.values, again.oracle, again.best) == (found.values, found.oracle, found.best)
    before = search_merges(path, 4, ["wise_ft", "rhm"]).found
    (path / "regret.json").write_text("no JSON")
    assert search_merges(path, 4, ["wise_ft", "rhm"]).found == before
    with pytest.raises(RunDirectoryError, match=r"regret\.json` is damaged .*; delete it, and repeat the study\.$"):
        study(path, 4, ["wise_ft", "rhm"])


def test_a_study_scores_several_held_out_domains_by_the_mean_of_the_runs_evaluation(
    trained_experts: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {"art_painting": 0.2, "sketch": 0.8}
    monkeypatch.setattr(HeldOutScorer, "by_domain", lambda *_: [found])
    held_out = "--held_out=art_painting+sketch"
    path = trained_experts(held_out, "--evaluate.average=harmonic")
    assert study(path, 1).values["plain average"] == pytest.approx(0.32)
    # Which mean it is defines no run, so this one stays the same.
    assert trained_experts(held_out) == path
    assert study(path, 1).values["plain average"] == pytest.approx(0.5)


def test_held_out_scores_of_other_images_or_by_another_rule_are_not_taken(
    trained_experts: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = trained_experts()
    kept = path / "regret.json"
    right = study(path, 2, ["wise_ft"]).oracle
    own = json.loads(kept.read_text())
    wrong = json.dumps({**own, "scores": dict.fromkeys(own["scores"], 2.0)})
    kept.write_text(wrong)
    assert study(path, 2, ["wise_ft"]).oracle == 2.0
    for place, value in (("regret.combined_fingerprint", lambda _: "other"), ("search._SCORING", -1)):
        kept.write_text(wrong)
        with monkeypatch.context() as changed:
            changed.setattr(f"hamdg.stages.{place}", value)
            assert study(path, 2, ["wise_ft"]).oracle == right
