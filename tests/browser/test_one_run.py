"""The page of one run in a browser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hamdg.report.page import report_html, write_report
from hamdg.runs.record import Record
from tests.browser.chromium import Page
from tests.browser.looking import WIDTHS, look
from tests.report.made import by_source, evidence, many_classes

Copy = Callable[[str], Path]


def test_the_page_of_a_run_can_be_read_everywhere(page: Page, run_copy: Copy) -> None:
    file = write_report(run_copy("ham"))
    wrong = [text for width in WIDTHS for text in look(page, file, width, "light", ["overflow", "blank", "texts"])]
    assert wrong == []


@pytest.mark.parametrize("classes", [2, 16, 345])
def test_few_and_many_classes_can_be_read(page: Page, tmp_path: Path, ham: Record, classes: int) -> None:
    record = by_source(many_classes(ham, classes))
    file = tmp_path / "report.html"
    file.write_text(report_html(record, evidence(record, 10 * classes)), encoding="utf-8")
    assert [text for width in WIDTHS for text in look(page, file, width, "light")] == []
    assert look(page, file, 1280, "dark", ["contrast"]) == []


def test_the_confusion_matrix_is_switched_by_keyboard(page: Page, tmp_path: Path, ham: Record) -> None:
    file = tmp_path / "report.html"
    file.write_text(report_html(ham, evidence(ham)), encoding="utf-8")
    page.open(file, 1280, "light")
    shown = "[...document.querySelectorAll('.panel')].map((one) => getComputedStyle(one).display)"
    assert page.texts(shown) == ["block", "none", "none"]
    page.evaluate("document.querySelector('.switch input').focus()")
    page.press("ArrowRight")
    assert page.texts(shown) == ["none", "block", "none"]
