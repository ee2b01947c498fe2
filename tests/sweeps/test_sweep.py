from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hamdg.config.algorithms.ham import HamSettings
from hamdg.config.reading import read_recipe
from hamdg.config.recipe import Recipe
from hamdg.errors import ConfigError, DataError, RunDirectoryError, TrainingError, WeightsError
from hamdg.runs.identity import run_directory
from hamdg.sweeps import sweep
from hamdg.sweeps.jobs import Job, check_inputs, jobs_of
from hamdg.sweeps.launchers.local import Local
from hamdg.sweeps.ledger import Outcome, SweepError, ledger_of, reason_of_failure
from hamdg.sweeps.sweep import run_sweep
from hamdg.sweeps.sweep_file import read_sweep
from tests.sweeps.conftest import Inline

if TYPE_CHECKING:
    from tests.sweeps.conftest import SweepFile


def test_the_projects_own_sweeps_are_readable() -> None:
    files = sorted((Path(__file__).parents[2] / "experiments" / "sweeps").glob("*.yaml"))

    assert files
    for path in files:
        found = read_sweep(path)
        size = len(found.conditions) * len(found.held_out) * len(found.seeds) * len(found.variants)
        assert len(jobs_of(found, path, threads=1)) == size


def jobs(path: Path) -> list[Job]:
    return jobs_of(read_sweep(path), path, threads=2)


def run(path: Path, processes: int = 1) -> list[Outcome]:
    outcomes = run_sweep(path, read_sweep(path), processes, Local())
    ledger_of(read_sweep(path), path).raise_failures(outcomes)
    return outcomes


def test_the_documented_sweeps_work(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "sweeps.md").read_text()
    example, grid, random, rows = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    path = tmp_path / "table.yaml"
    path.write_text(example)
    assert len(jobs(path)) == 4 * 3 * 2 * 3
    path.write_text(re.sub(r"  HAM: .*\n", rows, example, count=1))
    assert set(read_sweep(path).variants["HAM"].rows or ()) == {"ham", "uniform_history", "source/*"}
    assert len(jobs(path)) == 72
    path.write_text(grid)
    # On two domains with two seeds: four of HAM, two of which are not made on one domain, and two of ERM; one of HAM
    # with one seed, and the experts.
    assert len(jobs(path)) == 4 * (4 + 2) - 2 * 2 + 2 + 4
    path.write_text(random)
    found = jobs(path)
    # Four domains and their six pairs.
    assert len(found) == 10 * 3 * 20
    assert sum(job.is_pair for job in found) == 6 * 3 * 20


def test_jobs_come_in_the_order_of_the_file(sweep_file: SweepFile, tmp_path: Path) -> None:
    found = [(job.condition, job.recipe.held_out, job.recipe.seed, job.variant) for job in jobs(sweep_file())]

    assert found == [
        (condition, domain, seed, variant)
        for condition in ("clean", "noisy")
        for domain in ("sketch", "art_painting")
        for seed in (0, 3)
        for variant in ("plain", "ERM")
    ]


def test_a_jobs_recipe_is_the_file_the_condition_and_the_variant(sweep_file: SweepFile, tmp_path: Path) -> None:
    by_name = {(job.condition, job.variant): job for job in jobs(sweep_file(until="validate"))}
    plain, erm = by_name["noisy", "plain"], by_name["clean", "ERM"]

    assert plain.until == "validate"
    recipe = plain.recipe
    assert isinstance(recipe.settings, HamSettings)
    assert (recipe.train.steps, recipe.train.lr, recipe.settings.harmonization.method) == (40, 1e-5, "none")
    assert (recipe.data.mini.label_noise, recipe.label, recipe.algorithm) == (0.2, "plain", "ham")
    assert not recipe.controls.erm  # ERM is a variant of its own
    assert (recipe.runtime.root, recipe.runtime.threads) == (str(tmp_path / "logs"), 2)
    assert recipe.runtime.quiet
    assert not recipe.runtime.report
    assert (erm.recipe.algorithm, erm.recipe.label, erm.recipe.data.mini.label_noise) == ("erm", "ERM", 0.0)


def test_a_wrong_merge_method_names_its_variant_too(sweep_file: SweepFile) -> None:
    path = sweep_file(variants={"HAM": {"recipe": "ham.yaml", "set": {"merge.method": "tiess"}}})
    message = "Variant `HAM`, condition `clean`, held out `sketch`, seed 0: `merge.method`: there is no merge method"
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}"):
        jobs(path)


