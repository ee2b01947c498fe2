"""The verb `merge`: files into one file, or the histories of a trained run once more."""

from __future__ import annotations

import errno
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hamdg import console
from hamdg.commands import tracking
from hamdg.commands.merging.arguments import Request, read_request, read_run
from hamdg.commands.merging.flags import COMPARE, EXAMPLE, LIST, MERGE, REGRET, SEARCH, SHOW, add_arguments
from hamdg.commands.merging.sources import evidence_of, keys_of, named_files, prefixes_of, weights_of
from hamdg.commands.merging.values import shown
from hamdg.errors import ConfigError

if TYPE_CHECKING:
    from hamdg.merge.method_info import MethodInfo

__all__ = ["SUMMARY", "add_arguments", "main"]

_INTERRUPTED = 130
# Of the keys of a recipe, those of the merge and those that make no other run.
_RUN_SECTIONS = ("--merge.", "--evaluate.", "--runtime.", "--tracking.")
SUMMARY = "merge files into one, or the histories of a trained run again; list and explain the methods"


def main(arguments: Sequence[str]) -> int:
    """Do what follows `hamdg merge`.

    Args:
        arguments: What stands after the verb.

    Raises:
        ConfigError: Something in it is wrong.
        WeightsError: A file is missing or damaged, or the models do not fit together.
    """
    request = read_request(arguments)
    if request is None:
        return _merge_run(arguments)
    try:
        return _answer(request)
    except KeyboardInterrupt:
        kept = "what was scored is kept, and the same command goes on" if request.mode in (SEARCH, REGRET) else ""
        print(f"\nhamdg: stopped; {kept or 'nothing was written'}.", file=sys.stderr)
        return _INTERRUPTED
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        raise ConfigError(f"No file can be called `{error.filename}`: the name is too long.") from error


def _answer(request: Request) -> int:
    if request.mode == MERGE:
        return _merge_files(request)
    if request.mode == COMPARE:
        from hamdg.commands.merging.compare import compare

        return compare(request)
    if request.mode == SEARCH:
        from hamdg.commands.merging.search import search

        return search(request)
    if request.mode == REGRET:
        from hamdg.commands.merging.regret import regret

        return regret(request)
    if request.mode == SHOW:
        from hamdg.commands.merging.show import show

        return show(Path(request.show))

    if request.markdown:
        from hamdg.commands.merging.reference import aliases_table, methods_table

        if console.wants_json():
            raise ConfigError("`--markdown` and `--json` are two forms of one list; keep one of them.")
        console.result(f"{methods_table()}\n\n{aliases_table()}")
        return 0

    from hamdg.commands.merging import methods

    if request.mode == LIST:
        return methods.show_list()
    return methods.explain(request.explain)


def _merge_run(arguments: Sequence[str]) -> int:
    from hamdg.config.parsing import split_overrides

    overrides, others = split_overrides(arguments, (tracking.OPTION,), "hamdg merge")
    for override in overrides:
        if not override.startswith(_RUN_SECTIONS):
            name = override.partition("=")[0]
            raise ConfigError(
                "`hamdg merge` takes keys of the sections `merge`, `evaluate`, `runtime` and `tracking`, such as "
                f"`--merge.options.keep=0.3`, but got `{name}`."
            )
    given = read_run(others)

    from hamdg.stages import repeating

    repeating.remerge(Path(given.run), [*overrides, *tracking.overrides(given)])
    return 0


def _merge_files(request: Request) -> int:
    started = time.monotonic()
    _check_no_run(request)
    paths, base, out = named_files(request.files), request.base, request.out
    if out is None:
        raise ConfigError(f"The merged file needs a name; add `--out`, as in {EXAMPLE}.")
    weights = weights_of(request, paths)
    prefixes, keys = prefixes_of(request, paths), keys_of(request, paths)
    evidence = evidence_of(request, paths)

    from hamdg.digests import Digests

    with Digests(hash_name=request.digest) as digests:
        # Files are read for their digests while torch is imported.
        digests.start(path for path in (*paths.values(), base) if path is not None and path.is_file())

        from hamdg.commands.merging.messages import plain_words
        from hamdg.commands.merging.settings import merge_settings, method_options
        from hamdg.merge.files import merge_files
        from hamdg.merge.registry import get_method

        info = get_method(request.method)
        options = method_options(info, request.options)
        _check_inputs(info, paths, request, evidence)
        settings = merge_settings(request, weights)
        with plain_words(info.options):
            merge_files(
                info.name,
                paths,
                out,
                base,
                options=options,
                settings=settings,
                prefixes=prefixes,
                evidence=evidence or None,
                keys=keys,
                lora_rank=request.lora_rank,
                digests=digests,
            )
    _summarize(info, options, paths, base, out, time.monotonic() - started)
    return 0


def _check_no_run(request: Request) -> None:
    """Refuse a run where files are expected: its histories are merged as a recipe says, whose keys have long names."""
    from hamdg.runs.directory import RunDirectory

    if len(request.files) != 1 or not RunDirectory(Path(request.files[0])).config.is_file():
        return
    options = [f"--merge.options.{name[2:].replace('-', '_')}={value}" for name, value in request.options.items()]
    command = " ".join(["hamdg merge", request.files[0], f"--merge.method={request.method}", *options])
    raise ConfigError(
        f"`{request.files[0]}` is the directory of a run, whose histories are merged again with the keys of its "
        f"recipe, as a run of its own: `{command}`. `{MERGE}` merges files."
    )


def _summarize(
    info: MethodInfo,
    options: Mapping[str, object],
    paths: Mapping[str, Path],
    base: Path | None,
    out: Path,
    seconds: float,
) -> None:
    from hamdg.merge.files.provenance import resolved_options

    own, given = info.resolved(options)
    values = resolved_options(own, given)
    size = out.stat().st_size
    rows = [
        ("options", ", ".join(f"{name} {shown(value)}" for name, value in values.items())),
        ("base", "" if base is None else str(base)),
        ("sources", ", ".join(sorted(paths))),
        ("merged", f"{out} ({_size(size)})"),
        ("seconds", f"{seconds:.1f}"),
    ]
    console.table(
        ("method", info.name if own is info else f"{info.name}, which is {own.name}"), [row for row in rows if row[1]]
    )
    facts = {"method": own.name, "options": values, "base": base, "sources": paths, "merged": out, "bytes": size}
    console.result_json({"called": info.name} | facts | {"seconds": seconds})


def _check_inputs(info: MethodInfo, paths: Mapping[str, Path], request: Request, evidence: Mapping[str, Path]) -> None:
    from hamdg.merge.lora.files import are_adapters

    if request.base is None and (info.needs_base or request.lines is not None) and not are_adapters(paths.values()):
        what = f"Merge method `{info.name}`" if info.needs_base else "`--lines`"
        raise ConfigError(f"{what} works on the change from a start model; name its file with `--base FILE`.")
    unread = [kind for kind in info.needs if kind not in ("gradients", "activations", "losses")]
    if unread:
        what = "data of the target domain" if unread[0] == "target" else unread[0]
        raise ConfigError(
            f"Merge method `{info.name}` needs {what}, which no file holds; call `hamdg.merge.merge` from Python, "
            "with `evidence`."
        )
    if info.needs and not evidence:
        raise ConfigError(
            f"Merge method `{info.name}` needs {info.needs[0]}; give a file of them for every source with "
            "`--evidence NAME=FILE`."
        )


def _size(count: int) -> str:
    return f"{count / 1e6:,.1f} MB" if count >= 1e5 else f"{count:,} bytes"
