"""The checks find what they are for."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.browser.chromium import Page
from tests.browser.looking import CHECKS, look

HEAD = (
    '<!doctype html><html lang="en"><meta name="viewport" content="width=device-width"><title>t</title>'
    "<style>%s</style>"
)
GOOD = "<h1>Title</h1><section><h2>Part</h2><p>Words.</p></section>"


def write(folder: Path, body: str, css: str = "") -> Path:
    file = folder / "page.html"
    file.write_text(HEAD.replace("%s", css) + f"<body>{body}</body></html>", encoding="utf-8")
    return file


def test_nothing_is_wrong_with_a_plain_page(page: Page, tmp_path: Path) -> None:
    assert look(page, write(tmp_path, GOOD), 1280, "light") == []


@pytest.mark.parametrize(
    ("check", "body", "css", "said"),
    [
        ("overflow", "<div id='wide'>x</div>", "#wide { width: 700px }", "div#wide reaches to 708 of 390 px"),
        ("blank", "<section id='s'></section>", "", "section#s is empty"),
        ("blank", "<svg role='img' width='50' height='50'></svg>", "", "svg is empty"),
        ("blank", "<p>End</p>", "p { margin-top: 400px }", "nothing between"),
        (
            "texts",
            "<svg width='80' height='20'><text x='60' y='14'>outside</text></svg>",
            "",
            '"outside" leaves its drawing',
        ),
        (
            "texts",
            "<svg width='80' height='20'><text x='2' y='14'>one</text><text x='9' y='14'>two</text></svg>",
            "",
            '"one" lies over "two"',
        ),
        (
            "texts",
            "<div id='c'>cut off here</div>",
            "#c { width: 20px; overflow: hidden; white-space: nowrap }",
            "div#c cuts off",
        ),
        ("contrast", "<p>pale</p>", "p { color: #999; background: #fff }", 'p "pale": 2.85'),
        ("contrast", "<p>faint</p>", "p { color: #000; opacity: .3 }", 'p "faint"'),
        ("contrast", "<p>mix</p>", "p { color: #fff; background: color-mix(in srgb, #fff 90%, #000) }", 'p "mix"'),
        ("structure", "<h3>Too deep</h3>", "", "heading 3 is of level 3"),
        ("structure", "<table><tr><th>a</th></tr></table>", "", "table has no caption"),
        ("structure", "<table><tr><th>a</th></tr></table>", "", 'th "a" has no scope'),
        ("structure", "<svg width='9' height='9'><circle r='4'/></svg>", "", "svg has no title"),
        ("structure", "<i id='a'></i><i id='a'></i>", "", "the id a is given twice"),
        ("structure", "<a href='#nowhere'>x</a>", "", "nothing is at #nowhere"),
    ],
)
def test_each_check_finds_its_fault(page: Page, tmp_path: Path, check: str, body: str, css: str, said: str) -> None:
    good = GOOD if "Too deep" not in body else "<h1>Title</h1><h1>Another</h1>"
    found = look(page, write(tmp_path, good + body, css), 390, "light", [check])
    assert any(said in text for text in found), found
    assert check in CHECKS


def test_messages_and_requests_are_noticed(page: Page, tmp_path: Path) -> None:
    body = f"{GOOD}<img src='http://example.org/a.png' alt='a'><script>console.log('hello')</script>"
    found = look(page, write(tmp_path, body), 1280, "light", [])
    assert any("hello" in text for text in found)
    assert any("asks for http://example.org/a.png" in text for text in found)