def test_a_recipe_is_named_by_its_path_from_the_sweep_file_or_as_hamdg_knows_it(
    sweep_file: SweepFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "grids").mkdir()
    variants = {"near": {"recipe": "../erm.yaml"}, "shipped": {"recipe": "mini/ham"}}
    path = sweep_file(variants=variants, held_out=["sketch"], seeds=[0], conditions=None)
    found = jobs(path.rename(tmp_path / "grids" / "table.yaml"))
    assert [job.recipe.algorithm for job in found] == ["erm", "ham"]
    starts = [" ".join(job.command.split()[:3]) for job in found]
    assert starts == ["hamdg run erm.yaml", "hamdg run experiments/mini/ham.yaml"]
    message = "Variant `odd`, condition `clean`: There is no recipe `mini/hamm`; did you mean"
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}"):
        jobs(sweep_file(variants={"odd": {"recipe": "mini/hamm"}}))


def test_the_command_of_a_job_makes_the_same_run(sweep_file: SweepFile) -> None:
    noise = {"data.mini.label_noise": {"photo": 0.5}, "model.prompts": ["a {}.", "the 'best' {}"]}
    for job in jobs(sweep_file(conditions={"noisy": noise}, root="logs of mine")):
        _, verb, recipe, *overrides = shlex.split(job.command)
        found = read_recipe(Path(recipe), overrides)
        assert verb == "run"
        # Where and how it runs, and what is for its page alone, are no part of a run.
        assert replace(found, runtime=job.recipe.runtime, evaluate=job.recipe.evaluate) == job.recipe
        assert found.runtime.root == "logs of mine"


def test_a_wrong_key_of_a_variant_is_found_before_anything_runs(sweep_file: SweepFile, tmp_path: Path) -> None:
    path = sweep_file(variants={"HAM": {"recipe": "ham.yaml", "set": {"train.step": 3}}})
    line = path.read_text().splitlines().index("      train.step: 3") + 1
    message = f"`{path}`, line {line}: there is no key `train.step` in `variants.HAM.set`; did you mean `train.steps`?"
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        run(path)
    assert not (tmp_path / "logs").exists()


