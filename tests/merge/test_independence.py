from __future__ import annotations

import subprocess
import sys

FOREIGN = ("lightning", "open_clip", "hamdg.data", "hamdg.models", "hamdg.cohort", "hamdg.algorithms", "hamdg.stages")


def test_the_library_knows_tensors_only() -> None:
    modules = "hamdg.merge, hamdg.merge.files, hamdg.merge.geometry, hamdg.merge.history"
    code = f"import sys, {modules}; print([m for m in {FOREIGN!r} if m in sys.modules], 'torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[] True"
