"""How far the domains are apart: train on one, test on every other (`python -m hamdg.tools.matrix`).

Four runs of `experiments/mini/separate.yaml`, one per held-out domain, hold all of it: a source model's accuracy on
the held-out domain is a cell off the diagonal; its accuracy on its own hold-out set is one on the diagonal.
"""

from __future__ import annotations

import math
import sys

from hamdg import console
from hamdg.config.reading import read_recipe
from hamdg.config.shipped import FOLDER
from hamdg.data.registry import benchmark
from hamdg.errors import HamdgError
from hamdg.report.table import start_label
from hamdg.runs.directory import RunDirectory
from hamdg.runs.record import read_record
from hamdg.runs.steps import read_index
from hamdg.stages import pipeline

RECIPE = FOLDER / "mini" / "separate.yaml"


def matrix(overrides: list[str]) -> dict[str, dict[str, float]]:
    """Return the accuracies by training domain (the start model first), then by test domain."""
    cells: dict[str, dict[str, float]] = {}
    domains = benchmark(read_recipe(RECIPE, overrides).benchmark).domains
    for held_out in domains:
        recipe = read_recipe(RECIPE, [*overrides, f"--held_out={held_out}", "--controls.erm=false"])
        command = f"python -m hamdg.tools.matrix {' '.join(overrides)}"
        record_path = pipeline.run(recipe, command=command, show=False)
        record = read_record(record_path)
        start = record["zero_shot_accuracy"]
        cells.setdefault(start_label(record), {})[held_out] = math.nan if start is None else start
        for source, held_out_accuracy in record["source_accuracies"].items():
            cells.setdefault(source, {})[held_out] = held_out_accuracy
        index = read_index(RunDirectory(record_path.parent).step("train"))
        for source, files in index["sources"].items():
            accuracy = files["last"]["validation_accuracy"]
            cells.setdefault(source, {})[source] = math.nan if accuracy is None else accuracy
    return cells


def main(overrides: list[str]) -> int:
    """Print the matrix and return the exit code."""
    try:
        cells = matrix([*overrides, "--runtime.quiet=true", "--runtime.report=false"])
    except HamdgError as error:
        print(f"hamdg: error: {error}", file=sys.stderr)
        return error.exit_code
    start, *others = cells
    columns = sorted(others)
    rows = [[name, *(f"{100 * cells[name][column]:.1f}" for column in columns)] for name in (start, *columns)]
    console.table(["trained on", *columns], rows, title="% correct; diagonal: the domain's own hold-out set")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
