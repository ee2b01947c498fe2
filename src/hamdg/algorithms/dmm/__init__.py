"""DMM: merge similar models, and distill divergent ones into the result without any data (a reconstruction)."""
