"""HAM: one model per source domain, enriched, harmonized and merged with its history (a reconstruction)."""
