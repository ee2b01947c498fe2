"""What is said about a copy of a benchmark: counts, versions, images that cannot be read, the data card."""