def test_images_are_looked_for_once_before_anything_runs_unless_all_is_done(
    sweep_file: SweepFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = sweep_file(conditions={"clean": {"benchmark": "pacs"}}, held_out=["sketch"])
    looked: list[str] = []

    def nowhere(recipe: Recipe, held_out: bool) -> None:
        looked.append(recipe.benchmark)
        raise DataError("The images of `pacs` were found nowhere.")

    monkeypatch.setattr("hamdg.sweeps.jobs.find_images", nowhere)
    message = "Variant `plain`, condition `clean`, held out `sketch`, seed 0: The images of `pacs` were found nowhere."
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        run(path)
    assert looked == ["pacs"]
    assert not (tmp_path / "logs").exists()

    found = jobs(path)
    for job in found:
        (place := run_directory(job.recipe)).mkdir(parents=True)
        (place / "done").touch()
    check_inputs(found)
    assert looked == ["pacs"]


def test_a_sweep_without_weights_says_so_once(
    sweep_file: SweepFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hamdg.models.hub.try_to_load_from_cache", lambda repo, name: None)
    monkeypatch.setattr("hamdg.models.hub.answers", lambda host, within: False)
    path = sweep_file(conditions={"clean": {"model.name": "RN50", "model.weights": "openai"}})
    with pytest.raises(
        WeightsError,
        match=r"^Variant `plain`, condition .*, seed 0: The weights `openai` of the model `RN50` are not here",
    ):
        run(path)
    assert not (tmp_path / "logs").exists()


def test_two_names_for_one_run_are_refused(sweep_file: SweepFile, tmp_path: Path) -> None:
    twins = {"HAM": {"recipe": "ham.yaml"}, "again": {"recipe": "ham.yaml", "set": {"train.steps": 40}}}
    message = "`again` (clean, sketch, seed 0) is the same run as `HAM` (clean); drop one of them."
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        jobs(sweep_file(variants=twins))


def test_two_names_of_one_domain_are_refused(sweep_file: SweepFile) -> None:
    message = (
        "Variant `plain`, condition `clean`: `held_out` names the domain `art_painting` twice; keep one of its names."
    )
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        jobs(sweep_file(held_out=["art", "sketch", "Art Painting"]))


@pytest.mark.parametrize("row", ["hamm", "source/sketch", "erm_sma"])
def test_a_row_that_no_run_will_have_is_reported_before_anything_runs(
    sweep_file: SweepFile, tmp_path: Path, row: str
) -> None:
    path = sweep_file(held_out=["sketch"], variants={"own": {"recipe": "ham.yaml", "rows": {row: "x"}}})
    message = (
        f"`{path}`: no run of the variant `own` has a row `{row}`; under `rows` it can name `zero_shot`, "
        "`source/art_painting`, `source/cartoon`, `source/photo`, `uniform_last`, `uniform_history`, `shrunk`, `ham`, "
        "`source/*`."
    )
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        run(path)
    assert not (tmp_path / "logs").exists()


def test_a_source_model_may_be_a_row_where_its_domain_is_not_always_held_out(sweep_file: SweepFile) -> None:
    rows = {"source/sketch": "sketches", "source/*": "sources"}
    assert len(jobs(sweep_file(variants={"own": {"recipe": "ham.yaml", "rows": rows}}))) == 8


@pytest.fixture
def inline(monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    """Replace the launcher and the runs; the jobs of seed 3 under noise with `plain` fail."""
    done: list[Job] = []

    def work(job: Job) -> str:
        if (job.condition, job.variant, job.recipe.seed) == ("noisy", "plain", 3):
            raise TrainingError("the loss became nan")
        done.append(job)
        return str(run_directory(job.recipe))

    monkeypatch.setattr(sweep, "run_job", work)
    monkeypatch.setattr(sweep, "start", lambda *how: Inline())
    return done


def ledger(folder: Path) -> list[dict[str, Any]]:
    (path,) = (folder / "logs" / "sweeps").glob("table-*.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_all_outcomes_come_back_in_order(sweep_file: SweepFile, inline: list[Job], tmp_path: Path) -> None:
    path = sweep_file(conditions=None)
    outcomes = run(path)

    assert (
        [outcome.job for outcome in outcomes] == inline == jobs_of(read_sweep(path), path, len(os.sched_getaffinity(0)))
    )
    assert all(not outcome.error for outcome in outcomes)
    assert [line["run"] for line in ledger(tmp_path)] == [str(run_directory(job.recipe)) for job in inline]


def test_a_failed_job_is_named_and_its_traceback_kept_while_the_others_finish(
    sweep_file: SweepFile, inline: list[Job], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = sweep_file()
    with pytest.raises(SweepError) as caught:
        run(path)

    (lines,) = (tmp_path / "logs" / "sweeps").glob("*.jsonl")
    failed = [line for line in ledger(tmp_path) if line["error"]]
    first, second = (
        f"variant `plain`, condition `noisy`, held out `{name}`, seed 3" for name in ("sketch", "art_painting")
    )
    assert str(caught.value).splitlines() == [
        "2 of 16 runs failed:",
        f"  {first}: the loss became nan.",
        f"    traceback: {failed[0]['traceback']}",
        f"  {second}: the loss became nan.",
        f"    traceback: {failed[1]['traceback']}",
        f"All outcomes are in `{lines}`; the same command tries what failed again.",
    ]
    assert caught.value.exit_code == 1
    assert f"/16 failed: {first}: the loss became nan.\n" in capsys.readouterr().out
    assert len(inline) == 14
    assert len(ledger(tmp_path)) == 16
    assert [(line["condition"], line["variant"], line["seed"], line["run"], line["error"]) for line in failed] == [
        ("noisy", "plain", 3, "", "the loss became nan.")
    ] * 2
    for line in failed:
        text = Path(line["traceback"]).read_text()
        assert text.startswith(
            f"variant `plain`, condition `noisy`, held out `{line['held_out']}`, seed 3\n\nTraceback"
        )
        assert "in work\n" in text


def test_the_traceback_of_a_job_that_then_succeeds_is_removed(
    sweep_file: SweepFile, inline: list[Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = sweep_file(conditions={"noisy": {"data.mini.label_noise": 0.2}}, seeds=[3])
    with pytest.raises(SweepError):
        run(path)
    assert len(list((tmp_path / "logs" / "sweeps").glob("*/*.txt"))) == 2
    monkeypatch.setattr(sweep, "run_job", lambda job: str(run_directory(job.recipe)))
    run(path)
    assert not list((tmp_path / "logs" / "sweeps").glob("*/*.txt"))


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (TrainingError("It stopped."), "It stopped."),
        (KeyError("art"), "KeyError: 'art'."),
    ],
)
def test_reasons_are_sentences(error: BaseException, reason: str) -> None:
    assert reason_of_failure(error) == reason


@pytest.mark.parametrize("root", ["file/logs", "file"])
def test_a_root_below_a_file_is_explained(sweep_file: SweepFile, inline: list[Job], tmp_path: Path, root: str) -> None:
    (tmp_path / "file").touch()
    path = sweep_file(root=str(tmp_path / root))
    message = (
        f"Cannot write to `{tmp_path / root / 'sweeps'}`: not a directory; choose another `root` in the sweep file."
    )
    with pytest.raises(RunDirectoryError, match=f"^{re.escape(message)}$"):
        run(path)
    assert inline == []


def test_a_home_folder_is_found(
    sweep_file: SweepFile, inline: list[Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    run(sweep_file(root="~/logs", conditions=None))
    assert len(ledger(tmp_path)) == 8
    assert not (tmp_path / "~").exists()


def test_a_repeated_sweep_appends_to_its_ledger(sweep_file: SweepFile, inline: list[Job], tmp_path: Path) -> None:
    path = sweep_file(conditions=None)
    run(path)
    run(path)

    assert len(ledger(tmp_path)) == 16


SMALL: dict[str, object] = {
    "model.name": str(Path(__file__).parents[1] / "conf" / "tiny-vit.json"),
    "model.weights": "random",
    "train.steps": 2,
    "train.warmup": 1,
    "data.batch_size": 2,
    "data.mini.image_size": 32,
    "data.mini.images_per_class": 4,
}


@pytest.mark.slow
def test_a_real_sweep_runs_in_processes(sweep_file: SweepFile, tmp_path: Path) -> None:
    variants = {
        "fine": {"recipe": "ham.yaml", "set": SMALL},
        "broken": {"recipe": "ham.yaml", "set": {**SMALL, "data.batch_size": 1000}},
    }
    path = sweep_file(held_out=["sketch"], seeds=[0], conditions=None, variants=variants)
    with pytest.raises(SweepError, match=r"^1 of 2 runs failed: variant `broken`, .*`data\.batch_size` is 1000"):
        run(path, processes=2)

    by_name = {line["variant"]: line for line in ledger(tmp_path)}
    assert (Path(by_name["fine"]["run"]) / "done").exists()
    assert "ConfigError" in Path(by_name["broken"]["traceback"]).read_text()


class Trainings:
    """Notes, while it is looked at, every `train.json` that was ever written: linked ones are one and the same."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.found: set[int] = set()

    def look(self) -> None:
        for path in self.root.glob("mini/*/*/*/train.json"):
            with contextlib.suppress(FileNotFoundError):
                self.found.add(path.stat().st_ino)


def command(path: Path) -> subprocess.Popen[str]:
    argv = [sys.executable, "-m", "hamdg", "sweep", str(path), "--processes=1"]
    # A session of its own, so that a signal to it reaches no other process.
    return subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=path.parent, start_new_session=True
    )


@pytest.mark.slow
@pytest.mark.distributed
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kill", [False, True])
def test_two_sweeps_at_once_share_the_work(sweep_file: SweepFile, tmp_path: Path, kill: bool) -> None:
    small = {**SMALL, "train.steps": 30}
    variants = {"ERM": {"recipe": "erm.yaml", "set": small}} | {
        f"keep {share}": {"recipe": "ham.yaml", "set": {**small, "merge.options.keep": share}} for share in (0.2, 0.6)
    }
    grid: dict[str, object] = {"held_out": ["sketch", "photo"], "seeds": [0], "conditions": None, "out": "page.md"}
    # In another order, so that each would begin with a run that the other one keeps for later.
    first = sweep_file(**grid, variants=dict(reversed(variants.items())) if not kill else variants)
    first = first.rename(tmp_path / "first.yaml")
    trainings = Trainings(tmp_path / "logs")
    both = [command(first), command(sweep_file(**grid, variants=variants))]
    while any(process.poll() is None for process in both):
        trainings.look()
        if kill and both[0].poll() is None and trainings.found:
            os.kill(both[0].pid, signal.SIGKILL)
        time.sleep(0.005)
    said = [process.communicate() for process in both]
    assert [process.returncode for process in both] == [-signal.SIGKILL if kill else 0, 0], said
    assert len(list((tmp_path / "logs").glob("mini/*/*/*/done"))) == 6
    assert [entry["error"] for entry in ledger(tmp_path)] == [""] * 6
    if not kill:
        tables = [sorted(out.partition("% correct")[2].splitlines()) for out, _ in said]
        assert tables[0] == tables[1] != []
        assert (tmp_path / "page.md").read_text().count("<!-- begin") == 2
    # Two held-out domains, and HAM and ERM for each: the merges of one training share it.
    assert len(trainings.found) == 4
