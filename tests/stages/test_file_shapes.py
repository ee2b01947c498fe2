"""JSON files of a run that have another shape than a run writes: one sentence each."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from hamdg import cli
from hamdg.digests import sha256_file
from hamdg.runs.directory import RunDirectory
from tests.stages.repeated import Capture, again, error_of

if TYPE_CHECKING:
    from tests.tiny import Tower

Copied = Callable[["Tower"], RunDirectory]


def set_to(*keys: str, value: object) -> Callable[[Any], Any]:
    def change(content: Any) -> Any:
        inner = content
        for key in keys[:-1]:
            inner = inner[key]
        inner[keys[-1]] = value
        return content

    return change


def without(*keys: str) -> Callable[[Any], Any]:
    def change(content: Any) -> Any:
        inner = content
        for key in keys[:-1]:
            inner = inner[key]
        del inner[keys[-1]]
        return content

    return change


# File, what happens to its content, and what is said of it.
SHAPES: list[tuple[str, Callable[[Any], Any], str]] = [
    ("train.json", lambda _: [], "expected it to be a mapping, but got `[]`"),
    ("train.json", without("seconds"), "`seconds` is missing"),
    ("train.json", set_to("facts", value=[1]), "expected `facts` to be a mapping of names to values, but got `[1]`"),
    ("train.json", set_to("figures", value=[{}]), "expected `figures.0.kind` to be one of `heat_map`, "),
    (
        "train.json",
        set_to("reads", value=["labels"]),
        "expected `reads.0` to be one of `sources`, `targets`, but got `",
    ),
    ("train.json", set_to("wrote", value="x"), 'expected `wrote` to be a mapping of names to strings, but got `"x"`'),
    ("merge.json", lambda _: "x", 'expected it to be a mapping, but got `"x"`'),
    ("validation.json", without("validation"), "`validation` is missing"),
    (
        "validation.json",
        set_to("validation", "ham", value=None),
        "expected `validation.ham` to be a number, but got `null`",
    ),
    (
        "validation.json",
        set_to("wrote", value=[]),
        "expected `wrote` to be a mapping of names to strings, but got `[]`",
    ),
    ("start.json", without("sha256"), "`sha256` is missing"),
    ("start.json", set_to("class_features", value=1), "expected `class_features` to be a mapping of names to strings"),
    ("merge.json", set_to("seconds", value="1"), 'expected `seconds` to be a number, but got `"1"`'),
    ("splits.json", lambda _: 3, "expected it to be a mapping, but got `3`"),
    ("splits.json", without("domains"), "`domains` is missing"),
    ("splits.json", set_to("domains", "photo", value=[]), "expected `domains.photo` to be a mapping, but got `[]`"),
    ("train/index.json", lambda content: [content], "expected it to be a mapping, but got `[{"),
    ("train/index.json", set_to("sources", "photo", "history", value=[]), "`sources.photo.history` is empty"),
    ("train/index.json", without("sources", "photo", "last", "file"), "`sources.photo.last.file` is missing"),
]


INDEX = "train/index.json"


@pytest.mark.parametrize(("name", "change", "said"), SHAPES, ids=lambda value: str(value)[:20])
def test_json_of_another_shape_is_one_sentence(
    copied: Copied, name: str, change: Callable[[Any], Any], said: str, capsys: Capture
) -> None:
    run = copied("vit")
    run.unmark_done()
    run.record.unlink()
    if name in ("splits.json", INDEX):
        run.step("merge").summary.unlink()
    path = run.path / name
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    if name == INDEX:
        # As if the step had written it, whose digests are looked at first.
        trained = json.loads(run.step("train").summary.read_text())
        trained["wrote"][INDEX] = sha256_file(path)
        run.step("train").summary.write_text(json.dumps(trained))
    assert again(run) == 2
    error = error_of(capsys)
    assert error.startswith(f"`{path}` is damaged ({said}"), error
    assert error.endswith("; repeat the run with `--force`.")


RECORDS: list[tuple[Callable[[Any], Any], str]] = [
    (lambda _: [], "expected a JSON object, got `list`"),
    (set_to("seed", value="<b>"), 'expected `seed` to be an integer, but got `"<b>"`'),
    (set_to("rows", value={}), "expected `rows` to be a list of mappings, but got `{}`"),
    (set_to("steps", "merge", "facts", value=None), "expected `steps.merge.facts` to be a mapping of names to values"),
    (set_to("timings", "train", value="x"), 'expected `timings.train` to be a number, but got `"x"`'),
]


@pytest.mark.parametrize("verb", ["report", "run"])
@pytest.mark.parametrize(("change", "said"), RECORDS)
def test_a_record_of_another_shape_is_one_sentence(
    copied: Copied, change: Callable[[Any], Any], said: str, verb: str, capsys: Capture
) -> None:
    run = copied("vit")
    run.record.write_text(json.dumps(change(json.loads(run.record.read_text()))))
    run.unmark_done()
    assert (again(run) if verb == "run" else cli.main(["report", str(run.path)])) == 2
    assert said in error_of(capsys)
