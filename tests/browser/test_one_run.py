"""The page of one run in a browser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hamdg.report.page import write_report
from tests.browser.chromium import Page
from tests.browser.looking import WIDTHS, look

Copy = Callable[[str], Path]


def test_the_page_of_a_run_can_be_read_everywhere(page: Page, run_copy: Copy) -> None:
    file = write_report(run_copy("ham"))
    wrong = [text for width in WIDTHS for text in look(page, file, width, "light", ["overflow", "blank", "texts"])]
    assert wrong == []
