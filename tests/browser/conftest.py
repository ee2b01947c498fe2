from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.browser.chromium import Browser, Page, find_chromium, new_page, running_browser


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    program = find_chromium()
    if program is None:
        pytest.skip("needs Chromium or Chrome on the PATH")
    with running_browser(program) as running:
        yield running


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    opened = new_page(browser)
    yield opened
    opened.close()
