"""Training-free merging for several targets (https://arxiv.org/abs/2407.13771)."""
