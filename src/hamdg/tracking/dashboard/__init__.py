"""The W&B workspace and report of an experiment: their layout as plain data, converted to W&B's classes at the edge."""
