"""Which domains show the same drawings: copies of the embedded benchmark's domains in another light."""

from __future__ import annotations

from collections.abc import Sequence

from hamdg.config.data import light_of


def drawings_of(benchmark: str, domain: str) -> str:
    """Return the domain whose drawings a domain shows: itself, unless it is a copy in another light."""
    return light_of(domain)[0] if benchmark == "mini" else domain


def same_drawings(benchmark: str, domains: Sequence[str]) -> list[list[str]]:
    """Return the groups of two or more domains that show the same drawings."""
    groups: dict[str, list[str]] = {}
    for domain in domains:
        groups.setdefault(drawings_of(benchmark, domain), []).append(domain)
    return [group for group in groups.values() if len(group) > 1]
