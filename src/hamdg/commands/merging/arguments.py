"""What follows `hamdg merge`: flags, options of the method, and files with names; read without importing torch."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hamdg.errors import ConfigError

MERGE, LIST, EXPLAIN, SHOW, COMPARE = MODES = ("--method", "--list", "--explain", "--show", "--compare")

EXAMPLE = "`hamdg merge --method uniform a.safetensors b.safetensors --out merged.safetensors`"
_HELP = "see `hamdg merge --help`"
_FILE = "NAME=FILE"
# Longest first: the name of a file is what comes before its ending.
_ENDINGS = (
    *(".safetensors.index.json", ".bin.index.json", ".safetensors", ".ckpt", ".pth.tar", ".pt.tar", ".tar", ".pth"),
    *(".pt", ".pkl", ".bin"),
)


@dataclass(frozen=True)
class Flag:
    """A flag of `hamdg merge`.

    Args:
        name: As it is typed.
        modes: What it goes together with.
        text: What it means, for the help.
        value: What the help calls its value; nothing for a switch.
        many: Whether it may be given several times.
    """

    name: str
    modes: tuple[str, ...]
    text: str
    value: str = ""
    many: bool = False


FLAGS: dict[str, Flag] = {
    flag.name: flag
    for flag in (
        Flag(MERGE, (MERGE,), "merge files with this method; its options follow as `--density 0.2`", "NAME"),
        Flag(LIST, (LIST,), "list all methods"),
        Flag(EXPLAIN, (EXPLAIN,), "say what a method does and what its options mean", "NAME"),
        Flag(SHOW, (SHOW,), "say how a merged file was made", "FILE"),
        Flag(COMPARE, (COMPARE,), "measure how the models lie to each other instead of merging them"),
        Flag("--base", (MERGE, COMPARE), "the start that the models have in common", "FILE"),
        Flag("--out", (MERGE, COMPARE), "the merged file; with --compare an image (.svg)", "FILE"),
        Flag(
            "--weights", (MERGE,), "weights of the sources: `art=2,photo=1`, or `2,1` in their order", "NAME=NUMBER,..."
        ),
        Flag("--buffers", (MERGE,), "BatchNorm's statistics: moments (default), first or refuse", "POLICY"),
        Flag("--lines", (MERGE,), "LiNeS: scale the change from A (first block) to A + B (last block)", "A,B"),
        Flag("--precision", (MERGE,), "what is computed in: fp32 (default) or fp64", "PRECISION"),
        Flag(
            "--dtype", (MERGE,), "dtype of the result: float32, float16, bfloat16, float64, float8_e4m3fn, ...", "DTYPE"
        ),
        Flag("--device", (MERGE, COMPARE), "where it is computed: cpu (default), cuda, ...", "DEVICE"),
        Flag("--threads", (MERGE, COMPARE), "how many tensors are worked on at once", "NUMBER"),
        Flag(
            "--prefix", (MERGE, COMPARE), "what stands before the names in a source's file", "NAME=TEXT,...", many=True
        ),
        Flag(
            "--key",
            (MERGE, COMPARE),
            "where in a file of several models the wanted one lies",
            "[NAME=]KEY,...",
            many=True,
        ),
        Flag("--statistics", (MERGE,), "Fisher information, Gram matrices or losses", "NAME=FILE,...", many=True),
        Flag(
            "--lora-rank",
            (MERGE,),
            "rank of a merged adapter (LoRA); by default the sum of ranks",
            "NUMBER",
        ),
        Flag("--digest", (MERGE,), "how the header names inputs: blake3 (default) or sha256", "HASH"),
        Flag("--allow-nonfinite", (MERGE,), "let NaN and infinite values through"),
        Flag("--json", (SHOW, COMPARE), "print JSON"),
        Flag("--markdown", (LIST,), "print the table as Markdown"),
    )
}


@dataclass(frozen=True)
class Request:
    """What the user asked `hamdg merge` for.

    Args:
        mode: One of `MODES`.
        flags: The values of every flag that was given; one empty text for a switch.
        options: The method's own options, as texts.
        files: Everything else.
    """

    mode: str
    flags: dict[str, list[str]] = field(default_factory=dict)
    options: dict[str, str] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)

    def text(self, flag: str) -> str | None:
        """Return the value of a flag, `None` if it was not given."""
        return self.flags[flag][0] if flag in self.flags else None

    def path(self, flag: str) -> Path | None:
        """Return the value of a flag as a path."""
        text = self.text(flag)
        return None if text is None else Path(text)


def read_request(arguments: Sequence[str]) -> Request | None:
    """Return what follows the verb as a request, or `None` where a run is to be merged again.

    Raises:
        ConfigError: A flag is unknown, repeated, out of place or without its value.
    """
    names = [_flag_name(argument) for argument in arguments]
    mode = next((name for name in names if name in MODES), None)
    if mode is None:
        _check_run(arguments, names)
        return None
    request, rest = Request(mode), list(arguments)
    while rest:
        argument = rest.pop(0)
        if argument.startswith("--"):
            _take(argument, rest, request)
        elif argument.startswith("-"):
            raise ConfigError(f"There is no option `{argument}`; {_HELP}.")
        else:
            request.files.append(argument)
    if request.files and mode not in (MERGE, COMPARE):
        raise ConfigError(f"`hamdg merge {mode}` takes no files, but got `{request.files[0]}`; {_HELP}.")
    return request


def named_files(texts: Sequence[str]) -> dict[str, Path]:
    """Return the files by the names of their sources.

    A text that is an existing file or folder as a whole is one, whatever it holds (`epoch=3.ckpt`); any other with a
    `=` is NAME=FILE. A file without a name is called as it is without its ending, a folder as it is. Of all that lies
    in a run's history (`RUN/history/*`) the models are taken, not the index and the folders of single checkpoints.

    Raises:
        ConfigError: There is none, a name or a path is empty, or two have one name.
    """
    if not texts:
        raise ConfigError(f"There are no files to merge; write {EXAMPLE}.")
    indices = [path for path in map(Path, texts) if path.suffix == ".json" and _is_history_index(path)]
    histories = {index.parent for index in indices}
    files: dict[str, Path] = {}
    for text in texts:
        name, path = _named(text)
        if path in indices or (path.parent in histories and path.is_dir()):
            continue
        if name in files and "=" in text and not path.exists() and is_number(path.name):
            raise ConfigError(f"`{text}` is no file; weights are written as one word, `--weights {name}={path},...`.")
        if name in files:
            what = "is given twice" if files[name] == path else f"is the name of `{files[name]}` and of `{path}`"
            raise ConfigError(f"The source `{name}` {what}; give every source once, with a name of its own: NAME=FILE.")
        files[name] = path
    if not files:
        raise ConfigError(f"There are no models among `{'`, `'.join(texts)}`; write {EXAMPLE}.")
    return files


def _is_history_index(path: Path) -> bool:
    # Not above: most merges have nothing to do with runs, whose directory imports what recipes are.
    from hamdg.runs.directory import RunDirectory

    return path == RunDirectory(path.parent.parent).history_index


def pairs(flag: str, texts: Sequence[str], names: Collection[str]) -> dict[str, str]:
    """Return what texts of the form NAME=VALUE,NAME=VALUE,... say.

    Names and values may hold a `=` (`art=epoch=3.json`). The name is the longest of those that are known, or else what
    comes before the last `=`. Values of files may hold a comma: they end where a known name follows.

    Args:
        flag: The flag that they belong to.
        texts: The texts.
        names: The names that are known.

    Raises:
        ConfigError: One is written in another way, or a name is repeated.
    """
    found: dict[str, str] = {}
    for part in (part for text in texts for part in _parts(text, names, files=FLAGS[flag].value.startswith(_FILE))):
        known = [name for name in names if part.startswith(f"{name}=")]
        last, equals, _ = part.rpartition("=")
        name = max(known, key=len, default=last)
        value = part[len(name) + 1 :]
        if not equals or not name:
            raise ConfigError(f"Expected `{flag}` to be {FLAGS[flag].value}, but got `{part}`.")
        if name in found:
            raise ConfigError(f"`{flag}` names `{name}` twice; keep one of them.")
        found[name] = value
    return found


def _parts(text: str, names: Collection[str], *, files: bool) -> list[str]:
    """Cut a text at its commas; where values are files, only at those before a known name."""
    if not files:
        return text.split(",")
    known = "|".join(re.escape(name) for name in names)
    return re.split(f",(?=(?:{known})=)", text)


def nearest(name: str, known: Sequence[str], others: Sequence[str] = ()) -> str:
    """Say which of the known names was meant, or which there are.

    Args:
        name: What the user wrote.
        known: What is listed if none is near.
        others: What could have been meant, too, but only if it is quite near.
    """
    near = [*difflib.get_close_matches(name, known, n=1), *difflib.get_close_matches(name, others, n=1, cutoff=0.8)]
    if near:
        return f"did you mean `{near[0]}`?"
    return f"it can be {', '.join(f'`{one}`' for one in known)}." if known else "it takes none."


def is_number(text: str) -> bool:
    """Say whether a text is a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def _take(argument: str, rest: list[str], request: Request) -> None:
    """Read one flag or option, and its value from what follows."""
    name, equals, value = _flag_name(argument), "=" in argument, argument.partition("=")[2]
    flag = FLAGS.get(name)
    if request.mode not in (flag.modes if flag else (MERGE,)):
        fitting = [other.name for other in FLAGS.values() if request.mode in other.modes and other.name != request.mode]
        hint = nearest(name, fitting)
        raise ConfigError(f"`hamdg merge {request.mode}` has no option `{name}`; {hint}")
    if flag is not None and not flag.value:
        if equals:
            raise ConfigError(f"`{name}` is a switch and takes no value, but got `{value}`.")
    elif not equals:
        if not rest or rest[0].startswith("--"):
            raise ConfigError(f"`{name}` needs a value; write `{name} {flag.value if flag else 'VALUE'}`.")
        value = rest.pop(0)
    if name in (request.flags if flag else request.options) and not (flag and flag.many):
        raise ConfigError(f"`{name}` is given twice; keep one of them.")
    if flag:
        request.flags.setdefault(name, []).append(value)
    else:
        request.options[name] = value


