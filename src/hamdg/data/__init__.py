"""Where pictures come from: benchmarks, splits and batches."""
