"""`hamdg run RECIPE --seed 0,1,2 --held_out all`: lists on the command line."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hamdg import cli
from hamdg.config.reading import read_recipe
from hamdg.runs.identity import run_directory
from hamdg.sweeps import sweep
from hamdg.sweeps.jobs import Job, jobs_of
from hamdg.sweeps.lists import lists_in, sweep_of
from tests.sweeps.conftest import Inline

if TYPE_CHECKING:
    from tests.sweeps.conftest import SweepFile


@pytest.fixture
def recipe(sweep_file: SweepFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    sweep_file()  # which writes recipes, too
    monkeypatch.chdir(tmp_path)
    return tmp_path / "ham.yaml"


def jobs(recipe: Path, *overrides: str) -> list[Job]:
    made = sweep_of(recipe, overrides, lists_in(overrides))
    return jobs_of(made, recipe, 1, "on the command line")


@pytest.mark.parametrize(
    ("override", "values"),
    [
        ("--seed=0,1,2", ["0", "1", "2"]),
        ("--seed=7", None),
        ("--held_out=all", ["all"]),
        ("--held-out=art, photo", ["art", "photo"]),
        ("--held_out=art+photo", None),
        ("--train.lr=1e-3,1e-4", ["1e-3", "1e-4"]),
        ("--history.kind=ema,swad", ["ema", "swad"]),
        ("--ham.enrichment.enabled=true,false", ["true", "false"]),
        ("--merge.options.keep=0.2,0.5", ["0.2", "0.5"]),
        ("--merge.method=ties,rhm", ["ties", "rhm"]),
        ("--merge.options.criterion=magnitude,random", ["magnitude", "random"]),
        ("--data.mini.label_noise=0,0.2", ["0", "0.2"]),
        ("--train.check_images=null,8", ["null", "8"]),
        # One value each: a mapping, lists, and texts that may have commas.
        ("--data.mini.label_noise={photo: 0.1, sketch: 0.2}", None),
        ("--excluded=[photo, sketch]", None),
        ('--model.prompts=["a, b {}", "c {}"]', None),
        ("--data.root=/a,b", None),
        ("--label=a, b", None),
        ("--tracking.config.note=first, second", None),
    ],
)
def test_what_is_a_list_of_values(override: str, values: list[str] | None) -> None:
    assert list(lists_in([override]).values()) == ([] if values is None else [values])


def test_the_last_one_of_a_key_wins() -> None:
    assert lists_in(["--seed=0,1", "--seed=3"]) == {}
    assert lists_in(["--seed=3", "--seed=0,1"]) == {"seed": ["0", "1"]}


def test_seeds_and_domains_are_the_runs_that_single_commands_make(recipe: Path) -> None:
    found = jobs(recipe, "--seed=0,1", "--held_out=all", "--train.lr=0.01", "--runtime.threads=3")
    assert len(found) == 8
    for job in found:
        own = [f"--seed={job.recipe.seed}", f"--held_out={job.recipe.held_out}", "--train.lr=0.01"]
        alone = read_recipe(recipe, own)
        assert run_directory(job.recipe) == run_directory(alone)
        assert (job.recipe.label, job.variant, job.recipe.runtime.threads) == ("", "ham", 3)
        assert job.recipe.controls == alone.controls
        assert job.recipe.runtime.report


def test_other_lists_are_a_grid_in_the_variants_name(recipe: Path) -> None:
    found = jobs(recipe, "--train.lr=1e-3,1e-4", "--merge.options.keep=0.2,0.5")
    assert [job.variant for job in found] == [
        f"ham, lr={lr}, keep={keep}" for lr in (0.001, 0.0001) for keep in (0.2, 0.5)
    ]
    assert [job.recipe.label for job in found] == [job.variant for job in found]
    named = jobs(recipe, "--label=mine", "--train.lr=1e-3,1e-4")
    assert [job.recipe.label for job in named] == ["mine, lr=0.001", "mine, lr=0.0001"]
    both = jobs(recipe, "--algorithm=ham,coral", "--coral.weight=1,2")
    assert [job.variant for job in both] == [
        "ham, algorithm=ham",
        "ham, algorithm=coral, weight=1.0",
        "ham, algorithm=coral, weight=2.0",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seed", "0,1,0"], "`--seed` holds `0` twice; every run is made once, so keep one."),
        (["--train.lr=0.1,1e-1"], "`--train.lr` holds `0.1` twice; every run is made once, so keep one."),
        (["--seed", "0,,1"], "`--seed=0,,1` lacks a value beside a comma; correct it."),
        (["--seed=0,one"], "Expected `seed` to be an integer of at least 0, but got `one` (on the command line)."),
        (["--history.kind=ema,ewa"], "Did you mean `ema`?"),
        (["--held_out=photo,scetch"], "benchmark `mini` has no domain `scetch`"),
        (["--merge.method=ties,rhmm"], "there is no merge method `rhmm`; did you mean `rhm`?"),
        (["--seed=0,1", "--print-config"], "`--print-config` prints one recipe; give each key one value."),
        (["--seed=0,1", "--until", "mergee"], "The algorithm `ham` has no step `mergee`; its steps are"),
        (["--seed=0,1", "--until", ""], "The algorithm `ham` has no step ``; its steps are"),
        (["--seed=0,1", "--launcher", "locla"], "there is no launcher `locla`; did you mean `local`?"),
        (["--processes", "2"], "`--processes` is for several runs, such as those of `--seed 0,1,2`;"),
        (["--launcher", "local"], "`--launcher` is for several runs"),
        (["--seed=0,1", "--processes", "0"], "`--processes`"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_before_anything_runs(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert cli.main(["run", str(recipe), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "lightning_logs").exists()


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    """Replace the runs, which do nothing; return them."""
    found: list[Job] = []

    def work(job: Job) -> str:
        found.append(job)
        return str(run_directory(job.recipe))

    monkeypatch.setattr(sweep, "run_job", work)
    monkeypatch.setattr(sweep, "start", lambda launcher, workers, folder: Inline())
    return found


def test_they_run_one_after_another_with_all_threads_and_their_own_commands(
    recipe: Path, made: list[Job], capsys: pytest.CaptureFixture[str]
) -> None:
    call = ["run", str(recipe), "--seed", "0,1", "--until", "train", "--force"]
    assert cli.main(call) == 0
    said = capsys.readouterr().out
    assert said.startswith("==> 2 runs, 1 at a time by Local, ")
    assert re.search(r"2/2 done: variant `ham`, condition `clean`, held out `sketch`, seed 1", said)
    assert [(job.until, job.force) for job in made] == [("train", True)] * 2
    assert "--seed=1" in made[1].command


def test_a_dry_run_lists_them(recipe: Path, made: list[Job], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", str(recipe), "--seed", "0,1", "--dry-run", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(run["seed"], run["state"]) for run in found["runs"]] == [(0, "waiting"), (1, "waiting")]
    assert made == []
