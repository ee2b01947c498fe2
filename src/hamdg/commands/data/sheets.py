"""What `hamdg data sheet` draws: rendered domains, or the images of files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from hamdg import console
from hamdg.config.data import RENDERED
from hamdg.config.recipe import Recipe
from hamdg.data.benchmark import Benchmark
from hamdg.data.contact_sheet import (
    MAP_ROWS,
    TILE,
    ZOOM,
    Cells,
    contact_sheet,
    listed_cells,
    map_cells,
    pages,
    rendered_cells,
)
from hamdg.data.domain import open_domain
from hamdg.data.resolve import benchmark_of, place_of
from hamdg.data.verify.verify import survey
from hamdg.errors import ConfigError
from hamdg.mini import render_domain
from hamdg.mini.rendered import rendered_side
from hamdg.text import listed


def draw(recipe: Recipe, classes: str | None, per_cell: int, out: Path) -> None:
    """Draw the images of a recipe and print the files they are on.

    Args:
        recipe: Names the images.
        classes: Names of classes, separated by commas; `None` for all.
        per_cell: Images of each class and domain.
        out: The file to write; with more classes than one sheet takes, the files are numbered.

    Raises:
        ConfigError: If a class is not one of the benchmark's.
        DataError: If there are no images.
    """
    benchmark = benchmark_of(recipe)
    if benchmark.task == "segmentation":
        side = rendered_side(benchmark.name, recipe.data) if benchmark.name in RENDERED else TILE
        few = replace(recipe, data=replace(recipe.data, subset=per_cell, augment="none"))
        opened = [open_domain(few, name, side) for name in benchmark.domains]
        zoom = 1 if side >= TILE else ZOOM
        cells = {domain.name: map_cells(domain, benchmark.classes, zoom) for domain in opened}
        contact_sheet(cells, MAP_ROWS, per_cell, zoom * side, out)
        console.result(str(out))
        console.result_json({"files": [out]})
        return
    chosen = _chosen(benchmark, classes)
    domains, tile = _domains(recipe, per_cell)
    sheets, files = pages(chosen), list[Path]()
    for number, names in enumerate(sheets, start=1):
        file = out if len(sheets) == 1 else out.with_name(f"{out.stem}-{number}{out.suffix or '.png'}")
        contact_sheet(domains, {name: benchmark.classes.index(name) for name in names}, per_cell, tile, file)
        console.result(str(file))
        files.append(file)
    console.result_json({"files": files})


def _domains(recipe: Recipe, per_cell: int) -> tuple[Mapping[str, Cells], int]:
    """Return what gives the images of every domain, and the side of their tiles."""
    if recipe.benchmark == "mini":
        rendered = {name: render_domain(name, recipe.data.mini) for name in benchmark_of(recipe).domains}
        cells = {name: rendered_cells(arrays, per_cell) for name, arrays in rendered.items()}
        return cells, ZOOM * recipe.data.mini.image_size
    _, listings = survey(place_of(recipe), recipe.data.truncated)
    return {name: listed_cells(listing, per_cell) for name, listing in listings.items()}, TILE


def _chosen(benchmark: Benchmark, classes: str | None) -> Sequence[str]:
    if classes is None:
        return benchmark.classes
    labels = {name: benchmark.find_label(name.strip()) for name in classes.split(",")}
    if unknown := [name for name, label in labels.items() if label is None]:
        raise ConfigError(
            f"`--classes`: {benchmark.title or benchmark.name} has no class {listed(unknown)}; it has "
            f"{listed(benchmark.classes, 20)}."
        )
    return [benchmark.classes[label] for label in labels.values() if label is not None]
