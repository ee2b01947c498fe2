"""A sweep's part of a page of results: Markdown tables with everything needed to read and to repeat them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from hamdg import console
from hamdg.cores import usable_cores
from hamdg.errors import DataError
from hamdg.report.aggregate import REFERENCE, NoiseRow, RowChoice, SweepRow, noise_table, sweep_table
from hamdg.report.estimates import Estimate
from hamdg.report.markdown import Part, fenced, plain, write_part
from hamdg.report.markdown import table as markdown_table
from hamdg.report.table import MISSING, TARGET_MARK, TARGET_NOTE, footnotes, percent, signed_points
from hamdg.runs.record import Record
from hamdg.text import capitalized, counted


def write_results(
    records: Sequence[Record],
    out: Path,
    part: Part,
    chosen: RowChoice,
    reference: str = REFERENCE,
    cores: int | None = None,
) -> Path:
    """Write the results of a sweep as its part of a Markdown page, without a date; other parts stay as they are.

    Args:
        records: Finished runs.
        out: The page, for instance `docs/results.md`.
        part: Which part of the page it is, its heading, introduction and command.
        chosen: Which rows of which records enter the tables, and their labels.
        reference: The label that the others are compared with.
        cores: CPU cores of the machine; counted on this one when left out.

    Raises:
        DataError: There are no records, they contradict each other, or the page's markers are damaged.
    """
    return write_part(out, part.name, results_markdown(records, part, chosen, reference, cores or usable_cores()))


def results_markdown(records: Sequence[Record], part: Part, chosen: RowChoice, reference: str, cores: int) -> str:
    """Return the text of a sweep's part."""
    if not records:
        raise DataError(f"There are no finished runs to tabulate. Run `{part.command}` first.")
    table, noise = sweep_table(records, chosen, reference), noise_table(records)
    compared = any(row.difference is not None for row in table)
    reading = _reading(records, compared)
    parts = [f"## {plain(part.title)}", part.intro.strip(), _how(records, part.command, cores), reading]
    for condition in dict.fromkeys(row.condition for row in table):
        rows = [row for row in table if row.condition == condition]
        parts += [f"### {plain(capitalized(condition))}", accuracy_markdown(rows, reference, compared)]
    if any(row.target_data for row in table):
        parts.append(TARGET_NOTE)
    if noise:
        parts += ["### Wrong labels and enrichment", _NOISE_TEXT, noise_markdown(noise)]
    parts += footnotes(records, [row.label for row in table])
    return "\n\n".join(text for text in parts if text) + "\n"


def accuracy_markdown(rows: Sequence[SweepRow], reference: str, compared: bool = True) -> str:
    """Return the accuracy table of one condition: a column a held-out domain, then mean, difference and time.

    Args:
        rows: The lines of the table.
        reference: The label that the others are compared with.
        compared: Whether there is a column for that.
    """
    domains = _domains(rows)
    head = ["method", *domains, "mean", *([f"against {reference}"] if compared else []), "n", "training, s"]
    body = [
        [
            *_accuracies(row, domains),
            *([_cell(row.difference, signed_points)] if compared else []),
            _counts(row),
            _cell(row.train_seconds, lambda seconds: f"{seconds:.1f}", with_error=False),
        ]
        for row in rows
    ]
    return markdown_table(head, body)


def print_accuracies(records: Sequence[Record], rows: Sequence[SweepRow]) -> None:
    """Print the accuracies of a sweep's runs, all conditions in one table."""
    domains = _domains(rows)
    head = ("condition", "method", *domains, "mean", "n")
    body = [(row.condition, *_accuracies(row, domains), _counts(row)) for row in rows]
    console.table(head, body, title="% correct on the held-out domain, mean over seeds ± standard error")
    notes = [TARGET_NOTE] * any(row.target_data for row in rows) + footnotes(records, [row.label for row in rows])
    if notes:
        console.result("\n" + "\n".join(notes))


def _domains(rows: Sequence[SweepRow]) -> list[str]:
    return list(dict.fromkeys(domain for row in rows for domain in row.by_domain))


def _accuracies(row: SweepRow, domains: Sequence[str]) -> list[str]:
    """Return the first cells of a line: what it is, its accuracy on each domain, and their mean."""
    label = f"{row.label} {TARGET_MARK}" if row.target_data else row.label
    return [label, *(_accuracy(row.by_domain.get(domain)) for domain in domains), _accuracy(row.average)]


def noise_markdown(rows: Sequence[NoiseRow]) -> str:
    """Return the table of wrong labels offered to enrichment and accepted, in per cent."""
    head = ["data", "method", "held out", "wrong among the offered", "wrong among the accepted", "accepted", "n"]
    body = [
        [
            row.condition,
            row.label,
            row.held_out,
            *(_accuracy(share) for share in (row.offered, row.added, row.rate)),
            str(row.offered.n),
        ]
        for row in rows
    ]
    return markdown_table(head, body, left=3)


_NOISE_TEXT = (
    "Training labels were made wrong on purpose, so it is known which ones are. Of the images that enrichment was "
    "offered and of those it accepted, the share with a wrong label, in per cent."
)


def _how(records: Sequence[Record], command: str, cores: int) -> str:
    seeds = sorted({record["seed"] for record in records})
    versions: dict[str, set[str]] = {}
    for record in records:
        for name, version in record["versions"].items():
            versions.setdefault(name, set()).add(version)
    used = ", ".join(f"{name} {' and '.join(sorted(found))}" for name, found in sorted(versions.items()))
    numbers = ", ".join(str(seed) for seed in seeds)
    facts = plain(
        f"{counted(len(records), 'run')}; seed{'s' * (len(seeds) > 1)} {numbers}; a machine with "
        f"{counted(cores, 'CPU core')}; {used}."
    )
    return f"{fenced(command)}\n\n{facts} Written from the runs' records by the command above."


def _reading(records: Sequence[Record], compared: bool) -> str:
    sizes = sorted({(record["held_out"], record["n_held_out"]) for record in records})
    images = plain(", ".join(f"{domain} {count:,}" for domain, count in sizes))
    difference = "; so is the difference, which compares runs of the same seed" if compared else ""
    return (
        "Accuracy on the whole held-out domain, in per cent: mean over seeds ± standard error (sample standard "
        "deviation over √n). The mean column is taken over the domains in each seed "
        f"first{difference}. All seeds and methods are tested on the same images ({images}): the "
        "standard error holds the spread between trainings, not that of drawing other test images."
    )


def _accuracy(value: Estimate | None) -> str:
    return _cell(value, percent)


def _cell(value: Estimate | None, show: Callable[[float], str], with_error: bool = True) -> str:
    if value is None:
        return MISSING
    error = f" ± {show(value.standard_error).lstrip('+')}" if with_error and value.standard_error is not None else ""
    return show(value.mean) + error


def _counts(row: SweepRow) -> str:
    """Return the number of seeds, or its range where domains differ."""
    counts = {value.n for value in row.by_domain.values()}
    return str(min(counts)) if len(counts) == 1 else f"{min(counts)} to {max(counts)}"
