"""Findings that are printed where their conditions hold."""

from __future__ import annotations

import json
from importlib.resources import files

import pytest

from hamdg.conflicts.experience import FACTS, Finding, experience, shipped

MADE_UP: list[Finding] = [
    {"sentence": "noisy", "when": {"wrong_labels": (0.2, None)}},
    {"sentence": "many sources that agree", "when": {"sources": (3, None), "cosine": (0.5, None)}},
    {"sentence": "two", "when": {"sources": (2, 2)}},
]


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"sources": 3.0, "wrong_labels": 0.2, "cosine": 0.6}, ["noisy", "many sources that agree"]),
        ({"sources": 3.0, "wrong_labels": 0.1, "cosine": 0.4}, []),
        # What could not be measured meets no condition.
        ({"sources": 3.0, "wrong_labels": 0.1}, []),
        ({"sources": 2.0, "wrong_labels": 0.0}, ["two"]),
    ],
)
def test_a_finding_is_told_where_all_its_conditions_hold(facts: dict[str, float], said: list[str]) -> None:
    assert [one["sentence"] for one in experience(facts, MADE_UP)] == said


def test_shipped_findings_ask_for_facts_that_there_are_and_name_what_measured_them() -> None:
    assert shipped() == json.loads(files("hamdg.conflicts").joinpath("findings.json").read_text("utf-8"))
    for one in shipped():
        assert set(one["when"]) <= set(FACTS)
        assert one["command"].startswith("hamdg ")
