"""What each format makes of one table: frozen texts, and characters that mean something to them."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from hamdg.report.tables import long, markup, plain
from hamdg.report.tables.build import tabulate
from hamdg.report.tables.model import Table
from hamdg.report.tables.options import Absent, TableOptions
from tests.report.tables.conftest import Made, row

NUMBERS = {
    ("erm", "art"): [0.70, 0.72, 0.74],
    ("erm", "photo"): [0.80, 0.82, 0.84],
    ("ham", "art"): [0.73, 0.74, 0.78],
    ("ham", "photo"): [0.81, 0.85, 0.86],
    ("mtda", "photo"): [0.60, 0.61],
}
WRITERS = {"txt": plain.text, "md": markup.markdown, "tex": markup.latex, "csv": long.as_csv, "json": long.as_json}


@pytest.fixture
def tables(made: Made) -> list[Table]:
    runs = [
        made(
            algorithm,
            held_out,
            seed,
            value,
            condition="20 % noise",
            opened=[held_out] if algorithm == "mtda" else [],
            rows=[row("zero_shot", "control", 0.5, [held_out])],
        )
        for (algorithm, held_out), values in NUMBERS.items()
        for seed, value in enumerate(values)
    ]
    absent = [Absent({"algorithm": "mtda", "held_out": "art", "seed": "1"}, "failed: `train.lr` is too high.")]
    return tabulate(runs, TableOptions(models=("result", "zero_shot"), baseline="ERM"), absent)


@pytest.mark.parametrize("name", WRITERS)
def test_formats_are_as_they_were(tables: list[Table], name: str, same_as_golden: Callable[[str, str], None]) -> None:
    same_as_golden(WRITERS[name](tables) + "\n", f"tables/many.{name}")


def test_csv_has_every_number_unrounded(tables: list[Table]) -> None:
    lines = list(csv.DictReader(io.StringIO(long.as_csv(tables))))
    cells = [cell for line in tables[0].cells for cell in line]
    assert len(lines) == len(cells)
    for line, cell in zip(lines, cells, strict=True):
        assert (line["mean"] and float(line["mean"])) == (cell.mean if cell.mean is not None else "")
        if cell.difference is not None:
            assert [float(line[name]) for name in ("difference", "low")] == [cell.difference.mean, cell.difference.low]
    assert {line["condition"] for line in lines} == {"20 % noise"}


def test_json_has_every_run(tables: list[Table]) -> None:
    (table,) = json.loads(long.as_json(tables))["tables"]
    (cell,) = (
        cell
        for line, head in zip(table["cells"], table["rows"], strict=True)
        if head["label"] == "ERM"
        for cell in line[:1]
    )
    assert [(one["seed"], one["value"]) for one in cell["values"]] == [(0, 0.7), (1, 0.72), (2, 0.74)]
    assert all(one["run"].startswith("logs/toy/art/erm/seed") for one in cell["values"])


def test_what_means_something_to_a_format_is_escaped(made: Made) -> None:
    label = "a|b_c & 50 % $x$ <i> {#} ~^\\"
    tables = tabulate([made("erm", "art", seed, 0.5, label=label) for seed in range(2)], TableOptions())
    markdown = next(line for line in markup.markdown(tables).splitlines() if line.startswith("| a\\"))
    assert markdown.startswith(r"| a\|b_c &amp; 50 % $x$ &lt;i&gt; {#} \~^\\ |")
    latex = next(line for line in markup.latex(tables).splitlines() if line.strip().startswith("a|"))
    assert (
        r"a|b\_c \& 50 \% \$x\$ \textless{}i\textgreater{} \{\#\} \textasciitilde{}\textasciicircum{}\textbackslash{} &"
        in latex
    )
    (line,) = csv.DictReader(io.StringIO(long.as_csv(tables)))
    assert line["row"] == label


def test_a_latex_line_does_not_begin_with_an_option_of_the_line_before(made: Made) -> None:
    tables = tabulate([made("erm", "art", 0, 0.5, label="[5pt] b")], TableOptions())
    assert "    {}[5pt] b & 50.0" in markup.latex(tables)


def test_control_characters_are_written_out(made: Made) -> None:
    tables = tabulate([made("erm", "art", 0, 0.5, label="a\x1b[31m\n\x01b")], TableOptions())
    for write in (plain.text, markup.markdown, markup.latex):
        assert not re.search("[\x00-\x09\x0b-\x1f]", write(tables))


def test_latex_has_as_many_cells_in_every_line(tables: list[Table]) -> None:
    text = markup.latex(tables)
    for columns, body in re.findall(r"\\begin\{tabular\}\{(\w+)\}(.*?)\\end", text, re.DOTALL):
        lines = [line for line in body.splitlines() if line.endswith(r"\\")]
        assert {len(re.split(r"(?<!\\)&", line)) for line in lines} == {len(columns)}
    assert text.count("{") == text.count("}")
    assert not re.search(r"[^\x00-\x7f]", text)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
def test_latex_compiles(tables: list[Table], tmp_path: Path) -> None:
    body = markup.latex(tables)
    document = f"\\documentclass{{article}}\n\\usepackage{{booktabs}}\n\\begin{{document}}\n{body}\n\\end{{document}}\n"
    (tmp_path / "table.tex").write_text(document)
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "table.tex"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:]


def test_the_example_of_the_document_is_what_is_printed(made: Made) -> None:
    runs = [
        made(algorithm, held_out, seed, value)
        for (algorithm, held_out), values in NUMBERS.items()
        for seed, value in enumerate(values)
        if algorithm != "mtda"
    ]
    said = plain.text(tabulate(runs, TableOptions(baseline="ERM"))).split("\n\nAccuracy")[0]
    document = (Path(__file__).parents[3] / "docs" / "tables.md").read_text(encoding="utf-8")
    assert "\n".join(f"    {line}" if line else "" for line in said.splitlines()) in document
