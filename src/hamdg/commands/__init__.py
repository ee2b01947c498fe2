"""Verbs of the command line that are larger than a handler; nothing heavy is imported before one runs."""