def _flag_name(argument: str) -> str:
    """Return the flag of an argument; words may be joined by `-` or `_`."""
    name = argument.partition("=")[0]
    return name.replace("_", "-") if name.startswith("--") else ""


def _check_run(arguments: Sequence[str], names: Sequence[str]) -> None:
    """Refuse what is no call to merge a run again."""
    strays = [name for name in names if name in FLAGS]
    files = [argument for argument in arguments if not argument.startswith("-")]
    if not files and not strays:
        raise ConfigError(f"There is nothing to merge; name a run, or a method and files: {EXAMPLE}; {_HELP}.")
    if strays or len(files) == len(arguments) > 1 or any(Path(file).is_file() for file in files):
        raise ConfigError(f"Files are merged by a method, which `--method` names: {EXAMPLE}; {_HELP}.")


def _named(text: str) -> tuple[str, Path]:
    name, equals, path = text.partition("=")
    if not equals or Path(text).exists() or "/" in name:
        return _stem(Path(text)), Path(text)
    if not name or not path:
        raise ConfigError(f"Expected a source as NAME=FILE, but got `{text}`.")
    return name, Path(path)


def _stem(path: Path) -> str:
    whole = path.name or path.resolve().name
    return next((whole.removesuffix(ending) for ending in _ENDINGS if whole.endswith(ending)), whole) or whole
