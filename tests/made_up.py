"""Made-up runs for pages: whole and valid records, whose numbers are drawn around those of docs/results.md."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from hamdg.config.reading import values_of, write_recipe
from hamdg.config.recipe import Recipe
from hamdg.data.resolve import benchmark_of
from hamdg.digests import sha256_file
from hamdg.files import write_bytes, write_json
from hamdg.runs.directory import RunDirectory
from hamdg.runs.identity import identity, run_directory
from hamdg.runs.manifest import seal
from hamdg.runs.record import Record, Row, StepRecord, read_record

_TEMPLATE = Path(__file__).parent / "golden" / "ham"
NOTE = (
    "HAM (reconstruction): enrichment (SAE) follows the published rule; harmonization (OPA) and the historical merge "
    "(RHM) are our reconstruction."
)
PACS = ("art_painting", "cartoon", "photo", "sketch")


@dataclass(frozen=True)
class Method:
    """A made-up method.

    Args:
        label: Its label.
        algorithm: Its algorithm.
        means: Its accuracy on each domain, in per cent.
        spread: Standard deviation between seeds, in points.
        seconds: Its training time.
        changes: Keys of its recipe, dotted.
        footnote: Its footnote.
    """

    label: str
    algorithm: str
    means: Sequence[float]
    spread: float
    seconds: float
    changes: Mapping[str, object] = field(default_factory=dict)
    footnote: str = ""


ZERO_SHOT = (58.1, 63.6, 60.7, 75.0)
METHODS = (
    Method("ERM + SMA", "erm", (70.1, 84.9, 72.7, 83.0), 1.2, 10.8),
    Method("CORAL", "coral", (70.9, 85.3, 72.2, 82.1), 1.4, 14.2),
    Method("MMD", "mmd", (69.2, 84.1, 71.5, 81.0), 1.6, 15.9),
    Method("source models, uniform average", "experts", (45.5, 58.9, 44.7, 74.0), 3.1, 16.9),
    Method("HAM (reconstruction)", "ham", (67.7, 80.9, 68.5, 80.6), 1.4, 34.6, footnote=NOTE),
    Method(
        "HAM (reconstruction) without enrichment",
        "ham",
        (66.4, 79.0, 66.0, 85.9),
        1.5,
        17.0,
        {"ham.enrichment.enabled": False},
        NOTE,
    ),
    Method(
        "HAM (reconstruction) without harmonization",
        "ham",
        (56.1, 74.7, 55.3, 70.3),
        2.0,
        33.4,
        {"ham.harmonization.method": "none"},
        NOTE,
    ),
    Method(
        "HAM (reconstruction), keep 0.1", "ham", (67.1, 80.2, 67.0, 79.4), 1.3, 34.4, {"merge.options.keep": 0.1}, NOTE
    ),
    Method(
        "HAM (reconstruction), keep 0.5", "ham", (67.9, 81.6, 68.8, 80.1), 1.2, 34.7, {"merge.options.keep": 0.5}, NOTE
    ),
)


def write_runs(
    folder: Path,
    methods: Sequence[Method] = METHODS,
    domains: Sequence[str] = PACS,
    seeds: Sequence[int] = (0, 1, 2),
    zero_shot: Sequence[float] = ZERO_SHOT,
) -> list[Path]:
    """Write a run directory with a record for each method, held-out domain and seed, and return them."""
    written = []
    template = read_record(_TEMPLATE)
    for number, method in enumerate(methods):
        for place, domain in enumerate(domains):
            for seed in seeds:
                draws = random.Random(f"{method.label} {domain} {seed}")
                value = round(7 * min(max(draws.gauss(method.means[place], method.spread), 0.0), 100.0)) / 700
                seconds = method.seconds * draws.uniform(0.95, 1.1)
                identity = f"{number:02x}{place:02x}{seed:04x}"
                record = _record(template, method, domains, domain, seed, identity)
                _fill(record, value, zero_shot[place] / 100.0, seconds)
                run = folder / record["benchmark"] / domain / method.algorithm / f"seed{seed}-{identity}"
                run.mkdir(parents=True)
                (run / "record.json").write_text(json.dumps(record), encoding="utf-8")
                (run / "config.yaml").write_text("made up\n", encoding="utf-8")
                written.append(run)
    return written


def write_done(recipe: Recipe, value: float, seconds: float = 10.0) -> RunDirectory:
    """Write the directory of a finished run of a recipe: its small files, weights of a few bytes, and `done`."""
    run = RunDirectory(run_directory(recipe))
    method = Method(recipe.label, recipe.algorithm, (), 0.0, seconds)
    domains = benchmark_of(recipe).domains
    record = _record(read_record(_TEMPLATE), method, domains, recipe.held_out, recipe.seed, identity(recipe))
    record["config"] = values_of(recipe)
    _fill(record, value, 0.5, seconds)
    write_recipe(recipe, run.config)
    write_json(run.record, record)
    scores = {row["key"]: row["validation"] for row in record["rows"]}
    write_json(run.validation, {"validation": scores, "opened": [], "seconds": 0.5, "wrote": {}})
    model = run.path.parents[4] / "model.safetensors"
    write_bytes(model, b"pretrained")
    start = {str(model): sha256_file(model)}
    write_json(run.start, {"sha256": "0" * 64, "files": start, "class_features": {"kind": "prompts"}})
    write_bytes(run.merged, b"weights")
    write_json(run.step("train").summary, {"wrote": {}})
    written = (run.record, run.validation, run.start, run.merged, run.step("train").summary)
    seal(run, [path.name for path in written], start)
    return run


def _record(
    template: Record, method: Method, domains: Sequence[str], held_out: str, seed: int, identity: str
) -> Record:
    record = copy.deepcopy(template)
    sources = [domain for domain in domains if domain != held_out]
    record.update(
        {
            "held_out": held_out,
            "targets": [held_out],
            "algorithm": method.algorithm,
            "label": method.label,
            "footnote": method.footnote,
            "seed": seed,
            "identity": identity,
            "domains": list(domains),
            "sources": sources,
            "controls": [],
            "source_accuracies": {},
            "command": f"hamdg run made-up/{method.algorithm} --held_out={held_out} --seed={seed}",
        }
    )
    config = record["config"]
    config.update({"held_out": held_out, "seed": seed, "algorithm": method.algorithm, "label": method.label})
    for key, value in method.changes.items():
        section = config
        *above, last = key.split(".")
        for name in above:
            section = cast("dict[str, object]", section.setdefault(name, {}))
        section[last] = value
    return record


def _fill(record: Record, value: float, zero_shot: float, seconds: float) -> None:
    images = record["n_held_out"] = 700
    record["rows"] = [
        _row("zero_shot", "zero-shot", "control", zero_shot, record["held_out"], images),
        _row(record["algorithm"], record["label"], "merged", value, record["held_out"], images),
    ]
    record["held_out_accuracy"] = record["held_out_accuracy_in80"] = value
    record["zero_shot_accuracy"] = zero_shot
    record["validation_accuracy"] = min(value + 0.2, 1.0)
    record["images_seen"] = 9600
    record["timings"] = {"train": seconds, "merge": 0.4, "evaluate": 2.0, "total": seconds + 2.4}
    for name, step in record["steps"].items():
        one: StepRecord = step
        one["figures"], one["facts"] = [], {}
        one["opened"] = [record["held_out"]] if name == "evaluate" else list(record["sources"])
        one["seconds"] = record["timings"].get(name, 0.1)


def _row(key: str, label: str, group: str, value: float, target: str, images: int) -> Row:
    return cast(
        "Row",
        {
            "key": key,
            "label": label,
            "group": group,
            "held_out": value,
            "held_out_in80": value,
            "standard_error": (value * (1.0 - value) / images) ** 0.5,
            "validation": min(value + 0.2, 1.0),
            "note": "",
            "targets": {
                target: {
                    "accuracy": value,
                    "accuracy_in80": value,
                    "accuracy_in20": value,
                    "macro_accuracy": value,
                    "calibration_error": 0.05,
                    "per_class_accuracy": [value] * 7,
                    "images": images,
                }
            },
        },
    )
