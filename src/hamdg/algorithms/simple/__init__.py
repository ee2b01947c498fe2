"""SIMPLE (https://openreview.net/forum?id=BqrPeZ_e5P): a pool of frozen models, matched to each image."""
