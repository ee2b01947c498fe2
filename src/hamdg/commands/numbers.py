"""Counts on the command line, limited so that a typo does not fill the memory."""

from __future__ import annotations

from hamdg.errors import ConfigError
from hamdg.values import Range


def check_count(flag: str, value: int, most: int) -> None:
    """Refuse a number below 1 or above `most`.

    Args:
        flag: What gives it, such as `--size`.
        value: The number.
        most: The largest that makes sense.

    Raises:
        ConfigError: It is too small or too large.
    """
    if value not in Range(1, most):
        raise ConfigError(f"Expected `{flag}` to be an integer {Range(1, most)}, but got `{value}`.")
