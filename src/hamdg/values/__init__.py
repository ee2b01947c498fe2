"""Types of values, for recipes, merge options, sweep files and JSON: checked, converted and described in words."""

from hamdg.values.kinds import (
    FactorOfSum,
    Filled,
    Grid,
    Range,
    Words,
    choices,
    describe,
    members,
    plain,
    required_keys,
    yaml_name,
)
from hamdg.values.reading import SWITCHES, MismatchError, check, convert

__all__ = [
    "SWITCHES",
    "FactorOfSum",
    "Filled",
    "Grid",
    "MismatchError",
    "Range",
    "Words",
    "check",
    "choices",
    "convert",
    "describe",
    "members",
    "plain",
    "required_keys",
    "yaml_name",
]
