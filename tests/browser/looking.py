"""Looks at a page as its readers do: wide and on a phone, light and dark, and says all that is wrong with it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.browser.chromium import Page, Scheme

CHECKS = ("overflow", "blank", "texts", "contrast", "structure")
WIDTHS = (1280, 390)
_SCRIPT = Path(__file__).with_name("checks.js")


def look(page: Page, file: Path, width: int, scheme: Scheme, checks: Sequence[str] = CHECKS) -> list[str]:
    """Open a file and return what is wrong with it, a line each.

    Args:
        page: Where it is opened.
        file: The file.
        width: Pixels across.
        scheme: Its colors.
        checks: Functions of checks.js.
    """
    page.open(file, width, scheme)
    where = f"at {width} px, {scheme}"
    wrong = [f"{where}: console: {text}" for text in page.complaints()]
    wrong += [f"{where}: asks for {address}" for address in page.requests() if address != file.resolve().as_uri()]
    page.evaluate(_SCRIPT.read_text(encoding="utf-8"))
    for check in checks:
        wrong += [f"{where}: {check}: {text}" for text in page.texts(f"pageChecks.{check}({width})")]
    return wrong
