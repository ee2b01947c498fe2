"""Where images come from: benchmarks, splits and batches."""
