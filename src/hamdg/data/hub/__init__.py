"""Benchmarks on the Hugging Face hub: where copies are, their tables, and their rows as images."""
