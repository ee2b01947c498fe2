"""Benchmarks that list files describe: `<path> <label>` lines as JiGen and Dassl have them, or a CSV."""
