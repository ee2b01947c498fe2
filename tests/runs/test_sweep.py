from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, ClassVar, Self

import pytest
import yaml

from hamdg.config import Recipe, run_directory
from hamdg.errors import ConfigError, DataError, TrainingError, WeightsError
from hamdg.runs import sweep
from hamdg.runs.sweep import Job, Outcome, Sweep, SweepError, Variant, jobs_of, read_sweep, run_sweep

SWEEP: dict[str, object] = {
    "held_out": ["sketch", "art"],
    "seeds": [0, 3],
    "conditions": {"clean": {}, "noisy": {"data.mini.label_noise": 0.2}},
    "variants": {
        "plain": {"recipe": "ham.yaml", "set": {"harmonisation.method": "none", "train.lr": 0.00001}},
        "ERM": {"recipe": "erm.yaml"},
    },
}


def write(folder: Path, **changes: object) -> Path:
    """Write a sweep and its recipes; a change of `None` drops the key."""
    values = {
        key: value for key, value in {**SWEEP, "root": str(folder / "logs"), **changes}.items() if value is not None
    }
    (folder / "ham.yaml").write_text("train: {steps: 40}\ncontrols: {erm: true}\n")
    (folder / "erm.yaml").write_text("algorithm: erm\n")
    path = folder / "table.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    return path


def test_a_sweep_file_is_read(tmp_path: Path) -> None:
    found = read_sweep(write(tmp_path))

    assert (found.held_out, found.seeds, found.until, found.out) == (["sketch", "art"], [0, 3], "evaluate", None)
    assert found.variants["ERM"] == Variant("erm.yaml")
    assert found.conditions["noisy"] == {"data.mini.label_noise": 0.2}
    assert read_sweep(write(tmp_path, conditions=None)).conditions == {"clean": {}}


