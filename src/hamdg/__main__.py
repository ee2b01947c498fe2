"""`python -m hamdg` is `hamdg`."""

from hamdg.cli import program

program()
