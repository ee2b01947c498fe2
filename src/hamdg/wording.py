"""Lists of names as parts of sentences."""

from __future__ import annotations

from collections.abc import Sequence


def listed(names: Sequence[str], limit: int | None = None) -> str:
    """Return names in backticks; of more than `limit` the others are counted."""
    return shortened([f"`{name}`" for name in names], limit)


def shortened(parts: Sequence[str], limit: int | None = None) -> str:
    """Return parts separated by commas; of more than `limit` the others are counted."""
    shown = parts[:limit]
    more = f" and {len(parts) - len(shown)} more" if len(parts) > len(shown) else ""
    return ", ".join(shown) + more
