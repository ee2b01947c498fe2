"""A sweep file becomes jobs; what is wrong with one of them is said before anything runs."""

from __future__ import annotations

import math
import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hamdg.config.algorithms.ham import HamSettings
from hamdg.config.reading import read_recipe
from hamdg.config.recipe import Recipe
from hamdg.errors import ConfigError, DataError, WeightsError
from hamdg.runs.identity import run_directory
from hamdg.sweeps.jobs import Job, check_inputs, jobs_of
from hamdg.sweeps.sweep_file import read_sweep
from tests.sweeps.conftest import run

if TYPE_CHECKING:
    from tests.sweeps.conftest import SweepFile


def test_the_projects_own_sweeps_are_readable() -> None:
    files = sorted((Path(__file__).parents[2] / "experiments" / "sweeps").glob("*.yaml"))

    assert files
    for path in files:
        found = read_sweep(path)
        size = len(found.conditions) * len(found.held_out) * len(found.seeds) * len(found.variants)
        size *= math.prod(map(len, found.grid.values()))
        for one in found.include:
            seeds = found.seeds if one.seeds is None else one.seeds
            held_out = found.held_out if one.held_out is None else one.held_out
            size += len(one.conditions or found.conditions) * len(held_out) * len(seeds)
        assert sum(not job.is_pair for job in jobs_of(found, path, threads=1)) == size, path


def jobs(path: Path) -> list[Job]:
    return jobs_of(read_sweep(path), path, threads=2)


def test_the_documented_sweeps_work(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "sweeps.md").read_text()
    example, grid, random, rows, figure = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    path = tmp_path / "table.yaml"
    path.write_text(example)
    assert len(jobs(path)) == 4 * 3 * 2 * 3
    path.write_text(re.sub(r"  HAM: .*\n", rows, example, count=1))
    assert set(read_sweep(path).variants["HAM"].rows or ()) == {"ham", "uniform_history", "source/*"}
    assert len(jobs(path)) == 72
    path.write_text(f"{example}{figure}")
    drawn = read_sweep(path).figure
    assert drawn is not None
    assert drawn.strengths() == {"label noise": {"0": ["clean"], "20 %": ["20 % label noise"]}}
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


def test_two_variants_whose_results_have_one_label_are_refused_before_anything_runs(sweep_file: SweepFile) -> None:
    rows = {"ham": "HAM"}
    twins = {
        "keep a half": {"recipe": "ham.yaml", "set": {"merge.options.keep": 0.5}, "rows": rows},
        "keep a third": {"recipe": "ham.yaml", "set": {"merge.options.keep": 0.3}, "rows": rows},
    }
    path = sweep_file(held_out=["sketch"], variants=twins)
    message = (
        f"`{path}`: the variants `keep a half` and `keep a third` both call their result `HAM` (on `sketch`), and a "
        "row is of one of them; give one of them another label under `rows`."
    )
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        jobs(path)


def test_variants_share_the_label_of_a_model_that_they_share_and_one_label_where_each_has_its_own_domain(
    sweep_file: SweepFile,
) -> None:
    same = {"uniform_history": "average"}
    merges = {
        f"keep {keep}": {
            "recipe": "ham.yaml",
            "set": {"merge.options.keep": keep},
            "rows": {**same, "ham": f"HAM {keep}"},
        }
        for keep in (0.3, 0.5)
    }
    assert len(jobs(sweep_file(held_out=["sketch"], variants=merges))) == 8
    apart = [
        {"variant": domain, "recipe": "ham.yaml", "rows": {"ham": "HAM"}, "held_out": [domain]}
        for domain in ("art_painting", "photo")
    ]
    other = {"ERM": {"recipe": "erm.yaml"}}
    assert len(jobs(sweep_file(held_out=["sketch"], variants=other, include=apart))) == 12
