"""Methods that look at the held-out domain: refused, unless a recipe asks for one by name; then everything says so."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from hamdg.config.data import MiniConfig
from hamdg.data.domain import WallError
from hamdg.errors import ConfigError
from hamdg.merge import registry
from hamdg.merge.evidence import Target
from hamdg.merge.files import read_provenance
from hamdg.merge.model_set import ModelSet, Rule, TensorSet
from hamdg.merge.registry import global_method
from hamdg.mini import DomainArrays, load_domain, rendered
from hamdg.report.evidence import Evidence
from hamdg.report.page import report_html
from hamdg.report.table import format_text
from hamdg.runs.directory import RunDirectory
from hamdg.runs.identity import run_directory
from hamdg.runs.record import merge_facts, read_record, steps_before
from hamdg.stages import merging, pipeline
from hamdg.stages.context import Context, open_context
from hamdg.stages.target_evidence import NOTE, TargetEvidence

if TYPE_CHECKING:
    from tests.stages.conftest import Tiny, Work


@pytest.fixture
def peeking(monkeypatch: pytest.MonkeyPatch) -> str:
    """Register a method that looks at target data twice and then averages."""
    monkeypatch.setattr(registry, "_METHODS", dict(registry._METHODS))

    def peek(model_set: ModelSet) -> Rule:
        """TensorCheck at target data.

        Made up for this test.
        """
        assert isinstance(model_set.evidence, Target)

        def rule(tensor_set: TensorSet) -> torch.Tensor:
            return next(iter(tensor_set.tensors.values()))

        for _ in range(2):
            entropy, gradient = model_set.evidence.entropy(model_set.complete(rule))
            assert 0 <= entropy <= math.log(7) + 1e-5
            assert set(gradient) == set(model_set.complete(rule))
        return rule

    global_method("peek", on="models", needs=("target",), target=True)(peek)
    return "peek"


def test_a_run_refuses_before_training_unless_it_is_asked_for_by_name(tiny: Tiny, peeking: str) -> None:
    message = (
        "`merge.method`: `peek` learns from images of the held-out domain, which is not domain generalization; to do "
        "so all the same, set `merge.target_data` to `peek`."
    )
    for asked in ((), ("--merge.target_data=other",)):
        recipe = tiny("--merge.method=peek", *asked)
        with pytest.raises(ConfigError) as caught:
            pipeline.run(recipe)
        assert str(caught.value) == message


def test_choosing_on_source_validation_never_sees_target_data(tiny: Tiny, peeking: str) -> None:
    recipe = tiny("--merge.method=peek", "--merge.target_data=peek")
    with pytest.raises(
        ConfigError, match=r"^What stops before `evaluate` never opens the held-out domain, but the step `merge` of "
    ):
        pipeline.run(recipe, until="merge")
    assert not run_directory(recipe).exists()


def test_table_record_and_report_say_that_target_data_were_seen(
    tiny: Tiny,
    peeking: str,
    worked: list[Work],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    recipe = tiny("--merge.method=peek", "--merge.target_data=peek", tower="vit")
    opened: list[tuple[str, str]] = []

    def watched(domain: str, config: MiniConfig, cache: Path) -> DomainArrays:
        opened.append((worked[-1].step if worked else "", domain))
        return load_domain(domain, config, cache)

    monkeypatch.setattr(rendered, "load_domain", watched)
    record = read_record(pipeline.run(recipe))
    assert {step for step, domain in opened if domain == "sketch"} == {"merge"}
    assert record["part"] == "20%"
    assert record["steps"]["merge"]["reads"] == ["sources", "targets"]
    assert [(row["key"], row["note"]) for row in record["rows"] if row["note"]] == [
        ("ham", "uses unlabeled target data")
    ]
    merge = merge_facts(record)
    assert merge is not None
    assert merge["target_data"] is True
    provenance = read_provenance(run_directory(recipe) / "merged.safetensors")
    assert provenance is not None
    assert provenance.settings["evidence"] == "hamdg.stages.target_evidence.TargetEvidence"
    assert "uses unlabeled target data" in format_text(record)
    said = capsys.readouterr().out
    assert "uses unlabeled target data: images of sketch, which is not domain generalization" in said
    assert "on sketch, which merge opened before" in said


def test_what_is_said_of_the_held_out_domain_follows_from_what_was_opened(
    tiny: Tiny, peeking: str, capsys: pytest.CaptureFixture[str]
) -> None:
    honest = read_record(pipeline.run(tiny(tower="vit")))
    sources = ["art_painting", "cartoon", "photo"]
    assert {name: step["opened"] for name, step in steps_before(honest).items()} == {"train": sources, "merge": []}
    merge = merge_facts(honest)
    assert merge is not None
    assert merge["target_data"] is False
    assert honest["part"] == "all"
    assert "on sketch, which no step before has opened" in capsys.readouterr().out
    peeked = read_record(pipeline.run(tiny("--merge.method=peek", "--merge.target_data=peek", tower="vit")))
    assert peeked["steps"]["merge"]["opened"] == ["sketch"]
    merge = merge_facts(peeked)
    assert merge is not None
    assert merge["target_data"] is True
    assert peeked["rows"][-1]["note"] == NOTE
    said = capsys.readouterr().out
    assert f"{NOTE}: images of sketch, which is not domain generalization" in said
    assert "on sketch, which merge opened before" in said
    pages = [report_html(record, Evidence()) for record in (honest, peeked)]
    assert [page.count("none of which was read before the evaluation") for page in pages] == [1, 0]
    assert [page.count("The merge step read images of it before, without their labels") for page in pages] == [0, 1]


def test_a_merge_that_opens_the_held_out_domain_without_saying_so_does_not_end(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sneaking(context: Context, *_: object) -> TargetEvidence:
        evidence = TargetEvidence(context, {}, {}, 0)
        evidence.entropy(context.base())
        return evidence

    monkeypatch.setattr(merging, "_evidence", sneaking)
    recipe = tiny(tower="vit")
    with pytest.raises(WallError, match=r"^The domain `sketch` must not be opened here"):
        pipeline.run(recipe)
    assert not RunDirectory(run_directory(recipe)).step("merge").is_done


def test_entropy_and_its_gradient_are_those_of_the_next_images(tiny: Tiny) -> None:
    recipe = tiny("--data.batch_size=16", tower="vit")
    context = open_context(recipe, RunDirectory(run_directory(recipe)))
    base = context.base()
    evidence = TargetEvidence(context, {}, {}, 0)
    entropies = [evidence.entropy(base)[0] for _ in range(3)]
    assert len(set(entropies)) == 3
    again, gradient = TargetEvidence(context, {}, {}, 0).entropy(base)
    assert again == entropies[0]
    # The reference: images of the same step, entropy written out, and a difference quotient in one direction.
    evidence = TargetEvidence(context, {}, {}, 0)
    picked = evidence._next()
    assert len({tuple(image.flatten().tolist()) for image in picked}) == 16
    model = evidence.put(base)
    with torch.no_grad():
        shares = model(picked).double().softmax(dim=1)
    wanted = sum(-float(p) * math.log(float(p)) for row in shares for p in row) / 16
    assert again == pytest.approx(wanted, rel=1e-4)
    direction = {name: value.sign() for name, value in gradient.items()}
    slope = sum(float((gradient[name] * direction[name]).sum()) for name in gradient)
    step = 1e-4

    def moved(sign: float) -> float:
        weights = {name: base[name] + sign * step * direction[name] for name in base}
        return TargetEvidence(context, {}, {}, 0).entropy(weights)[0]

    assert (moved(1) - moved(-1)) / (2 * step) == pytest.approx(slope, rel=0.05)


def test_adamerging_runs_where_it_is_asked_for(tiny: Tiny) -> None:
    recipe = tiny("--merge.method=adamerging", "--merge.target_data=adamerging", "--merge.options.steps=2", tower="vit")
    record = read_record(pipeline.run(recipe))
    assert record["rows"][-1]["label"] == "HAM (reconstruction), merged by adamerging"
    assert record["rows"][-1]["note"] == "uses unlabeled target data"
