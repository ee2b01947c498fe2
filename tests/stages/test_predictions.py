"""What an evaluation keeps beside the record: predictions, mistakes, accuracies by domain and along lines."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import multiclass_calibration_error

from hamdg.data.domain import open_domain
from hamdg.errors import ConfigError
from hamdg.runs.directory import RunDirectory
from hamdg.runs.lines import read_lines
from hamdg.runs.predictions import TargetPredictions, read_predictions
from hamdg.runs.record import Record, read_record
from hamdg.stages import pipeline, repeating
from hamdg.stages.context import open_context
from hamdg.stages.lines import between
from hamdg.stages.predictions import PredictionLog, choose_mistakes
from hamdg.stages.scoring import Scored, Scorer
from hamdg.stages.sources import open_sources

if TYPE_CHECKING:
    from tests.stages.conftest import Tiny
    from tests.tiny import Tower

    Finished = Callable[[Tower], RunDirectory]


@pytest.fixture
def run(finished: Finished) -> RunDirectory:
    return finished("vit")


@pytest.fixture
def record(run: RunDirectory) -> Record:
    return read_record(run.record)


def test_the_log_keeps_the_class_and_its_softmax() -> None:
    scores = torch.tensor([[0.0, np.log(3.0)], [np.log(4.0), 0.0], [1.0, 1.0]])
    log = PredictionLog(4)
    log.update(scores[:2], torch.zeros(2), 1)
    log.update(scores[2:], torch.zeros(1), 3)
    assert log.predicted.tolist() == [0, 1, 0, 0]
    assert log.confidence.tolist() == pytest.approx([0.0, 0.75, 0.8, 0.5])


def test_predictions_give_every_number_of_the_table_again(run: RunDirectory, record: Record) -> None:
    target = read_predictions(run.predictions).targets[record["held_out"]]
    assert list(target.predicted) != [row["key"] for row in record["rows"]]  # its controls come last
    assert set(target.predicted) == {row["key"] for row in record["rows"]}
    classes = len(record["classes"])
    for row in record["rows"]:
        right = target.predicted[row["key"]] == target.labels
        metrics = row["targets"][record["held_out"]]
        assert right.mean() == metrics["accuracy"]
        by_class = [right[target.labels == label].mean() for label in range(classes)]
        assert metrics["per_class_accuracy"] == pytest.approx(by_class, abs=1e-15)


def test_confidences_give_torchmetrics_calibration_error(run: RunDirectory, record: Record) -> None:
    target = read_predictions(run.predictions).targets[record["held_out"]]
    classes = len(record["classes"])
    for row in record["rows"]:
        # Probabilities with the kept confidence at the predicted class and the rest spread over the others.
        confidence = torch.from_numpy(target.confidence[row["key"]])
        rest = ((1 - confidence) / (classes - 1)).unsqueeze(1).expand(-1, classes).clone()
        scores = rest.scatter(1, torch.from_numpy(target.predicted[row["key"]]).unsqueeze(1), confidence.unsqueeze(1))
        wanted = multiclass_calibration_error(scores, torch.from_numpy(target.labels), classes, n_bins=15)
        assert row["targets"][record["held_out"]]["calibration_error"] == pytest.approx(float(wanted), abs=1e-6)


def test_mistakes_are_wrong_and_the_most_confident_first(run: RunDirectory, record: Record) -> None:
    found = read_predictions(run.predictions)
    target, key = found.targets[record["held_out"]], record["rows"][-1]["key"]
    assert found.mistakes is not None
    chosen = found.mistakes.positions
    confidence = target.confidence[key]
    assert (target.predicted[key][chosen] != target.labels[chosen]).all()
    assert (np.diff(confidence[chosen]) <= 0).all()
    others = np.setdiff1d(np.flatnonzero(target.predicted[key] != target.labels), chosen)
    assert len(chosen) == 24
    assert confidence[others].max(initial=0.0) <= confidence[chosen].min()
    context = open_context(run.recipe(), run)
    images = open_domain(context.recipe, record["held_out"], 32).evaluation.read(chosen)
    assert isinstance(images, torch.Tensor)
    np.testing.assert_array_equal(found.mistakes.images, images.numpy())


def test_mistakes_of_several_targets_are_sorted_together_and_what_is_no_number_is_left_out(tiny: Tiny) -> None:
    recipe = tiny()
    domains = {name: open_domain(recipe, name, 32) for name in ("photo", "sketch")}

    def target(confidence: list[float]) -> TargetPredictions:
        zeros = np.zeros(3, dtype=np.int64)
        return TargetPredictions(np.array([0, 1, 1]), {"ham": zeros}, {"ham": np.array(confidence, dtype=np.float32)})

    found = {"photo": target([0.9, 0.5, np.nan]), "sketch": target([0.9, 0.7, 0.4])}
    mistakes = choose_mistakes(domains, found, "ham", 5)
    assert mistakes is not None
    chosen = list(zip(mistakes.targets, mistakes.positions.tolist(), strict=True))
    assert chosen == [("sketch", 1), ("photo", 1), ("sketch", 2)]
    assert choose_mistakes(domains, found, "ham", 0) is None
    assert choose_mistakes(domains, found, "other", 5) is None


def test_every_row_has_the_accuracies_that_its_validation_is_the_mean_of(run: RunDirectory, record: Record) -> None:
    context = open_context(run.recipe(), run)
    holdouts = open_sources(context, begun=True).holdouts()
    result = context.algorithm.entries(context)[-1]
    for row in record["rows"]:
        own = row["sources"]
        assert list(own) == record["sources"]
        assert row["validation"] == sum(own.values()) / len(own)
    # Of the result, by plain inference.
    network = result.network.eval()
    network.load(result.weights)
    for name, part in holdouts.items():
        ((images, labels),) = part.parts(1000)
        with torch.no_grad():
            predicted = network(context.preprocess(images)).argmax(dim=1)
        assert record["rows"][-1]["sources"][name] == float((predicted == labels).double().mean())


def test_lines_end_in_the_accuracies_of_the_models(run: RunDirectory, record: Record) -> None:
    found = read_lines(run)
    assert found is not None
    rows = {row["key"]: row for row in record["rows"]}
    assert list(found["lines"]) == ["zero_shot", *(f"source/{name}" for name in record["sources"])]
    assert found["at"] == [0.0, 0.5, 1.0]
    result, target = rows[found["result"]], record["held_out"]
    for key, line in found["lines"].items():
        assert list(line) == [*record["sources"], target]
        for name in record["sources"]:
            assert (line[name][0], line[name][-1]) == (rows[key]["sources"][name], result["sources"][name])
        assert (line[target][0], line[target][-1]) == (rows[key]["held_out"], result["held_out"])
    assert found["images"][target] == record["n_held_out"]


def test_the_middle_of_a_line_is_the_accuracy_of_the_mean_of_the_weights(tiny: Tiny) -> None:
    run = RunDirectory(pipeline.run(tiny("--train.lr=0.05", "--evaluate.lines=3", "--algorithm=experts")).parent)
    record, found = read_record(run.record), read_lines(run)
    assert found is not None
    context = open_context(run.recipe(), run)
    entries = {entry.key: entry for entry in context.algorithm.entries(context)}
    key, result = f"source/{record['sources'][0]}", entries[found["result"]]
    mean = {name: (entries[key].weights[name] + last) / 2 for name, last in result.weights.items()}
    scorer, parts = Scorer(context.device, context.preprocess), open_sources(context, begun=True).holdouts()
    wanted = scorer.by_domain([Scored(result.network, mean)], parts, context.task)[0]
    assert {name: found["lines"][key][name][1] for name in parts} == wanted
    assert len({value for line in found["lines"].values() for own in line.values() for value in own}) > 3


def test_a_point_of_a_line_lies_between_and_counters_are_those_of_the_end() -> None:
    first = {"a": torch.tensor([0.0, 4.0]), "n": torch.tensor(3)}
    last = {"a": torch.tensor([1.0, 0.0]), "n": torch.tensor(8)}
    found = between(first, last, 0.25)
    assert found["a"].tolist() == [0.25, 3.0]
    assert found["n"].item() == 8


def measured(record: Record) -> Mapping[str, object]:
    return {"rows": record["rows"], "files": record["files"], "identity": record["identity"]}


def test_what_is_kept_is_no_part_of_the_run(tiny: Tiny) -> None:
    full = pipeline.run(tiny("--evaluate.lines=3", "--runtime.quiet=true")).parent
    bare = pipeline.run(
        tiny(f"--runtime.root={full.parents[3]}/bare", "--evaluate.mistakes=0", "--runtime.quiet")
    ).parent
    assert full.name == bare.name
    assert (full / "merged.safetensors").read_bytes() == (bare / "merged.safetensors").read_bytes()
    assert measured(read_record(full)) == measured(read_record(bare))
    assert read_predictions(bare / "predictions.npz").mistakes is None
    assert not (bare / "lines.json").exists()


def test_few_images_are_drawn_of_each_domain(tiny: Tiny) -> None:
    run = RunDirectory(pipeline.run(tiny("--evaluate.images=5", "--evaluate.lines=2", "--algorithm=experts")).parent)
    found = read_lines(run)
    assert found is not None
    assert set(found["images"].values()) == {5}
    assert found["at"] == [0.0, 1.0]
    shares = [value for own in found["lines"]["zero_shot"].values() for value in own]
    assert all(value is not None and (5 * value).is_integer() for value in shares)


def test_an_older_run_is_given_what_it_lacks(copied: Callable[[Tower], RunDirectory]) -> None:
    run = copied("vit")
    wanted, merged = read_record(run.record), run.merged.read_bytes()
    control = RunDirectory(run.path.parents[1] / wanted["control_runs"][0])
    assert not control.lines.exists()  # no source models were merged there
    for one in (run, control):
        one.predictions.unlink()
        one.lines.unlink(missing_ok=True)
        validation = json.loads(one.validation.read_text())
        del validation["sources"]
        one.validation.write_text(json.dumps(validation))
        record = json.loads(one.record.read_text())
        for row in record["rows"]:
            del row["sources"]
        one.record.write_text(json.dumps(record))
        one.done.write_text("")
    repeating.reevaluate(run.path)
    assert measured(read_record(run.record)) == measured(wanted)
    assert run.merged.read_bytes() == merged
    found = read_predictions(run.predictions)
    assert set(found.targets[wanted["held_out"]].predicted) == {row["key"] for row in wanted["rows"]}
    assert read_lines(run) is not None


def test_the_record_stays_small(record: Record, run: RunDirectory) -> None:
    assert run.record.stat().st_size < 25_000
    assert {"predictions", "lines"} & record.keys() == set()


def test_an_evaluation_can_be_asked_for_more(copied: Callable[[Tower], RunDirectory]) -> None:
    run = copied("vit")
    repeating.reevaluate(run.path, ["--evaluate.lines=2", "--evaluate.mistakes=3"])
    found = read_lines(run)
    assert found is not None
    assert found["at"] == [0.0, 1.0]
    mistakes = read_predictions(run.predictions).mistakes
    assert mistakes is not None
    assert len(mistakes.images) == 3
    said = f"`--train.steps=9` would make another run of `{run.path}`; an evaluation takes keys of `evaluate`, `runt"
    with pytest.raises(ConfigError, match=re.escape(said)):
        repeating.reevaluate(run.path, ["--train.steps=9"])


def test_images_that_are_decoded_each_time_give_the_same_lines(tiny: Tiny, small_pacs: Path, tmp_path: Path) -> None:
    given = ("--benchmark=pacs", f"--data.root={small_pacs}", "--algorithm=experts", "--train.lr=0.05")
    found = []
    for kept in ("true", "false"):
        place = f"--runtime.root={tmp_path / kept}"
        run = pipeline.run(tiny(*given, place, f"--data.decode_once={kept}", "--evaluate.lines=3", tower="vit"))
        found.append((read_lines(RunDirectory(run.parent)), read_predictions(run.parent / "predictions.npz").mistakes))
    (lines, mistakes), (again, mistakes_again) = found
    assert lines is not None
    assert lines == again
    assert mistakes is not None
    assert mistakes_again is not None
    np.testing.assert_array_equal(mistakes.images, mistakes_again.images)
