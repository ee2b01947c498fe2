"""Measurements on their way to loggers: their keys, `metrics.csv`, and other loggers of Lightning."""
