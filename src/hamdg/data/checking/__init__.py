"""What is said about a copy of a benchmark: counts, versions, pictures that cannot be read, the data card."""
