"""Which launcher is used and with which options, as a sweep file and the command line say."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import MISSING, dataclass, fields
from importlib import import_module
from pathlib import Path
from typing import get_type_hints

from hamdg.config.parsing import located, written
from hamdg.errors import ConfigError
from hamdg.plugins import load_plugin, plugins
from hamdg.sweeps.launchers.base import Launcher
from hamdg.text import argument_texts, did_you_mean, excerpt, listed
from hamdg.values import MismatchError, convert, yaml_name

LOCAL = "local"
GROUP = "hamdg.launchers"
COMMAND_LINE = "on the command line"
# What `launcher` is in a sweep file.
Choice = str | Mapping[str, object]

# Imported when they are used or shown, not before.
_OWN: Mapping[str, tuple[str, str]] = {
    LOCAL: ("hamdg.sweeps.launchers.local", "Local"),
    "ray": ("hamdg.sweeps.launchers.ray", "Ray"),
    "slurm": ("hamdg.sweeps.launchers.slurm", "Slurm"),
}


@dataclass(frozen=True)
class Option:
    """An option of a launcher.

    Args:
        launcher: The launcher's name.
        name: The option's name.
        kind: Its type.
        default: Its default.
        text: What it means.
    """

    launcher: str
    name: str
    kind: object
    default: object
    text: str

    @property
    def flag(self) -> str:
        """How the command line spells it: `--launcher.ray.gpus`."""
        return f"--launcher.{self.launcher}.{self.name}"


def launcher_names() -> list[str]:
    """Return the names of all launchers: those of hamdg first, then those of installed packages."""
    return [*_OWN, *(name for name in plugins(GROUP) if name not in _OWN)]


def find_launcher(name: str, place: str = "`--launcher`") -> type[Launcher]:
    """Return the launcher called `name`.

    Args:
        name: Its name.
        place: Where that stands, for the message.

    Raises:
        ConfigError: If there is none, with the nearest; or if the package that brings it is broken.
    """
    if name in _OWN:
        module, attribute = _OWN[name]
        found: object = getattr(import_module(module), attribute)
    else:
        if name not in (known := launcher_names()):
            hint = did_you_mean(name, known, f"there are {listed(known)}.")
            raise ConfigError(f"{place}: there is no launcher `{excerpt(name)}`; {hint}")
        found = load_plugin(GROUP, name, "launcher")
    if not isinstance(found, type) or not issubclass(found, Launcher) or inspect.isabstract(found):
        what = f"`{found.__name__}`" if isinstance(found, type) else f"a `{type(found).__name__}`"
        raise ConfigError(
            f"The launcher `{name}` must be a dataclass that derives from `hamdg.sweeps.launchers.Launcher` and has "
            f"`start`, but it is {what}; repair or remove its package."
        )
    if bare := [one.name for one in fields(found) if one.default is MISSING and one.default_factory is MISSING]:
        raise ConfigError(f"The option `{bare[0]}` of the launcher `{name}` must have a default; repair its package.")
    return found


def options_of(name: str) -> list[Option]:
    """Return the options of a launcher, in their order."""
    kind = find_launcher(name)
    defaults, hints = kind(), get_type_hints(kind, include_extras=True)
    texts = argument_texts(inspect.getdoc(kind) or "")
    named = [one.name for one in fields(kind)]
    return [Option(name, one, hints[one], getattr(defaults, one), texts.get(one, "")) for one in named]


def read_launcher(
    given: Choice | None, name: str | None = None, flags: Sequence[str] = (), place: str = ""
) -> Launcher:
    """Return the launcher that the runs of a sweep use.

    Args:
        given: What the sweep file says: a name, or one name with its options.
        name: What `--launcher` says; with another name than the file's, the file's options are for nothing.
        flags: What follows as `--launcher.NAME.OPTION=VALUE`.
        place: Where `given` stands, for messages: "in `table.yaml`".

    Raises:
        ConfigError: If there is no such launcher or option, or a value has the wrong type or cannot be right.
    """
    named, settings = _of_file(given, place)
    # An empty name is a mistake, such as a variable of a shell that is not set.
    chosen = next(one for one in (name, named, LOCAL) if one is not None)
    known = {option.name: option for option in options_of(_checked(chosen, "" if name is not None else place))}
    values: dict[str, object] = {}
    for option, value in settings.items() if chosen == named else ():
        values[option] = _value(known, chosen, option, value, place)
    for option, text in _of_flags(flags, chosen):
        value = written(text, known[option].kind) if option in known else text
        values[option] = _value(known, chosen, option, value, COMMAND_LINE)
    launcher = find_launcher(chosen)(**values)
    launcher.check()
    return launcher


def start(launcher: Launcher, workers: int, folder: Path) -> Executor:
    """Return the executor of a launcher.

    Raises:
        ConfigError: If it cannot start, for whatever reason: a launcher may be another package's.
    """
    try:
        return launcher.start(workers, folder)
    except ConfigError:
        raise
    except Exception as error:
        name = type(launcher).__name__
        raise ConfigError(f"The launcher `{name}` cannot start ({type(error).__name__}: {excerpt(error)}).") from error


def _checked(name: str, place: str) -> str:
    find_launcher(name, f"`launcher` ({place})" if place else "`--launcher`")
    return name


def _of_file(given: Choice | None, place: str) -> tuple[str | None, Mapping[str, object]]:
    """Return the name that a sweep file gives, and its options."""
    if given is None or isinstance(given, str):
        return given, {}
    if len(given) != 1:
        raise ConfigError(
            located(f"Expected `launcher` to name one launcher with its options, but got {len(given)}", place)
        )
    ((name, settings),) = given.items()
    if not isinstance(settings, Mapping | None):
        sentence = f"Expected `launcher.{excerpt(name)}` to be a mapping of options, but got `{excerpt(settings)}`"
        raise ConfigError(located(sentence, place))
    return name, settings or {}


def _of_flags(flags: Sequence[str], chosen: str) -> Iterator[tuple[str, str]]:
    """Yield the options that flags name, and their texts."""
    for flag in flags:
        spelled, _, text = flag.partition("=")
        name, _, option = spelled.removeprefix("--launcher.").partition(".")
        find_launcher(name, f"`{spelled}`")
        if name != chosen:
            raise ConfigError(
                f"`{spelled}` is for the launcher `{name}`, but the runs take place on `{chosen}`; add "
                f"`--launcher {name}`, or leave it out."
            )
        yield option.replace("-", "_"), text


def _value(known: Mapping[str, Option], launcher: str, name: str, value: object, place: str) -> object:
    """Return the value of an option in its type."""
    key = f"launcher.{launcher}.{name}"
    if name not in known:
        hint = did_you_mean(name, known, f"it has {listed(list(known))}." if known else "it has none.")
        raise ConfigError(f"There is no option `{excerpt(key)}` ({place}); {hint}")
    try:
        return convert(value, known[name].kind, key)
    except MismatchError as error:
        got = excerpt(yaml_name(error.value))
        raise ConfigError(
            located(f"Expected `{excerpt(error.key)}` to be {error.expected}, but got `{got}`", place)
        ) from None
