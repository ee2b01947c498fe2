"""A sweep's part of a page of results: Markdown tables with everything needed to read and to repeat them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hamdg.errors import DataError
from hamdg.report.collection import FoundRun
from hamdg.report.estimates import Estimate, estimate
from hamdg.report.markdown import Part, fenced, plain, write_part
from hamdg.report.markdown import table as markdown_table
from hamdg.report.table import MISSING, footnote_names, percent, qualified
from hamdg.report.tables.grid import PLUS_MINUS, cell_text, grids, number
from hamdg.report.tables.markup import MARKS, markdown_grid, markdown_problems, markdown_sentence, reading
from hamdg.report.tables.methods import REFERENCE, Methods, tabulate_methods
from hamdg.report.tables.metrics import VALIDATION
from hamdg.report.tables.model import Cell, Table
from hamdg.runs.directory import RunDirectory
from hamdg.runs.manifest import cores_of
from hamdg.runs.record import SAW_HOLDOUTS, selection_counts
from hamdg.text import capitalized, counted, listed


@dataclass(frozen=True)
class NoiseRow:
    """How many wrong labels enrichment was offered and accepted, over seeds; shares are fractions of 1.

    Args:
        condition: What the data were like.
        label: The method.
        held_out: The held-out domain.
        offered: Wrong labels among the candidates.
        added: Wrong labels among the accepted, over the runs that accepted some; `None` if none did.
        rate: Share of the candidates that was accepted.
    """

    condition: str
    label: str
    held_out: str
    offered: Estimate
    added: Estimate | None
    rate: Estimate


def write_results(
    runs: Sequence[FoundRun],
    out: Path,
    part: Part,
    methods: Methods,
    reference: str = REFERENCE,
    validation: bool = False,
    costs: bool = False,
) -> Path:
    """Write the results of a sweep as its part of a Markdown page, without a date; other parts stay as they are.

    Args:
        runs: Finished runs, with their variant and condition.
        out: The page, for instance `docs/results.md`.
        part: Which part of the page it is, its heading, introduction and command.
        methods: Which models of the runs enter the tables, and their labels.
        reference: The label that the others are compared with.
        validation: Whether the tables also have the accuracy on the sources' hold-out sets.
        costs: Whether they have columns of what training and inference cost, in place of the seconds of training.

    Raises:
        DataError: There are no runs, they contradict each other, or the page's markers are damaged.
    """
    found = {cores_of(RunDirectory(run.path)) for run in runs}
    cores = sorted(number for number in found if number is not None) if None not in found else []
    text = results_markdown(runs, part, methods, reference, cores, validation, costs)
    return write_part(out, part.name, text)


def results_markdown(
    runs: Sequence[FoundRun],
    part: Part,
    methods: Methods,
    reference: str,
    cores: Sequence[int],
    validation: bool = False,
    costs: bool = False,
) -> str:
    """Return the text of a sweep's part."""
    if not runs:
        raise DataError(f"There are no finished runs to tabulate. Run `{part.command}` first.")
    tables, noise = tabulate_methods(runs, methods, reference, costs=costs), noise_table(runs)
    columns = {}
    if not costs:
        columns["training, s"] = _seconds(tabulate_methods(runs, methods, metric="train_seconds"))
    if validation:
        columns = {_HOLDOUT: _validation(tabulate_methods(runs, methods, metric=VALIDATION)), **columns}
    parts = [f"## {plain(part.title)}", part.intro.strip(), _how(runs, part.command, cores)]
    parts += [markdown_sentence(text) for text in dict.fromkeys(text for table in tables for text in reading(table))]
    parts.append(_images(runs))
    parts += [_holdout_text(runs)] if validation else []
    for table in tables:
        parts += _accuracies(table, columns, len({one.place["benchmark"] for one in tables}) > 1)
    if noise:
        parts += ["### Wrong labels and enrichment", _noise_text(noise), noise_markdown(noise)]
    parts += [markdown_sentence(text) for text in dict.fromkeys(text for table in tables for text in table.notes)]
    return "\n\n".join(text for text in parts if text) + "\n"


# Benchmark, condition and method.
_Place = tuple[str, str, str]
# Of a run: wrong labels among the offered and, if there are any, the accepted; the accepted among the offered.
_Shares = tuple[float, float | None, float]


def _accuracies(table: Table, columns: Mapping[str, dict[_Place, str]], names_benchmark: bool) -> Iterator[str]:
    """Yield the accuracies of one condition with further columns, and then the differences."""
    benchmark, condition = table.place["benchmark"], table.place["condition"]
    yield f"### {plain(capitalized(f'{benchmark}, {condition}' if names_benchmark else condition))}"
    means, *differences = grids(table, MARKS)
    header = [*means.header, *columns]
    lines = [
        [*line, *(own.get((benchmark, condition, row.label), MISSING) for own in columns.values())]
        for line, row in zip(means.lines, table.rows, strict=True)
    ]
    yield markdown_grid(replace(means, header=header, lines=lines))
    for grid in differences:
        yield f"#### {plain(grid.title)}"
        yield markdown_grid(grid)
    if table.problems:
        yield markdown_problems(table)


def _seconds(tables: Sequence[Table]) -> dict[_Place, str]:
    """Return how long each method trains, as the mean over all its runs."""
    return {
        place: number(cell.mean, table.metric) for place, cell, table in _whole_cells(tables) if cell.mean is not None
    }


