"""`hamdg merge`: its arguments, and what it does beyond starting a run."""
