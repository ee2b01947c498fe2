"""The scripts of docs/library.md run as they stand, and what they write is what they say."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torchvision.models import resnet18

import hamdg
from hamdg.merge.files import load_tensors

PAGE = Path(__file__).parents[1] / "docs" / "library.md"
SCRIPTS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)


SOURCES, PARTS = ("art", "photo"), ("start", "last", "history")


def run(script: str, folder: Path) -> None:
    (folder / "script.py").write_text(script, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=folder, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*.safetensors")}


@pytest.mark.slow
def test_a_script_of_somebody_else_ends_with_a_file_that_torchvision_loads(tmp_path: Path) -> None:
    assert len([line for line in SCRIPTS[0].splitlines() if line.strip()]) <= 35
    run(SCRIPTS[0], tmp_path)
    parts = {
        f"runs/{source}/{part}/net.safetensors" for source in ("art", "photo") for part in ("start", "last", "history")
    }
    assert files(tmp_path) == parts | {"merged.safetensors"}
    merged, start = (load_tensors(tmp_path / name) for name in ("merged.safetensors", "runs/art/start/net.safetensors"))
    resnet18(num_classes=4).load_state_dict(merged)
    assert int(merged["bn1.num_batches_tracked"]) == 2 * 8  # statistics of both sources are pooled
    assert not torch.equal(merged["conv1.weight"], start["conv1.weight"])


@pytest.mark.slow
def test_a_cohort_trains_in_somebodys_script(tmp_path: Path) -> None:
    run(SCRIPTS[1], tmp_path)
    assert files(tmp_path) == {
        f"runs/cohort/{part}/{source}.safetensors"
        for part in ("start", "last", "history")
        for source in ("art", "photo")
    }
    assert len(SCRIPTS) == 2


def test_the_package_names_what_it_offers_and_nothing_else() -> None:
    assert all(getattr(hamdg, name) for name in hamdg.__all__)
    assert set(hamdg.__all__) <= set(dir(hamdg))
    with pytest.raises(AttributeError, match=r"^module `hamdg` has no attribute `Cohrt`$"):
        _ = hamdg.Cohrt


def test_importing_the_package_imports_no_torch() -> None:
    code = "import sys, hamdg; assert 'torch' not in sys.modules; assert 'Learner' in dir(hamdg)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=100)
