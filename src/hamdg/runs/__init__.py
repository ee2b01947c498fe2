"""Run directories: where a run's files lie, who may write them, and when it is done."""
