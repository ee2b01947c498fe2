"""AHP: attention head purification, by low-rank updates of each head and gates on the heads."""
