"""What a benchmark is: its domains in their fixed order, its classes, and how both are called on disks and hubs."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

from hamdg.errors import ConfigError
from hamdg.text import excerpt

TaskName = Literal["classification", "segmentation"]
PROMPTS = ("a photo of a {}.",)
# Stands between domains that are held out together.
JOIN = "+"


def normalized(text: str) -> str:
    """Return a name as names are compared: in lower case, without spaces, underscores and hyphens, accents composed."""
    return composed(text.lower()).replace("_", "").replace(" ", "").replace("-", "")


def composed(name: str) -> str:
    """Return a name with composed accents: macOS writes an umlaut as two characters, a keyboard as one."""
    return unicodedata.normalize("NFC", name)


def prompt_name(name: str) -> str:
    """Return a class's name as prompts call it by themselves: underscores become spaces."""
    return name.replace("_", " ")


def prompt_problem(prompts: Sequence[str], key: str) -> str:
    """Return why a key's templates would not tell the classes apart, without a full stop; empty if they do."""
    if not prompts:
        return f'`{key}` is empty; give at least one template, such as `["a photo of a {{}}."]`'
    strange = [prompt for prompt in prompts if prompt.count("{}") != 1]
    if strange:
        return f"Expected every template of `{key}` to have one `{{}}` for the class, but got `{excerpt(strange[0])}`"
    return ""


@dataclass(frozen=True)
class Hub:
    """A data set on the Hugging Face hub.

    Args:
        id: Its name, `owner/name`, or a folder that holds a copy of it.
        revision: The pinned commit; `None` for the newest.
        image: The column of images.
        label: The column of classes.
        domain: The column of domains.
    """

    id: str
    revision: str | None = None
    image: str = "image"
    label: str = "label"
    domain: str = "domain"


@dataclass(frozen=True)
class Lists:
    """List files, which name the images.

    Args:
        path: A file of `<path> <label>` lines, a CSV, or a folder of such files.
        root: The folder that their paths begin in.
        image: A CSV's column of paths.
        label: Its column of classes.
        domain: Its column of domains.
    """

    path: Path
    root: Path
    image: str = "image"
    label: str = "label"
    domain: str = "domain"


@dataclass(frozen=True)
class Version:
    """How many images one published copy of a benchmark has.

    Args:
        name: What the copy is called.
        totals: Images by domain.
        by_class: Images of every class, in the order of the classes, by domain; empty where no count is known.
        note: Where the counts come from, and what to know about this copy.
    """

    name: str
    totals: Mapping[str, int]
    by_class: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True)
class Benchmark:
    """A benchmark's fixed facts.

    Args:
        name: Name in recipes and run directories.
        domains: Domains in DomainBed's (sorted) order; a domain's position seeds its split.
        classes: Classes in DomainBed's (ASCII) order; a class's position is its label.
        aliases: Other names of domains, normalized.
        title: The name in papers.
        folders: Names of its root folder, relative to where data are kept; spelling matters as little as for domains.
        labels: Other names of class folders, normalized.
        versions: Published copies; the first is the one that papers use.
        prompts: Templates with one `{}` for the class, where a recipe names none.
        hub: The hub's copy, if there is one.
        impostors: Hub ids of data sets that are often taken for this one, and what they hold.
        left_out: Folders of a `custom` data set that `data.domains` leaves out.
        task: What is learned: a class for every image, or a map with one for every pixel.
        ids: Of maps in files, the label of every id; 255 for pixels that are ignored.
        class_rows: By class, which of the 1,000 classes of ImageNet stand for it, where somebody has chosen some.
    """

    name: str
    domains: tuple[str, ...]
    classes: tuple[str, ...]
    aliases: Mapping[str, str] = field(default_factory=dict)
    title: str = ""
    folders: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    versions: tuple[Version, ...] = ()
    prompts: tuple[str, ...] = PROMPTS
    hub: Hub | None = None
    impostors: Mapping[str, str] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    task: TaskName = "classification"
    ids: Mapping[int, int] = field(default_factory=dict)
    class_rows: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def find_domain(self, text: str) -> str | None:
        """Return the domain that `text` names, `None` if none; case, spaces and underscores do not matter."""
        wanted = normalized(text)
        return next((name for name in self.domains if normalized(name) == wanted), self.aliases.get(wanted))

    def find_label(self, text: str) -> int | None:
        """Return the label of the class that a folder (or a hub's label) names, `None` if none."""
        return self._spellings.get(normalized(text))

    @cached_property
    def _spellings(self) -> dict[str, int]:
        """The label of every name of a class: to go through 345 classes for each of 345 folders would take time."""
        others = {name: self.classes.index(known) for name, known in self.labels.items()}
        return others | {normalized(name): label for label, name in reversed([*enumerate(self.classes)])}

    def domain(self, text: str, key: str = "held_out") -> str:
        """Return the domain that `text` names.

        Args:
            text: A domain's name, or another name of it.
            key: The key of a recipe that it was given with, for messages.

        Raises:
            ConfigError: If no domain has that name.
        """
        if (found := self.find_domain(text)) is not None:
            return found
        names = ", ".join(f"`{name}`" for name in self.domains)
        raise ConfigError(f"`{key}`: benchmark `{self.name}` has no domain `{excerpt(text)}`; it has {names}.")

    def targets(self, held_out: str) -> tuple[str, ...]:
        """Return the domains that `held_out` names, in the benchmark's order: one, or several joined by `+`.

        Raises:
            ConfigError: If no domain has one of these names, or one is named twice.
        """
        if self.find_domain(held_out) is not None or JOIN not in held_out:
            return (self.domain(held_out),)
        found = [self.domain(name.strip()) for name in held_out.split(JOIN)]
        for name in found:
            if found.count(name) > 1:
                raise ConfigError(f"`held_out`: `{excerpt(held_out)}` names the domain `{name}` twice; keep one.")
        if (joined := JOIN.join(name for name in self.domains if name in found)) in self.domains:
            raise ConfigError(f"`held_out`: `{joined}` is a domain, so these cannot be held out together; rename it.")
        return tuple(name for name in self.domains if name in found)

    def sources(self, held_out: str, excluded: Sequence[str | int] = ()) -> tuple[str, ...]:
        """Return the domains that are trained on when `held_out` is not, and `excluded` ones are not read at all.

        Raises:
            ConfigError: If no domain has one of these names, or none is left to train on.
        """
        targets, never = self.targets(held_out), [self.domain(str(name), "excluded") for name in excluded]
        for target in targets:
            if target in never:
                raise ConfigError(f"`excluded` names `{target}`, which is `held_out`; leave it out of `excluded`.")
        sources = tuple(name for name in self.domains if name not in targets and name not in never)
        if not sources and never:
            raise ConfigError("`excluded` leaves no domain to train on; name fewer.")
        if not sources and len(targets) > 1:
            raise ConfigError("`held_out` leaves no domain to train on; name fewer.")
        if not sources:
            raise ConfigError(
                f"`held_out`: benchmark `{self.name}` has only the domain `{held_out}`, which leaves none to train on; "
                "use a benchmark with two domains or more."
            )
        return sources
