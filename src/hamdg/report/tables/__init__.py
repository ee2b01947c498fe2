"""Tables over many runs: what is in one, how it is made of records, and how it is written."""
