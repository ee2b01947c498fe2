"""What DMM shows of itself: similarities as text and picture, synthesized images, curves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from hamdg import console
from hamdg.algorithms.dmm.similarity import Pairs
from hamdg.data.contact_sheet import MOST_ROWS, contact_sheet
from hamdg.data.preprocess import Preprocess
from hamdg.data.thumbnails import THUMBNAIL
from hamdg.files import atomic_path
from hamdg.runs.figures import Figure, Strip, StripImage, heat_map, image_strips, lines, series

SHEET, SAMPLES = "contact_sheet.png", "samples.npz"
# Images of each class and model on a sheet; models and images of each of them on a page.
_PER_CELL, _MODELS, _PER_MODEL = 3, 8, 14


def say_similarities(names: Sequence[str], pairs: Pairs, title: str) -> None:
    """Print the matrix of similarities."""
    width = max(5, *map(len, names))
    console.note(f"{title}:")
    console.note(" ".join(["".ljust(width), *(name.rjust(width) for name in names)]))
    for row in names:
        cells = [f"{_value(pairs, row, column):.2f}".rjust(width) for column in names]
        console.note(" ".join([row.ljust(width), *cells]))


def similarity_figure(names: Sequence[str], pairs: Pairs, title: str, note: str) -> Figure:
    """Return the matrix of similarities as a picture."""
    rows: dict[str, Sequence[float | None]] = {row: [_value(pairs, row, column) for column in names] for row in names}
    return heat_map(title, names, rows, note=note)


def write_images(
    folder: Path,
    run: Path,
    images: Mapping[str, Tensor],
    targets: Mapping[str, Tensor],
    classes: Sequence[str],
    preprocess: Preprocess,
) -> Figure:
    """Write a contact sheet of all models, and some images for the page; return the figure that shows these.

    Args:
        folder: The step's folder.
        run: The run's.
        images: Normalized images [n, 3, h, w] by model.
        targets: Their classes.
        classes: Names of the classes.
        preprocess: What they are normalized by.
    """
    pixels = {name: to_pixels(own, preprocess) for name, own in images.items()}
    labels = {name: own.numpy() for name, own in targets.items()}
    rows = {name: number for number, name in enumerate(classes[:MOST_ROWS])}
    factor = max(1, THUMBNAIL // preprocess.side)
    cells = {name: _cells(pixels[name], labels[name], factor) for name in pixels}
    contact_sheet(cells, rows, _PER_CELL, factor * preprocess.side, folder / SHEET)
    strips: list[Strip] = []
    chosen: list[NDArray[np.uint8]] = []
    for name in list(pixels)[:_MODELS]:
        places = _spread(labels[name], _PER_MODEL)
        captions = [
            StripImage(index=len(chosen) + number, caption=classes[int(labels[name][place])])
            for number, place in enumerate(places)
        ]
        strips.append(Strip(title=name, images=captions))
        chosen += [_reduced(pixels[name][place]) for place in places]
    path = folder / SAMPLES
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, images=np.stack(chosen))
    return image_strips(
        "Synthesized images",
        path.relative_to(run).as_posix(),
        strips,
        note=f"Made from statistics of BatchNorm, not from images; {folder.name}/{SHEET} has more.",
    )


def to_pixels(images: Tensor, preprocess: Preprocess) -> NDArray[np.uint8]:
    """Turn normalized images [n, 3, h, w] into uint8 [n, h, w, 3]."""
    shift, scale = (torch.tensor(values).view(3, 1, 1) for values in (preprocess.mean, preprocess.std))
    whole = ((images * scale + shift).clamp(0, 1) * 255).round().to(torch.uint8)
    found: NDArray[np.uint8] = whole.permute(0, 2, 3, 1).contiguous().numpy()
    return found


def synthesis_curves(curves: Mapping[str, Sequence[tuple[int, float]]]) -> Figure:
    """Return how near the images came to each model's statistics."""
    drawn = [series(name, [step for step, _ in own], [value for _, value in own]) for name, own in curves.items()]
    return lines("Distance to the stored statistics of BatchNorm", drawn, note="0: the images have exactly these.")


def distillation_curves(curve: Sequence[tuple[int, float, float]]) -> Figure:
    """Return the losses of the distillation."""
    steps = [step for step, _, _ in curve]
    drawn = [series("teachers", steps, [value for _, value, _ in curve])]
    if any(stay for _, _, stay in curve):
        drawn.append(series("stay", steps, [stay for _, _, stay in curve], "dashed"))
    return lines("Losses of the distillation", drawn)


def _value(pairs: Pairs, row: str, column: str) -> float:
    return 1.0 if row == column else pairs[(row, column) if (row, column) in pairs else (column, row)]


def _spread(labels: NDArray[np.int64], most: int) -> list[int]:
    """Return positions of one image of each class, then of a second one, and so on."""
    nth = np.array([np.count_nonzero(labels[:place] == labels[place]) for place in range(len(labels))])
    return [int(place) for place in np.lexsort((labels, nth))[:most]]


def _cells(pixels: NDArray[np.uint8], labels: NDArray[np.int64], factor: int) -> Callable[[int], list[Image.Image]]:
    def cell(label: int) -> list[Image.Image]:
        chosen = [Image.fromarray(pixels[place]) for place in np.flatnonzero(labels == label)[:_PER_CELL].tolist()]
        return [one.resize((factor * one.width, factor * one.height), Image.Resampling.NEAREST) for one in chosen]

    return cell


def _reduced(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    image = Image.fromarray(pixels)
    image.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    return np.asarray(image)
