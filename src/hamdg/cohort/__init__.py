"""Source models, and what they do together: enrichment, harmonisation, history."""
