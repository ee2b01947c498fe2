from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

from hamdg.errors import ConfigError, HamdgError, WeightsError
from hamdg.merge.evidence import Activations, Gradients, Losses
from hamdg.merge.files import save_tensors
from hamdg.merge.files.evidence import FileEvidence


def test_tensors_and_losses_come_from_files(tmp_path: Path) -> None:
    save_tensors(tmp_path / "a.safetensors", {"w": torch.tensor([1.0, 2.0])})
    (tmp_path / "losses.json").write_text(json.dumps({"b": 0.5, "c": 2}))
    evidence = FileEvidence(
        {"c": tmp_path / "losses.json", "a": tmp_path / "a.safetensors", "b": tmp_path / "losses.json"}
    )
    assert isinstance(evidence, Gradients)
    assert isinstance(evidence, Activations)
    assert isinstance(evidence, Losses)
    assert evidence.fisher("a")["w"].tolist() == evidence.gram("a")["w"].tolist() == [1.0, 2.0]
    assert (evidence.loss("b"), evidence.loss("c")) == (0.5, 2.0)
    assert list(evidence.paths) == ["a", "b", "c"]
    assert evidence.files("a") == (tmp_path / "a.safetensors",)
    assert evidence.files("b") == (tmp_path / "losses.json",)


def test_every_source_has_a_file(tmp_path: Path) -> None:
    save_tensors(tmp_path / "a.safetensors", {"w": torch.ones(1)})
    evidence = FileEvidence({"a": tmp_path / "a.safetensors"})
    evidence.check_sources(("a",))
    start = "Expected `evidence` to hold one file for each source, but "
    for sources, end in ((("a", "b"), "`b` has none."), (("b",), "`a` is not a source.")):
        with pytest.raises(ConfigError, match=f"^{re.escape(start + end)}$"):
            evidence.check_sources(sources)


def test_what_a_file_does_not_hold_is_told(tmp_path: Path) -> None:
    save_tensors(tmp_path / "a.safetensors", {"w": torch.ones(1)})
    (tmp_path / "b.json").write_text('{"a": 1, "b": "low", "c": true}')
    evidence = FileEvidence(dict.fromkeys("bcd", tmp_path / "b.json") | {"a": tmp_path / "a.safetensors"})
    for source in "abcd":
        path = tmp_path / ("a.safetensors" if source == "a" else "b.json")
        message = (
            f"The evidence of `{source}` (`{path}`) holds no loss; give a `.json` file with a number under `{source}`."
        )
        with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
            evidence.loss(source)
    message = f"The evidence of `b` (`{tmp_path / 'b.json'}`) holds no tensors; give a `.safetensors` file."
    for ask in (evidence.fisher, evidence.gram):
        with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
            ask("b")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    expected: list[tuple[str | None, str]] = [
        (None, r"does not exist; give the path of a file\."),
        ("{", r"is damaged \(.*\)\. Write it again\."),
        ("[1]", r"holds no table of losses by source\. Write it again\."),
    ]
    for text, end in expected:
        if text is not None:
            path.write_text(text)
        with pytest.raises(WeightsError, match=rf"^The evidence file `{re.escape(str(path))}` {end}$"):
            FileEvidence({"a": path})
    with pytest.raises(HamdgError, match="does not exist"):
        FileEvidence({"a": tmp_path / "none.safetensors"})
