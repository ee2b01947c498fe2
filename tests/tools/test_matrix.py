from __future__ import annotations

import math
from pathlib import Path

import pytest

from hamdg.config.recipe import Recipe
from hamdg.tools import matrix

DOMAINS = ("art_painting", "cartoon", "photo", "sketch")


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[Recipe]:
    """Replace the pipeline: source i reaches 0.i on the held-out domain, and 0.9 on its own hold-out set."""
    made: list[Recipe] = []

    def run(recipe: Recipe, command: str, show: bool) -> Path:
        made.append(recipe)
        return Path(f"run-{len(made)}", "record.json")

    def sources() -> list[str]:
        return [name for name in DOMAINS if name != made[-1].held_out]

    def record(path: Path) -> dict[str, object]:
        return {
            "zero_shot_accuracy": 0.5,
            "source_accuracies": {name: DOMAINS.index(name) / 10 for name in sources()},
            "rows": [{"key": "zero_shot", "label": "zero-shot"}],
        }

    def index(step: object) -> dict[str, object]:
        return {"sources": {name: {"last": {"validation_accuracy": 0.9}} for name in sources()}}

    monkeypatch.setattr("hamdg.stages.pipeline.run", run)
    monkeypatch.setattr(matrix, "read_record", record)
    monkeypatch.setattr(matrix, "read_index", index)
    return made


def test_every_domain_is_trained_on_and_tested_on(runs: list[Recipe], capsys: pytest.CaptureFixture[str]) -> None:
    assert matrix.main(["--train.steps=600"]) == 0
    assert tuple(recipe.held_out for recipe in runs) == DOMAINS
    assert {(recipe.train.steps, recipe.runtime.report) for recipe in runs} == {(600, False)}
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[1] == ["trained", "on", *DOMAINS]
    assert lines[3:] == [
        ["zero-shot", "50.0", "50.0", "50.0", "50.0"],
        ["art_painting", "90.0", "0.0", "0.0", "0.0"],
        ["cartoon", "10.0", "90.0", "10.0", "10.0"],
        ["photo", "20.0", "20.0", "90.0", "20.0"],
        ["sketch", "30.0", "30.0", "30.0", "90.0"],
    ]


def test_what_was_not_measured_is_no_number(runs: list[Recipe], monkeypatch: pytest.MonkeyPatch) -> None:
    unmeasured = {"sources": {"photo": {"last": {"validation_accuracy": None}}}}
    monkeypatch.setattr(matrix, "read_index", lambda step: unmeasured)
    assert math.isnan(matrix.matrix([])["photo"]["photo"])


def test_a_wrong_key_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert matrix.main(["--train.stepps=3"]) == 2
    assert "did you mean `--train.steps`?" in capsys.readouterr().err
