"""What follows `hamdg merge`: one argument parser for each thing that it does; read without importing torch."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, cast

from hamdg.commands import tracking
from hamdg.commands.merging.flags import COMPARE, EXAMPLE, FLAGS, MERGE, MODES, REGRET, SEARCH, Flag
from hamdg.commands.merging.values import choice, nearest
from hamdg.errors import ConfigError

if TYPE_CHECKING:
    from hamdg.digests import HashName
    from hamdg.merge.buffers import Policy
    from hamdg.merge.settings import Precision

_HELP = "see `hamdg merge --help`"


@dataclass
class Request(argparse.Namespace):
    """What the user asked `hamdg merge` for: the files, the values of all flags, and the method's options as texts.

    Args:
        mode: One of `MODES`.
    """

    mode: str
    files: list[str] = field(default_factory=list)
    options: dict[str, str] = field(default_factory=dict)
    method: str = ""
    explain: str = ""
    show: str = ""
    base: Path | None = None
    out: Path | None = None
    device: str = "cpu"
    threads: int | None = None
    prefix: list[str] = field(default_factory=list)
    key: list[str] = field(default_factory=list)
    weights: str | None = None
    buffers: Policy = "moments"
    lines: tuple[float, float] | None = None
    precision: Precision = "fp32"
    dtype: str | None = None
    evidence: list[str] = field(default_factory=list)
    lora_rank: int | None = None
    digest: HashName = "blake3"
    allow_nonfinite: bool = False
    budget: int = 40
    methods: str = "all"
    clean: bool = False
    markdown: bool = False


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
    # What follows `--` are files, whatever they are called.
    end = arguments.index("--") if "--" in arguments else len(arguments)
    request = Request(mode)
    _, rest = _parser(mode, names[:end]).parse_known_args(_joined(arguments[:end]), request)
    for argument in rest:
        if argument.startswith("--"):
            raise _no_option(mode, argument.partition("=")[0])
        if argument.startswith("-"):
            raise ConfigError(f"There is no option `{argument}`; {_HELP}.")
    request.files = [*rest, *arguments[end + 1 :]]
    if request.files and mode not in (MERGE, COMPARE, SEARCH, REGRET):
        raise ConfigError(f"`hamdg merge {mode}` takes no files, but got `{request.files[0]}`; {_HELP}.")
    return request


def read_run(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the `run` that is to be merged again, and its loggers as `tracking`; keys of recipes are taken out.

    Raises:
        ConfigError: There is not one run.
    """
    parser = _Parser(prog="hamdg merge", add_help=False, allow_abbrev=False)
    parser.add_argument("runs", nargs="*")
    tracking.add_arguments(parser)
    given = parser.parse_args(arguments)
    if len(given.runs) != 1:
        raise ConfigError(f"One run is merged again at a time, but got `{' '.join(given.runs)}`; name its directory.")
    given.run = given.runs[0]
    return given


class _Parser(argparse.ArgumentParser):
    """The parser of one mode, whose errors are those of the program."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; {_HELP}.")


class _Store(argparse.Action):
    """Keep the value of a flag, once unless it may be given several times."""

    def __init__(self, option_strings: Sequence[str], dest: str, *, flag: Flag) -> None:
        super().__init__(option_strings, dest, default=argparse.SUPPRESS, nargs="?" if flag.value else 0)
        self._flag, self._given = flag, False

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[object] | None,
        option_string: str | None = None,
    ) -> None:
        flag = self._flag
        if flag.value and values is None:
            raise ConfigError(f"`{flag.name}` needs a value; write `{flag.name} {flag.value}`.")
        if self._given and not flag.many:
            raise ConfigError(f"`{flag.name}` is given twice; keep one of them.")
        self._given = True
        read = choice(*flag.choices) if flag.choices else flag.read
        value = read(flag.name, cast("str", values)) if flag.value else True
        self._keep(cast("Request", namespace), value)

    def _keep(self, request: Request, value: object) -> None:
        if self._flag.many:
            getattr(request, self.dest).append(value)
        else:
            setattr(request, self.dest, value)


class _StoreOption(_Store):
    """Keep an option of the method, as a text."""

    def _keep(self, request: Request, value: object) -> None:
        request.options[self._flag.name] = cast("str", value)


def _parser(mode: str, names: Sequence[str]) -> _Parser:
    """Return the parser of a mode; what is not a flag of ours is an option of the method, which is not known yet."""
    parser = _Parser(prog=f"hamdg merge {mode}", add_help=False, allow_abbrev=False)
    known = set()
    for flag in FLAGS.values():
        known |= {flag.name, *flag.also}
        if mode in flag.modes:
            parser.add_argument(flag.name, *flag.also, action=_Store, flag=flag)
    if mode == MERGE:
        for name in dict.fromkeys(name for name in names if name and name not in known):
            parser.add_argument(name, action=_StoreOption, flag=Flag(name, (MERGE,), "", "VALUE"))
    return parser


def _joined(arguments: Sequence[str]) -> list[str]:
    """Return the arguments with every flag and its value in one, so that values may begin with a minus (`-1e-3`).

    Raises:
        ConfigError: A switch has a value.
    """
    joined, rest = [], list(arguments)
    while rest:
        argument = rest.pop(0)
        name = _flag_name(argument)
        if name:
            _, equals, value = argument.partition("=")
            switch = name in FLAGS and not FLAGS[name].value
            if switch and equals:
                raise ConfigError(f"`{name}` is a switch and takes no value, but got `{value}`.")
            if not switch and not equals and rest and not rest[0].startswith("--"):
                equals, value = "=", rest.pop(0)
            argument = f"{name}{equals}{value}"
        joined.append(argument)
    return joined


def _flag_name(argument: str) -> str:
    """Return the flag of an argument; words may be joined by `-` or `_`."""
    name = argument.partition("=")[0]
    return name.replace("_", "-") if name.startswith("--") else ""


def _no_option(mode: str, name: str) -> ConfigError:
    fitting = [flag.name for flag in FLAGS.values() if mode in flag.modes and flag.name != mode]
    return ConfigError(f"`hamdg merge {mode}` has no option `{name}`; {nearest(name, fitting)}")


def _check_run(arguments: Sequence[str], names: Sequence[str]) -> None:
    """Refuse what is not a call to merge a run again."""
    strays = [name for name in names if name in FLAGS]
    files = [argument for argument in arguments if not argument.startswith("-")]
    if not files and not strays:
        raise ConfigError(f"There is nothing to merge; name a run, or a method and files: {EXAMPLE}; {_HELP}.")
    if strays or len(files) == len(arguments) > 1 or any(Path(file).is_file() for file in files):
        raise ConfigError(f"Files are merged by a method, which `--method` names: {EXAMPLE}; {_HELP}.")
