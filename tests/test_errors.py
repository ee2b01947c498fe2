"""Errors name arguments as data, so that every interface spells them in its own way."""

from __future__ import annotations

import copy
import pickle

import pytest

from hamdg.errors import Argument, ConfigError, WeightsError, unexpected


def test_a_message_reads_in_python_and_can_be_spelled_for_the_command_line() -> None:
    error = ConfigError("Leave ", Argument("allow_nonfinite"), " out, or write `allow_nonfinite`.")
    assert str(error) == "Leave `allow_nonfinite` out, or write `allow_nonfinite`."
    # Only what was named as an argument is one.
    said = error.spelled(lambda argument: f"--{argument.name.replace('_', '-')}")
    assert said == "Leave --allow-nonfinite out, or write `allow_nonfinite`."


def test_an_unexpected_value_names_its_argument() -> None:
    error = unexpected("threads", "an integer of at least 1", 0)
    assert str(error) == "Expected argument `threads` to be an integer of at least 1, but got `0`."
    assert error.spelled(lambda argument: "`--threads`").startswith("Expected `--threads` to be an integer")


@pytest.mark.parametrize("copied", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))])
def test_errors_come_through_from_other_processes(copied: object) -> None:
    assert callable(copied)
    error = copied(WeightsError("Set ", Argument("dtype"), ".", details="all of it"))
    assert (str(error), error.details, error.args[1]) == ("Set `dtype`.", "all of it", Argument("dtype"))
