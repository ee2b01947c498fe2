"""What other packages add to hamdg: their entry points, by group, loaded with errors that name the package."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

from hamdg.errors import ConfigError


def plugins(group: str) -> dict[str, list[EntryPoint]]:
    """Return the entry points of a group by name, sorted; nothing is imported.

    Args:
        group: `hamdg.algorithms`, `hamdg.benchmarks`, `hamdg.launchers`, ...
    """
    found: dict[str, list[EntryPoint]] = {}
    for entry in sorted(entry_points(group=group), key=lambda entry: (entry.name, entry.value)):
        same = found.setdefault(entry.name, [])
        # A package that lies twice on the path, as an editable install may, is listed twice.
        if entry.value not in [known.value for known in same]:
            same.append(entry)
    return found


def load_plugin(group: str, name: str, what: str) -> object:
    """Import what another package calls `name` in a group.

    Args:
        group: The group.
        name: One of the names that `plugins` returns.
        what: What it is, for messages: `launcher`, `benchmark`.

    Raises:
        ConfigError: If two packages use the name, or importing fails; the message names the packages.
    """
    entries = plugins(group)[name]
    if len(entries) > 1:
        packages = " and ".join(f"`{package_of(entry)}`" for entry in entries)
        raise ConfigError(f"The packages {packages} both bring a {what} called `{name}`; remove one of them.")
    return load_entry(entries[0], f"{what} `{name}`")


def load_entry(entry: EntryPoint, what: str) -> object:
    """Import what an entry point names.

    Args:
        entry: The entry point.
        what: What it is, for messages: "launcher `slurm`".

    Raises:
        ConfigError: If importing fails, for whatever reason; the message names the package.
    """
    try:
        return entry.load()
    except Exception as error:  # anything can go wrong in a module that is not ours
        raise ConfigError(
            f"The {what} of the package `{package_of(entry)}` cannot be loaded ({type(error).__name__}: {error}); "
            "repair or remove that package."
        ) from error


def package_of(entry: EntryPoint) -> str:
    """Return the name of the package that an entry point belongs to; its module where that is not known."""
    return entry.dist.name if entry.dist else entry.module
