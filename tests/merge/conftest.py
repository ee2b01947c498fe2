"""What tests of the merge library share: methods that are forgotten, and what Git Re-Basin may reorder."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from hamdg.merge import registry
from tests.merge.toys import OPTIONS


@pytest.fixture
def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Methods that a test registers are gone after it."""
    monkeypatch.setattr(registry, "_METHODS", dict(registry._METHODS))


@pytest.fixture(scope="module")
def rebasin_spec(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tell Git Re-Basin what can be reordered in the toys."""
    path = tmp_path_factory.mktemp("laws") / "spec.json"
    path.write_text(json.dumps({"channels": {"units": 6, "axes": [["fc.weight", 0]]}}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(OPTIONS["rebasin"], "spec", str(path))
        yield
