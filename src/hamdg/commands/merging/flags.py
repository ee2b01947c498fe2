"""The flags of `hamdg merge`: what each means, what it goes together with and how its value is read."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

from hamdg.commands import tracking
from hamdg.commands.merging.values import as_path, as_text, count, hash_name, two_numbers

MERGE, LIST, EXPLAIN, SHOW, COMPARE, SEARCH, REGRET = MODES = (
    "--method",
    "--list",
    "--explain",
    "--show",
    "--compare",
    "--search",
    "--regret",
)

EXAMPLE = "`hamdg merge --method uniform a.safetensors b.safetensors --out merged.safetensors`"
USAGE = """\
hamdg merge --method NAME [NAME=]FILE ... [--base FILE] --out FILE [--OPTION VALUE ...]
       hamdg merge --list | --explain NAME | --show FILE
       hamdg merge --compare [NAME=]FILE ... --base FILE [--out IMAGE.svg]
       hamdg merge RUN --search [--budget NUMBER] [--methods NAME,...] [--clean]
       hamdg merge RUN ... --regret [--budget NUMBER] [--methods NAME,...] [--clean]
       hamdg merge RUN [--merge.KEY=VALUE ...] [--tracking NAME]"""
_THREADS = 1_024


@dataclass(frozen=True)
class Flag:
    """A flag of `hamdg merge`.

    Args:
        name: As it is typed.
        modes: What it goes together with.
        text: What it means, for the help.
        value: What the help calls its value; nothing for a switch.
        read: Gives the value of a text, or refuses it by the flag's name.
        choices: What the value can be, where it is one of a few words.
        many: Whether it may be given several times.
        also: Older names.
    """

    name: str
    modes: tuple[str, ...]
    text: str
    value: str = ""
    read: Callable[[str, str], object] = as_text
    choices: tuple[str, ...] = ()
    many: bool = False
    also: tuple[str, ...] = ()


_BOTH, _SEARCHES = (MERGE, COMPARE), (SEARCH, REGRET)
_DTYPES = ("float32", "float16", "bfloat16", "float64", "float8_e4m3fn", "float8_e5m2")
FLAGS: dict[str, Flag] = {
    flag.name: flag
    for flag in (
        Flag(MERGE, (MERGE,), "merge files with this method; its options follow as `--density 0.2`", "NAME"),
        Flag(LIST, (LIST,), "list all methods"),
        Flag(EXPLAIN, (EXPLAIN,), "say what a method does and what its options mean", "NAME"),
        Flag(SHOW, (SHOW,), "say how a merged file was made", "FILE"),
        Flag(COMPARE, (COMPARE,), "measure how alike the models are instead of merging them"),
        Flag(SEARCH, (SEARCH,), "find the best merge of a run by leaving each source out in turn"),
        Flag(REGRET, (REGRET,), "study how well searches choose: this OPENS the held-out domain of finished runs"),
        Flag("--base", _BOTH, "the start that the models have in common", "FILE", as_path),
        Flag("--out", _BOTH, "the merged file; with --compare an image (.svg)", "FILE", as_path),
        Flag("--device", _BOTH, "where it is computed: cpu (default), cuda, ...", "DEVICE"),
        Flag("--threads", _BOTH, "how many tensors are worked on at once", "NUMBER", count(_THREADS)),
        Flag("--prefix", _BOTH, "what stands before the names in a source's file", "NAME=TEXT,...", many=True),
        Flag("--key", _BOTH, "where in a file of several models the wanted one lies", "[NAME=]KEY,...", many=True),
        Flag(
            "--weights", (MERGE,), "weights of the sources: `art=2,photo=1`, or `2,1` in their order", "NAME=NUMBER,..."
        ),
        Flag(
            "--buffers",
            (MERGE,),
            "BatchNorm's statistics: moments (default), mean, first or refuse",
            "POLICY",
            choices=("moments", "mean", "first", "refuse"),
        ),
        Flag(
            "--lines",
            (MERGE,),
            "LiNeS: scale the change from A (first block) to A + B (last block)",
            "A,B",
            two_numbers,
        ),
        Flag(
            "--precision",
            (MERGE,),
            "what is computed in: fp32 (default) or fp64",
            "PRECISION",
            choices=("fp32", "fp64"),
        ),
        Flag(
            "--dtype",
            (MERGE,),
            "dtype of the result: float32, float16, bfloat16, float64, float8_e4m3fn, ...",
            "DTYPE",
            choices=_DTYPES,
        ),
        Flag(
            "--evidence",
            (MERGE,),
            "Fisher information, Gram matrices or losses",
            "NAME=FILE,...",
            many=True,
            also=("--statistics",),
        ),
        Flag(
            "--lora-rank", (MERGE,), "rank of a merged adapter (LoRA); by default the sum of ranks", "NUMBER", count()
        ),
        Flag("--digest", (MERGE,), "how the header names inputs: blake3 (default) or sha256", "HASH", hash_name),
        Flag("--allow-nonfinite", (MERGE,), "allow NaN and infinite values"),
        Flag("--budget", _SEARCHES, "how many merges are tried (default 40)", "NUMBER", count()),
        Flag("--methods", _SEARCHES, "which methods are tried; all that need no data by default", "NAME,..."),
        Flag("--clean", _SEARCHES, "train source models anew without the source that is left out"),
        Flag("--markdown", (LIST,), "print the table as Markdown"),
    )
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the verb for its help; `read_request` reads the arguments, since every method has options of its own."""
    parser.usage = USAGE
    parser.epilog = f"Example: {EXAMPLE.strip('`')}"
    parser.add_argument("files", nargs="*", metavar="FILE", help="models to merge, as NAME=FILE or FILE; or one RUN")
    groups = {
        title: parser.add_argument_group(title)
        for title in ("what to do", "merging or comparing files", "merging files", "searching", "output")
    }
    for flag in FLAGS.values():
        if flag.name in MODES:
            title = "what to do"
        elif SEARCH in flag.modes:
            title = "searching"
        elif MERGE in flag.modes:
            title = "merging or comparing files" if COMPARE in flag.modes else "merging files"
        else:
            title = "output"
        if flag.value:
            groups[title].add_argument(flag.name, metavar=flag.value, choices=flag.choices or None, help=flag.text)
        else:
            groups[title].add_argument(flag.name, action="store_true", help=flag.text)
    tracking.add_arguments(parser.add_argument_group("merging a run again"))