def _validation(tables: Sequence[Table]) -> dict[_Place, str]:
    """Return each method's accuracy on the hold-out sets, as the mean over held-out domains, with its error."""
    return {place: cell_text(cell, table.metric, MARKS) for place, cell, table in _whole_cells(tables)}


def _whole_cells(tables: Sequence[Table]) -> Iterator[tuple[_Place, Cell, Table]]:
    """Yield the cell of every row that is of all its runs: the only one, or the average; empty where there is none."""
    for table in tables:
        for row, cells in zip(table.rows, table.cells, strict=True):
            pairs = zip(table.columns, cells, strict=True)
            averages = [cell for column, cell in pairs if column.is_average and cell.mean is not None]
            whole = cells if len(cells) == 1 else averages
            place = (table.place["benchmark"], table.place["condition"], row.label)
            yield place, next(iter(whole), Cell()), table


_HOLDOUT = "hold-out sets"


def _holdout_text(runs: Sequence[FoundRun]) -> str:
    """Return what the column of hold-out sets is, and which models were trained on them."""
    seen = dict.fromkeys(row["label"] for run in runs for row in run.summary.rows if row["note"] == SAW_HOLDOUTS)
    but = f" but {listed(list(seen))}" if seen else ""
    return (
        f"Beside it, the accuracy on the source domains' hold-out sets, which no model was trained on{but}: the mean "
        "over the source domains in each run."
    )


def noise_table(runs: Sequence[FoundRun]) -> list[NoiseRow]:
    """Return the share of wrong labels that enrichment was offered and accepted, for all runs in which it met any."""
    shares: dict[tuple[str, str, str], list[_Shares]] = {}
    names = footnote_names(run.summary.footnote for run in runs)
    for run in runs:
        found = _noise_shares(run)
        if found is not None:
            key = (run.summary.condition, qualified(run.summary.variant, names), run.summary.held_out)
            shares.setdefault(key, []).append(found)
    rows = []
    for (condition, label, held_out), values in sorted(shares.items()):
        offered, rate = estimate([own[0] for own in values]), estimate([own[2] for own in values])
        added = [own[1] for own in values if own[1] is not None]
        rows.append(NoiseRow(condition, label, held_out, offered, estimate(added) if added else None, rate))
    return rows


def noise_markdown(rows: Sequence[NoiseRow]) -> str:
    """Return the table of wrong labels offered to enrichment and accepted, in per cent."""
    head = ["data", "method", "held out", "wrong among the offered", "wrong among the accepted", "accepted", "n"]
    body = [
        [
            row.condition,
            row.label,
            row.held_out,
            *(_share(share) for share in (row.offered, row.added, row.rate)),
            str(row.offered.n),
        ]
        for row in rows
    ]
    return markdown_table(head, body, left=3)


_NOISE_TEXT = (
    "Training labels were made wrong on purpose, so it is known which ones are. Of the images that enrichment was "
    "offered and of those it accepted, the share with a wrong label, in per cent."
)


def _noise_text(rows: Sequence[NoiseRow]) -> str:
    """Return what the table of wrong labels shows."""
    some = any(row.added is None or row.added.n < row.offered.n for row in rows)
    return _NOISE_TEXT + " Runs that accepted nothing have no share among the accepted." * some


def _share(value: Estimate | None) -> str:
    if value is None:
        return MISSING
    error = f" {PLUS_MINUS} {percent(value.standard_error)}" if value.standard_error is not None else ""
    return percent(value.mean) + error


def _noise_shares(run: FoundRun) -> _Shares | None:
    counts = list((selection_counts(run.record) or {}).values())
    offered = sum(count["noisy_candidates"] or 0 for count in counts)
    accepted = sum(count["noisy_added"] or 0 for count in counts)
    candidates, added = sum(count["candidates"] for count in counts), sum(count["added"] for count in counts)
    if offered == 0:
        return None
    return offered / candidates, accepted / added if added else None, added / candidates


def _how(runs: Sequence[FoundRun], command: str, cores: Sequence[int]) -> str:
    seeds = sorted({run.summary.seed for run in runs})
    versions: dict[str, set[str]] = {}
    for run in runs:
        for name, version in run.summary.versions.items():
            versions.setdefault(name, set()).add(version)
    used = ", ".join(f"{name} {' and '.join(sorted(found))}" for name, found in sorted(versions.items()))
    numbers = ", ".join(str(seed) for seed in seeds)
    machines = "machines" if len(cores) > 1 else "a machine"
    each = " and ".join(counted(number, "CPU core") for number in cores)
    made = f" {machines} with {each};" if cores else ""
    facts = plain(f"{counted(len(runs), 'run')}; seed{'s' * (len(seeds) > 1)} {numbers};{made} {used}.")
    return f"{fenced(command)}\n\n{facts} Written from the runs' records by the command above."


def _images(runs: Sequence[FoundRun]) -> str:
    sizes = sorted({(run.summary.held_out, run.summary.n_held_out) for run in runs})
    images = plain(", ".join(f"{domain} {count:,}" for domain, count in sizes))
    if any(run.summary.part != "all" for run in runs):
        return (
            f"Of the images ({images}), each seed draws the part that is tested, and all its methods are tested on the "
            "same."
        )
    return (
        f"All seeds and methods are tested on the same images ({images}): the standard error holds the spread between "
        "trainings, not that of drawing other test images."
    )
