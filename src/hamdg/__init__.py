"""Domain generalization by merging: one CLIP per source domain, their histories merged into one model."""

__version__ = "0.1.0"
