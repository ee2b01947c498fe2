"""The algorithms, each in a file or a folder of its own; `base` says what one is."""
