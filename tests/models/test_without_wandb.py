from __future__ import annotations

import subprocess
import sys

import pytest

CODES = [
    "import hamdg.models, sys; assert 'timm' in sys.modules; assert 'wandb' not in sys.modules; import wandb",
    pytest.param("import wandb, hamdg.models, sys; assert sys.modules['wandb'] is wandb", marks=pytest.mark.slow),
]


@pytest.mark.parametrize("code", CODES, ids=["comes later", "was there before"])
def test_models_bring_no_wandb(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
