from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

from hamdg.errors import WeightsError
from hamdg.merge import MergeSettings, list_methods
from hamdg.merge.files import Provenance, read_provenance, save_tensors
from hamdg.merge.files.evidence import FileEvidence
from hamdg.merge.files.provenance import merge_versions, resolved_options, resolved_settings

TENSORS = {"w": torch.ones(2)}


def test_metadata_depend_on_what_was_merged_only() -> None:
    one = Provenance(
        "rhm", {"scope": "tensor", "keep": 0.5}, {"b": "22", "a": "11"}, versions={"torch": "2.8", "hamdg": "1"}
    )
    two = Provenance(
        "rhm", {"keep": 0.5, "scope": "tensor"}, {"a": "11", "b": "22"}, versions={"hamdg": "1", "torch": "2.8"}
    )
    assert one.metadata() == two.metadata()
    assert one.metadata() == {
        "format": "pt",
        "hamdg.method": "rhm",
        "hamdg.options": '{"keep": 0.5, "scope": "tensor"}',
        "hamdg.sources": '{"a": "11", "b": "22"}',
        "hamdg.versions": '{"hamdg": "1", "torch": "2.8"}',
    }


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    recorded = Provenance(
        "ties",
        {"density": 0.2, "sign": "mass", "on": True, "limit": None},
        {"art": "11", "photo": "22"},
        "33",
        {"art": 1.0, "photo": 0.1},
        {"lines": [0.5, 1.0], "dtype": None},
        {"art": "44", "photo": "55"},
        {"torch": "2.8"},
        "blake3",
    )
    for given in (recorded, Provenance("uniform", {}, {"a": "11"})):
        save_tensors(path, TENSORS, given.metadata())
        assert read_provenance(path) == given


def test_an_unknown_hash_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_tensors(path, TENSORS, Provenance("uniform", {}, {"a": "11"}).metadata() | {"hamdg.hash": "md5"})
    with pytest.raises(WeightsError, match=r"its header is damaged \(`md5` is not a hash that is known\)"):
        read_provenance(path)


def test_files_of_others_have_none(tmp_path: Path) -> None:
    save_tensors(tmp_path / "x.safetensors", TENSORS, {"format": "pt"})
    torch.save(TENSORS, tmp_path / "x.pt")
    (tmp_path / "note.txt").write_text("no weights")
    save_tensors(tmp_path / "m-1.safetensors", TENSORS)
    index = tmp_path / "m.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"w": "m-1.safetensors"}}))
    for path in (tmp_path / "x.safetensors", tmp_path / "x.pt", tmp_path / "note.txt", index, tmp_path):
        assert read_provenance(path) is None


@pytest.mark.parametrize("name", ["missing.safetensors", "missing.pt"])
def test_a_missing_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(
        WeightsError, match=rf"^The weights file `.*{name}` does not exist; give the path of a weights file"
    ):
        read_provenance(tmp_path / name)


@pytest.mark.parametrize("text", ["no json", "[1]"])
def test_a_damaged_header(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.safetensors"
    save_tensors(path, TENSORS, {"hamdg.method": "ties", "hamdg.sources": text})
    start = re.escape(f"The weights file `{path}` says that a merge made it, but its header is damaged (")
    with pytest.raises(WeightsError, match=rf"^{start}.*\)\. Merge again, or copy it again from where it came\.$"):
        read_provenance(path)


def test_weights_that_are_no_numbers_are_damage(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_tensors(path, TENSORS, {"hamdg.method": "ties", "hamdg.weights": '{"a": "much"}'})
    with pytest.raises(WeightsError, match="its header is damaged"):
        read_provenance(path)


def test_defaults_are_filled_in_and_numbers_are_one_kind() -> None:
    ties = list_methods()["ties"]
    found = resolved_options(ties, {"scale": 1, "sign": "count"})
    assert set(found) == set(ties.options)
    assert (found["density"], found["sign"], repr(found["scale"])) == (0.2, "count", "1.0")
    assert resolved_options(ties, {"scale": 1.0, "sign": "count"}) == found


def test_settings_that_change_nothing_are_not_told() -> None:
    recorded = resolved_settings(MergeSettings(threads=3, dtype=torch.bfloat16, lines=(1, 2), device="cpu"))
    assert recorded == {
        "allow_nonfinite": False,
        "buffers": "moments",
        "device": "cpu",
        "dtype": "bfloat16",
        "lines": [1.0, 2.0],
        "precision": "fp32",
    }
    assert "1.0" in json.dumps(recorded["lines"])
    assert resolved_settings(MergeSettings(threads=1)) == resolved_settings(MergeSettings())
    assert resolved_settings(MergeSettings(device="cuda:1"))["device"] == "cuda"


def test_evidence_from_memory_is_told_by_its_class() -> None:
    assert (
        resolved_settings(MergeSettings(evidence=FileEvidence({})))["evidence"]
        == "hamdg.merge.files.evidence.FileEvidence"
    )


def test_versions_are_told() -> None:
    assert set(merge_versions()) == {"hamdg", "python", "torch"}
