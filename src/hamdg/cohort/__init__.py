"""Learners in lock-step: one training step for all of them, checkpoint histories, validation, resuming, progress."""
