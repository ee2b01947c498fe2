from __future__ import annotations

from hamdg.report.markup import NOTHING, Html, joined, tag


def test_texts_are_escaped_and_elements_are_not() -> None:
    inner = tag("b", "<x> & 'y'")
    assert inner == "<b>&lt;x&gt; &amp; &#x27;y&#x27;</b>"
    assert tag("p", inner, "<i>", 3, 0.5, NOTHING) == f"<p>{inner}&lt;i&gt;30.5</p>"


def test_what_is_pasted_together_by_hand_is_a_text_again() -> None:
    assert tag("p", f"{tag('b', 'x')}") == "<p>&lt;b&gt;x&lt;/b&gt;</p>"
    assert tag("p", tag("b", "x") + "<script>") == "<p>&lt;b&gt;x&lt;/b&gt;&lt;script&gt;</p>"


def test_attributes_are_quoted_and_named() -> None:
    assert tag("td", class_='a" onload="b', text_anchor="end", x=1.5, title=None) == (
        '<td class="a&quot; onload=&quot;b" text-anchor="end" x="1.5"></td>'
    )
    assert tag("img", src="data:,", alt="<") == '<img src="data:," alt="&lt;">'


def test_characters_that_a_page_cannot_hold_are_written_out() -> None:
    html = tag("pre", "a\x00b\x1b[31m\ud800\u202e\nc")
    assert html == "<pre>a\\x00b\\x1b[31m\\ud800\\u202e\nc</pre>"
    html.encode()


def test_joining_keeps_elements_and_escapes_texts() -> None:
    found = joined([tag("b", "x"), "<"], ", ")
    assert isinstance(found, Html)
    assert found == "<b>x</b>, &lt;"
    assert joined([]) == NOTHING == ""
