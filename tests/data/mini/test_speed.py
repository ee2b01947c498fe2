"""The speed command prints a rate for each domain."""

from __future__ import annotations

import pytest

from hamdg.data.mini import DOMAINS, speed


def test_the_command_prints_every_domain(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "images_per_second", lambda domain, config: 1234.0)
    speed.main()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [[domain, "1234"] for domain in DOMAINS]
