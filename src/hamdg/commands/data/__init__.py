"""`hamdg data`: list, verify, prepare and draw benchmarks."""
