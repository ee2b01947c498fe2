from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hamdg.data.benchmarks.pacs import PACS


@pytest.fixture
def pacs(tmp_path: Path) -> Path:
    """Write a PACS with one image of every class and domain; return its folder."""
    rng = np.random.default_rng(0)
    for domain in PACS.domains:
        for name in PACS.classes:
            folder = tmp_path / "pacs" / domain / name
            folder.mkdir(parents=True)
            Image.fromarray(rng.integers(0, 256, (60, 70, 3), dtype=np.uint8)).save(folder / "one.jpg")
    return tmp_path / "pacs"
