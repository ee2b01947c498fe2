"""The facts of each benchmark, one file each."""
