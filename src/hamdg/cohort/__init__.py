"""Source models, and what they do together: enrichment, harmonization, history."""
