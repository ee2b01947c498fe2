"""What this machine can do: `python -m hamdg.tools.bench`."""