def test_the_projects_own_sweeps_are_readable() -> None:
    files = sorted((Path(__file__).parents[2] / "experiments" / "sweeps").glob("*.yaml"))

    assert files
    for path in files:
        found = read_sweep(path)
        size = len(found.conditions) * len(found.held_out) * len(found.seeds) * len(found.variants)
        assert len(jobs_of(found, path.parent, threads=1)) == size


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"held_outs": ["sketch"]}, "there is no key `held_outs` in a sweep; did you mean `held_out`?"),
        (
            {"zzz": 1},
            "there is no key `zzz` in a sweep; it can hold `held_out`, `seeds`, `variants`, `conditions`, `until`, "
            "`out`, `title`, `intro`, `root`.",
        ),
        (
            {"variants": {"HAM": {"recipe": "ham.yaml", "sets": {}}}},
            "there is no key `sets` in a sweep; did you mean `set`?",
        ),
        ({"variants": {"HAM": {"set": {}}}}, "variant `HAM` lacks `recipe`, the recipe file that it starts from."),
        ({"held_out": "sketch"}, "expected `held_out` to be a list of domains, but got `sketch`."),
        ({"seeds": 3}, "expected `seeds` to be a list of integers, but got `3`."),
        ({"seeds": ["a"]}, "expected `seeds` to be a list of integers, but got `['a']`."),
        (
            {"variants": {"HAM": "ham.yaml"}},
            "expected `variants` to be a mapping of names to `{recipe: ..., set: {...}}`, but got "
            "`{'HAM': 'ham.yaml'}`.",
        ),
        (
            {"variants": {"HAM": {"recipe": "ham.yaml", "set": ["seed"]}}},
            "expected `variants.HAM.set` to be a mapping of keys to values, but got `['seed']`.",
        ),
        ({"until": "train"}, "expected `until` to be `merge` or `evaluate`, but got `train`."),
        ({"conditions": ["clean"]}, "expected `conditions` to be a mapping of names to settings, but got `['clean']`."),
        ({"root": 3}, "expected `root` to be a path, but got `3`."),
    ],
)
def test_a_wrong_sweep_is_answered_in_one_sentence(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    path = write(tmp_path, **changes)
    with pytest.raises(ConfigError, match=f"^{re.escape(f'`{path}`: {message}')}$"):
        read_sweep(path)


def test_every_key_of_a_sweep_has_a_kind() -> None:
    assert {*Sweep.__dataclass_fields__, *Variant.__dataclass_fields__} == set(sweep._KINDS)


@pytest.mark.parametrize("key", ["held_out", "seeds", "variants"])
@pytest.mark.parametrize("empty", [False, True])
def test_a_sweep_needs_domains_seeds_and_variants(tmp_path: Path, key: str, empty: bool) -> None:
    path = write(tmp_path, **{key: [] if empty else None})
    with pytest.raises(ConfigError, match=f"^{re.escape(f'`{path}` lacks `{key}`, which must not be empty.')}$"):
        read_sweep(path)


def test_unreadable_sweeps(tmp_path: Path) -> None:
    path = tmp_path / "none.yaml"
    missing = f"Cannot read the sweep file `{path}`: no such file or directory."
    with pytest.raises(ConfigError, match=f"^{re.escape(missing)}$"):
        read_sweep(path)
    path.write_text("a: [")
    with pytest.raises(ConfigError, match=f"^{re.escape(f'`{path}` is not valid YAML: ')}"):
        read_sweep(path)
    path.write_text("- sketch")
    mapping = f"`{path}` must hold a mapping with `held_out`, `seeds` and `variants`."
    with pytest.raises(ConfigError, match=f"^{re.escape(mapping)}$"):
        read_sweep(path)


def jobs(path: Path) -> list[Job]:
    return jobs_of(read_sweep(path), path.parent, threads=2)


def test_jobs_come_in_the_order_of_the_file(tmp_path: Path) -> None:
    found = [(job.condition, job.recipe.held_out, job.recipe.seed, job.variant) for job in jobs(write(tmp_path))]

    assert found == [
        (condition, domain, seed, variant)
        for condition in ("clean", "noisy")
        for domain in ("sketch", "art_painting")
        for seed in (0, 3)
        for variant in ("plain", "ERM")
    ]


def test_a_jobs_recipe_is_the_file_the_condition_and_the_variant(tmp_path: Path) -> None:
    by_name = {(job.condition, job.variant): job for job in jobs(write(tmp_path, until="merge"))}
    plain, erm = by_name["noisy", "plain"], by_name["clean", "ERM"]

    assert plain.until == "merge"
    recipe = plain.recipe
    assert (recipe.train.steps, recipe.train.lr, recipe.harmonisation.method) == (40, 1e-5, "none")
    assert (recipe.data.mini.label_noise, recipe.label, recipe.algorithm) == (0.2, "plain", "ham")
    assert not recipe.controls.erm  # ERM is a variant of its own
    assert (recipe.runtime.root, recipe.runtime.threads) == (str(tmp_path / "logs"), 2)
    assert recipe.runtime.quiet
    assert not recipe.runtime.report
    assert (erm.recipe.algorithm, erm.recipe.label, erm.recipe.data.mini.label_noise) == ("erm", "ERM", 0.0)


def test_a_wrong_key_of_a_variant_is_found_before_anything_runs(tmp_path: Path) -> None:
    path = write(tmp_path, variants={"HAM": {"recipe": "ham.yaml", "set": {"train.step": 3}}})
    with pytest.raises(ConfigError, match=r"`--train\.step`.*did you mean `--train\.steps`"):
        run_sweep(path)
    assert not (tmp_path / "logs").exists()


def test_pictures_are_looked_for_once_before_anything_runs_unless_all_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, conditions={"clean": {"benchmark": "pacs"}}, held_out=["sketch"])
    looked: list[str] = []

    def nowhere(recipe: Recipe, held_out: bool) -> None:
        looked.append(recipe.benchmark)
        raise DataError("The pictures of `pacs` were found nowhere.")

    monkeypatch.setattr(sweep, "find_pictures", nowhere)
    with pytest.raises(DataError, match=r"^The pictures of `pacs` were found nowhere\.$"):
        run_sweep(path)
    assert looked == ["pacs"]
    assert not (tmp_path / "logs").exists()

    found = jobs(path)
    for job in found:
        (place := run_directory(job.recipe)).mkdir(parents=True)
        (place / "done").touch()
    sweep._find_what_is_needed(found)
    assert looked == ["pacs"]


