"""The page over many runs in a browser: how it looks, and how it is sorted."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from hamdg import cli
from hamdg.report.collection import Problem, collect
from hamdg.report.many.page import Study, many_html
from hamdg.report.tables.build import tabulate
from hamdg.report.tables.options import Absent, TableOptions
from tests.browser.chromium import Page, Scheme
from tests.browser.looking import WIDTHS, look
from tests.made_up import METHODS, PACS, Method, write_runs

OPTIONS = TableOptions(rows=("variant",), models=("zero_shot", "result"), baseline="ERM + SMA")
SCHEMES: tuple[Scheme, ...] = ("light", "dark")
TABLE = "#group-1-table table"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("many")


@pytest.fixture(scope="module")
def plain(folder: Path) -> Path:
    """Return the page of nine methods on four domains, three seeds each."""
    write_runs(folder / "plain")
    return written(folder / "plain.html", Study("Nine methods", tabulate(collect([folder / "plain"]).runs, OPTIONS)))


def written(file: Path, study: Study) -> Path:
    file.write_text(many_html(study), encoding="utf-8")
    return file


def rows_of(page: Page) -> list[str]:
    return page.texts(f"[...document.querySelectorAll('{TABLE} tbody tr')].map((one) => one.cells[0].dataset.order)")


def sorted_by(page: Page) -> list[str]:
    """Return the heads that say that they are sorted by, with the way."""
    script = "`${one.querySelector('button').textContent} ${one.getAttribute('aria-sort')}`"
    return page.texts(f"[...document.querySelectorAll('{TABLE} th[aria-sort]')].map((one) => {script})")


def numbers_of(page: Page, column: int) -> list[float]:
    cells = f"[...document.querySelectorAll('{TABLE} tbody tr')].map((one) => one.cells[{column}].dataset.order)"
    return [float(text) for text in page.texts(cells) if text]


def head(column: int) -> str:
    return f"{TABLE} th:nth-child({column + 1}) button"


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_wrong_with_the_page(page: Page, plain: Path, width: int, scheme: Scheme) -> None:
    assert look(page, plain, width, scheme) == []


def test_the_table_is_sorted_by_mouse(page: Page, plain: Path) -> None:
    page.open(plain, 1280, "light")
    first = rows_of(page)
    assert sorted_by(page) == ["average descending"]
    assert numbers_of(page, 1) == sorted(numbers_of(page, 1), reverse=True)
    page.click(head(3))
    assert sorted_by(page) == ["art_painting descending"]
    assert numbers_of(page, 3) == sorted(numbers_of(page, 3), reverse=True)
    page.click(head(3))
    assert sorted_by(page) == ["art_painting ascending"]
    assert numbers_of(page, 3) == sorted(numbers_of(page, 3))
    assert page.evaluate("document.getElementById('sorted').textContent") == "Sorted by art_painting, ascending."
    page.click(head(0))
    assert rows_of(page) == sorted(first, key=str.casefold)
    assert page.complaints() == []


@pytest.mark.parametrize("key", ["Enter", " "])
def test_the_table_is_sorted_by_keyboard(page: Page, plain: Path, key: str) -> None:
    page.open(plain, 1280, "light")
    for _ in range(20):
        page.press("Tab")
        if page.evaluate(f"document.activeElement === document.querySelector('{head(4)}')"):
            break
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.press(key)
    assert sorted_by(page) == ["cartoon descending"]
    assert numbers_of(page, 4) == sorted(numbers_of(page, 4), reverse=True)
    assert page.evaluate("document.activeElement.textContent") == "cartoon"
    page.press(key)
    assert sorted_by(page) == ["cartoon ascending"]


def test_what_is_missing_stays_last(page: Page, folder: Path) -> None:
    write_runs(folder / "few", METHODS[:3])
    for run in (folder / "few").rglob("coral"):
        if run.parent.name == "photo":
            run.rename(folder / "moved")
    tables = tabulate(collect([folder / "few"]).runs, OPTIONS)
    page.open(written(folder / "few.html", Study("Few", tables)), 1280, "light")
    for _ in range(2):
        page.click(head(5))
        assert rows_of(page)[-1] == "CORAL"


def test_everything_is_there_without_scripts(page: Page, plain: Path) -> None:
    page.open(plain, 1280, "light", scripts=False)
    assert page.evaluate("document.querySelectorAll('button').length") == 0
    assert page.evaluate(f"document.querySelectorAll('{TABLE} tbody tr').length") == 10
    assert page.evaluate("document.querySelector('th[aria-sort]').textContent.trim()") == "average"


def test_printed_pages_are_black_on_white_and_open(page: Page, plain: Path) -> None:
    page.open(plain, 720, "dark", media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    # As wide as a sheet of paper.
    assert page.evaluate("document.scrollingElement.scrollWidth") == 720
    assert page.evaluate("[...document.querySelectorAll('details')].every((one) => one.open)") is True


def one_method(folder: Path) -> Study:
    write_runs(folder, METHODS[4:5], seeds=(0,))
    return Study("", tabulate(collect([folder]).runs, replace(OPTIONS, baseline="")))


def one_domain(folder: Path) -> Study:
    write_runs(folder, METHODS[:5], domains=PACS[:1])
    return Study("", tabulate(collect([folder]).runs, OPTIONS))


def two_conditions(folder: Path) -> Study:
    write_runs(folder)
    (table,) = tabulate(collect([folder]).runs, OPTIONS)
    noisy = replace(table, place={"benchmark": "mini", "condition": "20 % label noise"})
    return Study("Two conditions", [table, noisy])


def gaps(folder: Path) -> Study:
    runs = write_runs(folder)
    for run in (*runs[5:9], *runs[40:43]):
        (run / "record.json").unlink()
    reason = "failed: WeightsError: the loss of `sketch` is not finite at step 31."
    absent = [Absent({"variant": name, "held_out": "photo", "seed": "2"}, reason) for name in ("CORAL", "MMD")]
    absent += [Absent({"variant": "a" * 80, "held_out": "photo", "seed": str(seed)}, "not begun") for seed in range(30)]
    found = collect([folder])
    problems = [*found.problems, Problem(Path("runs") / ("long" * 40), f"`{'x' * 200}` is damaged.")]
    return Study("", tabulate(found.runs, OPTIONS, absent), problems, absent, ["1 run is not finished."])


def long_names(folder: Path) -> Study:
    methods = [replace(one, label=f"{number}{'x' * 200}") for number, one in enumerate(METHODS[:4])]
    write_runs(folder, methods, seeds=(0, 1))
    return Study("y" * 200, tabulate(collect([folder]).runs, replace(OPTIONS, baseline=methods[0].label)))


def large(folder: Path) -> Study:
    draws = random.Random(0)
    methods = []
    for number in range(40):
        level = draws.gauss(70.0, 4.0) if number % 9 else 22.0
        means = [level + shift for shift in (2, -30, 5, -50, 12, 1)]
        seconds = draws.choice([12.0, 40.0, 150.0, 900.0, 4000.0]) * draws.uniform(0.7, 1.4)
        label = f"method {number} with a rather long name, variant {'abcdefgh'[number % 8] * (number % 5 + 1)}"
        methods.append(Method(label, f"algorithm{number}", means, 1.5, seconds))
    domains = ("clipart", "infograph", "painting", "quickdraw", "real", "sketch")
    write_runs(folder, methods, domains, zero_shot=(70, 46, 66, 14, 83, 63))
    return Study("Forty methods", tabulate(collect([folder]).runs, replace(OPTIONS, baseline=methods[3].label)))


@pytest.mark.parametrize("made", [one_method, one_domain, gaps, long_names])
def test_odd_collections_are_pages_too(page: Page, tmp_path: Path, made: Callable[[Path], Study]) -> None:
    file = written(tmp_path / "page.html", made(tmp_path / "runs"))
    assert looked(page, file, ("light",)) == []


@pytest.mark.slow
@pytest.mark.parametrize("made", [one_method, one_domain, gaps, long_names, two_conditions, large])
def test_odd_collections_in_all_colors(page: Page, tmp_path: Path, made: Callable[[Path], Study]) -> None:
    file = written(tmp_path / "page.html", made(tmp_path / "runs"))
    assert looked(page, file, SCHEMES) == []


@pytest.mark.slow
def test_two_hundred_runs_take_less_than_ten_seconds_and_five_megabytes(page: Page, tmp_path: Path) -> None:
    write_runs(tmp_path / "runs", seeds=range(6))
    out = tmp_path / "page.html"
    start = time.perf_counter()
    assert cli.main(["report", str(tmp_path / "runs"), "--out", str(out)]) == 0
    assert time.perf_counter() - start < 10.0
    assert out.stat().st_size < 5_000_000
    assert looked(page, out, ("light",)) == []


def looked(page: Page, file: Path, schemes: Sequence[Scheme]) -> list[str]:
    return [text for width in WIDTHS for scheme in schemes for text in look(page, file, width, scheme)]
