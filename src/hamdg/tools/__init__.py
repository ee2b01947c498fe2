"""What runs or measures pipelines: smoke runs, the matrix of domains, benchmarks."""
