"""Benchmarks that lie in folders: where domains and classes are, what is wrong with them, what was found before."""
