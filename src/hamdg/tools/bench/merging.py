"""The merge library beside others, on files of the size of CLIP ViT-B/16: `python -m hamdg.tools.bench merging`.

Every contender runs in a process of its own, in turns, with the files in the page cache. Others take part where the
given Python has them installed.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import yaml
from torch import Tensor

from hamdg import console
from hamdg.errors import ConfigError
from hamdg.files import free_bytes
from hamdg.merge import list_methods, merge_with, open_tensors
from hamdg.merge.files import save_tensors
from hamdg.tools.bench import contender
from hamdg.tools.bench.measure import Measured, measured

WIDTH, LAYERS, PATCH, OUT = 768, 12, 16, 512
COMPARISONS = ("uniform", "ties", "methods")
HEADERS = ("contender", "wall s (least, most)", "of it merging s", "anonymous MB", "wall, ratio", "merging, ratio")
Command = Callable[[Path, Path], list[str]]


@dataclass(frozen=True)
class Contender:
    """One way to merge.

    Args:
        title: What the table calls it.
        command: Gives the command for a folder of models and a path to write to.
        repeats: How often it is run.
    """

    title: str
    command: Command
    repeats: int


def vit_shapes() -> dict[str, tuple[int, ...]]:
    """Return name and shape of every tensor of the image tower of CLIP ViT-B/16 (152 tensors, 86.2 M entries)."""
    shapes: dict[str, tuple[int, ...]] = {
        "class_embedding": (WIDTH,),
        "positional_embedding": (197, WIDTH),
        "proj": (WIDTH, OUT),
        "conv1.weight": (WIDTH, 3, PATCH, PATCH),
    }
    for norm in ("ln_pre", "ln_post"):
        shapes |= {f"{norm}.weight": (WIDTH,), f"{norm}.bias": (WIDTH,)}
    for i in range(LAYERS):
        block = f"transformer.resblocks.{i}."
        for norm in ("ln_1", "ln_2"):
            shapes |= {f"{block}{norm}.weight": (WIDTH,), f"{block}{norm}.bias": (WIDTH,)}
        shapes |= {f"{block}attn.in_proj_weight": (3 * WIDTH, WIDTH), f"{block}attn.in_proj_bias": (3 * WIDTH,)}
        linear = {"attn.out_proj": (WIDTH, WIDTH), "mlp.c_fc": (4 * WIDTH, WIDTH), "mlp.c_proj": (WIDTH, 4 * WIDTH)}
        for name, (rows, columns) in linear.items():
            shapes |= {f"{block}{name}.weight": (rows, columns), f"{block}{name}.bias": (rows,)}
    return shapes


def write_models(folder: Path, sources: int, shapes: dict[str, tuple[int, ...]]) -> None:
    """Write a base and models that lie around it.

    Raises:
        ConfigError: The disk has no room for them.
    """
    size = 4 * sum(torch.Size(shape).numel() for shape in shapes.values())
    needed, free = (sources + 3) * size, free_bytes(folder)
    if needed > free:
        raise ConfigError(f"The bench needs {needed / 1e9:.1f} GB in `{folder}`, which has {free / 1e9:.1f} GB free.")
    generator = torch.Generator().manual_seed(0)
    base = {name: 0.02 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    save_tensors(folder / contender.BASE, base)
    for i in range(sources):
        model: dict[str, Tensor] = {
            name: start + 1e-3 * torch.randn(start.shape, generator=generator) for name, start in base.items()
        }
        save_tensors(folder / f"source-{i:02d}.safetensors", model)


def contenders(method: str, peers: str) -> list[Contender]:
    """Return who takes part in a method's comparison; this library comes first.

    Args:
        method: `uniform` or `ties`.
        peers: The Python whose other libraries take part.
    """
    script = str(Path(contender.__file__))

    def inside(python: str, name: str) -> Command:
        return lambda folder, out: [python, script, name, str(folder)]

    # mergekit's TIES takes two minutes.
    repeats, long = (9, 9) if method == "uniform" else (5, 2)
    found = [
        Contender("hamdg merge, the command", lambda folder, out: _hamdg_command(method, folder, out), repeats),
        Contender("hamdg.merge.merge", inside(sys.executable, f"hamdg_{method}"), repeats),
    ]
    if method == "ties":
        found.append(Contender("hamdg.merge.merge, by tensor", inside(sys.executable, "hamdg_ties_by_tensor"), repeats))
    if _has(peers, "mergekit"):
        command = Contender(
            "mergekit-pytorch, the command", lambda folder, out: _mergekit_command(method, peers, folder, out), long
        )
        found += [command, Contender("mergekit.merge_state_dicts", inside(peers, f"mergekit_{method}"), long)]
    if _has(peers, "peft"):
        found.append(Contender("PEFT, by tensor", inside(peers, f"peft_{method}"), 3))
    return found


def comparison_rows(method: str, folder: Path, peers: str, most: int = 9) -> list[tuple[str, ...]]:
    """Run a comparison in turns and return its table."""
    field = contenders(method, peers)
    runs: list[list[Measured]] = [[] for _ in field]
    for turn in range(most):
        for one, results in zip(field, runs, strict=True):
            if turn < one.repeats:
                out = folder / "out"
                results.append(measured(one.command(folder, out)))
                _remove(out)
    return [_row(one, results, runs) for one, results in zip(field, runs, strict=True)]


def method_rows(folder: Path, sources: int = 3) -> list[tuple[str, ...]]:
    """Return the time that every method takes which asks nothing of data, in this process, with its defaults."""
    base = open_tensors(folder / contender.BASE)
    models = {path.stem: open_tensors(path) for path in sorted(folder.glob(contender.SOURCE))[:sources]}
    rows: list[tuple[str, ...]] = []
    for name, info in list_methods().items():
        if info.needs or any(option.required for option in info.options.values()):
            continue
        # SLERP takes two, shrinking has to know how much.
        taken = dict(list(models.items())[:2]) if name == "slerp" else models
        options = {"scale": 1.0} if name == "shrunk" else {}
        start = time.perf_counter()
        merge_with(name, taken, base, options)
        rows.append((name, str(len(taken)), f"{time.perf_counter() - start:.1f}"))
    return rows


def main(
    peers: str = sys.executable, sources: int = 12, most: int = 9, comparisons: tuple[str, ...] | None = None
) -> None:
    """Print the tables.

    Args:
        peers: The Python whose other libraries take part.
        sources: How many models are merged.
        most: How often each runs, at most.
        comparisons: Which of `COMPARISONS` take place; all by default.
    """
    with tempfile.TemporaryDirectory(prefix="hamdg-bench-") as name:
        folder = Path(name)
        write_models(folder, sources, vit_shapes())
        for name in comparisons or COMPARISONS:
            if name == "methods":
                title = f"all methods: ViT-B/16, {torch.get_num_threads()} threads"
                console.table(("method", "sources", "s"), method_rows(folder), title=title)
            else:
                rows = comparison_rows(name, folder, peers, most)
                console.table(HEADERS, rows, title=f"{name}: {sources} x ViT-B/16")


def _row(one: Contender, results: list[Measured], runs: list[list[Measured]]) -> tuple[str, ...]:
    walls = [result.wall for result in results]
    cores = [result.core for result in results if result.core is not None]
    own_wall = statistics.median(result.wall for result in runs[0])
    own_core = statistics.median(result.core or 0.0 for result in runs[1])
    return (
        one.title,
        f"{statistics.median(walls):.2f} ({min(walls):.2f}, {max(walls):.2f})",
        f"{statistics.median(cores):.2f} ({min(cores):.2f}, {max(cores):.2f})" if cores else "",
        f"{max(result.anonymous for result in results) / 1e6:.0f}",
        f"{statistics.median(walls) / own_wall:.2f}",
        f"{statistics.median(cores) / own_core:.2f}" if cores and own_core else "",
    )


def _hamdg_command(method: str, folder: Path, out: Path) -> list[str]:
    sources = [f"{path.stem}={path}" for path in sorted(folder.glob(contender.SOURCE))]
    options = ["--base", str(folder / contender.BASE), "--density", str(contender.DENSITY)] if method == "ties" else []
    program = [sys.executable, "-m", "hamdg", "merge"]
    return [*program, "--method", method, *options, *sources, "--out", str(out / "merged.safetensors")]


def _mergekit_command(method: str, python: str, folder: Path, out: Path) -> list[str]:
    """Give the command, and write the configuration that it reads."""
    sources = [str(path) for path in sorted(folder.glob(contender.SOURCE))]
    config: dict[str, object] = {"merge_method": "linear", "models": [{"model": path} for path in sources]}
    config["parameters"] = {"weight": 1.0}
    if method == "ties":
        config |= {"merge_method": "ties", "base_model": str(folder / contender.BASE)}
        config["parameters"] = {"weight": 1.0, "density": contender.DENSITY}
    path = folder / "mergekit.yaml"
    path.write_text(yaml.safe_dump(config))
    return [str(Path(python).parent / "mergekit-pytorch"), str(path), str(out)]


def _has(python: str, package: str) -> bool:
    code = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({package!r}) is None)"
    return subprocess.run([python, "-c", code], check=False).returncode == 0


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
