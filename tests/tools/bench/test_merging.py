from __future__ import annotations

import math
import re
import shutil
import sys
from collections import namedtuple
from pathlib import Path

import pytest
import torch
from open_clip.transformer import VisionTransformer

from hamdg.errors import ConfigError
from hamdg.merge import list_methods
from hamdg.merge.files import load_tensors
from hamdg.tools.bench import contender, merging

SHAPES = {"a.weight": (30, 20), "a.bias": (30,), "logit_scale": ()}


def test_the_models_are_of_the_size_of_vit_b_16() -> None:
    shapes = merging.vit_shapes()
    assert len(shapes) == 152
    assert sum(math.prod(shape) for shape in shapes.values()) == 86_192_640


def test_the_shapes_are_open_clip_s() -> None:
    with torch.device("meta"):
        tower = VisionTransformer(224, 16, 768, 12, 12, 4.0, output_dim=512)
    assert {name: tuple(tensor.shape) for name, tensor in tower.state_dict().items()} == merging.vit_shapes()


@pytest.mark.slow
def test_a_comparison_of_this_library_s_ways(tmp_path: Path) -> None:
    merging.write_models(tmp_path, 3, SHAPES)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        contender.BASE,
        *(f"source-0{i}.safetensors" for i in range(3)),
    ]
    rows = merging.comparison_rows("ties", tmp_path, sys.executable, most=1)
    own = [row for row in rows if row[0].startswith("hamdg")]
    assert [row[0] for row in own] == ["hamdg merge, the command", "hamdg.merge.merge", "hamdg.merge.merge, by tensor"]
    assert own[0][4] == "1.00"
    assert all(int(row[3]) > 10 for row in own)
    assert not (tmp_path / "out").exists()


def test_the_models_differ_from_the_base_a_little(tmp_path: Path) -> None:
    merging.write_models(tmp_path, 2, SHAPES)
    base, model = (load_tensors(tmp_path / name) for name in (contender.BASE, "source-01.safetensors"))
    change = (model["a.weight"] - base["a.weight"]).std().item()
    assert change == pytest.approx(1e-3, rel=0.2)


def test_a_disk_without_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(0, 0, 1000))
    message = f"The bench needs 0.0 GB in `{tmp_path}`, which has 0.0 GB free."
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        merging.write_models(tmp_path, 2, SHAPES)
    assert list(tmp_path.iterdir()) == []


def test_every_method_that_needs_no_data_is_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # `rebasin` wants a network that it knows.
    known = {name: info for name, info in list_methods().items() if name != "rebasin"}
    monkeypatch.setattr(merging, "list_methods", lambda: known)
    merging.write_models(tmp_path, 3, SHAPES)
    rows = merging.method_rows(tmp_path)
    assert {"uniform", "ties", "rhm", "tsv", "karcher"} <= {row[0] for row in rows}
    assert not {"fisher", "regmean", "adamerging"} & {row[0] for row in rows}
    assert {row[1] for row in rows if row[0] == "slerp"} == {"2"}
