"""How the runs of a sweep are followed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from hamdg.errors import ConfigError
from hamdg.runs.identity import run_directory
from hamdg.sweeps.jobs import jobs_of
from hamdg.sweeps.sweep_file import read_sweep
from hamdg.sweeps.tracking import followed, log_table, means
from tests.report.tables.conftest import make

if TYPE_CHECKING:
    from hamdg.runs.record import Record
    from tests.sweeps.conftest import SweepFile


def test_all_runs_are_one_group_and_know_their_condition(sweep_file: SweepFile) -> None:
    file = sweep_file(tracking=["csv"])
    sweep = read_sweep(file)
    jobs = jobs_of(sweep, file, 0)
    found = followed(jobs, file, sweep.tracking)
    assert {tuple(job.recipe.tracking.loggers) for job in found} == {("csv",)}
    assert {job.recipe.tracking.group for job in found} == {"table"}
    assert [job.recipe.tracking.config["condition"] for job in found] == [job.condition for job in jobs]
    assert [run_directory(job.recipe) for job in found] == [run_directory(job.recipe) for job in jobs]
    assert repr(read_sweep(sweep_file())) == repr(sweep), "how runs are followed makes no other sweep"


def test_a_recipes_own_loggers_are_kept(sweep_file: SweepFile) -> None:
    own = {"tracking.loggers": ["csv"], "tracking.group": "mine"}
    file = sweep_file(variants={"ERM": {"recipe": "erm.yaml", "set": own}, "plain": {"recipe": "ham.yaml"}})
    found = followed(jobs_of(read_sweep(file), file, 0), file, None)
    tracking = {job.variant: job.recipe.tracking for job in found}
    assert (tracking["ERM"].loggers, tracking["ERM"].group) == (["csv"], "mine")
    assert (tracking["plain"].loggers, tracking["plain"].group) == ([], "")


def test_a_sweep_switches_the_loggers_of_its_recipes_off(sweep_file: SweepFile) -> None:
    own = {"tracking.loggers": ["csv"], "tracking.options": {"csv.flush_logs_every_n_steps": 5}}
    file = sweep_file(variants={"ERM": {"recipe": "erm.yaml", "set": own}}, tracking=[])
    sweep = read_sweep(file)
    assert sweep.tracking == []
    assert {tuple(job.recipe.tracking.loggers) for job in followed(jobs_of(sweep, file, 0), file, sweep.tracking)} == {
        ()
    }
    assert read_sweep(sweep_file()).tracking is None


def test_an_unknown_logger_ends_the_sweep_before_it_begins(sweep_file: SweepFile) -> None:
    file = sweep_file()
    with pytest.raises(ConfigError, match="there is no logger `wanb`; did you mean `wandb`"):
        followed(jobs_of(read_sweep(file), file, 0), file, ["wanb"])
    with pytest.raises(
        ConfigError, match=r"expected `pathlib\.PurePath` to be a `lightning\.pytorch\.loggers\.Logger`"
    ):
        followed(jobs_of(read_sweep(file), file, 0), file, ["pathlib.PurePath"])


def test_the_table_has_means_and_standard_errors_over_seeds() -> None:
    runs = [
        *(make("ham", "photo", seed, value) for seed, value in enumerate([0.6, 0.8])),
        *(make("ham", "photo", seed, value, condition="noisy") for seed, value in enumerate([0.1, 0.3])),
        make("erm", "photo", 0, 0.5),
        make("erm", "art", 0, 0.7),
    ]
    # The standard deviation of 0.6 and 0.8 is 0.1414 (n - 1), over the root of 2 that is 0.1.
    assert list(means(runs)) == [
        ["HAM (reconstruction)", "photo", pytest.approx(0.7), pytest.approx(0.1), 2, "clean"],
        ["ERM", "art", 0.7, None, 1, "clean"],
        ["ERM", "photo", 0.5, None, 1, "clean"],
        ["HAM (reconstruction)", "photo", pytest.approx(0.2), pytest.approx(0.1), 2, "noisy"],
    ]


def test_a_sweep_without_finished_runs_has_no_table(sweep_file: SweepFile) -> None:
    file = sweep_file(tracking=["csv"])
    sweep = read_sweep(file)
    log_table(sweep, file, followed(jobs_of(sweep, file, 0), file, sweep.tracking))
    assert not (file.parent / "logs").exists()


def test_the_logged_table_is_of_draw_0_and_of_readable_runs(
    sweep_file: SweepFile, erm: Record, capsys: pytest.CaptureFixture[str]
) -> None:
    random = {"draws": 2, "ranges": {"train.lr": {"log10": [-5, -3]}}}
    file = sweep_file(tracking=["csv"], variants={"ERM": {"recipe": "erm.yaml"}}, random=random)
    sweep = read_sweep(file)
    jobs = followed(jobs_of(sweep, file, 0), file, sweep.tracking)
    assert len(jobs) == 16
    directories = [run_directory(job.recipe) for job in jobs]
    for job, directory in zip(jobs, directories, strict=True):
        directory.mkdir(parents=True)
        found = {**erm, "held_out": job.recipe.held_out, "seed": job.recipe.seed}
        (directory / "record.json").write_text("{" if directory == directories[0] else json.dumps(found))
    log_table(sweep, file, jobs)
    (values,) = (file.parent / "logs" / "sweeps").glob("*/csv/table/metrics.csv")
    assert values.read_text().splitlines() == ["runs,step", "7.0,0"]
    assert "the table that is logged lacks a run: " in capsys.readouterr().err
