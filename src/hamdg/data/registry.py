"""What each benchmark is: its domains in their fixed order, its classes, and the short names people use."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field

from hamdg.errors import ConfigError


@dataclass(frozen=True)
class Benchmark:
    """A benchmark's fixed facts.

    Args:
        name: Name in recipes and run directories.
        domains: Domains in DomainBed's (sorted) order; a domain's position seeds its split.
        classes: Classes; a class's position is its label.
        aliases: Other names of domains, in lower case without spaces and underscores.
    """

    name: str
    domains: tuple[str, ...]
    classes: tuple[str, ...]
    aliases: dict[str, str] = field(default_factory=dict)

    def domain(self, text: str) -> str:
        """Return the domain that `text` names; case, spaces and underscores do not matter.

        Raises:
            ConfigError: If no domain has that name.
        """
        wanted = _normalised(text)
        for name in self.domains:
            if _normalised(name) == wanted:
                return name
        if wanted in self.aliases:
            return self.aliases[wanted]
        names = ", ".join(f"`{name}`" for name in self.domains)
        raise ConfigError(f"`held_out`: benchmark `{self.name}` has no domain `{text}`; it has {names}.")

    def sources(self, held_out: str) -> tuple[str, ...]:
        """Return the domains that are trained on when `held_out` is not."""
        sources = tuple(name for name in self.domains if name != self.domain(held_out))
        if not sources:
            raise ConfigError(
                f"`held_out`: benchmark `{self.name}` has only the domain `{held_out}`, which leaves none to train on; "
                "use a benchmark with two domains or more."
            )
        return sources


def _normalised(text: str) -> str:
    return text.lower().replace("_", "").replace(" ", "")


_BENCHMARKS = {
    "mini": Benchmark(
        name="mini",
        domains=("art_painting", "cartoon", "photo", "sketch"),
        classes=("dog", "elephant", "giraffe", "guitar", "horse", "house", "person"),
        aliases={"art": "art_painting", "a": "art_painting", "c": "cartoon", "p": "photo", "s": "sketch"},
    ),
}


def benchmark(name: str) -> Benchmark:
    """Return the benchmark called `name`.

    Raises:
        ConfigError: If there is none; the message names the nearest and all others.
    """
    if name in _BENCHMARKS:
        return _BENCHMARKS[name]
    near = difflib.get_close_matches(name, _BENCHMARKS, n=1)
    hint = f"did you mean `{near[0]}`?" if near else f"it can be {', '.join(f'`{b}`' for b in _BENCHMARKS)}."
    raise ConfigError(f"`benchmark`: there is no benchmark `{name}`; {hint}")


def benchmarks() -> tuple[Benchmark, ...]:
    """Return all registered benchmarks."""
    return tuple(_BENCHMARKS.values())
