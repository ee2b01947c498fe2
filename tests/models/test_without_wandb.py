from __future__ import annotations

import subprocess
import sys

import pytest

CODES = {
    "not imported": "import hamdg.models, sys; assert 'timm' in sys.modules; assert 'wandb' not in sys.modules",
    "importable afterwards": "import hamdg.models, wandb; assert wandb.init",
    "left alone where it is there": "import wandb, hamdg.models, sys; assert sys.modules['wandb'] is wandb",
}


@pytest.mark.parametrize("code", CODES.values(), ids=CODES)
def test_models_bring_no_wandb(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
