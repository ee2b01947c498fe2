"""Several domains held out at once: none is read before the evaluation, and the headline is their mean."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from hamdg.config.reading import read_recipe
from hamdg.data.benchmark import Benchmark
from hamdg.errors import ConfigError
from hamdg.mini import load_domain, rendered
from hamdg.report.table import format_text
from hamdg.runs.directory import RunDirectory
from hamdg.runs.identity import identity, run_directory
from hamdg.runs.record import read_record
from hamdg.stages import evaluate, pipeline
from hamdg.tasks.classification import CLASSIFICATION

if TYPE_CHECKING:
    from hamdg.algorithms.base import Entry
    from hamdg.config.data import MiniConfig
    from hamdg.mini import DomainArrays
    from hamdg.runs.record import Row
    from hamdg.stages.context import Context
    from tests.stages.conftest import Tiny, Work

WEATHER = Benchmark("weather", domains=("day", "dusk", "night"), classes=("cat", "dog"))


@pytest.mark.parametrize("text", ["night+day", "day+night", "Day + night"])
def test_several_domains_are_named_in_any_order(text: str) -> None:
    assert WEATHER.targets(text) == ("day", "night")
    assert WEATHER.sources(text) == ("dusk",)


def test_a_domain_whose_name_has_the_sign_is_one_domain() -> None:
    own = Benchmark("own", domains=("a", "a+b", "b", "c"), classes=("cat", "dog"))
    assert own.targets("a+b") == ("a+b",)
    with pytest.raises(ConfigError, match=r"`a\+b` is a domain, so these cannot be held out together; rename it\."):
        own.targets("b+a")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("day+day", "`held_out`: `day+day` names the domain `day` twice; keep one."),
        ("day+dawn", "`held_out`: benchmark `weather` has no domain `dawn`; it has `day`, `dusk`, `night`."),
        ("day+dusk+night", "`held_out` leaves no domain to train on; name fewer."),
    ],
)
def test_what_cannot_be_held_out_together_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        WEATHER.sources(text)
    assert str(caught.value) == message


def test_an_excluded_domain_is_none_of_them() -> None:
    with pytest.raises(ConfigError, match=r"`excluded` names `photo`, which is `held_out`"):
        read_recipe(None, ["--held_out=photo+sketch", "--excluded=[photo]"])


def test_their_order_and_short_names_make_no_other_run() -> None:
    one, two = (read_recipe(None, [f"--held_out={text}"]) for text in ("sketch+art", "art_painting + sketch"))
    assert one.held_out == "art_painting+sketch"
    assert identity(one) == identity(two)
    assert run_directory(one).parts[-3] == "art_painting+sketch"


def test_none_is_opened_before_the_evaluation_and_the_headline_is_their_mean(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []

    def watched(domain: str, config: MiniConfig, cache: Path) -> DomainArrays:
        opened.append(domain)
        return load_domain(domain, config, cache)

    monkeypatch.setattr(rendered, "load_domain", watched)
    recipe = tiny(
        "--held_out=photo+sketch",
        "--controls.erm=true",
        "--runtime.report=true",
        f"--data.cache={tmp_path}",
        tower="vit",
    )
    pipeline.run(recipe, until="validate")
    assert set(opened) == {"art_painting", "cartoon"}
    record = read_record(pipeline.run(recipe))
    assert record["held_out"] == "photo+sketch"
    assert record["targets"] == ["photo", "sketch"]
    assert [metrics["images"] for metrics in record["rows"][-1]["targets"].values()] == [record["n_held_out"] / 2] * 2
    for row in record["rows"]:
        own = [row["targets"][name]["accuracy"] for name in ("photo", "sketch")]
        assert row["held_out"] == pytest.approx(sum(own) / 2)  # type: ignore[arg-type]
        assert not math.isnan(row["held_out"])
    assert "held out: photo+sketch" in format_text(record)
    assert "photo and sketch" in (run_directory(recipe) / "report.html").read_text()


def test_the_pairs_of_a_cross_validation_share_one_training(tiny: Tiny, worked: list[Work]) -> None:
    options = (
        ["--held_out=photo+sketch"],
        ["--held_out=photo", "--excluded=[sketch]"],
        ["--held_out=sketch", "--excluded=[photo]"],
    )
    recipes = [tiny(*own, tower="vit") for own in options]
    for recipe in recipes:
        pipeline.run(recipe)
    trained = [work.run for work in worked if work.step == "train"]
    assert trained == [run_directory(recipes[0])]
    both, *each = [read_record(run_directory(recipe))["rows"][-1]["targets"] for recipe in recipes]
    assert both == each[0] | each[1]


def test_a_method_that_sees_the_targets_sees_each_in_turn(tiny: Tiny) -> None:
    recipe = tiny(
        "--held_out=photo+sketch",
        "--merge.method=adamerging",
        "--merge.target_data=adamerging",
        "--merge.options.steps=2",
        tower="vit",
    )
    record = read_record(pipeline.run(recipe))
    assert set(record["steps"]["merge"]["opened"] or ()) >= {"photo", "sketch"}
    assert record["part"] == "20%"


def test_the_headline_may_be_the_harmonic_mean_which_tables_say(tiny: Tiny) -> None:
    recipe = tiny("--held_out=photo+sketch", "--algorithm=erm", "--evaluate.average=harmonic", tower="vit")
    record = read_record(pipeline.run(recipe))
    assert record["average"] == "harmonic"
    for row in record["rows"]:
        one, other = (row["targets"][name]["accuracy"] for name in ("photo", "sketch"))
        assert isinstance(one, float)
        assert isinstance(other, float)
        assert row["held_out"] == pytest.approx(2 * one * other / (one + other) if one * other else 0.0)
    shown = format_text(record)
    assert "Several held-out domains: harmonic mean." in shown.splitlines()
    assert shown.splitlines()[2].split()[:7] == ["%", "correct", "held", "out", "±", "photo", "sketch"]
    # Another mean is another evaluation of the same run, which has what it did not measure before.
    plain = tiny("--held_out=photo+sketch", "--algorithm=erm", tower="vit")
    assert run_directory(recipe) == run_directory(plain)
    again = read_record(pipeline.run(plain))
    assert again["average"] == "arithmetic"
    for row in again["rows"]:
        accuracies = [row["targets"][name]["accuracy"] for name in ("photo", "sketch")]
        assert row["held_out"] == pytest.approx(sum(accuracies) / 2)  # type: ignore[arg-type]
    assert again["steps"]["train"] == record["steps"]["train"]
    written = RunDirectory(run_directory(plain)).record.stat().st_mtime_ns
    pipeline.run(plain)
    assert RunDirectory(run_directory(plain)).record.stat().st_mtime_ns == written


def test_lines_take_no_mean_over_the_models_of_a_row_for_one_of_them() -> None:
    context = cast("Context", SimpleNamespace(task=CLASSIFICATION))
    entries = [cast("Entry", SimpleNamespace(key=key)) for key in ("source/day", "mtda", "mtda")]
    targets = {"night": {"accuracy": 0.5, "images": 10}}
    rows = [cast("Row", {"key": key, "sources": {"dusk": 0.7}, "targets": targets}) for key in ("source/day", "mtda")]
    assert evaluate._ends(context, entries, rows) == {"source/day": {"dusk": 0.7, "night": 0.5}}
