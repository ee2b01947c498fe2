"""One page over many runs: what the tables say, drawn; pure functions of a table and the records behind it."""
