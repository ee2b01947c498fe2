"""What `hamdg merge RUN --search` prints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hamdg import cli
from hamdg.merge.candidates import Candidate
from hamdg.merge.search import Found, Scored
from hamdg.stages import search
from hamdg.stages.search import Searched


def scored(candidate: Candidate, outside: float, inside: float, error: float = 0.0) -> Scored:
    scores = {"leave_one_out": {"a": outside}, "in_domain": {"a": inside}}
    return Scored(candidate, scores, {"leave_one_out": error, "in_domain": error})  # type: ignore[arg-type]


AVERAGE = scored(Candidate("uniform"), 0.5, 0.6)
TIES = scored(Candidate("ties", {"density": 0.4, "combine": "sum"}), 0.75, 0.5, error=0.125)
WISE = scored(Candidate("wise_ft"), 0.25, 0.875, error=0.125)


def found(monkeypatch: pytest.MonkeyPatch, *candidates: Scored) -> None:
    """Let a search find some candidates, two of them now."""
    refused = {"slerp {}": "it takes two", 'ties {"density": 2.0}': "too dense"}
    searched = Searched(
        found=Found("leave_one_out", candidates, refused),
        in_domain=None,
        file=Path("run/search.json"),
        own=Candidate("uniform"),
        new=2,
        notes=["LEAKING: all"],
        leaking=True,
    )
    monkeypatch.setattr(search, "search_merges", lambda *_, **__: searched)


def test_it_names_the_choices_and_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found(monkeypatch, AVERAGE, TIES, WISE)
    assert cli.main(["merge", "run", "--search"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[2:5]] == ["ties", "uniform", "wise_ft"]
    assert lines[2].endswith("75.0          50.0  leave one out")
    assert lines[5:] == [
        "",
        "tried                  3 merges, 1 of them before",
        "cannot merge these     slerp: it takes two",
        "chosen                 ties (density 0.4, combine sum)",
        "in-domain would choose wise_ft",
        "kept in                run/search.json",
        "note                   LEAKING: all",
        "",
        "hamdg merge run --merge.method=ties --merge.options.density=0.4 --merge.options.combine=sum",
    ]


def test_it_says_why_the_first_was_not_chosen(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found(monkeypatch, AVERAGE, scored(Candidate("ties"), 0.55, 0.5, error=0.0625))
    assert cli.main(["merge", "run", "--search"]) == 0
    out = capsys.readouterr().out
    assert "uniform, since the best is ahead by 5.0 points, within one standard error (6.2)\n" in out
    assert out.endswith("\nIt is merged so already.\n")


def test_programs_read_it_as_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    found(monkeypatch, AVERAGE, TIES, WISE)
    assert cli.main(["merge", "run", "--search", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert [one["method"] for one in facts["candidates"]] == ["ties", "uniform", "wise_ft"]
    assert facts["chosen"]["options"] == {"density": 0.4, "combine": "sum"}
    assert facts["leaking"]


def test_an_interrupted_search_keeps_what_it_scored(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> Searched:
        raise KeyboardInterrupt

    monkeypatch.setattr(search, "search_merges", interrupted)
    assert cli.main(["merge", "run", "--search"]) == 130
    assert capsys.readouterr().err == "\nhamdg: stopped; what was scored is kept, and the same command goes on.\n"
