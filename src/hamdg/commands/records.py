"""`hamdg records pack` and `unpack`: what tables need of finished runs, in one small file without weights."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from hamdg import console
from hamdg.commands import output
from hamdg.errors import ConfigError, DataError, HamdgError
from hamdg.text import counted, listed_in_words, reason_of

if TYPE_CHECKING:
    from hamdg.runs.packing import PackedRun

SUMMARY = "pack records of finished runs, without weights, and unpack them elsewhere"
_ROOT = "lightning_logs"
_PACK = (
    "Of each run the archive has the recipe, the record, the scores on source validation and what the run started "
    "from; paths of this machine are left out. The same runs make the same bytes. "
    "Example: hamdg records pack sweeps/mini-table --out mini-table.tar.xz"
)
_UNPACK = (
    "A run that is there already stays as it is. Unpacked runs serve `hamdg table`, `hamdg report` and "
    "`hamdg sweep`; what needs their weights says so. Example: hamdg records unpack mini-table.tar.xz"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the commands below `hamdg records`."""
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    packing = output.add_verb(commands, "pack", "pack what tables need of finished runs into one file", _pack, _PACK)
    what = "run directories, folders of them, sweep files, or names of sweeps that come with hamdg"
    packing.add_argument("paths", nargs="+", metavar="RUNS", help=what)
    packing.add_argument("--out", required=True, metavar="FILE", help="the archive to write, a .tar.xz file")
    unpacking = output.add_verb(commands, "unpack", "unpack the runs of archives that have none here", _unpack, _UNPACK)
    unpacking.add_argument("files", nargs="+", type=Path, metavar="FILE", help="an archive that `pack` wrote")
    where = f"the folder of all runs, `root` of a sweep (default: {_ROOT})"
    unpacking.add_argument("--root", default=_ROOT, metavar="FOLDER", help=where)


def _pack(arguments: argparse.Namespace) -> int:
    """Pack the runs that are finished, say which are not, and return the exit code."""
    from hamdg.files import user_path
    from hamdg.runs.archive import SUFFIX, by_benchmark, write_archive

    out = user_path(arguments.out, "--out")
    if not out.name.endswith(SUFFIX):
        raise ConfigError(f"`--out` is `{out}`, which should end in `{SUFFIX}`.")
    packed, left_out = _packed(arguments.paths)
    try:
        write_archive(out, packed)
    except OSError as error:
        if isinstance(error, HamdgError):
            raise
        raise ConfigError(f"Cannot write `{out}`: {reason_of(error)}; name another file with `--out`.") from error
    for sentence in left_out:
        console.warning(sentence)
    runs, size = by_benchmark(packed), out.stat().st_size
    console.result(f"packed {_counted(runs)} into {out} ({size / 1024:,.0f} KiB)")
    console.result_json({"file": out, "bytes": size, "runs": runs, "left_out": left_out})
    return 0


def _packed(paths: list[str]) -> tuple[list[PackedRun], list[str]]:
    """Return runs as they are packed, and sentences on those that are not.

    Raises:
        DataError: None can be packed.
    """
    from hamdg.commands.given import given
    from hamdg.report.collection import RECORD
    from hamdg.runs.directory import RunDirectory
    from hamdg.runs.packing import pack

    found = given(paths, pairs=True)
    packed: dict[PurePosixPath, tuple[Path, PackedRun]] = {}
    reasons = []
    for run in found.runs:
        try:
            own = pack(RunDirectory(run.path))
        except HamdgError as error:
            reasons.append(str(error))
            continue
        first, other = packed.setdefault(own.place, (run.path, own))
        if own.files[RECORD] != other.files[RECORD]:
            reasons.append(f"`{run.path}` is the run of `{first}`, which is packed, but has another record.")
    reasons += [problem.reason for problem in found.problems]
    # Damaged records are among those that are absent.
    if absent := len(found.absent) - len(found.problems):
        reasons.append(f"{counted(absent, 'run')} without a record.")
    if not packed:
        raise DataError(f"No run can be packed: {reasons[0]}")
    return [run for _, run in packed.values()], [f"Left out: {reason}" for reason in reasons]


def _unpack(arguments: argparse.Namespace) -> int:
    """Unpack archives, say how many of their runs were there, and return the exit code."""
    from hamdg.files import user_path
    from hamdg.runs.archive import by_benchmark, unpack

    root = user_path(arguments.root, "--root")
    try:
        found = [unpack(path, root) for path in arguments.files]
    except OSError as error:
        if isinstance(error, HamdgError):
            raise
        raise ConfigError(f"Cannot unpack below `{root}`: {reason_of(error)}; name another `--root`.") from error
    new = by_benchmark(run for one in found for run in one.new)
    there = by_benchmark(run for one in found for run in one.there)
    begun = by_benchmark(run for one in found for run in one.begun)
    if begun:
        what = "is begun and not finished; delete its folder to unpack it"
        if sum(begun.values()) > 1:
            what = "are begun and not finished; delete their folders to unpack them"
        console.warning(f"{_counted(begun)} {what}")
    before = f"; {_counted(there)} were there already and stay as they are" if there else ""
    console.result(f"unpacked {_counted(new)} below {root}{before}")
    console.result_json({"root": root, "runs": new, "there": there, "begun": begun})
    return 0


def _counted(runs: Mapping[str, int]) -> str:
    """Return how many runs of which benchmarks there are, in words."""
    each = listed_in_words([f"{count:,} of {name}" for name, count in runs.items()])
    return f"{counted(sum(runs.values()), 'run')}{f' ({each})' if runs else ''}"
