"""What the inputs of a merge say alike of their model, its file says, too."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from hamdg.digests import sha256_file
from hamdg.merge import merge_files
from hamdg.merge.files import read_metadata, save_tensors
from hamdg.merge.files.facts import CLASSES, FACTS, MODEL, PREPROCESS, QUICK_GELU
from hamdg.merge.files.partial import COMPLETED_BY

OWN = {MODEL: "resnet18", CLASSES: '["dog", "horse"]', PREPROCESS: "{}", "note": "mine"}


@pytest.mark.parametrize(
    ("other", "alike"),
    [
        (OWN, {MODEL, CLASSES, PREPROCESS}),
        (OWN | {CLASSES: '["horse", "dog"]', QUICK_GELU: "true"}, {MODEL, PREPROCESS}),
        ({}, set()),
    ],
)
def test_what_all_models_say_is_carried_over(tmp_path: Path, other: Mapping[str, str], alike: set[str]) -> None:
    paths = {name: tmp_path / f"{name}.safetensors" for name in ("art", "photo")}
    for number, (path, texts) in enumerate(zip(paths.values(), (OWN, other), strict=True)):
        save_tensors(path, {"w": torch.full((2,), float(number))}, texts)
    merge_files("uniform", paths, tmp_path / "merged.safetensors")
    found = read_metadata(tmp_path / "merged.safetensors")
    assert {name: found[name] for name in FACTS if name in found} == {name: OWN[name] for name in alike}
    assert "note" not in found


def test_what_a_base_completes_says_what_the_base_says(tmp_path: Path) -> None:
    base = tmp_path / "base.safetensors"
    save_tensors(base, {"w": torch.zeros(2), "text": torch.ones(1)}, {QUICK_GELU: "true"})
    paths = {name: tmp_path / f"{name}.safetensors" for name in ("art", "photo")}
    for number, path in enumerate(paths.values(), 1):
        save_tensors(path, {"w": torch.full((2,), float(number))}, {COMPLETED_BY: sha256_file(base)})
    merge_files("uniform", paths, tmp_path / "merged.safetensors", base)
    assert read_metadata(tmp_path / "merged.safetensors")[QUICK_GELU] == "true"