def test_a_sweep_without_weights_says_so_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hamdg.models.hub.try_to_load_from_cache", lambda repo, name: None)
    monkeypatch.setattr("hamdg.models.hub.answers", lambda host, within: False)
    path = write(tmp_path, conditions={"clean": {"model.name": "RN50", "model.weights": "openai"}})
    with pytest.raises(WeightsError, match=r"^The weights `openai` of the model `RN50` are not here"):
        run_sweep(path)
    assert not (tmp_path / "logs").exists()


def test_two_names_for_one_run_are_refused(tmp_path: Path) -> None:
    twins = {"HAM": {"recipe": "ham.yaml"}, "again": {"recipe": "ham.yaml", "set": {"train.steps": 40}}}
    message = "`again` (clean, sketch, seed 0) is the same run as `HAM` (clean); drop one of them."
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        jobs(write(tmp_path, variants=twins))


class Inline:
    """A pool that runs each job at once, in this process."""

    def __init__(self, workers: int, *settings: object) -> None:
        self.workers = workers

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def submit(self, work: Callable[[Job], Outcome], job: Job) -> Future[Outcome]:
        future: Future[Outcome] = Future()
        try:
            future.set_result(work(job))
        except Exception as error:
            future.set_exception(error)
        return future


@pytest.fixture
def inline(monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    """Replace processes and runs; the jobs of seed 3 under noise with `plain` fail."""
    done: list[Job] = []

    def work(job: Job) -> Outcome:
        if (job.condition, job.variant, job.recipe.seed) == ("noisy", "plain", 3):
            raise TrainingError("the loss became nan")
        done.append(job)
        return Outcome(job, str(run_directory(job.recipe)))

    monkeypatch.setattr(sweep, "ProcessPoolExecutor", Inline)
    monkeypatch.setattr(sweep, "_run", work)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return done


def ledger(folder: Path) -> list[dict[str, Any]]:
    (path,) = (folder / "logs" / "sweeps").glob("table-*.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_all_outcomes_come_back_in_order(inline: list[Job], tmp_path: Path) -> None:
    path = write(tmp_path, conditions=None)
    outcomes = run_sweep(path, processes=1)

    assert [outcome.job for outcome in outcomes] == jobs_with_threads(path)
    assert all(not outcome.error for outcome in outcomes)
    assert len(ledger(tmp_path)) == 8
    assert all(
        line["run"] == str(run_directory(job.recipe)) for line, job in zip(ordered(tmp_path), inline, strict=True)
    )


def jobs_with_threads(path: Path) -> list[Job]:
    return jobs_of(read_sweep(path), path.parent, threads=len(os.sched_getaffinity(0)))


def ordered(folder: Path) -> list[dict[str, Any]]:
    order = {"sketch": 0, "art_painting": 1}
    return sorted(ledger(folder), key=lambda e: (order[e["held_out"]], e["seed"], e["variant"] == "ERM"))


def test_a_failed_job_is_recorded_while_the_others_finish(inline: list[Job], tmp_path: Path) -> None:
    with pytest.raises(SweepError) as caught:
        run_sweep(write(tmp_path), processes=1)

    (path,) = (tmp_path / "logs" / "sweeps").glob("*.jsonl")
    assert str(caught.value) == (
        f"2 of 16 runs failed; the first with `hamdg.errors.TrainingError: the loss became nan`. See `{path}`."
    )
    assert caught.value.exit_code == 1
    assert len(inline) == 14
    failed = [line for line in ledger(tmp_path) if line["error"]]
    assert len(ledger(tmp_path)) == 16
    assert [(line["condition"], line["variant"], line["seed"], line["run"]) for line in failed] == [
        ("noisy", "plain", 3, "")
    ] * 2
    assert all("Traceback (most recent call last)" in line["error"] for line in failed)
    assert all("in work\n" in line["error"] for line in failed)


MERGES = {f"keep {share}": {"recipe": "ham.yaml", "set": {"merge.options.keep": share}} for share in (0.2, 0.4, 0.6)}


class Noting(Inline):
    """A pool that notes which jobs begin and whose outcomes are read."""

    events: ClassVar[list[str]] = []

    def submit(self, work: Callable[[Job], Outcome], job: Job) -> Future[Outcome]:
        self.events.append(f"{job.variant} begins")
        future = super().submit(work, job)
        read = future.exception

        def noted() -> BaseException | None:
            self.events.append(f"{job.variant} ends")
            return read()

        future.exception = noted  # type: ignore[method-assign,assignment]
        return future


@pytest.mark.parametrize("fails", [False, True])
def test_jobs_that_differ_in_the_merge_alone_wait_for_the_first_of_them(
    inline: list[Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    finish = sweep._run

    def work(job: Job) -> Outcome:
        if fails and job.variant == "keep 0.2":
            raise TrainingError("the loss became nan")
        return finish(job)

    monkeypatch.setattr(sweep, "_run", work)
    monkeypatch.setattr(Noting, "events", [])
    monkeypatch.setattr(sweep, "ProcessPoolExecutor", Noting)
    variants = MERGES | {"ERM": {"recipe": "erm.yaml"}}
    path = write(tmp_path, conditions=None, held_out=["sketch"], seeds=[0], variants=variants)
    found = jobs_of(read_sweep(path), tmp_path, threads=1)
    outcomes = dict(sweep._outcomes(found, 2, 1))
    assert [outcomes[number].job for number in range(4)] == found
    assert Noting.events[:2] == ["keep 0.2 begins", "ERM begins"]
    others = [event for event in Noting.events if "ERM" not in event]
    assert others[:3] == ["keep 0.2 begins", "keep 0.2 ends", "keep 0.4 begins"]
    assert others[3] == ("keep 0.4 ends" if fails else "keep 0.6 begins")
    assert len(others) == 6


def test_a_repeated_sweep_appends_to_its_ledger(inline: list[Job], tmp_path: Path) -> None:
    path = write(tmp_path, conditions=None)
    run_sweep(path, processes=1)
    run_sweep(path, processes=1)

    assert len(ledger(tmp_path)) == 16


@pytest.mark.slow
def test_a_real_sweep_runs_in_processes(tmp_path: Path) -> None:
    conf = Path(__file__).parents[1] / "conf"
    small: dict[str, object] = {
        "model.name": str(conf / "tiny-vit.json"),
        "model.weights": "random",
        "train.steps": 2,
        "train.warmup": 1,
        "data.batch_size": 2,
        "data.mini.image_size": 32,
        "data.mini.images_per_class": 4,
    }
    variants = {
        "fine": {"recipe": "ham.yaml", "set": small},
        "broken": {"recipe": "ham.yaml", "set": {**small, "data.batch_size": 1000}},
    }
    path = write(tmp_path, held_out=["sketch"], seeds=[0], conditions=None, variants=variants)
    with pytest.raises(SweepError, match=r"^1 of 2 runs failed; the first with `.*`data\.batch_size` is 1000"):
        run_sweep(path, processes=2)

    by_name = {line["variant"]: line for line in ledger(tmp_path)}
    assert (Path(by_name["fine"]["run"]) / "done").exists()
    assert "ConfigError" in by_name["broken"]["error"]
